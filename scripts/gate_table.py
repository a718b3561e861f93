"""Judge the default recipe by the gate on every public set, and put the tables into the docs.

    python scripts/gate_table.py [--sets NAME,...] [--splits 5] [--folds 2] [--rows N] [--write]

Reads the wide parquet files of STEELYARD_DATA_DIR (default: ../shared/data beside the
repository), adds what it measures to docs/benchmarks/gate.json, and prints tables; a set that the
file has with as many splits and rows is not measured again. `--tables` only prints, `--write` puts
the tables into docs/benchmarks/gate.md. With `--keep FOLDER` every split is kept there as it is
done, and a run that was broken off goes on.

In each split the queries fall into folds anew; every query is predicted by the recipe fitted on the
other folds, and so by every baseline. The gate averages the splits query by query and resamples
prompts. The block `difficulty` has seen these sets and is left out.
"""

import argparse
import json
import math
import os
import pickle
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

for _variable in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")

import numpy as np
import pyarrow.parquet as pq
from public_data import DATA, OUTCOMES

from routers.evaluation import baselines
from routers.evaluation.bootstrap import Interval
from routers.gate.trial import Trial, try_recipe
from routers.gate.verdict import Area, pooled_areas, weigh
from routers.training.recipe import Recipe

_FOLDER = Path(__file__).resolve().parents[1] / "docs" / "benchmarks"
_TARGET, _PAGE = _FOLDER / "gate.json", _FOLDER / "gate.md"
_BEGIN, _END = "<!-- tables: scripts/gate_table.py --write -->", "<!-- end of tables -->"
_ALL_SETS = (*OUTCOMES, "routellm_mtbench")
_BLOCKS = ("embedding", "lexical", "terms")

_SMALL = [0.2, 0.2]
_PRICES: Mapping[str, Sequence[float]] = {
    # RouteLLM: list prices of 2024, as RouterBench has them.
    "gpt-4-1106-preview": [10.0, 30.0],
    "mixtral-8x7b-instruct-v0.1": [0.6, 0.6],
    # LLMRouter: its own default_llm.json (ulab-uiuc/LLMRouter ebdba864).
    "codegemma-7b": _SMALL,
    "gemma-2-9b-it": [0.1, 0.1],
    "llama-3.1-8b-instruct": _SMALL,
    "llama3-chatqa-1.5-8b": _SMALL,
    "mistral-7b-instruct-v0.3": _SMALL,
    "qwen2.5-7b-instruct": _SMALL,
    "llama-3.1-nemotron-51b-instruct": [0.9, 0.9],
    "llama-3.3-nemotron-super-49b-v1": [0.9, 0.9],
    "llama3-chatqa-1.5-70b": [0.9, 0.9],
    # RouterDC: seven models of 7 and 8 billion parameters, which cost the same.
    "mistralai/Mistral-7B-v0.1": _SMALL,
    "meta-math/MetaMath-Mistral-7B": _SMALL,
    "itpossible/Chinese-Mistral-7B-v0.1": _SMALL,
    "HuggingFaceH4/zephyr-7b-beta": _SMALL,
    "cognitivecomputations/dolphin-2.6-mistral-7b": _SMALL,
    "meta-llama/Meta-Llama-3-8B": _SMALL,
    "cognitivecomputations/dolphin-2.9-llama3-8b": _SMALL,
}
"""US dollars per million tokens of models whose costs the files do not record."""

_SHOWN = {
    baselines.ZERO: "mixing",
    baselines.SHUFFLE: "own mix, shuffled",
    baselines.PROMPT_LENGTH: "prompt length",
    baselines.KNN: "kNN",
    baselines.GUARDED_KNN: "guarded kNN",
}


def main() -> None:
    """Measure what is missing and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sets", default=",".join(_ALL_SETS))
    parser.add_argument("--splits", type=int, default=5)
    parser.add_argument("--folds", type=int, default=2, help="parts that a split has")
    parser.add_argument("--rows", type=int, help="queries of a set, at most; without it all")
    parser.add_argument("--keep", type=Path, help="folder for finished splits")
    parser.add_argument("--tables", action="store_true", help="print what is measured, no more")
    parser.add_argument("--write", action="store_true", help="put the tables into the page")
    options = parser.parse_args()
    results: dict[str, Any] = json.loads(_TARGET.read_text()) if _TARGET.exists() else {}
    names = options.sets.split(",")
    for name in [] if options.tables else names:
        n_rows = pq.read_metadata(DATA / f"{name}.parquet").num_rows
        n_rows = min(n_rows, options.rows or n_rows)
        have = results.get(name, {})
        if have.get("n_splits", 0) >= options.splits and have.get("n_rows", 0) >= n_rows:
            continue
        trials = [
            _trial(name, n_rows, options.folds, seed, options.keep)
            for seed in range(options.splits)
        ]
        results[name] = {"n_rows": n_rows, "n_folds": options.folds, **_measured(trials)}
        print(name, results[name]["verdict"], file=sys.stderr, flush=True)
        _TARGET.write_text(json.dumps(results, indent=1, sort_keys=True) + "\n")
    tables = _tables({name: results[name] for name in _ALL_SETS if name in results})
    print(tables)
    if options.write:
        before, _, rest = _PAGE.read_text().partition(_BEGIN)
        _PAGE.write_text(f"{before}{_BEGIN}\n\n{tables}\n{_END}{rest.partition(_END)[2]}")


def _trial(name: str, n_rows: int, n_folds: int, seed: int, keep: Path | None) -> Trial:
    """Try the default recipe on one split of a set, or of `n_rows` of it at random."""
    kept = None if keep is None else keep / f"{name}-{n_rows}-{n_folds}-{seed}.pickle"
    if kept is not None and kept.exists():
        found: Trial = pickle.loads(kept.read_bytes())  # noqa: S301  (this script wrote it)
        return found
    table = pq.read_table(DATA / f"{name}.parquet")
    rows = np.sort(np.random.default_rng(0).permutation(len(table))[:n_rows])
    recipe = Recipe(blocks=_BLOCKS, seed=seed, calibration_folds=n_folds)
    with tempfile.TemporaryDirectory() as folder:
        prices, data = Path(folder) / "prices.json", Path(folder) / f"{name}.parquet"
        prices.write_text(json.dumps(_PRICES))
        pq.write_table(table.take(rows), data)
        trial = try_recipe(recipe, [data], prices_file=prices)
    if kept is not None:
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept.write_bytes(pickle.dumps(trial))
    return trial


def _measured(trials: Sequence[Trial]) -> dict[str, Any]:
    """Return what the gate says of all splits together, as plain values."""
    judgement, areas = weigh(trials), pooled_areas(trials)
    alone = [pooled_areas([trial]) for trial in trials]
    mine, zero = baselines.CANDIDATE, baselines.ZERO
    return {
        "n_queries": len(trials[0].frame.rows),
        "n_models": len(trials[0].frame.rows.models),
        "n_splits": len(trials),
        "abstaining": float(np.mean([each.n_abstaining / each.n_crossed for each in trials])),
        "verdict": judgement.verdict.value,
        "reason": judgement.reason,
        "checks": [check.to_dict() for check in judgement.checks],
        "areas": {name: area[0] for name, area in areas.items()},
        "over_mixing": {
            name: _over(area, areas[zero]) for name, area in areas.items() if name != zero
        },
        "ahead_in": {
            name: sum(each[mine][0] > each[name][0] for each in alone)
            for name in areas
            if name != mine
        },
    }


def _over(area: Area, other: Area) -> dict[str, Any]:
    return Interval.of(area[0] - other[0], area[1] - other[1]).to_dict()


def _tables(results: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the tables of the page: verdicts, what can be won, and what could be seen."""
    lines = [
        "### The default, above each baseline",
        "",
        "| set | queries x models | verdict | " + " | ".join(_SHOWN.values()) + " | best single |",
        "|---|---|---|" + "---|" * (len(_SHOWN) + 1),
    ]
    for name, found in results.items():
        checks = {check["name"]: check for check in found["checks"]}
        single = next((c for key, c in checks.items() if key.startswith("best single")), None)
        cells = [_cell(checks, key, found) for key in _SHOWN]
        of = "" if found["n_queries"] >= 0.99 * _size(name, found) else f" of {_size(name, found)}"
        lines.append(
            f"| {name} | {found['n_queries']}{of} x {found['n_models']} | **{found['verdict']}** | "
            f"{' | '.join(cells)} | {_single(single)} |"
        )
    lines += [
        "",
        "### What could be won, above mixing single models",
        "",
        "| set | default | abstains on | told the label | kNN | guarded kNN | prompt length |",
        "|---|---|---|---|---|---|---|",
    ]
    keys = (baselines.LABEL, baselines.KNN, baselines.GUARDED_KNN, baselines.PROMPT_LENGTH)
    for name, found in results.items():
        over = found["over_mixing"]
        told = [_interval(over[key]) if key in over else "one label" for key in keys]
        lines.append(
            f"| {name} | {_interval(over[baselines.CANDIDATE])} | {found['abstaining']:.0%} | "
            f"{' | '.join(told)} |"
        )
    lines += [
        "",
        "### What is not decided, and what would decide it",
        "",
        "| set | check | difference | seen in 4 of 5 | queries to see this difference |",
        "|---|---|---|---|---|",
    ]
    for name, found in results.items():
        lines += [
            f"| {name} | {check['name']} | {check['interval']['value']:+.4f} | "
            f"{check['detectable']:.4f} | {_needed(check, found['n_queries'])} |"
            for check in found["checks"]
            if check["verdict"] == "not decided" and check["interval"] is not None
        ]
    reasons = [
        f"- {name}: {found['verdict']}; {found['reason']}." for name, found in results.items()
    ]
    return "\n".join([*lines, "", *reasons, ""])


def _size(name: str, found: Mapping[str, Any]) -> int:
    file = DATA / f"{name}.parquet"
    return int(pq.read_metadata(file).num_rows) if file.exists() else int(found["n_rows"])


def _cell(checks: Mapping[str, Mapping[str, Any]], key: str, found: Mapping[str, Any]) -> str:
    check = checks.get(key)
    if check is None:
        return ""
    ahead = f"{found['ahead_in'][key]}/{found['n_splits']}"
    return f"{_interval(check['interval'])}, {ahead}, {check['verdict']}"


def _single(check: Mapping[str, Any] | None) -> str:
    if check is None:
        return ""
    what, _, _ = check["finding"].partition(" its quality differs by ")
    return f"{what.partition(' of the cost')[0]} of its cost: {_interval(check['interval'])}"


def _interval(found: Mapping[str, float]) -> str:
    return f"{found['value']:+.4f} [{found['low']:+.4f}, {found['high']:+.4f}]"


def _needed(check: Mapping[str, Any], n_queries: int) -> str:
    """Say how many queries would show a difference of this size with 80 % power."""
    difference = abs(check["interval"]["value"])
    if difference < 0.001:
        return "none to see"
    ratio = check["detectable"] / difference
    return f"{math.ceil(n_queries * ratio**2 / 100) * 100:,}"


if __name__ == "__main__":
    main()
