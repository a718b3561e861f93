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
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

for _variable in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")

import numpy as np
import pyarrow.parquet as pq
from public_data import DATA, OUTCOMES
from train_difficulty_block import SAME_QUESTIONS, train

from routers.base import AuxiliarySet, Labels
from routers.data.dataset import OutcomeTable, read_outcomes
from routers.data.prices import find_prices
from routers.embedders.static import StaticEmbedder
from routers.evaluation.crossfit import normalised
from routers.features.blocks.difficulty import DifficultyNetwork
from routers.features.featurizer import Featurizer
from routers.gate import bench
from routers.models import PriceTable

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

_CHOICE = {"mmlu", "cmmlu", "arc_challenge"}
"""RouterDC's benchmarks whose score is the chance given to the right choice: above 0 is right."""

_EMBEDDING = ("embedding",)
_PLAIN = ("embedding", "lexical")
_TERMS = (*_PLAIN, "terms")
_MLP = {"quality_head": {"kind": "mlp"}}
_BY_ROWS = {"quality_head": {"kind": "by-rows"}}
_FEATURES_ONLY = {**_MLP, "residuals": False}
_BY_R2 = {"kind": "knn", "options": {"n_neighbors": "r2"}}
_CARROT = {
    "quality_head": _BY_R2,
    "tokens_head": _BY_R2,
    "plain_tokens": True,
    "domains": False,
    "shrink_unfamiliar": False,
    "correct_luck": False,
}
_RANKING = {
    "n_tiers": 10,
    "within_tiers": False,
    "n_nearest": None,
    "max_battles": None,
    "prior": 0,
}
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
    "random-mix": ("random-mix", _PLAIN, {}, False, False),
    "carrot-knn as published": ("carrot", _EMBEDDING, _CARROT, False, False),
    "mf as published": ("mf", _EMBEDDING, {"rank": 128, "ties": "drop"}, False, False),
    "sw-ranking": ("sw-ranking", _EMBEDDING, {}, False, False),
    "sw-ranking as published": ("sw-ranking", _EMBEDDING, _RANKING, False, False),
    "bert (frozen)": ("bert", _EMBEDDING, {}, False, False),
    "bert (frozen; ten tiers)": ("bert", _EMBEDDING, {"n_tiers": 10}, False, False),
    "hybrid": ("hybrid", _PLAIN, {}, False, False),
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
    "composition": ("composition", _TERMS, {"uncertain_below": 0.35}, False, False),
    "domains": ("domains", _TERMS, {}, False, False),
    "bench-coe (blend)": ("bench-coe", _TERMS, {"level": "blend"}, False, False),
    "default + other sets learned along": ("carrot", _TERMS, _MLP, True, True),
    "guarded knn": ("guarded-knn", _PLAIN, {}, False, False),
    "tasks": ("tasks", ("task", *_PLAIN), {}, False, False),
    "routerdc": ("routerdc", _TERMS, {"right_above_zero": tuple(sorted(_CHOICE))}, False, False),
    "graph": ("graph", _TERMS, {}, False, False),
    "embedllm": ("embedllm", _TERMS, {}, False, False),
    "mirt": ("mirt", _TERMS, {}, False, False),
    "nirt": ("nirt", _TERMS, {}, False, False),
    "uniroute": ("uniroute", _TERMS, {}, False, False),
    "tryage": ("tryage", _TERMS, {}, False, False),
    "tryage (one network)": (
        "tryage",
        _TERMS,
        {"loss_head": {"kind": "mlp", "options": {"loss": "squared"}}},
        False,
        False,
    ),
    "avengers-pro": ("avengers-pro", _TERMS, {}, False, False),
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
        for line in bench.table_lines(name, results.get(name, {}), list(_ROUTERS)):
            print(line)
    measured = {name: results[name] for name in names if name in results}
    for line in bench.paired_lines(measured, list(_ROUTERS), against="guarded knn"):
        print(line)


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


class Split(bench.Split):
    """A public set, split once, with what is particular to it."""

    def __init__(self, name: str, seed: int, n_rows: int | None = None) -> None:
        self._set = name.removesuffix(f"_{_FEW}")
        table = _table(self._set)
        pair = _PAIR if set(table.models) == set(_PAIR) else None
        n_rows = n_rows if name == self._set else _FEW
        right = by_rules if self._set == "routerdc7" else lambda quality, _: quality
        test = published_test() if self._set == "routerdc7" else bench.held_back(table, seed)
        prices = {} if np.isnan(table.cost_usd).all() else _prices(self._set)
        super().__init__(table, prices, test, seed=seed, n_rows=n_rows, pair=pair, right=right)

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
        featurizer, x = self.features(StaticEmbedder(), blocks, known=_columns(self._set))
        if difficulty:
            x = self._with_difficulty(x)
        sets = self._others(featurizer, difficulty=difficulty) if auxiliary else []
        return self.measure_on(
            x,
            strategy,
            options,
            length_column=featurizer.length_column,
            auxiliary=sets,
            label=label,
        )

    def _others(self, featurizer: Featurizer, *, difficulty: bool) -> list[AuxiliarySet]:
        asked = {normalised(self.table.conversations[i]) for i in self.test}
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


def published_test() -> np.ndarray:
    """Return which rows of RouterDC its publisher holds back."""
    split = pq.read_table(DATA / "routerdc7.parquet", columns=["split"])["split"]
    return np.array(split.to_pylist()) != "train"


def by_rules(quality: np.ndarray, names: np.ndarray) -> np.ndarray:
    """Return what counts as right, by RouterDC's rules."""
    return np.where(np.isin(names, list(_CHOICE))[:, None], quality > 0, quality)


if __name__ == "__main__":
    main()
