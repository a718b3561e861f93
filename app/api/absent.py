"""Paths that clients know and this gateway does not have: what to do instead.

Whoever comes to one of them has usually left a setting at its default. A plain 404 is shown by
some clients as a model that does not exist; these answers are in the shape that the client of the
path reads, and say what works.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from app.api.dialects.base import dialects
from app.api.pinned import pinned
from app.errors import AbsentEndpointError
from app.paths import MESSAGES_ROUTE

CHAT = "/v1/chat/completions"

_Shape = Callable[[str, str], Mapping[str, Any]]


def _openai(message: str, code: str) -> Mapping[str, Any]:
    told = {"message": message, "type": "invalid_request_error", "param": None, "code": code}
    return {"error": told}


def _anthropic(message: str, _code: str) -> Mapping[str, Any]:
    return {"type": "error", "error": {"type": "invalid_request_error", "message": message}}


def _google(message: str, _code: str) -> Mapping[str, Any]:
    return {"error": {"code": 400, "message": message, "status": "INVALID_ARGUMENT"}}


def _ollama(message: str, _code: str) -> Mapping[str, Any]:
    return {"error": message}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Absent:
    """One path, and all below it."""

    what: str
    instead: str
    shape: _Shape = _openai


_USE_CHAT = f"use chat completions, POST {CHAT}"
_NO_OTHER = "there is none here: send these requests to their provider"
_SWITCHED_OFF = "its operator can switch batches on (batches.enabled)"
_MESSAGES = f"use the Messages API, POST {MESSAGES_ROUTE}"
_ABSENT: Mapping[str, _Absent] = {
    "/v1/responses/compact": _Absent(
        what="compaction of responses", instead="shorten the input, or send it as it is"
    ),
    "/v1/messages/batches": _Absent(
        what="Message Batches API", instead=_MESSAGES, shape=_anthropic
    ),
    "/v1/complete": _Absent(what="Text Completions API", instead=_MESSAGES, shape=_anthropic),
    "/v1/images": _Absent(
        what="such path of the images API",
        instead="use generations, edits or variations below it",
    ),
    "/v1/audio": _Absent(
        what="such path of the audio API",
        instead="use speech, transcriptions or translations below it",
    ),
    "/v1/videos": _Absent(what="videos API", instead=_NO_OTHER),
    "/v1/files": _Absent(what="files API", instead=_SWITCHED_OFF),
    "/v1/uploads": _Absent(what="uploads API", instead=_NO_OTHER),
    "/v1/batches": _Absent(what="batch API", instead=f"{_USE_CHAT}; {_SWITCHED_OFF}"),
    "/v1/fine_tuning": _Absent(what="fine-tuning API", instead=_NO_OTHER),
    "/v1/vector_stores": _Absent(what="vector stores API", instead=_NO_OTHER),
    "/v1/assistants": _Absent(what="Assistants API", instead=_USE_CHAT),
    "/v1/threads": _Absent(what="Assistants API", instead=_USE_CHAT),
    "/v1/conversations": _Absent(what="Conversations API", instead=_USE_CHAT),
    "/v1/realtime": _Absent(what="Realtime API", instead=_NO_OTHER),
    "/openai/deployments": _Absent(
        what="path of Azure's form but those of what is served under /v1, such as "
        "/openai/deployments/<model>/chat/completions",
        instead=_USE_CHAT,
    ),
    "/v1beta/models": _Absent(
        what="Gemini API",
        instead=f"use an OpenAI client and chat completions, POST {CHAT}",
        shape=_google,
    ),
    "/api/chat": _Absent(what="API of Ollama", instead=_USE_CHAT, shape=_ollama),
    "/api/generate": _Absent(what="API of Ollama", instead=_USE_CHAT, shape=_ollama),
    "/api/tags": _Absent(what="API of Ollama", instead="ask GET /v1/models", shape=_ollama),
}
_OTHERS = ("/v1/route", "/v1/models", "/v1/model/info", "/v1/feedback")
_PREFIXES = frozenset({"v1", "api", "openai", "v1beta"})
_MAX_SEGMENTS = 12


def absent(path: str, *, is_here: Callable[[str], bool]) -> AbsentEndpointError | None:
    """Return what to tell of a path that clients know, None of others.

    Parameters
    ----------
    is_here
        Says of a path whether this gateway has it after all, as it is configured.
    """
    for known in (path, _as_meant(path)):
        found = next(
            (
                name
                for name in _ABSENT.keys() - _served()
                if (known == name or known.startswith(f"{name}/")) and not is_here(name)
            ),
            None,
        )
        if found is not None:
            each = _ABSENT[found]
            return AbsentEndpointError(
                f"this gateway has no {each.what} ({found}); {each.instead}", path=found
            )
    return None


def meant(path: str, *, is_here: Callable[[str], bool]) -> str | None:
    """Return the path that was probably meant, where the base URL lacks its /v1 or has it twice.

    Parameters
    ----------
    is_here
        As of `absent`. What is below such a path, with its /v1, is none of a base URL gone wrong.
    """
    known = _as_meant(path)
    more = [each for each in _ABSENT if not path.startswith(f"{each}/") and is_here(each)]
    ours = sorted((*_served(), *_OTHERS, *more), key=len, reverse=True)
    ends = [there for there in ours if known.endswith(there.removeprefix("/v1"))]
    begins = [there for there in ours if known.startswith(f"{there}/")]
    for there in (*ends, *begins):
        if there != path:
            return there
    return None


def body_of(error: AbsentEndpointError, *, code: str) -> bytes:
    """Return the body in the shape that clients of the path read."""
    return msgspec.json.encode(_ABSENT[error.path].shape(error.message, code))


def _served() -> list[str]:
    return [each.path for each in (*dialects().all, *pinned())]


def _as_meant(path: str) -> str:
    """Return a path with one /v1 at its beginning, and nothing before it."""
    segments = [each for each in path.split("/")[:_MAX_SEGMENTS] if each]
    while segments and segments[0].lower() in _PREFIXES:
        segments.pop(0)
    return "/".join(("/v1", *segments)).rstrip("/")
