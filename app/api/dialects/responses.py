"""OpenAI's Responses: `POST /v1/responses`."""

import re
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Self

import msgspec

from app.access.guard import Caller
from app.api.answers import Headers, error_object
from app.api.dialects.base import DIALECTS, Documented, OpenAIShaped, ParsedRequest, parsed_chat
from app.api.schema import ErrorBody
from app.api.schema_responses import Response, ResponseEvent, ResponsesRequest
from app.errors import (
    InvalidRequestError,
    PreviousResponseNotFoundError,
    UpstreamError,
)
from app.gateway.kept_responses import KeptResponses
from app.gateway.request import RouteRequest
from app.head import RequestHead
from app.paths import CHAT_COMPLETIONS, RESPONSES
from app.providers.base import Chunk
from app.providers.responses.retold import last_response
from app.usage import Usage
from app.wire import sse
from app.wire.body import Body, Fields
from app.wire.chat_request import read_chat_fields
from app.wire.envelope import read_envelope
from app.wire.messages.stream import add_to_first_event
from app.wire.responses.answer import Ids, echo_of, response_of, usage_object
from app.wire.responses.kept import KeptResponse, input_of, items_of
from app.wire.responses.request import ChatForm, chat_form
from app.wire.responses.stream import ResponseStream
from app.wire.told_names import told_names

NAME = RESPONSES
_ERRORS = (msgspec.DecodeError, RecursionError)
_NUMBER = re.compile(rb'"sequence_number"\s*:\s*([0-9]{1,15})')
SAID_TO_US = ("model", "routing", "cost_quality")
"""The fields of a request that are the gateway's own affair."""
_PROMPT = "prompt", "only the API that keeps a prompt knows it by its id; send its text"
_ITS_WORDS = {
    "max_completion_tokens": "max_output_tokens",
    "messages": "input",
    "response_format": "text.format",
    "reasoning_effort": "reasoning.effort",
}
"""What fields of chat completions are called here."""
_encode = msgspec.json.Encoder().encode


class _Body(Body):
    """A request, with what its translation came to.

    Parameters
    ----------
    fields
        As an upstream of the dialect is sent them.
    said
        As the client sent them.
    """

    __slots__ = ("form", "said")

    def __init__(self, fields: Fields, form: ChatForm, said: Fields) -> None:
        kept_elsewhere = fields.get("prompt", b"null") != b"null"
        super().__init__(
            fields,
            dialect=NAME,
            translate=lambda _fields: form.fields,
            untold=_PROMPT if kept_elsewhere else None,
        )
        self.form = form
        self.said = said

    def without(self, name: str) -> "_Body":
        """Return the same request without one of the client's fields."""
        if name not in self.sent:
            return self
        chat = replace(self.form, fields=_without(self.form.fields, name))
        body = _Body(_without(self.sent, name), chat, self.said)
        body._retell = self._retell
        return body


def _without(fields: Fields, name: str) -> Fields:
    return {key: value for key, value in fields.items() if key != name}


def _in_its_words(error: InvalidRequestError) -> InvalidRequestError:
    """Return an error about what a request was translated to in the words of the request."""
    name = _ITS_WORDS.get((error.param or "").partition("[")[0])
    if name is None:
        return error
    chats = (error.param or "").partition("[")[0]
    return InvalidRequestError(error.message.replace(chats, name), param=name)


@DIALECTS.register("responses")
class Responses(OpenAIShaped):
    """Responses over any upstream.

    Parameters
    ----------
    kept
        Where responses are kept; without, clients send the whole conversation each time.
    """

    name = NAME
    path = "/v1/responses"
    passed_on: tuple[bytes, ...] = (b"openai-beta",)
    large_fields: tuple[str, ...] = ("input", "tools")
    refers_back = True
    documented = Documented(
        summary="Route a response",
        description="Decide, call the chosen model, and return its answer as a Response, whatever "
        "dialect its upstream speaks.",
        request=ResponsesRequest,
        answer=Response,
        event=ResponseEvent,
        error=ErrorBody,
        example={"model": "auto", "input": "What is a steelyard?"},
        streamed={"stream": True},
    )

    def __init__(self, kept: KeptResponses | None = None) -> None:
        self._kept = kept

    def keeping(self, kept: KeptResponses | None) -> Self:
        """Return the dialect with a place to keep responses in."""
        return type(self)(kept)

    async def complete(self, body: bytes, caller: Caller) -> bytes:
        """Put the conversation that a request goes on with before its input.

        Raises
        ------
        PreviousResponseNotFoundError
            If it is not kept, or not any more.
        InvalidRequestError
        """
        # A name may be written with escapes: such a body is taken apart to see.
        if b'"previous_response_id"' not in body and b"\\u00" not in body:
            return body
        fields = read_envelope(body)
        raw = bytes(fields.get("previous_response_id", b"null"))
        if raw == b"null":
            return body
        try:
            response_id = msgspec.json.decode(raw, type=str)
            items = items_of(bytes(fields.get("input", b"[]")))
        except _ERRORS as error:
            raise InvalidRequestError(
                "previous_response_id must be a string, and input a string or a list",
                param="previous_response_id",
            ) from error
        found = None if self._kept is None else await self._kept.find(caller, response_id)
        if found is None:
            raise PreviousResponseNotFoundError(
                f"Previous response with id '{response_id[:100]}' not found.",
                param="previous_response_id",
            )
        fields["input"] = msgspec.Raw(input_of((*found.items, *items)))
        return _encode(fields)

    async def keep(self, writer: "ResponseWriter", request: RouteRequest) -> None:
        """Keep the answer that a writer wrote."""
        found = writer.kept()
        if self._kept is not None and found is not None:
            response_id, kept = found
            await self._kept.keep(request.caller, response_id, kept)

    def parse(
        self,
        body: bytes,
        head: RequestHead,  # noqa: ARG002  (of the seam: other dialects say something there)
        *,
        max_messages: int,
    ) -> ParsedRequest:
        """Take a request body apart; see `Dialect.parse`."""
        fields = {name: bytes(raw) for name, raw in read_envelope(body).items()}
        form = chat_form(fields)
        said_to_us = {name: fields[name] for name in SAID_TO_US if name in fields}
        try:
            chat = read_chat_fields({**said_to_us, **form.fields}, max_messages=max_messages)
        except InvalidRequestError as error:
            raise _in_its_words(error) from error
        said = {name: raw for name, raw in fields.items() if name not in SAID_TO_US}
        sent = said
        if self._kept is not None:
            # What is kept is kept here: the upstream gets the whole conversation, and stores none.
            sent = {**_without(said, "previous_response_id"), "store": b"false"}
        return parsed_chat(chat, body=_Body(sent, form, said))

    def writer(
        self,
        request: RouteRequest,
        *,
        dialect: str = CHAT_COMPLETIONS,
    ) -> "ResponseWriter":
        """Return what writes the answer to a request."""
        body = request.body
        assert isinstance(body, _Body)  # noqa: S101  (`parse` made it)
        return ResponseWriter(body, keeps=self._kept is not None, native=dialect == NAME)


class ResponseWriter:
    """Writes one Response, out of a chat completion or as its upstream wrote it."""

    ping = sse.PING
    tells_usage = True

    def __init__(self, body: _Body, *, keeps: bool, native: bool) -> None:
        self.sent = body.said
        self._form = body.form
        self._stream: ResponseStream | None = None
        self._native = native
        self._newest = b""
        self._final: dict[str, Any] | None = None
        self.keeps = keeps and self.sent.get("store", b"null") != b"false"
        left_out = b"" if native else told_names(self._form.left_out)
        self.headers: Headers = [(b"x-route-left-out", left_out)] if left_out else []

    def whole(
        self,
        body: bytes,
        *,
        usage: Usage | None,
        cost_usd: float | None,
        extras: Mapping[str, Any] | None,
    ) -> bytes:
        """Return a whole answer."""
        if self._native:
            self._final = _decoded(body)
            return body if extras is None else sse.add_fields(body, extras)
        now = int(time.time())
        response = response_of(
            body,
            Ids(),
            echo_of(self.sent, store=self.keeps),
            self._form.names,
            usage=usage_object(usage, cost_usd=cost_usd),
            now=now,
        )
        self._final = response
        return _encode({**response, **(extras or {})})

    def begin(self, first: Chunk, extras: Mapping[str, Any] | None) -> bytes:
        """Return the beginning of a stream."""
        if self._native:
            data = self.chunk(first)
            return data if extras is None else add_to_first_event(data, extras)
        self._stream = ResponseStream(
            Ids(),
            echo_of(self.sent, store=self.keeps),
            self._form.names,
            now=int(time.time()),
            extras=extras,
        )
        return self.chunk(first)

    def chunk(self, chunk: Chunk) -> bytes:
        """Return what a further chunk brings."""
        if self._native or self._stream is None:
            if self.keeps and chunk.finish_reason is not None:
                response = last_response(chunk.data)
                self._final = None if response is None else _decoded(response)
            self._newest = chunk.data
            return chunk.data
        if chunk.pieces is not None and self._stream.began:
            return self._stream.say(chunk.pieces)
        return self._stream.events(chunk.data)

    def end(self, usage: Usage | None, cost_usd: float | None) -> bytes:
        """Return the end of a stream that is complete."""
        if self._stream is None:
            return b""
        data, self._final = self._stream.end(
            usage_object(usage, cost_usd=cost_usd), now=int(time.time())
        )
        return data

    def broken(self, error: BaseException) -> bytes:
        """Return the end of a stream that failed."""
        if isinstance(error, UpstreamError) and error.dialect == NAME and error.body is not None:
            kind = b"response.failed" if b'"response.failed"' in error.body else b"error"
            return b"event: %b\ndata: %b\n\n" % (kind, error.body)
        told = error_object(error)
        shown = {"code": told["code"] or "server_error", "message": told["message"]}
        if self._stream is None:
            number = _next_number(self._newest)
            event = {"type": "error", "sequence_number": number, "param": told["param"], **shown}
            return b"event: error\ndata: " + _encode(event) + b"\n\n"
        return self._stream.failed(shown)

    def kept(self) -> tuple[str, KeptResponse] | None:
        """Return the id of a complete answer and what is to be kept of it."""
        if not self.keeps or self._final is None:
            return None
        items = items_of(self.sent["input"])
        output = tuple(_encode(item) for item in self._final["output"])
        kept = KeptResponse(
            response=_encode(self._final), items=(*items, *output), n_input=len(items)
        )
        return self._final["id"], kept


def _decoded(body: bytes) -> dict[str, Any] | None:
    """Return a Response as an upstream wrote it; None where it cannot be kept."""
    try:
        response = msgspec.json.decode(body)
    except _ERRORS:
        return None
    whole = isinstance(response, dict) and isinstance(response.get("output"), list)
    return response if whole and isinstance(response.get("id"), str) else None


def _next_number(events: bytes) -> int:
    """Return the number of the event that follows some of an upstream's."""
    numbers = _NUMBER.findall(events)
    return int(numbers[-1]) + 1 if numbers else 0
