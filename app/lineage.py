"""Which run of which agent a request is part of, as far as its client says by itself.

For whoever wants to know what a run cost. Only hashes of what clients say go any further: they are
made under the caller's key, so that two keys never share one, and no id can be read back from a
log. Agents are new in every run: their ids are in rows, log lines and spans, never in metrics.
"""

import hashlib
from enum import StrEnum
from typing import Self

import msgspec

from app.head import RequestHead

SESSION_HEADER = b"x-session-id"
HARNESS_HEADERS = (
    b"x-claude-code-session-id",
    b"session-id",  # Codex, which names with the next two what is within its session
    b"thread-id",
    b"x-codex-window-id",
    b"session_id",  # Codex, formerly, and the next one
    b"conversation_id",
    b"x-opencode-session",
    b"x-litellm-session-id",
    b"helicone-session-id",
    b"x-grok-conv-id",
    b"x-session-affinity",
)
"""Session ids that common clients send by themselves; the first that is there counts."""

MAX_ID_CHARS = 512

_SESSION_HEADERS = (SESSION_HEADER, *HARNESS_HEADERS)
_PARENT_SESSION_HEADER = b"x-parent-session-id"
"""Of opencode, whose sub-agents have sessions of their own."""

_AGENT_HEADERS = (b"x-claude-code-agent-id", b"thread-id")
_PARENT_HEADERS = (b"x-claude-code-parent-agent-id", b"x-codex-parent-thread-id")
_KIND_HEADER = b"x-openai-subagent"
_ANY = frozenset({*_SESSION_HEADERS, _PARENT_SESSION_HEADER, *_AGENT_HEADERS, *_PARENT_HEADERS})
_DIGITS = 16


class AgentKind(StrEnum):
    """What Codex says an agent beside the main one is for."""

    REVIEW = "review"
    COMPACT = "compact"
    MEMORY_CONSOLIDATION = "memory_consolidation"
    COLLAB_SPAWN = "collab_spawn"
    OTHER = "other"


class Lineage(msgspec.Struct, frozen=True, kw_only=True):
    """The session and the agent of a request: hashes.

    Attributes
    ----------
    agent_id
        None for the main agent of the session.
    parent_agent_id
        Who started the agent; None where that was the main one, or nobody says.
    """

    session_id: str
    agent_id: str | None = None
    parent_agent_id: str | None = None
    agent_kind: AgentKind | None = None

    @classmethod
    def of(cls, head: RequestHead, in_body: bytes | None, *, scope: str) -> Self | None:
        """Return what a client says of its session; None where it says nothing.

        Parameters
        ----------
        in_body
            The JSON of the body's `session_id`; None without one.
        scope
            Whose session it is: the id of the key, never what a client says of itself.
        """
        if in_body is None and _ANY.isdisjoint(head):
            return None
        session = _first(head, (SESSION_HEADER,)) or _stated(in_body)
        session = session or _first(head, HARNESS_HEADERS)
        if session is None:
            return None
        agent = _first(head, _AGENT_HEADERS)
        parent = _first(head, _PARENT_HEADERS)
        root = _first(head, (_PARENT_SESSION_HEADER,))
        if root is not None:
            session, agent, parent = root, agent or session, parent or root
        if agent is None or agent == session:  # Codex names its main thread like its session
            agent = parent = None
        if parent == session:
            parent = None
        kind = head.get(_KIND_HEADER)
        scoped = scope.encode()
        return cls(
            session_id=f"session-{_hash(scoped, session)}",
            agent_id=None if agent is None else f"agent-{_hash(scoped, session, agent)}",
            parent_agent_id=None if parent is None else f"agent-{_hash(scoped, session, parent)}",
            agent_kind=None if kind is None else _KINDS.get(kind.strip(), AgentKind.OTHER),
        )


_KINDS = {kind.value.encode(): kind for kind in AgentKind}


def _first(head: RequestHead, names: tuple[bytes, ...]) -> bytes | None:
    for name in names:
        value = (head.get(name) or b"").strip()
        if 0 < len(value) <= MAX_ID_CHARS:
            return value
    return None


def _stated(raw: bytes | None) -> bytes | None:
    """Return an id in the body; whether it is a good one is for others to say."""
    if raw is None or len(raw) > MAX_ID_CHARS:
        return None
    try:
        return msgspec.json.decode(raw, type=str).encode() or None
    except (msgspec.DecodeError, UnicodeEncodeError):
        return None


def _hash(*parts: bytes) -> str:
    return hashlib.sha256(b"\n".join(parts)).hexdigest()[:_DIGITS]
