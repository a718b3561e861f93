"""Fit recipes with a workflow on recorded answers, and replay them on prompts held back.

    python scripts/workflow_benchmark.py --set zeroeval --recipes cascade,frugal-gpt [--splits 5]
        [--first-split 0] [--prompts N] [--options '{"agreement": false}'] [--json FILE]

Reads NAME.parquet of STEELYARD_DATA_DIR (default: ../shared/data beside the repository) and
NAME_answers.parquet of STEELYARD_ANSWERS_DIR (default: `answers` beside that folder). Prints a
table for docs/routers/cascade-routing.md and frugal-gpt.md: mean ± standard deviation over splits,
then every split. A split holds back a quarter of the prompts, near-duplicates on one side; it is
what `steelyard fit` and `steelyard replay` make of the two parts, at the 21 positions of the knob.
"""

import argparse
import json
import math
import os
import statistics
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

for _variable in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from public_data import DATA

from routers.artifact.load import load_artifact
from routers.data.dataset import read_outcomes
from routers.evaluation.metrics import area_under_hull, hull
from routers.evaluation.policy import Policy, replay
from routers.evaluation.policy_report import report
from routers.gate.bench import held_back
from routers.training.fit import fit
from routers.training.recipe import Recipe, find_recipe

_ANSWERS = Path(os.environ.get("STEELYARD_ANSWERS_DIR", DATA.parent / "answers"))
_KNOB = tuple(round(0.05 * step, 2) for step in range(21))
_COLUMNS = {
    "ships": "workflow ships",
    "aiq": "aiq",
    "single": "aiq, single choice",
    "mix": "aiq, mixing single models",
    "best": "best quality over the best single model",
    "best_1.1": "the same at 1.1 times its cost",
    "cost_98": "cost of 98 % of its quality, of its cost",
    "cost_98_single": "the same of single choice",
    "cost_100": "cost of its quality, of its cost",
    "cost_100_single": "the same of single choice",
    "half": "quality at half of its cost, of its quality",
    "knob": "a position's share of the gap, off by at most",
}


def main() -> None:
    """Measure recipes split by split."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--set", dest="name", default="zeroeval")
    parser.add_argument("--recipes", default="cascade,frugal-gpt")
    parser.add_argument("--splits", type=int, default=5)
    parser.add_argument("--first-split", type=int, default=0)
    parser.add_argument("--prompts", type=int, help="at most so many of the set, at random")
    parser.add_argument("--options", type=json.loads, default={}, help="of the workflow, as JSON")
    parser.add_argument("--json", type=Path, help="a file for every split's figures")
    options = parser.parse_args()
    found: dict[str, list[dict[str, float]]] = {}
    for recipe in options.recipes.split(","):
        for seed in range(options.first_split, options.first_split + options.splits):
            measured = _measure(options.name, recipe, options.options, seed, options.prompts)
            found.setdefault(recipe, []).append(measured)
            print(recipe, seed, measured, file=sys.stderr, flush=True)
            if options.json is not None:
                options.json.write_text(json.dumps(found, indent=1) + "\n")
    for line in lines(found):
        print(line)


def lines(found: Mapping[str, Sequence[Mapping[str, float]]]) -> Iterator[str]:
    """Yield a table of every recipe: mean, standard deviation and each split."""
    for recipe, splits in found.items():
        yield from ("", f"| {recipe} | mean ± standard deviation | each |", "|---|---|---|")
        for key, title in _COLUMNS.items():
            values = [split[key] for split in splits]
            every = ", ".join("never" if math.isnan(each) else f"{each:.3f}" for each in values)
            yield f"| {title} | {_mean(values)} | {every} |"


def _mean(values: Sequence[float]) -> str:
    missed = sum(math.isnan(each) for each in values)
    if missed:
        return f"never in {missed} of {len(values)}"
    spread = f" ± {statistics.stdev(values):.3f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.3f}{spread}"


def _measure(
    name: str, recipe: str, workflow: Mapping[str, Any], seed: int, n_prompts: int | None
) -> dict[str, float]:
    """Return what a recipe reaches on one split."""
    outcomes, answers = DATA / f"{name}.parquet", _ANSWERS / f"{name}_answers.parquet"
    table = read_outcomes([outcomes])
    test, used = held_back(table, seed), np.ones(len(table), bool)
    if n_prompts is not None and n_prompts < len(table):
        used[np.random.default_rng(seed).permutation(len(table))[n_prompts:]] = False
    with tempfile.TemporaryDirectory() as folder:
        parts = [Path(folder, part) for part in ("train.parquet", "heldout.parquet")]
        rows = pq.read_table(outcomes)
        for part, wanted in zip(parts, (~test & used, test & used), strict=True):
            pq.write_table(rows.filter(pa.array(wanted)), part)
        artifact = Path(folder, "artifact")
        fit(
            parts[:1],
            artifact,
            recipe=_recipe(recipe, workflow, seed),
            created_at="1970-01-01T00:00:00Z",
            steelyard_version="0",
            answers=[answers],
            progress=lambda line: print(f"  {line}", file=sys.stderr, flush=True),
        )
        loaded = load_artifact(artifact)
        played = replay(
            Policy(artifact=loaded, workflow=loaded.workflow),
            parts[1:],
            [answers],
            cost_quality=_KNOB,
        )
        return _figures(report(played, n_draws=100), ships=loaded.workflow is not None)


def _figures(told: Mapping[str, Any], *, ships: bool) -> dict[str, float]:
    """Return what is told of a split; costs and qualities of 98 % and so on are on its own rows."""
    best, models, knob = told["best_single"], told["models"], told["positions"]
    single_cost = np.array([each["usd_per_1000"] for each in models])
    single_quality = np.array([each["quality"] for each in models])
    cost = np.array([each["usd_per_1000"] for each in knob])
    quality = np.array([each["quality"]["value"] for each in knob])
    dear = cost <= 1.1 * best["usd_per_1000"]
    shares = [each["share_of_gap"] for each in knob]
    near, far = told["cost_to_match"]
    settings = (
        np.append(cost, single_cost.min()),
        np.append(quality, single_quality[single_cost.argmin()]),
    )
    return {
        "ships": float(ships),
        "aiq": told["aiq"],
        "single": told["aiq_single_choice"],
        "mix": area_under_hull(
            single_cost, single_quality, low=single_cost.min(), high=single_cost.max()
        ),
        "best": quality.max() - best["quality"],
        "best_1.1": quality[dear].max() - best["quality"],
        "cost_98": _share(near["usd_per_1000"], best["usd_per_1000"]),
        "cost_98_single": _share(near["usd_per_1000_single_choice"], best["usd_per_1000"]),
        "cost_100": _share(far["usd_per_1000"], best["usd_per_1000"]),
        "cost_100_single": _share(far["usd_per_1000_single_choice"], best["usd_per_1000"]),
        "half": float(np.interp(best["usd_per_1000"] / 2, *hull(*settings)) / best["quality"]),
        "knob": max(
            (
                abs(share["value"] - each["cost_quality"])
                for share, each in zip(shares, knob, strict=True)
                if share is not None
            ),
            default=float("nan"),
        ),
    }


def _share(usd: float | None, of_usd: float) -> float:
    """Return a share of a cost; NaN where the quality was never reached."""
    return float("nan") if usd is None else usd / of_usd


def _recipe(name: str, workflow: Mapping[str, Any], seed: int) -> Recipe:
    recipe = find_recipe(Path(name))
    options = {**(recipe.workflow or {}), **workflow}
    return recipe.model_copy(update={"workflow": options, "seed": seed})


if __name__ == "__main__":
    main()
