"""What the strategy `tasks` gains on tasks that it has not seen, and loses on those that it has.

Every benchmark of LLMRouter's nine models is left out once, and everything is fitted on the others,
the weight of profiles included; then five splits in which all are known. Requests say what they
are for by the sentences below, as an application's system prompt would, or not at all.
"""

import argparse
import os

for _variable in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np
from public_data import DATA

from routers.data.dataset import OutcomeTable, read_outcomes
from routers.embedders.static import StaticEmbedder
from routers.features.featurizer import Featurizer
from routers.options import build
from routers.request.task_vectors import TASK_COLUMNS
from routers.strategies.tasks import TasksRouter

DESCRIPTIONS = {
    "agentverse-logicgrid": "Logic grid puzzles: from clues about houses in a row, work out which "
    "house somebody lives in.",
    "arc_challenge": "Grade-school science questions with multiple choice answers.",
    "commongen": "Write a coherent sentence or paragraph that uses all of the given concepts.",
    "commonsense_qa": "Common sense questions about everyday life with multiple choice answers.",
    "gpqa": "Very hard graduate-level questions in biology, physics and chemistry written by "
    "experts.",
    "gsm8k": "Grade-school maths word problems; reason step by step and give a number.",
    "human_eval": "Complete a Python function from its signature and docstring.",
    "math": "Competition mathematics problems: algebra, geometry, number theory, probability.",
    "mbpp": "Write a short Python function for a described basic programming task; it is tested.",
    "mmlu": "Multiple choice exam questions about a passage or academic subject.",
    "natural_qa": "Short factual questions that people type into a search engine, answered from "
    "Wikipedia.",
    "openbook_qa": "Elementary science questions that need facts and reasoning, with multiple "
    "choice answers.",
    "trivia_qa": "Trivia quiz questions; answer with a short fact.",
}
BLOCKS = ("task", "embedding", "lexical")
SPLITS = 5
HELD_OUT = 4

Fold = tuple[int, np.ndarray, np.ndarray]
"""A seed, and the rows that are learned and judged."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Queries:
    """Queries, what every model made of them, and what they are for."""

    table: OutcomeTable
    x: np.ndarray
    names: np.ndarray
    length_column: int | None

    @classmethod
    def of(cls, table: OutcomeTable, names: np.ndarray, *, described: bool) -> "Queries":
        """Make their features."""
        conversations = [
            replace(each, task=DESCRIPTIONS[name]) if described else each
            for each, name in zip(table.conversations, names, strict=True)
        ]
        featurizer = Featurizer(StaticEmbedder(), BLOCKS).fit(conversations)
        x = featurizer.transform(conversations)
        return cls(table=table, x=x, names=names, length_column=featurizer.length_column)


def main() -> None:
    """Print a line for each way to say what a request is for, and each kind of fold."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--base", default="guarded-knn", help="the router of queries")
    base = parser.parse_args().base
    table = read_outcomes([DATA / "llmrouter9.parquet"])
    names = np.array([group.split("/")[1] for group in table.groups])
    for described in (True, False):
        queries = Queries.of(table, names, described=described)
        for folds, title in ((left_out(names), "left out"), (splits(len(names)), "known")):
            said = "described" if described else "prompts alone"
            print(said, title, mean_of(judged(queries, fold, base) for fold in folds), flush=True)


def left_out(names: np.ndarray) -> Iterator[Fold]:
    """Yield a fold for every task: all others, and it."""
    for name in np.unique(names):
        yield 0, np.flatnonzero(names != name), np.flatnonzero(names == name)


def splits(n: int) -> Iterator[Fold]:
    """Yield folds with a quarter of the queries held back."""
    for seed in range(SPLITS):
        held = np.random.default_rng(seed).random(n) < 1 / HELD_OUT
        yield seed, np.flatnonzero(~held), np.flatnonzero(held)


def judged(queries: Queries, fold: Fold, base: str) -> dict[str, float]:
    """Return the quality of whom a router predicts to be best, and of others, on held-back rows."""
    seed, train, test = fold
    router = build(TasksRouter, {"base": {"strategy": base}}, noun="strategy 'tasks'")
    router.fit(
        queries.x[train],
        queries.table.labels.rows(train),
        rng=np.random.default_rng(seed),
        length_column=queries.length_column,
    )
    quality, at = queries.table.quality[test], np.arange(len(test))
    predicted = router.predict(queries.x[test])
    best = predicted.quality.argmax(axis=1)
    alone = router.base_.predict(queries.x[test, TASK_COLUMNS:]).quality.argmax(axis=1)
    share = np.bincount(best, minlength=quality.shape[1]) / len(best)
    task = predicted.categories.first
    right = np.array(router.model_.names_)[task] == queries.names[test]
    return {
        "tasks": float(quality[at, best].mean()),
        "base alone": float(quality[at, alone].mean()),
        "the same shares by chance": float(quality.mean(axis=0) @ share),
        "best single": float(quality[:, queries.table.quality[train].mean(axis=0).argmax()].mean()),
        "told a task": float((task >= 0).mean()),
        "right of those": float(right[task >= 0].mean()) if (task >= 0).any() else float("nan"),
        "weight": router.weight_,
    }


def mean_of(found: Iterable[dict[str, float]]) -> dict[str, float]:
    """Return the means of some folds."""
    rows = list(found)
    return {key: round(float(np.nanmean([each[key] for each in rows])), 4) for key in rows[0]}


if __name__ == "__main__":
    main()
