"""Measure routers on held-out prompts of public outcome data, over several splits.

    python scripts/routing_benchmark.py [--sets NAME,...] [--seeds 5] [--auxiliary-seeds 1]

Reads the wide parquet files of STEELYARD_DATA_DIR (default: ../shared/data beside the
repository), writes docs/benchmarks/routing.json and prints tables.
A split holds back a quarter of the prompts (near-duplicates stay together); nothing is tuned on
what is held back. Costs are those that were recorded; the routers see only their own estimates.
"""

import argparse
import json
import os
import statistics
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

for _variable in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")

import numpy as np

from routers.base import ROUTERS, AuxiliarySet, Labels
from routers.embedders.static import StaticEmbedder
from routers.evaluation.metrics import area_under_hull, curve, match_cost, single_models
from routers.features import Featurizer
from routers.options import build
from routers.training.crossfit import normalised, prompt_folds
from routers.training.dataset import OutcomeTable, read_outcomes
from routers.training.prices import find_prices

_ROOT = Path(__file__).resolve().parents[1]
_DATA = Path(os.environ.get("STEELYARD_DATA_DIR", _ROOT.parent / "shared" / "data"))
_PAIR = ("gpt-4-1106-preview", "mixtral-8x7b-instruct-v0.1")
_SETS = (
    "routellm_mmlu",
    "routerbench",
    "mmlupro_tiger",
    "mmlupro_carrot",
    "zeroeval",
    "alpaca_eval",
    "routerdc7",
)
_AUXILIARY = (*_SETS, "llmrouter9")
_COMMON = 8
"""Queries that a subject needs to count as a label of its own."""

_BLOCKS = ("embedding", "lexical", "terms")
_PLAIN = ("embedding", "lexical")

# Name → feature blocks, strategy options, whether the other sets are learned along.
_ROUTERS: Mapping[str, tuple[tuple[str, ...], dict[str, Any], bool]] = {
    "knn100": (_PLAIN, {"quality_head": {"kind": "knn"}, "domains": False}, False),
    "linear": (_PLAIN, {"quality_head": {"kind": "linear"}, "domains": False}, False),
    "mlp, embedding + lexical": (_PLAIN, {"domains": False}, False),
    "mlp + terms": (_BLOCKS, {"domains": False}, False),
    "mlp + terms + domains (default)": (_BLOCKS, {}, False),
    "default, with --aux": (_BLOCKS, {}, True),
}


def main() -> None:
    """Run every router on every set and split."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sets", default=",".join(_SETS))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--auxiliary-seeds", type=int, default=1)
    options = parser.parse_args()
    target = _ROOT / "docs" / "benchmarks" / "routing.json"
    target.parent.mkdir(parents=True, exist_ok=True)
    results: dict[str, Any] = json.loads(target.read_text()) if target.exists() else {}
    for name in options.sets.split(","):
        table = read_outcomes([_DATA / f"{name}.parquet"])
        rows: dict[str, list[dict[str, float | None]]] = {}
        for seed in range(options.seeds):
            for router, (blocks, strategy, auxiliary) in _ROUTERS.items():
                if auxiliary and seed >= options.auxiliary_seeds:
                    continue
                began = time.perf_counter()
                measured = _run(name, table, seed, blocks, strategy, auxiliary=auxiliary)
                measured["fit_s"] = time.perf_counter() - began
                rows.setdefault(router, []).append(measured)
        results[name] = rows
        target.write_text(json.dumps(results, indent=1) + "\n")
        _print(name, rows)


def _run(
    name: str,
    table: OutcomeTable,
    seed: int,
    blocks: tuple[str, ...],
    strategy: Mapping[str, Any],
    *,
    auxiliary: bool,
) -> dict[str, float | None]:
    folds = prompt_folds(table.conversations, 4, np.random.default_rng(seed))
    train, test = np.flatnonzero(folds != 0), np.flatnonzero(folds == 0)
    conversations = list(table.conversations)
    featurizer = Featurizer(StaticEmbedder(), blocks).fit([conversations[i] for i in train])
    x = featurizer.transform(conversations)
    asked = {normalised(conversations[i]) for i in test}
    sets = [
        _other(_DATA / f"{other}.parquet", featurizer, asked)
        for other in (_AUXILIARY if auxiliary else ())
        if other != name
    ]
    router = build(ROUTERS.get("carrot"), strategy, noun="strategy")
    router.fit(x[train], table.labels.rows(train), rng=np.random.default_rng(seed), auxiliary=sets)
    predictions = router.predict(x[test])
    return _measure(table, predictions, train, test)


def _other(path: Path, featurizer: Featurizer, asked: set[str]) -> AuxiliarySet:
    table = read_outcomes([path])
    rows = np.flatnonzero([normalised(each) not in asked for each in table.conversations])
    x = featurizer.transform([table.conversations[i] for i in rows])
    labels: Labels = table.labels.rows(rows)
    return AuxiliarySet(x=x, labels=labels)


def _measure(
    table: OutcomeTable, predictions: Any, train: np.ndarray, test: np.ndarray
) -> dict[str, float | None]:
    quality = table.quality[test]
    known = ~np.isnan(quality).any(axis=1)
    quality, predicted = quality[known], predictions.quality[known]
    measured = {"squared_error": float(((predicted - quality) ** 2).mean())}
    groups = np.array(["/".join(g.split("/")[:2]) for g in table.groups])
    named = np.array(table.groups)
    common = {name for name, n in Counter(named[train]).items() if n >= _COMMON}
    labels = np.array(
        [name if name in common else g for name, g in zip(named, groups, strict=True)]
    )
    by_domain = _domain_means(table, train, labels)[test[known]]
    if set(table.models) == set(_PAIR):
        strong, weak = (table.models.index(model) for model in _PAIR)
        gain = predicted[:, strong] - predicted[:, weak]
        measured["apgr"] = _apgr(gain, quality[:, strong], quality[:, weak])
        return measured
    rows = np.arange(len(quality))
    if np.isnan(table.cost_usd).all():
        own = groups[test][known]
        for key, picks in (("accuracy", predicted.argmax(1)), ("label", by_domain.argmax(1))):
            score = quality[rows, picks]
            measured[key] = float(np.mean([score[own == g].mean() for g in sorted(set(own))]))
        return measured
    cost = table.cost_usd[test][known]
    prices = find_prices(table, None).prices
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
    for key, values in (("aiq", predicted), ("aiq_label", by_domain)):
        points = curve(values, expected, quality, cost)
        measured[key] = area_under_hull(*points, low=low, high=high)
        if key == "aiq":
            cheapest = match_cost(*points, target=float(singles[1][best]))
            share = float(cheapest / singles[0][best])
            measured["match_share"] = share if np.isfinite(share) else None
    measured["aiq_zero"] = area_under_hull(*singles, low=low, high=high)
    return measured


def _domain_means(table: OutcomeTable, train: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Predict every query at the training mean of its benchmark: the label router."""
    overall = np.nanmean(table.quality[train], axis=0)
    out = np.tile(overall, (len(groups), 1))
    for group in set(groups[train]):
        rows = train[groups[train] == group]
        means = np.nanmean(table.quality[rows], axis=0)
        out[groups == group] = np.where(np.isnan(means), overall, means)
    return out


def _apgr(score: np.ndarray, strong: np.ndarray, weak: np.ndarray) -> float:
    order = np.argsort(-score, kind="stable")
    gained = np.concatenate([[0.0], np.cumsum((strong - weak)[order])]) / len(order)
    recovered = gained / (strong.mean() - weak.mean())
    return float(np.trapezoid(recovered, np.linspace(0, 1, len(recovered))))


def _print(name: str, rows: Mapping[str, Sequence[Mapping[str, float | None]]]) -> None:
    columns = [key for key in next(iter(rows.values()))[0] if key != "fit_s"]
    print(f"\n### {name}\n\n| router | splits | {' | '.join(columns)} | fit, s |")
    print("|---|---|" + "---|" * (len(columns) + 1))
    for router, measured in rows.items():
        cells = []
        for key in columns:
            values = np.array([each[key] for each in measured], dtype=float)
            missed = int(np.isnan(values).sum())
            if missed:
                cells.append(f"never in {missed} of {len(values)}")
                continue
            spread = values.std(ddof=1) if len(values) > 1 else 0.0
            cells.append(f"{values.mean():.4f} ± {spread:.4f}")
        seconds = statistics.mean(each["fit_s"] or 0.0 for each in measured)
        print(f"| {router} | {len(measured)} | {' | '.join(cells)} | {seconds:.0f} |", flush=True)


if __name__ == "__main__":
    main()
