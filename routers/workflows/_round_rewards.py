"""What a trace of rounds was worth: its form, its outcome, its cost; to choose settings offline."""

import math
from collections import deque
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

import numpy as np

from routers.workflows._round_grammar import TraceFaultError, check_trace

_WINDOW = 1_000
_LOW, _HIGH = 5.0, 95.0
_NOTHING_TO_GO_BY = 0.5


def format_reward(trace: str, model_ids: Collection[str]) -> float:
    """Return -1 for a trace that breaks the grammar, else 0."""
    try:
        check_trace(trace, model_ids)
    except TraceFaultError:
        return -1.0
    return 0.0


@dataclass(slots=True)
class CostWindow:
    """Turns costs into rewards by where they stand among the latest ones.

    Rewards are not stationary: the same cost earns another one when the window has moved on. So
    settings are to be compared over one window that has all of their costs.
    """

    size: int = _WINDOW
    _roots: deque[float] = field(default_factory=deque)

    def add(self, cost: float) -> None:
        """Note the cost of a trace, in whatever unit."""
        self._roots.append(math.sqrt(max(cost, 0.0)))
        while len(self._roots) > self.size:
            self._roots.popleft()

    def reward(self, cost: float) -> float:
        """Return 1 for what is among the cheapest, 0 for the dearest; between by the root."""
        if not self._roots:
            return _NOTHING_TO_GO_BY
        low, high = np.percentile(np.fromiter(self._roots, float), [_LOW, _HIGH]).tolist()
        if high - low < 1e-12:
            return _NOTHING_TO_GO_BY
        share = (math.sqrt(max(cost, 0.0)) - low) / (high - low)
        return 1.0 - float(min(max(share, 0.0), 1.0))


def reward(form: float, outcome: float, cost: float, *, alpha: float) -> float:
    """Return what a trace was worth: its form comes first, and voids all else.

    Cost counts only where the outcome is right, as in the authors' code: cheap mistakes are none.
    """
    if form < 0:
        return form
    return (1 - alpha) * outcome + (alpha * cost if outcome > 0 else 0.0)


@dataclass(frozen=True, slots=True)
class Setting:
    """What traces under one setting came to: means of outcomes, with malformed ones as 0."""

    outcome: float
    cost: float


def choose(settings: Mapping[str, Setting], window: CostWindow, *, alpha: float) -> str:
    """Return the setting that is worth most at a weight of cost; of equals the cheapest.

    A larger alpha never chooses a dearer one: what counts is the reward of a setting's mean cost,
    which falls with it.
    """

    def worth(name: str) -> tuple[float, float, str]:
        setting = settings[name]
        value = (1 - alpha) * setting.outcome + alpha * window.reward(setting.cost)
        return value, -setting.cost, name

    return max(settings, key=worth)
