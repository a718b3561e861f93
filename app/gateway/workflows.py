"""Carry workflows out: several calls for one answer, of which the client sees one.

Which calls they are is said by the workflow (`routers/workflows/`). Nobody has seen anything of an
answer that is held back, so each can still be turned down; the answer of a model that a workflow
ends with streams like any other.
"""

import asyncio
import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import assert_never

import msgspec

from app.calls import DRAFT_REJECTED, CallRole
from app.concurrency.together import together
from app.errors import (
    AllAttemptsFailedError,
    FailedAttempt,
    RequestRefusedError,
    UpstreamError,
)
from app.gateway.ceilings import Ceilings, Paces, asked_in
from app.gateway.course import NOTHING_BETTER, TOO_LONG, distinct
from app.gateway.dispatch import Afford, Dispatcher
from app.gateway.failed_attempts import told_attempts
from app.gateway.held_answers import HoldBack, Holder
from app.gateway.ledger import LedgerEntry, code_of
from app.gateway.open_answer import OpenAnswer
from app.gateway.plan import Several, first_of, next_steps, spoilt
from app.gateway.questions import Questions, in_other_words, unsent
from app.gateway.replies import Replies
from app.gateway.request import RouteRequest
from app.gateway.tasks import CHAIN_OBSTACLES
from routers.models import ModelSpec
from routers.steps import Answer, Delegate, Draft, End, Purpose, Question, Refuse, Serve, Skip, Step

_log = logging.getLogger(__name__)

_MAX_IDLE_ROUNDS = 100
"""In how many rounds of one request nothing may be called: more would be a workflow without end."""
_ROLES = {
    Purpose.JUDGE: CallRole.JUDGE,
    Purpose.PLANNER: CallRole.PLANNER,
    Purpose.HELPER: CallRole.HELPER,
    Purpose.GUARD: CallRole.GUARD,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Workflows:
    """Carries workflows out.

    Attributes
    ----------
    specs
        Of every model that there is, for its prices.
    """

    dispatcher: Dispatcher
    questions: Questions
    specs: Mapping[str, ModelSpec]
    hold: HoldBack
    without_logprobs: set[str] = field(default_factory=set)
    """Models that refused a request for log-probabilities and took the same without."""
    paces: Paces = field(default_factory=Paces)
    """What drafts usually take, by which it is told whether one would be late."""
    usual: Paces = field(default_factory=Paces)
    """What answers of any kind usually take."""
    saw: Callable[[LedgerEntry], None] | None = None
    """Told of the account of every answer that came to its end; None: models are not watched."""

    async def open(
        self, request: RouteRequest, plan: Several, entry: LedgerEntry, *, afford: Afford
    ) -> OpenAnswer:
        """Return the answer that a workflow comes to; one that it ends with once that begins.

        Raises
        ------
        UpstreamRejectedError
            If an upstream finds the request itself at fault.
        AllAttemptsFailedError
            If no answer could be had; its attempts say what each call did.
        RequestRefusedError
            If the workflow says so.
        """
        run = _Run(self, request, plan, entry, afford)
        course = plan.course
        began, waited_s = entry.clock(), entry.upstream_wait_s
        course.held_since = began
        served: OpenAnswer | None = None
        ended: str | None = DRAFT_REJECTED
        try:
            try:
                end = await run.end()
            finally:
                # Nothing of all this time was the gateway's own.
                entry.upstream_wait_s = waited_s + entry.clock() - began
            served = await run.serve(end)
        except asyncio.CancelledError as error:
            ended = code_of(error)
            raise
        finally:
            course.held_since, course.held_s = None, entry.clock() - began
            await run.close(served, error=ended)
        return served


class _Run:
    """One workflow that is being carried out."""

    def __init__(
        self,
        workflows: Workflows,
        request: RouteRequest,
        plan: Several,
        entry: LedgerEntry,
        afford: Afford,
    ) -> None:
        task, decision, policy = plan.course.task, entry.decision, request.policy
        assert task is not None  # noqa: S101  (it was begun)
        assert decision is not None  # noqa: S101
        assert policy is not None  # noqa: S101
        rule = request.workflow
        assert rule is not None  # noqa: S101
        self._workflows, self._request, self._plan, self._entry = workflows, request, plan, entry
        self._course, self._task, self._decision = plan.course, task, decision
        self._policy_name, self._rule = policy.name, rule
        self._pay, self._paying = afford, asyncio.Lock()
        self._ceilings = Ceilings(
            task,
            entry,
            decision,
            plan.course,
            specs=workflows.specs,
            paces=workflows.paces,
        )
        self._holder = Holder(
            dispatcher=workflows.dispatcher,
            hold=workflows.hold,
            without_logprobs=workflows.without_logprobs,
            request=request,
            entry=entry,
            course=plan.course,
            afford=self._afford,
            wants_logprobs=rule.workflow.wants_logprobs,
        )
        self._replies = Replies(request=request, entry=entry, course=plan.course)
        self._n_answers = 0
        self._unjudged: Answer | None = None

    async def end(self) -> End:
        """Take the workflow's steps until it ends."""
        course, n_rounds = self._course, 0
        steps: tuple[Step, ...] | End = course.first
        while isinstance(steps, tuple):
            answers = await self._take(steps)
            if self._unjudged is not None:
                return Serve(answer=self._unjudged, by=TOO_LONG)
            n_rounds += 1
            if n_rounds - len(course.rounds) > _MAX_IDLE_ROUNDS:
                _log.error("workflow %s of policy %s has no end", course.kind, self._policy_name)
                return spoilt(course)
            steps = next_steps(course, self._policy_name, answers)
            course.hear_verdicts()
        course.note_ceiling()
        return steps

    async def serve(self, end: End) -> OpenAnswer:
        """Return the answer that the workflow ended with."""
        match end:
            case Serve(answer=answer) if answer.number not in self._holder.held:
                _log.error(
                    "workflow %s of policy %s serves what is no answer",
                    self._course.kind,
                    self._policy_name,
                )
                return await self.serve(spoilt(self._course))
            case Serve(answer=answer, by=by):
                self._course.accepted_by = by
                self._was_by_chance(end.propensity)
                return self._holder.serve(answer.number)
            case Delegate():
                self._was_by_chance(end.propensity)
                if self._task.candidate(end.model_id) is None:
                    end = replace(end, model_id=self._task.model_id)
                return await self._delegate(end)
            case Skip(why=why) if self._is_named_chain:
                if self._course.ceiling == "budget" and self._entry.unpaid is not None:
                    raise self._entry.unpaid
                raise AllAttemptsFailedError(
                    f"the chain of tasks came to nothing: {CHAIN_OBSTACLES.get(why, why)}",
                    attempts=self._failed_calls(),
                )
            case Skip(why=why):
                # A guard lets pass what was decided, for the conversation's sake too.
                taken = self._decision if self._course.guards else self._task
                return await self._delegate(Delegate(model_id=taken.model_id, by=why))
            case Refuse(why=why):
                raise RequestRefusedError(why)
            case _:
                assert_never(end)

    async def close(self, served: OpenAnswer | None, *, error: str | None) -> None:
        """End what does not serve, with the code of what it ends in."""
        self._course.stop()
        await self._holder.close(served, error=error)

    @property
    def _is_named_chain(self) -> bool:
        """Whether the client itself asked for a chain of tasks: then no one choice is as good."""
        task = self._request.task
        return self._request.chain is not None and task is not None and not task.recognised

    def _failed_calls(self) -> tuple[FailedAttempt, ...]:
        """Return the calls that brought nothing, as clients are told."""
        return tuple(
            FailedAttempt(
                model=call.model_id,
                status=call.status,
                ms=round(call.duration_s * 1e3),
                error=call.error,
            )
            for call in self._entry.calls
            if call.error is not None
        )

    def _was_by_chance(self, propensity: float) -> None:
        if propensity != 1.0:
            self._entry.decision = replace(
                self._decision, propensity=self._decision.propensity * propensity
            )

    async def _take(self, steps: Sequence[Step]) -> list[Answer | None]:
        """Return what comes of steps that are taken at the same time."""
        committed_nusd = 0
        begun: list[tuple[int, RouteRequest]] = []
        for at, step in enumerate(steps):
            asked = asked_in(self._request, step)
            most_nusd = self._ceilings.take(step, asked, committed_nusd=committed_nusd)
            if most_nusd is not None:
                committed_nusd += most_nusd
                begun.append((at, asked))
        answers: list[Answer | None] = [None] * len(steps)
        if begun:
            self._course.rounds.append(tuple(steps[at].model_id for at, _ in begun))
            alone, needed = len(begun) == 1, not self._holder.held
            came = await together(
                [self._answer(steps[at], asked, alone=alone, needed=needed) for at, asked in begun]
            )
            for (at, _), answer in zip(begun, came, strict=True):
                answers[at] = answer
        return answers

    async def _answer(
        self, step: Step, asked: RouteRequest, *, alone: bool, needed: bool
    ) -> Answer | None:
        number = self._n_answers
        self._n_answers += 1
        if isinstance(step, Question):
            return await self._ask(step, asked, number=number)
        # Of the request's own time its deadline takes care.
        limited = self._rule.max_time_s is not None
        left_s = self._ceilings.left_s if limited else math.inf
        held = await self._holder.draft(
            step, number=number, left_s=left_s, alone=alone, needed=needed
        )
        if held is None:
            return None
        if held.is_whole:
            self._workflows.paces.took(step.model_id, held.took_s)
            self._workflows.usual.took(step.model_id, held.took_s)
            if self._workflows.saw is not None:
                self._workflows.saw(held.stage)
        else:
            self._unjudged = held.answer
        return held.answer

    async def _ask(self, step: Question, asked: RouteRequest, *, number: int) -> Answer | None:
        """Return a reply; None where none could be had."""
        entry, role = self._entry, _ROLES[step.purpose]
        budgeted = entry.reserved_nusd is not None
        if budgeted and not await self._afford(asked, step.model_id, entry):
            unsent(step.model_id, entry, "budget", role=role)
            return None
        left_s = self._ceilings.left_s
        try:
            reply = await self._workflows.questions.ask(
                asked,
                step.model_id,
                entry,
                deadline_s=left_s if step.deadline_s is None else min(step.deadline_s, left_s),
                role=role,
                logprobs=step.logprobs,
            )
        finally:
            if budgeted:
                entry.running.end(step.model_id)
        if reply.said is None:
            return None
        self._replies.hear(number, reply)
        if role is CallRole.HELPER:
            self._workflows.usual.took(step.model_id, reply.call.duration_s)
            if self._workflows.saw is not None and reply.stage is not None:
                self._workflows.saw(reply.stage)
        usage = reply.call.usage
        return Answer(
            number=number,
            model_id=step.model_id,
            text=reply.said.text,
            output_tokens=None if usage is None else usage.output_tokens,
            cost_usd=reply.call.cost_usd,
            latency_s=reply.call.duration_s,
            alternatives=reply.said.top_logprobs,
        )

    async def _afford(self, request: RouteRequest, model_id: str, _stage: LedgerEntry) -> bool:
        """Reserve for one call at a time, so that no two of them count on the same money."""
        async with self._paying:
            pays = await self._pay(request, model_id, self._entry)
        if not pays:
            self._course.ceiling = "budget"
        return pays

    async def _delegate(self, end: Delegate) -> OpenAnswer:
        """Have a model answer directly; where it cannot, the best answer at hand is better."""
        course, model_id, request = self._course, end.model_id, self._request
        if end.messages is not None:
            request = in_other_words(request, end.messages)
            course.in_own_words = True
        if self._ceilings.take(Draft(model_id=model_id), request) is None:
            at_hand = self._makeshift(end.instead)
            if at_hand is not None:
                return at_hand
            if course.ceiling == "budget" and self._entry.unpaid is not None:
                raise self._entry.unpaid
            if course.ceiling != "time":  # late is better than never
                raise AllAttemptsFailedError(
                    f"the ceiling on {course.ceiling or 'models'} leaves no room for an answer",
                    attempts=told_attempts(self._holder.failures),
                )
        if not self._task.guarding.allows(model_id):
            raise RequestRefusedError("no model that may answer such a request is left")
        models = distinct((model_id, *self._stand_ins(end, request)))
        course.rounds.append((model_id,))
        course.served_model_id = model_id
        try:
            opened = await self._workflows.dispatcher.open(
                request,
                first_of(self._limited(request), self._decision, models),
                self._entry,
                afford=self._afford,
                failures=self._holder.failures,
            )
        except (AllAttemptsFailedError, UpstreamError):
            # Also where it finds the request at fault: another model has answered it.
            at_hand = self._makeshift(end.instead)
            if at_hand is None:
                raise
            return at_hand
        course.accepted_by = end.by
        return opened

    def _stand_ins(self, end: Delegate, request: RouteRequest) -> Sequence[str]:
        """Return who may answer where a model cannot: who has not answered, within the ceilings."""
        if not request.fallback or request.locked:
            return ()
        allows = self._task.guarding.allows
        left_out = {end.model_id, *[held.answer.model_id for held in self._holder.held.values()]}
        others = [
            each
            for each in (self._plan.models if end.stand_ins is None else end.stand_ins)
            if each not in left_out and allows(each) and self._ceilings.leaves(each, request)
        ]
        return others[: self._task.room.calls]

    def _limited(self, request: RouteRequest) -> RouteRequest:
        """Return a request that may cost what is left of its ceiling."""
        left_usd = self._task.room.cost_usd
        if left_usd is None:
            return request
        return msgspec.structs.replace(request, max_cost_usd=left_usd)

    def _makeshift(self, instead: Answer | None) -> OpenAnswer | None:
        """Have the best answer at hand serve; None where there is none."""
        opened = None
        if instead is None or self._task.guarding.allows(instead.model_id):
            opened = self._replies.serve(instead)
        number = self._holder.best(instead)
        if opened is None and number is not None:
            opened = self._holder.serve(number)
        if opened is not None:
            self._course.accepted_by = NOTHING_BETTER
        return opened
