"""Requests of batches, asked of the same endpoints as those of clients, without a socket."""

import asyncio
from collections.abc import Callable, Mapping, Sequence

import msgspec
from starlette.types import ASGIApp, Message, Scope

from app.access.guard import Caller
from app.api.answering import ON_BEHALF_OF, understand
from app.api.asgi import ON_DISCONNECT, OnDisconnect
from app.api.batch_candidates import candidates_for
from app.api.dialects.base import Dialect
from app.batches.door import Answer, Asked, BatchLine, Candidate
from app.errors import ForbiddenError, GatewayError
from app.gateway.queues.ranks import PRIORITY_HEADER
from app.head import RequestHead
from app.keys import Priority
from app.state import ActiveConfig
from app.wire.envelope import read_envelope
from routers.errors import RoutingError

AT_ENDPOINTS = (
    "/v1/chat/completions",
    "/v1/responses",
    "/v1/completions",
    "/v1/embeddings",
    "/v1/moderations",
    "/v1/images/generations",
)
"""Where requests of a batch may go: those of OpenAI's that take JSON, and that are served here."""

_BLOCK = 32
"""Requests that are predicted in one go; between two of them other threads get their turn."""
_AGAIN = frozenset({429, 503})
_MODELS = b"x-route-models"


class _Details(msgspec.Struct):
    cached_tokens: int | None = None
    reasoning_tokens: int | None = None


class _Usage(msgspec.Struct):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    prompt_tokens_details: _Details | None = None
    completion_tokens_details: _Details | None = None
    input_tokens_details: _Details | None = None
    output_tokens_details: _Details | None = None


class _Error(msgspec.Struct):
    code: str | int | None = None


class _Answered(msgspec.Struct):
    usage: _Usage | None = None
    error: _Error | None = None


_decode_answer = msgspec.json.Decoder(_Answered).decode


class GatewayDoor:
    """The endpoints of this gateway.

    Parameters
    ----------
    endpoints
        By path: what it speaks, and the ASGI application that clients reach too.
    serving
        Returns the configuration that is served at the moment.
    """

    def __init__(
        self,
        endpoints: Mapping[str, tuple[Dialect, ASGIApp]],
        *,
        serving: Callable[[], ActiveConfig],
    ) -> None:
        self._endpoints = endpoints
        self._serving = serving

    async def answer(
        self, asked: Asked, line: BatchLine, *, request_id: str, model: str | None
    ) -> Answer:
        """Ask one request, of one model alone where one is named, and wait for the whole answer."""
        endpoint = self._endpoints[asked.endpoint][1]
        heard = _Heard(line.body)
        scope = _scope(asked, request_id=request_id, model=model)
        if self._may_wait_longer(asked.caller):
            scope["headers"].append((PRIORITY_HEADER, Priority.BATCH.value.encode()))
        await endpoint(scope, heard.receive, heard.send)
        return heard.answer(request_id)

    async def candidates(
        self, asked: Asked, lines: Sequence[BatchLine]
    ) -> list[tuple[Candidate, ...] | Answer]:
        """Return which models may answer each request, or why it cannot be asked."""
        serving = self._serving()
        serving.enter()
        try:
            found: list[tuple[Candidate, ...] | Answer] = []
            for start in range(0, len(lines), _BLOCK):
                block = lines[start : start + _BLOCK]
                bodies = [await self._complete(asked, line) for line in block]
                found += await asyncio.to_thread(self._predicted, asked, bodies, serving)
            return found
        finally:
            serving.leave()

    def _may_wait_longer(self, caller: Caller) -> bool:
        """Return whether a caller's requests may be less urgent than those that somebody waits for.

        Where they may not, they are as urgent as all of its requests.
        """
        try:
            self._serving().ranks.of(caller, "", Priority.BATCH.value.encode())
        except ForbiddenError:
            return False
        return True

    async def _complete(self, asked: Asked, line: BatchLine) -> bytes | GatewayError:
        dialect = self._endpoints[asked.endpoint][0]
        if not dialect.refers_back:
            return line.body
        try:
            return await dialect.complete(line.body, asked.caller)
        except GatewayError as error:
            return error

    def _predicted(
        self, asked: Asked, bodies: Sequence[bytes | GatewayError], serving: ActiveConfig
    ) -> list[tuple[Candidate, ...] | Answer]:
        return [self._candidates(asked, each, serving) for each in bodies]

    def _candidates(
        self, asked: Asked, body: bytes | GatewayError, serving: ActiveConfig
    ) -> tuple[Candidate, ...] | Answer:
        dialect = self._endpoints[asked.endpoint][0]
        scope = _scope(asked, request_id="batch", model=None)
        scope["state"]["request_id"] = "batch"
        try:
            if isinstance(body, GatewayError):
                raise body
            read_envelope(body)
            request = understand(
                dialect,
                body,
                scope,
                serving.visible.of(asked.caller),
                asked.caller,
                max_messages=serving.config.gateway.server.max_messages,
            )
            return candidates_for(request, serving.config.specs)
        except (GatewayError, RoutingError) as error:
            status, _, told = dialect.error(error, request_id=None)
            return Answer(status=status, body=told, request_id="")


def _scope(asked: Asked, *, request_id: str, model: str | None) -> Scope:
    headers = [
        (b"content-type", b"application/json"),
        (b"x-request-id", request_id.encode()),
        *(each for each in asked.headers if model is None or each[0] != _MODELS),
    ]
    if model is not None:
        headers.append((_MODELS, model.encode()))

    def on_disconnect(_: Callable[[], None] | None) -> None:
        """Do nothing: whoever asked stays."""

    never: OnDisconnect = on_disconnect
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": asked.endpoint,
        "raw_path": asked.endpoint.encode(),
        "root_path": "",
        "query_string": b"",
        "headers": headers,
        "client": None,
        "server": None,
        "state": {ON_BEHALF_OF: asked.caller},
        "extensions": {ON_DISCONNECT: never},
    }


class _Heard:
    """The two ends of one exchange."""

    def __init__(self, body: bytes) -> None:
        self._body: bytes | None = body
        self._status = 0
        self._headers: RequestHead = RequestHead(())
        self._parts: list[bytes] = []

    async def receive(self) -> Message:
        """Return the body, all of it at once."""
        body, self._body = self._body, None
        if body is None:
            await asyncio.get_running_loop().create_future()  # nobody leaves
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(self, message: Message) -> None:
        """Take the answer."""
        if message["type"] == "http.response.start":
            self._status = message["status"]
            self._headers = RequestHead(message.get("headers", ()))
        else:
            self._parts.append(message.get("body", b""))

    def answer(self, request_id: str) -> Answer:
        """Return what was answered."""
        body, head = b"".join(self._parts), self._headers
        try:
            told = _decode_answer(body)
        except (msgspec.DecodeError, UnicodeDecodeError):
            told = _Answered()
            body = msgspec.json.encode(body.decode("utf-8", "replace"))
        usage = told.usage or _Usage()
        of_input = usage.input_tokens_details or usage.prompt_tokens_details or _Details()
        of_output = usage.output_tokens_details or usage.completion_tokens_details or _Details()
        code = None if told.error is None or told.error.code is None else str(told.error.code)
        model = head.get(b"x-route-model")
        retry_after = head.get(b"retry-after-ms")
        may_repeat = head.get(b"x-should-retry") != b"false"
        return Answer(
            status=self._status or 500,
            body=body,
            request_id=(head.get(b"x-request-id") or request_id.encode()).decode(),
            cost_usd=float(head.get(b"x-route-cost-usd") or 0.0),
            model=None if model is None else model.decode(),
            input_tokens=usage.input_tokens or usage.prompt_tokens or 0,
            output_tokens=usage.output_tokens or usage.completion_tokens or 0,
            cached_tokens=of_input.cached_tokens or 0,
            reasoning_tokens=of_output.reasoning_tokens or 0,
            code=code,
            retry_after_s=None if retry_after is None else int(retry_after) / 1e3,
            should_retry=self._status in _AGAIN and may_repeat,
        )
