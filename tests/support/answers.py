"""Outcomes and answers of multiple-choice questions: cheap models that agree are mostly right."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

LETTERS = np.array(list("ABCDEFGHIJ"))
SKILL = {"mini": 0.7, "small": 0.7, "large": 0.85}
USD = {"mini": 1e-5, "small": 2e-5, "large": 1e-3}
TOKENS = {"mini": 50.0, "small": 100.0, "large": 200.0}


def write_answered(folder: Path, *, n: int = 300, seed: int = 0) -> tuple[Path, Path]:
    """Write outcomes of three models, and apart from them what they answered; return both files.

    Models err independently of each other, and every wrong letter is as likely as another.
    """
    rng = np.random.default_rng(seed)
    right = rng.integers(0, len(LETTERS), n)
    ids = [f"q{i}" for i in range(n)]
    outcomes: dict[str, object] = {
        "query_id": ids,
        "prompt": [f"Question {i}, of kind {i % 3}: which letter?" for i in range(n)],
    }
    answers: dict[str, object] = {"query_id": ids[::-1]}
    for model, skill in SKILL.items():
        hit = rng.random(n) < skill
        letter = LETTERS[np.where(hit, right, (right + rng.integers(1, len(LETTERS), n)) % 10)]
        outcomes[f"q:{model}"] = hit.astype(np.float64)
        outcomes[f"c:{model}"] = np.full(n, USD[model])
        outcomes[f"t:{model}"] = np.full(n, TOKENS[model])
        answers[f"a:{model}"] = letter[::-1]
        answers[f"x:{model}"] = np.char.add("The answer is ", letter)[::-1]
    files = folder / "outcomes.parquet", folder / "answers.parquet"
    for path, columns in zip(files, (outcomes, answers), strict=True):
        pq.write_table(pa.table(columns), path)
    return files
