"""How well domains of prompts are told apart, and whether what is of none is left alone.

    python scripts/domains_experiment.py [--splits 5] [--blocks embedding,lexical,terms,characters]

Reads mmlupro_tiger and llmrouter9 of STEELYARD_DATA_DIR (default: ../shared/data beside the
repository): five domains (maths, health, science and law of MMLU-Pro, code of MBPP and HumanEval),
all else of MMLU-Pro as `other`. A quarter of the prompts is held back, near-duplicates on one side.
Prints for docs/routers/domains.md the F1 of every domain and their mean (macro-F1): among the
domains, with `other` as a class, and as `domains` serves them, where chance, nearness and novelty
decide too; and which share of the prompts of benchmarks that were not learned is `other`.
"""

import argparse
import os
import statistics

for _variable in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")

import numpy as np
from public_data import DATA
from sklearn.metrics import f1_score

from routers.data.dataset import OutcomeTable, read_outcomes
from routers.embedders.static import StaticEmbedder
from routers.evaluation.crossfit import prompt_folds
from routers.features.featurizer import Featurizer
from routers.gate.bench import FOLDS
from routers.strategies._category_model import CategoriesConfig, CategoryModel
from routers.strategies._category_names import OTHER, name_rows
from routers.strategies.domains import DomainsRouter

NAMES = {
    "maths": ["math"],
    "health": ["health"],
    "science": ["physics", "chemistry", "biology"],
    "law": ["law"],
    "code": ["mbpp", "human eval"],
}
_CODE = ("mbpp", "human_eval")
_UNSEEN_PROMPTS = 200
"""Of each benchmark that was not learned."""


def main() -> None:
    """Measure split by split, and print means and standard errors."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--splits", type=int, default=5)
    parser.add_argument("--blocks", default="embedding,lexical,terms,characters")
    options = parser.parse_args()
    exams, others = (
        read_outcomes([DATA / f"{s}.parquet"]) for s in ("mmlupro_tiger", "llmrouter9")
    )
    code = [i for i, group in enumerate(others.groups) if _benchmark(group) in _CODE]
    conversations = [*exams.conversations, *(others.conversations[i] for i in code)]
    groups = [*exams.groups, *(others.groups[i] for i in code)]
    truth = np.array(name_rows(groups, NAMES, benchmark=False))
    strange = _strange(others)
    found: dict[str, list[float]] = {}
    for seed in range(options.splits):
        rng = np.random.default_rng(seed)
        test = prompt_folds(conversations, FOLDS, rng) == 0
        featurizer = Featurizer(StaticEmbedder(), tuple(options.blocks.split(",")))
        featurizer.fit([conversations[i] for i in np.flatnonzero(~test)])
        x = featurizer.transform(conversations)
        served = DomainsRouter()
        model, _ = CategoryModel(
            config=CategoriesConfig.model_validate({"from": "labels", "names": NAMES}),
            uncertain_below=served.uncertain_below,
            mixed_from=served.mixed_from,
        ).fit(
            x[~test],
            [groups[i] for i in np.flatnonzero(~test)],
            np.zeros((int((~test).sum()), 2), np.float32),
            rng=rng,
        )
        told = _told(model, x[test], truth[test])
        for benchmark, rows in strange.items():
            asked = featurizer.transform([others.conversations[i] for i in rows])
            told[f"{benchmark} (unseen) is {OTHER}"] = float(
                (model.identify(asked).first < 0).mean()
            )
        for name, value in told.items():
            found.setdefault(name, []).append(value)
        print(f"split {seed}: {told['with other']:.4f}", flush=True)
    print("\n| | mean ± standard error |\n|---|---|")
    for name, values in found.items():
        error = statistics.stdev(values) / len(values) ** 0.5 if len(values) > 1 else 0.0
        print(f"| {name} | {statistics.mean(values):.4f} ± {error:.4f} |")


def _told(model: CategoryModel, x: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    names = np.array([*model.names_, OTHER])
    chances = model.chances(x)
    likeliest = names[chances.argmax(axis=1)]
    within = truth != OTHER
    domain = names[chances[:, :-1].argmax(axis=1)]
    served = names[model.identify(x).first]  # -1 is the last, `other`
    by_name = f1_score(truth, likeliest, average=None, labels=names)
    return {
        "among the domains": float(f1_score(truth[within], domain[within], average="macro")),
        "with other": float(f1_score(truth, likeliest, average="macro")),
        **{f"with other: {name}": float(f) for name, f in zip(names, by_name, strict=True)},
        "as served": float(f1_score(truth, served, average="macro")),
    }


def _strange(others: OutcomeTable) -> dict[str, list[int]]:
    rows: dict[str, list[int]] = {}
    for i, group in enumerate(others.groups):
        rows.setdefault(_benchmark(group), []).append(i)
    return {name: at[:_UNSEEN_PROMPTS] for name, at in rows.items() if name not in _CODE}


def _benchmark(group: str) -> str:
    return group.split("/")[1]


if __name__ == "__main__":
    main()
