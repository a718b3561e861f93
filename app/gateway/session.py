"""Which conversation a request belongs to, and what binds it to the model it is on.

Read from headers and body alone. Names are hashes under the caller's key: two keys never share a
session, and no prompt or client id can be read back from a store.
"""

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import msgspec

from app.errors import InvalidRequestError
from app.head import RequestHead
from app.lineage import HARNESS_HEADERS, MAX_ID_CHARS, SESSION_HEADER
from app.wire.decoding import read_or_none
from app.wire.turns import Turn, call_by_name
from routers.decision.switching import SessionReason

_AGENT_HEADER = b"x-claude-code-agent-id"
"""Names one of the agents of such a session; the main one has none."""

_MODEL = "assistant"
_SYSTEM_ROLES = frozenset({"system", "developer"})
_TOOL_ROLES = frozenset({"tool", "function"})
_SIGNED_KEYS = frozenset({"signature", "encrypted_content", "thought_signature"})
_SIGNED_TYPES = frozenset({"redacted_thinking", "reasoning.encrypted"})
_SEAL_HINTS = tuple(f'{word}"'.encode() for word in sorted(_SIGNED_KEYS | _SIGNED_TYPES))
"""What the JSON of a message with sealed reasoning holds somewhere; cheap to search for."""

_SIGNED_KEY = re.compile(rb'"(?:signature|encrypted_content|thought_signature)"\s*:\s*"[^"]')
_SIGNED_TYPE = re.compile(rb'"type"\s*:\s*"$')
_TYPE_BYTES = 64
"""How far before its value the key of a type is looked for."""
_MAX_LOOKS = 1_000
"""After so many words that could be part of a seal and are not, a message counts as sealed."""


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
        sub-agents, its calls for titles): a hash of an agent's id or of how each begins; empty
        elsewhere.
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
    head: RequestHead,
    fields: Mapping[str, bytes],
    turns: Sequence[Turn],
    *,
    scope: str,
    seals_bind: bool = True,
    tools_bind: bool = True,
) -> Session:
    """Place a request in its conversation.

    Parameters
    ----------
    fields
        The body's top-level fields as sent.
    turns
        Its messages.
    scope
        Whose conversation it is: the id of the key, never what a client says of itself.
    seals_bind
        Whether reasoning that a provider signed or encrypted binds the conversation to its model.
    tools_bind
        Whether open calls of tools do; else another lock that holds is told first.

    Raises
    ------
    InvalidRequestError
        If `x-session-id` or `session_id` is empty, too long, or no string.
    """
    history = _History(turns, fields.get("messages") if seals_bind else None)
    opener = _opener(history)
    source, given = _given_id(head, fields)
    continued = _MODEL in history.roles
    thread = ""
    parts = [source.encode(), given]
    if source in (IdSource.CACHE_KEY, IdSource.OPENER):
        # A prompt cache key is often one for a whole application, so the opening counts too.
        parts.append(opener)
    elif source is IdSource.HARNESS:
        agent = (head.get(_AGENT_HEADER) or b"").strip()
        # An agent keeps its name whatever it drops of its oldest messages.
        told = b"agent " + agent if 0 < len(agent) <= MAX_ID_CHARS else opener
        thread = hashlib.sha256(told).hexdigest()[:16]
    lock = _lock(history, fields, tools_bind=tools_bind)
    return Session(
        name=f"session-{_digest([scope.encode(), *parts])}",
        source=source,
        thread=thread,
        continued=continued,
        lookup=continued or lock is not None or source is not IdSource.OPENER,
        lock=lock,
    )


def _digest(parts: Sequence[bytes]) -> str:
    whole = hashlib.sha256()
    for part in parts:
        # With their lengths: no two lists of parts read the same.
        whole.update(len(part).to_bytes(8, "big") + part)
    return whole.hexdigest()


def _given_id(head: RequestHead, fields: Mapping[str, bytes]) -> tuple[IdSource, bytes]:
    stated = head.get(SESSION_HEADER)
    if stated is not None:
        return IdSource.STATED, _checked(stated.strip(), SESSION_HEADER.decode())
    if "session_id" in fields:
        in_body = _string(fields["session_id"])
        if in_body is not None:
            return IdSource.STATED, _checked(in_body.encode(), "session_id")
        if fields["session_id"].strip() != b"null":
            raise InvalidRequestError("session_id must be a string", param="session_id")
    for name in HARNESS_HEADERS:
        value = (head.get(name) or b"").strip()
        if 0 < len(value) <= MAX_ID_CHARS:
            return IdSource.HARNESS, name + b":" + value
    cache_key = _string(fields.get("prompt_cache_key", b"null"))
    if cache_key:
        return IdSource.CACHE_KEY, cache_key.encode()
    return IdSource.OPENER, b""


def _checked(given: bytes, param: str) -> bytes:
    if not 0 < len(given) <= MAX_ID_CHARS:
        raise InvalidRequestError(
            f"{param} must have 1 to {MAX_ID_CHARS} characters, not {len(given)}", param=param
        )
    return given


_decode_list = msgspec.json.Decoder(list[msgspec.Raw]).decode


class _History:
    """The messages of a request; of most of them no more than the role is looked at."""

    __slots__ = ("_messages", "roles", "turns")

    def __init__(self, turns: Sequence[Turn], messages: bytes | None) -> None:
        self._messages = messages
        self.turns = turns
        self.roles = [turn.role for turn in turns]

    def first(self, *roles: str) -> bytes:
        """Return the content of the first message of these roles as sent; empty without one."""
        for role, turn in zip(self.roles, self.turns, strict=True):
            if role in roles:
                return bytes(turn.content)
        return b""

    def is_sealed(self) -> bool:
        """Whether an assistant's message carries reasoning that its provider signed or encrypted.

        Nothing is decoded: a message may be megabytes of anything, nested however deep.
        """
        whole = self._messages
        if not (whole and self.roles) or not any(hint in whole for hint in _SEAL_HINTS):
            return False
        return any(
            role == _MODEL and _holds_seal(bytes(raw))
            for role, raw in zip(self.roles, _decode_list(whole), strict=True)
        )


def _opener(history: _History) -> bytes:
    """Return what the first system and the first user message come to."""
    return _digest([history.first("system", "developer"), history.first("user")]).encode()


# --- locks --------------------------------------------------------------------------------------


def _lock(
    history: _History, fields: Mapping[str, bytes], *, tools_bind: bool
) -> SessionReason | None:
    open_tools = _has_open_tools(history)
    if open_tools and tools_bind:
        return SessionReason.LOCKED_TOOLS
    if history.is_sealed():
        return SessionReason.LOCKED_REASONING
    if read_or_none(fields.get("previous_response_id")):
        return SessionReason.LOCKED_RESPONSE_ID
    return SessionReason.LOCKED_TOOLS if open_tools else None


def _has_open_tools(history: _History) -> bool:
    """Whether a model waits for results, or has them and is yet to go on.

    So it is while the newest message is a tool's answer, and after an assistant's message whose
    calls have not all been answered, whatever a user wrote in between.
    """
    turns, roles = history.turns, history.roles
    while roles and roles[-1] in _SYSTEM_ROLES:
        # Harnesses put notes of theirs behind the results.
        turns, roles = turns[:-1], roles[:-1]
    if not turns:
        return False
    if roles[-1] in _TOOL_ROLES or _parts(turns[-1], "tool_result"):
        return True
    if _MODEL not in roles:
        return False
    answered: set[str] = set()
    for turn, role in zip(reversed(turns), reversed(roles), strict=True):
        if role == _MODEL:
            return not _called(turn) <= answered
        answered |= _answered(turn, role)
    return False


def _called(turn: Turn) -> set[str]:
    """Return the ids of the calls in an assistant's message; without one, none answers it."""
    calls = read_or_none(turn.tool_calls)
    calls = [call for call in calls if isinstance(call, dict)] if isinstance(calls, list) else []
    ids = {str(call.get("id", "")) for call in (*calls, *_parts(turn, "tool_use"))}
    function = read_or_none(turn.function_call)
    return ids | {call_by_name(function.get("name"))} if isinstance(function, dict) else ids


def _answered(turn: Turn, role: str) -> set[str]:
    ids = {str(part.get("tool_use_id", "")) for part in _parts(turn, "tool_result")}
    if role == "tool":
        ids.add(str(read_or_none(turn.tool_call_id)))
    elif role == "function":
        ids.add(call_by_name(read_or_none(turn.name)))
    return ids - {""}


def _holds_seal(message: bytes) -> bool:
    """Whether the JSON of a message holds a key of a seal with a text, or a type of one.

    Within a text every quote is escaped, so that a word with a bare quote is a key or a value.
    """
    looks = 0
    for hint in _SEAL_HINTS:
        at = message.find(hint)
        while at >= 0:
            if message[at - 1 : at] == b'"' and (
                _SIGNED_KEY.match(message, at - 1)
                or _SIGNED_TYPE.search(message[max(at - _TYPE_BYTES, 0) : at])
            ):
                return True
            looks += 1
            if looks == _MAX_LOOKS:
                return True
            at = message.find(hint, at + 1)
    return False


def _parts(turn: Turn, kind: str) -> list[dict[str, Any]]:
    """Return the parts of a kind in a message whose content is a list, in Anthropic's shape."""
    raw = bytes(turn.content)
    if b'"tool_' not in raw:
        return []
    parts = read_or_none(raw)
    if not isinstance(parts, list):
        return []
    return [part for part in parts if isinstance(part, dict) and part.get("type") == kind]


def _string(raw: Any) -> str | None:
    value = read_or_none(raw)
    return value if isinstance(value, str) else None
