"""A circuit for whatever may fail: closed while it works, open while it is left to recover."""

from dataclasses import dataclass
from enum import StrEnum


class CircuitState(StrEnum):
    """Whether calls go through."""

    CLOSED = "closed"
    OPEN = "open"
    """No calls; once the cooldown is over, the next one is a probe."""
    HALF_OPEN = "half_open"
    """One probe is on its way; everybody else waits for what becomes of it."""


@dataclass(slots=True, kw_only=True)
class Circuit:
    """The health of one thing that is called; all times come in, in seconds of one clock.

    `max_failures` provider faults in a row open it for `cooldown_s`. Then exactly one call at a
    time, the probe, may pass: its success closes the circuit, its failure opens it again. Calls
    that began before the circuit opened say nothing about the time since and are not counted.
    """

    max_failures: int
    cooldown_s: float
    state: CircuitState = CircuitState.CLOSED
    _failures: int = 0
    _opened_at: float = 0.0
    _open_until: float = 0.0

    def allows(self, now: float) -> bool:
        """Return whether a call may be made; one made all the same is counted like any other."""
        if self.state is CircuitState.OPEN:
            return now >= self._open_until
        return self.state is CircuitState.CLOSED

    @property
    def allows_from(self) -> float:
        """The time from which on calls may be made, as far as time alone decides."""
        return self._open_until if self.state is CircuitState.OPEN else 0.0

    def begin(self, now: float) -> bool:
        """Note that a call begins; return whether it is the probe."""
        if self.state is CircuitState.OPEN and now >= self._open_until:
            self.state = CircuitState.HALF_OPEN
            return True
        return False

    def succeeded(self, *, began: float) -> None:
        """Take note of a call that went well."""
        if self.state is CircuitState.CLOSED or began >= self._opened_at:
            self.state = CircuitState.CLOSED
            self._failures = 0

    def failed(self, now: float, *, began: float) -> None:
        """Take note of a provider fault."""
        if self.state is CircuitState.CLOSED:
            self._failures += 1
            if self._failures < self.max_failures:
                return
        elif began < self._opened_at:
            return
        self.state = CircuitState.OPEN
        self._opened_at = now
        self._open_until = now + self.cooldown_s

    def abandoned(self) -> None:
        """Take note of a probe that ended without a verdict: the next call may be one."""
        if self.state is CircuitState.HALF_OPEN:
            self.state = CircuitState.OPEN
