"""Changes to the parameters of a chat completion, for models that take others."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, ClassVar

import msgspec

from app.wire.body import Fields
from app.wire.decoding import DECODE_ERRORS
from app.wire.thinking import is_on

EFFORT = "reasoning_effort"
FORMAT = "response_format"
THINKING = "thinking"
ONE_CALL = "parallel_tool_calls"
EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh", "max")
"""Every level that `reasoning_effort` has somewhere, the least first."""

JSON_IN_WORDS = "Answer with one JSON object and nothing else: no prose around it, no code fence."
LIMITS = ("max_tokens", "max_completion_tokens")
SAMPLING = ("temperature", "top_p", "top_k")
_MEANS_NOTHING: Mapping[str, tuple["Scalar", ...]] = {"temperature": (1,), "top_p": (1,)}
"""Values of sampling that are taken beside thinking, since they are the default."""

_THINKING_TYPES = frozenset({"adaptive", "enabled", "disabled"})
_MESSAGES = msgspec.json.Decoder(list[dict[str, msgspec.Raw]])
_OBJECT = msgspec.json.Decoder(dict[str, msgspec.Raw])
encoded = msgspec.json.Encoder().encode
_MAX_SCALAR_BYTES = 64
Scalar = bool | int | float | str | None
Path = tuple[str, ...]


class ChatChange:
    """A chat completion as it is changed; every field stands where the rules say.

    Attributes
    ----------
    fields
        As they are by now.
    told
        What was changed, in words for a header.
    """

    paths: ClassVar[Mapping[str, Path]] = {}
    """Where fields are found that do not stand at the top under their own name."""
    turns: ClassVar[str] = "messages"
    """The field that holds the conversation."""

    __slots__ = ("fields", "told")

    def __init__(self, sent: Fields) -> None:
        self.fields: Fields = sent
        self.told: list[str] = []

    # --- what rules do ---------------------------------------------------------------------------

    def fix(self, name: str, value: bytes) -> None:
        """Set a field whatever the client says; a limit of the answer only where it has none."""
        if name in LIMITS:
            if any(self.has(each) for each in LIMITS):
                return
        elif self.get(name) is not None and decoded(self.get(name) or b"") == decoded(value):
            return
        asked = scalar(self.get(name) or b"null")
        told = value.decode().strip('"') if name != THINKING else "set"
        before = f"{asked}->" if asked in EFFORTS else ""
        self._with(name, value)
        self.told.append(f"{self._name(name)}={before}{told}")

    def map_effort(self, known: Sequence[str]) -> None:
        """Change an effort that the model lacks to the nearest one; of two to the higher."""
        effort = scalar(self.get(EFFORT) or b"null")
        if effort in known or effort not in EFFORTS:
            return  # also null, and what the upstream says better than we what is wrong with
        if not known:
            self._without(EFFORT)
            self._tell_dropped(EFFORT)
            return
        wanted = EFFORTS.index(effort)
        distances = ((abs(EFFORTS.index(each) - wanted), -EFFORTS.index(each)) for each in known)
        nearest = EFFORTS[-min(distances)[1]]
        self._with(EFFORT, encoded(nearest))
        self.told.append(f"{self._name(EFFORT)}={effort}->{nearest}")

    def map_thinking(self, known: Sequence[str]) -> None:
        """Ask for thinking in a way that the model knows, or not at all."""
        thinking = decoded(self.get(THINKING) or b"null")
        kind = thinking.get("type") if isinstance(thinking, dict) else None
        if kind in known or kind not in _THINKING_TYPES:
            return
        if kind == "enabled" and "adaptive" in known:
            kept = {key: each for key, each in thinking.items() if key != "budget_tokens"}
            self._with(THINKING, encoded({**kept, "type": "adaptive"}))
            self.told.append(f"{THINKING}=enabled->adaptive")
            return
        self._without(THINKING)
        self._tell_dropped(THINKING)

    def drop(self, name: str, *, keep: Sequence[Scalar], beside: Mapping[str, Any]) -> None:
        """Leave a field out, but for values that are taken or where nothing is in its way."""
        value = self.get(name)
        if value is None or value.strip() == b"null":
            return
        if keep and scalar(value) in keep:
            return
        if beside and not any(map(self._is_there, beside.items())):
            return
        self._without(name)
        self._tell_dropped(name)

    def drop_sampling_beside_thinking(self) -> None:
        """Leave out what a model that thinks does not take."""
        if self._thinks():
            for name in SAMPLING:
                self.drop(name, keep=_MEANS_NOTHING.get(name, ()), beside={})

    def rename(self, name: str, other: str) -> None:
        """Call a field otherwise; where both names were sent, the new one counts."""
        value = self.fields.get(name)
        if value is None or self._path(name) != (name,) or self._path(other) != (other,):
            return  # a dialect that says it otherwise says it in one way alone
        if self.has(other):
            self._without(name)
            self._tell_dropped(name)
            return
        # In its place: nothing else of the order changes.
        self.fields = {
            (other if key == name else key): each
            for key, each in self.fields.items()
            if key != other
        }
        self.told.append(f"{name}->{other}")

    def ask_for_json(self) -> None:
        """Ask in words for an answer that is JSON."""
        wanted = decoded(self.get(FORMAT) or b"null")
        if not isinstance(wanted, dict) or wanted.get("type") != "json_object":
            return
        if self._say(JSON_IN_WORDS):
            self._without(FORMAT)
            self.told.append(f"{self._name(FORMAT)}=in words")

    def tell_of_one_call(self) -> None:
        """Tell that further tool calls of the answer will be left out."""
        if scalar(self.get(ONE_CALL) or b"null") is False and self.has("tools"):
            self.told.append(f"{ONE_CALL}=first call kept")

    def rename_roles(self, roles: Mapping[str, str]) -> None:
        """Call roles of messages otherwise."""
        raw = self.fields.get(self.turns, b"")
        named = {f'"{role}"'.encode(): role for role in roles}
        if not any(each in raw for each in named):
            return
        messages = self._turns()
        if messages is None:
            return
        found: set[str] = set()
        for message in messages:
            role = named.get(bytes(message.get("role", b"")))
            if role is not None:
                message["role"] = msgspec.Raw(encoded(roles[role]))
                found.add(role)
        if found:
            self.fields = {**self.fields, self.turns: encoded(messages)}
            self.told += [f"role {role}->{roles[role]}" for role in sorted(found)]

    def fit(self) -> None:
        """Mend what no longer fits together."""

    # --- where fields are ------------------------------------------------------------------------

    def get(self, name: str) -> bytes | None:
        """Return the value of a field; None where it is not there."""
        path = self._path(name)
        raw = self.fields.get(path[0])
        if raw is None or len(path) == 1:
            return raw
        inner = opened(raw).get(path[1])
        return None if inner is None else bytes(inner)

    def has(self, name: str) -> bool:
        """Whether a field says anything."""
        value = self.get(name)
        return value is not None and value.strip() != b"null"

    @classmethod
    def top(cls, name: str) -> str:
        """Return the key of the body under which a field is found."""
        return cls._path(name)[0]

    @classmethod
    def besides(cls, names: Collection[str]) -> tuple[str, ...]:  # noqa: ARG003  (of its children)
        """Return further keys that rules about fields of these names look at."""
        return ()

    @classmethod
    def _path(cls, name: str) -> Path:
        return cls.paths.get(name) or (name,)

    @classmethod
    def _name(cls, name: str) -> str:
        return ".".join(cls._path(name))

    def _without(self, name: str) -> None:
        path = self._path(name)
        fields = {key: value for key, value in self.fields.items() if key != path[0]}
        if len(path) > 1:
            kept = {key: v for key, v in opened(self.fields[path[0]]).items() if key != path[1]}
            if kept:
                fields = {**self.fields, path[0]: encoded(kept)}
        self.fields = fields

    def _with(self, name: str, value: bytes) -> None:
        path = self._path(name)
        if len(path) > 1:
            inner = opened(self.fields.get(path[0], b"{}"))
            value = encoded({**inner, path[1]: msgspec.Raw(value)})
        self.fields = {**self.fields, path[0]: value}

    def _tell_dropped(self, name: str) -> None:
        self.told.append(f"{self._name(name)}=dropped")

    def _is_there(self, condition: tuple[str, tuple[Scalar, ...]]) -> bool:
        name, values = condition
        if not self.has(name):
            return False
        return not values or scalar(self.get(name) or b"") in values

    def _turns(self) -> list[dict[str, msgspec.Raw]] | None:
        try:
            return _MESSAGES.decode(self.fields.get(self.turns, b"[]"))
        except DECODE_ERRORS:
            return None

    # --- what only chat completions say so -------------------------------------------------------

    def _say(self, words: str) -> bool:
        """Tell the model something; False where that cannot be."""
        messages = self._turns()
        if messages is None:
            return False
        systems = (b'"system"', b'"developer"')
        at = next(
            (i for i, each in enumerate(messages) if bytes(each.get("role", b"")) not in systems),
            len(messages),
        )
        said = {"role": "system", "content": words}
        self._with("messages", encoded([*messages[:at], said, *messages[at:]]))
        return True

    def _thinks(self) -> bool:
        if self.has(THINKING):
            return is_on(decoded(self.get(THINKING) or b""))
        if scalar(self.get(EFFORT) or b"null") not in EFFORTS[1:]:
            return False
        choice = decoded(self.get("tool_choice") or b"null")
        return choice != "required" and not isinstance(choice, dict)  # a forced tool comes first


def scalar(raw: bytes) -> Any:
    """Return a short value; of anything else something that no rule names."""
    value = decoded(raw) if len(raw) <= _MAX_SCALAR_BYTES else ()
    return () if isinstance(value, dict | list) else value


def decoded(raw: bytes) -> Any:
    """Return the value of JSON; of what is none something that no rule names."""
    try:
        return msgspec.json.decode(raw)
    except DECODE_ERRORS:
        return ()


def opened(raw: bytes) -> dict[str, msgspec.Raw]:
    """Return the members of an object; none of anything else."""
    try:
        return _OBJECT.decode(raw)
    except DECODE_ERRORS:
        return {}
