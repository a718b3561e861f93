"""What a share of the regression is worth beside the table of subjects, seen and unseen.

    python scripts/blend_experiment.py

Reads llmrouter9 of STEELYARD_DATA_DIR (default: ../shared/data beside the repository) and prints
the table of docs/routers/bench-coe.md: accuracy averaged over benchmarks, of four folds by prompt
and of every benchmark left out in turn. The shares are set by hand; `bench-coe` finds its own.
"""

import os
from dataclasses import replace

for _variable in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")

import numpy as np
from public_data import DATA

from routers.base import Labels
from routers.data.dataset import read_outcomes
from routers.embedders.static import StaticEmbedder
from routers.evaluation.crossfit import prompt_folds
from routers.features.featurizer import Featurizer
from routers.heads.base import HeadConfig
from routers.strategies.bench_coe import BenchCoeRouter

_FOLDS = 4
_SHARES = (0.25, 0.5, 0.75, 1.0)


def main() -> None:
    """Fit table and regression on every part, and weigh them."""
    table = read_outcomes([DATA / "llmrouter9.parquet"])
    benchmark = np.array([group.split("/")[1] for group in table.groups])
    featurizer = Featurizer(StaticEmbedder(), ("embedding", "lexical", "terms"))
    featurizer.fit(table.conversations)
    x = featurizer.transform(table.conversations)
    by_prompt = prompt_folds(table.conversations, _FOLDS, np.random.default_rng(0))
    print("| | seen | unseen |\n|---|---|---|", flush=True)
    columns: list[dict[str, float]] = []
    for parts in (by_prompt, np.unique(benchmark, return_inverse=True)[1]):
        won: dict[str, np.ndarray] = {}
        for part in np.unique(parts).tolist():
            train, test = np.flatnonzero(parts != part), np.flatnonzero(parts == part)
            for way, predicted in _predicted(x, table.labels.rows(train), train, test).items():
                chosen = predicted.argmax(axis=1)
                into = won.setdefault(way, np.full(len(table), np.nan))
                into[test] = table.quality[test, chosen]
        columns.append({way: _over_benchmarks(each, benchmark) for way, each in won.items()})
    for way, seen in columns[0].items():
        print(f"| {way} | {seen:.4f} | {columns[1][way]:.4f} |")


def _predicted(
    x: np.ndarray, labels: Labels, train: np.ndarray, test: np.ndarray
) -> dict[str, np.ndarray]:
    subject = BenchCoeRouter().fit(x[train], labels, rng=np.random.default_rng(0))
    by_subject = subject.predict(x[test])
    head = HeadConfig(kind="linear").build()
    head.fit(x[train], labels.quality, rng=np.random.default_rng(0))
    by_query = head.predict(x[test])[0]
    trusted = subject.trusted(x[test], by_subject)
    familiar = subject.trusted(x[test], replace(by_subject, categories=None))
    mean = np.nanmean(labels.quality, axis=0)
    found = {
        "best single model": np.tile(mean, (len(test), 1)),
        "subject": by_subject.quality,
        "query": by_query,
    }
    for way, allowed in (("", trusted), (", also of no identified subject", familiar)):
        for share in _SHARES:
            weight = share * allowed
            blend = weight * by_query + (1 - weight) * by_subject.quality
            found[f"{share} of the regression{way}"] = blend
    return found


def _over_benchmarks(won: np.ndarray, benchmark: np.ndarray) -> float:
    return float(np.mean([np.nanmean(won[benchmark == name]) for name in np.unique(benchmark)]))


if __name__ == "__main__":
    main()
