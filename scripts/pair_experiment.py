"""Measure what routers of two models learn from augmented battles, and what they keep elsewhere.

    python scripts/pair_experiment.py augmentation|transfer|drop [--seeds 5] [--routers NAME,...]

Reads the wide parquet files of STEELYARD_DATA_DIR (default: ../shared/data beside the
repository), and prints tables for docs/routers/routellm.md and hybrid.md.

`augmentation`: battles stand in for an arena's (RouterBench's outcomes of eleven models, ten
random pairs a prompt), a judge's (AlpacaEval: GPT-4 Turbo, every model against gpt-4-1106-preview)
and graded answers (1,500 of MMLU, gpt-4-1106-preview and Mixtral); APGR on the quarter of MMLU held
back, and on MT-Bench. `transfer`: trained on one pair of TIGER's models, asked about others.
`drop`: the threshold for an allowed drop of the mean, and the guaranteed one, chosen on half of the
held-back rows of MMLU and looked at on the other.
"""

import argparse
import itertools
import json
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
from public_data import DATA

from routers.base import ROUTERS, Labels
from routers.data.dataset import OutcomeTable, read_outcomes
from routers.decision.pairwise import strong_scores
from routers.embedders.static import StaticEmbedder
from routers.evaluation.pair import apgr, gap_curve
from routers.features.featurizer import Featurizer
from routers.gate.bench import held_back
from routers.options import build
from routers.strategies._comparison import from_outcomes
from routers.training.drop import drop_threshold
from routers.training.guarantee import fixed_sequence_threshold
from routers.types import FloatMatrix

_STRONG, _WEAK = "gpt-4-1106-preview", "mixtral-8x7b-instruct-v0.1"
_N_GOLD = 1500
_SAME = {
    "gpt4_1106_preview": _STRONG,
    "mistralai/mixtral-8x7b-chat": _WEAK,
}
_RANKING = {
    "n_tiers": 10,
    "within_tiers": False,
    "n_nearest": None,
    "max_battles": None,
    "prior": 0,
}
_ROUTERS: Mapping[str, tuple[str, dict[str, Any]]] = {
    "mf": ("mf", {}),
    "mf (graded weigh ten)": ("mf", {"outcome_weight": 10}),
    "mf as published": ("mf", {"rank": 128, "ties": "drop"}),
    "sw-ranking": ("sw-ranking", {}),
    "sw-ranking as published": ("sw-ranking", _RANKING),
    "bert (frozen; ten tiers)": ("bert", {"n_tiers": 10}),
    "hybrid": ("hybrid", {}),
    "bert (frozen)": ("bert", {}),
}
_FROM_BATTLES = ("mf", "mf as published", "sw-ranking", "sw-ranking as published")
_PAIRS = (
    ("gemini-1.5-pro-002", "gemini-1.5-flash-002"),
    ("Meta-Llama-3_1-70B-Instruct", "Meta-Llama-3_1-8B-Instruct"),
    ("Qwen1.5-110B", "Qwen1.5-7B-Chat"),
    ("Mixtral-8x7B-Instruct-v0.1", "Mistral-7B-Instruct-v0.2"),
    ("Yi-34B", "Yi-6b-Chat"),
)
_PAIR_ROUTERS = ("hybrid", "mf")


def main() -> None:
    """Run one experiment."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("experiment", choices=["augmentation", "transfer", "drop"])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--routers", help="default: those that the experiment is about")
    options = parser.parse_args()
    names = None if options.routers is None else options.routers.split(",")
    experiments = {"augmentation": augmentation, "transfer": transfer, "drop": drop}
    for line in experiments[options.experiment](options.seeds, names):
        print(line, flush=True)


def _fitted(name: str, x: FloatMatrix, labels: Labels, seed: int) -> Any:
    kind, options = _ROUTERS[name]
    router = build(ROUTERS.get(kind), options, noun=name)
    return router.fit(x, labels, rng=np.random.default_rng(seed))


def _mean(values: Sequence[float]) -> str:
    spread = statistics.stdev(values) if len(values) > 1 else 0.0
    return f"{statistics.mean(values):.3f} ± {spread:.3f}"


# --- augmentation ---------------------------------------------------------------------------------


def augmentation(n_seeds: int, routers: Sequence[str] | None) -> Iterator[str]:
    """Yield APGR by what was learned from."""
    sets: Mapping[str, tuple[str, ...]] = {
        "battles alone": ("arena",),
        "battles + judge": ("arena", "judge"),
        "graded alone": ("gold",),
        "battles + graded": ("arena", "gold"),
        "battles + judge + graded": ("arena", "judge", "gold"),
    }
    mmlu, bench = (
        read_outcomes([DATA / f"routellm_{name}.parquet"]) for name in ("mmlu", "mtbench")
    )
    yield "| learned from | router | MMLU | MT-Bench |"
    yield "|---|---|---|---|"
    with tempfile.TemporaryDirectory() as folder:
        battles = {
            "arena": _battles(Path(folder) / "arena.jsonl", "routerbench", against=None),
            "judge": _battles(Path(folder) / "judge.jsonl", "alpaca_eval", against=_STRONG),
        }
        for name in routers or (*_FROM_BATTLES, "bert (frozen; ten tiers)"):
            for told, parts in sets.items():
                found: dict[str, list[float]] = {"mmlu": [], "bench": []}
                # What has no part of MMLU is learned once.
                for seed in range(n_seeds if "gold" in parts else 1):
                    files = [battles[part] for part in parts if part != "gold"]
                    if "gold" in parts:
                        files.append(_graded(Path(folder) / "gold.jsonl", mmlu, seed))
                    held = [seed] if "gold" in parts else range(n_seeds)
                    try:
                        on_mmlu, on_bench = _learn(name, files, (mmlu, bench), held=held)
                    except ValueError as error:
                        print(f"{name}: {told}: {error}", file=sys.stderr)
                        continue
                    found["mmlu"] += on_mmlu
                    found["bench"].append(on_bench)
                if found["mmlu"]:
                    cells = f"{_mean(found['mmlu'])} | {_mean(found['bench'])}"
                    yield f"| {told} | {name} | {cells} |"


def _learn(
    name: str,
    files: Sequence[Path],
    asked: tuple[OutcomeTable, OutcomeTable],
    *,
    held: Sequence[int],
) -> tuple[list[float], float]:
    """Return APGR on every held-back part of the first set, and on all of the second."""
    table = read_outcomes(files)
    featurizer = Featurizer(StaticEmbedder(), ("embedding",))
    featurizer.fit(list(table.conversations))
    x = featurizer.transform(list(table.conversations))
    router = _fitted(name, x, table.labels, held[0])
    columns = {"strong": table.models.index(_STRONG), "weak": table.models.index(_WEAK)}
    first, second = (
        strong_scores(router.predict(featurizer.transform(list(each.conversations))), **columns)
        for each in asked
    )
    parts = [held_back(asked[0], seed) for seed in held]
    everything = np.ones(len(asked[1]), bool)
    return (
        [_apgr(first[part], asked[0], part) for part in parts],
        _apgr(second, asked[1], everything),
    )


def _apgr(score: np.ndarray, table: OutcomeTable, rows: np.ndarray) -> float:
    strong, weak = (table.quality[rows, table.models.index(each)] for each in (_STRONG, _WEAK))
    return apgr(*gap_curve(score, weak, strong))


def _battles(path: Path, name: str, *, against: str | None) -> Path:
    """Write battles on a set: of random pairs, or of every model with one."""
    table = read_outcomes([DATA / f"{name}.parquet"])
    models = [_SAME.get(model, model) for model in table.models]
    quality = table.quality
    if against is None:
        drawn = from_outcomes(quality, pairs_per_query=10, rng=np.random.default_rng(0))
        rows = list(zip(drawn.row, drawn.a, drawn.b, drawn.outcome, strict=True))
    else:
        best = models.index(against)
        # A share of preferences over that model's answer: its own is one half.
        rows = [
            (i, column, best, 0.5 + np.sign(quality[i, column] - 0.5) / 2)
            for i, column in itertools.product(range(len(quality)), range(len(models)))
            if column != best and not np.isnan(quality[i, column])
        ]
    winners = {0.0: "model_b", 0.5: "tie", 1.0: "model_a"}
    prompts = [each.messages[-1].text for each in table.conversations]
    with path.open("w", encoding="utf-8") as file:
        for row, a, b, outcome in rows:
            names = {"model_a": models[a], "model_b": models[b]}
            line = {"prompt": prompts[row], **names, "winner": winners[float(outcome)]}
            file.write(json.dumps(line) + "\n")
    return path


def _graded(path: Path, table: OutcomeTable, seed: int) -> Path:
    """Write graded answers to prompts that are not held back."""
    rows = np.flatnonzero(~held_back(table, seed))
    rows = np.random.default_rng(seed).permutation(rows)[:_N_GOLD]
    with path.open("w", encoding="utf-8") as file:
        for row, (column, model) in itertools.product(rows.tolist(), enumerate(table.models)):
            text = table.conversations[row].messages[-1].text
            line = {"query_id": table.query_ids[row], "prompt": text, "model": model}
            file.write(json.dumps(line | {"quality": float(table.quality[row, column])}) + "\n")
    return path


# --- transfer -------------------------------------------------------------------------------------


def transfer(n_seeds: int, routers: Sequence[str] | None) -> Iterator[str]:
    """Yield APGR by the pair that was trained on (rows) and asked about (columns)."""
    table = read_outcomes([DATA / "mmlupro_tiger.parquet"])
    columns = [tuple(table.models.index(each) for each in pair) for pair in _PAIRS]
    used = sorted({column for pair in columns for column in pair})
    known = ~np.isnan(table.quality[:, used]).any(axis=1)
    gaps = [table.quality[known, strong] - table.quality[known, weak] for strong, weak in columns]
    yield "correlation of gaps: " + str(np.round(np.corrcoef(gaps), 2).tolist())
    featurizer = Featurizer(StaticEmbedder(), ("embedding", "lexical"))
    featurizer.fit(list(table.conversations))
    x = featurizer.transform(list(table.conversations))
    for name in routers or _PAIR_ROUTERS:
        areas = np.zeros((n_seeds, len(_PAIRS), len(_PAIRS)))
        for seed in range(n_seeds):
            test = held_back(table, seed) & known
            train = np.flatnonzero(~held_back(table, seed) & known)
            for i, pair in enumerate(columns):
                labels = Labels(models=_PAIRS[i], quality=table.quality[train][:, pair])
                router = _fitted(name, x[train], labels, seed)
                score = strong_scores(router.predict(x[test]), strong=0, weak=1)
                for j, (strong, weak) in enumerate(columns):
                    quality = table.quality[test]
                    areas[seed, i, j] = apgr(
                        *gap_curve(score, quality[:, weak], quality[:, strong])
                    )
        yield f"{name}: rows trained, columns asked"
        for i, pair in enumerate(_PAIRS):
            cells = [_mean(areas[:, i, j].tolist()) for j in range(len(_PAIRS))]
            yield f"| {pair[0]} | {' | '.join(cells)} |"


# --- drop -----------------------------------------------------------------------------------------


def drop(n_seeds: int, routers: Sequence[str] | None) -> Iterator[str]:
    """Yield cost advantage and drop, where the threshold was chosen and elsewhere."""
    table = read_outcomes([DATA / "routellm_mmlu.parquet"])
    strong, weak = (table.models.index(each) for each in (_STRONG, _WEAK))
    featurizer = Featurizer(StaticEmbedder(), ("embedding", "lexical"))
    featurizer.fit(list(table.conversations))
    x = featurizer.transform(list(table.conversations))
    heads = ("router", "rule", "limit", "small calls", "drop", "small calls elsewhere", "drop")
    yield f"| {' | '.join(heads)} |"
    yield "|---|---|---|---|---|---|---|"
    for name in routers or ("hybrid", "mf"):
        found: dict[tuple[str, float], list[tuple[float, float, float, float]]] = {}
        for seed in range(n_seeds):
            test = held_back(table, seed)
            train = np.flatnonzero(~test)
            labels = Labels(models=table.models, quality=table.quality[train])
            router = _fitted(name, x[train], labels, seed)
            rows = np.random.default_rng(seed).permutation(np.flatnonzero(test))
            score = strong_scores(router.predict(x[rows]), strong=strong, weak=weak)
            high, low = table.quality[rows, strong], table.quality[rows, weak]
            half = np.arange(len(rows)) < len(rows) // 2
            for limit in (0.01, 0.02, 0.05):
                chosen = (score[half], high[half], low[half])
                point = drop_threshold(*chosen, limit=limit)
                sure = fixed_sequence_threshold(
                    score[half], high[half] > low[half], limit=limit, confidence=0.9
                )
                for rule, threshold in (("max-drop", point), ("guaranteed", sure)):
                    cells = []
                    for part in (half, ~half):
                        kept = (score < (-1 if threshold is None else threshold))[part]
                        lost = np.where(kept, (high - low)[part], 0).mean() / high[part].mean()
                        cells += [float(kept.mean()), float(lost)]
                    found.setdefault((rule, limit), []).append(tuple(cells))  # type: ignore[arg-type]
        for (rule, limit), measured in found.items():
            means = np.mean(measured, axis=0)
            cells_told = " | ".join(f"{each:.1%}" for each in means)
            yield f"| {name} | {rule} | {limit:.0%} | {cells_told} |"


if __name__ == "__main__":
    main()
