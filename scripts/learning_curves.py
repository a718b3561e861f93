"""Measure how the default recipe grows with the data, beside mixing and prompt length.

    python scripts/learning_curves.py [--sets NAME,...] [--rows 50,150,400,1000,all] [--seeds 3]

Reads the wide parquet files of STEELYARD_DATA_DIR (default: ../shared/data beside the
repository), adds what it measures to docs/benchmarks/learning_curves.json, and prints a table;
what the file already has is not measured again. `--tables` only prints.

The held-back quarter of a split is the same for every number of rows, and fewer rows are some of
the more. `mixing` is what random mixing of single models reaches that were chosen on the held-back
rows themselves: a router of few rows cannot know these. `means` is the router that knows every
model's mean on its rows. The block `difficulty` has seen all sets and is left out.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from routing_benchmark import Split

_TARGET = Path(__file__).resolve().parents[1] / "docs" / "benchmarks" / "learning_curves.json"
_SETS = (
    "routerbench",
    "mmlupro_tiger",
    "mmlupro_carrot",
    "zeroeval",
    "alpaca_eval",
    "routellm_mmlu",
    "llmrouter9",
    "routerdc7",
)
_BLOCKS = ("embedding", "lexical", "terms")
_ROUTERS: Mapping[str, tuple[str, tuple[str, ...], Mapping[str, Any]]] = {
    "means": ("random-mix", ("embedding", "lexical"), {}),
    "prompt length": ("prompt-length", ("lexical",), {}),
    "default": ("carrot", _BLOCKS, {}),
}
_MIXING = {"aiq": "aiq_zero", "accuracy": "single"}


def main() -> None:
    """Measure what is missing and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sets", default=",".join(_SETS))
    parser.add_argument("--rows", default="50,150,400,1000,all")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--out", type=Path, default=_TARGET)
    parser.add_argument("--tables", action="store_true", help="print what is measured, no more")
    options = parser.parse_args()
    results: dict[str, Any] = json.loads(options.out.read_text()) if options.out.exists() else {}
    sets, sizes = options.sets.split(","), options.rows.split(",")
    if not options.tables:
        for seed in options.seeds.split(","):
            for rows in sizes:
                for name in sets:
                    _measure(results, name, rows, seed, options.out)
    _print(results, sets, sizes)


def _measure(results: dict[str, Any], name: str, rows: str, seed: str, out: Path) -> None:
    place = results.setdefault(name, {}).setdefault(rows, {})
    missing = [router for router in _ROUTERS if seed not in place.get(router, {})]
    if not missing:
        return
    split = Split(name, int(seed), None if rows == "all" else int(rows))
    for router in missing:
        strategy, blocks, options = _ROUTERS[router]
        began = time.process_time()
        found = split.measure(
            strategy, blocks, options, difficulty=False, auxiliary=False, label=False
        )
        measure = next(each for each in ("aiq", "apgr", "accuracy") if each in found)
        place.setdefault(router, {})[seed] = {
            "measure": measure,
            "value": found[measure],
            "mixing": found.get(_MIXING.get(measure, ""), 0.5),
            "squared_error": found["squared_error"],
            "fit_cpu_s": round(time.process_time() - began, 1),
        }
        print(name, rows, seed, router, place[router][seed], file=sys.stderr, flush=True)
    out.write_text(json.dumps(results, indent=1, sort_keys=True) + "\n")


def _print(results: Mapping[str, Any], sets: list[str], sizes: list[str]) -> None:
    print("| set, measure | rows | splits | mixing | " + " | ".join(_ROUTERS) + " | over both |")
    print("|---|---|---|---|" + "---|" * (len(_ROUTERS) + 1))
    for name in sets:
        for rows in sizes:
            by_router = results.get(name, {}).get(rows, {})
            if set(by_router) != set(_ROUTERS):
                continue
            seeds = sorted(set.intersection(*(set(each) for each in by_router.values())))
            if not seeds:
                continue
            first = by_router["default"][seeds[0]]
            mixing = statistics.mean(by_router["default"][seed]["mixing"] for seed in seeds)
            values = {
                router: [by_router[router][seed]["value"] for seed in seeds] for router in _ROUTERS
            }
            cells = [f"{statistics.mean(values[router]):.4f}" for router in _ROUTERS]
            print(
                f"| {name}, {first['measure'].upper()} | {rows} | {len(seeds)} | {mixing:.4f} | "
                + " | ".join(cells)
                + f" | {_over(values['default'], values['means'], values['prompt length'])} |"
            )


def _over(mine: Sequence[float], *others: Sequence[float]) -> str:
    """Return the mean over splits above the better of the others on average, and its range."""
    best = max(others, key=statistics.mean)
    above = [a - b for a, b in zip(mine, best, strict=True)]
    return f"{statistics.mean(above):+.4f} [{min(above):+.4f}, {max(above):+.4f}]"


if __name__ == "__main__":
    main()
