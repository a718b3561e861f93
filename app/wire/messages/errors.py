"""Errors in the words of Anthropic's API, by which its clients know what to do next."""

import re
from collections.abc import Mapping
from typing import Any

import msgspec

_TYPES: Mapping[int, str] = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    409: "conflict_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}
OVERLOADED = 529
_STATUSES = {503: OVERLOADED}
"""What OpenAI's API says of the same."""

TOO_LONG = "capability_rejected: prompt_too_long"
"""The token that makes a coding agent shorten its conversation, in whatever sentence it stands."""

_ASKED_TOO_MUCH = re.compile(
    r"maximum context length is (\d+) tokens.{0,200}?(\d+) in the messages.{0,200}?"
    r"(\d+) in the completion",
    re.IGNORECASE | re.DOTALL,
)


def status_of(status: int) -> int:
    """Return the status by which Anthropic's API tells what OpenAI's tells by another."""
    return _STATUSES.get(status, status)


def type_of(status: int) -> str:
    """Return the type of an error that Anthropic's API answers with a status."""
    if status in _TYPES:
        return _TYPES[status]
    return "invalid_request_error" if status < 500 else "api_error"


def too_long(message: str) -> str:
    """Word that a prompt is too long, so that an agent makes room and asks again.

    Where the prompt would fit without the room that is asked for the answer, it says that: agents
    then ask for less of it.
    """
    found = _ASKED_TOO_MUCH.search(message)
    if found is not None:
        window, prompt, answer = map(int, found.groups())
        if prompt < window:
            return (
                f"input length and `max_tokens` exceed context limit: {prompt} + {answer} > "
                f"{window}, decrease input length or `max_tokens` and try again ({message})"
            )
    if TOO_LONG in message:
        return message
    return f"prompt is too long ({TOO_LONG}): {message}"


def error_body(error: Mapping[str, Any], *, request_id: str | None) -> bytes:
    """Return the body of an error answer."""
    return msgspec.json.encode({"type": "error", "error": error, "request_id": request_id})
