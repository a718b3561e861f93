"""One place that serves a model, and what is known of it at the moment."""

from dataclasses import dataclass

from app.gateway.breaker import Circuit, CircuitState
from app.gateway.request import Deployment


@dataclass(slots=True, kw_only=True, eq=False)
class Slot:
    """One deployment and what is known of it at the moment."""

    deployment: Deployment
    circuit: Circuit
    outstanding: int = 0
    """Calls that have begun and not ended."""
    throttled_until: float = 0.0

    def available(self, now: float) -> bool:
        """Return whether a call may go there: healthy, or due for a probe, and not throttled."""
        return self.throttled_until <= now and self.circuit.allows(now)

    def untroubled(self, now: float) -> bool:
        """Return whether nothing at all is held against it."""
        return self.throttled_until <= now and self.circuit.state is CircuitState.CLOSED
