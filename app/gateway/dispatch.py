"""Trying models until one answers.

An attempt succeeds when its first content is in hand. Until then the same model may be asked once
more where that is safe, and the next model may be tried unless the error says that no other would
do better; after it never: nothing that a client has seen can be taken back.
"""

import asyncio
import random
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial

from app.concurrency.deadline import Deadline, within
from app.concurrency.race import race
from app.errors import (
    FailedToWaitError,
    UpstreamConnectionLostError,
    UpstreamError,
    UpstreamTimeoutError,
)
from app.gateway.bill import settled_usage
from app.gateway.deployments.balance import CallSize
from app.gateway.deployments.pool import DeploymentPool, Lease
from app.gateway.deployments.slots import Slot
from app.gateway.failed_attempts import Failures, all_failed, has_had_its_calls
from app.gateway.in_time import may_wait, next_in_time, size_of, time_left
from app.gateway.ledger import LedgerEntry
from app.gateway.model_queues import ModelQueues, lease_in_turn
from app.gateway.open_answer import OpenAnswer, discard, serve
from app.gateway.outgoing_call import headers_for, with_own_thoughts, written
from app.gateway.plan import FirstOf, Hedged
from app.gateway.request import Deployment, RouteRequest
from app.gateway.retry import (
    may_go_elsewhere,
    wait_before_repeating_s,
)
from app.paths import MESSAGES
from app.providers.base import Chunk, ModelCall, Progress
from routers.models import Capability

Afford = Callable[[RouteRequest, str, LedgerEntry], Awaitable[bool]]
"""Says whether a budget pays for asking one more model, and reserves what that may cost."""


async def _free(_request: RouteRequest, _model_id: str, _entry: LedgerEntry) -> bool:
    return True


@dataclass(frozen=True, slots=True, kw_only=True)
class Dispatcher:
    """Carry out plans: call upstreams until one begins to answer."""

    pool: DeploymentPool
    clock: Callable[[], float]
    rng: random.Random
    """Spreads retries in time."""
    on_failure: Callable[[Deployment, UpstreamError], None]
    """Told of every failed attempt, for the metrics."""
    queues: ModelQueues | None = None
    """Before models whose deployments take only so many calls at once."""
    request_timeout_s: float = 600.0
    """For one whole request: no retry is waited for beyond it."""

    async def open(
        self,
        request: RouteRequest,
        plan: FirstOf | Hedged,
        entry: LedgerEntry,
        *,
        afford: Afford = _free,
        failures: Failures | None = None,
    ) -> OpenAnswer:
        """Return the first answer that begins.

        Models that cannot be had at the moment are tried last, but they are tried.

        Parameters
        ----------
        afford
            Asked before each model, where a budget has to pay.
        failures
            What was tried before, and is added to.

        Raises
        ------
        UpstreamRejectedError
            If an upstream finds the request itself at fault: no other model is tried.
        AllAttemptsFailedError
            If none of the plan's models answered; its attempts say what each did.
        """
        failures = [] if failures is None else failures
        order = self.pool.ordered(plan.models)
        if isinstance(plan, Hedged):
            first, *left = order
            after_s = plan.after_s
            if after_s is None:
                size = size_of(request, first, entry)
                after_s = self.pool.times.latency(first, size, rank=entry.rank).ttft_s_upper
            another = partial(self._ask_another, request, left, entry, failures, afford)
            winner: OpenAnswer | None = await race(
                [
                    partial(self._ask, request, first, entry, failures, afford),
                    *[another] * len(left),
                ],
                hedge_after_s=after_s,
                won=partial(serve, entry),
                lost=partial(discard, entry),
            )
            if winner is not None:
                return winner
        else:
            left = list(order)
            while left:
                if failures and has_had_its_calls(request, failures):
                    break
                at = next_in_time(request, left, entry, self.pool) if failures else 0
                model_id = left.pop(at)
                answer = await self._ask(
                    request, model_id, entry, failures, afford, is_last=not left
                )
                if answer is not None:
                    serve(entry, answer)
                    return answer
        raise all_failed(failures)

    def rest(self, answer: OpenAnswer, entry: LedgerEntry) -> AsyncGenerator[Chunk, None]:
        """Go on with an answer; a failure in it counts against the deployment's health."""
        if answer.reading is not None:
            return self._what_is_left(answer, answer.reading, entry)
        return self._rest(answer, entry)

    def hold(self, answer: OpenAnswer, entry: LedgerEntry) -> AsyncGenerator[Chunk, None]:
        """Read on in an answer that nobody gets as yet; `rest` goes on from there."""
        answer.reading = self._rest(answer, entry)
        return answer.reading

    async def _what_is_left(
        self, answer: OpenAnswer, reading: AsyncGenerator[Chunk, None], entry: LedgerEntry
    ) -> AsyncGenerator[Chunk, None]:
        try:
            async for chunk in reading:
                yield chunk if answer.rewrite is None else answer.rewrite(chunk)
            if entry.whole_answer is None:
                entry.completed()
        finally:
            await answer.aclose()

    async def _rest(self, answer: OpenAnswer, entry: LedgerEntry) -> AsyncGenerator[Chunk, None]:
        lease, chunks = answer.lease, answer.rest
        total_s = answer.deployment.stream_timeouts.total_s
        # Where the deadline of the whole request comes first there is nothing to watch.
        if entry.request.stream and lease.began + total_s < entry.started + self.request_timeout_s:
            chunks = within(
                chunks, seconds=lease.began + total_s - self.clock(), late=partial(_late, total_s)
            )
        try:
            async for chunk in chunks:
                yield chunk
            entry.completed()
            usage = None if entry.whole_answer is None else entry.whole_answer.usage
            if lease.expected_tokens:
                lease.used(None if usage is None else usage.input_tokens + usage.output_tokens)
            lease.succeeded(
                output_tokens=None
                if usage is None
                else usage.output_tokens / entry.request.demand.n_answers
            )
        except UpstreamError as error:
            lease.failed(error)
            self.on_failure(lease.deployment, error)
            raise
        finally:
            if lease.turn is not None:
                lease.settle(settled_usage(entry))
            if chunks is not answer.rest:
                await chunks.aclose()
            await answer.drop()

    async def _ask_another(
        self,
        request: RouteRequest,
        left: list[str],
        entry: LedgerEntry,
        failures: Failures,
        afford: Afford,
    ) -> OpenAnswer | None:
        """Ask one of the models that are left, of those that can be had the first in time."""
        left[:] = self.pool.ordered(left)
        model_id = left.pop(next_in_time(request, left, entry, self.pool))
        return await self._ask(request, model_id, entry, failures, afford)

    async def _ask(
        self,
        request: RouteRequest,
        model_id: str,
        entry: LedgerEntry,
        failures: Failures,
        afford: Afford,
        *,
        is_last: bool = True,
    ) -> OpenAnswer | None:
        """Return the answer of one model, None when it has none and the next may be tried."""
        if entry.reserved_nusd is not None and not await afford(request, model_id, entry):
            return None
        answer = None
        try:
            answer = await self._try(request, model_id, entry, failures, afford, is_last=is_last)
        except FailedToWaitError:
            return None  # among the failures already
        finally:
            if answer is None:
                entry.running.end(model_id)
        return answer

    async def _try(
        self,
        request: RouteRequest,
        model_id: str,
        entry: LedgerEntry,
        failures: Failures,
        afford: Afford,
        *,
        is_last: bool,
    ) -> OpenAnswer | None:
        """Ask a model, and once more where that is safe."""
        tried: tuple[Slot, ...] = ()
        lost = False
        needs_messages = Capability.MESSAGES_API in request.demand.capabilities
        dialect = MESSAGES if needs_messages else None
        prefixed = self.pool.wants_prefix(model_id)
        size = size_of(request, model_id, entry, prefixed=prefixed)
        queue = None if self.queues is None else self.queues.of(model_id)
        while True:
            lease = (
                self._lease(request, model_id, entry, tried=tried, dialect=dialect, size=size)
                if queue is None or queue.has_a_turn(model_id, dialect=dialect)
                else await lease_in_turn(
                    queue,
                    model_id,
                    entry,
                    size=size,
                    take=partial(
                        self._lease,
                        request,
                        model_id,
                        entry,
                        tried=tried,
                        dialect=dialect,
                        size=size,
                    ),
                    dialect=dialect,
                    first=lost or bool(tried),
                    failures=failures,
                )
            )
            try:
                return await self._attempt(request, lease, entry, failures, fresh=lost)
            except UpstreamError as error:
                self.on_failure(lease.deployment, error)
                if not error.retryable:
                    raise
                enough = has_had_its_calls(request, failures)
                if isinstance(error, UpstreamConnectionLostError) and not (lost or enough):
                    # Once more, on a connection that cannot be lost in the same way. Of all
                    # repeated calls it alone is paid twice.
                    lost = True
                    entry.running.end(model_id)
                    if entry.reserved_nusd is None or await afford(request, model_id, entry):
                        continue
                    entry.running.begin(model_id, 0)  # which `_ask` ends
                    return None
                n_retries = len(tried)
                tried += (lease.slot,)
                if n_retries >= lease.deployment.retries or enough:
                    return None
                if may_go_elsewhere(error) and self.pool.offers_another(
                    model_id, avoid=tried, dialect=dialect
                ):
                    continue
                wait_s = wait_before_repeating_s(error, n_retries=n_retries, rng=self.rng)
            if wait_s is None or request.repeated or not self._may_wait(wait_s, lease.slot, entry):
                return None
            if not (is_last or may_wait(request, entry, lease, size, wait_s)):
                return None  # the next model need not be waited for
            await self._wait(wait_s, entry)

    def _lease(
        self,
        request: RouteRequest,
        model_id: str,
        entry: LedgerEntry,
        *,
        tried: Sequence[Slot],
        dialect: str | None,
        size: CallSize,
    ) -> Lease:
        """Take a deployment of a model, if there is one in time where that matters."""
        left = None if request.latency is None else time_left(request, entry, self.pool)
        return self.pool.lease(model_id, avoid=tried, dialect=dialect, size=size, left=left)

    def _may_wait(self, wait_s: float, slot: Slot, entry: LedgerEntry) -> bool:
        """Return whether a deployment is fit to be asked after a wait, and in time."""
        then = self.clock() + wait_s
        return then < entry.started + self.request_timeout_s and slot.available(then)

    async def _wait(self, wait_s: float, entry: LedgerEntry) -> None:
        entry.wait_begins(self.clock())
        try:
            await asyncio.sleep(wait_s)
        finally:
            entry.wait_ends(self.clock())

    async def _attempt(
        self,
        request: RouteRequest,
        lease: Lease,
        entry: LedgerEntry,
        failures: Failures,
        *,
        fresh: bool,
    ) -> OpenAnswer:
        deployment = lease.deployment
        timeouts = deployment.stream_timeouts if request.stream else deployment.whole_timeouts
        role = entry.next_role
        headers, trace = headers_for(deployment.provider, request), None
        if entry.trace is not None:
            trace = entry.trace.call(
                deployment.spec.model_id,
                upstream=deployment.upstream,
                upstream_model=deployment.upstream_model,
                stream=request.stream,
                role=role,
            )
            headers = (*headers, *trace.headers)
        progress = Progress()
        chunks: AsyncGenerator[Chunk, None] | None = None
        prelude: list[Chunk] = []
        entry.wait_begins(lease.began)
        try:
            dialect, fields = await written(request.body, deployment, progress)
            fields, changes = deployment.takes(request, fields, dialect=dialect)
            entry.changes[deployment.spec.model_id] = changes
            call = ModelCall(
                request_id=request.request_id,
                upstream_model=deployment.upstream_model,
                dialect=dialect,
                fields=fields,
                stream=request.stream,
                timeouts=timeouts,
                headers=headers,
                max_output_tokens=entry.max_output_tokens.get(deployment.spec.model_id),
                progress=progress,
                fresh_connection=fresh,
            )
            chunks = deployment.provider.send(with_own_thoughts(call, deployment, entry))
            with Deadline(timeouts.first_token_s):
                async for chunk in chunks:
                    prelude.append(chunk)
                    if chunk.has_content:
                        break
        except BaseException as error:
            failure: BaseException = error
            if isinstance(error, TimeoutError):
                failure = UpstreamTimeoutError(
                    f"no answer began within {timeouts.first_token_s:g} s", sent=progress.sent
                )
            # First of all, what has to be paid: nothing may come in between.
            attempt = entry.failed(
                deployment,
                lease.began,
                failure,
                progress=progress,
                prelude=prelude,
                role=role,
                propensity=lease.propensity,
            )
            lease.given_up(failure)
            if isinstance(failure, UpstreamError):
                failures.append((attempt, failure))
                lease.heard(progress.limits, retry_after_s=failure.retry_after_s)
                lease.failed(failure)
            lease.settle(attempt.usage)
            lease.release()
            if trace is not None:
                trace.ended(attempt)
            # Cancellation included: the upstream must not go on working for nobody.
            if chunks is not None:
                await chunks.aclose()
            if failure is error:
                raise
            raise failure from error
        finally:
            entry.wait_ends(self.clock())
        lease.heard(progress.limits)
        lease.first_token()
        return OpenAnswer(
            deployment=deployment,
            prelude=tuple(prelude),
            rest=chunks,
            lease=lease,
            progress=progress,
            role=role,
            trace=trace,
        )


def _late(total_s: float) -> UpstreamTimeoutError:
    return UpstreamTimeoutError(f"the answer took longer than {total_s:g} s")
