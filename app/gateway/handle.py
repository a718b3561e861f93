"""The life of a request, read downward: cache, decide, admit, call, remember, settle, record.

`Gateway` is the one door for whoever speaks a protocol. What comes out of it is an async context
manager: the request's account is open while its block runs, and however the block ends, the request
is settled and its outcome recorded, once. Within it the answer is read chunk by chunk.
"""

import contextlib
import logging
from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from app.concurrency.eager import Eager
from app.gateway.bill import settled_usage, told_usage
from app.gateway.cache import BYPASS, CachedAnswer, ResponseCache
from app.gateway.choose import Chooser
from app.gateway.dispatch import Dispatcher
from app.gateway.excerpt import excerpt_of
from app.gateway.heard import NOTHING, Heard, Keeps
from app.gateway.ledger import LedgerEntry
from app.gateway.lessons import Pupil, teach
from app.gateway.life import Books, Life
from app.gateway.money.bid import cut_limit
from app.gateway.money.paid import HiddenReasoning
from app.gateway.money.surcharges import extras_of
from app.gateway.open_answer import OpenAnswer
from app.gateway.plan import Several, plan_for
from app.gateway.queues.expected_wait import Outlook
from app.gateway.queues.virtual_counters import NO_RANK, Rank
from app.gateway.request import RouteRequest
from app.gateway.served import served_reason
from app.gateway.watch.provider_watch import ProviderWatch
from app.gateway.workflows import Workflows
from app.paths import CHAT_COMPLETIONS, CHAT_ROUTE
from app.providers.base import Chunk
from app.telemetry.tracing import AskedFor, Headers, Tracer, UpstreamFacts
from routers.decisions import Decision
from routers.request.layout import Description

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Gateway:
    """Answers requests; everything it needs is handed in."""

    chooser: Chooser
    books: Books
    dispatcher: Dispatcher
    workflows: Workflows
    cache: ResponseCache
    clock: Callable[[], float]
    config_version: str
    """Told as the policy version of requests that no policy decides."""
    pupils: Mapping[str, Pupil] = field(default_factory=dict)
    """Of policies that learn while they serve, by name."""
    watch: ProviderWatch | None = None
    """Whether models are still those that they were; None looks at none."""
    keeps: Keeps = NOTHING
    reasoning: HiddenReasoning = field(default_factory=HiddenReasoning)
    tracer: Tracer | None = None
    upstreams: Mapping[str, UpstreamFacts] = field(default_factory=dict)
    """Told in traces."""

    def answer(
        self,
        request: RouteRequest,
        *,
        started: float,
        route: str = CHAT_ROUTE,
        headers: Headers | None = None,
        rank: Rank = NO_RANK,
        queued_s: float = 0.0,
    ) -> "Answer":
        """Return the answer to a request, which is made as it is read.

        Parameters
        ----------
        started
            When the request came, by `clock`.
        route
            The path that was asked.
        headers
            Of the client, which may have begun a trace; without them there is none.
        rank
            In whose name it waits where models take only so many calls, and how urgently.
        queued_s
            How long it waited for its place.
        """
        entry = self._open_account(request, started=started, route=route, rank=rank)
        if queued_s:
            entry.queued_s = entry.upstream_wait_s = queued_s  # no work of ours
        if self.tracer is not None and headers is not None:
            entry.trace = self.tracer.start(
                AskedFor(
                    requested_model=request.requested_model,
                    policy=request.policy_name,
                    stream=request.stream,
                    route=route,
                    max_output_tokens=request.demand.max_output_tokens,
                ),
                headers=headers,
                began_s=self.clock() - started,
                upstreams=self.upstreams,
            )
        return Answer(self, entry)

    def decision(
        self,
        request: RouteRequest,
        *,
        started: float,
        route: str,
        rank: Rank = NO_RANK,
        queued_s: float = 0.0,
        outlook: Outlook | None = None,
    ) -> "DecisionAlone":
        """Return the decision about a request that no answer follows.

        Parameters
        ----------
        started, rank, queued_s
            As of `answer`.
        outlook
            What a request that follows would meet before the gateway.
        """
        entry = self._open_account(request, started=started, route=route, rank=rank)
        entry.queued_s = entry.upstream_wait_s = queued_s
        entry.outlook = outlook
        return DecisionAlone(self, entry)

    def close(self) -> None:
        """Stop what computes for requests."""
        self.chooser.decider.close()

    def _open_account(
        self, request: RouteRequest, *, started: float, route: str, rank: Rank
    ) -> LedgerEntry:
        return LedgerEntry(
            clock=self.clock,
            request=request,
            policy_version=self.config_version
            if request.policy is None
            else request.policy.version,
            started=started,
            route=route,
            rank=rank,
            keeps=self.keeps,
            heard=Heard() if self.keeps.answers else None,
            extras=extras_of(request.fields),
            excerpt=None if self.watch is None else excerpt_of(request),
            reasoning=self.reasoning,
        )


class Head(NamedTuple):
    """What is known before the first chunk.

    `headers` are those of the upstream that may be passed on; `dialect` is what the answer is
    written in.
    """

    headers: tuple[tuple[bytes, bytes], ...] = ()
    from_cache: bool = False
    dialect: str = CHAT_COMPLETIONS


class Answer(Life):
    """The answer to one request: within its block `head` first, then `chunks`."""

    __slots__ = ("_complete", "_exits", "_gateway", "_open", "_reading", "_remembered", "_seat")

    def __init__(self, gateway: Gateway, account: LedgerEntry) -> None:
        super().__init__(gateway.books, account)
        self._gateway = gateway
        self._exits: contextlib.AsyncExitStack | None = None
        self._seat = BYPASS
        self._open: OpenAnswer | None = None
        self._reading: AsyncGenerator[Chunk, None] | None = None
        self._complete = False
        self._remembered = False

    @property
    def awaits_counts(self) -> bool:
        """Whether all of the answer has come but the token counts that it is booked with."""
        return self.account.arrived.awaits_counts

    @property
    def may_be_held(self) -> bool:
        """Whether the answer streams and may be held back until it is accepted."""
        request = self.account.request
        return request.stream and request.workflow is not None

    @property
    def held_s(self) -> float | None:
        """For how long an answer is being held back by now; None while none is."""
        course = self.account.course
        if course is None or course.held_since is None:
            return None
        return self._gateway.clock() - course.held_since

    async def head(self) -> Head:
        """Look for the answer, or call models until one begins to give it.

        Raises
        ------
        NoEligibleModelError, RateLimitedError, BudgetExceededError, StoreUnavailableError,
        UpstreamRejectedError, AllAttemptsFailedError
        """
        cached = await self._look_up()
        if cached is not None:
            self.account.cached = cached
            return Head(from_cache=True, dialect=cached.dialect)
        gateway, entry = self._gateway, self.account
        decision = await gateway.chooser.decide(entry)
        decision = await gateway.books.reservations.answer(entry.request, decision, entry)
        self._open = opened = await self._call(decision)
        if gateway.watch is not None:
            entry.watch = gateway.watch.told(entry)
        for chunk in (*opened.prelude, *opened.held):  # which the account has seen
            self._seat.saw(chunk)
        if not opened.prelude:
            return Head()
        first = opened.prelude[0]
        return Head(first.headers, dialect=first.dialect)

    async def chunks(self) -> AsyncGenerator[Chunk, None]:
        """Read the answer; the first chunk holds its first content.

        At its end, before the client can take its next turn, it is remembered who gave it, and
        given back what others wait for.
        """
        entry, seat = self.account, self._seat
        if entry.cached is not None:
            yield _whole(entry.cached, entry.request)
            return
        assert self._open is not None  # noqa: S101  (`head` comes first)
        yield _joined(self._open.prelude)
        for chunk in self._open.held:
            yield chunk
        self._reading = reading = self._gateway.dispatcher.rest(self._open, entry)
        async for chunk in reading:
            entry.saw(chunk)
            seat.saw(chunk)
            yield chunk
        self._complete = True
        if self._open.reading is None:  # nothing was waited for in between
            lease = self._open.lease
            usual = self._gateway.workflows.usual
            usual.took(lease.deployment.spec.model_id, self._gateway.clock() - lease.began)
        remembering = Eager(self._remember())  # in one round trip where both ask the same server
        try:
            if entry.ticket is not None and entry.ticket.holds_a_place:
                await self._settle()
        finally:
            await remembering

    async def _look_up(self) -> CachedAnswer | None:
        cache, entry = self._gateway.cache, self.account
        if not cache.concerns(entry.request):
            entry.cache = BYPASS.state
            return None
        self._exits = contextlib.AsyncExitStack()
        self._seat = seat = await self._exits.enter_async_context(cache.open(entry.request))
        entry.cache = seat.state
        entry.upstream_wait_s += seat.waited_s
        return seat.answer

    async def _call(self, decision: Decision) -> OpenAnswer:
        """Call models until one begins to answer."""
        gateway, entry, request = self._gateway, self.account, self.account.request
        plan = plan_for(request, decision, entry.course)
        if request.demand.max_output_tokens is not None:
            for model_id in plan.models:
                limit = cut_limit(request, gateway.books.reservations.admission.specs[model_id])
                if limit is not None:
                    entry.max_output_tokens[model_id] = limit
        afford = gateway.books.reservations.call
        try:
            if isinstance(plan, Several):
                return await gateway.workflows.open(request, plan, entry, afford=afford)
            return await gateway.dispatcher.open(request, plan, entry, afford=afford)
        finally:
            teach(request, entry.course, gateway.pupils)

    async def _remember(self) -> None:
        """Note who answers the conversation: for a cut answer too, its model has read it."""
        if not self._remembered:
            self._remembered = True
            await self._gateway.chooser.remember(self.account)

    async def _let_go(self) -> None:
        try:
            if self._open is not None:
                try:
                    if self._reading is not None:
                        await self._reading.aclose()
                    await self._open.aclose()
                finally:
                    await self._remember()
                if self._complete:
                    await self._keep()
        finally:
            self._gateway.chooser.ended(self.account)
            if self._exits is not None:
                await self._exits.aclose()

    def _record(self, ended: BaseException | None) -> None:
        super()._record(ended)
        if self._gateway.watch is not None and ended is None:
            self._gateway.watch.saw(self.account)

    async def _keep(self) -> None:
        """Have the cache keep a complete answer, unless a budget had its part in it."""
        entry = self.account
        if (
            self._seat is BYPASS
            or entry.served is None
            or entry.pressure is not None
            or entry.cut_by_budget
        ):
            return
        await self._seat.keep(
            model_id=entry.served.spec.model_id,
            usage=None if told_usage(entry) is None else settled_usage(entry),
            reason=served_reason(entry),
        )


class DecisionAlone(Life):
    """What would be decided about a request; no model is called for an answer.

    Attributes
    ----------
    recorded
        Whether an outcome tells of the request. One that was turned away before anything was called
        leaves none, like those that are not understood.
    """

    __slots__ = ("_gateway", "recorded")

    def __init__(self, gateway: Gateway, account: LedgerEntry) -> None:
        super().__init__(gateway.books, account)
        self._gateway = gateway
        self.recorded = False

    async def decide(self) -> Decision:
        """Decide.

        Raises
        ------
        NoEligibleModelError, RateLimitedError, BudgetExceededError, StoreUnavailableError
        """
        decision = await self._gateway.chooser.decide(self.account, alone=True)
        self.account.answering()
        return decision

    async def describe(self) -> Description | None:
        """Return what the router takes the request to ask for, if it says so."""
        return await self._gateway.chooser.describe(self.account.request)

    def _record(self, ended: BaseException | None) -> None:
        if ended is None or self.account.calls:
            self.recorded = True
            super()._record(ended)


def _joined(prelude: tuple[Chunk, ...]) -> Chunk:
    """Return everything up to the first content as one chunk."""
    if len(prelude) == 1:
        return prelude[0]
    template = usage_event = None
    for chunk in prelude:
        template = template or chunk.template
        usage_event = chunk.usage_event or usage_event
    return Chunk(
        data=b"".join([chunk.data for chunk in prelude]),
        usage_event=usage_event,
        template=template,
        dialect=prelude[0].dialect,
    )


def _whole(cached: CachedAnswer, request: RouteRequest) -> Chunk:
    if not request.stream or cached.dialect != CHAT_COMPLETIONS:
        return Chunk(data=cached.body, dialect=cached.dialect)
    events, usage_event = cached.as_stream(include_usage=request.include_usage)
    return Chunk(data=events, usage_event=usage_event)
