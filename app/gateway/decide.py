"""Request → decision: inline when it is a matter of microseconds, else in bounded workers.

A router that fails or takes too long never fails a request: the policy's default model takes it,
with a reason that says so and a counter that an operator can watch.
"""

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TypeVar

import numpy as np

from app.gateway.policy import Policy
from app.gateway.request import RouteRequest
from app.outcome import Judgement
from routers.decision.causal_llm import with_strong_chance
from routers.decision.decide import decide, decide_without_predictions, estimate_each, unpredicted
from routers.decisions import CandidateEstimate, Decision, Reason
from routers.errors import NoEligibleModelError
from routers.objectives import Constraints, StrongThreshold
from routers.probe import Probe, Stage
from routers.request.layout import Description
from routers.request.tasks import TaskRecogniser
from routers.text.conversation import conversation_text
from routers.types import Conversation, Predictions

T = TypeVar("T")

_NO_MODELS: Mapping[str, str] = {}
_NO_SURCHARGES: Mapping[str, float] = {}
_log = logging.getLogger(__name__)

AtTheMoment = Callable[[Constraints, Sequence[CandidateEstimate]], Constraints]
"""Adds to constraints what models take and cost at the moment for a request so estimated."""

MAX_PENDING = 64
"""Decisions waiting for a worker before further ones go to the default model at once."""

PROBE_EVERY = 32
"""One decision out of this many is looked at closely, which costs it some 50 µs."""


@dataclass(slots=True, kw_only=True)
class Decider:
    """Decide requests; owns the worker threads."""

    unhealthy: Callable[[], frozenset[str]]
    on_router_failure: Callable[[Policy, Reason], None]
    demoted: Callable[[], frozenset[str]] = frozenset
    """The models that are not what they were."""
    on_probe: Callable[[Policy, Probe], None] = lambda _policy, _probe: None
    """Told of one decision out of `PROBE_EVERY`, after it was made."""
    workers: int = 1
    _until_probe: int = PROBE_EVERY
    _executor: ThreadPoolExecutor = field(init=False)
    _pending: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self._executor = ThreadPoolExecutor(self.workers, thread_name_prefix="decide")

    def close(self) -> None:
        """Stop the workers without waiting for abandoned decisions."""
        self._executor.shutdown(wait=False, cancel_futures=True)

    async def decide(
        self,
        request: RouteRequest,
        policy: Policy,
        *,
        judgement: Judgement | None = None,
        unpayable: Mapping[str, str] = _NO_MODELS,
        over_share: Mapping[str, str] = _NO_MODELS,
        now: AtTheMoment | None = None,
        surcharges_usd: Mapping[str, float] = _NO_SURCHARGES,
    ) -> Decision:
        """Choose a model under the request's constraints and knob.

        Parameters
        ----------
        judgement
            What the policy's scorer said, if it was asked; takes the place of the artifact's own
            score of the pair.
        unpayable
            Models that the caller's budget cannot pay for, and why.
        over_share
            Models that as many of the caller's requests went to as may, and why.
        now
            What models take and cost at the moment, if anybody wants to know.
        surcharges_usd
            What they cost more in the choice, whatever else they cost.

        Raises
        ------
        NoEligibleModelError
            If no candidate passes the hard constraints.
        """
        constraints = Constraints(
            output_limit=policy.output_limit,
            allowed_model_ids=request.allowed_model_ids,
            max_cost_usd=request.max_cost_usd,
            unhealthy_model_ids=self.unhealthy(),
            demoted_model_ids=self.demoted(),
            unpayable=unpayable,
            over_share=over_share,
            wishes=request.wishes,
            surcharges_usd=surcharges_usd,
        )
        strong_chance = None
        if judgement is not None:
            if judgement.failure is not None:
                return self._default(request, policy, constraints, judgement.failure, now)
            strong_chance = judgement.strong_chance
        probe = self._probe()
        work = partial(
            decide_now,
            request,
            policy,
            constraints,
            strong_chance=strong_chance,
            probe=probe,
            now=now,
        )
        quick = _n_chars(request.routed_by) <= policy.inline_chars
        if quick and policy.knobs.ready(request.allowed_model_ids):
            try:
                decision = work()
            except NoEligibleModelError:
                raise
            except Exception:  # noqa: BLE001  (whatever a router does, the request goes on)
                _log.exception("router %s failed", policy.name)
                return self._default(request, policy, constraints, Reason.ROUTER_ERROR, now)
        else:
            decision = await self._decide_in_worker(work, request, policy, constraints, now)
        if probe is not None and Stage.PICK in probe.seconds:
            self.on_probe(policy, probe)
        return decision

    async def describe(self, request: RouteRequest) -> Description | None:
        """Return what is believed of a request; None where the router does not describe any.

        For who wants to be told why: a decision needs none. Nor is it waited for longer than for
        one, and none is made while decisions queue.
        """
        policy = request.policy
        if policy is None:
            return None
        work = partial(policy.artifact.describe, request.routed_by)
        try:
            if _n_chars(request.routed_by) <= policy.inline_chars:
                return work()
            if self._pending >= MAX_PENDING:
                return None
            async with asyncio.timeout(policy.router_deadline_s):
                return await asyncio.wrap_future(self._submit(work))
        except TimeoutError:
            return None
        except Exception:  # noqa: BLE001  (a sentence the less, but the answer goes out)
            _log.exception("router %s cannot describe a request", policy.name)
            return None

    async def recognise(
        self, request: RouteRequest, recogniser: TaskRecogniser
    ) -> tuple[str, ...] | None:
        """Return the tasks that a prompt asks for; None where there was no time to find out."""
        policy = request.policy
        assert policy is not None  # noqa: S101  (it has the recogniser)
        if self._pending >= MAX_PENDING:
            return None
        prompt = conversation_text(request.routed_by).prompt
        try:
            async with asyncio.timeout(policy.router_deadline_s):
                return await asyncio.wrap_future(
                    self._submit(partial(recogniser.recognise, prompt))
                )
        except TimeoutError:
            return None
        except Exception:  # noqa: BLE001  (a request without a task is answered all the same)
            _log.exception("policy %s cannot recognise a task", policy.name)
            return None

    def _probe(self) -> Probe | None:
        """Return a probe for every so manieth decision."""
        self._until_probe -= 1
        if self._until_probe:
            return None
        self._until_probe = PROBE_EVERY
        return Probe(clock=time.perf_counter)

    async def _decide_in_worker(
        self,
        work: Callable[[], Decision],
        request: RouteRequest,
        policy: Policy,
        constraints: Constraints,
        now: AtTheMoment | None,
    ) -> Decision:
        if self._pending >= MAX_PENDING:
            return self._default(request, policy, constraints, Reason.ROUTER_TIMEOUT, now)
        future = self._submit(work)
        try:
            async with asyncio.timeout(policy.router_deadline_s):
                return await asyncio.wrap_future(future)
        except NoEligibleModelError:
            raise
        except TimeoutError:
            future.cancel()
            return self._default(request, policy, constraints, Reason.ROUTER_TIMEOUT, now)
        except Exception:  # noqa: BLE001  (as above)
            _log.exception("router %s failed", policy.name)
            return self._default(request, policy, constraints, Reason.ROUTER_ERROR, now)

    def _submit(self, work: Callable[[], T]) -> Future[T]:
        with self._lock:
            self._pending += 1
        future = self._executor.submit(work)
        future.add_done_callback(self._done)
        return future

    def _done(self, _future: object) -> None:
        with self._lock:
            self._pending -= 1

    def _default(
        self,
        request: RouteRequest,
        policy: Policy,
        constraints: Constraints,
        reason: Reason,
        now: AtTheMoment | None,
    ) -> Decision:
        self.on_router_failure(policy, reason)
        if now is not None:
            demand = request.demand
            constraints = now(constraints, unpredicted(policy.candidates, demand))
        return decide_without_predictions(
            candidates=policy.candidates,
            demand=request.demand,
            constraints=constraints,
            default_model_id=policy.default_model_id,
            reason=reason,
        )


def predict(
    policy: Policy,
    conversation: Conversation,
    *,
    bare: Conversation | None = None,
    probe: Probe | None = None,
) -> Predictions:
    """Return one row of predictions, columns aligned with the policy's candidates.

    Parameters
    ----------
    bare
        What candidates are predicted on that do not get the documents of the request.
    """
    conversations = [conversation] if bare is None else [conversation, bare]
    predictions = policy.artifact.predict_conversations(conversations, probe=probe)
    predictions = predictions.columns(policy.columns)
    if bare is None:
        return predictions
    if probe is not None and probe.x is not None:
        probe.x = probe.x[:1]
    return predictions.joined(policy.withholding)


def decide_now(
    request: RouteRequest,
    policy: Policy,
    constraints: Constraints,
    *,
    strong_chance: float | None = None,
    probe: Probe | None = None,
    now: AtTheMoment | None = None,
) -> Decision:
    """Decide in the calling thread.

    Parameters
    ----------
    strong_chance
        The chance, in [0, 1], that the strong model of a pair is needed, if a scorer told it.
    probe
        Is told the time of each stage.
    now
        What models take and cost at the moment, if anybody wants to know.

    Raises
    ------
    NoEligibleModelError
        If no candidate passes the hard constraints.
    """
    objective = request.objective or policy.objective
    if probe is not None:
        probe.start()
    predictions = predict(policy, request.routed_by, bare=request.routed_bare, probe=probe)
    if policy.low_detail_losses:
        predictions = _at_low_detail(predictions, policy, request)
    if strong_chance is not None and isinstance(objective, StrongThreshold):
        column = {spec.model_id: i for i, spec in enumerate(policy.candidates)}
        predictions = with_strong_chance(
            predictions,
            strong_chance,
            strong=column[objective.strong],
            weak=column[objective.weak],
        )
    estimates = None
    if now is not None:
        estimates = estimate_each(policy.candidates, predictions, request.demand)
        constraints = now(constraints, estimates)
    decision = decide(
        candidates=policy.candidates,
        predictions=predictions,
        demand=request.demand,
        constraints=constraints,
        objective=objective,
        knob=policy.knobs.get(constraints.allowed_model_ids),
        estimates=estimates,
    )
    if probe is not None:
        probe.lap(Stage.PICK)
    return decision if request.pinned_model_id is None else replace(decision, reason=Reason.PINNED)


def _at_low_detail(predictions: Predictions, policy: Policy, request: RouteRequest) -> Predictions:
    """Return predictions less what low detail is taken to cost, where it shows too little."""
    media = request.demand.media
    if media is None or not media.shrinks_at_low_detail:
        return predictions
    losses = np.asarray(policy.low_detail_losses, np.float32)
    return replace(predictions, quality=np.maximum(predictions.quality - losses, 0.0))


def _n_chars(conversation: Conversation) -> int:
    return sum([len(message.text) for message in conversation.messages])
