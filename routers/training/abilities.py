"""Abilities of models from published benchmark scores, on the scale of the graded prompts."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from routers.errors import DataError
from routers.numeric import FloatArray
from routers.strategies.abilities import FACETS, LEVEL_POSITIONS
from routers.training.ability_model import ScoreTable, fit_table
from routers.training.ability_scores import AbilityScores, read_abilities

__all__ = [
    "FACETS",
    "LEVEL_POSITIONS",
    "Abilities",
    "estimate_abilities",
    "level_position",
    "read_abilities",
]

Evidence = Literal["published", "price", "none"]
"""What an ability rests on: scores; else what the model costs and when it came out, or only the
latter."""

_MOST_CERTAIN = 0.985
"""Nearer to everything right, or to chance, a table tells errors of labels from each other."""

_USUAL_PRICE = 3.0
_EPOCH = date(2024, 7, 1)

_LEAST_STEP = 0.05
"""Two anchors nearer than that, in logits, tell no slope."""

_LINK_STD = 0.25
"""How far people's requests are from what tables ask, in logits: no number of scores removes it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Abilities:
    """What models can do, in logits on the scale of the rubric's levels.

    Attributes
    ----------
    models
        Their names, in the order of the file.
    ability, std
        (n_models, n_facets): the estimate and its standard deviation, by FACETS.
    n_scores
        (n_models,): how many scores it rests on.
    evidence
        For every model `published` where it has scores; else `price` or `none`.
    difficulty, slope
        Of every benchmark, on the scale of the tables: the ability at which half of what chance
        leaves is right, and how fast more of it adds.
    misfit
        How much further scores lie from the model than two sources differ; 1 where no further.
    """

    models: tuple[str, ...]
    ability: FloatArray
    std: FloatArray
    n_scores: NDArray[np.int64]
    evidence: tuple[Evidence, ...]
    difficulty: Mapping[str, float]
    slope: Mapping[str, float]
    misfit: float


def estimate_abilities(
    scores: AbilityScores, prices: Mapping[str, float] | None = None
) -> Abilities:
    """Estimate the abilities of every model of a file, with what is not known about them.

    Score of model m on benchmark b = guess + (1 - guess) sigmoid(a_b (theta_m,facet(b) - d_b)).
    The ability theta is a general one plus a departure for the facet; the general one is centred
    on a trend in price and time that the models with scores show, and d_b on the level of the
    benchmark. The maximum a posteriori estimate; standard deviations are Laplace's, widened where
    the scores scatter by more than their assumed noise. Last, the anchors of the file carry the
    abilities to the scale of the rubric; without anchors they stay on that of the levels.

    Parameters
    ----------
    prices
        US dollars per million tokens of the answer, by name or alias of the model; what is left
        out counts as the usual price.

    Raises
    ------
    DataError
        If the file has no scores at all, a price is not above zero, or the scores do not put the
        anchors in their order.
    """
    names = tuple(scores.models)
    usd = _prices(scores, prices or {})
    table = _table(scores, usd)
    if not len(table.model):
        raise DataError("no model has a score, so nothing can be estimated")
    found = fit_table(table)
    link = _Link.through(
        scores.anchors, dict(zip(names, found.ability.mean(axis=1).tolist(), strict=True))
    )
    count = np.bincount(table.model, minlength=len(names))
    return Abilities(
        models=names,
        ability=link.ability(found.ability),
        std=np.hypot(found.std * link.slope(found.ability), _LINK_STD),
        n_scores=count,
        evidence=tuple(
            "published" if n else "none" if usd[name] is None else "price"
            for name, n in zip(names, count, strict=True)
        ),
        difficulty=dict(zip(scores.benchmarks, found.difficulty.tolist(), strict=True)),
        slope=dict(zip(scores.benchmarks, found.slope.tolist(), strict=True)),
        misfit=found.misfit,
    )


def level_position(level: float) -> float:
    """Return where a level between 1 and 5 stands on the scale of abilities."""
    return float(np.interp(level, np.arange(1, len(LEVEL_POSITIONS) + 1), LEVEL_POSITIONS))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Link:
    """From the scale of the tables to the rubric's: straight between anchors, and on beyond them.

    Hard benchmarks tell the best models apart by more than most requests do, so a step at the top
    of the tables is a smaller one on the rubric, and no single slope serves.
    """

    tables: FloatArray
    rubric: FloatArray

    @classmethod
    def through(cls, anchors: Mapping[str, float], tables: Mapping[str, float]) -> "_Link":
        order = sorted(anchors, key=lambda model: anchors[model])
        x = np.array([tables[model] for model in order])
        y = np.array([anchors[model] for model in order])
        if np.any(np.diff(x) < _LEAST_STEP) or np.any(np.diff(y) <= 0):
            stand = ", ".join(f"{model} {tables[model]:.2f}" for model in order)
            raise DataError(f"the scores do not put the anchors in their order: {stand}")
        return cls(tables=x, rubric=y)

    def slope(self, x: FloatArray) -> FloatArray:
        if not len(self.tables):
            return np.ones_like(x)
        return np.asarray((np.diff(self.rubric) / np.diff(self.tables))[self._piece(x)])

    def ability(self, x: FloatArray) -> FloatArray:
        if not len(self.tables):
            return x
        piece = self._piece(x)
        return np.asarray(self.rubric[piece] + self.slope(x) * (x - self.tables[piece]))

    def _piece(self, x: FloatArray) -> NDArray[np.int64]:
        piece = np.searchsorted(self.tables, x) - 1
        return np.asarray(np.minimum(np.maximum(piece, 0), len(self.tables) - 2))


def _table(scores: AbilityScores, usd: Mapping[str, float | None]) -> ScoreTable:
    place = {name: i for i, name in enumerate(scores.benchmarks)}
    facet = np.array([FACETS.index(each.facet) for each in scores.benchmarks.values()])
    rows = [
        (i, place[score.benchmark], scores.benchmarks[score.benchmark].share(score.score))
        for i, entry in enumerate(scores.models.values())
        for score in entry.scores
    ]
    benchmark = np.array([row[1] for row in rows], np.int64)
    share = np.array([row[2] for row in rows], np.float64)
    years = [
        0.0 if entry.released is None else (entry.released - _EPOCH).days / 365.25
        for entry in scores.models.values()
    ]
    log_price = [np.log((usd[name] or _USUAL_PRICE) / _USUAL_PRICE) for name in scores.models]
    return ScoreTable(
        model=np.array([row[0] for row in rows], np.int64),
        benchmark=benchmark,
        facet=facet[benchmark],
        share=np.minimum(np.maximum(share, 1 - _MOST_CERTAIN), _MOST_CERTAIN),
        position=np.array([level_position(each.level) for each in scores.benchmarks.values()]),
        covariates=np.column_stack([np.ones(len(years)), log_price, years]),
        n_facets=len(FACETS),
    )


def _prices(scores: AbilityScores, prices: Mapping[str, float]) -> dict[str, float | None]:
    found: dict[str, float | None] = dict.fromkeys(scores.models)
    for name, usd in prices.items():
        if not usd > 0 or not np.isfinite(usd):
            raise DataError(f"the price of {name} must be above zero, got {usd}")
        model = scores.find(name)
        if model is not None:
            found[model] = float(usd)
    return found
