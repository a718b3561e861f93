"""The wire formats that the stub answers in."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from app.stub import messages_wire, wire
from app.stub.answers import Answer

Counts = Mapping[str, Any] | None


class _ErrorBody(Protocol):
    def __call__(self, message: str, *, kind: str = ..., code: str | None = ...) -> bytes: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """How one API writes requests, answers and errors; see `app.stub.wire`."""

    id_prefix: str
    headers: tuple[tuple[bytes, bytes], ...]
    id_header: bytes
    to_chat: Callable[[Mapping[str, Any]], Mapping[str, Any]]
    error_body: _ErrorBody
    usage: Callable[[int, list[Answer]], dict[str, Any]]
    completion_body: Callable[[str, str, list[Answer], Counts], bytes]
    events: Callable[[str, str, list[Answer], Counts], Iterator[tuple[int, bytes]]]
    error_event: Callable[[bytes], bytes]
    end: bytes
    usage_on_demand: bool
    """Whether a stream tells usage only to those who ask."""


OPENAI = Dialect(
    id_prefix="chatcmpl-sim",
    headers=((b"openai-version", b"2020-10-01"),),
    id_header=b"x-request-id",
    to_chat=lambda body: body,
    error_body=wire.error_body,
    usage=wire.usage,
    completion_body=wire.completion_body,
    events=wire.events,
    error_event=lambda body: b"data: %b\n\n" % body,
    end=b"data: [DONE]\n\n",
    usage_on_demand=True,
)
ANTHROPIC = Dialect(
    id_prefix="msg_sim",
    headers=(),
    id_header=b"request-id",
    to_chat=messages_wire.to_chat,
    error_body=messages_wire.error_body,
    usage=messages_wire.usage,
    completion_body=messages_wire.completion_body,
    events=messages_wire.events,
    error_event=messages_wire.error_event,
    end=messages_wire.END,
    usage_on_demand=False,
)
