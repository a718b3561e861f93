"""Anthropic's Messages API: `POST /v1/messages`.

Between a client and an upstream that both speak it nothing is translated.
"""

import re
from collections.abc import Mapping
from typing import Any

from app.api.answers import Headers, limit_headers
from app.api.dialects._messages_errors import MessagesError, error_answer, error_of
from app.api.dialects._messages_limits import rate_limit_headers
from app.api.dialects._messages_schema import (
    Message,
    MessagesErrorBody,
    MessagesEvent,
    MessagesRequest,
)
from app.api.dialects.base import (
    DIALECTS,
    Documented,
    ParsedRequest,
    Stateless,
    Writer,
    parsed_chat,
)
from app.errors import UpstreamError
from app.gateway.request import RouteRequest
from app.head import RequestHead
from app.paths import CHAT_COMPLETIONS, MESSAGES, MESSAGES_ROUTE
from app.providers.base import Chunk
from app.stores.claims import Standing
from app.usage import Usage
from app.wire.body import Body
from app.wire.messages.answer import Told, to_message
from app.wire.messages.reading import read_messages_request
from app.wire.messages.request import Translation
from app.wire.messages.stream import (
    PING,
    MessageEvents,
    add_to_first_event,
    error_event,
    raw_error_event,
)
from app.wire.sse import add_fields

REQUEST_ID = b"request-id"
LEFT_OUT = b"x-route-left-out"
_MAX_TOLD = 20
_NOT_TOLD = re.compile(r"[^A-Za-z0-9_.:\[\]-]")


@DIALECTS.register("messages")
class Messages(Stateless):
    """What Claude Code and Anthropic's libraries speak."""

    name = MESSAGES
    path = MESSAGES_ROUTE
    passed_on: tuple[bytes, ...] = (b"anthropic-*",)
    large_fields: tuple[str, ...] = ("messages", "system", "tools")
    documented = Documented(
        summary="Route a message",
        description="The same in Anthropic's dialect: decide, call the chosen model, and return "
        "its answer, as it came from an upstream of that dialect, translated from any other.",
        example={
            "model": "auto",
            "max_tokens": 1000,
            "messages": [{"role": "user", "content": "What is a steelyard?"}],
        },
        streamed={"stream": True},
        request=MessagesRequest,
        answer=Message,
        event=MessagesEvent,
        error=MessagesErrorBody,
    )

    def parse(self, body: bytes, head: RequestHead, *, max_messages: int) -> ParsedRequest:
        """Take a request body apart; see `Dialect.parse`."""
        chat, asked = read_messages_request(body, head, max_messages=max_messages)
        sent = Body(chat.fields, dialect=MESSAGES, translate=Translation(asked))
        return parsed_chat(chat, sent)

    def writer(self, request: RouteRequest, *, dialect: str = CHAT_COMPLETIONS) -> Writer:
        """Return what writes the answer to a request."""
        headers = [(REQUEST_ID, request.request_id.encode())]
        if dialect == MESSAGES:
            return PassedOn(headers, request.request_id)
        return Translated(headers, request)

    def limit_headers(self, standing: Standing) -> Headers:
        """Return what tells a client where its limits stand."""
        return [*rate_limit_headers(standing), *limit_headers(standing)]

    def error(self, error: BaseException, *, request_id: str | None) -> tuple[int, Headers, bytes]:
        """Return status, headers and body that tell a client of an error."""
        status, headers, body = error_answer(error, request_id=request_id)
        if request_id is not None:
            headers.append((REQUEST_ID, request_id.encode()))
        return status, headers, body


class PassedOn:
    """Passes on what an upstream of the same dialect answers, byte for byte."""

    __slots__ = ("_request_id", "headers")

    ping = PING
    tells_usage = False
    keeps = False

    def __init__(self, headers: Headers, request_id: str) -> None:
        self.headers = headers
        self._request_id = request_id

    def whole(
        self,
        body: bytes,
        *,
        usage: Usage | None,  # noqa: ARG002
        cost_usd: float | None,  # noqa: ARG002
        extras: Mapping[str, Any] | None,
    ) -> bytes:
        """Return a whole answer."""
        return body if extras is None else add_fields(body, extras)

    def begin(self, first: Chunk, extras: Mapping[str, Any] | None) -> bytes:
        """Return the beginning of a stream."""
        return first.data if extras is None else add_to_first_event(first.data, extras)

    def chunk(self, chunk: Chunk) -> bytes:
        """Return what a further chunk brings."""
        return chunk.data

    def end(self, usage: Usage | None, cost_usd: float | None) -> bytes:  # noqa: ARG002
        """Return the end of a stream that is complete: it has come already."""
        return b""

    def broken(self, error: BaseException) -> bytes:
        """Return the end of a stream that failed."""
        return _broken(error, self._request_id)


class Translated:
    """Tells in this dialect what a chat server answers."""

    __slots__ = ("_events", "_headers", "_request", "_translation")

    ping = PING
    tells_usage = True
    keeps = False

    def __init__(self, headers: Headers, request: RouteRequest) -> None:
        translation = request.body.translation
        assert isinstance(translation, Translation)  # noqa: S101  (`parse` has made it)
        self._headers = headers
        self._request = request
        self._translation = translation
        self._events: MessageEvents | None = None

    @property
    def headers(self) -> Headers:
        """What the upstream did not get of the request, once it has got it."""
        left_out = self._translation.left_out
        if not left_out:
            return self._headers
        # Some are words of the client's, of any characters and number.
        told = [_NOT_TOLD.sub("?", name) for name in left_out[:_MAX_TOLD]]
        if len(left_out) > _MAX_TOLD:
            told.append(f"and {len(left_out) - _MAX_TOLD} more")
        return [*self._headers, (LEFT_OUT, ", ".join(told).encode())]

    def whole(
        self,
        body: bytes,
        *,
        usage: Usage | None,
        cost_usd: float | None,
        extras: Mapping[str, Any] | None,
    ) -> bytes:
        """Return a whole answer."""
        message = to_message(body, usage, self._told(), cost_usd=cost_usd)
        return message if extras is None else add_fields(message, extras)

    def begin(self, first: Chunk, extras: Mapping[str, Any] | None) -> bytes:
        """Return the beginning of a stream."""
        self._events = events = MessageEvents(
            self._told(), input_tokens=self._request.demand.input_tokens
        )
        start, said = events.begin(first.data)
        if extras is not None:
            start = add_to_first_event(start, extras)
        return start + said

    def chunk(self, chunk: Chunk) -> bytes:
        """Return what a further chunk brings."""
        assert self._events is not None  # noqa: S101  (`begin` comes first)
        if chunk.pieces is not None:
            return self._events.say(chunk.pieces)
        return self._events.feed(chunk.data) if chunk.data else b""

    def end(self, usage: Usage | None, cost_usd: float | None) -> bytes:
        """Return the end of a stream that is complete."""
        assert self._events is not None  # noqa: S101  (`begin` comes first)
        return self._events.end(usage, cost_usd=cost_usd)

    def broken(self, error: BaseException) -> bytes:
        """Return the end of a stream that failed."""
        return _broken(error, self._request.request_id)

    def _told(self) -> Told:
        return self._translation.told(f"msg_{self._request.decision_id.rpartition('-')[2]}")


def _broken(error: BaseException, request_id: str) -> bytes:
    if isinstance(error, UpstreamError) and error.body is not None and error.dialect == MESSAGES:
        return raw_error_event(error.body)
    told: MessagesError = error_of(error)
    return error_event(told.object, request_id)
