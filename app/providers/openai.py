"""Upstreams that speak OpenAI's chat completions: OpenAI itself and most others."""

from collections.abc import Sequence
from typing import Any

import httpx
import msgspec

from app.errors import UpstreamError, UpstreamInvalidResponseError
from app.paths import CHAT_COMPLETIONS, RESPONSES
from app.providers.base import PROVIDERS, Chunk, ModelCall
from app.providers.chat.stream import ChatStream
from app.providers.chat.text_pieces import put_texts_together, texts_in_pieces
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
from app.providers.http.pinned import RawStream, encode_pinned, read_pinned
from app.providers.http.provider import HttpProvider
from app.providers.responses.native import NativeStream, encode_native, native_answer
from app.providers.responses.retold import response_in_pieces, whole_response
from app.wire.completions.answer import is_text_completion
from app.wire.completions.request import COMPLETIONS
from app.wire.pinned.embeddings import asks_for_base64, in_float_alone
from app.wire.pinned.endpoints import EMBEDDINGS, PINNED

_REFUSED = frozenset({400, 422})
_ABOUT_THE_FORM = (b"encoding_format", b"base64", b"encoding format")


def _is_about_the_form(failure: UpstreamError) -> bool:
    """Whether an upstream refuses a request for the form in which it asks for vectors."""
    said = (failure.body or failure.message.encode()).lower()
    return any(words in said for words in _ABOUT_THE_FORM)


PATHS = {name: f"/{name}" for name in (COMPLETIONS, RESPONSES, *PINNED)}
"""Where dialects other than chat completions are spoken."""


@PROVIDERS.register("openai")
class OpenAIProvider(HttpProvider):
    """OpenAI's dialect: `base_url` usually ends in `/v1`, the key is a bearer token."""

    example_url = "https://api.openai.com/v1"
    path = "/chat/completions"
    native_dialects = PINNED
    optional_dialects = frozenset({COMPLETIONS, RESPONSES})
    end_marker = "[DONE]"
    passed_on = {  # noqa: RUF012  (declared as a class variable by the parent)
        b"openai-processing-ms": b"openai-processing-ms",
        b"openai-version": b"openai-version",
        b"x-request-id": b"x-upstream-request-id",
    }

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._float_alone: set[str] = set()
        """Embedding models that have refused to answer in base64."""

    def _dialect_headers(self, api_key: str | None) -> Sequence[tuple[str, str]]:
        return () if api_key is None else (("Authorization", f"Bearer {api_key}"),)

    def _url_of(self, call: ModelCall) -> httpx.URL:
        path = PATHS.get(call.dialect)
        return self._url if path is None else self._join(path)

    def _encode(self, call: ModelCall) -> bytes:
        if call.dialect == RESPONSES:
            return encode_native(call.fields, model=call.upstream_model)
        if call.dialect in PINNED:
            return encode_pinned(self._with_known_form(call))
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
        if call.dialect in PINNED:
            return read_pinned(call, body, headers)
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
        if call.dialect in PINNED:
            return RawStream(call.dialect, headers)
        return ChatStream(headers, max_event_bytes=self._max_response_bytes)

    def _retold(self, call: ModelCall) -> ModelCall:
        return call if call.dialect in (COMPLETIONS, RESPONSES) else super()._retold(call)

    def _put_together(self, chunks: Sequence[Chunk]) -> Chunk:
        match chunks[0].dialect if chunks else CHAT_COMPLETIONS:
            case name if name == COMPLETIONS:
                return put_texts_together(chunks)
            case name if name == RESPONSES:
                return native_answer(whole_response(chunks), chunks[0].headers)
            case _:
                return super()._put_together(chunks)

    def _in_pieces(self, whole: Chunk) -> Chunk:
        match whole.dialect:
            case name if name == COMPLETIONS and is_text_completion(whole.data):
                return texts_in_pieces(whole)
            case name if name == RESPONSES:
                return response_in_pieces(whole)
            case _:
                return super()._in_pieces(msgspec.structs.replace(whole, dialect=CHAT_COMPLETIONS))

    def _mended(self, call: ModelCall, failure: UpstreamError) -> ModelCall | None:
        """Ask for plain numbers where base64 is refused; they are packed here."""
        if (
            call.dialect != EMBEDDINGS
            or failure.status not in _REFUSED
            or call.upstream_model in self._float_alone
            or not asks_for_base64(call.fields)
            or not _is_about_the_form(failure)
        ):
            return None
        self._float_alone.add(call.upstream_model)
        return call

    def _with_known_form(self, call: ModelCall) -> ModelCall:
        if call.dialect != EMBEDDINGS or call.upstream_model not in self._float_alone:
            return call
        return msgspec.structs.replace(call, fields=dict(in_float_alone(call.fields)))
