"""Asking the requests of a batch, some at a time, each until it has an answer or may have none."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field, replace
from enum import StrEnum

import msgspec

from app.access.guard import Caller
from app.batches.door import Answer, Asked, BatchLine, Door
from app.batches.lease import LostLeaseError
from app.batches.lines import Result, failure, result_of
from app.batches.planned import Assignments
from app.batches.predictions import Predictions
from app.batches.progress import BLOCK, Progress
from app.error_answers import answer_for
from app.errors import GatewayError
from app.ids import new_id
from app.keys import BatchBudget
from app.stores.base import StoreError
from routers.decision.assignment import LeftOut

_RETRY_S, _MAX_RETRY_S = 1.0, 60.0
_MAX_FAILURES = 3
"""So often a request is asked that upstreams fail with; each time was tried as often as always."""
_MAX_BEGUN = 3
"""A request that was on its way in so many processes that died is not sent again."""
_SERVER_ERROR, _UNAVAILABLE = 500, 503
_BUDGET = "batch_budget_exceeded"
_WHY = {
    LeftOut.NO_MODEL: ("no_eligible_model", "No model may answer this request."),
    LeftOut.BUDGET: (
        _BUDGET,
        "What is left of the budget of this batch does not pay for this request.",
    ),
    LeftOut.CAPACITY: (
        "batch_capacity_exceeded",
        "Every model that may answer this request answers as many others as it may.",
    ),
}


class Stop(StrEnum):
    """Why nothing more of a batch is asked."""

    CANCELLED = "cancelled"
    EXPIRED = "expired"
    PAUSED = "paused"
    """The process ends; another one goes on."""


@dataclass(slots=True)
class _Trial:
    """One request on its way to an answer."""

    line: BatchLine
    request_id: str
    times: int
    """In which process it is sent."""
    tried: set[str] = field(default_factory=set)
    failures: int = 0
    waits: int = 0
    cost_usd: float = 0.0
    """Of everything that was asked for it: several calls may be paid for before one fails."""
    last: Result | None = None
    """What it was told last, unless it was too dear."""


@dataclass(slots=True, kw_only=True)
class Asking:
    """Asks what is not done.

    Parameters
    ----------
    caller_of
        Returns who a key stands for, by its digest.
    concurrency
        Requests at once.
    """

    progress: Progress
    door: Door
    caller_of: Callable[[str | None], Awaitable[Caller]]
    concurrency: int
    stopped: Stop | None = None
    _assignments: Assignments | None = None
    _answered: dict[int, Answer] = field(default_factory=dict)
    """Of requests that nobody needs to be asked about."""
    _running: set[asyncio.Task[None]] = field(default_factory=set)
    _stopping: asyncio.Event = field(default_factory=asyncio.Event)
    _on_way: int = 0
    """Requests that the gateway answers at the moment."""
    _settled: asyncio.Event = field(default_factory=asyncio.Event)
    """Set, and replaced by another one, whenever one of them is answered."""
    _caller: tuple[Caller, Caller] | None = None
    """Who the key stood for last, without and with the budget of the batch."""
    _lost_usd: float = 0.0

    def stop(self, why: Stop) -> None:
        """Ask nothing more; what is on its way is waited for."""
        if self.stopped is None:
            self.stopped = why
            self._stopping.set()
            self._tell_settled()

    async def run(self) -> None:
        """Ask until everything has an answer, or this is stopped.

        Raises
        ------
        LostLeaseError, StoreError
            Once what is on its way is answered, and kept: it is paid for.
        """
        try:
            if self.progress.batch.is_planned and self.stopped is None:
                await self._plan()
            await self._ask_all()
        except (LostLeaseError, StoreError):
            self.stop(Stop.PAUSED)
            if self._running:
                await asyncio.wait(self._running)
            raise
        finally:
            for task in self._running:
                task.cancel()
            await asyncio.gather(*self._running, return_exceptions=True)

    async def _plan(self) -> None:
        """Predict all requests, and assign models for them together."""
        progress = self.progress
        found = await self._predicted()
        if self.stopped is not None:
            return
        batch = progress.batch
        assignments = Assignments(found, budget_usd=batch.budget_usd, capacity=batch.capacity)
        for number, result in progress.answered_before:
            assignments.answered_before(number, model=result.model, cost_usd=result.cost_usd)
        for number, (times, model) in progress.begun.items():
            self._lost_usd += times * assignments.predicted_usd(number, model)
        assignments.lost(self._lost_usd)
        self._caller = None  # its budget is less what was lost
        plan = await asyncio.to_thread(assignments.plan)
        self._assignments = assignments
        if batch.plan is None:
            await progress.save(plan=plan)

    async def _predicted(self) -> Predictions:
        """Return what is predicted of every request that is not done; others are answered."""
        asked = await self._asked()
        found = Predictions()
        block: list[BatchLine] = []

        async def predict() -> None:
            for line, each in zip(block, await self.door.candidates(asked, block), strict=True):
                if isinstance(each, Answer):
                    self._answered[line.number] = each
                else:
                    found.add(line.number, each)
            block.clear()

        async for line in self.progress.lines():
            if line.number not in self.progress.done:
                block.append(line)
            if len(block) >= BLOCK:
                await predict()
            if self.stopped is not None:
                break
        await predict()
        return found

    async def _ask_all(self) -> None:
        while True:
            n_waiting = await self._ask_round()
            if not n_waiting or self.stopped is not None or self._assignments is None:
                break
            # Who was left out may be paid for by what others did not cost.
            await asyncio.to_thread(self._assignments.plan)
            if not self._assignments.n_ready:
                break
        if self.stopped is None and self._assignments is not None:
            async for line in self.progress.lines():
                if line.number not in self.progress.done:
                    await self.progress.record(line, self._left_out(line))

    async def _ask_round(self) -> int:
        """Ask all requests that have a model; return how many have none."""
        n_waiting = 0
        async for line in self._left():
            if not await self._is_ready(line):
                n_waiting += 1
                continue
            while len(self._running) >= self.concurrency:
                await self._one_less()
            if self.stopped is not None:
                break
            self._running.add(asyncio.create_task(self._ask(line)))
        while self._running:
            await self._one_less()
        return n_waiting

    async def _left(self) -> AsyncIterator[BatchLine]:
        """Yield the requests that are not done.

        Those that were on their way in another process come last: if that one lives after all, and
        could not reach the store alone, it has time to hand their answers over.
        """
        begun: list[BatchLine] = []
        async for line in self.progress.lines():
            if line.number in self.progress.begun:
                begun.append(line)
            elif line.number not in self.progress.done:
                yield line
        for line in begun:
            if line.number not in self.progress.done:
                yield line

    async def _is_ready(self, line: BatchLine) -> bool:
        assignments = self._assignments
        if assignments is None or line.number in self._answered:
            return True
        if assignments.is_due():
            await asyncio.to_thread(assignments.plan)
        return assignments.is_assigned(line.number)

    async def _one_less(self) -> None:
        done, self._running = await asyncio.wait(self._running, return_when=asyncio.FIRST_COMPLETED)
        # All of them at once: where several have failed, the first one's error is raised.
        await asyncio.gather(*done)

    async def _ask(self, line: BatchLine) -> None:
        """Ask one request until it has an answer, or may have none."""
        request_id = new_id("batch_req_")
        known = self._answered.get(line.number)
        times = self.progress.begun.get(line.number, (0, None))[0]
        late = await self.progress.late_answer(line) if times else None
        if late is not None:
            result: Result | None = late
            self._settle_late(line, late)
        elif known is not None:
            result = result_of(line, request_id, known)
        elif times >= _MAX_BEGUN:
            error = ("batch_interrupted", f"The gateway was interrupted {times} times by now.")
            result = failure(line, request_id, error)
        else:
            result = await self._tried(_Trial(line, request_id, times + 1))
        if result is not None:
            await self.progress.record(line, result)

    def _settle_late(self, line: BatchLine, result: Result) -> None:
        if self._assignments is not None:
            cost_usd = result.cost_usd
            self._assignments.answered_before(line.number, model=result.model, cost_usd=cost_usd)

    async def _tried(self, trial: _Trial) -> Result | None:
        """Return what came of a request; None where it was stopped before that was known."""
        line, assignments = trial.line, self._assignments
        result: Result | None = None
        while self.stopped is None:
            model = None
            if assignments is not None:
                model = assignments.take(line.number, but=trial.tried)
                if model is None:
                    return self._left_out(line) if trial.last is None else trial.last
            await self.progress.begin(line, times=trial.times, model=model)
            answer = await self._answer(trial, model)
            if assignments is not None and model is not None:
                assignments.settle(
                    line.number, model, cost_usd=answer.cost_usd, answered=answer.is_ok
                )
            trial.cost_usd += answer.cost_usd
            known = result_of(line, trial.request_id, answer)
            result = msgspec.structs.replace(known, cost_usd=trial.cost_usd)
            may_go_better = answer.should_retry or answer.status >= _SERVER_ERROR
            is_dear = answer.code == _BUDGET
            trial.last = None if is_dear else result
            if answer.is_ok:
                return result
            if not (may_go_better or is_dear):
                if model is None or self.stopped is not None or await self._takes(line, model):
                    return result
                trial.tried.add(model)
                continue
            if self.stopped is None and not await self._again(trial, answer, model):
                return result
        is_final = self.stopped is not Stop.PAUSED and trial.cost_usd
        return result if is_final else None

    async def _takes(self, line: BatchLine, model: str) -> bool:
        """Return whether a model may answer a request by the configuration that is served now.

        Where it may not, it was assigned by one of before; others may.
        """
        try:
            (known,) = await self.door.candidates(await self._asked(), (line,))
        except GatewayError:
            return True
        return isinstance(known, Answer) or any(each.model == model for each in known)

    async def _again(self, trial: _Trial, answer: Answer, model: str | None) -> bool:
        """Return whether to ask once more, once that may go better."""
        if answer.code == _BUDGET:
            if self._on_way:  # what they hold may be left over
                await self._settled.wait()
                return True
            if model is None:
                return False
            trial.tried.add(model)
            return True
        if answer.should_retry:
            trial.waits += 1
            usual_s = min(_RETRY_S * 2**trial.waits, _MAX_RETRY_S)
            await self._wait(usual_s if answer.retry_after_s is None else answer.retry_after_s)
            return True
        trial.failures += 1
        if model is not None:
            trial.tried.add(model)
        return trial.failures < _MAX_FAILURES

    async def _answer(self, trial: _Trial, model: str | None) -> Answer:
        try:
            asked = await self._asked()
        except GatewayError as error:
            known = answer_for(error)
            code = error.code or known.code
            told = {"message": error.message, "type": known.type, "param": None, "code": code}
            return Answer(
                status=known.status,
                body=msgspec.json.encode({"error": told}),
                request_id=trial.request_id,
                code=code,
                should_retry=known.status == _UNAVAILABLE,
            )
        self._on_way += 1
        try:
            return await self.door.answer(
                asked, trial.line, request_id=trial.request_id, model=model
            )
        finally:
            self._on_way -= 1
            self._tell_settled()

    async def _asked(self) -> Asked:
        """Return how requests are asked, by whoever the key stands for at the moment."""
        batch = self.progress.batch
        caller = await self.caller_of(batch.key_digest)
        if self._caller is None or self._caller[0] is not caller:
            self._caller = caller, self._with_budget(caller)
        said = dict(batch.headers)  # the last of a name
        headers = tuple((name.encode(), value.encode("latin-1")) for name, value in said.items())
        return Asked(caller=self._caller[1], endpoint=batch.endpoint, headers=headers)

    def _with_budget(self, caller: Caller) -> Caller:
        batch = self.progress.batch
        if batch.budget_usd is None:
            return caller
        budget = BatchBudget(
            batch_id=batch.batch_id,
            usd=max(0.0, batch.budget_usd - self._lost_usd),
            forget_at=batch.forget_at,
        )
        return replace(caller, batch=budget)

    def _left_out(self, line: BatchLine) -> Result:
        assert self._assignments is not None  # noqa: S101  (else nobody is left out)
        error = _WHY[self._assignments.why_left_out(line.number)]
        failed = failure(line, new_id("batch_req_"), error)
        return msgspec.structs.replace(failed, left_out=True)

    def _tell_settled(self) -> None:
        settled, self._settled = self._settled, asyncio.Event()
        settled.set()

    async def _wait(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(min(seconds, _MAX_RETRY_S)):
                await self._stopping.wait()
        except TimeoutError:
            return
