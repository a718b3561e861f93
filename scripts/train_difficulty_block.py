"""Train the network behind the feature block `difficulty` on public outcomes of many models.

    python scripts/train_difficulty_block.py [--without SET,...] [--out FILE]

Reads the wide parquet files of STEELYARD_DATA_DIR (default: ../shared/data beside the
repository). Every model of every set is a column of its own; one hidden layer predicts all of
them, and the leading directions of its predicted logits over the prompts become the features.
`--without` leaves sets out, so that the block can be measured on data that it has not seen.
"""

import os
import platform
from collections.abc import Collection
from importlib.metadata import version
from typing import Any

for _variable in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")

import numpy as np
from block_weights import train_and_write
from public_data import DATA, OUTCOMES

from routers.data.dataset import OutcomeTable, read_outcomes
from routers.embedders.static import StaticEmbedder
from routers.evaluation.crossfit import normalised
from routers.features.blocks.difficulty import INPUTS, WEIGHTS_FILE
from routers.features.featurizer import Featurizer
from routers.heads.mlp import MlpHead

WIDTH = 256
DIRECTIONS = 16
SPREAD = 0.3
"""Standard deviation of the leading direction: that of an average column of the other blocks,
times a few, so that a router hears it without hearing nothing else."""

SAME_QUESTIONS = {"mmlupro_tiger": "mmlupro_carrot", "mmlupro_carrot": "mmlupro_tiger"}
"""Sets that hold the same prompts: leaving one out for a measurement means leaving out both."""


def train(
    without: Collection[str] = (), *, seed: int = 0
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Return the arrays of the network and what is worth knowing about its training."""
    sets = [name for name in OUTCOMES if name not in without]
    tables = {name: read_outcomes([DATA / f"{name}.parquet"]) for name in sets}
    embedder = StaticEmbedder()
    featurizer = Featurizer(embedder, INPUTS)
    x = np.vstack([featurizer.transform(table.conversations) for table in tables.values()])
    quality = _side_by_side(list(tables.values()))
    head = MlpHead(n_hidden=WIDTH, n_networks=1)
    head.fit(x, quality, rng=np.random.default_rng(seed))
    state = head.state()
    output = state["output"][0].astype(np.float64)
    logits = _hidden(state, x) @ output + state["output_bias"][0]
    mean = logits.mean(axis=0)
    _, size, directions = np.linalg.svd(logits - mean, full_matrices=False)
    basis = directions[:DIRECTIONS].T * (SPREAD * np.sqrt(len(x)) / size[0])
    arrays = {
        "center": state["center"],
        "scale": state["scale"],
        "hidden": state["hidden"],
        "hidden_bias": state["hidden_bias"],
        "output": (output @ basis).astype(np.float16),
        "output_bias": ((state["output_bias"][0] - mean) @ basis).astype(np.float32),
        "embedder_id": np.frombuffer(embedder.embedder_id.encode(), np.uint8),
    }
    prompts = {normalised(each) for table in tables.values() for each in table.conversations}
    share = size**2 / (size**2).sum()
    return arrays, {
        "sets": sets,
        "prompts": len(prompts),
        "rows": len(x),
        "models": quality.shape[1],
        "outcomes": int((~np.isnan(quality)).sum()),
        "variance_of_directions": [round(float(each), 4) for each in share[:DIRECTIONS]],
        "seed": seed,
        "made_with": {
            "python": platform.python_version(),
            "numpy": version("numpy"),
            "command": "python scripts/train_difficulty_block.py",
        },
    }


def _side_by_side(tables: list[OutcomeTable]) -> np.ndarray:
    """Return one column per model and set, NaN where a set does not know a model."""
    n_rows = sum(len(table) for table in tables)
    out = np.full((n_rows, sum(len(table.models) for table in tables)), np.nan, np.float32)
    row = column = 0
    for table in tables:
        n, m = table.quality.shape
        out[row : row + n, column : column + m] = table.quality
        row, column = row + n, column + m
    return out


def _hidden(state: dict[str, np.ndarray], x: np.ndarray) -> np.ndarray:
    z = np.clip((x - state["center"]) / state["scale"], -5, 5)
    return np.asarray(np.maximum(z @ state["hidden"].astype(np.float64) + state["hidden_bias"], 0))


def main() -> None:
    """Train and write."""
    train_and_write(__doc__, train, default_out=WEIGHTS_FILE)


if __name__ == "__main__":
    main()
