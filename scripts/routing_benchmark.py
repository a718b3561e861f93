"""Measure routers on held-out prompts of public outcome data, over several splits.

    python scripts/routing_benchmark.py [--sets NAME,...] [--seeds 5] [--routers NAME,...]

Reads the wide parquet files of STEELYARD_DATA_DIR (default: ../shared/data beside the
repository), adds what it measures to docs/benchmarks/routing.json, router by router and split by
split, and prints tables; what the file already has is not measured again. `--tables` only prints.

A split holds back a quarter of the prompts (near-duplicates stay together); RouterDC is split as
its publisher did. Nothing is tuned on what is held back. Costs are those that were recorded; the
routers see only their own estimates. The block `difficulty` is trained anew without the set that
is measured (and without the other one of two sets with the same questions). The block `outlook`
knows what readers thought of some prompts of these sets, and no outcome.
"""

import argparse
import functools
import json
import os
import statistics
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

for _variable in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")

import numpy as np
import pyarrow.parquet as pq
from public_data import DATA, OUTCOMES
from train_difficulty_block import SAME_QUESTIONS, train

from routers.base import ROUTERS, AuxiliarySet, Labels
from routers.data.dataset import OutcomeTable, read_outcomes
from routers.data.prices import find_prices
from routers.embedders.static import StaticEmbedder
from routers.evaluation.crossfit import normalised, prompt_folds
from routers.evaluation.metrics import area_under_hull, curve, match_cost, single_models
from routers.features.blocks.difficulty import DifficultyNetwork
from routers.features.featurizer import Featurizer
from routers.numeric import nan_mean
from routers.options import build
from routers.types import PriceTable

_TARGET = Path(__file__).resolve().parents[1] / "docs" / "benchmarks" / "routing.json"
_PAIR = ("gpt-4-1106-preview", "mixtral-8x7b-instruct-v0.1")
_MEASURED = (
    "routellm_mmlu",
    "routellm_mmlu_1500",
    "routerbench",
    "mmlupro_tiger",
    "mmlupro_carrot",
    "routerdc7",
    "zeroeval",
    "alpaca_eval",
    "llmrouter9",
)
_FEW = 1500
"""Training rows of the set whose name ends so: the size of RouteLLM's labelled data."""

_COMMON = 8
"""Queries that a subject needs to count as a label of its own."""

_CHOICE = {"mmlu", "cmmlu", "arc_challenge"}
"""RouterDC's benchmarks whose score is the chance given to the right choice: above 0 is right."""

_PLAIN = ("embedding", "lexical")
_TERMS = (*_PLAIN, "terms")
_MLP = {"quality_head": {"kind": "mlp"}}
_BY_ROWS = {"quality_head": {"kind": "by-rows"}}
_FEATURES_ONLY = {**_MLP, "residuals": False}
_AVERAGE = {
    "quality_head": {
        "kind": "ensemble",
        "options": {"members": [{"kind": "mlp"}, {"kind": "logistic"}, {"kind": "linear"}]},
    }
}

# Name → strategy, feature blocks, options, whether with `difficulty`, whether other sets along.
_Spec = tuple[str, tuple[str, ...], dict[str, Any], bool, bool]
_ROUTERS: Mapping[str, _Spec] = {
    "best single on the training data": ("best-single", _PLAIN, {}, False, False),
    "prompt length": ("prompt-length", _PLAIN, {}, False, False),
    "knn (k = 100)": (
        "carrot",
        _PLAIN,
        {"quality_head": {"kind": "knn"}, "domains": False, "shrink_unfamiliar": False},
        False,
        False,
    ),
    "cluster table (25)": ("carrot", _PLAIN, {"quality_head": {"kind": "cluster"}}, False, False),
    "ridge": ("carrot", _TERMS, {"quality_head": {"kind": "linear"}}, False, False),
    "logistic": ("carrot", _TERMS, {"quality_head": {"kind": "logistic"}}, False, False),
    "boosting": ("carrot", _TERMS, {"quality_head": {"kind": "boosting"}}, False, False),
    "mf": ("mf", _PLAIN, {}, False, False),
    "mlp": ("carrot", _PLAIN, {**_MLP, "domains": False}, False, False),
    "mlp + terms": ("carrot", _TERMS, {**_MLP, "domains": False}, False, False),
    "mlp + terms + domains": ("carrot", _TERMS, _FEATURES_ONLY, False, False),
    "mlp + terms + domains + difficulty": ("carrot", _TERMS, _FEATURES_ONLY, True, False),
    "the same with residuals over domains": ("carrot", _TERMS, _MLP, True, False),
    "default (averaged with ridge where rows are few)": (
        "carrot",
        (*_TERMS, "outlook"),
        _BY_ROWS,
        True,
        False,
    ),
    "mlp + logistic + ridge averaged": ("carrot", _TERMS, _AVERAGE, True, False),
    "default + other sets learned along": ("carrot", _TERMS, _MLP, True, True),
}


def main() -> None:
    """Run every router on every set and split that is not measured yet."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sets", default=",".join(_MEASURED))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--routers", default=",".join(_ROUTERS))
    parser.add_argument("--tables", action="store_true", help="print what is measured, no more")
    options = parser.parse_args()
    names = options.sets.split(",")
    results: dict[str, Any] = json.loads(_TARGET.read_text()) if _TARGET.exists() else {}
    if not options.tables:
        for seed in range(options.seeds):
            for name in names:
                _measure_split(results, name, seed, options.routers.split(","))
    for name in names:
        _print(name, results.get(name, {}))


def _measure_split(results: dict[str, Any], name: str, seed: int, routers: Sequence[str]) -> None:
    missing = [r for r in routers if str(seed) not in results.get(name, {}).get(r, {})]
    if not missing:
        return
    data = Split(name, seed)
    for router in missing:
        strategy, blocks, options, difficulty, auxiliary = _ROUTERS[router]
        began = time.perf_counter()
        try:
            measured = data.measure(
                strategy, blocks, options, difficulty=difficulty, auxiliary=auxiliary
            )
        except ValueError as error:
            print(f"{name}: {router}: {error}", file=sys.stderr)
            continue
        measured["fit_s"] = round(time.perf_counter() - began, 1)
        results.setdefault(name, {}).setdefault(router, {})[str(seed)] = measured
        print(name, seed, router, measured, file=sys.stderr, flush=True)
        _TARGET.write_text(json.dumps(results, indent=1, sort_keys=True) + "\n")


@functools.cache
def _table(name: str) -> OutcomeTable:
    return read_outcomes([DATA / f"{name}.parquet"])


@functools.cache
def _prices(name: str) -> PriceTable:
    return find_prices(_table(name), None).prices


@functools.cache
def _columns(name: str) -> Mapping[str, np.ndarray]:
    """Return the columns of a set that no choice of training rows changes."""
    return Featurizer(StaticEmbedder(), _PLAIN).precompute(_table(name).conversations)


@functools.cache
def _network(without: str) -> DifficultyNetwork:
    left_out = {without, SAME_QUESTIONS.get(without, without)}
    arrays, _ = train(left_out)
    return DifficultyNetwork(arrays)


class Split:
    """One set, split once; features are kept between routers."""

    def __init__(self, name: str, seed: int, n_rows: int | None = None) -> None:
        self._seed = seed
        self._set = name.removesuffix(f"_{_FEW}")
        self._table = table = _table(self._set)
        if self._set == "routerdc7":
            published = np.array(
                pq.read_table(DATA / "routerdc7.parquet", columns=["split"])["split"].to_pylist()
            )
            self._train = np.flatnonzero(published == "train")
            self._test = np.flatnonzero(published != "train")
        else:
            folds = prompt_folds(table.conversations, 4, np.random.default_rng(seed))
            self._train, self._test = np.flatnonzero(folds != 0), np.flatnonzero(folds == 0)
        if name != self._set:
            n_rows = _FEW
        if n_rows is not None and n_rows < len(self._train):
            self._train = np.random.default_rng(seed).permutation(self._train)[:n_rows]
        self._features = functools.cache(self._make_features)

    def _make_features(self, blocks: tuple[str, ...]) -> tuple[Featurizer, np.ndarray]:
        conversations = list(self._table.conversations)
        featurizer = Featurizer(StaticEmbedder(), blocks)
        featurizer.fit([conversations[i] for i in self._train])
        known = {name: each for name, each in _columns(self._set).items() if name in blocks}
        return featurizer, featurizer.transform(conversations, known=known)

    def _with_difficulty(self, x: np.ndarray) -> np.ndarray:
        network = _network(self._set)
        return np.hstack([x, network(x[:, : network.n_inputs])])

    def measure(
        self,
        strategy: str,
        blocks: tuple[str, ...],
        options: Mapping[str, Any],
        *,
        difficulty: bool,
        auxiliary: bool,
        label: bool = True,
    ) -> dict[str, Any]:
        """Fit on the training part, measure on the other; `label`: the router of labels too."""
        featurizer, x = self._features(blocks)
        if difficulty:
            x = self._with_difficulty(x)
        sets = self._others(featurizer, difficulty=difficulty) if auxiliary else []
        router = build(ROUTERS.get(strategy), options, noun="strategy")
        labels = self._table.labels.rows(self._train)
        if not np.isnan(self._table.cost_usd).all():
            costs = nan_mean(self._table.cost_usd[self._train], default=np.nan)
            labels = replace(labels, mean_cost_usd=costs)
        router.fit(
            x[self._train],
            labels,
            rng=np.random.default_rng(self._seed),
            auxiliary=sets,
            length_column=featurizer.length_column,
        )
        return self._score(router.predict(x[self._test]), label=label)

    def _others(self, featurizer: Featurizer, *, difficulty: bool) -> list[AuxiliarySet]:
        asked = {normalised(self._table.conversations[i]) for i in self._test}
        sets = []
        for name in OUTCOMES:
            if name in (self._set, SAME_QUESTIONS.get(self._set)):
                continue
            table = _table(name)
            rows = np.flatnonzero([normalised(each) not in asked for each in table.conversations])
            x = featurizer.transform([table.conversations[i] for i in rows])
            labels: Labels = table.labels.rows(rows)
            sets.append(
                AuxiliarySet(x=self._with_difficulty(x) if difficulty else x, labels=labels)
            )
        return sets

    def _score(self, predictions: Any, *, label: bool) -> dict[str, Any]:
        table, test = self._table, self._test
        quality = table.quality[test]
        known = ~np.isnan(quality).any(axis=1)
        quality, predicted = quality[known], predictions.quality[known]
        measured: dict[str, Any] = {
            "squared_error": float(((predicted - quality) ** 2).mean()),
            "ece": _calibration_error(predicted, quality),
        }
        if set(table.models) == set(_PAIR):
            strong, weak = (table.models.index(model) for model in _PAIR)
            score = predicted[:, strong] - predicted[:, weak]
            if predictions.strength is not None:
                strength = predictions.strength[known]
                score = strength[:, strong] - strength[:, weak]
            measured["apgr"] = _apgr(score, quality[:, strong], quality[:, weak])
            return measured
        by_label = _domain_means(table, self._train)[test[known]]
        if np.isnan(table.cost_usd).all():
            return measured | self._accuracy(predicted, by_label, quality, known)
        cost = table.cost_usd[test][known]
        prices = _prices(self._set)
        expected = np.stack(
            [
                (
                    table.input_tokens[test][known] * prices[model].input_usd_per_mtok
                    + predictions.output_tokens[known, i] * prices[model].output_usd_per_mtok
                )
                / 1e6
                for i, model in enumerate(table.models)
            ],
            axis=1,
        )
        singles = single_models(quality, cost)
        low, high = singles[0].min(), singles[0].max()
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
        """Return mean accuracy over benchmarks of the likely best model; RouterDC by its rules."""
        rows = np.arange(len(quality))
        names = np.array([group.split("/")[1] for group in self._table.groups])[self._test][known]
        seen = {self._table.groups[i].split("/")[1] for i in self._train}
        best = int(np.nanmean(self._table.quality[self._train], axis=0).argmax())
        if self._set == "routerdc7":
            choice = np.isin(names, list(_CHOICE))
            quality = np.where(choice[:, None], quality > 0, quality)
        out = {}
        for key, picks in (
            ("accuracy", predicted.argmax(1)),
            ("label", by_label.argmax(1)),
            ("single", np.full(len(rows), best)),
        ):
            score = quality[rows, picks]
            inside = [score[names == each].mean() for each in sorted(set(names) & seen)]
            outside = [score[names == each].mean() for each in sorted(set(names) - seen)]
            out[key] = float(np.mean(inside))
            if outside:
                out[f"{key}_unseen"] = float(np.mean(outside))
        return out


def _calibration_error(predicted: np.ndarray, quality: np.ndarray) -> float:
    """Return the expected calibration error over all models, in ten equal bins."""
    p, q = predicted.ravel(), quality.ravel()
    where = np.clip((p * 10).astype(int), 0, 9)
    gaps = [
        abs(p[where == b].mean() - q[where == b].mean()) * (where == b).mean() for b in set(where)
    ]
    return float(sum(gaps))


def _domain_means(table: OutcomeTable, train: np.ndarray) -> np.ndarray:
    """Predict every query at the training mean of its label: the router that reads labels."""
    groups = np.array(["/".join(g.split("/")[:2]) for g in table.groups])
    named = np.array(table.groups)
    common = {name for name, n in Counter(named[train]).items() if n >= _COMMON}
    labels = np.array([n if n in common else g for n, g in zip(named, groups, strict=True)])
    overall = np.nanmean(table.quality[train], axis=0)
    out = np.tile(overall, (len(labels), 1))
    for label in set(labels[train]):
        rows = train[labels[train] == label]
        means = np.nanmean(table.quality[rows], axis=0)
        out[labels == label] = np.where(np.isnan(means), overall, means)
    return out


def _apgr(score: np.ndarray, strong: np.ndarray, weak: np.ndarray) -> float:
    order = np.argsort(-score, kind="stable")
    gained = np.concatenate([[0.0], np.cumsum((strong - weak)[order])]) / len(order)
    recovered = gained / (strong.mean() - weak.mean())
    return float(np.trapezoid(recovered, np.linspace(0, 1, len(recovered))))


_REFERENCES = ("aiq_zero", "aiq_label", "single", "label", "single_unseen", "label_unseen")


def _print(name: str, rows: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> None:
    if not rows:
        return
    order = [each for each in _ROUTERS if each in rows]
    last = list(max((rows[each] for each in reversed(order)), key=len).values())
    keys = [key for key in last[0] if key != "fit_s"]
    references = ", ".join(f"{key} {_cell(last, key)}" for key in _REFERENCES if key in keys)
    columns = [key for key in keys if key not in _REFERENCES]
    print(f"\n### {name}\n")
    if references:
        print(f"{references}\n")
    print(f"| router | splits | {' | '.join(columns)} | fit, s |")
    print("|---|---|" + "---|" * (len(columns) + 1))
    for router in order:
        measured = list(rows[router].values())
        cells = [_cell(measured, key) for key in columns]
        seconds = statistics.mean(each["fit_s"] for each in measured)
        print(f"| {router} | {len(measured)} | {' | '.join(cells)} | {seconds:.0f} |", flush=True)


def _cell(measured: Sequence[Mapping[str, Any]], key: str) -> str:
    values = np.array([each.get(key, np.nan) for each in measured], dtype=float)
    missed = int(np.isnan(values).sum())
    if missed:
        return f"never in {missed} of {len(values)}"
    spread = values.std(ddof=1) if len(values) > 1 else 0.0
    return f"{values.mean():.4f} ± {spread:.4f}"


if __name__ == "__main__":
    main()
