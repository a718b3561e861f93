"""A small outcome file whose right answers are known, for tests of training."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

TOPICS = {
    "sum": "Add the numbers {} and {} and explain every step.",
    "poem": "Write a poem about the river {} under the moon {}.",
    "code": "def f(x): return x * {} + {}  # what does this function return",
}
MODELS = ("small", "large")
SKILL = {"sum": (0.9, 0.95), "poem": (0.2, 0.9), "code": (0.5, 0.7)}
PRICES = {"small": (0.5, 1.5), "large": (5.0, 15.0)}


def write_outcomes(
    path: Path,
    *,
    n: int = 240,
    seed: int = 0,
    with_costs: bool = True,
    with_answers: bool = False,
) -> Path:
    """Write `n` prompts on three topics and what two models made of them."""
    rng = np.random.default_rng(seed)
    topics = [list(TOPICS)[i] for i in rng.integers(0, 3, n)]
    prompts = [TOPICS[topic].format(*rng.integers(0, 10_000, 2)) for topic in topics]
    columns: dict[str, object] = {
        "query_id": [f"q{i}" for i in range(n)],
        "set": ["made"] * n,
        "benchmark": topics,
        "prompt": prompts,
    }
    for column, model in enumerate(MODELS):
        chance = np.asarray([SKILL[topic][column] for topic in topics])
        tokens = rng.lognormal(4 + column, 0.3, n).round().astype(np.int32)
        columns[f"q:{model}"] = pa.array((rng.random(n) < chance).astype(np.float32))
        columns[f"t:{model}"] = pa.array(tokens)
        if with_answers:
            right = np.asarray(columns[f"q:{model}"]) > 0
            columns[f"a:{model}"] = ["right" if each else f"{model} is wrong" for each in right]
        if with_costs:
            p_in, p_out = PRICES[model]
            input_tokens = np.asarray([len(prompt) / 4 for prompt in prompts])
            columns[f"c:{model}"] = pa.array((p_in * input_tokens + p_out * tokens) / 1e6)
    pq.write_table(pa.table(columns), path)
    return path
