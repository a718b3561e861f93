"""Measure ways to find neighbours as what is remembered grows: all in full, shortlist, graph.

    python -m loadtest.bench_neighbours [--kinds clustered,uniform]
        [--rows 20000,36000,100000,1000000] [--features 64] [--neighbors 10,100] [--ef 64]
        [--vectors FILE.npy] [--queries 200] [--rounds 3] [--json FILE]

Rows are made up. `clustered`: a thousand clusters, whose centres vary less in each further
direction and whose rows differ in 12 directions and a little in all, as embeddings of prompts do.
`uniform`: rows on the unit sphere of 16 dimensions, turned into all features, with the same little
noise. Queries are drawn in the same way. `prompts`: rows of `--vectors`, as `bench_knn` keeps them.

Times are microseconds of the one thread's processor time for one query: the median, and the 99th
percentile, over queries of the least of `--rounds` rounds in which all ways answer in turn. Recall
is the share of found rows that are at least as similar as the k-th nearest one. Memory is what the
way itself holds, the rows included. An insert is of one row; 200 are made.

No time is asserted anywhere: the machine decides it. Compare ratios. A million rows take 3 GB of
memory and half an hour of one core.
"""

import argparse
import json
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path

for _variable in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")

import numpy as np

from loadtest.bench_decision import describe_machine
from routers.heads._hnsw import Graph, Shape
from routers.heads._remembered import Compared, Linked, Remembered
from routers.heads._shortlist import Shortlist
from routers.numeric import unit_rows
from routers.types import FloatMatrix

_CLUSTERS, _DIRECTIONS, _SPREAD, _SPHERE, _NOISE = 1000, 12, 0.05, 16, 0.1
_INSERTS = 200
_SHAPE = Shape(m=16, ef_construction=200)
_COLUMNS = (
    "k",
    "told",
    "rows",
    "way",
    "us",
    "p99_us",
    "recall",
    "recall_p5",
    "memory_mb",
    "build_s",
    "insert_us",
)


def clustered(rng: np.random.Generator, n: int, width: int) -> FloatMatrix:
    fixed = np.random.default_rng(7)
    centres = fixed.standard_normal((_CLUSTERS, width), dtype=np.float32)
    centres /= np.sqrt(np.arange(1, width + 1, dtype=np.float32))
    axes = fixed.standard_normal((_DIRECTIONS, width), dtype=np.float32)
    x = np.float32(_SPREAD) * rng.standard_normal((n, _DIRECTIONS), dtype=np.float32) @ axes
    x += centres[rng.integers(_CLUSTERS, size=n)]
    return _noisy(x, rng)


def uniform(rng: np.random.Generator, n: int, width: int) -> FloatMatrix:
    axes = np.linalg.qr(np.random.default_rng(8).normal(size=(width, _SPHERE)))[0]
    x = rng.standard_normal((n, _SPHERE), dtype=np.float32)
    return _noisy(unit_rows(x) @ axes.T.astype(np.float32), rng)


def _noisy(x: FloatMatrix, rng: np.random.Generator) -> FloatMatrix:
    size = np.float32(_NOISE * np.linalg.norm(x[:1000], axis=1).mean() / np.sqrt(x.shape[1]))
    for at in range(0, len(x), 100_000):
        part = x[at : at + 100_000]
        part += size * rng.standard_normal(part.shape, dtype=np.float32)
        part[:] = unit_rows(part)
    return x


MADE: dict[str, Callable[[np.random.Generator, int, int], FloatMatrix]] = {
    "clustered": clustered,
    "uniform": uniform,
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Build, time and grow every way for every number of rows, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", default="20000,36000,100000,1000000", help="with commas")
    parser.add_argument("--kinds", default="clustered,uniform", help="with commas")
    parser.add_argument("--features", type=int, default=64)
    parser.add_argument("--neighbors", default="10,100", help="with commas")
    parser.add_argument("--vectors", type=Path, help="rows of the kind prompts")
    parser.add_argument("--ef", type=int, default=64)
    parser.add_argument("--queries", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path, help="also write the rows there")
    options = parser.parse_args(arguments)
    machine = describe_machine()
    print(", ".join(f"{key} {value}" for key, value in machine.items()))
    sizes = [int(each) for each in options.neighbors.split(",")]
    table: list[dict[str, object]] = []
    for kind in options.kinds.split(","):
        for n_rows in map(int, options.rows.split(",")):
            drawn = _drawn(kind, n_rows, options)
            if drawn is None:
                continue
            for row in measure(*drawn, sizes=sizes, ef=options.ef, rounds=options.rounds):
                row["kind"] = kind
                print(kind, *(f"{name} {row[name]}" for name in _COLUMNS), flush=True)
                table.append(row)
            if options.json:
                about = {
                    **machine,
                    "load_after": round(os.getloadavg()[0], 2),
                    "features": options.features,
                    "shape": {"m": _SHAPE.m, "ef_construction": _SHAPE.ef_construction},
                    "ef": options.ef,
                }
                options.json.write_text(json.dumps({**about, "table": table}, indent=1) + "\n")


def _drawn(
    kind: str, n_rows: int, options: argparse.Namespace
) -> tuple[FloatMatrix, FloatMatrix, FloatMatrix] | None:
    """Return what is remembered, what joins, and what is asked; None if there are not so many."""
    n = n_rows + _INSERTS + options.queries
    if kind == "prompts":
        x = np.load(options.vectors)
        x = unit_rows(x.astype(np.float32)).astype(np.float16).astype(np.float32)
        if len(x) < n:
            return None
    else:
        x = MADE[kind](np.random.default_rng(0), n, options.features)
    return x[n - n_rows : n], x[:_INSERTS], x[_INSERTS : n - n_rows]


def measure(
    x: FloatMatrix,
    more: FloatMatrix,
    queries: FloatMatrix,
    *,
    sizes: Sequence[int],
    ef: int,
    rounds: int,
) -> list[dict[str, object]]:
    """Return a row for each way to search the rows `x`, for each number of neighbours."""
    y = np.zeros((len(x), 1), np.float32)
    began = time.thread_time()
    graph = Graph.built(x, _SHAPE, ef=ef, seed=0)
    build_s = {"exact": 0.0, "hnsw": time.thread_time() - began}
    rows: list[dict[str, object]] = []
    for k in sizes:
        began = time.thread_time()
        shortlist = Shortlist.tuned(x, k)
        build_s["shortlist"] = time.thread_time() - began
        ways: dict[str, Remembered] = {"exact": Compared.of(x, y)}
        if shortlist is not None:
            ways["shortlist"] = Compared.of(x, y, shortlist)
        if graph.tune(k):
            ways["hnsw"] = Linked(graph, y)
        microseconds = _microseconds(ways, queries, k, rounds)
        for name, way in ways.items():
            recall = _recall(way, x, queries, k)
            times = microseconds[name]
            rows.append(
                {
                    "rows": len(x),
                    "k": k,
                    "way": name,
                    "us": round(float(np.median(times)), 1),
                    "p99_us": round(float(np.quantile(times, 0.99)), 1),
                    "recall": round(float(recall.mean()), 4),
                    "recall_p5": round(float(np.quantile(recall, 0.05)), 3),
                    "memory_mb": round(_bytes(way) / 1e6, 1),
                    "build_s": round(build_s[name], 1),
                    "told": _told(way),
                }
            )
    inserted = {row["way"]: _insert_us(ways[str(row["way"])], more) for row in rows[-len(ways) :]}
    return [{**row, "insert_us": round(inserted.get(row["way"], np.nan), 1)} for row in rows]


def _microseconds(
    ways: dict[str, Remembered], queries: FloatMatrix, k: int, rounds: int
) -> dict[str, np.ndarray]:
    least = {name: np.full(len(queries), np.inf) for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            for i in range(len(queries)):
                began = time.thread_time()
                way.nearest(queries[i : i + 1], k)
                least[name][i] = min(least[name][i], time.thread_time() - began)
    return {name: times * 1e6 for name, times in least.items()}


def _recall(way: Remembered, x: FloatMatrix, queries: FloatMatrix, k: int) -> np.ndarray:
    """Return the recall of every query; equally similar rows are as good as each other."""
    found = []
    for query in queries:
        similarity = x @ query
        bar = np.partition(similarity, -k)[-k]
        found.append((similarity[way.nearest(query[None], k)[0]] >= bar - 1e-6).mean())
    return np.asarray(found)


def _insert_us(way: Remembered, more: FloatMatrix) -> float:
    """Return what a further row takes; where all rows are copied, a few tell."""
    some = more if isinstance(way, Linked) else more[:3]
    began = time.thread_time()
    for row in some:
        way = way.with_rows(row[None], np.zeros((1, 1), np.float32))
    return (time.thread_time() - began) * 1e6 / len(some)


def _bytes(way: Remembered) -> int:
    if isinstance(way, Linked):
        return way.graph.n_bytes
    if isinstance(way, Compared) and way.shortlist is not None:
        return way.x.nbytes + way.shortlist.reduced.nbytes
    return way.x.nbytes


def _told(way: Remembered) -> str:
    if isinstance(way, Linked):
        return f"ef {way.graph.ef}"
    if isinstance(way, Compared) and way.shortlist is not None:
        return f"{len(way.shortlist.axes)} axes, {way.shortlist.n_candidates} candidates"
    return "all"


if __name__ == "__main__":
    main()
