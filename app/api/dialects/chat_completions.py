"""OpenAI's chat completions: `POST /v1/chat/completions`."""

from collections.abc import Mapping
from typing import Any

import msgspec

from app.api.answers import Headers, error_object
from app.api.dialects.base import DIALECTS, Documented, OpenAIShaped, ParsedRequest, parsed_chat
from app.api.schema import ChatCompletion, ChatCompletionRequest, ErrorBody, StreamEvent
from app.gateway.request import RouteRequest
from app.head import RequestHead
from app.paths import CHAT_COMPLETIONS, CHAT_ROUTE
from app.providers.base import Chunk
from app.usage import Usage
from app.wire import sse
from app.wire.chat_request import MAX_MESSAGES, read_chat_fields
from app.wire.envelope import read_envelope
from app.wire.responses.in_chat import as_chat_fields
from app.wire.usage import with_usage


@DIALECTS.register("chat-completions")
class ChatCompletions(OpenAIShaped):
    """The dialect that everything inside is written in: nothing of it is translated."""

    name = CHAT_COMPLETIONS
    path = CHAT_ROUTE
    passed_on: tuple[bytes, ...] = (b"openai-beta",)
    large_fields: tuple[str, ...] = ("messages", "tools", "functions", "input")
    documented = Documented(
        summary="Route a chat completion",
        description="Decide, call the chosen model, and return its answer as it came.",
        request=ChatCompletionRequest,
        answer=ChatCompletion,
        event=StreamEvent,
        error=ErrorBody,
        example={
            "model": "auto",
            "messages": [{"role": "user", "content": "What is a steelyard?"}],
        },
        streamed={"stream": True, "stream_options": {"include_usage": True}},
    )

    def parse(
        self,
        body: bytes,
        head: RequestHead,  # noqa: ARG002  (of the seam: other dialects say something there)
        *,
        max_messages: int,
    ) -> ParsedRequest:
        """Take a request body apart; see `Dialect.parse`."""
        return parse_chat_request(body, max_messages=max_messages)

    def writer(
        self,
        request: RouteRequest,
        *,
        dialect: str = CHAT_COMPLETIONS,  # noqa: ARG002  (of the seam: it is always this one)
    ) -> "ChatWriter":
        """Return what writes the answer to a request."""
        return ChatWriter(tells_usage=request.include_usage)


class ChatWriter:
    """Passes on what models of OpenAI's dialect answer, and adds what the gateway knows."""

    __slots__ = ("_template", "_usage_payload", "tells_usage")

    headers: Headers = []  # noqa: RUF012  (never changed)
    keeps = False
    ping = sse.PING

    def __init__(self, *, tells_usage: bool) -> None:
        self.tells_usage = tells_usage
        self._template: bytes | None = None
        self._usage_payload: bytes | None = None

    def whole(
        self,
        body: bytes,
        *,
        usage: Usage | None,
        cost_usd: float | None,
        extras: Mapping[str, Any] | None,
    ) -> bytes:
        """Return a whole answer."""
        body = with_usage(body, usage, cost_usd=cost_usd)
        return body if extras is None else sse.add_fields(body, extras)

    def begin(self, first: Chunk, extras: Mapping[str, Any] | None) -> bytes:
        """Return the beginning of a stream."""
        data = self.chunk(first)
        return data if extras is None else sse.add_fields_to_first_event(data, extras)

    def chunk(self, chunk: Chunk) -> bytes:
        """Return what a further chunk brings."""
        if self._template is None:
            self._template = chunk.template
        if chunk.usage_event is not None:
            self._usage_payload = chunk.usage_event
        return chunk.data

    def end(self, usage: Usage | None, cost_usd: float | None) -> bytes:
        """Return the end of a stream that is complete."""
        payload = self._usage_payload or self._template
        if not self.tells_usage or payload is None:
            return sse.DONE
        return sse.usage_event(payload, usage, cost_usd=cost_usd) + sse.DONE

    def broken(self, error: BaseException) -> bytes:
        """Return the end of a stream that failed: no [DONE] follows."""
        return sse.event(msgspec.json.encode({"error": error_object(error)}))


def parse_chat_request(body: bytes, *, max_messages: int = MAX_MESSAGES) -> ParsedRequest:
    """Take the body of a chat-completions request apart; see `Dialect.parse`."""
    fields = as_chat_fields(read_envelope(body))
    return parsed_chat(read_chat_fields(fields, max_messages=max_messages))
