"""The seam of inbound dialects: what a client sends made into a request, an answer into bytes.

A dialect is a file of this package with one class that is registered here. What else there is of a
path (its route, its place in the OpenAPI document, in metrics and traces, the shape of every error
under it) follows from the table of them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Protocol, Self

import msgspec
from pydantic import BaseModel
from starlette.types import Scope

from app.access.guard import Caller
from app.api.answers import Headers, error_head, error_object, limit_headers
from app.api.knobs import NO_KNOBS, Knobs, knobs_from_object
from app.errors import UpstreamError
from app.gateway.kept_responses import KeptResponses
from app.gateway.request import RouteRequest
from app.head import RequestHead
from app.paths import CHAT_COMPLETIONS, MESSAGES
from app.providers.base import Chunk
from app.stores.claims import Standing
from app.usage import Usage
from app.wire.body import Body
from app.wire.chat_request import ChatRequest
from app.wire.messages.reading import VERSION_HEADER
from app.wire.turns import Turn
from routers.models import CHAT, Demand
from routers.registry import Registry
from routers.types import Conversation


class ParsedRequest(msgspec.Struct, frozen=True, kw_only=True):
    """One request, parsed as far as routing needs it.

    Attributes
    ----------
    model
        The name the client asked for.
    body
        Everything else that was sent.
    include_usage
        Whether the client asked for the token counts of a stream.
    conversation, demand
        What the router looks at.
    turns
        The messages, as far as they have to be looked into once more.
    knobs
        The routing options of the body alone; headers are merged in by the endpoint.
    kind
        Of the models that can answer.
    token_ids
        Whether it holds numbers of a tokeniser in place of texts.
    """

    model: str
    body: Body
    stream: bool
    include_usage: bool
    conversation: Conversation
    demand: Demand
    turns: Sequence[Turn]
    knobs: Knobs
    kind: str = CHAT
    token_ids: bool = False


def parsed_chat(chat: ChatRequest, body: Body | None = None) -> ParsedRequest:
    """Return what a chat completion comes to.

    Parameters
    ----------
    body
        What it was translated from; None of a request that was one from the start.

    Raises
    ------
    InvalidRequestError
        For routing options that cannot be read.
    """
    return ParsedRequest(
        model=chat.model,
        body=Body(chat.fields) if body is None else body,
        stream=chat.stream,
        include_usage=chat.include_usage,
        conversation=chat.conversation,
        demand=chat.demand,
        turns=chat.turns,
        knobs=NO_KNOBS if chat.routing is None else knobs_from_object(chat.routing),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Documented:
    """What the OpenAPI document says of an endpoint.

    Attributes
    ----------
    example
        A request that any model can answer.
    streamed
        What has to be added to it for a stream that tells its token counts; None where there are
        no streams.
    """

    summary: str
    description: str
    request: type[BaseModel]
    answer: type[BaseModel]
    event: type[BaseModel] | None
    """One event of a stream."""
    error: type[BaseModel]
    example: Mapping[str, Any]
    streamed: Mapping[str, Any] | None


class Writer(Protocol):
    """Writes one answer; an object of its own for each, which may hold state.

    Attributes
    ----------
    ping
        What keeps a silent stream alive.
    tells_usage
        Whether `end` tells the client of tokens and cost: else they are not worked out for it.
    keeps
        Whether the dialect keeps the answer once it is complete, before its client has all of it.
    """

    ping: bytes
    tells_usage: bool
    keeps: bool

    @property
    def headers(self) -> Headers:
        """Of an answer of this dialect, besides those that every answer has."""
        ...

    def whole(
        self,
        body: bytes,
        *,
        usage: Usage | None,
        cost_usd: float | None,
        extras: Mapping[str, Any] | None,
    ) -> bytes:
        """Return a whole answer.

        Parameters
        ----------
        body
            The whole chat completion, or the same in this dialect.
        usage, cost_usd
            As they are accounted for; None where that is not known.
        extras
            What the client asked to be told besides the answer: fields to add to it.
        """
        ...

    def begin(self, first: Chunk, extras: Mapping[str, Any] | None) -> bytes:
        """Return the beginning of a stream, of the chunk with its first content."""
        ...

    def chunk(self, chunk: Chunk) -> bytes:
        """Return what a further chunk brings; nothing where that is nothing to the client."""
        ...

    def end(self, usage: Usage | None, cost_usd: float | None) -> bytes:
        """Return the end of a stream that is complete."""
        ...

    def broken(self, error: BaseException) -> bytes:
        """Return the end of a stream that failed, which never looks like that of a complete one."""
        ...


class Dialect(Protocol):
    """One inbound dialect, for process life.

    Attributes
    ----------
    name
        Told in logs; the name of the module. `Body.dialect`, `ModelCall.dialect` and
        `Chunk.dialect` are this name.
    path
        Where it is served.
    passed_on
        Client headers that an upstream may see; a name that ends in `*` stands for all that begin
        so. Of any dialect but chat completions, only upstreams that speak it see them.
    large_fields
        Top-level fields of its bodies that hold messages or tools, and many values with them.
    """

    name: str
    path: str
    passed_on: tuple[bytes, ...]
    large_fields: tuple[str, ...]
    documented: Documented
    takes_forms: bool
    """Whether a request may come as a form, with files."""
    refers_back: bool
    """Whether a request may name an earlier answer instead of repeating what was said."""

    def keeping(self, kept: KeptResponses | None) -> Self:
        """Return the dialect with a place to keep answers in, if there is one."""
        ...

    async def complete(self, body: bytes, caller: Caller) -> bytes:
        """Return a body with what it only refers to put in; asked only where it `refers_back`.

        Raises
        ------
        InvalidRequestError
            If what it refers to is not kept, or not any more.
        """
        ...

    async def keep(self, writer: Any, request: RouteRequest) -> None:
        """Keep the answer that a writer wrote; asked only where the writer `keeps`."""
        ...

    def parse(self, body: bytes, head: RequestHead, *, max_messages: int) -> ParsedRequest:
        """Take a request body apart.

        Parameters
        ----------
        max_messages
            How many messages there may be, how many parts in all of them, and how many tools.

        Raises
        ------
        InvalidRequestError
            With the `param` at fault, for anything that is not a request of this dialect.
        """
        ...

    def writer(self, request: RouteRequest, *, dialect: str = CHAT_COMPLETIONS) -> Writer:
        """Return what writes the answer to a request.

        Parameters
        ----------
        dialect
            In which the answer comes: chat completions, or this one.
        """
        ...

    def limit_headers(self, standing: Standing) -> Headers:
        """Return what tells a client where its limits stand."""
        ...

    def error(self, error: BaseException, *, request_id: str | None) -> tuple[int, Headers, bytes]:
        """Return status, headers and body that tell a client of an error."""
        ...


class Stateless:
    """What a dialect does whose requests say everything themselves."""

    takes_forms = False
    refers_back = False

    def keeping(self, kept: KeptResponses | None) -> Self:  # noqa: ARG002  (nothing is kept)
        """Return the dialect itself."""
        return self

    async def complete(self, body: bytes, caller: Caller) -> bytes:  # noqa: ARG002
        """Return the body: it is complete."""
        return body

    async def keep(self, writer: Any, request: RouteRequest) -> None:
        """Keep nothing."""


class OpenAIShaped(Stateless):
    """What dialects of OpenAI's have in common: the shape of errors, the names of limits."""

    def limit_headers(self, standing: Standing) -> Headers:
        """Return what tells a client where its limits stand."""
        return limit_headers(standing)

    def error(
        self,
        error: BaseException,
        *,
        request_id: str | None,  # noqa: ARG002  (of the seam: a header tells it)
    ) -> tuple[int, Headers, bytes]:
        """Return status, headers and body that tell a client of an error."""
        return error_answer(error)


def error_answer(error: BaseException) -> tuple[int, Headers, bytes]:
    """Return status, headers and body that tell a client of an error in OpenAI's shape."""
    status, headers = error_head(error)
    if (
        isinstance(error, UpstreamError)
        and error.body is not None
        and error.status is not None
        and error.dialect != MESSAGES
    ):
        return status, headers, error.body
    return status, headers, msgspec.json.encode({"error": error_object(error)})


DIALECTS: Registry[Dialect] = Registry("app.api.dialects", noun="inbound dialect")
"""Inbound dialects by kind."""


@dataclass(frozen=True, slots=True)
class Table:
    """Every inbound dialect there is."""

    all: tuple[Dialect, ...]
    _by_path: Mapping[str, Dialect] = field(init=False)
    _by_name: Mapping[str, Dialect] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_by_path", {each.path: each for each in self.all})
        object.__setattr__(self, "_by_name", {each.name: each for each in self.all})

    def named(self, name: str) -> Dialect:
        """Return the dialect of a name."""
        return self._by_name[name]

    def of(self, scope: Scope) -> Dialect:
        """Return the dialect in which whoever sent a request is told of an error.

        Below the path of a dialect that is this one. Elsewhere, as of `/v1/models`, a client of
        Anthropic's is known by a header that it always sends; everybody else reads OpenAI's.
        """
        found = self.at(scope["path"])
        if found.name == CHAT_COMPLETIONS and scope["path"] != found.path:
            head = scope["state"].get("head")
            if head is not None and head.get(VERSION_HEADER) is not None:
                return self._by_name[MESSAGES]
        return found

    def at(self, path: str) -> Dialect:
        """Return the dialect of a path, or of the one that it lies below; else chat completions."""
        while path:
            found = self._by_path.get(path)
            if found is not None:
                return found
            path = path.rpartition("/")[0]
        return self._by_name[CHAT_COMPLETIONS]


@cache
def dialects() -> Table:
    """Return the inbound dialects, all of them loaded."""
    return Table(tuple(DIALECTS.get(kind)() for kind in DIALECTS.kinds()))
