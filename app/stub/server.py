"""The simulated upstream: an OpenAI-compatible server with tiers, delays and faults.

It generates text for `POST /v1/chat/completions`, `/v1/responses` and `/v1/completions`, in Azure's
dialect (`/openai/deployments/<name>/chat/completions`), in Anthropic's (`/v1/messages`, with
`/count_tokens`), Gemini's (`/v1beta/models/<name>:generateContent`, which is Vertex' too) and
Bedrock's (`/model/<name>/converse`). `/v1/embeddings`, `/v1/rerank`, `/v1/moderations`,
`/v1/images/...` (generations, edits, variations) and `/v1/audio/...` (speech, transcriptions,
translations) have models of their own (`SMALL_MODELS`). Besides these and `GET /v1/models` it
answers, for tests:

`GET /stub/log`
    Every request it saw. `?wait_for=client_gone&timeout_s=5&since=0` waits until one (numbered
    `since` or later) has come to that.
`POST /stub/faults`
    Adds a failure, or a list of them: `{"fault": "status", "status": 503, "times": 1}`.
`POST /stub/speed`
    Answers so many times as fast from the next request on: `{"speed": 0.1}`.
`POST /stub/disguise`
    Has another model answer for one from now on: `{"model": "sim-large", "by": "sim-nano"}`, which
    answers tell with `"told": true`.
`POST /stub/reset`
    Forgets log, failures and disguises.
"""

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Iterable, Mapping
from types import TracebackType
from typing import Annotated, Any, Self

import msgspec

from app.stub.dialects.base import Refused
from app.stub.dialects.chat import CHAT, error_body, models_body
from app.stub.dialects.completions import COMPLETIONS
from app.stub.dialects.converse import CONVERSE
from app.stub.dialects.generate_content import GENERATE_CONTENT
from app.stub.dialects.messages import MESSAGES, count_tokens_body
from app.stub.dialects.messages import error_body as messages_error_body
from app.stub.dialects.responses import RESPONSES
from app.stub.endpoints import addressed as addresses
from app.stub.endpoints.base import Endpoint
from app.stub.endpoints.embeddings import EMBEDDERS, RERANKERS, embeddings, rerank
from app.stub.endpoints.generate import Generating, Pace
from app.stub.endpoints.moderations import moderations
from app.stub.endpoints.pictures import edits, generations, variations
from app.stub.endpoints.small import Made, Small
from app.stub.endpoints.sounds import speech, transcriptions, translations
from app.stub.faults import Fault, FaultScript
from app.stub.http import Exchange, HttpProtocol, close_server
from app.stub.log import Ended, RequestLog
from app.stub.tiers import TIERS, Disguise, Tier

_JSON = [(b"content-type", b"application/json")]
_GENERATING = {
    "/v1/chat/completions": CHAT,
    "/v1/completions": COMPLETIONS,
    "/v1/messages": MESSAGES,
    "/v1/responses": RESPONSES,
    addresses.GENERATE_CONTENT: GENERATE_CONTENT,
    addresses.CONVERSE: CONVERSE,
}
_SMALL: Mapping[str, tuple[Callable[[Mapping[str, Any]], Made], Mapping[str, object]]] = {
    "/v1/embeddings": (embeddings, EMBEDDERS),
    "/v1/rerank": (rerank, RERANKERS),
    "/v1/moderations": (moderations, {"sim-moderation": None}),
    "/v1/images/generations": (generations, {"sim-image": None}),
    "/v1/images/edits": (edits, {"sim-image": None}),
    "/v1/images/variations": (variations, {"sim-image": None}),
    "/v1/audio/speech": (speech, {"sim-speech": None}),
    "/v1/audio/transcriptions": (transcriptions, {"sim-transcribe": None}),
    "/v1/audio/translations": (translations, {"sim-transcribe": None}),
}
SMALL_MODELS = tuple({name: None for _, names in _SMALL.values() for name in names})
"""The models that do not generate text."""


class _Speed(msgspec.Struct, forbid_unknown_fields=True):
    speed: Annotated[float, msgspec.Meta(ge=0, le=1e6)]


class StubServer:
    """A stub on the running event loop; an async context manager.

    Parameters
    ----------
    tiers
        Simulated models by name.
    speed
        1 is realistic, 2 twice as fast; 0 answers without any delay.
    faults
        The failures to begin with.
    """

    def __init__(
        self,
        *,
        tiers: Mapping[str, Tier] = TIERS,
        speed: float = 1.0,
        faults: Iterable[Fault] = (),
    ) -> None:
        self.faults = FaultScript(faults)
        self.log = RequestLog()
        self.pace = Pace(speed)
        self.host = ""
        self.port = 0
        self._tiers = tiers
        self._disguises: dict[str, Disguise] = {}
        self._controls: Mapping[str, Callable[[Exchange], Awaitable[None]]] = {
            "/stub/faults": self._add_faults,
            "/stub/speed": self._set_speed,
            "/stub/disguise": self._disguise,
            "/stub/reset": self._reset,
        }
        self._endpoints: dict[str, Endpoint] = {
            path: Generating(
                dialect,
                tiers=tiers,
                disguises=self._disguises,
                pace=self.pace,
                faults=self.faults,
                log=self.log,
            )
            for path, dialect in _GENERATING.items()
        }
        self._endpoints |= {
            path: Small(make, models=models, faults=self.faults, log=self.log)
            for path, (make, models) in _SMALL.items()
        }
        self._connections: set[HttpProtocol] = set()
        self._connection_numbers = itertools.count()
        self._server: asyncio.Server | None = None

    @property
    def base_url(self) -> str:
        """What a client of OpenAI's API is given as its base URL."""
        return f"http://{self.host}:{self.port}/v1"

    @property
    def open_connections(self) -> int:
        """How many clients are connected."""
        return len(self._connections)

    async def start(self, *, host: str = "127.0.0.1", port: int = 0) -> None:
        """Listen; port 0 takes a free one."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: HttpProtocol(
                self._handle, self._connections, number=next(self._connection_numbers)
            ),
            host,
            port,
            backlog=1024,
        )
        self.host, self.port = self._server.sockets[0].getsockname()[:2]

    async def aclose(self) -> None:
        """Stop listening and drop every client."""
        await close_server(self._server, self._connections)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def _handle(self, exchange: Exchange) -> None:
        match exchange.method, exchange.path:
            case "POST", path if path in self._endpoints:
                await self._endpoints[path](exchange)
            case "POST", path if path.endswith("/chat/completions"):  # Azure's names a deployment
                await self._endpoints["/v1/chat/completions"](exchange)
            case "POST", "/v1/messages/count_tokens":
                await _count_tokens(exchange)
            case "POST", path if (told := addresses.addressed(path)) is not None:
                await self._endpoints[told[0]](exchange, told[1])
            case "GET", "/v1/models":
                await exchange.answer(200, _JSON, models_body([*self._tiers, *SMALL_MODELS]))
            case "GET", "/stub/log":
                await self._show_log(exchange)
            case "POST", path if path in self._controls:
                await self._controls[path](exchange)
            case _:
                message = f"Invalid URL ({exchange.method} {exchange.path})"
                await exchange.answer(404, _JSON, error_body(message, code="unknown_url"))

    async def _reset(self, exchange: Exchange) -> None:
        self.faults.clear()
        self._disguises.clear()
        self.log.clear()
        await exchange.answer(200, _JSON, b"{}")

    async def _show_log(self, exchange: Exchange) -> None:
        found = True
        try:
            if "wait_for" in exchange.query:
                found = await self.log.wait_for(
                    Ended(exchange.query["wait_for"]),
                    timeout_s=float(exchange.query.get("timeout_s", "5")),
                    since=int(exchange.query.get("since", "0")),
                )
        except ValueError as error:
            await exchange.answer(400, _JSON, error_body(str(error)))
            return
        body = {"found": found, "entries": list(self.log.entries)}
        await exchange.answer(200, _JSON, msgspec.json.encode(body))

    async def _set_speed(self, exchange: Exchange) -> None:
        try:
            asked = msgspec.json.decode(exchange.body, type=_Speed)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            await exchange.answer(400, _JSON, error_body(str(error)))
            return
        self.pace.speed = asked.speed
        await exchange.answer(200, _JSON, b"{}")

    async def _add_faults(self, exchange: Exchange) -> None:
        try:
            faults = msgspec.json.decode(exchange.body, type=list[Fault] | Fault)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            await exchange.answer(400, _JSON, error_body(str(error)))
            return
        for fault in faults if isinstance(faults, list) else [faults]:
            self.faults.add(fault)
        await exchange.answer(200, _JSON, b"{}")

    async def _disguise(self, exchange: Exchange) -> None:
        try:
            disguise = msgspec.json.decode(exchange.body, type=Disguise)
            if unknown := {disguise.model, disguise.by} - self._tiers.keys():
                raise msgspec.ValidationError(f"no such model: {min(unknown)}")
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            await exchange.answer(400, _JSON, error_body(str(error)))
            return
        self._disguises.pop(disguise.model, None)
        if disguise.by != disguise.model:
            self._disguises[disguise.model] = disguise
        await exchange.answer(200, _JSON, b"{}")


async def _count_tokens(exchange: Exchange) -> None:
    try:
        body = count_tokens_body(msgspec.json.decode(exchange.body))
    except Refused as refused:
        await exchange.answer(400, _JSON, messages_error_body(str(refused)))
    except (msgspec.DecodeError, AttributeError, LookupError, TypeError, ValueError):
        await exchange.answer(400, _JSON, messages_error_body("The request is malformed."))
    else:
        await exchange.answer(200, _JSON, body)
