"""An answer that has begun: it serves, or it is given up."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence

import msgspec

from app.calls import CallRole
from app.gateway.deployments.lease import Lease
from app.gateway.ledger import LedgerEntry
from app.gateway.request import Deployment
from app.providers.base import Chunk, Progress
from app.telemetry.tracing import CallTrace


class OpenAnswer(msgspec.Struct, kw_only=True, eq=False):
    """An answer whose first content has arrived; the rest is still to be read."""

    deployment: Deployment
    prelude: tuple[Chunk, ...]
    """Everything up to and including the first chunk with content."""
    rest: AsyncGenerator[Chunk, None]
    lease: Lease
    progress: Progress
    role: CallRole = CallRole.ANSWER
    trace: CallTrace | None = None
    held: Sequence[Chunk] = ()
    """What followed the prelude and was held back."""
    reading: AsyncGenerator[Chunk, None] | None = None
    """What `Dispatcher.rest` made of the rest, where reading has begun."""
    rewrite: Callable[[Chunk], Chunk] | None = None
    """What becomes of each chunk of that on its way to the client."""

    async def aclose(self) -> None:
        """Drop what was not read, and the upstream connection with it; may be called twice."""
        if self.reading is not None:
            await self.reading.aclose()
        await self.drop()

    async def drop(self) -> None:
        """Do so from where the rest is read."""
        try:
            await self.rest.aclose()
        finally:
            self.lease.release()


def serve(entry: LedgerEntry, answer: OpenAnswer) -> None:
    """Have an answer serve a request, in its account too."""
    lease = answer.lease
    entry.serves(
        answer.deployment,
        lease.began,
        answer.prelude,
        role=answer.role,
        propensity=lease.propensity,
    )
    if lease.forecast is not None:
        entry.latency = lease.forecast.latency
    if answer.trace is not None:
        entry.traced(answer.trace)


async def discard(entry: LedgerEntry, answer: OpenAnswer) -> None:
    """Give up an answer that began in the same moment as the one that serves."""
    if answer.deployment is not entry.served:
        attempt = entry.failed(
            answer.deployment,
            answer.lease.began,
            asyncio.CancelledError(),
            progress=answer.progress,
            prelude=answer.prelude,
            role=answer.role,
            propensity=answer.lease.propensity,
        )
        if answer.trace is not None:
            answer.trace.ended(attempt)
    await answer.aclose()
