"""The account of one request: what was decided, tried, used and paid; closed exactly once."""

import asyncio
from collections.abc import Callable, Iterable

import msgspec

from app.calls import (
    ANSWERING,
    DRAFT_REJECTED,
    HEDGE_LOST,
    Call,
    CallRole,
)
from app.error_answers import answer_for
from app.errors import BudgetExceededError, UpstreamError, UpstreamTimeoutError
from app.gateway.affinity import SessionTurn
from app.gateway.cache import CachedAnswer
from app.gateway.course import Course
from app.gateway.excerpt import Excerpt
from app.gateway.heard import NOTHING, Heard, Keeps
from app.gateway.load.load_bias import NearLimit
from app.gateway.load.tier_choice import TierChoice
from app.gateway.money.bid import Bid
from app.gateway.money.paid import (
    NOTHING_PAID,
    Arrived,
    HiddenReasoning,
    Paid,
    booked_usage,
    price_usd,
    was_sent,
)
from app.gateway.money.pressure import Pressure
from app.gateway.money.surcharges import Extra
from app.gateway.money.tickets import Ticket
from app.gateway.queues.expected_wait import Outlook
from app.gateway.queues.virtual_counters import NO_RANK, Rank
from app.gateway.request import Deployment, RouteRequest
from app.gateway.running import Running
from app.outcome import CacheState, DecisionModelSaid, Judgement
from app.paths import CHAT_ROUTE
from app.providers.base import Chunk, Progress
from app.stores.claims import Standing
from app.telemetry.tracing import CallTrace, RequestTrace
from routers.decisions import Decision, Latency
from routers.models import ModelSpec
from routers.objectives import Objective

_CANCELLED = "cancelled"


class LedgerEntry(msgspec.Struct, kw_only=True, eq=False):
    """Collects the facts of one request while it runs; times are from `clock`, in seconds."""

    clock: Callable[[], float]
    request: RouteRequest
    policy_version: str
    started: float
    route: str = CHAT_ROUTE
    role: CallRole = CallRole.ANSWER
    """Of its calls, hedges apart."""
    rank: Rank = NO_RANK
    """In whose name it waits, and how urgently."""
    queued_s: float = 0.0
    """How long it waited for places."""
    objective: Objective | None = None
    """What was decided by: the request's own, or what a budget's pressure left of it."""
    pressure: Pressure | None = None
    extras: tuple[Extra, ...] = ()
    """What of the request changes its price."""
    ticket: Ticket | None = None
    """What was claimed and is not settled yet."""
    added: list[Ticket] = msgspec.field(default_factory=list)
    """What was claimed on top of it."""
    reserved_nusd: int | None = None
    """What all of that reserved of budgets; None where none has to pay."""
    n_added: int = 0
    """How often more was asked for."""
    bid: Bid | None = None
    """What the decided model may use."""
    running: Running = msgspec.field(default_factory=Running)
    """What the models that are asked at the moment may cost."""
    cut_by_budget: bool = False
    """Whether a budget had too little left for an answer of full length."""
    unpaid: BudgetExceededError | None = None
    """Why the latest call that a budget had too little left for was not made."""
    standing: Standing | None = None
    """Where the limits stand that the caller is told of."""
    decision: Decision | None = None
    course: Course | None = None
    """The way through a workflow, where the policy has one."""
    judgement: Judgement | None = None
    """What a model was heard to say before the decision."""
    decision_model: DecisionModelSaid | None = None
    """What was said of how hard the request is."""
    near_limits: tuple[NearLimit, ...] = ()
    """The models that cost more in the choice since they near what they take."""
    tier: TierChoice | None = None
    """The tier that it was given, where its policy has some."""
    turn: SessionTurn | None = None
    cache: CacheState | None = None
    cached: CachedAnswer | None = None
    decide_s: float = 0.0
    outlook: Outlook | None = None
    """What it would meet before the gateway, where it is only asked about."""
    decided_s: float = 0.0
    """How long after the request came it was decided."""
    calls: list[Call] = msgspec.field(default_factory=list)
    """What was called; of the call that serves, usage and cost come when it has ended."""
    served: Deployment | None = None
    latency: Latency | None = None
    """How long that call was predicted to take, from its own beginning on."""
    served_at: int = -1
    """Which of the calls that is."""
    call_trace: CallTrace | None = None
    """Of that call, where it ends with this step of the request."""
    whole_answer: Paid | None = None
    """What that is booked with, once it has come to its end."""
    upstream_wait_s: float = 0.0
    """Time spent waiting for upstreams, a judge included, before the answer began."""
    overhead_s: float = 0.0
    time_to_first_token_s: float | None = None
    arrived: Arrived = msgspec.field(default_factory=Arrived)
    """What has come of the answer that serves."""
    max_output_tokens: dict[str, int] = msgspec.field(default_factory=dict)
    """What a model is told to stop at, where that is not what the client said."""
    changes: dict[str, tuple[str, ...]] = msgspec.field(default_factory=dict)
    """What of the request a model is told otherwise than the client said it."""
    reasoning: HiddenReasoning = msgspec.field(default_factory=HiddenReasoning)
    """What is known of models' hidden reasoning; shared by all requests."""
    response_model: str | None = None
    keeps: Keeps = NOTHING
    heard: Heard | None = None
    """The answer as its client got it, where that is kept."""
    excerpt: Excerpt | None = None
    """The beginning of it, where its model is watched."""
    watch: str | None = None
    """What the client is told of a model that is not, or may not be, what it was."""
    _excerpting: Excerpt | None = None
    """The same while there is room in it."""
    trace: RequestTrace | None = None
    refused_by: str | None = None
    """Whose limit or budget refused the request."""
    _answering: bool = False
    _has_ended: bool = False
    _n_waiting: int = 0
    _waiting_since: float = 0.0

    def __post_init__(self) -> None:
        self._excerpting = self.excerpt

    def add_reserved(self, nusd: int | None) -> None:
        """Note that so much more was reserved."""
        if nusd is not None:
            self.reserved_nusd = (self.reserved_nusd or 0) + nusd

    def called(
        self,
        role: CallRole,
        model_id: str,
        upstream: str,
        *,
        duration_s: float,
        status: int | None = None,
        error: str | None = None,
        paid: Paid = NOTHING_PAID,
        deployment: str | None = None,
        propensity: float | None = None,
    ) -> Call:
        """Note a call that has just ended, or begun to serve."""
        decision_id = self.request.decision_id
        call = Call(
            call_id=f"{decision_id}.{len(self.calls)}",
            parent_id=decision_id,
            role=role,
            model_id=model_id,
            upstream=upstream,
            began_s=self.clock() - duration_s - self.started,
            duration_s=duration_s,
            status=status,
            error=error,
            usage=paid.usage,
            cost_usd=paid.cost_usd,
            changes=self.changes.get(model_id, ()),
            deployment=deployment,
            deployment_propensity=propensity,
        )
        self.calls.append(call)
        return call

    @property
    def next_role(self) -> CallRole:
        """The role of one more call; one to answer is a hedge while another is waited for."""
        if self._n_waiting and self.role is CallRole.ANSWER:
            return CallRole.HEDGE
        return self.role

    def end_stage(self, error: str | None) -> None:
        """Book the call that served in this step, as far as its answer was read; once.

        Parameters
        ----------
        error
            The code of what the call ended in; None where it served its purpose.
        """
        if self.served is None or self._has_ended:
            return
        self._has_ended = True
        self._book_served(error)
        if self.call_trace is not None:
            self.call_trace.ended(self.calls[self.served_at])
            self.call_trace = None

    def latest(self, model_id: str) -> int:
        """Return which call of a model ended last: others may run at the same time."""
        for at in range(len(self.calls) - 1, -1, -1):
            if self.calls[at].model_id == model_id:
                return at
        raise LookupError(model_id)

    def overdue(self, model_id: str) -> Call:
        """Note that a model's last call was not cancelled by anybody, but took too long.

        Of several that were too long at the same time each is noted once, whoever asks first.
        """
        for at in range(len(self.calls) - 1, -1, -1):
            call = self.calls[at]
            if call.model_id == model_id and call.error == _CANCELLED:
                code = answer_for(UpstreamTimeoutError("")).code
                self.calls[at] = msgspec.structs.replace(call, error=code)
                return self.calls[at]
        return self.calls[self.latest(model_id)]

    def traced(self, call_trace: CallTrace) -> None:
        """Note the trace of the call that serves: it ends with the request, or with the step."""
        if self.role is CallRole.ANSWER and self.trace is not None:
            self.trace.serves(call_trace)
        else:
            self.call_trace = call_trace

    def wait_begins(self, now: float) -> None:
        """Note that the request waits for an upstream, maybe for two at the same time."""
        if self._n_waiting == 0:
            self._waiting_since = now
        self._n_waiting += 1

    def wait_ends(self, now: float) -> None:
        """Note that one of these waits is over."""
        self._n_waiting -= 1
        if self._n_waiting == 0:
            self.upstream_wait_s += now - self._waiting_since

    def serves(
        self,
        deployment: Deployment,
        began: float,
        prelude: Iterable[Chunk] = (),
        *,
        role: CallRole = CallRole.ANSWER,
        propensity: float | None = None,
    ) -> None:
        """Note that an upstream call serves the answer, and how that begins."""
        now = self.clock()
        self.served_at = len(self.calls)
        self.called(
            role,
            deployment.spec.model_id,
            deployment.upstream,
            duration_s=now - began,
            status=200,
            deployment=deployment.name,
            propensity=propensity,
        )
        self.served = deployment
        self.time_to_first_token_s = now - self.started
        for chunk in prelude:
            self.saw(chunk)

    def failed(
        self,
        deployment: Deployment,
        began: float,
        error: BaseException,
        *,
        progress: Progress,
        prelude: Iterable[Chunk] = (),
        role: CallRole = CallRole.ANSWER,
        propensity: float | None = None,
    ) -> Call:
        """Note an upstream call that does not serve the answer, and what it has to be paid.

        One that is cancelled while another one serves is a hedge that lost.
        """
        code = code_of(error)
        status = error.status if isinstance(error, UpstreamError) else None
        if code == _CANCELLED and self.served is not None:
            code = HEDGE_LOST
        paid = NOTHING_PAID
        if was_sent(progress, error):
            paid = self._paid(deployment.spec, Arrived.of(prelude, progress))
        return self.called(
            role,
            deployment.spec.model_id,
            deployment.upstream,
            duration_s=self.clock() - began,
            status=status,
            error=code,
            paid=paid,
            deployment=deployment.name,
            propensity=propensity,
        )

    def answering(self) -> None:
        """Note that the response headers go out now: what was not upstream's time is ours."""
        if not self._answering:
            self._answering = True
            self.overhead_s = max(self.clock() - self.started - self.upstream_wait_s, 0.0)

    def saw(self, chunk: Chunk) -> None:
        """Take note of what a chunk tells about the answer."""
        self.arrived.saw(chunk)
        if chunk.response_model is not None:
            self.response_model = chunk.response_model
        if self.heard is not None:
            self.heard.hear(chunk)
        if self._excerpting is not None and self._excerpting.saw(chunk):
            self._excerpting = None

    def completed(self) -> None:
        """Note that the answer has come to its end: what was told of it is final."""
        self.arrived.final = True
        if self.served is not None:
            self.whole_answer = self._paid(self.served.spec, self.arrived)

    def _paid(self, spec: ModelSpec, arrived: Arrived) -> Paid:
        """Return what a call is booked with, by the one rule."""
        hidden_tokens = 0
        if arrived.usage is None or not arrived.final:
            hidden_tokens = self.reasoning.tokens(
                self.request, self.decision, spec, arrived.output_tokens
            )
        usage = booked_usage(
            self.request,
            arrived,
            spec=spec,
            max_output_tokens=self.max_output_tokens.get(
                spec.model_id, self.request.demand.max_output_tokens
            ),
            hidden_tokens=hidden_tokens,
        )
        return Paid(usage, price_usd(usage, spec, self.extras, self.request.demand.n_answers))

    def served_paid(self) -> Paid:
        """Return what the call that serves is booked with."""
        if self.whole_answer is not None:
            return self.whole_answer
        if self.served is None:
            return NOTHING_PAID
        return self._paid(self.served.spec, self.arrived)

    def whole(self) -> None:
        """Book an answer that is held back with what it cost, unless it serves after all."""
        if self.served is not None:
            self._book_served(DRAFT_REJECTED)

    @property
    def attempts(self) -> list[Call]:
        """The calls whose answer the client may get."""
        for call in self.calls:
            if call.role is not CallRole.ANSWER:
                return [each for each in self.calls if each.role in ANSWERING]
        return self.calls

    @property
    def is_held_back(self) -> bool:
        """Whether an answer is being held back at the moment."""
        return self.course is not None and self.course.held_since is not None

    def end(self) -> None:
        """Note that nothing more comes of the answer."""
        if self.served is None:
            return
        self._book_served(None)
        if self.arrived.final:
            self.reasoning.learn(
                self.served.spec.model_id, self.arrived, self.request.demand.n_answers
            )

    def _book_served(self, error: str | None) -> None:
        served, call = self.served_paid(), self.calls[self.served_at]
        self.calls[self.served_at] = msgspec.structs.replace(
            call, usage=served.usage, cost_usd=served.cost_usd, error=error
        )


def code_of(error: BaseException) -> str | None:
    """Return how the end of a call is told in its account."""
    return _CANCELLED if isinstance(error, asyncio.CancelledError) else answer_for(error).code
