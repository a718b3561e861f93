"""Quality from what a request demands and what models can do: a router that needs no labels."""

# ruff: noqa: RUF009  (unfitted() declares a field)

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import numpy as np
from pydantic import Field

from routers.base import ROUTERS, Familiarity, FitContext, Labels, Router
from routers.options import State, prefixed, require_fitted, take, under, unfitted
from routers.request.layout import DOMAINS, KINDS, LEVELS, Description
from routers.strategies._novelty import Novelty
from routers.types import FloatMatrix, FloatVector, Predictions

FACETS: tuple[str, ...] = ("knowledge", "reasoning", "mathematics", "code", "language", "agent")
"""What abilities are told apart in: a model's benchmark scores say no more than that."""

LEVEL_POSITIONS: tuple[float, ...] = (-5.5, -3.0, -0.8, 1.8, 3.8)
"""Where the levels stand on the scale of abilities, in logits: at equal values one in two answers
is good. Every model that is offered for money answers what is trivial."""

_FACETS_OF_KIND: dict[str, dict[str, float]] = {
    "chat": {"language": 1},
    "extraction": {"language": 0.7, "reasoning": 0.3},
    "rewriting": {"language": 1},
    "translation": {"language": 1},
    "question": {"knowledge": 1},
    "reasoning": {"reasoning": 1},
    "mathematics": {"mathematics": 1},
    "code": {"code": 1},
    "agent": {"agent": 0.7, "code": 0.3},
    "document": {"knowledge": 0.4, "language": 0.6},
}
_FACETS_OF_DOMAIN: dict[str, dict[str, float]] = {
    "mathematics": {"mathematics": 1},
    "software": {"code": 1},
    "data": {"code": 0.6, "reasoning": 0.4},
    "engineering": {"reasoning": 0.5, "knowledge": 0.5},
    "science": {"knowledge": 0.6, "reasoning": 0.4},
    "medicine": {"knowledge": 1},
    "law": {"knowledge": 0.6, "reasoning": 0.4},
    "finance": {"reasoning": 0.6, "knowledge": 0.4},
}
_OTHER_DOMAIN = {"language": 1.0}
_SHARE_OF_KIND = 0.65
"""How much of the mixture the kind of a request decides, the domain the rest."""

_GLOBAL_STD, _FACET_STD, _SHIFT_STD = 1.5, 0.4, 1.5
_LENGTH_STD = 0.8
_UPPER_DEVIATIONS = 1.65

_MOST_LOG_TOKENS = np.array(math.log(1e5), np.float32)
_MACKAY = np.array(math.pi / 8, np.float32)
_NOTHING, _ONE = np.zeros((), np.float32), np.ones((), np.float32)
"""Arrays without dimensions: as operands these cost half of what numbers do."""


@ROUTERS.register("abilities")
@dataclass(kw_only=True)
class AbilitiesRouter(Router):
    """Predict quality as the chance that a model's ability exceeds what the request demands.

    Reads the columns of the block `request`, which have to come first, and nothing else. The
    quality of model m on request x is the mean over levels l, by the chances that the block
    gives, of sigmoid(ability of m in the facets of x - position of l). `steelyard prior` takes
    abilities from published results; `fit` estimates them from outcomes, each as a departure
    from the pool's that its evidence has to pay for, so that some dozen rows already serve.

    Parameters
    ----------
    facet_std
        Standard deviation, in logits, by which a model's ability in a facet departs from its
        general one.

    Notes
    -----
    The uncertainty is that of the level and that of the ability. With outcomes, how hard these
    queries are beyond what their texts show is learned along, as one shift for all models.

    References
    ----------
    Lord 1980, Applications of Item Response Theory; Song et al. 2025, IRT-Router,
    arXiv:2506.01048 (abilities of models over difficulties of queries).
    """

    kind: ClassVar[str] = "abilities"

    facet_std: Annotated[float, Field(gt=0, le=5)] = _FACET_STD
    ability_: FloatMatrix = unfitted()  # (n_models, n_facets), logits
    ability_std_: FloatMatrix = unfitted()  # (n_models, n_facets)
    shift_: FloatVector = unfitted()  # (1,), added to the positions of all levels
    verbosity_: FloatVector = unfitted()  # (n_models,), log of length over that of a good answer
    length_std_: FloatVector = unfitted()  # (n_models,), of log lengths around that
    novelty_: Novelty | None = unfitted()  # tells who watches how unlike earlier requests are
    _ability_variance: FloatMatrix = unfitted()
    _positions: FloatMatrix = unfitted()  # (1, n_levels, 1)
    _length_margin: FloatVector = unfitted()  # (n_models,)

    @classmethod
    def known(
        cls,
        models: Sequence[str],
        *,
        ability: FloatMatrix,
        ability_std: FloatMatrix,
        verbosity: FloatVector,
    ) -> "AbilitiesRouter":
        """Make a router of abilities that are known from elsewhere.

        Parameters
        ----------
        ability, ability_std
            (n_models, n_facets), in logits, on the scale of `LEVEL_POSITIONS`.
        verbosity
            (n_models,), logarithm of a model's output tokens over those of a usual good answer.
        """
        router = cls()
        router.ability_ = ability.astype(np.float32)
        router.ability_std_ = ability_std.astype(np.float32)
        router.shift_ = np.zeros(1, np.float32)
        router.verbosity_ = verbosity.astype(np.float32)
        router.length_std_ = np.full(len(models), _LENGTH_STD, np.float32)
        router.models_ = tuple(models)
        router._prepare()
        return router

    def _fit(self, context: FitContext) -> None:
        x, labels = context.x, context.labels
        self.novelty_ = Novelty().fit(x, labels.quality, groups=labels.groups, rng=context.rng)
        request = Description.read(x)
        self.shift_, self.ability_, self.ability_std_ = _estimate(
            facet_shares(request), request.levels, labels.quality, facet_std=self.facet_std
        )
        self.verbosity_, self.length_std_ = _lengths(request.log_tokens, labels)
        self._prepare()

    def _predict(self, x: FloatMatrix) -> Predictions:
        require_fitted(self, "ability_")
        request = Description.read(x)
        shares = facet_shares(request)
        ability = shares.dot(self.ability_.T)
        variance = (shares * shares).dot(self._ability_variance.T)
        # The logistic of a normal variable, by MacKay's approximation.
        damping = variance * _MACKAY
        damping += _ONE
        np.sqrt(damping, out=damping)
        np.reciprocal(damping, out=damping)
        # One chance for every query, level and model. Of a single query every call of numpy costs
        # more than its work: there are as few as may be.
        chance = self._positions - ability[:, None, :]
        chance *= damping[:, None, :]
        np.exp(chance, out=chance)
        chance += _ONE
        np.reciprocal(chance, out=chance)
        levels = request.levels[:, :, None]
        weighted = levels * chance
        quality = np.add.reduce(weighted, axis=1)
        weighted *= _ONE - chance
        slope = np.add.reduce(weighted, axis=1)
        apart = chance - quality[:, None, :]
        apart *= apart
        apart *= levels
        std = slope * slope
        std *= variance
        std += np.add.reduce(apart, axis=1)
        np.sqrt(std, out=std)
        centre = request.log_tokens[:, None] + self.verbosity_
        np.maximum(centre, _NOTHING, out=centre)
        np.minimum(centre, _MOST_LOG_TOKENS, out=centre)
        expected = np.expm1(centre)
        centre += self._length_margin
        upper = np.expm1(centre, out=centre)
        np.maximum(quality, _NOTHING, out=quality)
        return Predictions(
            quality=np.minimum(quality, _ONE, out=quality),
            quality_std=std,
            output_tokens=expected,
            output_tokens_upper=np.maximum(upper, expected, out=upper),
        )

    def _prepare(self) -> None:
        """Compute what is the same for every query."""
        self._ability_variance = self.ability_std_ * self.ability_std_
        positions = np.asarray(LEVEL_POSITIONS, np.float32) + self.shift_
        self._positions = positions[None, :, None]
        self._length_margin = np.float32(_UPPER_DEVIATIONS) * self.length_std_

    def familiarity(self, x: FloatMatrix) -> Familiarity | None:
        """Return how much feature rows are like those of training; None where it was not kept."""
        return None if self.novelty_ is None else self.novelty_.familiarity(x)

    def learn_familiar(self, x: FloatMatrix, *, rng: np.random.Generator) -> None:
        """Let `familiarity` tell by these rows what is usual: abilities that are known saw none."""
        self.novelty_ = Novelty().fit(x, self.predict(x).quality, rng=rng)

    def state(self) -> dict[str, np.ndarray]:
        """Return abilities, their uncertainty, and what is known of lengths."""
        require_fitted(self, "ability_")
        return {
            "ability": self.ability_,
            "ability_std": self.ability_std_,
            "shift": self.shift_,
            "verbosity": self.verbosity_,
            "length_std": self.length_std_,
            **prefixed("novelty.", {} if self.novelty_ is None else self.novelty_.state()),
        }

    def _restore(self, state: State) -> None:
        self.ability_ = take(state, "ability", ndim=2)
        self.ability_std_ = take(state, "ability_std", ndim=2)
        self.shift_ = take(state, "shift", ndim=1)
        self.verbosity_ = take(state, "verbosity", ndim=1)
        self.length_std_ = take(state, "length_std", ndim=1)
        novelty = under("novelty.", state)
        self.novelty_ = Novelty().restore(novelty) if novelty else None
        n_models = len(self.ability_)
        if self.ability_.shape[1] != len(FACETS) or self.ability_std_.shape != self.ability_.shape:
            raise ValueError(f"abilities are not told in {len(FACETS)} facets")
        if len(self.verbosity_) != n_models or len(self.length_std_) != n_models:
            raise ValueError("abilities and lengths are not of equally many models")
        if self.shift_.shape != (1,) or (self.ability_std_ < 0).any():
            raise ValueError("a shift or a deviation of abilities is none")
        self._prepare()

    def notes(self) -> dict[str, Any]:
        """Name the facets, in the order of the columns."""
        return {"facets": list(FACETS), "level_positions": list(LEVEL_POSITIONS)}


def facet_shares(request: Description) -> FloatMatrix:
    """Return float32 (n_queries, n_facets): how much each facet counts; rows sum to 1."""
    shares = request.kinds.dot(_BY_KIND)
    shares += request.domains.dot(_BY_DOMAIN)
    return np.asarray(shares, np.float32)


def _table(names: Sequence[str], shares: dict[str, dict[str, float]], total: float) -> FloatMatrix:
    rows = [[shares.get(name, _OTHER_DOMAIN).get(facet, 0.0) for facet in FACETS] for name in names]
    return np.asarray(rows, np.float32) * np.float32(total)


_BY_KIND = _table(KINDS, _FACETS_OF_KIND, _SHARE_OF_KIND)
_BY_DOMAIN = _table(DOMAINS, _FACETS_OF_DOMAIN, 1 - _SHARE_OF_KIND)


def _estimate(
    shares: FloatMatrix, levels: FloatMatrix, quality: FloatMatrix, *, facet_std: float
) -> tuple[FloatVector, FloatMatrix, FloatMatrix]:
    """Return the shift, the abilities and their deviations: MAP, with a diagonal Laplace step."""
    from scipy.optimize import minimize  # noqa: PLC0415  (training only)

    known = ~np.isnan(quality)
    target = np.where(known, quality, 0).astype(np.float64)
    n_models, n_facets = quality.shape[1], len(FACETS)
    w = shares.astype(np.float64)
    chances = levels.astype(np.float64)
    positions = np.asarray(LEVEL_POSITIONS)

    def unpack(values: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
        general = values[1 : 1 + n_models]
        return float(values[0]), general, values[1 + n_models :].reshape(n_models, n_facets)

    def loss(values: np.ndarray) -> tuple[float, np.ndarray]:
        shift, general, facets = unpack(values)
        ability = general + w @ facets.T  # (n_queries, n_models)
        z = ability[:, None, :] - (positions + shift)[None, :, None]
        p = 1 / (1 + np.exp(-z))
        q = np.clip(np.einsum("nl,nlm->nm", chances, p), 1e-6, 1 - 1e-6)
        slope = np.einsum("nl,nlm->nm", chances, p * (1 - p))
        entropy = np.where(known, target * np.log(q) + (1 - target) * np.log(1 - q), 0)
        back = np.where(known, (q - target) / (q * (1 - q)) * slope, 0)
        centred = general - general.mean()
        total = (
            -entropy.sum()
            + (centred**2).sum() / (2 * _GLOBAL_STD**2)
            + general.mean() ** 2 / (2 * _SHIFT_STD**2)
            + (facets**2).sum() / (2 * facet_std**2)
            + shift**2 / (2 * _SHIFT_STD**2)
        )
        g_general = back.sum(axis=0) + centred / _GLOBAL_STD**2
        g_general += general.mean() / _SHIFT_STD**2 / n_models
        g_facets = back.T @ w + facets / facet_std**2
        g_shift = -back.sum() + shift / _SHIFT_STD**2
        return float(total), np.concatenate([[g_shift], g_general, g_facets.ravel()])

    start = np.zeros(1 + n_models + n_models * n_facets)
    start[1 : 1 + n_models] = 0.5
    found = minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": 300})
    shift, general, facets = unpack(found.x)
    ability = general[:, None] + facets
    # How much each model's outcomes tell, facet by facet: a fifth of a logit's square each.
    information = 0.2 * known.T.astype(np.float64) @ (w**2)
    std = 1 / np.sqrt(1 / (_GLOBAL_STD**2 / 4 + facet_std**2) + information)
    return (
        np.asarray([shift], np.float32),
        ability.astype(np.float32),
        std.astype(np.float32),
    )


def _lengths(log_tokens: FloatVector, labels: Labels) -> tuple[FloatVector, FloatVector]:
    """Return each model's verbosity and the spread around it, shrunk toward the pool's."""
    n_models = len(labels.models)
    if labels.output_tokens is None or np.isnan(labels.output_tokens).all():
        return np.zeros(n_models, np.float32), np.full(n_models, _LENGTH_STD, np.float32)
    residual = np.log1p(np.maximum(labels.output_tokens, 0)) - log_tokens[:, None]
    count = (~np.isnan(residual)).sum(axis=0)
    pool = float(np.nanmean(residual))
    verbosity = (np.nansum(residual, axis=0) + 5 * pool) / (count + 5)
    square = np.nansum((residual - verbosity) ** 2, axis=0)
    spread = np.sqrt((square + 5 * _LENGTH_STD**2) / (count + 5))
    # Of the median to the mean of a log-normal length: one factor per model.
    return (verbosity + spread**2 / 2).astype(np.float32), spread.astype(np.float32)


assert len(LEVEL_POSITIONS) == len(LEVELS)  # noqa: S101
