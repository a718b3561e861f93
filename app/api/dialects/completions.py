"""OpenAI's completions of plain prompts: `POST /v1/completions`."""

from collections.abc import Mapping
from typing import Any

import msgspec

from app.api.answers import Headers, error_object
from app.api.dialects.base import DIALECTS, Documented, OpenAIShaped, ParsedRequest, parsed_chat
from app.api.schema import ErrorBody, StreamEvent, TextCompletion, TextCompletionRequest
from app.gateway.request import RouteRequest
from app.head import RequestHead
from app.paths import CHAT_COMPLETIONS
from app.providers.base import Chunk
from app.usage import Usage
from app.wire import sse
from app.wire.completions.answer import is_text_completion, text_events, text_payload, whole_text
from app.wire.completions.request import COMPLETIONS, read_text_request
from app.wire.usage import with_usage


@DIALECTS.register("completions")
class Completions(OpenAIShaped):
    """Prompts without roles: for completing code, for models without a chat template.

    An upstream that takes them gets them as they are; any other is sent a single text as the
    message of a user.
    """

    name = COMPLETIONS
    path = "/v1/completions"
    passed_on: tuple[bytes, ...] = (b"openai-beta",)
    large_fields: tuple[str, ...] = ("prompt",)
    documented = Documented(
        summary="Complete a plain prompt",
        description="Send the prompt as it is to an upstream that takes such, and as a message "
        "to any other. Token numbers, several prompts, `suffix`, `echo` and `logprobs` need one "
        "of the former.",
        request=TextCompletionRequest,
        answer=TextCompletion,
        event=StreamEvent,
        error=ErrorBody,
        example={"model": "auto", "prompt": "A steelyard is", "max_tokens": 40},
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
        return parsed_chat(*read_text_request(body, max_messages=max_messages))

    def writer(
        self,
        request: RouteRequest,
        *,
        dialect: str = CHAT_COMPLETIONS,  # noqa: ARG002  (every chunk says what it is)
    ) -> "TextWriter":
        """Return what writes the answer to a request."""
        return TextWriter(tells_usage=request.include_usage)


class TextWriter:
    """Passes on what upstreams of the dialect answer, and tells chat completions as texts."""

    __slots__ = ("_payload", "tells_usage")

    headers: Headers = []  # noqa: RUF012  (never changed)
    keeps = False
    ping = sse.PING

    def __init__(self, *, tells_usage: bool) -> None:
        self.tells_usage = tells_usage
        self._payload: bytes | None = None

    def whole(
        self,
        body: bytes,
        *,
        usage: Usage | None,
        cost_usd: float | None,
        extras: Mapping[str, Any] | None,
    ) -> bytes:
        """Return a whole answer."""
        if not is_text_completion(body):
            body = whole_text(body)
        body = with_usage(body, usage, cost_usd=cost_usd)
        return body if extras is None else sse.add_fields(body, extras)

    def begin(self, first: Chunk, extras: Mapping[str, Any] | None) -> bytes:
        """Return the beginning of a stream."""
        data = self.chunk(first)
        return data if extras is None else sse.add_fields_to_first_event(data, extras)

    def chunk(self, chunk: Chunk) -> bytes:
        """Return what a further chunk brings."""
        native = chunk.dialect == COMPLETIONS
        payload = chunk.usage_event or (chunk.template if self._payload is None else None)
        if payload is not None and self.tells_usage:
            self._payload = payload if native else text_payload(payload)
        return chunk.data if native else text_events(chunk.data)

    def end(self, usage: Usage | None, cost_usd: float | None) -> bytes:
        """Return the end of a stream that is complete."""
        if not self.tells_usage or self._payload is None:
            return sse.DONE
        return sse.usage_event(self._payload, usage, cost_usd=cost_usd) + sse.DONE

    def broken(self, error: BaseException) -> bytes:
        """Return the end of a stream that failed: no [DONE] follows."""
        return sse.event(msgspec.json.encode({"error": error_object(error)}))
