"""Amazon Bedrock's Converse, spoken to clients of OpenAI's.

Docs: `docs/guides/providers.md` lists what is translated, refused and given back.
"""

from collections.abc import Sequence
from urllib.parse import quote

import httpx

from app.errors import UpstreamError
from app.providers.base import PROVIDERS, Chunk, Identity, ModelCall
from app.providers.converse.errors import error_of
from app.providers.converse.request import encode_converse_request
from app.providers.converse.signing import AwsSignatures
from app.providers.converse.stream import ConverseStream
from app.providers.converse.wire import whole_answer
from app.providers.http.answer_stream import AnswerStream
from app.providers.http.errors import Headers
from app.providers.http.provider import HttpProvider
from app.providers.http.tokens import Authoriser
from app.providers.translation.fields import wants_one_call
from app.providers.translation.seals import unsealed_call


@PROVIDERS.register("bedrock")
class BedrockProvider(HttpProvider):
    """Converse: the model is part of the address, the key of Bedrock's a bearer token.

    Without a key requests are signed with AWS' own credentials. A model's upstream name is the id
    of a model, or the id or ARN of an inference profile.
    """

    example_url = "https://bedrock-runtime.us-east-1.amazonaws.com"
    path = "/model"
    inline_bytes = 16_000  # every message is translated
    end_marker = "messageStop"
    stream_type = b"application/vnd.amazon.eventstream"
    passed_on = {b"x-amzn-requestid": b"x-upstream-request-id"}  # noqa: RUF012  (a class variable)

    def _dialect_headers(self, api_key: str | None) -> Sequence[tuple[str, str]]:
        return () if api_key is None else (("Authorization", f"Bearer {api_key}"),)

    def _authoriser_of(self, api_key: str | None, identity: Identity) -> Authoriser | None:
        told = super()._authoriser_of(api_key, identity)
        if told is not None or api_key is not None:
            return told
        return AwsSignatures(self._base_url.host, identity)

    def _url_of(self, call: ModelCall) -> httpx.URL:
        model = quote(call.upstream_model, safe="")
        return self._join(f"/model/{model}/{'converse-stream' if call.stream else 'converse'}")

    def _encode(self, call: ModelCall) -> bytes:
        return encode_converse_request(call.fields, model=call.upstream_model)

    def _whole(self, call: ModelCall, body: bytes, headers: Headers) -> Chunk:
        return whole_answer(
            body, headers, model=call.upstream_model, one_call=wants_one_call(call.fields)
        )

    def _stream(self, call: ModelCall, headers: Headers) -> AnswerStream:
        return ConverseStream(
            headers,
            model=call.upstream_model,
            max_event_bytes=self._max_response_bytes,
            one_call=wants_one_call(call.fields),
        )

    def _failure(self, status: int, headers: Headers, body: bytes) -> UpstreamError:
        return error_of(status, headers, body, now_s=self._now())

    def _mended(self, call: ModelCall, failure: UpstreamError) -> ModelCall | None:
        """Take out sealed thoughts, where the upstream refuses the seals."""
        return unsealed_call(call, failure)
