"""Outcome files on which text tells the right model, and length and few neighbours do not."""

import json
from pathlib import Path

import numpy as np

MODELS = ("mini", "mid", "max")
PRICES = {"mini": (0.0, 0.4), "mid": (0.0, 4.0), "max": (0.0, 32.0)}
"""Inputs are free: else knowing the length of a prompt alone would be worth something."""
N_CLUSTERS = 24
SKILLS = ((0.95, 0.96, 0.90), (0.10, 0.95, 0.90), (0.06, 0.10, 0.93))
"""What the three models reach on easy, medium and hard clusters."""

_SHARED = ("the", "of", "and", "please", "what", "how", "is", "a")


def write_clusters(
    path: Path,
    *,
    n: int,
    seed: int,
    permuted: bool = False,
    graded: bool = False,
    decline: float = 0.0,
) -> Path:
    """Write outcomes of `n` queries on `N_CLUSTERS` topics, one model on one query a line.

    Parameters
    ----------
    permuted
        Give every query the outcomes of another one, so that there is nothing to learn.
    graded
        Give qualities between 0 and 1 instead of right and wrong.
    decline
        Share of what they could do that all models have lost.
    """
    rng = np.random.default_rng(seed)
    cluster = rng.integers(0, N_CLUSTERS, n)
    skill = np.asarray(SKILLS)[cluster % len(SKILLS)] * (1 - decline)
    quality = (rng.random(skill.shape) < skill).astype(float)
    if graded:
        quality = np.clip(skill + rng.normal(0, 0.1, skill.shape), 0, 1)
    if permuted:
        quality = quality[rng.permutation(n)]
    tokens = rng.lognormal(5, 0.4, (n, len(MODELS))).round()
    with path.open("w", encoding="utf-8") as lines:
        for i in range(n):
            prompt = _prompt(int(cluster[i]), rng)
            for column, model in enumerate(MODELS):
                p_in, p_out = PRICES[model]
                record = {
                    "query_id": f"{seed}-{i}",
                    "prompt": prompt,
                    "model": model,
                    "quality": quality[i, column],
                    "output_tokens": tokens[i, column],
                    "cost_usd": (len(prompt) / 4 * p_in + tokens[i, column] * p_out) / 1e6,
                    "set": "clusters",
                    "benchmark": "all",
                }
                lines.write(json.dumps(record) + "\n")
    return path


def _prompt(cluster: int, rng: np.random.Generator) -> str:
    n_words = int(rng.integers(8, 30))
    words = [
        f"topic{cluster}word{rng.integers(0, 12)}" if rng.random() < 0.6 else rng.choice(_SHARED)
        for _ in range(n_words)
    ]
    return " ".join(words) + f" {rng.integers(0, 10**6)}"
