"""Trying models until one answers.

An attempt succeeds when its first content is in hand. Until then the next model may be tried,
unless the error says that no other would do better; after it never: nothing that a client has
seen can be taken back.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass

from app.errors import (
    AllAttemptsFailedError,
    AllAttemptsThrottledError,
    AllAttemptsTimedOutError,
    FailedAttempt,
    UpstreamError,
    UpstreamRejectedError,
    UpstreamThrottledError,
    UpstreamTimeoutError,
    answer_for,
)
from app.gateway.breaker import Breaker
from app.gateway.ledger import LedgerEntry
from app.gateway.request import Deployment, RouteRequest
from app.providers._base import Chunk, ModelCall


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenAnswer:
    """An answer whose first content has arrived; the rest is still to be read."""

    deployment: Deployment
    prelude: tuple[Chunk, ...]
    """Everything up to and including the first chunk with content."""
    rest: AsyncGenerator[Chunk, None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Dispatcher:
    """Call upstreams in the order of a decision."""

    deployments: Mapping[str, Deployment]
    breaker: Breaker
    clock: Callable[[], float]
    on_failure: Callable[[str, UpstreamError], None]
    """Told of every failed attempt (model id, error), for the metrics."""

    async def open(
        self, request: RouteRequest, model_ids: Sequence[str], entry: LedgerEntry
    ) -> OpenAnswer:
        """Return the first answer that begins.

        Raises
        ------
        UpstreamRejectedError
            If an upstream finds the request itself at fault: no other model is tried.
        AllAttemptsFailedError
            If none of `model_ids` answered; its attempts say what each did.
        """
        errors: list[UpstreamError] = []
        for model_id in model_ids:
            deployment = self.deployments[model_id]
            try:
                return await self._attempt(request, deployment, entry)
            except UpstreamError as error:
                if error.provider_fault:
                    self.breaker.failed(model_id)
                self.on_failure(model_id, error)
                if not error.retryable:
                    raise
                errors.append(error)
        raise _all_failed(errors, entry)

    async def rest(self, answer: OpenAnswer) -> AsyncGenerator[Chunk, None]:
        """Go on with an answer; a failure in it counts against the model's health."""
        model_id = answer.deployment.spec.model_id
        try:
            async for chunk in answer.rest:
                yield chunk
            self.breaker.succeeded(model_id)
        except UpstreamError as error:
            if error.provider_fault:
                self.breaker.failed(model_id)
            self.on_failure(model_id, error)
            raise
        finally:
            await answer.rest.aclose()

    async def _attempt(
        self, request: RouteRequest, deployment: Deployment, entry: LedgerEntry
    ) -> OpenAnswer:
        timeouts = deployment.stream_timeouts if request.stream else deployment.whole_timeouts
        chunks = deployment.provider.send(
            ModelCall(
                request_id=request.request_id,
                upstream_model=deployment.upstream_model,
                fields=request.fields,
                stream=request.stream,
                timeouts=timeouts,
                headers=request.headers,
            )
        )
        prelude: list[Chunk] = []
        began = self.clock()
        try:
            async with asyncio.timeout(timeouts.first_token_s):
                async for chunk in chunks:
                    prelude.append(chunk)
                    if chunk.has_content:
                        break
        except TimeoutError as error:
            await chunks.aclose()
            timeout = UpstreamTimeoutError(f"no answer began within {timeouts.first_token_s:g} s")
            entry.attempted(deployment, began, error=timeout)
            raise timeout from error
        except BaseException as error:
            # Cancellation included: the upstream must not go on working for nobody.
            await chunks.aclose()
            entry.attempted(deployment, began, error=error)
            raise
        entry.attempted(deployment, began)
        return OpenAnswer(deployment=deployment, prelude=tuple(prelude), rest=chunks)


def _all_failed(errors: Sequence[UpstreamError], entry: LedgerEntry) -> Exception:
    last = errors[-1]
    if isinstance(last, UpstreamRejectedError):
        return last  # a prompt too long for every model: the upstream's own words say it best
    attempts = tuple(
        FailedAttempt(
            model=attempt.model_id,
            status=attempt.status,
            ms=round(attempt.duration_s * 1e3),
            error=error.code or answer_for(error).code or "upstream_error",
        )
        for attempt, error in zip(entry.attempts, errors, strict=True)
    )
    tried = "; ".join(
        f"{attempt.model}: {error.message}" for attempt, error in zip(attempts, errors, strict=True)
    )
    cls = AllAttemptsFailedError
    retry_after_s = None
    if all(isinstance(error, UpstreamThrottledError) for error in errors):
        cls = AllAttemptsThrottledError
        waits = [error.retry_after_s for error in errors if error.retry_after_s is not None]
        retry_after_s = min(waits, default=1.0)
    elif all(isinstance(error, UpstreamTimeoutError) for error in errors):
        cls = AllAttemptsTimedOutError
    return cls(f"no model answered ({tried})", attempts=attempts, retry_after_s=retry_after_s)
