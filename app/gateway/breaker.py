"""Which models are unhealthy: a circuit per model, opened by consecutive provider faults."""

from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(slots=True)
class _Circuit:
    failures: int = 0
    open_until: float = 0.0


@dataclass(slots=True, kw_only=True)
class Breaker:
    """Remember which models failed lately.

    A model is unhealthy after `failures` provider faults in a row, for `cooldown_s`; then it may
    be tried again, and one more fault closes it off for another `cooldown_s`. Faults of the
    client (bad requests, disconnects) and rate limits never count.
    """

    clock: Callable[[], float]
    failures: int = 5
    cooldown_s: float = 15.0
    _circuits: dict[str, _Circuit] = field(default_factory=dict)

    def succeeded(self, model_id: str) -> None:
        """Forget what was held against a model."""
        self._circuits.pop(model_id, None)

    def failed(self, model_id: str) -> None:
        """Count one provider fault."""
        circuit = self._circuits.setdefault(model_id, _Circuit())
        circuit.failures += 1
        if circuit.failures >= self.failures:
            circuit.open_until = self.clock() + self.cooldown_s

    def unhealthy(self) -> frozenset[str]:
        """Return the models that should not be tried now."""
        if not self._circuits:
            return frozenset()
        now = self.clock()
        return frozenset(
            model_id for model_id, circuit in self._circuits.items() if circuit.open_until > now
        )
