"""A chat request told such that a model takes it: what it refuses left out, renamed or mapped.

Only what a rule says is touched; everything else passes as the bytes it was.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from app.wire.body import Fields

EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh", "max")
"""Every level that `reasoning_effort` has somewhere, the least first."""

JSON_IN_WORDS = "Answer with one JSON object and nothing else: no prose around it, no code fence."

_EFFORT = "reasoning_effort"
_FORMAT = "response_format"
_LIMITS = ("max_tokens", "max_completion_tokens")
_MESSAGES = msgspec.json.Decoder(list[dict[str, msgspec.Raw]])
_ERRORS = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_encode = msgspec.json.Encoder().encode
_MAX_SCALAR_BYTES = 64

Scalar = bool | int | float | str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Drop:
    """When a field is left out.

    Attributes
    ----------
    keep
        Values that are taken all the same.
    beside
        It is left out only beside one of these fields, with one of the values; none are any.
    """

    keep: tuple[Scalar, ...] = ()
    beside: Mapping[str, tuple[Scalar, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ParameterRules:
    """What has to be done to a request before a model takes it.

    Attributes
    ----------
    fixed
        Fields that are set whatever the client says; a limit of the answer only where it has none.
    drop
        Fields that are left out.
    rename
        Fields that are called otherwise; where both are there, the new name counts.
    efforts
        The levels of `reasoning_effort` that it knows; others become the nearest. None where
        nothing is known of it; without any, the field is left out.
    roles
        Roles of messages that are called otherwise.
    json_in_words
        Whether `response_format: json_object` is asked for in a system message instead.
    """

    fixed: Mapping[str, bytes] = field(default_factory=dict)
    drop: Mapping[str, Drop] = field(default_factory=dict)
    rename: Mapping[str, str] = field(default_factory=dict)
    efforts: tuple[str, ...] | None = None
    roles: Mapping[str, str] = field(default_factory=dict)
    json_in_words: bool = False
    _may_touch: frozenset[str] = field(init=False, repr=False, compare=False)
    """The fields that something may be done to: most requests have none of them."""

    def __post_init__(self) -> None:
        touched = {*self.drop, *self.rename}
        if self.efforts is not None:
            touched.add(_EFFORT)
        if self.json_in_words:
            touched.add(_FORMAT)
        object.__setattr__(self, "_may_touch", frozenset(touched))

    def __bool__(self) -> bool:
        return self is not NO_RULES and self != NO_RULES

    @property
    def refused(self) -> frozenset[str]:
        """The fields that never have an effect."""
        always = {name for name, rule in self.drop.items() if not rule.beside}
        return frozenset(always | ({_EFFORT} if self.efforts == () else set()))

    def apply(self, fields: Fields) -> tuple[Fields, tuple[str, ...]]:
        """Return the fields to send, and what was changed of them, in words for a header."""
        if not self.fixed and not self.roles and self._may_touch.isdisjoint(fields):
            return fields, ()
        changed = _Change(fields)
        for name, value in self.fixed.items():
            changed.fix(name, value)
        if self.efforts is not None and _EFFORT in fields:
            changed.map_effort(self.efforts)
        for name, rule in self.drop.items():
            if name in fields:
                changed.drop(name, rule)
        for name, other in self.rename.items():
            if name in fields:
                changed.rename(name, other)
        if self.json_in_words and _FORMAT in fields:
            changed.ask_for_json()
        if self.roles:
            changed.rename_roles(self.roles)
        return changed.fields, tuple(changed.told)


NO_RULES = ParameterRules()


class _Change:
    """One request as it is changed."""

    __slots__ = ("_sent", "fields", "told")

    def __init__(self, sent: Fields) -> None:
        self._sent = sent
        self.fields: Fields = sent
        self.told: list[str] = []

    def fix(self, name: str, value: bytes) -> None:
        if name in _LIMITS:
            if any(self.fields.get(each, b"null").strip() != b"null" for each in _LIMITS):
                return
        elif name in self.fields and _value(self.fields[name]) == _value(value):
            return
        asked = _scalar(self.fields.get(name, b"null"))
        told = value.decode().strip('"') if name != "thinking" else "set"
        before = f"{asked}->" if asked in EFFORTS else ""
        self._with(name, value)
        self.told.append(f"{name}={before}{told}")

    def map_effort(self, known: Sequence[str]) -> None:
        effort = _scalar(self.fields[_EFFORT])
        if effort in known or effort not in EFFORTS:
            return  # also null, and what the upstream says better than we what is wrong with
        if not known:
            self._without(_EFFORT)
            self.told.append(f"{_EFFORT}=dropped")
            return
        wanted = EFFORTS.index(effort)
        distances = ((abs(EFFORTS.index(each) - wanted), -EFFORTS.index(each)) for each in known)
        nearest = EFFORTS[-min(distances)[1]]
        self._with(_EFFORT, _encode(nearest))
        self.told.append(f"{_EFFORT}={effort}->{nearest}")

    def drop(self, name: str, rule: Drop) -> None:
        value = self.fields.get(name)
        if value is None or value.strip() == b"null":
            return
        if rule.keep and _scalar(value) in rule.keep:
            return
        if rule.beside and not any(map(self._is_there, rule.beside.items())):
            return
        self._without(name)
        self.told.append(f"{name}=dropped")

    def rename(self, name: str, other: str) -> None:
        value = self.fields.get(name)
        if value is None:
            return
        if self.fields.get(other, b"null").strip() != b"null":
            self._without(name)
            self.told.append(f"{name}=dropped")
            return
        # In its place: nothing else of the order changes.
        self.fields = {
            (other if key == name else key): each
            for key, each in self.fields.items()
            if key != other
        }
        self.told.append(f"{name}->{other}")

    def ask_for_json(self) -> None:
        wanted = _value(self.fields[_FORMAT])
        if not isinstance(wanted, dict) or wanted.get("type") != "json_object":
            return
        messages = self._messages()
        if messages is None:
            return
        systems = (b'"system"', b'"developer"')
        at = next(
            (i for i, each in enumerate(messages) if bytes(each.get("role", b"")) not in systems),
            len(messages),
        )
        words = {"role": "system", "content": JSON_IN_WORDS}
        sent = [*messages[:at], words, *messages[at:]]
        self._without(_FORMAT)
        self._with("messages", _encode(sent))
        self.told.append(f"{_FORMAT}=in words")

    def rename_roles(self, roles: Mapping[str, str]) -> None:
        raw = self.fields.get("messages", b"")
        named = {f'"{role}"'.encode(): role for role in roles}
        if not any(each in raw for each in named):
            return
        messages = self._messages()
        if messages is None:
            return
        found: set[str] = set()
        for message in messages:
            role = named.get(bytes(message.get("role", b"")))
            if role is not None:
                message["role"] = msgspec.Raw(_encode(roles[role]))
                found.add(role)
        if found:
            self._with("messages", _encode(messages))
            self.told += [f"role {role}->{roles[role]}" for role in sorted(found)]

    def _messages(self) -> list[dict[str, msgspec.Raw]] | None:
        try:
            return _MESSAGES.decode(self.fields.get("messages", b"[]"))
        except _ERRORS:
            return None

    def _is_there(self, condition: tuple[str, tuple[Scalar, ...]]) -> bool:
        name, values = condition
        value = self.fields.get(name)
        if value is None or value.strip() == b"null":
            return False
        return not values or _scalar(value) in values

    def _without(self, name: str) -> None:
        self.fields = {key: value for key, value in self.fields.items() if key != name}

    def _with(self, name: str, value: bytes) -> None:
        self.fields = {**self.fields, name: value}


def _scalar(raw: bytes) -> Any:
    """Return a short value; of anything else something that no rule names."""
    value = _value(raw) if len(raw) <= _MAX_SCALAR_BYTES else ()
    return () if isinstance(value, dict | list) else value


def _value(raw: bytes) -> Any:
    try:
        return msgspec.json.decode(raw)
    except _ERRORS:
        return ()


def native_with(dialect: str, fields: Fields, fixed: Mapping[str, bytes]) -> Fields:
    """Return a request in a client's own dialect with what a variant fixes; else untouched."""
    effort, thinking = fixed.get(_EFFORT), fixed.get("thinking")
    if dialect == "messages":
        if thinking is not None:
            fields = {**fields, "thinking": thinking}
        return fields if effort is None else _merged(fields, "output_config", effort)
    if dialect == "responses" and effort is not None:
        return _merged(fields, "reasoning", effort)
    return fields


def _merged(fields: Fields, name: str, effort: bytes) -> Fields:
    value = _value(fields.get(name, b"null"))
    known = value if isinstance(value, dict) else {}
    return {**fields, name: _encode({**known, "effort": msgspec.Raw(effort)})}
