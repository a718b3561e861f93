"""Upstreams that speak OpenAI's chat completions: OpenAI itself and most others."""

from collections.abc import Sequence

import httpx

from app.errors import UpstreamInvalidResponseError
from app.providers.base import PROVIDERS, Chunk, ModelCall
from app.providers.chat.stream import ChatStream
from app.providers.chat.texts import TextStream, read_texts
from app.providers.chat.wire import (
    decode_completion,
    encode_request,
    error_in,
    has_content,
    text_chars,
    told_usage,
)
from app.providers.http.answer_stream import AnswerStream
from app.providers.http.error_body import reported_error
from app.providers.http.errors import Headers, error_from_event
from app.providers.http.provider import HttpProvider
from app.providers.responses.native import NativeStream, encode_native, native_answer
from app.types import RESPONSES
from app.wire.completions.request import COMPLETIONS

_PATHS = {COMPLETIONS: "/completions", RESPONSES: "/responses"}


@PROVIDERS.register("openai")
class OpenAIProvider(HttpProvider):
    """OpenAI's dialect: `base_url` usually ends in `/v1`, the key is a bearer token."""

    example_url = "https://api.openai.com/v1"
    path = "/chat/completions"
    optional_dialects = frozenset({COMPLETIONS, RESPONSES})
    end_marker = "[DONE]"
    passed_on = {  # noqa: RUF012  (declared as a class variable by the parent)
        b"openai-processing-ms": b"openai-processing-ms",
        b"openai-version": b"openai-version",
        b"x-request-id": b"x-upstream-request-id",
    }

    def _dialect_headers(self, api_key: str | None) -> Sequence[tuple[str, str]]:
        return () if api_key is None else (("Authorization", f"Bearer {api_key}"),)

    def _url_of(self, call: ModelCall) -> httpx.URL:
        path = _PATHS.get(call.dialect)
        return self._url if path is None else self._join(path)

    def _encode(self, call: ModelCall) -> bytes:
        if call.dialect == RESPONSES:
            return encode_native(call.fields, model=call.upstream_model)
        return encode_request(
            call.fields,
            model=call.upstream_model,
            stream=call.stream,
            ask_for_usage=self._stream_usage,
        )

    def _whole(self, call: ModelCall, body: bytes, headers: Headers) -> Chunk:
        if call.dialect == COMPLETIONS:
            return read_texts(body, headers)
        if call.dialect == RESPONSES:
            return native_answer(body, headers)
        if body[:32].lstrip().startswith(b"[") and (detail := reported_error(body)) is not None:
            raise error_from_event(detail)  # Gemini's errors come in a list
        completion, body = decode_completion(body)
        choices = completion.choices or ()
        detail = error_in(completion) if choices else reported_error(body)
        if detail is not None:
            raise error_from_event(detail)
        messages = [choice.message for choice in choices if choice.message]
        reasons = [choice.finish_reason for choice in choices]
        if not (any(reasons) or any(map(has_content, messages))):
            raise UpstreamInvalidResponseError("the upstream's answer is empty")
        return Chunk(
            data=body,
            usage=told_usage(completion),
            content_events=len(messages),
            content_chars=sum(map(text_chars, messages)),
            response_model=completion.model,
            finish_reason=reasons[0] if reasons else None,
            headers=tuple(headers),
        )

    def _stream(self, call: ModelCall, headers: Headers) -> AnswerStream:
        if call.dialect == COMPLETIONS:
            return TextStream(headers, max_event_bytes=self._max_response_bytes)
        if call.dialect == RESPONSES:
            return NativeStream(headers, max_event_bytes=self._max_response_bytes)
        return ChatStream(headers, max_event_bytes=self._max_response_bytes)
