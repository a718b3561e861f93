"""Measure how fast a kNN head finds its neighbours among real prompts, and what it misses.

    python -m loadtest.bench_knn [--data FOLDER] [--rows 1000,2000,4000,8000,16000,36000]
        [--embedder static] [--embedder-options JSON] [--blocks embedding,lexical]
        [--vectors FILE.npy] [--neighbors 100] [--queries 300] [--rounds 5] [--json FILE]

Prompts and outcomes are those of the parquet files in the folder (`STEELYARD_DATA_DIR`, else
`../shared/data`), every text once, in a random order drawn with seed 0. The first `--queries` are
held out; heads remember the next ones. `--vectors` keeps the features in a file, so that a slow
embedder runs once.

`exact` and `auto` are the head's option `search`, in microseconds of the one thread's processor
time for a prediction of one query and 11 models, those with the most outcomes: the median (and the
99th percentile) over queries of the least of `--rounds` rounds, in which both heads answer every
query in turn. Recall is the share of found rows that are at least as similar as the k-th nearest
one. Errors are mean squared errors of the predicted quality on the held-out outcomes.

No time is asserted anywhere: the machine decides it. Compare ratios.
"""

import argparse
import json
import os
import time
from collections.abc import Sequence
from pathlib import Path

for _variable in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")

import numpy as np

from loadtest.bench_decision import describe_machine
from routers.data.dataset import OutcomeTable, read_outcomes
from routers.embedders.base import make_embedder
from routers.features.featurizer import Featurizer
from routers.heads.knn import KnnHead
from routers.numeric import unit_rows
from routers.types import FloatMatrix

_DATA = Path(__file__).parents[1] / "../shared/data"
_N_MODELS = 11
_CHUNK = 500
_COLUMNS = (
    "rows",
    "columns",
    "exact_us",
    "auto_us",
    "auto_p99_us",
    "axes",
    "candidates",
    "recall",
    "recall_p5",
    "exact_error",
    "auto_error",
    "fit_s",
    "memory_mb",
    "saved_kb",
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Fit and time a pair of heads for every number of rows, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    folder = Path(os.environ.get("STEELYARD_DATA_DIR", _DATA))
    parser.add_argument("--data", type=Path, default=folder, help="folder of parquet files")
    parser.add_argument("--rows", default="1000,2000,4000,8000,16000,36000", help="with commas")
    parser.add_argument("--embedder", default="static")
    parser.add_argument("--embedder-options", type=json.loads, default={}, help="as JSON")
    parser.add_argument("--blocks", default="embedding,lexical", help="of features, with commas")
    parser.add_argument("--vectors", type=Path, help="features are read from there, or kept there")
    parser.add_argument("--neighbors", type=int, default=100)
    parser.add_argument("--queries", type=int, default=300, help="held out")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path, help="also write the rows there")
    options = parser.parse_args(arguments)
    files = sorted(options.data.glob("*.parquet"))
    if not files:
        parser.error(f"no parquet files in {options.data}: name their folder with --data")
    table = read_outcomes(files)
    order = _distinct(table)
    if options.vectors and options.vectors.exists():
        x = np.load(options.vectors)
    else:
        embedder = make_embedder(options.embedder, options.embedder_options)
        x = _features(Featurizer(embedder, options.blocks.split(",")), table, order)
        if options.vectors:
            np.save(options.vectors, x)
    if len(x) != len(order):
        parser.error(f"{options.vectors} holds {len(x)} rows, the data {len(order)}")
    y = table.quality[order]
    y = y[:, np.argsort(np.isnan(y).sum(axis=0), kind="stable")[:_N_MODELS]]
    machine = describe_machine()
    print(", ".join(f"{key} {value}" for key, value in machine.items()))
    print(" ".join(f"{name:>11}" for name in _COLUMNS))
    rows = []
    for wanted in map(int, options.rows.split(",")):
        n_rows = min(wanted, len(x) - options.queries)
        row = measure(
            x[: options.queries + n_rows],
            y[: options.queries + n_rows],
            n_queries=options.queries,
            k=options.neighbors,
            rounds=options.rounds,
        )
        print(" ".join(f"{row[name]:11.6g}" for name in _COLUMNS))
        rows.append(row)
    if options.json:
        machine["load_after"] = round(os.getloadavg()[0], 2)
        settings = {
            name: getattr(options, name)
            for name in ("embedder", "embedder_options", "blocks", "neighbors", "queries", "rounds")
        }
        options.json.write_text(json.dumps({**machine, **settings, "table": rows}, indent=1) + "\n")


def measure(
    x: FloatMatrix, y: FloatMatrix, *, n_queries: int, k: int, rounds: int
) -> dict[str, float]:
    """Compare both ways to search; the first `n_queries` rows are asked, the others remembered.

    Models that no remembered row knows are left out.
    """
    y = y[:, ~np.isnan(y[n_queries:]).all(axis=0)]
    exact, auto = KnnHead(n_neighbors=k, search="exact"), KnnHead(n_neighbors=k)
    fit_s = []
    for head in (exact, auto):
        began = time.thread_time()
        head.fit(x[n_queries:], y[n_queries:], rng=np.random.default_rng(0))
        fit_s.append(time.thread_time() - began)
    queries = x[:n_queries]
    exact_us, auto_us = _microseconds((exact, auto), queries, rounds)  # of every query
    recall = _recall(auto, queries)
    shortlist = auto.shortlist_
    sizes = [sum(a.nbytes for a in head.state().values()) for head in (exact, auto)]
    return {
        "rows": len(x) - n_queries,
        "columns": x.shape[1],
        "exact_us": round(float(np.median(exact_us)), 1),
        "auto_us": round(float(np.median(auto_us)), 1),
        "auto_p99_us": round(float(np.quantile(auto_us, 0.99)), 1),
        "axes": 0 if shortlist is None else len(shortlist.axes),
        "candidates": 0 if shortlist is None else shortlist.n_candidates,
        "recall": round(float(recall.mean()), 4),
        "recall_p5": round(float(np.quantile(recall, 0.05)), 3),
        "exact_error": round(_error(exact, queries, y[:n_queries]), 6),
        "auto_error": round(_error(auto, queries, y[:n_queries]), 6),
        "fit_s": round(fit_s[1] - fit_s[0], 2),
        "memory_mb": 0 if shortlist is None else round(shortlist.reduced.nbytes / 1e6, 1),
        "saved_kb": round((sizes[1] - sizes[0]) / 1e3, 1),
    }


def _microseconds(heads: Sequence[KnnHead], queries: FloatMatrix, rounds: int) -> np.ndarray:
    least = np.full((len(heads), len(queries)), np.inf)
    for _ in range(rounds):
        for which, head in enumerate(heads):
            for i in range(len(queries)):
                began = time.thread_time()
                head.predict(queries[i : i + 1])
                least[which, i] = min(least[which, i], time.thread_time() - began)
    return least * 1e6


def _recall(head: KnnHead, queries: FloatMatrix) -> FloatMatrix:
    """Return the recall of every query; equally similar rows are as good as each other."""
    unit = unit_rows(queries)
    similarity = unit @ head.x_.T
    bar = np.partition(similarity, -head.k_, axis=1)[:, -head.k_]
    found = np.take_along_axis(similarity, head.nearest(queries), axis=1)
    return np.asarray((found >= bar[:, None] - 1e-6).mean(axis=1))


def _error(head: KnnHead, x: FloatMatrix, y: FloatMatrix) -> float:
    return float(np.nanmean((head.predict_mean(x) - y) ** 2))


def _distinct(table: OutcomeTable) -> np.ndarray:
    """Return rows of different texts, in random order."""
    first: dict[str, int] = {}
    for row, conversation in enumerate(table.conversations):
        first.setdefault("\n".join(m.text for m in conversation.messages), row)
    return np.random.default_rng(0).permutation(np.asarray(list(first.values())))


def _features(featurizer: Featurizer, table: OutcomeTable, order: np.ndarray) -> FloatMatrix:
    prompts = [table.conversations[row] for row in order]
    featurizer.fit(prompts)
    parts = [featurizer.transform(prompts[i : i + _CHUNK]) for i in range(0, len(prompts), _CHUNK)]
    return np.concatenate(parts)


if __name__ == "__main__":
    main()
