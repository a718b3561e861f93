"""Anthropic's Messages API, spoken to clients of OpenAI's; passed through to its own.

Docs: `docs/guides/providers.md` lists what is translated, refused and given back.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import msgspec

from app.errors import (
    UpstreamError,
    UpstreamInvalidResponseError,
    UpstreamMisconfiguredError,
)
from app.paths import MESSAGES
from app.providers.base import PROVIDERS, Chunk, ModelCall, Provider
from app.providers.http.answer_stream import AnswerStream
from app.providers.http.error_body import error_detail
from app.providers.http.errors import Headers
from app.providers.http.provider import HttpProvider
from app.providers.http.wordings import unquoted
from app.providers.messages.native import (
    NativeStream,
    encode_native,
    is_error_body,
    native_answer,
    with_fitting_thinking,
    without_thoughts,
)
from app.providers.messages.request import DEFAULT_MAX_TOKENS, encode_messages_request
from app.providers.messages.stream import MessageStream
from app.providers.messages.wire import whole_answer
from app.providers.translation.errors import openai_error_body
from app.providers.translation.seals import is_about_seals
from app.wire.decoding import DECODE_ERRORS

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
    native_dialects = frozenset({MESSAGES})
    clients_word = frozenset({b"anthropic-version"})

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.token_counter: Provider | None = _TokenCounter(**options)

    def _dialect_headers(self, api_key: str | None) -> Sequence[tuple[str, str]]:
        version = ("anthropic-version", API_VERSION)
        return (version,) if api_key is None else (version, ("x-api-key", api_key))

    def _encode(self, call: ModelCall) -> bytes:
        if call.dialect == MESSAGES:
            fields: Mapping[str, bytes] = call.fields
            if call.max_output_tokens is not None:
                fields = with_fitting_thinking(fields)
            if "max_tokens" not in fields:
                fields = {**fields, "max_tokens": b"%d" % DEFAULT_MAX_TOKENS}
            return encode_native(fields, model=call.upstream_model)
        return encode_messages_request(call.fields, model=call.upstream_model, stream=call.stream)

    def _whole(self, call: ModelCall, body: bytes, headers: Headers) -> Chunk:
        return (native_answer if call.dialect == MESSAGES else whole_answer)(body, headers)

    def _stream(self, call: ModelCall, headers: Headers) -> AnswerStream:
        kind = NativeStream if call.dialect == MESSAGES else MessageStream
        return kind(headers, max_event_bytes=self._max_response_bytes)

    def _mended(self, call: ModelCall, failure: UpstreamError) -> ModelCall | None:
        """Take out what was thought, where the upstream refuses the seals of that.

        They are bound to a model and to what came before them: after a conversation has changed
        its model, or its client a message, no other deployment would take them either.
        """
        fields = without_thoughts(call) if is_about_seals(failure.body) else None
        return None if fields is None else msgspec.structs.replace(call, fields=fields)

    def _failure(self, status: int, headers: Headers, body: bytes) -> UpstreamError:
        detail = error_detail(body)
        if status == 400 and detail is not None and _OUT_OF_MONEY.search(unquoted(detail.message)):
            # It comes as a bad request, and is none: the client cannot mend it.
            return UpstreamMisconfiguredError(
                "the upstream answered 400 (its account has reached a limit)", status=status
            )
        return super()._failure(status, headers, openai_error_body(body))

    def _as_it_came(self, call: ModelCall, failure: UpstreamError, body: bytes) -> None:
        if call.dialect == MESSAGES and failure.body is not None and is_error_body(body):
            failure.body, failure.dialect = body, MESSAGES


_ANSWERED = frozenset({"max_tokens", "stream", "metadata", "stop_sequences", "service_tier"})
"""Fields about an answer, which the counter does not know."""


class _Count(msgspec.Struct):
    input_tokens: Annotated[int, msgspec.Meta(ge=0)]


_decode_count = msgspec.json.Decoder(_Count).decode


class _TokenCounter(AnthropicProvider):
    """Asks how many tokens a request has; its answer is passed on as it is."""

    path = "/messages/count_tokens"

    def __init__(self, **options: Any) -> None:
        HttpProvider.__init__(self, **options)
        self.token_counter = None

    def _encode(self, call: ModelCall) -> bytes:
        fields = {name: value for name, value in call.fields.items() if name not in _ANSWERED}
        return encode_native(fields, model=call.upstream_model)

    def _whole(self, call: ModelCall, body: bytes, headers: Headers) -> Chunk:  # noqa: ARG002
        try:
            _decode_count(body)
        except DECODE_ERRORS as error:
            raise UpstreamInvalidResponseError("the upstream's answer counts nothing") from error
        return Chunk(data=body, headers=tuple(headers))
