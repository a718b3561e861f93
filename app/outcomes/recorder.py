"""What becomes of outcomes: metrics, log lines, the console's window, the decision log."""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from app.outcome import Outcome
from app.outcomes.decision_log import DecisionLog
from app.telemetry.logs import log_outcomes
from app.telemetry.recent import Recent

_log = logging.getLogger(__name__)

EVERY_S = 0.02
"""How long an outcome waits for others; no scraper and no eye is faster."""

MAX_WAITING = 16
"""So many are told at once, so that telling never keeps the event loop for long."""


class Instruments(Protocol):
    """Derives figures from outcomes."""

    def record(self, outcome: Outcome) -> None:
        """Take one outcome."""
        ...


@dataclass(slots=True, kw_only=True)
class Recorder:
    """Take every outcome, and tell of several together.

    Telling touches code and tables that nothing else of a request does: alone after each request it
    costs more than in a batch, and the next request waits for it. A bare decision is only counted:
    it cost nothing, and there is nothing to learn from it.

    Attributes
    ----------
    recent
        The console's window, if there is one.
    decisions
        Where outcomes are kept to learn from, if they are.
    log
        Called with all that were told together, and when each was.
    now
        Seconds since the epoch.
    """

    metrics: Instruments
    recent: Recent | None = None
    decisions: DecisionLog | None = None
    log: Callable[[Sequence[tuple[Outcome, float]]], None] = log_outcomes
    now: Callable[[], float] = time.time
    _waiting: list[tuple[Outcome, float]] = field(default_factory=list)

    def record(self, outcome: Outcome) -> None:
        """Take one outcome; only from the event loop."""
        if outcome.is_bare_decision:
            self.metrics.record(outcome)
            return
        if self.decisions is not None:
            self.decisions.record(outcome)
        if outcome.is_canary:  # it is no request that anybody looks for
            self.metrics.record(outcome)
            return
        self._waiting.append((outcome, self.now()))
        if len(self._waiting) >= MAX_WAITING:
            self.drain()
        elif len(self._waiting) == 1:
            asyncio.get_running_loop().call_later(EVERY_S, self.drain)

    def drain(self) -> None:
        """Tell of all that wait, before anybody looks."""
        if self._waiting:
            waiting, self._waiting = self._waiting, []
            for outcome, at in waiting:
                try:
                    self._tell(outcome, at)
                except Exception:  # noqa: BLE001  (one that fails must not keep others from it)
                    _log.exception("an outcome could not be told of")
            self.log(waiting)

    def _tell(self, outcome: Outcome, at: float) -> None:
        self.metrics.record(outcome)
        if self.recent is not None:
            self.recent.record(outcome, at)
