"""Whether the model that a router predicts to be best is best: no costs, no knob.

    python scripts/best_model_experiment.py optimal [--sets llmrouter9,mmlupro_tiger] [--splits 5]
    python scripts/best_model_experiment.py benchmarks [--sets routerdc7] [--splits 1]
    python scripts/best_model_experiment.py unseen [--sets llmrouter9]

Reads the wide parquet files of STEELYARD_DATA_DIR (default: ../shared/data beside the
repository), and prints tables for docs/routers/tryage.md, routerdc.md and bench-coe.md; `--routers
NAME,...` takes some of them.

`optimal`: the share of prompts of the quarter held back on which no model beats the chosen one, the
same of prompts on which models differ, and its mean quality. `benchmarks`: its accuracy by
benchmark, on RouterDC's published split and by its rules; a quarter held back of other sets.
`unseen`: mean accuracy over benchmarks, of four folds by prompt, and of each left out in turn.
"""

import argparse
import os
import statistics
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

for _variable in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")

import numpy as np
from public_data import DATA
from routing_benchmark import by_rules, published_test

from routers.base import ROUTERS, Router
from routers.data.dataset import OutcomeTable, read_outcomes
from routers.embedders.static import StaticEmbedder
from routers.evaluation.crossfit import prompt_folds
from routers.features.featurizer import Featurizer
from routers.gate.bench import FOLDS, domain_means, held_back
from routers.options import build
from routers.strategies.routerdc import RouterDcRouter

_BLOCKS = ("embedding", "lexical", "terms")
_RIGHT = {"right_above_zero": ("arc_challenge", "cmmlu", "mmlu")}
_NETWORK = {"kind": "mlp", "options": {"loss": "squared"}}
_SINGLE, _LABEL = "best single model", "the benchmark's name, told"
_ROUTERS: Mapping[str, Mapping[str, tuple[str, dict[str, Any]]]] = {
    "optimal": {
        "tryage": ("tryage", {}),
        "tryage (one network)": ("tryage", {"loss_head": _NETWORK}),
        "guarded-knn": ("guarded-knn", {}),
    },
    "benchmarks": {
        "cosines alone": ("routerdc", {**_RIGHT, "smoothing": 0}),
        "routerdc": ("routerdc", _RIGHT),
        "routerdc (outcomes as they stand)": ("routerdc", {}),
    },
    "unseen": {
        "subject (the likeliest always)": ("bench-coe", {"uncertain_below": 0, "z": 0}),
        "subject": ("bench-coe", {}),
        "query (ridge)": ("bench-coe", {"level": "query"}),
        "query (network)": ("bench-coe", {"level": "query", "query_head": {"kind": "mlp"}}),
        "blend": ("bench-coe", {"level": "blend"}),
    },
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Fold:
    """Rows to learn from and rows to choose for, their features, and the randomness of the fit."""

    table: OutcomeTable
    train: np.ndarray
    test: np.ndarray
    x: np.ndarray
    length_column: int | None
    seed: int

    @classmethod
    def of(cls, table: OutcomeTable, test: np.ndarray, *, seed: int) -> "Fold":
        """Make the features of a mask of rows to choose for and all others."""
        train = np.flatnonzero(~test)
        featurizer = Featurizer(StaticEmbedder(), _BLOCKS)
        featurizer.fit([table.conversations[i] for i in train])
        x = featurizer.transform(list(table.conversations))
        length_column = featurizer.length_column
        return cls(
            table=table,
            train=train,
            test=np.flatnonzero(test),
            x=x,
            length_column=length_column,
            seed=seed,
        )

    @property
    def quality(self) -> np.ndarray:
        """What all models made of the rows to choose for."""
        return self.table.quality[self.test]

    def fitted(self, kind: str, options: Mapping[str, Any]) -> Router:
        """Fit a router."""
        return build(ROUTERS.get(kind), options, noun=kind).fit(
            self.x[self.train],
            self.table.labels.rows(self.train),
            rng=np.random.default_rng(self.seed),
            length_column=self.length_column,
        )

    def picks(self, name: str, kind: str, options: Mapping[str, Any]) -> np.ndarray:
        """Return the columns of the models that a router takes to be best."""
        router = self.fitted(kind, options)
        rows = self.x[self.test]
        if name == "cosines alone" and isinstance(router, RouterDcRouter):
            return router.scorer_.scores(router.axes(rows)[0]).argmax(axis=1)
        return router.predict(rows).quality.argmax(axis=1)

    @property
    def single(self) -> np.ndarray:
        """The best single model of the rows to learn from, for every row."""
        best = int(np.nanmean(self.table.quality[self.train], axis=0).argmax())
        return np.full(len(self.test), best)


def main() -> None:
    """Run one experiment."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("experiment", choices=list(_EXPERIMENTS))
    parser.add_argument("--sets", help="default: those of the page")
    parser.add_argument("--splits", type=int, help="default: as many as on the page")
    parser.add_argument("--routers", help="default: all of the page")
    options = parser.parse_args()
    run, sets, splits = _EXPERIMENTS[options.experiment]
    known = _ROUTERS[options.experiment]
    routers = known
    if options.routers is not None:
        routers = {name: known[name] for name in options.routers.split(",")}
    for name in (options.sets or sets).split(","):
        table = read_outcomes([DATA / f"{name}.parquet"])
        print(f"\n### {name}\n")
        for line in run(name, table, routers, options.splits or splits):
            print(line, flush=True)


_Routers = Mapping[str, tuple[str, dict[str, Any]]]


def _told(line: str) -> None:
    print(f"  {line}", file=sys.stderr, flush=True)


def _mean(values: Sequence[float]) -> str:
    spread = f" ± {statistics.stdev(values):.3f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.3f}{spread}"


# --- optimal --------------------------------------------------------------------------------------


def optimal(name: str, table: OutcomeTable, routers: _Routers, n_splits: int) -> Iterator[str]:
    """Yield how often no model beats the chosen one."""
    found: dict[str, list[tuple[float, float, float]]] = {}
    for seed in range(n_splits):
        fold = Fold.of(table, held_back(table, seed), seed=seed)
        for router, (kind, options) in routers.items():
            _told(f"{name}: split {seed + 1}/{n_splits}, {router}")
            picks = fold.picks(router, kind, options)
            found.setdefault(router, []).append(_optimal(fold.quality, picks))
        found.setdefault(_SINGLE, []).append(_optimal(fold.quality, fold.single))
        every = [
            _optimal(fold.quality, np.full(len(fold.test), each))
            for each in range(len(table.models))
        ]
        chance = np.mean(every, axis=0)
        found.setdefault("any model at random", []).append(tuple(chance.tolist()))
        best = np.nan_to_num(fold.quality, nan=-1).argmax(axis=1)
        found.setdefault("oracle", []).append(_optimal(fold.quality, best))
    yield "| router | optimal | optimal, told apart | mean quality |"
    yield "|---|---|---|---|"
    for router, splits in found.items():
        cells = " | ".join(_mean(column) for column in zip(*splits, strict=True))
        yield f"| {router} | {cells} |"


def _optimal(quality: np.ndarray, picks: np.ndarray) -> tuple[float, float, float]:
    """Return what is told of choices; rows on which not all models were tried do not count."""
    known = ~np.isnan(quality).any(axis=1)
    quality, picks = quality[known], picks[known]
    chosen = quality[np.arange(len(picks)), picks]
    best = chosen >= quality.max(axis=1)
    apart = quality.max(axis=1) > quality.min(axis=1)
    return float(best.mean()), float(best[apart].mean()), float(chosen.mean())


# --- benchmarks -----------------------------------------------------------------------------------


def benchmarks(name: str, table: OutcomeTable, routers: _Routers, n_splits: int) -> Iterator[str]:
    """Yield accuracies by benchmark; those of unseen ones apart."""
    published = name == "routerdc7"
    names = _benchmarks(table)
    found: dict[str, list[dict[str, float]]] = {}
    seen: set[str] = set()
    for seed in range(n_splits):
        test = published_test() if published else held_back(table, seed)
        fold = Fold.of(table, test, seed=seed)
        seen = set(names[fold.train].tolist())
        graded = replace(table, quality=by_rules(table.quality, names)) if published else table
        right = graded.quality[fold.test]
        picks = {
            router: fold.picks(router, kind, options)
            for router, (kind, options) in _announced(name, routers)
        }
        told = domain_means(graded, fold.train)[fold.test].argmax(axis=1)
        picks[_LABEL] = np.where(np.isin(names[fold.test], list(seen)), told, fold.single)
        picks[_SINGLE] = fold.single
        for router, each in picks.items():
            found.setdefault(router, []).append(_by_benchmark(right, names[fold.test], each))
    columns = sorted(found[_SINGLE][0], key=lambda each: (each not in seen, each))
    inside = [each for each in columns if each in seen]
    outside = [each for each in columns if each not in seen]
    heads = [*inside, "mean", *outside, *(["mean, unseen"] if outside else [])]
    yield f"| | {' | '.join(heads)} |"
    yield f"|---|{'---|' * len(heads)}"
    for router, splits in found.items():
        cells = []
        for part in (inside, outside):
            cells += [_mean([split[each] for split in splits]) for each in part]
            if part:
                cells.append(
                    _mean([statistics.mean(split[each] for each in part) for split in splits])
                )
        yield f"| {router} | {' | '.join(cells)} |"


def _announced(name: str, routers: _Routers) -> Iterator[tuple[str, tuple[str, dict[str, Any]]]]:
    for router, spec in routers.items():
        _told(f"{name}: {router}")
        yield router, spec


def _benchmarks(table: OutcomeTable) -> np.ndarray:
    return np.array([group.split("/")[1] for group in table.groups])


def _by_benchmark(quality: np.ndarray, names: np.ndarray, picks: np.ndarray) -> dict[str, float]:
    chosen = quality[np.arange(len(picks)), picks]
    return {each: float(np.nanmean(chosen[names == each])) for each in sorted(set(names.tolist()))}


# --- unseen ---------------------------------------------------------------------------------------


def unseen(name: str, table: OutcomeTable, routers: _Routers, n_splits: int) -> Iterator[str]:
    """Yield mean accuracies over benchmarks, known and left out."""
    names = _benchmarks(table)
    by_prompt = prompt_folds(table.conversations, FOLDS, np.random.default_rng(0))
    del n_splits  # the folds are given
    known = [by_prompt == fold for fold in range(FOLDS)]
    left_out = [names == each for each in sorted(set(names.tolist()))]
    found = {
        title: _over_folds(name, table, routers, folds)
        for title, folds in (("in", known), ("out", left_out))
    }
    yield "| | in | out | against the best single model there |"
    yield "|---|---|---|---|"
    single = found["out"][_SINGLE]
    for router in found["in"]:
        inside, outside = found["in"][router], found["out"][router]
        yield f"| {router} | {inside:.3f} | {outside:.3f} | {outside - single:+.3f} |"


def _over_folds(
    name: str, table: OutcomeTable, routers: _Routers, folds: Iterable[np.ndarray]
) -> dict[str, float]:
    """Return the mean accuracy over benchmarks, every row chosen for by a fit without it."""
    names = _benchmarks(table)
    picks = {each: np.zeros(len(table), np.intp) for each in (_SINGLE, *routers)}
    for test in folds:
        fold = Fold.of(table, test, seed=0)
        picks[_SINGLE][fold.test] = fold.single
        for router, (kind, options) in _announced(name, routers):
            picks[router][fold.test] = fold.picks(router, kind, options)
    return {
        router: statistics.mean(_by_benchmark(table.quality, names, each).values())
        for router, each in picks.items()
    }


_Experiment = Callable[[str, OutcomeTable, _Routers, int], Iterator[str]]
_EXPERIMENTS: Mapping[str, tuple[_Experiment, str, int]] = {
    "optimal": (optimal, "llmrouter9,mmlupro_tiger", 5),
    "benchmarks": (benchmarks, "routerdc7", 1),
    "unseen": (unseen, "llmrouter9", 1),
}


if __name__ == "__main__":
    main()
