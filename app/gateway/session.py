"""Which conversation a request belongs to, and what binds it to the model it is on.

Read from headers and body alone. Names are hashes under the caller's key: two keys never share a
session, and no prompt or client id can be read back from a store.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple

import msgspec

from app.errors import InvalidRequestError
from routers.switching import SessionReason

SESSION_HEADER = b"x-session-id"
_HARNESS_HEADERS = (b"x-claude-code-session-id", b"session_id", b"x-session-affinity")
"""Session ids that common clients send by themselves."""

_ID_HEADERS = frozenset({SESSION_HEADER, *_HARNESS_HEADERS})
_MAX_ID_CHARS = 512

_TOOL_ROLES = frozenset({"tool", "function"})
_SIGNED_KEYS = frozenset({"signature", "encrypted_content", "thought_signature"})
_SIGNED_TYPES = frozenset({"redacted_thinking", "reasoning.encrypted"})
_SIGNED_HINTS = tuple(f'{word}"'.encode() for word in sorted(_SIGNED_KEYS | _SIGNED_TYPES))
"""What the JSON of a message with sealed reasoning holds somewhere; cheap to search for."""

_MESSAGES = msgspec.json.Decoder(list[dict[str, msgspec.Raw]])
_ERRORS = (msgspec.DecodeError, RecursionError, UnicodeDecodeError)


class IdSource(StrEnum):
    """Where the id of a session comes from; a stated one is the caller's word."""

    STATED = "stated"
    HARNESS = "harness"
    CACHE_KEY = "prompt_cache_key"
    OPENER = "opener"


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """One request's place in a conversation.

    Attributes
    ----------
    name
        The session's name in a store: a hash.
    thread
        Tells the conversations of one harness session apart (a coding agent's main loop, its
        sub-agents, its calls for titles): a hash of how each begins; empty elsewhere.
    continued
        Whether the request brings a history that a model wrote.
    lookup
        Whether an earlier turn can be known at all.
    lock
        What in the request binds it to the model of the earlier turns.
    """

    name: str
    source: IdSource
    thread: str
    continued: bool
    lookup: bool
    lock: SessionReason | None


def identify(
    headers: Iterable[tuple[bytes, bytes]], fields: Mapping[str, bytes], *, scope: str
) -> Session:
    """Place a request in its conversation.

    Parameters
    ----------
    headers
        Names in lower case, as ASGI gives them.
    fields
        The body's top-level fields as sent.
    scope
        Whose conversation it is: the id of the key, never what a client says of itself.

    Raises
    ------
    InvalidRequestError
        If `x-session-id` or `session_id` is empty, too long, or no string.
    """
    turns = _turns(fields.get("messages"))
    opener = _opener(turns)
    source, given = _given_id(headers, fields)
    history = [turn for turn in turns if turn.role == "assistant"]
    thread = ""
    parts = [source.encode(), given]
    if source in (IdSource.CACHE_KEY, IdSource.OPENER):
        # A prompt cache key is often one for a whole application, so the opening counts too.
        parts.append(opener)
    elif source is IdSource.HARNESS:
        thread = hashlib.sha256(opener).hexdigest()[:16]
    lock = _lock(turns, history, fields)
    return Session(
        name=f"session-{_digest([scope.encode(), *parts])}",
        source=source,
        thread=thread,
        continued=bool(history),
        lookup=bool(history) or lock is not None or source is not IdSource.OPENER,
        lock=lock,
    )


def _digest(parts: Sequence[bytes]) -> str:
    whole = hashlib.sha256()
    for part in parts:
        # With their lengths: no two lists of parts read the same.
        whole.update(len(part).to_bytes(8, "big") + part)
    return whole.hexdigest()


def _given_id(
    headers: Iterable[tuple[bytes, bytes]], fields: Mapping[str, bytes]
) -> tuple[IdSource, bytes]:
    by_name = {name: value.strip() for name, value in headers if name in _ID_HEADERS}
    stated = by_name.get(SESSION_HEADER)
    if stated is not None:
        return IdSource.STATED, _checked(stated, SESSION_HEADER.decode())
    if "session_id" in fields:
        in_body = _string(fields["session_id"])
        if in_body is not None:
            return IdSource.STATED, _checked(in_body.encode(), "session_id")
        if fields["session_id"].strip() != b"null":
            raise InvalidRequestError("session_id must be a string", param="session_id")
    for name in _HARNESS_HEADERS:
        value = by_name.get(name, b"")
        if 0 < len(value) <= _MAX_ID_CHARS:
            return IdSource.HARNESS, name + b":" + value
    cache_key = _string(fields.get("prompt_cache_key", b"null"))
    if cache_key:
        return IdSource.CACHE_KEY, cache_key.encode()
    return IdSource.OPENER, b""


def _checked(given: bytes, param: str) -> bytes:
    if not 0 < len(given) <= _MAX_ID_CHARS:
        raise InvalidRequestError(
            f"{param} must have 1 to {_MAX_ID_CHARS} characters, not {len(given)}", param=param
        )
    return given


class _Turn(NamedTuple):
    """One message: its role, and its other fields as sent."""

    role: str | None
    fields: Mapping[str, msgspec.Raw]

    def value(self, name: str) -> Any:
        return _value(self.fields.get(name))


def _turns(messages: bytes | None) -> list[_Turn]:
    try:
        decoded = [] if messages is None else _MESSAGES.decode(messages)
    except _ERRORS:
        return []
    return [_Turn(_string(each.get("role")), each) for each in decoded]


def _opener(turns: Sequence[_Turn]) -> bytes:
    """Return what the first system and the first user message come to."""
    parts = []
    for roles in (("system", "developer"), ("user",)):
        first = next((turn for turn in turns if turn.role in roles), None)
        parts.append(b"" if first is None else bytes(first.fields.get("content", b"")))
    return _digest(parts).encode()


# --- locks --------------------------------------------------------------------------------------


def _lock(
    turns: Sequence[_Turn], history: Sequence[_Turn], fields: Mapping[str, bytes]
) -> SessionReason | None:
    if _has_open_tools(turns):
        return SessionReason.LOCKED_TOOLS
    if any(_is_sealed(turn) for turn in history):
        return SessionReason.LOCKED_REASONING
    if _value(fields.get("previous_response_id")):
        return SessionReason.LOCKED_RESPONSE_ID
    return None


def _has_open_tools(turns: Sequence[_Turn]) -> bool:
    """Whether a model waits for results, or has them and is yet to go on.

    So it is while the newest message is a tool's answer, and after an assistant's message whose
    calls have not all been answered, whatever a user wrote in between.
    """
    if not turns:
        return False
    if turns[-1].role in _TOOL_ROLES or _parts(turns[-1], "tool_result"):
        return True
    answered: set[str] = set()
    for turn in reversed(turns):
        if turn.role == "assistant":
            return not _called(turn) <= answered
        answered |= _answered(turn)
    return False


def _called(turn: _Turn) -> set[str]:
    """Return the ids of the calls in an assistant's message; without one, none answers it."""
    calls = turn.value("tool_calls")
    calls = [call for call in calls if isinstance(call, dict)] if isinstance(calls, list) else []
    ids = {str(call.get("id", "")) for call in (*calls, *_parts(turn, "tool_use"))}
    function = turn.value("function_call")
    return ids | {_by_name(function.get("name"))} if isinstance(function, dict) else ids


def _answered(turn: _Turn) -> set[str]:
    ids = {str(part.get("tool_use_id", "")) for part in _parts(turn, "tool_result")}
    if turn.role == "tool":
        ids.add(str(turn.value("tool_call_id")))
    elif turn.role == "function":
        ids.add(_by_name(turn.value("name")))
    return ids - {""}


def _by_name(name: object) -> str:
    """Name a call of the old kind, which has no id."""
    return f"function {name}"


def _is_sealed(turn: _Turn) -> bool:
    """Whether an assistant's message carries reasoning that its provider signed or encrypted."""
    return any(
        _holds_seal(_value(raw), name)
        for name, raw in turn.fields.items()
        if name in _SIGNED_KEYS or any(hint in bytes(raw) for hint in _SIGNED_HINTS)
    )


def _holds_seal(value: Any, name: str) -> bool:
    if isinstance(value, str):
        return bool(value) and name in _SIGNED_KEYS
    if isinstance(value, list):
        return any(_holds_seal(each, name) for each in value)
    if isinstance(value, dict):
        return value.get("type") in _SIGNED_TYPES or any(
            _holds_seal(each, key) for key, each in value.items()
        )
    return False


def _parts(turn: _Turn, kind: str) -> list[dict[str, Any]]:
    """Return the parts of a kind in a message whose content is a list, in Anthropic's shape."""
    raw = bytes(turn.fields.get("content", b""))
    if b'"tool_' not in raw:
        return []
    parts = _value(raw)
    if not isinstance(parts, list):
        return []
    return [part for part in parts if isinstance(part, dict) and part.get("type") == kind]


def _string(raw: Any) -> str | None:
    value = _value(raw)
    return value if isinstance(value, str) else None


def _value(raw: Any) -> Any:
    if raw is None:
        return None
    try:
        return msgspec.json.decode(raw)
    except _ERRORS:
        return None
