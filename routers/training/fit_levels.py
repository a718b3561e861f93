"""Which model each level of a decision model goes to, by what came of answers at that level."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from routers.data.lines import json_lines
from routers.data.values import plain_number, quality_number
from routers.errors import DataError
from routers.files import shown_value
from routers.numeric import FloatArray
from routers.strategies.composition import MeanLimit, best_mapping

_PRIOR_ROWS = 8.0
"""How many rows the model's mean over all levels, moved by how hard the level is, counts for."""
_LEAST_USD = 1e-12
_MAX_LEVELS = 12
_FOLDS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class LevelRows:
    """Answers, with the level that was told of their requests.

    Attributes
    ----------
    levels, models
        From the easiest on, and by name.
    level, model
        (n_rows,), which of them.
    quality, cost_usd
        (n_rows,); the latter NaN where it is not known.
    """

    levels: tuple[str, ...]
    models: tuple[str, ...]
    level: np.ndarray
    model: np.ndarray
    quality: FloatArray
    cost_usd: FloatArray

    def __len__(self) -> int:
        return len(self.level)

    def where(self, kept: np.ndarray) -> "LevelRows":
        """Return some of the rows."""
        return LevelRows(
            levels=self.levels,
            models=self.models,
            level=self.level[kept],
            model=self.model[kept],
            quality=self.quality[kept],
            cost_usd=self.cost_usd[kept],
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class LevelChoice:
    """The model of one level.

    Attributes
    ----------
    share
        Of the requests.
    model
        None where none was rated often enough at that level: the router decides there.
    quality, cost_usd
        What is expected of its answers.
    n_rows
        How many rated answers of it there were at the level.
    """

    level: str
    share: float
    model: str | None
    quality: float | None = None
    cost_usd: float | None = None
    n_rows: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class LevelsReport:
    """A table from levels to models, and what it is worth on rows that it was not chosen by.

    Attributes
    ----------
    held_out_quality, held_out_usd
        Of the tables that are chosen on other rows, on average over the requests of the rest; None
        where one of them meets a model too seldom.
    logged_quality, logged_usd
        Of the answers as they came.
    best_single
        The model of the best expected quality at all levels alike, its quality and its cost.
    """

    choices: tuple[LevelChoice, ...]
    n_rows: int
    held_out_quality: float | None
    held_out_usd: float | None
    logged_quality: float
    logged_usd: float
    best_single: tuple[str, float, float] | None

    @property
    def by_level(self) -> dict[str, str]:
        """The table as a configuration has it."""
        return {each.level: each.model for each in self.choices if each.model is not None}


def read_level_rows(
    paths: Sequence[Path], *, levels: Sequence[str] = (), policy: str | None = None
) -> LevelRows:
    """Read rated answers whose requests a decision model said a level of.

    Parameters
    ----------
    levels
        The vocabulary, from the easiest on; by default in the order of the first row.
    policy
        Only answers under this one.

    Raises
    ------
    DataError
        If a file cannot be read, levels are not those of the vocabulary, or no row has both.
    """
    told: list[tuple[str, str, float, float]] = []
    vocabulary = list(levels)
    for where, record in (each for path in paths for each in json_lines(path)):
        chances = _chances(where, record)
        if chances is None or (policy is not None and record.get("policy") != policy):
            continue
        vocabulary = vocabulary or list(chances)
        strange = set(chances) - set(vocabulary)
        if strange or len(vocabulary) > _MAX_LEVELS:
            raise DataError(
                f"{where}: {min(strange or chances)!r} is none of the levels "
                f"{', '.join(vocabulary[:_MAX_LEVELS])}; give them by --levels, one policy at a "
                "time by --policy"
            )
        quality = quality_number(where, "quality", record.get("quality"))
        model = record.get("model")
        if not isinstance(model, str):
            raise DataError(f"{where}: 'model' must be a text, got {shown_value(model)}")
        if math.isnan(quality):
            continue
        level = max(reversed(vocabulary), key=lambda word: chances.get(word, 0.0))
        told.append(
            (level, model, quality, plain_number(where, "cost_usd", record.get("cost_usd")))
        )
    if not told:
        raise DataError(
            "no rated answer has a level; export what a policy with a decision_model served: "
            "steelyard export --out rated.jsonl"
        )
    models = sorted({model for _, model, _, _ in told})
    return LevelRows(
        levels=tuple(vocabulary),
        models=tuple(models),
        level=np.array([vocabulary.index(level) for level, _, _, _ in told]),
        model=np.array([models.index(model) for _, model, _, _ in told]),
        quality=np.array([quality for _, _, quality, _ in told]),
        cost_usd=np.array([cost for _, _, _, cost in told]),
    )


def fit_levels(
    rows: LevelRows,
    *,
    usd_per_request: float | None = None,
    max_quality_loss: float = 0.01,
    fewest_rows: int = 20,
    seed: int = 0,
) -> LevelsReport:
    """Choose the model of each level.

    Parameters
    ----------
    usd_per_request
        The most that answers may cost on average; the best table within it is taken. Without, each
        level has the cheapest model within `max_quality_loss` of its best one.
    fewest_rows
        Rated answers that a model needs at a level to be considered there.

    Raises
    ------
    DataError
        If no model was rated often enough anywhere.
    RoutingConfigError
        If no table costs as little as that.

    Notes
    -----
    A model is rated where it served: what it would have been worth on the others is taken to be the
    same, which holds as far as a level says everything that the choice went by.
    """
    table = _Table.of(rows, fewest_rows)
    if not table.known.any():
        raise DataError(
            f"no model has {fewest_rows} rated answers at any level; rate more, or lower "
            "--fewest-rows"
        )
    chosen = table.chosen(usd_per_request, max_quality_loss)
    choices = tuple(
        LevelChoice(level=level, share=float(share), model=None)
        if at < 0
        else LevelChoice(
            level=level,
            share=float(share),
            model=rows.models[at],
            quality=float(table.quality[i, at]),
            cost_usd=float(table.cost_usd[i, at]),
            n_rows=int(table.n[i, at]),
        )
        for i, (level, share, at) in enumerate(zip(rows.levels, table.share, chosen, strict=True))
    )
    held_out = _held_out(rows, fewest_rows, usd_per_request, max_quality_loss, seed)
    return LevelsReport(
        choices=choices,
        n_rows=len(rows),
        held_out_quality=None if held_out is None else held_out[0],
        held_out_usd=None if held_out is None else held_out[1],
        logged_quality=float(rows.quality.mean()),
        logged_usd=float(np.nanmean(rows.cost_usd)) if np.isfinite(rows.cost_usd).any() else 0.0,
        best_single=table.best_single(rows.models),
    )


@dataclass(frozen=True, slots=True)
class _Table:
    """What is expected of every model at every level, (n_levels, n_models)."""

    n: np.ndarray
    quality: FloatArray
    cost_usd: FloatArray
    known: np.ndarray
    share: FloatArray

    @classmethod
    def of(cls, rows: LevelRows, fewest_rows: int) -> "_Table":
        shape = (len(rows.levels), len(rows.models))
        cell = rows.level * shape[1] + rows.model
        n = np.bincount(cell, minlength=shape[0] * shape[1]).reshape(shape)
        quality = _shrunk(rows, rows.quality, n)
        cost_usd = _shrunk(rows, rows.cost_usd, n, by_factors=True)
        enough = (n >= fewest_rows) & np.isfinite(cost_usd)
        share = np.bincount(rows.level, minlength=shape[0]) / len(rows)
        return cls(n, np.clip(quality, 0, 1), np.maximum(cost_usd, 0), enough, share)

    def chosen(self, usd_per_request: float | None, max_quality_loss: float) -> list[int]:
        """Return the model of every level, -1 where none is known well enough."""
        at = np.flatnonzero(self.known.any(axis=1))
        found = np.full(len(self.n), -1)
        if usd_per_request is None:
            quality = np.where(self.known, self.quality, -np.inf)
            near = quality >= quality.max(axis=1, keepdims=True) - max_quality_loss
            # Of models that cost the same, the better one.
            cost = np.where(near & self.known, self.cost_usd - 1e-12 * self.quality, np.inf)
            found[at] = cost[at].argmin(axis=1)
        else:
            share = self.share[at] / self.share[at].sum()
            # One that is not known at a level is bought at no price, and loses against any other.
            cost = np.where(self.known, self.cost_usd, 1e6)[at]
            loss = np.where(self.known, 1 - self.quality, 2.0)[at]
            limit = MeanLimit(name="usd_per_request", amount=cost, limit=usd_per_request)
            found[at] = best_mapping(loss, share, means=[limit])
        return [int(each) for each in found]

    def best_single(self, models: Sequence[str]) -> tuple[str, float, float] | None:
        everywhere = self.known[self.share > 0].all(axis=0)
        if not everywhere.any():
            return None
        quality = np.where(everywhere, self.share @ self.quality, -np.inf)
        best = int(quality.argmax())
        return models[best], float(quality[best]), float(self.share @ self.cost_usd[:, best])


def _shrunk(
    rows: LevelRows, value: FloatArray, n: np.ndarray, *, by_factors: bool = False
) -> FloatArray:
    """Return the mean of every cell, drawn to what model and level alone would make it.

    Together they add up; costs, which differ by orders of magnitude, are multiplied.
    """
    told = np.isfinite(value)
    if not told.any():
        return np.full(n.shape, np.nan)
    level, model, value = rows.level[told], rows.model[told], value[told]
    by_model = _means(model, value, n.shape[1])
    if by_factors:
        share = value / np.maximum(by_model[model], _LEAST_USD)
        prior = by_model[None, :] * _means(level, share, n.shape[0])[:, None]
    else:
        by_level = _means(level, value - by_model[model], n.shape[0])
        prior = by_model[None, :] + by_level[:, None]
    cell = level * n.shape[1] + model
    count = np.bincount(cell, minlength=n.size).reshape(n.shape)
    total = np.bincount(cell, weights=value, minlength=n.size).reshape(n.shape)
    return np.asarray((total + _PRIOR_ROWS * prior) / (count + _PRIOR_ROWS))


def _means(at: np.ndarray, value: FloatArray, n: int) -> FloatArray:
    """Return the mean of each group, drawn to the mean of all."""
    count = np.bincount(at, minlength=n)
    total = np.bincount(at, weights=value, minlength=n)
    return np.asarray((total + _PRIOR_ROWS * value.mean()) / (count + _PRIOR_ROWS))


def _held_out(
    rows: LevelRows,
    fewest_rows: int,
    usd_per_request: float | None,
    max_quality_loss: float,
    seed: int,
) -> tuple[float, float] | None:
    """Return quality and cost of tables on rows that they were not chosen by."""
    fold = np.random.default_rng(seed).permutation(len(rows)) % _FOLDS
    fewest = max(1, fewest_rows * (_FOLDS - 1) // _FOLDS)
    quality = cost = weight = 0.0
    for held in range(_FOLDS):
        train, rest = rows.where(fold != held), rows.where(fold == held)
        if not len(train) or not len(rest):
            return None
        chosen = _Table.of(train, fewest).chosen(usd_per_request, max_quality_loss)
        for i, share in enumerate(np.bincount(rest.level, minlength=len(rows.levels)) / len(rows)):
            if share == 0 or chosen[i] < 0:
                continue
            own = (rest.level == i) & (rest.model == chosen[i])
            if not own.any():
                return None
            quality += share * rest.quality[own].mean()
            cost += share * np.nanmean(rest.cost_usd[own])
            weight += share
    return (quality / weight, cost / weight) if weight else None


def _chances(where: str, record: Mapping[str, Any]) -> dict[str, float] | None:
    """Return the chance of each level that was told of a request; None where none was."""
    told = record.get("decision_model_told") or record.get("decision_model")
    if told is None:
        return None
    level = told.get("level") if isinstance(told, dict) else None
    if isinstance(level, str):
        return {level: 1.0}
    if not isinstance(level, dict) or not all(map(_is_chance, level.values())):
        raise DataError(
            f"{where}: 'decision_model' must be an object with the chances of `level`, "
            f"got {shown_value(told)}"
        )
    return level or None


def _is_chance(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value >= 0


def table_lines(choices: Iterable[LevelChoice]) -> list[tuple[str, ...]]:
    """Return the choices as rows of words, after one of titles."""
    rows: list[tuple[str, ...]] = [("level", "share", "model", "quality", "USD an answer", "rated")]
    for each in choices:
        told = ("(the router decides)", "", "", "")
        if each.model is not None:
            told = (
                each.model,
                f"{each.quality:.3f}",
                f"{each.cost_usd:.6f}",
                str(each.n_rows),
            )
        rows.append((each.level, f"{each.share:.1%}", *told))
    return rows
