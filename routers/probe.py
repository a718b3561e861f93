"""A close look at one decision: where its time went, and what was read of the request."""

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum

from routers.types import FloatMatrix


class Stage(StrEnum):
    """What a decision consists of."""

    TOKENISE = "tokenise"
    EMBED = "embed"
    FEATURES = "features"
    """Everything else that is read of the text."""
    SCORE = "score"
    """Quality and output tokens of every model."""
    PICK = "pick"
    """Prices, constraints, the knob."""


@dataclass(slots=True, kw_only=True)
class Probe:
    """Takes the time of each stage of one decision.

    Attributes
    ----------
    clock
        Monotonic seconds.
    seconds
        What each stage took.
    x
        The features of the request, (1, n_features), once they are made.
    """

    clock: Callable[[], float]
    seconds: dict[Stage, float] = field(default_factory=dict)
    x: FloatMatrix | None = None
    _since: float = 0.0

    def start(self) -> None:
        """Begin to take the time."""
        self._since = self.clock()

    def lap(self, stage: Stage) -> None:
        """Count the time since the last lap for a stage."""
        now = self.clock()
        self.seconds[stage] = self.seconds.get(stage, 0.0) + now - self._since
        self._since = now
