"""The right to make one call at a deployment, and what is reported of it."""

import asyncio
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from app.errors import (
    UpstreamBusyError,
    UpstreamError,
    UpstreamThrottledError,
    UpstreamTimeoutError,
    UpstreamUnavailableError,
)
from app.gateway.deployments.balance import Ended, Watched, Watcher
from app.gateway.deployments.breaker import Circuit, CircuitState
from app.gateway.deployments.slots import Slot
from app.gateway.deployments.tier_load import Under
from app.gateway.latency import Forecast
from app.gateway.queues.fair_line import FairLine
from app.gateway.queues.virtual_counters import Ticket, virtual_tokens
from app.gateway.request import Deployment
from app.providers.base import ToldLimit
from app.usage import Usage

if TYPE_CHECKING:
    from app.gateway.deployments.pool import DeploymentPool

MAX_THROTTLE_S = 600.0
"""The longest that a deployment is left alone on its own word; then one call asks again."""

_NO_LONGER_AWAITED = asyncio.CancelledError, UpstreamTimeoutError


class Turn(NamedTuple):
    """Somebody's turn in a queue for a model, which is charged what the call used."""

    line: FairLine
    ticket: Ticket


class Lease(msgspec.Struct, eq=False):
    """The right to make one call; `release` must follow, whatever becomes of the call."""

    pool: "DeploymentPool"
    slot: Slot
    began: float
    is_probe: bool
    watched: Watched | None = None
    """What a balance that learns knows of the call."""
    watcher: Watcher | None = None
    """That balance."""
    propensity: float | None = None
    """How probable it was that this deployment would take the call, where that is known."""
    under: Under | None = None
    """What the load of a tier knows of it."""
    expected_tokens: float = 0.0
    """What it was taken to use of a quota of tokens."""
    forecast: Forecast | None = None
    """How long it is predicted to take; None for calls that nobody described."""
    turn: Turn | None = None
    """Of a call that had to wait."""
    number: int = 0
    """Which call of its place it is, of all that there were."""
    tokens_begun: float = 0.0
    """What those took, as far as it was predicted, it itself included."""
    _released: bool = False
    _failed: bool = False

    @property
    def deployment(self) -> Deployment:
        """Where the call goes."""
        return self.slot.deployment

    def first_token(self) -> None:
        """Report that the answer begins."""
        slot, forecast = self.slot, self.forecast
        if forecast is None and self.watched is None and slot.home is None:
            return
        now = self.pool.clock()
        if self.watched is not None and self.watcher is not None:
            self.watcher.first_token(self.watched, now)
        home = slot.home
        if home is not None:
            home.machine.answers(home.name, now)
        if forecast is not None:
            slot.speed.first_token(forecast, now - self.began, now=now)

    def given_up(self, why: BaseException) -> None:
        """Report what ended the call before its answer began: it may have waited for long."""
        if self.forecast is not None and isinstance(why, _NO_LONGER_AWAITED):
            now = self.pool.clock()
            self.slot.speed.outlasted(self.forecast, now - self.began, now=now)

    def heard(self, limits: tuple[ToldLimit, ...], *, retry_after_s: float | None = None) -> None:
        """Report what the upstream tells of its rate limits, if anything, and when to ask again."""
        if limits:
            load = self.slot.load
            self.pool.heard_limits(
                self.slot,
                limits,
                number=self.number,
                calls=load.begun - self.number,
                tokens=load.tokens - self.tokens_begun,
                retry_after_s=retry_after_s,
            )

    def succeeded(self, *, output_tokens: float | None = None) -> None:
        """Report a complete answer, and how long it was, where that is known."""
        slot, forecast = self.slot, self.forecast
        if forecast is not None or self.watched is not None:
            now = self.pool.clock()
            if forecast is not None:
                took_s = now - self.began
                slot.speed.whole(forecast, took_s, output_tokens=output_tokens, now=now)
            self._ended(now, Ended.WHOLE)
        if self.under is not None:
            self.pool.left_tier(slot, self.under, whole=True)
            self.under = None
        slot.throttled_until = 0.0
        if slot.circuit.state is CircuitState.CLOSED:
            slot.circuit.succeeded(began=self.began)
        else:
            self.pool.changing(slot, lambda circuit: circuit.succeeded(began=self.began))

    def used(self, tokens: float | None) -> None:
        """Report what a whole answer used of a quota of tokens, its prompt included."""
        quota = self.slot.load.quota
        if quota is not None and tokens is not None:
            quota.settle(tokens - self.expected_tokens)

    def settle(self, usage: Usage | None) -> None:
        """Report what a call used that had to wait for its turn; None: nothing."""
        if self.turn is not None:
            line, ticket = self.turn
            self.turn = None
            line.settle(ticket, 0.0 if usage is None else virtual_tokens(usage))

    def failed(self, error: UpstreamError) -> None:
        """Report a failure; only a fault of the provider counts against its health."""
        self._failed = True
        now = self.pool.clock()
        self._ended(now, Ended.FAULT if error.provider_fault else Ended.OTHER)
        if self.pool.orchestrates and _lacks_capacity(error):
            self.pool.lacked_capacity(self.slot)
        if error.provider_fault:
            self.pool.changing(self.slot, lambda circuit: circuit.failed(now, began=self.began))
        elif isinstance(error, UpstreamThrottledError) and error.retry_after_s is not None:
            self.pool.throttled(self.slot, now + min(error.retry_after_s, MAX_THROTTLE_S))

    def release(self) -> None:
        """Report that the call is over; a probe that nobody judged may be made again."""
        if self._released:
            return
        self._released = True
        self.slot.load.outstanding -= 1
        if self.watched is not None:
            self._ended(self.pool.clock(), Ended.OTHER)
        home = self.slot.home
        if home is not None:
            home.machine.ended(home.name, self.pool.clock(), failed=self._failed)
        if self.under is not None:
            self.pool.left_tier(self.slot, self.under, whole=False)
        if self.is_probe and self.slot.circuit.state is CircuitState.HALF_OPEN:
            self.pool.changing(self.slot, Circuit.abandoned)
        if self.slot.load.room is not None:
            if self.turn is not None:
                self.settle_as_expected()
            self.slot.load.room.leave()

    def settle_as_expected(self) -> None:
        """Leave it at what the call was charged, where nobody said what it used."""
        if self.turn is not None:
            line, ticket = self.turn
            self.turn = None
            line.settle(ticket, None)

    def _ended(self, now: float, how: Ended) -> None:
        """Tell the balance that watches the call, once, how it ended."""
        watched, watcher = self.watched, self.watcher
        if watched is not None and watcher is not None:
            self.watched = None
            watcher.ended(watched, now, how)


def _lacks_capacity(error: UpstreamError) -> bool:
    """Return whether a failure says that a deployment has no capacity: 429, 5xx, or nobody there.

    Clouds say "insufficient capacity" in either way.
    """
    if isinstance(error, UpstreamBusyError):
        return False
    return isinstance(error, UpstreamThrottledError | UpstreamUnavailableError)
