"""The endpoints of the request path: plain ASGI applications, one for each inbound dialect.

FastAPI's dependency injection and response classes buy nothing here and would cost more CPU
than deciding does; the endpoints are still part of the app and of its OpenAPI document.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import msgspec
from starlette.types import Receive, Scope, Send

from app.access.guard import Caller, Guard
from app.api.asgi import (
    MODEL_IN_PATH,
    CancelOnDisconnect,
    check_json_content_type,
    head_of,
    read_body,
)
from app.api.dialects.base import Dialect
from app.api.exchange import Exchange, send_error
from app.api.knobs import knobs_from_headers
from app.api.resolve import resolve
from app.errors import (
    ClientDisconnectedError,
    GatewayError,
    InvalidRequestError,
    OverloadedError,
    RateLimitedError,
    ShuttingDownError,
)
from app.gateway.affinity import place
from app.gateway.intake import Arrival, Intake
from app.gateway.ledger import LedgerEntry
from app.gateway.names import Names
from app.gateway.permissions import permit
from app.gateway.queues.places import Places, used_by
from app.gateway.queues.ranks import PRIORITY_HEADER
from app.gateway.queues.virtual_counters import NO_RANK, Ticket
from app.gateway.request import RouteRequest
from app.head import RequestHead
from app.state import ActiveConfig
from app.wire.bounds import check_structure, is_simple
from app.wire.envelope import with_model
from app.wire.pinned.forms import is_form
from app.wire.prompt_flags import may_hold_flags, take_flags
from routers.errors import RoutingError

_NOT_ITS_FAULT = (
    *(ClientDisconnectedError, OverloadedError, ShuttingDownError),
    RateLimitedError,  # which counted it
)
"""What a request ends with that is not counted once more."""

ON_BEHALF_OF = "on_behalf_of"
"""In the state of a request that the gateway makes by itself: the caller that it makes it for."""

_SHORT_FORM_BYTES = 256 * 1024
"""Longer ones, with files, take over a millisecond, too long for the event loop."""


class Visit:
    """One request in the house: what it holds, and who sent it as far as that is known."""

    __slots__ = ("account", "arrival", "caller", "placed", "queued_s", "rank", "serving", "ticket")

    def __init__(self, serving: ActiveConfig) -> None:
        self.serving = serving
        self.caller: Caller | None = None
        self.arrival: Arrival | None = None
        self.placed = False
        self.rank = NO_RANK
        self.ticket: Ticket | None = None
        """Of who had to wait for its place."""
        self.queued_s = 0.0
        self.account: LedgerEntry | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reception:
    """Takes requests in, whatever their dialect: they share its limits."""

    serving: Callable[[], ActiveConfig]
    guard: Guard
    places: Places
    intake: Intake
    in_flight: Callable[[int], None]
    refused: Callable[[Scope, BaseException, Caller | None], None] = lambda *_: None
    """Notified of every request that is turned away before it leaves an outcome."""
    _at_length: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(1))
    """One request that takes long to understand at a time: two would only hinder each other."""

    def enter(self) -> Visit:
        """Begin with a request, which has to `leave`; it takes nothing from others as yet."""
        serving = self.serving()
        serving.enter()
        return Visit(serving)

    def leave(self, visit: Visit) -> None:
        """Give everything back, the place to whoever waits for one."""
        visit.serving.leave()
        if visit.arrival is not None:
            visit.arrival.leave()
        if visit.placed:
            if visit.ticket is None:
                self.places.leave()
            else:
                calls = () if visit.account is None else visit.account.calls
                self.places.leave(visit.ticket, used_by(calls))

    async def take(
        self, dialect: Dialect, visit: Visit, scope: Scope, receive: Receive
    ) -> RouteRequest:
        """Take a request in: who asks, then the body, then a place, then what is asked.

        Without a key that may be used, nothing of the body is read. What is no good after that
        counts for the limits of requests like what is.

        Raises
        ------
        GatewayError
            For anything in it that cannot be used.
        """
        self.places.check()
        head = head_of(scope)
        caller: Caller | None = scope["state"].get(ON_BEHALF_OF)
        if caller is None:
            caller = await self.guard.authenticate(head)
        visit.caller = caller
        try:
            return await self._understand(dialect, visit, caller, scope, receive, head=head)
        except _NOT_ITS_FAULT:
            raise
        except GatewayError:
            await self.charge(visit, scope)
            raise

    async def _understand(
        self,
        dialect: Dialect,
        visit: Visit,
        caller: Caller,
        scope: Scope,
        receive: Receive,
        *,
        head: RequestHead,
    ) -> RouteRequest:
        serving, peer = visit.serving, _peer(scope)
        if head.repeated and PRIORITY_HEADER in head.repeated:
            param = PRIORITY_HEADER.decode()
            raise InvalidRequestError(f"{param} is given twice", param=param)
        visit.rank = rank = serving.ranks.of(caller, peer, head.get(PRIORITY_HEADER))
        places = self.places
        if places.running >= places.max_running:
            places.check_room(rank)
        at_once = serving.admission.at_once(caller)
        visit.arrival = arrival = self.intake.begin(caller, peer, at_once=at_once)
        as_form = dialect.takes_forms and is_form(head.get(b"content-type"))
        if not as_form:
            check_json_content_type(head)
        server = serving.config.gateway.server
        body = await read_body(head, receive, max_bytes=server.max_body_bytes, on_part=arrival.grow)
        if places.enter():
            visit.placed = True
        else:
            await self._wait(visit, scope, receive, n_bytes=len(body))
        if dialect.refers_back:
            body = await dialect.complete(bytes(body), caller)
        names = serving.visible.of(caller)
        if is_simple(body) or (as_form and len(body) <= _SHORT_FORM_BYTES):
            request = understand(
                dialect, bytes(body), scope, names, caller, max_messages=server.max_messages
            )
        else:
            async with self._at_length:
                request = await asyncio.to_thread(
                    _understand_at_length,
                    *(dialect, body, scope, names, caller),
                    max_messages=server.max_messages,
                    as_form=as_form,
                )
        arrival.arrived()
        return request

    async def _wait(self, visit: Visit, scope: Scope, receive: Receive, *, n_bytes: int) -> None:
        """Wait for a place, as long as the client does.

        Raises
        ------
        OverloadedError
            If there is none in time.
        ClientDisconnectedError
        ShuttingDownError
            If the server stops.
        """
        try:
            async with CancelOnDisconnect(scope, receive):
                visit.ticket = ticket = await self.places.wait(visit.rank, n_bytes=n_bytes)
                visit.queued_s = ticket.waited_s
                visit.placed = True
        except asyncio.CancelledError:
            raise ShuttingDownError from None

    async def charge(self, visit: Visit, scope: Scope) -> None:
        """Count a request that nothing is decided for: it is no good, or asks for no answer.

        Raises
        ------
        RateLimitedError
            Once there were more than there may be.
        """
        caller = visit.caller
        if caller is None:
            return
        try:
            await visit.serving.admission.charge(caller)
        except RateLimitedError as error:
            self.intake.refuse(caller, _peer(scope), error)
            raise


@dataclass(frozen=True, slots=True, kw_only=True)
class AnsweringEndpoint:
    """The ASGI application behind the path of a dialect."""

    dialect: Dialect
    reception: Reception

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, whatever happens."""
        reception, dialect = self.reception, self.dialect
        visit = reception.enter()
        gateway = visit.serving.gateway
        started = gateway.clock()
        try:
            request = await reception.take(dialect, visit, scope, receive)
            server = visit.serving.config.gateway.server
            answer = gateway.answer(
                request,
                started=started,
                route=dialect.path,
                headers=scope["headers"],
                rank=visit.rank,
                queued_s=visit.queued_s,
            )
            visit.account = answer.account
            exchange = Exchange(
                answer=answer,
                dialect=dialect,
                send=send,
                ping_s=server.sse_ping_s,
                headers_after_s=server.hold_back.headers_after_s,
            )
            reception.in_flight(1)
            try:
                await exchange.run(scope, receive)
            finally:
                reception.in_flight(-1)
        except ClientDisconnectedError:
            return
        except (GatewayError, RoutingError) as error:
            reception.refused(scope, error, visit.caller)
            await send_error(send, error, dialect=dialect, request_id=scope["state"]["request_id"])
        finally:
            reception.leave(visit)


def understand(
    dialect: Dialect,
    body: bytes,
    scope: Scope,
    names: Names,
    caller: Caller,
    *,
    max_messages: int,
) -> RouteRequest:
    """Return what is asked, as far as the caller may ask it.

    Raises
    ------
    GatewayError
        For anything in it that cannot be used.
    """
    head = head_of(scope)
    model = scope["state"].get(MODEL_IN_PATH)
    as_form = dialect.takes_forms and is_form(head.get(b"content-type"))
    if model is not None and not as_form:
        body = with_model(body, model)
    parsed = dialect.parse(body, head, max_messages=max_messages)
    if model is not None and as_form:
        parsed = msgspec.structs.replace(parsed, model=model)
    resolved = partial(
        resolve,
        header_knobs=knobs_from_headers(head),
        names=names,
        request_id=scope["state"]["request_id"],
        head=head,
        passed_on=dialect.passed_on,
        caller=caller,
    )
    request = resolved(parsed)
    policy = request.policy
    if policy is not None and policy.flags.in_prompt and may_hold_flags(request.conversation):
        taken = take_flags(body)
        if taken is not None:
            parsed = dialect.parse(taken.body, head, max_messages=max_messages)
            request = resolved(parsed, in_prompt=taken.flags)
    guarded = names.guarded(request.pinned_model_id)
    return place(permit(request, caller, guarded=guarded), head, parsed.turns)


def _understand_at_length(
    dialect: Dialect,
    body: bytes | bytearray,
    scope: Scope,
    names: Names,
    caller: Caller,
    *,
    max_messages: int,
    as_form: bool,
) -> RouteRequest:
    whole = bytes(body)
    if not as_form:
        check_structure(whole, max_messages=max_messages, large_fields=dialect.large_fields)
    return understand(dialect, whole, scope, names, caller, max_messages=max_messages)


def _peer(scope: Scope) -> str:
    client = scope.get("client")
    return "" if client is None else str(client[0])
