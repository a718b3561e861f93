"""Google's Gemini API, spoken to clients of OpenAI's.

Docs: `docs/guides/providers.md` lists what is translated, refused and given back.
"""

from collections.abc import Sequence
from urllib.parse import quote

import httpx

from app.errors import UpstreamError
from app.providers.base import PROVIDERS, Chunk, ModelCall
from app.providers.generate_content.request import encode_generate_request
from app.providers.generate_content.stream import GenerateStream
from app.providers.generate_content.wire import whole_answer
from app.providers.http.answer_stream import AnswerStream
from app.providers.http.error_body import reported_error
from app.providers.http.errors import Headers, error_from_event
from app.providers.http.provider import HttpProvider
from app.providers.translation.errors import openai_error_body
from app.providers.translation.fields import wants_one_call
from app.providers.translation.seals import unsealed_call


@PROVIDERS.register("gemini")
class GeminiProvider(HttpProvider):
    """Gemini's dialect: the model is part of the address, the key an `x-goog-api-key`.

    A model's upstream name is that of a model (`gemini-3-flash-preview`), or with its collection
    (`tunedModels/my-model`).
    """

    example_url = "https://generativelanguage.googleapis.com/v1beta"
    path = "/models"
    inline_bytes = 16_000  # every message is translated
    end_marker = "a finishReason"
    usage_key = b'"usageMetadata":'
    passed_on = {}  # noqa: RUF012  (a class variable)

    def _dialect_headers(self, api_key: str | None) -> Sequence[tuple[str, str]]:
        return () if api_key is None else (("x-goog-api-key", api_key),)

    def _url_of(self, call: ModelCall) -> httpx.URL:
        model = call.upstream_model
        path = quote(model if "/" in model else f"models/{model}", safe="/")
        if call.stream:
            return self._join(f"/{path}:streamGenerateContent", query="alt=sse")
        return self._join(f"/{path}:generateContent")

    def _encode(self, call: ModelCall) -> bytes:
        return encode_generate_request(call.fields, model=call.upstream_model)

    def _whole(self, call: ModelCall, body: bytes, headers: Headers) -> Chunk:
        detail = reported_error(body)
        if detail is not None:
            raise error_from_event(detail)
        return whole_answer(body, headers, one_call=wants_one_call(call.fields))

    def _stream(self, call: ModelCall, headers: Headers) -> AnswerStream:
        return GenerateStream(
            headers,
            max_event_bytes=self._max_response_bytes,
            one_call=wants_one_call(call.fields),
        )

    def _failure(self, status: int, headers: Headers, body: bytes) -> UpstreamError:
        error = super()._failure(status, headers, body)
        if error.body is not None:
            error.body = openai_error_body(body)
        return error

    def _mended(self, call: ModelCall, failure: UpstreamError) -> ModelCall | None:
        """Take out sealed thoughts, where the upstream refuses the seals."""
        return unsealed_call(call, failure)
