"""The endpoints of models that do not chat: `/v1/embeddings`, images, audio, moderations, rerank.

A request names its model, and no other is asked: what differs between models of these kinds cannot
be made up for. Everything else is as with chat, from keys and budgets to retries on another
deployment of the same model. Requests are bounded like those for chat (`server.max_body_bytes`) and
kept until they are answered, so that they can be repeated; sound is passed on as it comes.
"""

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import msgspec

from app.api.answers import Headers
from app.api.dialects.base import Documented, OpenAIShaped, ParsedRequest
from app.api.knobs import NO_KNOBS
from app.api.pinned_schema import documented_as
from app.errors import InvalidRequestError
from app.gateway.request import RouteRequest
from app.head import RequestHead
from app.paths import CHAT_COMPLETIONS
from app.providers.base import Chunk
from app.usage import Usage
from app.wire.body import Body, Fields
from app.wire.envelope import decode_value, read_envelope
from app.wire.pinned.embeddings import Inputs, asks_for_base64, read_inputs
from app.wire.pinned.endpoints import EMBEDDINGS, ENDPOINTS, SPEECH, TAKE_FORMS
from app.wire.pinned.forms import FORM_AFTER, FORM_BEFORE, FORM_TYPE, is_form, read_form
from routers.models import Demand
from routers.text.token_estimate import estimate_tokens_and_upper
from routers.types import Conversation, Message, Role

_TEXT = msgspec.json.Decoder(str | None)
_FLAG = msgspec.json.Decoder(bool | None)
_ANY = msgspec.json.Decoder()
_COUNT = msgspec.json.Decoder(int | None)
_MAX_ANSWERS = 1_000
_TELLS = ("input", "prompt", "query", "documents", "instructions")
"""Fields with what a model is sent to read."""
_NO_OUTPUT = frozenset({EMBEDDINGS, "moderations", "rerank"})
"""Of their answers no tokens are billed."""


class Pinned(OpenAIShaped):
    """One of the endpoints."""

    passed_on: tuple[bytes, ...] = (b"openai-beta",)
    large_fields: tuple[str, ...] = ("input", "documents")

    def __init__(self, name: str) -> None:
        self.name = name
        self.kind = ENDPOINTS[name]
        self.path = f"/v1/{name}"
        self.takes_forms = name in TAKE_FORMS
        self.documented: Documented = documented_as(name)

    def parse(self, body: bytes, head: RequestHead, *, max_messages: int) -> ParsedRequest:
        """Take a request body apart; see `Dialect.parse`."""
        content_type = head.get(b"content-type")
        if self.takes_forms and content_type is not None and is_form(content_type):
            return self._form(body, content_type)
        fields = read_envelope(body)
        model = _value(_TEXT, fields, "model") or ""
        own = {name: bytes(raw) for name, raw in fields.items() if name != "model"}
        if self.name == EMBEDDINGS:
            return self._parsed(model, own, _inputs(own))
        own_texts = tuple(_texts(own))
        _check_number(own, max_messages)
        return self._parsed(
            model,
            own,
            Inputs(texts=own_texts),
            n_answers=self._n_answers(_value(_COUNT, fields, "n")),
            stream=self.name == SPEECH or bool(_value(_FLAG, fields, "stream")),
        )

    def _form(self, body: bytes, content_type: bytes) -> ParsedRequest:
        form = read_form(body, content_type)
        n = form.values.get("n", "1")
        return self._parsed(
            form.values.get("model", ""),
            {FORM_TYPE: content_type, FORM_BEFORE: form.before, FORM_AFTER: form.after},
            Inputs(texts=(form.values.get("prompt", ""),)),
            n_answers=self._n_answers(
                int(n) if n.isascii() and n.isdecimal() and len(n) < 9 else None
            ),
            stream=form.values.get("stream", "").lower() in ("true", "1"),
        )

    def _n_answers(self, n: int | None) -> int:
        if n is not None and not 0 < n <= _MAX_ANSWERS:
            raise InvalidRequestError(f"n must be from 1 to {_MAX_ANSWERS}", param="n")
        return n if n is not None and self.kind == "images" else 1

    def _parsed(
        self,
        model: str,
        fields: Fields,
        inputs: Inputs,
        *,
        n_answers: int = 1,
        stream: bool = False,
    ) -> ParsedRequest:
        tokens = upper = sum(inputs.token_counts)
        if inputs.texts:
            # Together, so that what is uncertain of many short ones is not added up.
            more, more_upper = estimate_tokens_and_upper("\n".join(inputs.texts))
            more = max(more, sum(map(bool, inputs.texts)))
            tokens, upper = tokens + more, upper + max(more, more_upper)
        return ParsedRequest(
            model=model,
            body=Body(
                fields,
                dialect=self.name,
                untold=("model", f"the upstream of this model has no {self.path}"),
            ),
            stream=stream,
            include_usage=False,
            conversation=Conversation(
                tuple(Message(Role.USER, text) for text in inputs.texts or ("",))
            ),
            demand=Demand(
                input_tokens=tokens,
                input_tokens_upper=upper,
                max_output_tokens=0 if self.name in _NO_OUTPUT else None,
                n_answers=n_answers,
            ),
            turns=(),
            knobs=NO_KNOBS,
            kind=self.kind,
            token_ids=bool(inputs.token_counts),
        )

    def writer(
        self,
        request: RouteRequest,  # noqa: ARG002  (of the seam: answers come as they are written)
        *,
        dialect: str = CHAT_COMPLETIONS,  # noqa: ARG002
    ) -> "PinnedWriter":
        """Return what writes the answer to a request."""
        return PinnedWriter()


class PinnedWriter:
    """Passes answers on."""

    __slots__ = ()

    headers: Headers = []  # noqa: RUF012  (never changed)
    keeps = False
    tells_usage = False
    ping = b""
    """None: what streams here may be sound."""

    def whole(
        self,
        body: bytes,
        *,
        usage: Usage | None,  # noqa: ARG002  (of the seam)
        cost_usd: float | None,  # noqa: ARG002  (a header tells it)
        extras: Mapping[str, Any] | None,  # noqa: ARG002  (there was nothing to choose)
    ) -> bytes:
        """Return a whole answer."""
        return body

    def begin(self, first: Chunk, extras: Mapping[str, Any] | None) -> bytes:  # noqa: ARG002
        """Return the beginning of a stream."""
        return first.data

    def chunk(self, chunk: Chunk) -> bytes:
        """Return what a further chunk brings."""
        return chunk.data

    def end(self, usage: Usage | None, cost_usd: float | None) -> bytes:  # noqa: ARG002
        """Return the end of a stream that is complete."""
        return b""

    def broken(self, error: BaseException) -> bytes:  # noqa: ARG002
        """Return nothing: the connection ends before the stream does."""
        return b""


@cache
def pinned() -> tuple[Pinned, ...]:
    """Return the endpoints, all of them."""
    return tuple(map(Pinned, ENDPOINTS))


def _inputs(fields: Fields) -> Inputs:
    if "input" not in fields:
        hint = "; messages are for /v1/chat/completions" if "messages" in fields else ""
        raise InvalidRequestError(f"you must provide an input parameter{hint}", param="input")
    asks_for_base64(fields)  # a form that there is not is refused here
    return read_inputs(fields["input"])


def _value(decoder: msgspec.json.Decoder[Any], fields: Mapping[str, Any], name: str) -> Any:
    return decode_value(decoder, fields[name], name) if name in fields else None


def _texts(fields: Fields) -> Sequence[str]:
    """Return the texts that a model is sent; what has another shape is the upstream's to judge."""
    found: list[str] = []
    for name in _TELLS:
        if name in fields:
            found += _told(decode_value(_ANY, fields[name], name))
    return found


def _told(value: Any) -> Sequence[str]:
    if isinstance(value, str):
        return [value]
    if not isinstance(value, list):
        return []
    texts = [each.get("text") if isinstance(each, dict) else each for each in value]
    return [text for text in texts if isinstance(text, str)]


def _check_number(fields: Fields, most: int) -> None:
    documents = _value(_ANY, fields, "documents")
    n = len(documents) if isinstance(documents, list) else 0
    if n > most:
        raise InvalidRequestError(
            f"the request has {n} documents; at most {most} are taken (server.max_messages)",
            param="documents",
        )
