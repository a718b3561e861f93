"""Which mode of working together, how many agents, which models: drawn, with true chances."""

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from routers.errors import DataError
from routers.numeric import FloatArray
from routers.options import State, take

Mode = Literal["io", "cot", "chain", "full", "debate", "reflection"]

MODES: tuple[Mode, ...] = ("io", "cot", "chain", "full", "debate", "reflection")
MOST_AGENTS = 6

_RIDGE = 1.0
_LEAST_PROPENSITY = 0.01
"""Of a logged run: smaller ones would let a few runs speak for all others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Draw:
    """What was drawn for a request.

    Attributes
    ----------
    models
        One for each agent.
    size
        Six times how hard the request is, of which the number of agents is rounded.
    mode_chance
        Of this mode.
    propensity
        The chance of this mode with these models, in any order: the product of both factors.
    """

    mode: str
    models: tuple[str, ...]
    size: float
    mode_chance: float
    propensity: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Controller:
    """Factored policies: of the mode by what is seen of a request, of the models by what they did.

    Attributes
    ----------
    utility
        (n_modes, n_features + 1), linear in the features, the constant last.
    worth
        (n_models,), of a model in place of the mean one.
    temperature
        Of both, in units of utility.
    """

    utility: FloatArray
    worth: FloatArray
    temperature: float = 0.05

    def mode_chances(
        self, x: NDArray[np.floating], modes: Sequence[str], *, floor: float
    ) -> dict[str, float]:
        """Return the chance of every mode: a soft best one, none below the floor."""
        at = [MODES.index(each) for each in modes]
        utility = self.utility[at, :-1] @ x.astype(np.float64) + self.utility[at, -1]
        return dict(zip(modes, floored(utility / self.temperature, floor), strict=True))

    def model_chances(self, at: Sequence[int | None]) -> list[float]:
        """Return the chance of each model; one that was not learned of is worth the mean."""
        worth = np.array([0.0 if i is None else self.worth[i] for i in at])
        return floored(worth / self.temperature, 0.0)

    def state(self) -> dict[str, np.ndarray]:
        """Return everything as named plain arrays."""
        return {
            "utility": self.utility,
            "worth": self.worth,
            "temperature": np.array([self.temperature]),
        }

    @classmethod
    def restore(cls, state: State, n_models: int) -> "Controller":
        """Take over what `state` returned.

        Raises
        ------
        KeyError, ValueError
            If an array is missing or they do not fit together.
        """
        utility, worth = take(state, "utility", ndim=2), take(state, "worth", ndim=1)
        temperature = take(state, "temperature", ndim=1)
        if len(utility) != len(MODES) or len(worth) != n_models or len(temperature) != 1:
            raise ValueError("the arrays of the controller do not fit together")
        return cls(utility=utility, worth=worth, temperature=float(temperature[0]))


def floored(logits: FloatArray, floor: float) -> list[float]:
    """Return the softmax, mixed with equal chances so that none is below the floor."""
    raised = np.exp(logits - logits.max())
    share = min(floor * len(raised), 1.0)
    chances: list[float] = ((1 - share) * raised / raised.sum() + share / len(raised)).tolist()
    return chances


def draw(
    rng: random.Random,
    mode_chances: dict[str, float],
    model_chances: dict[str, float],
    *,
    size: float,
    most_agents: int,
) -> Draw:
    """Draw a mode, then a model for each agent."""
    mode = rng.choices(list(mode_chances), list(mode_chances.values()))[0]
    n = n_agents(mode, size, most_agents)
    models = tuple(rng.choices(list(model_chances), list(model_chances.values()), k=n))
    counts = [models.count(each) for each in model_chances]
    chance = multinomial(counts, list(model_chances.values()))
    return Draw(
        mode=mode,
        models=models,
        size=size,
        mode_chance=mode_chances[mode],
        propensity=mode_chances[mode] * chance,
    )


def n_agents(mode: str, size: float, most_agents: int) -> int:
    """Return how many agents a mode has: one alone, else by how hard the request is."""
    if mode in {"io", "cot"}:
        return 1
    return max(2 if most_agents > 1 else 1, min(most_agents, round(size)))


def multinomial(counts: Sequence[int], chances: Sequence[float]) -> float:
    """Return the chance of drawing each model so often."""
    return min(math.exp(log_chance(counts, chances, size=sum(counts))), 1.0)


def log_chance(counts: Sequence[int], chances: Sequence[float], *, size: float) -> float:
    """Return MasRouter's log-probability of counts, with the number of agents un-rounded.

    With the rounded number it is the logarithm of the multinomial chance, which is what is logged;
    un-rounded it is what the authors' code trains by, and may be above 0.
    """
    drawn = [(n, p) for n, p in zip(counts, chances, strict=True) if n]
    return (
        math.lgamma(size + 1)
        - sum(math.lgamma(n + 1) for n, _ in drawn)
        + sum(n * math.log(p) for n, p in drawn)
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class LoggedRuns:
    """What came of runs whose mode and models were drawn.

    Attributes
    ----------
    x
        (n_runs, n_features).
    mode
        (n_runs,), as in `MODES`.
    counts
        (n_runs, n_models), how many agents each model had.
    score
        (n_runs,), in [0, 1].
    cost_usd, propensity
        (n_runs,), of all calls; as logged.
    """

    x: NDArray[np.floating]
    mode: NDArray[np.intp]
    counts: NDArray[np.intp]
    score: FloatArray
    cost_usd: FloatArray
    propensity: FloatArray

    def rows(self, index: NDArray[np.intp]) -> "LoggedRuns":
        """Return some of the runs, in the order of `index`."""
        return LoggedRuns(
            x=self.x[index],
            mode=self.mode[index],
            counts=self.counts[index],
            score=self.score[index],
            cost_usd=self.cost_usd[index],
            propensity=self.propensity[index],
        )


def learn_controller(runs: LoggedRuns, *, usd_per_quality: float) -> Controller:
    """Fit both factors on what logged runs were worth, each by the inverse of its chance.

    Parameters
    ----------
    usd_per_quality
        What a correct answer may cost.

    Raises
    ------
    DataError
        If a chance is none, or nothing was logged.
    """
    if not len(runs.score) or not ((runs.propensity > 0) & (runs.propensity <= 1)).all():
        raise DataError("a controller learns from logged runs, each with its chance in (0, 1]")
    worth = runs.score - runs.cost_usd / usd_per_quality
    weight = 1 / np.maximum(runs.propensity, _LEAST_PROPENSITY)
    seen = np.column_stack([runs.x, np.ones(len(worth))]).astype(np.float64)
    utility = np.zeros((len(MODES), seen.shape[1]))
    utility[:, -1] = np.average(worth, weights=weight)
    for mode in range(len(MODES)):
        at = runs.mode == mode
        if at.any():
            left = worth[at] - utility[mode] @ seen[at].T
            utility[mode] += _ridge(seen[at], left, weight[at])
    shares = runs.counts / np.maximum(runs.counts.sum(axis=1, keepdims=True), 1)
    left = worth - np.einsum("ij,ij->i", utility[runs.mode], seen)
    by_model = _ridge(shares - shares.mean(axis=0), left, weight)
    return Controller(utility=utility, worth=by_model)


def _ridge(x: FloatArray, y: FloatArray, weight: FloatArray) -> FloatArray:
    scaled = x * (weight / weight.mean())[:, None]
    solved: FloatArray = np.linalg.solve(scaled.T @ x + _RIDGE * np.eye(x.shape[1]), scaled.T @ y)
    return solved
