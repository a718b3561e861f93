"""How the last requests of this process ended, for whoever looks now; kept in memory alone."""

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Self

import msgspec

from app.calls import Call
from app.keys import NUSD_PER_USD
from app.outcome import CacheState, Outcome
from routers.decision.switching import SessionReason
from routers.decisions import Decision, Latency, Reason

KEPT = 500
"""Requests that are remembered: about 2 kB each, most of it predictions."""


class Ended(msgspec.Struct, frozen=True, kw_only=True):
    """What is remembered of an outcome: names, numbers and codes, never text.

    `at` is when the request ended, in seconds since the epoch. One is made for every request, as a
    struct in a fifth of the time of a frozen dataclass.
    """

    at: float
    decision_id: str
    policy: str
    decision: Decision | None
    reason: Reason | None
    model_id: str | None
    status: int
    error: str | None
    cost_usd: float | None
    """Of the answer, with all calls that might have become it."""
    paid_usd: float
    """What all calls cost as far as that is known."""
    output_tokens: int | None
    time_to_first_token_s: float | None
    duration_s: float
    latency: Latency | None
    """How long it was predicted to take."""
    overhead_s: float
    calls: tuple[Call, ...]
    session: SessionReason | None
    cache: CacheState | None

    @classmethod
    def of(cls, outcome: Outcome, at: float) -> Self:
        """Pick what is remembered, field by field: whatever else outcomes carry stays out."""
        return cls(
            at=at,
            decision_id=outcome.decision_id,
            policy=outcome.policy,
            decision=outcome.decision,
            reason=outcome.reason,
            model_id=outcome.served_model_id,
            status=outcome.status,
            error=outcome.error,
            cost_usd=outcome.answer_cost_usd,
            paid_usd=outcome.known_nusd / NUSD_PER_USD,
            output_tokens=None if outcome.usage is None else outcome.usage.output_tokens,
            time_to_first_token_s=outcome.time_to_first_token_s,
            duration_s=outcome.duration_s,
            latency=outcome.latency,
            overhead_s=outcome.overhead_s,
            calls=outcome.calls,
            session=outcome.session,
            cache=outcome.cache,
        )


@dataclass(slots=True, kw_only=True)
class Recent:
    """A bounded window on the requests of one process.

    Attributes
    ----------
    now
        Seconds since the epoch.
    n_seen
        How many requests ended since the start, remembered or not.
    """

    now: Callable[[], float] = time.time
    n_seen: int = 0
    started_at: float = field(init=False)
    _kept: deque[Ended] = field(default_factory=lambda: deque(maxlen=KEPT))

    def __post_init__(self) -> None:
        self.started_at = self.now()

    def record(self, outcome: Outcome, at: float) -> None:
        """Remember how a request ended at `at`, and forget the oldest one."""
        self.n_seen += 1
        self._kept.append(Ended.of(outcome, at))

    def snapshot(self) -> tuple[Ended, ...]:
        """Return what is remembered, oldest first; safe to read in another thread."""
        return tuple(self._kept)
