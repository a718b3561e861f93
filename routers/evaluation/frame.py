"""The queries that routers are compared on, and the routers as choices on these queries."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from routers.artifact.calibration import cost_usd
from routers.base import DEFAULT_OUTPUT_TOKENS
from routers.data.dataset import OutcomeTable
from routers.data.support import Support
from routers.decision.choice import choose_each
from routers.errors import DataError
from routers.evaluation.bootstrap import resample, weighted_means
from routers.evaluation.crossfit import numbered_prompts
from routers.evaluation.metrics import (
    area_over_log_cost,
    area_under_hull,
    hull,
    single_models,
    sweep_rates,
)
from routers.models import PriceTable
from routers.numeric import FloatArray, nan_mean
from routers.types import Conversation, Predictions

NEGLIGIBLE = 0.001
"""A smaller difference of areas counts as none, however little it scatters: routers that do the
same differ by that in where one model ends and the next begins."""

_MAX_WEIGHTS = 40_000_000
"""Bounds the memory of resampling (draws x queries) to 320 MB."""

_SPLITS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """Queries and what every model made of them; arrays are float64 (n_queries, n_models).

    Attributes
    ----------
    cost_usd
        Recorded costs; where there are none, prices times output tokens, which are the model's
        mean where they are not recorded either.
    n_left_out
        Queries of the files that are not here because not all models were tried on them.
    """

    models: tuple[str, ...]
    conversations: tuple[Conversation, ...]
    groups: tuple[str, ...]
    input_tokens: FloatArray
    quality: FloatArray
    output_tokens: FloatArray
    cost_usd: FloatArray
    n_left_out: int = 0

    def __len__(self) -> int:
        return len(self.input_tokens)

    def take(self, index: NDArray[np.intp]) -> "Rows":
        """Return some of the rows, in the order of `index`; the others count as left out."""
        return Rows(
            models=self.models,
            conversations=tuple(self.conversations[i] for i in index),
            groups=tuple(self.groups[i] for i in index),
            input_tokens=self.input_tokens[index],
            quality=self.quality[index],
            output_tokens=self.output_tokens[index],
            cost_usd=self.cost_usd[index],
            n_left_out=self.n_left_out + len(self) - len(index),
        )


def kept_rows(quality: NDArray[np.floating]) -> NDArray[np.intp]:
    """Return the numbers of rows to compare on: complete ones where there are enough (`Support`).

    Else all with any outcome. `quality` is (n_queries, n_models) of the models compared.
    """
    known = ~np.isnan(quality)
    complete = Support.of(quality).complete
    return np.flatnonzero(known.all(axis=1) if complete else known.any(axis=1))


def select_rows(
    table: OutcomeTable,
    models: Sequence[str],
    prices: PriceTable,
    *,
    keep: NDArray[np.intp] | None = None,
) -> Rows:
    """Take some models of a table, priced.

    Parameters
    ----------
    keep
        Numbers of the rows to take; `kept_rows` without it.

    Raises
    ------
    DataError
        If the table lacks a model.
    """
    missing = [model for model in models if model not in table.models]
    if missing:
        files = ", ".join(file.name for file in table.files)
        raise DataError(f"{files}: no outcomes of {', '.join(missing)}")
    columns = np.asarray([table.models.index(model) for model in models])
    quality = table.quality[:, columns].astype(np.float64)
    keep = kept_rows(quality) if keep is None else keep
    tokens = table.output_tokens[np.ix_(keep, columns)].astype(np.float64)
    assumed = nan_mean(tokens, default=DEFAULT_OUTPUT_TOKENS)
    filled = np.where(np.isnan(tokens), assumed, tokens)
    input_tokens = table.input_tokens[keep]
    priced = np.stack(
        [cost_usd(input_tokens, filled[:, i], prices[model]) for i, model in enumerate(models)],
        axis=1,
    )
    recorded = table.cost_usd[np.ix_(keep, columns)]
    return Rows(
        models=tuple(models),
        conversations=tuple(table.conversations[i] for i in keep),
        groups=tuple(table.groups[i] for i in keep),
        input_tokens=input_tokens,
        quality=quality[keep],
        output_tokens=tokens,
        cost_usd=np.where(np.isnan(recorded), priced, recorded),
        n_left_out=len(table) - len(keep),
    )


def join_rows(first: Rows, second: Rows) -> Rows:
    """Return the rows of both, those of `second` below; their models have to be the same."""
    return Rows(
        models=first.models,
        conversations=(*first.conversations, *second.conversations),
        groups=(*first.groups, *second.groups),
        input_tokens=np.concatenate([first.input_tokens, second.input_tokens]),
        quality=np.concatenate([first.quality, second.quality]),
        output_tokens=np.concatenate([first.output_tokens, second.output_tokens]),
        cost_usd=np.concatenate([first.cost_usd, second.cost_usd]),
        n_left_out=first.n_left_out + second.n_left_out,
    )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Series:
    """One router: what it chooses on every query, at every one of its settings.

    Attributes
    ----------
    kind
        `artifact`, `baseline`, or `bound` for what no router can know.
    picks
        int (n_settings, n_queries), from cheap to dear.
    predictions, cost_predicted
        What the choices were made from, where they were made from predictions.
    knob
        Positions of a calibrated knob and int (n_positions, n_queries) choices at them.
    """

    name: str
    kind: str
    picks: NDArray[np.intp]
    note: str = ""
    version: str | None = None
    predictions: Predictions | None = None
    knob: tuple[FloatArray, NDArray[np.intp]] | None = None


def sweep(quality: FloatArray, cost: FloatArray) -> NDArray[np.intp]:
    """Return the choices at 121 exchange rates from always cheapest to always best."""
    rates = sweep_rates(quality, cost)
    picks = choose_each(quality, cost, rates)
    changed = np.append(True, (picks[1:] != picks[:-1]).any(axis=1))
    return np.asarray(picks[changed])


@dataclass(frozen=True, kw_only=True)
class Frame:
    """Rows, and draws of them that all routers share, so that differences are paired."""

    rows: Rows
    n_draws: int = 1000
    seed: int = 0

    @cached_property
    def weights(self) -> FloatArray:
        """How often every query is in every draw: (n_draws, n_queries).

        Prompts are drawn, with all of their rows: the same question twice is not two.
        """
        n_draws = min(self.n_draws, max(100, _MAX_WEIGHTS // len(self.rows)))
        prompt_of = numbered_prompts(self.rows.conversations)
        return resample(int(prompt_of.max()) + 1, n_draws, seed=self.seed)[:, prompt_of]

    @cached_property
    def singles(self) -> tuple[FloatArray, FloatArray]:
        """Mean cost and quality of every model."""
        return single_models(self.rows.quality, self.rows.cost_usd)

    @cached_property
    def single_draws(self) -> tuple[FloatArray, FloatArray]:
        """The same under every draw: (n_draws, n_models)."""
        return (
            weighted_means(self.rows.cost_usd.T, self.weights),
            weighted_means(self.rows.quality.T, self.weights),
        )

    @cached_property
    def every_single(self) -> NDArray[np.intp]:
        """The settings of the ZeroRouter: always one model, for each of them."""
        return np.tile(np.arange(len(self.rows.models))[:, None], (1, len(self.rows)))

    def realised(self, picks: NDArray[np.intp]) -> tuple[FloatArray, FloatArray]:
        """Return what choices cost and were worth: (n_settings, n_queries) each."""
        at = np.arange(len(self.rows))
        return self.rows.cost_usd[at, picks], self.rows.quality[at, picks]

    def points(self, picks: NDArray[np.intp]) -> tuple[FloatArray, FloatArray]:
        """Return mean cost and quality per setting."""
        cost, quality = self.realised(picks)
        return nan_mean(cost.T, default=np.nan), nan_mean(quality.T, default=np.nan)

    def draws(self, picks: NDArray[np.intp]) -> tuple[FloatArray, FloatArray]:
        """Return mean cost and quality per draw and setting: (n_draws, n_settings)."""
        cost, quality = self.realised(picks)
        return weighted_means(cost, self.weights), weighted_means(quality, self.weights)

    def aiq(self, picks: NDArray[np.intp]) -> float:
        """Return the area under the hull between the cheapest and the dearest single model."""
        cost, _ = self.singles
        return area_under_hull(*self.points(picks), low=float(cost.min()), high=float(cost.max()))

    def aiq_draws(self, picks: NDArray[np.intp]) -> FloatArray:
        """Return the same under every draw, each over its own range of costs."""
        return self._under_draws(area_under_hull, picks)

    def log_area(self, picks: NDArray[np.intp]) -> float:
        """Return the area under the hull over the logarithm of cost; NaN where a model is free."""
        cost, _ = self.singles
        low, high = float(cost.min()), float(cost.max())
        return area_over_log_cost(*self.points(picks), low=low, high=high)

    def log_area_draws(self, picks: NDArray[np.intp]) -> FloatArray:
        """Return the same under every draw."""
        return self._under_draws(area_over_log_cost, picks)

    def _under_draws(self, area: Callable[..., float], picks: NDArray[np.intp]) -> FloatArray:
        low, high = self.single_draws[0].min(axis=1), self.single_draws[0].max(axis=1)
        costs, qualities = self.draws(picks)
        return np.asarray(
            [
                area(cost, quality, low=float(a), high=float(b))
                for cost, quality, a, b in zip(costs, qualities, low, high, strict=True)
            ]
        )

    def fair_area(self, picks: NDArray[np.intp]) -> tuple[float, FloatArray]:
        """Return the area, and its draws, of settings chosen on other queries than measured on.

        A hull over many settings follows the noise of the queries it is measured on: on 600
        queries a router of permuted labels seemed to beat mixing single models beyond noise.
        So the settings (or single models) on the hull are found on one half of the queries and
        their straight connection is measured on the other, both ways, for several splits.
        """
        return self.fair_area_of(*self.realised(picks))

    def fair_area_of(self, cost: FloatArray, quality: FloatArray) -> tuple[float, FloatArray]:
        """Return the same of what settings cost and were worth, (n_settings, n_queries) each."""
        rng = np.random.default_rng(self.seed)
        everything = np.ones((1, len(self.rows)))
        areas = []
        for _ in range(_SPLITS):
            half = rng.permutation(len(self.rows)) % 2 == 0
            for chosen_on in (half, ~half):
                on_hull = hull_settings(cost[:, chosen_on], quality[:, chosen_on])
                measured = ~chosen_on
                weights = np.vstack([everything, self.weights])[:, measured]
                areas.append(
                    _areas(
                        weighted_means(cost[on_hull][:, measured], weights),
                        weighted_means(quality[on_hull][:, measured], weights),
                        weighted_means(self.rows.cost_usd[measured].T, weights),
                    )
                )
        mean = np.mean(areas, axis=0)
        return float(mean[0]), mean[1:]


def hull_settings(cost: FloatArray, quality: FloatArray) -> NDArray[np.intp]:
    """Return which settings (rows) are on the hull of their means."""
    x, y = nan_mean(cost.T, default=np.nan), nan_mean(quality.T, default=np.nan)
    on = set(zip(*(each.tolist() for each in hull(x, y)), strict=True))
    first: dict[tuple[float, float], int] = {}
    for i, point in enumerate(zip(x.tolist(), y.tolist(), strict=True)):
        if point in on:
            first.setdefault(point, i)
    return np.asarray(list(first.values()), np.intp)


def _areas(cost: FloatArray, quality: FloatArray, single_cost: FloatArray) -> FloatArray:
    """Return the area under straight connections, per draw, over that draw's range of costs."""
    low, high = (each(single_cost, axis=1)[:, None] for each in (np.min, np.max))
    order = np.argsort(cost, axis=1)
    x, y = np.take_along_axis(cost, order, axis=1), np.take_along_axis(quality, order, axis=1)
    inside = np.clip(x, low, high)
    rise, run = np.diff(y, axis=1), np.diff(x, axis=1)
    slope = rise / np.where(run > 0, run, 1.0)
    # Where a piece begins and ends between the bounds, and how high it is there.
    start, end = inside[:, :-1], inside[:, 1:]
    middle = y[:, :-1] + slope * ((start + end) / 2 - x[:, :-1])
    area = ((end - start) * middle).sum(axis=1)
    area += ((inside[:, :1] - low) * y[:, :1] + (high - inside[:, -1:]) * y[:, -1:])[:, 0]
    width = (high - low)[:, 0]
    return np.where(width > 0, area / np.where(width > 0, width, 1.0), y[:, -1])
