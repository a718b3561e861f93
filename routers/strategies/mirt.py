"""Abilities of models over what queries demand: multidimensional item response theory."""

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import numpy as np
from pydantic import Field

from routers.base import ROUTERS, Newcomer
from routers.estimators.item_response import (
    fit_item_response,
    posterior_mode,
    spread_of,
)
from routers.options import State, take
from routers.strategies._ranking import Lesson, RankingRouter, as_vector
from routers.strategies._told import Told
from routers.types import FloatMatrix, FloatVector


@dataclass(frozen=True, slots=True, kw_only=True)
class Abilities:
    """The scorer: discrimination . ability - difficulty, the log-odds of a good answer.

    Attributes
    ----------
    slope, slope_bias
        (n_axes, n_abilities) and (n_abilities,): discrimination = softplus(z slope + slope_bias).
    weight
        (n_axes + 1,): difficulty, its constant last.
    ability
        (n_models, n_abilities).
    told
        What descriptions tell of abilities.
    """

    slope: FloatMatrix
    slope_bias: FloatVector
    weight: FloatVector
    ability: FloatMatrix
    told: Told

    def items(self, z: FloatMatrix) -> tuple[FloatMatrix, FloatVector]:
        """Return discrimination (n, n_abilities) > 0 and difficulty (n,)."""
        raw = z.dot(self.slope)
        raw += self.slope_bias
        difficulty = z.dot(self.weight[:-1]) + self.weight[-1]
        return np.logaddexp(np.float32(0), raw), difficulty

    def scores(self, z: FloatMatrix) -> FloatMatrix:
        """Return float32 (n, n_models)."""
        discrimination, difficulty = self.items(z)
        return np.asarray(discrimination.dot(self.ability.T) - difficulty[:, None], np.float32)

    def state(self) -> dict[str, np.ndarray]:
        """Return the arrays to store."""
        return {
            "slope": self.slope,
            "slope_bias": self.slope_bias,
            "weight": self.weight,
            "ability": self.ability,
            **self.told.state(),
        }


@ROUTERS.register("mirt")
@dataclass(kw_only=True)
class MirtRouter(RankingRouter):
    """Predict a good answer where a model's abilities exceed what a query demands.

    P = sigmoid(a . theta - b): discrimination a > 0 and difficulty b are read off the query, theta
    are the abilities of a model.

    Parameters
    ----------
    n_abilities
        The published number is 25.
    n_steps, batch_size, learning_rate, penalty
        Of Adam on the cross-entropy.

    Notes
    -----
    Abilities are free vectors. Published ones are read off a description of the model; here, with
    as few models as a pool has, descriptions tell the mean that those of a *new* model are drawn
    to, by ridge regression over the models that were trained.

    References
    ----------
    Song et al. 2025, IRT-Router, arXiv:2506.01048; Reckase 2009, Multidimensional Item Response
    Theory.
    """

    kind: ClassVar[str] = "mirt"
    reads_descriptions: ClassVar[bool] = True

    n_abilities: Annotated[int, Field(ge=1, le=256)] = 8
    n_steps: Annotated[int, Field(ge=1)] = 600
    batch_size: Annotated[int, Field(ge=1)] = 512
    learning_rate: Annotated[float, Field(gt=0)] = 0.02
    penalty: Annotated[float, Field(ge=0)] = 1e-3

    def _learn(self, lesson: Lesson, *, rng: np.random.Generator) -> Abilities:
        found = fit_item_response(
            lesson.z,
            lesson.labels.quality,
            rng=rng,
            n_abilities=self.n_abilities,
            n_components=lesson.z.shape[1],
            n_steps=self.n_steps,
            learning_rate=self.learning_rate,
            penalty=self.penalty,
            batch_size=self.batch_size,
        )
        slope, weight = found.components @ found.slope, found.components @ found.weight
        parts = (
            slope,
            found.slope_bias - found.center @ slope,
            np.append(weight, found.bias - found.center @ weight),
            found.ability,
        )
        names = ("slope", "slope_bias", "weight", "ability")
        arrays = {n: p.astype(np.float32) for n, p in zip(names, parts, strict=True)}
        told = Told.learn(lesson.labels.descriptions, found.ability)
        return Abilities(**arrays, told=told)

    def _scorer(self, state: State, n_models: int) -> Abilities:
        slope, ability = take(state, "slope", ndim=2), take(state, "ability", ndim=2)
        bias, weight = take(state, "slope_bias", ndim=1), take(state, "weight", ndim=1)
        if (
            len(ability) != n_models
            or not slope.shape[1] == ability.shape[1] == len(bias)
            or len(weight) != len(slope) + 1
        ):
            raise ValueError("the abilities of models and the demands of queries do not fit")
        told = Told.restore(state)
        return Abilities(slope=slope, slope_bias=bias, weight=weight, ability=ability, told=told)

    def _place(self, z: FloatMatrix, newcomer: Newcomer) -> dict[str, np.ndarray]:
        scorer: Abilities = self.scorer_
        mean, covariance = spread_of(scorer.ability)
        mean = scorer.told.mean(newcomer.description, default=mean)
        if len(z):
            discrimination, difficulty = scorer.items(z)
            mean = posterior_mode(
                discrimination.astype(np.float64),
                newcomer.quality,
                mean,
                covariance,
                offset=-difficulty.astype(np.float64),
            )
        return {"ability": mean.astype(np.float32)}

    def _scores_of(self, placed: State, z: FloatMatrix) -> FloatVector:
        scorer: Abilities = self.scorer_
        ability = as_vector(placed, "ability", scorer.ability.shape[1])
        discrimination, difficulty = scorer.items(z)
        return np.asarray(discrimination.dot(ability) - difficulty, np.float32)

    def notes(self) -> dict[str, Any]:
        """Say whether descriptions were learned from."""
        return {**super().notes(), "descriptions": self.scorer_.told.known}
