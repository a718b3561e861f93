"""Anthropic's Messages API, spoken to clients of OpenAI's.

Docs: `docs/guides/providers.md` lists what is translated, refused and given back.
"""

import re
from collections.abc import Sequence

from app.errors import UpstreamError, UpstreamMisconfiguredError
from app.providers.base import PROVIDERS, Chunk, ModelCall
from app.providers.http.error_body import error_detail, reported_error
from app.providers.http.errors import Headers, error_from_event
from app.providers.http.provider import AnswerStream, HttpProvider
from app.providers.http.wordings import unquoted
from app.providers.messages.request import encode_messages_request
from app.providers.messages.stream import MessageStream
from app.providers.messages.wire import whole_answer
from app.providers.translation.errors import openai_error_body

API_VERSION = "2023-06-01"

_OUT_OF_MONEY = re.compile(
    r"credit balance is too low|reached your specified [^.]{0,40}usage limits", re.IGNORECASE
)


@PROVIDERS.register("anthropic")
class AnthropicProvider(HttpProvider):
    """Anthropic's dialect: `base_url` is `https://api.anthropic.com/v1`, the key an `x-api-key`.

    Another API version, or beta features, are chosen by `extra_headers`.
    """

    example_url = "https://api.anthropic.com/v1"
    path = "/messages"
    inline_bytes = 16_000  # every message is translated
    end_marker = "message_stop"
    passed_on = {b"request-id": b"x-upstream-request-id"}  # noqa: RUF012  (a class variable)

    def _dialect_headers(self, api_key: str | None) -> Sequence[tuple[str, str]]:
        version = ("anthropic-version", API_VERSION)
        return (version,) if api_key is None else (version, ("x-api-key", api_key))

    def _encode(self, call: ModelCall) -> bytes:
        return encode_messages_request(call.fields, model=call.upstream_model, stream=call.stream)

    def _whole(self, call: ModelCall, body: bytes, headers: Headers) -> Chunk:  # noqa: ARG002
        detail = reported_error(body)
        if detail is not None:
            raise error_from_event(detail)
        return whole_answer(body, headers)

    def _stream(self, call: ModelCall, headers: Headers) -> AnswerStream:  # noqa: ARG002
        return MessageStream(headers)

    def _failure(self, status: int, headers: Headers, body: bytes) -> UpstreamError:
        detail = error_detail(body)
        if status == 400 and detail is not None and _OUT_OF_MONEY.search(unquoted(detail.message)):
            # It comes as a bad request, and is none: the client cannot mend it.
            return UpstreamMisconfiguredError(
                "the upstream answered 400 (its account has reached a limit)", status=status
            )
        return super()._failure(status, headers, openai_error_body(body))
