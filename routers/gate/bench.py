"""Routers on held-out prompts of outcome data, over several splits: the bench."""

import statistics
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from routers.base import ROUTERS, AuxiliarySet
from routers.data.dataset import OutcomeTable
from routers.embedders.base import Embedder, make_embedder
from routers.evaluation.assess import predicted_costs
from routers.evaluation.crossfit import prompt_folds
from routers.evaluation.metrics import area_under_hull, curve, match_cost, single_models
from routers.evaluation.pair import apgr, gap_curve
from routers.features.featurizer import Featurizer
from routers.models import PriceTable
from routers.numeric import nan_mean
from routers.options import build
from routers.types import FloatMatrix, Predictions

FOLDS = 4
"""One of them is held back."""

REFERENCES = ("aiq_zero", "aiq_label", "single", "label", "single_unseen", "label_unseen")
"""What is measured of a split rather than of a router."""

_COUNTS = ("aiq", "apgr", "accuracy")
"""What tells routers apart; the first that a set has."""

_WHOLE = 5
"""Splits that a mean is expected to be of; fewer are told."""

_COMMON = 8
"""Queries that a subject needs to count as a label of its own."""

_BINS = 10

Measured = Mapping[str, Any]
Right = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""Qualities and benchmarks of queries → what counts as right."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Contender:
    """What is fitted and measured: a strategy, its options, and the features it looks at."""

    strategy: str
    options: Mapping[str, Any] = field(default_factory=dict)
    blocks: tuple[str, ...] = ("embedding", "lexical")
    embedder: str = "static"
    embedder_options: Mapping[str, Any] = field(default_factory=dict)


def held_back(table: OutcomeTable, seed: int) -> np.ndarray:
    """Return which queries are held back: a quarter of the prompts, near-duplicates together."""
    folds = prompt_folds(table.conversations, FOLDS, np.random.default_rng(seed))
    return np.asarray(folds == 0)


class Split:
    """One set, split once; features are kept between routers.

    Parameters
    ----------
    test
        (n_queries,), which queries are held back.
    n_rows
        How many training queries to take, at random; all where there are no more.
    pair
        Strong and weak model, where the set is about two: then APGR is measured.
    right
        What counts as right where no costs are known, if not quality itself.
    """

    def __init__(
        self,
        table: OutcomeTable,
        prices: PriceTable,
        test: np.ndarray,
        *,
        seed: int,
        n_rows: int | None = None,
        pair: tuple[str, str] | None = None,
        right: Right = lambda quality, _: quality,
    ) -> None:
        self.table, self._prices, self._seed = table, prices, seed
        self._pair, self._right = pair, right
        self.train, self.test = np.flatnonzero(~test), np.flatnonzero(test)
        if n_rows is not None and n_rows < len(self.train):
            self.train = np.random.default_rng(seed).permutation(self.train)[:n_rows]
        self._kept: dict[tuple[str, ...], tuple[Featurizer, FloatMatrix]] = {}

    def features(
        self,
        embedder: Embedder,
        blocks: tuple[str, ...],
        *,
        known: Mapping[str, FloatMatrix] | None = None,
    ) -> tuple[Featurizer, FloatMatrix]:
        """Return features of all queries, fitted on the training part.

        Parameters
        ----------
        known
            Columns of blocks that no choice of training rows changes.
        """
        key = (embedder.embedder_id, *blocks)
        if key not in self._kept:
            conversations = list(self.table.conversations)
            featurizer = Featurizer(embedder, blocks)
            featurizer.fit([conversations[i] for i in self.train])
            columns = {name: each for name, each in (known or {}).items() if name in blocks}
            self._kept[key] = featurizer, featurizer.transform(conversations, known=columns)
        return self._kept[key]

    def measure(self, contender: Contender) -> dict[str, Any]:
        """Fit a contender on the training part, and measure it on the other."""
        embedder = make_embedder(contender.embedder, contender.embedder_options)
        featurizer, x = self.features(embedder, contender.blocks)
        return self.measure_on(
            x, contender.strategy, contender.options, length_column=featurizer.length_column
        )

    def measure_on(
        self,
        x: FloatMatrix,
        strategy: str,
        options: Mapping[str, Any],
        *,
        length_column: int | None,
        auxiliary: Sequence[AuxiliarySet] = (),
        label: bool = True,
    ) -> dict[str, Any]:
        """Fit on features of one's own, and measure; `label`: the router of labels, too."""
        router = build(ROUTERS.get(strategy), options, noun=f"strategy {strategy!r}")
        labels = self.table.labels.rows(self.train)
        if not np.isnan(self.table.cost_usd).all():
            costs = nan_mean(self.table.cost_usd[self.train], default=np.nan)
            labels = replace(labels, mean_cost_usd=costs)
        router.fit(
            x[self.train],
            labels,
            rng=np.random.default_rng(self._seed),
            auxiliary=auxiliary,
            length_column=length_column,
        )
        return self.score(router.predict(x[self.test]), label=label)

    def score(self, predictions: Predictions, *, label: bool = True) -> dict[str, Any]:
        """Measure predictions of the held-back queries."""
        table, test = self.table, self.test
        known = np.asarray(~np.isnan(table.quality[test]).any(axis=1))
        quality, predicted = table.quality[test][known], predictions.quality[known]
        measured: dict[str, Any] = {
            "squared_error": float(((predicted - quality) ** 2).mean()),
            "ece": calibration_error(predicted, quality),
        }
        if self._pair is not None:
            strong, weak = (table.models.index(model) for model in self._pair)
            score = predicted[:, strong] - predicted[:, weak]
            if predictions.strength is not None:
                strength = predictions.strength[known]
                score = strength[:, strong] - strength[:, weak]
            measured["apgr"] = apgr(*gap_curve(score, quality[:, weak], quality[:, strong]))
            return measured
        by_label = domain_means(table, self.train)[test[known]]
        if np.isnan(table.cost_usd).all():
            return measured | self._accuracy(predicted, by_label, quality, known)
        cost = table.cost_usd[test][known]
        expected = predicted_costs(
            table.input_tokens[test][known],
            predictions.output_tokens[known],
            table.models,
            self._prices,
        )
        singles = single_models(quality, cost)
        low, high = float(singles[0].min()), float(singles[0].max())
        best = int(singles[1].argmax())
        for key, values in (("aiq", predicted), ("aiq_label", by_label))[: 1 + label]:
            points = curve(values, expected, quality, cost)
            measured[key] = area_under_hull(*points, low=low, high=high)
            if key == "aiq":
                cheapest = match_cost(*points, target=float(singles[1][best]))
                share = float(cheapest / singles[0][best])
                measured["match_share"] = share if np.isfinite(share) else None
                measured["best_over_single"] = float(points[1].max() / singles[1][best])
        measured["aiq_zero"] = area_under_hull(*singles, low=low, high=high)
        return measured

    def _accuracy(
        self, predicted: np.ndarray, by_label: np.ndarray, quality: np.ndarray, known: np.ndarray
    ) -> dict[str, Any]:
        """Return mean accuracy over benchmarks of the likely best model."""
        rows = np.arange(len(quality))
        told = np.array([_benchmark(group) for group in self.table.groups])
        names, seen = told[self.test][known], set(told[self.train].tolist())
        best = int(np.nanmean(self.table.quality[self.train], axis=0).argmax())
        quality = self._right(quality, names)
        out = {}
        for key, picks in (
            ("accuracy", predicted.argmax(1)),
            ("label", by_label.argmax(1)),
            ("single", np.full(len(rows), best)),
        ):
            score = quality[rows, picks]
            inside = [score[names == each].mean() for each in sorted(set(names) & seen)]
            outside = [score[names == each].mean() for each in sorted(set(names) - seen)]
            out[key] = float(np.mean(inside)) if inside else float("nan")
            if outside:
                out[f"{key}_unseen"] = float(np.mean(outside))
        return out


def _benchmark(group: str) -> str:
    parts = group.split("/")
    return parts[1] if len(parts) > 1 else group


def calibration_error(predicted: np.ndarray, quality: np.ndarray) -> float:
    """Return the expected calibration error over all models, in ten equal bins."""
    p, q = predicted.ravel(), quality.ravel()
    where = np.clip((p * _BINS).astype(int), 0, _BINS - 1)
    gaps = [
        abs(p[where == b].mean() - q[where == b].mean()) * (where == b).mean()
        for b in set(where.tolist())
    ]
    return float(sum(gaps))


def domain_means(table: OutcomeTable, train: np.ndarray) -> np.ndarray:
    """Predict every query at the training mean of its label: the router that reads labels."""
    groups = np.array(["/".join(g.split("/")[:2]) for g in table.groups])
    named = np.array(table.groups)
    common = {name for name, n in Counter(named[train].tolist()).items() if n >= _COMMON}
    labels = np.array([n if n in common else g for n, g in zip(named, groups, strict=True)])
    overall = np.nanmean(table.quality[train], axis=0)
    out = np.tile(overall, (len(labels), 1))
    for label in set(labels[train].tolist()):
        rows = train[labels[train] == label]
        means = nan_mean(table.quality[rows], default=np.nan)
        out[labels == label] = np.where(np.isnan(means), overall, means)
    return np.asarray(out)


def table_lines(
    name: str, rows: Mapping[str, Mapping[str, Measured]], order: Sequence[str]
) -> Iterator[str]:
    """Yield the table of a set in Markdown: router → split → what was measured."""
    order = [each for each in order if rows.get(each)]
    if not order:
        return
    last = list(max((rows[each] for each in reversed(order)), key=len).values())
    keys = [key for key in last[0] if key != "fit_s"]
    columns = [key for key in keys if key not in REFERENCES]
    yield from ("", f"### {name}", "")
    references = ", ".join(f"{key} {_cell(last, key)}" for key in REFERENCES if key in keys)
    if references:
        yield from (references, "")
    yield f"| router | splits | {' | '.join(columns)} | fit, s |"
    yield "|---|---|" + "---|" * (len(columns) + 1)
    for router in order:
        measured = list(rows[router].values())
        cells = [_cell(measured, key) for key in columns]
        seconds = statistics.mean(each["fit_s"] for each in measured)
        yield f"| {router} | {len(measured)} | {' | '.join(cells)} | {seconds:.0f} |"


def paired_lines(
    results: Mapping[str, Mapping[str, Mapping[str, Measured]]],
    order: Sequence[str],
    *,
    against: str,
) -> Iterator[str]:
    """Yield a table of every router's gain over one of them, split by split, on each set.

    What counts is the area, RouteLLM's measure or the accuracy. A gain or a loss of more than two
    standard errors is bold; of fewer than five splits, or where all differ alike, nothing is.
    """
    sets = [name for name, rows in results.items() if against in rows]
    if not sets:
        return
    yield from ("", f"Beyond {against}, on the same splits:", "")
    yield f"| router | {' | '.join(sets)} |"
    yield "|---|" + "---|" * len(sets)
    for router in order:
        gains = [_gain(results[name].get(router, {}), results[name][against]) for name in sets]
        if router != against and any(gains):
            yield f"| {router} | {' | '.join(gain or '' for gain in gains)} |"


def _gain(rows: Mapping[str, Measured], base: Mapping[str, Measured]) -> str | None:
    splits = [split for split in rows if split in base]
    if not splits:
        return None
    key = next(each for each in _COUNTS if each in rows[splits[0]])
    gains = [rows[split][key] - base[split][key] for split in splits]
    mean = statistics.mean(gains)
    if len(gains) == 1:
        return f"{mean:+.4f} (1 split)"
    error = statistics.stdev(gains) / len(gains) ** 0.5
    told = f"{mean:+.4f} ± {error:.4f}"
    if len(gains) < _WHOLE:
        return f"{told} ({len(gains)})"
    return f"**{told}**" if abs(mean) > 2 * error > 0 else told


def _cell(measured: Sequence[Measured], key: str) -> str:
    values = np.array([each.get(key, np.nan) for each in measured], dtype=float)
    missed = int(np.isnan(values).sum())
    if missed:
        return f"never in {missed} of {len(values)}"
    spread = values.std(ddof=1) if len(values) > 1 else 0.0
    return f"{values.mean():.4f} ± {spread:.4f}"
