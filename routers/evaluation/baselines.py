"""What a router has to beat: fixed models, mixing, simple rules, and bounds."""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from routers.base import ROUTERS, Labels
from routers.embedders.base import make_embedder
from routers.evaluation.assess import predicted_costs
from routers.evaluation.crossfit import FURTHER, TRAIN_ONLY, cross_fit, splits
from routers.evaluation.frame import Rows, Series, join_rows, sweep
from routers.features.featurizer import Featurizer
from routers.models import PriceTable
from routers.numeric import FloatArray, nan_mean
from routers.options import build

ZERO, BEST_SINGLE, PROMPT_LENGTH, KNN = "ZeroRouter", "best single", "prompt length", "kNN(k=100)"
GUARDED_KNN, SHUFFLE = "guarded kNN", "cost-matched shuffle"
ORACLE, LABEL = "oracle", "benchmark label"
CANDIDATE = "candidate"

_BLOCKS = ("embedding", "lexical")

_NEIGHBOURS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    KNN: (
        "carrot",
        {
            "quality_head": {"kind": "knn", "options": {"n_neighbors": 100}},
            "tokens_head": {"kind": "knn", "options": {"n_neighbors": 100}},
            "domains": False,
            "shrink_unfamiliar": False,
        },
    ),
    GUARDED_KNN: ("guarded-knn", {}),
}
"""Strategies and options, all of them fixed, of the baselines that look at near queries."""

_PRIOR = 5.0
"""Queries' worth of the overall mean that a benchmark's own mean is shrunk with."""

_MIN_GROUP = 8
"""Queries per label, on average, from which on a label says more than which query it is."""


def best_single(rows: Rows, train: Rows | None) -> int:
    """Return the column of highest mean quality, on training rows where there are any."""
    source = rows if train is None else train
    return int(np.nanargmax(nan_mean(source.quality, default=np.nan)))


def fixed(rows: Rows, train: Rows | None) -> list[Series]:
    """Return always cheapest, always dearest, best single, and their random mixture."""
    source = rows if train is None else train
    where = "chosen on the evaluated rows" if train is None else "chosen on the training rows"
    cost = nan_mean(source.cost_usd, default=np.nan)
    n, models = len(rows), rows.models
    singles = [
        ("cheapest", int(np.nanargmin(cost))),
        ("strongest", int(np.nanargmax(cost))),
        (BEST_SINGLE, best_single(rows, train)),
    ]
    series = [
        Series(
            name=name,
            kind="baseline",
            picks=np.full((1, n), column),
            note=f"{models[column]}, {where}" + (" (the dearest)" if name == "strongest" else ""),
        )
        for name, column in singles
    ]
    every = np.tile(np.arange(len(models))[:, None], (1, n))
    mix = Series(
        name=ZERO,
        kind="baseline",
        picks=every,
        note="random mixtures of two models, on the hull of all single ones",
    )
    return [*series, mix]


def prompt_length(rows: Rows, train: Rows | None) -> Series:
    """Route by the length of the prompt alone.

    With training rows quality and cost of every model are regressed on the logarithm of the
    length, with a square. Without, the longer prompts go to the best single model and the others
    to the cheapest.
    """
    if train is None:
        low = int(np.nanargmin(nan_mean(rows.cost_usd, default=np.nan)))
        high = best_single(rows, None)
        order = np.argsort(np.argsort(-rows.input_tokens, kind="stable"), kind="stable")
        shares = np.linspace(0, len(rows), 121).round()[:, None]
        return Series(
            name=PROMPT_LENGTH,
            kind="baseline",
            picks=np.where(order < shares, high, low),
            note=f"longer prompts to {rows.models[high]}, others to {rows.models[low]}",
        )
    x, x_train = _length_terms(rows.input_tokens), _length_terms(train.input_tokens)
    quality = np.clip(_regress(x_train, train.quality, x), 0, 1)
    cost = np.maximum(_regress(x_train, train.cost_usd, x), 0)
    return Series(
        name=PROMPT_LENGTH,
        kind="baseline",
        picks=sweep(quality, cost),
        note="regressed on the training rows",
    )


def benchmark_label(rows: Rows, train: Rows | None) -> Series | None:
    """Route by the name of the benchmark, which a deployed router is never told.

    None where the rows are of one benchmark only.
    """
    source = rows if train is None else train
    depth = _useful_depth(source.groups)
    here, there = _labels(rows.groups, depth), _labels(source.groups, depth)
    if len(set(here)) < 2:
        return None
    quality = _group_means(there, source.quality, here)
    cost = _group_means(there, source.cost_usd, here)
    note = "means of the evaluated rows themselves" if train is None else "means of training rows"
    return Series(name=LABEL, kind="bound", picks=sweep(quality, cost), note=note)


def crossed_label(pool: Rows, folds: NDArray[np.intp], judged: NDArray[np.intp]) -> Series | None:
    """Route every fold by the means of its benchmark's rows in the others.

    None where the rows are of one benchmark only.
    """
    labels = _labels(pool.groups, _useful_depth(pool.groups))
    if len(set(labels)) < 2:
        return None
    quality, cost = np.zeros(pool.quality.shape), np.zeros(pool.quality.shape)
    for train, test, _ in splits(folds):
        here, there = ([labels[i] for i in rows] for rows in (test, train))
        quality[test] = _group_means(there, pool.quality[train], here)
        cost[test] = _group_means(there, pool.cost_usd[train], here)
    return Series(
        name=LABEL,
        kind="bound",
        picks=sweep(quality[judged], cost[judged]),
        note="means of the rows of other folds",
    )


def oracle(rows: Rows) -> Series:
    """Choose by the outcomes themselves."""
    known = np.nan_to_num(rows.quality, nan=0.0)
    return Series(
        name=ORACLE, kind="bound", picks=sweep(known, rows.cost_usd), note="knows every outcome"
    )


def neighbours(rows: Rows, train: Rows, prices: PriceTable) -> list[Series]:
    """Fit kNN(k=100) and guarded kNN on the training rows, and predict the others."""
    pool = join_rows(train, rows)
    folds = np.repeat([TRAIN_ONLY, FURTHER], [len(train), len(rows)])
    judged = np.flatnonzero(folds == FURTHER)
    return crossed_neighbours(pool, folds, judged, prices, progress=lambda _: None)


def crossed_neighbours(
    pool: Rows,
    folds: NDArray[np.intp],
    judged: NDArray[np.intp],
    prices: PriceTable,
    *,
    progress: Callable[[str], None],
) -> list[Series]:
    """Predict every fold by neighbours out of the others, on features that are always the same.

    What an artifact looks at does not matter: else one with poor features would be held against
    poor neighbours.

    Parameters
    ----------
    pool
        Rows to learn from and rows to predict; outcomes may be missing.
    folds
        As `cross_fit` takes them.
    judged
        Numbers of the rows that the series are about.

    References
    ----------
    Li 2025, Rethinking predictive modeling for LLM routing, arXiv:2505.12601 (kNN(k=100), which
    tuned routers seldom beat).
    """
    featurizer = Featurizer(make_embedder("static", {}), _BLOCKS)
    x = featurizer.transform(pool.conversations)
    labels = _labels_of(pool)
    series = []
    for name, (strategy, options) in _NEIGHBOURS.items():
        progress(f"baseline {name}")
        predictions = cross_fit(
            functools.partial(build, ROUTERS.get(strategy), options, noun="baseline"),
            lambda train, test: (x[train], x[test], ()),
            labels,
            folds=folds,
            rng=np.random.default_rng(0),
            length_column=featurizer.length_column,
            progress=lambda _: None,
        ).rows(judged)
        tokens = predictions.output_tokens
        cost = predicted_costs(pool.input_tokens[judged], tokens, pool.models, prices)
        series.append(
            Series(
                name=name,
                kind="baseline",
                picks=sweep(predictions.quality.astype(np.float64), cost),
                predictions=predictions,
                note="on fixed features: static embedding and lexical signals",
            )
        )
    return series


def crossed_prompt_length(pool: Rows, folds: NDArray[np.intp], judged: NDArray[np.intp]) -> Series:
    """Route every fold by the length of the prompt, as the others let expect."""
    quality, cost = np.zeros(pool.quality.shape), np.zeros(pool.quality.shape)
    terms = _length_terms(pool.input_tokens)
    for train, test, _ in splits(folds):
        quality[test] = np.clip(_regress(terms[train], pool.quality[train], terms[test]), 0, 1)
        cost[test] = np.maximum(_regress(terms[train], pool.cost_usd[train], terms[test]), 0)
    return Series(
        name=PROMPT_LENGTH,
        kind="baseline",
        picks=sweep(quality[judged], cost[judged]),
        note="regressed on the rows of other folds",
    )


def _labels_of(rows: Rows) -> Labels:
    silent = bool(np.isnan(rows.output_tokens).all())
    return Labels(
        models=rows.models,
        quality=rows.quality.astype(np.float32),
        output_tokens=None if silent else rows.output_tokens.astype(np.float32),
        groups=rows.groups,
        mean_cost_usd=nan_mean(rows.cost_usd, default=np.nan),
    )


def _length_terms(input_tokens: FloatArray) -> FloatArray:
    log = np.log1p(input_tokens)
    return np.stack([np.ones_like(log), log, log**2], axis=1)


def _regress(x_train: FloatArray, y: FloatArray, x: FloatArray) -> FloatArray:
    columns = []
    for column in y.T:
        known = ~np.isnan(column)
        weights, *_ = np.linalg.lstsq(x_train[known], column[known], rcond=None)
        columns.append(x @ weights)
    return np.stack(columns, axis=1)


def _useful_depth(groups: Sequence[str]) -> int:
    """Return how many parts of `set/benchmark/subset` name groups rather than single queries."""
    depth = max((len(group.split("/")) for group in groups), default=1)
    while depth > 1 and len(groups) < _MIN_GROUP * len(set(_labels(groups, depth))):
        depth -= 1
    return depth


def _labels(groups: Sequence[str], depth: int) -> list[str]:
    return ["/".join(group.split("/")[:depth]) for group in groups]


def _group_means(there: Sequence[str], values: FloatArray, here: Sequence[str]) -> FloatArray:
    overall = nan_mean(values, default=0.0)
    labels = np.asarray(there, dtype=object)
    mean_of: dict[str, FloatArray] = {}
    for label in set(there):
        part = values[labels == label]
        known = ~np.isnan(part)
        total = np.where(known, part, 0).sum(axis=0) + _PRIOR * overall
        mean_of[label] = total / (known.sum(axis=0) + _PRIOR)
    return np.stack([mean_of.get(label, overall) for label in here])
