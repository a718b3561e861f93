"""The seam between what a simulated model says and how an API writes it."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from app.stub.answers.answer import Answer

Body = Mapping[str, Any]

_CODES = {404: "model_not_found"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """All that goes into an answer.

    Attributes
    ----------
    body
        The request as it was sent.
    counts
        Token counts in the dialect's own form; None where they are not told.
    """

    reply_id: str
    model: str
    body: Body
    answers: list[Answer]
    counts: Mapping[str, Any] | None


class ErrorBody(Protocol):
    """Writes an error in a dialect's shape."""

    def __call__(self, message: str, *, kind: str = ..., code: str | None = ...) -> bytes:
        """Return the body."""
        ...


class Refused(Exception):  # noqa: N818 - what it says is an answer
    """A request that is answered with an error.

    Attributes
    ----------
    status, message, code
        Of the answer.
    """

    def __init__(self, message: str, *, status: int = 400, code: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code or _CODES.get(status)


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """How one API writes requests, answers and errors.

    Attributes
    ----------
    refusal
        What is wrong with a request, in a sentence; None where nothing is.
    to_chats
        A request as one of OpenAI's chat, or one for each prompt where there may be several. It
        raises `Refused`, or what reading a malformed request raises.
    usage
        Token counts, from those of the input and the answers.
    whole
        An answer in one piece.
    events
        The events of a stream, the last excepted, each with the number of tokens said by then.
    end
        What ends a stream, after so many events.
    error_event
        An error's body, framed for the middle of a stream, after so many events.
    usage_on_demand
        Whether a stream tells usage only to those who ask.
    stream_type
        The content type of a stream.
    """

    id_prefix: str
    headers: tuple[tuple[bytes, bytes], ...] = ()
    id_header: bytes
    refusal: Callable[[Body], str | None]
    to_chats: Callable[[Body], list[Body]]
    error_body: ErrorBody
    usage: Callable[[int, list[Answer]], dict[str, Any]]
    whole: Callable[[Reply], bytes]
    events: Callable[[Reply], Iterator[tuple[int, bytes]]]
    end: Callable[[Reply, int], bytes]
    error_event: Callable[[bytes, int], bytes]
    usage_on_demand: bool = False
    stream_type: bytes = b"text/event-stream; charset=utf-8"
