"""Train the line behind the feature block `outlook` on graded prompts.

    python scripts/train_outlook_block.py [--without SET,...] [--out FILE]

Reads configs/graded_prompts and, from STEELYARD_DATA_DIR (default: ../shared/data beside the
repository), the texts of public prompts that were graded there. `--without` leaves the graded
prompts of sets out, so that the block can be measured on them.
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
from train_request_model import GRADED, public_prompts

from routers.data.graded import read_graded
from routers.embedders.static import StaticEmbedder
from routers.features.blocks.outlook import COLUMNS, INPUTS, SPREAD, WEIGHTS_FILE
from routers.features.featurizer import Featurizer
from routers.training.rewording import Judged
from routers.types import Conversation

PENALTY = 100.0
"""On columns of unit spread; from 30 to 300 leave-one-out errors are within a hundredth."""


def train(without: Collection[str] = ()) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Return the arrays of the line and what is worth knowing about its training."""
    own = read_graded(GRADED / "train.jsonl")
    public = [each for each in public_prompts() if each.theme.split("/")[0] not in without]
    embedder = StaticEmbedder()
    conversations = [each.conversation for each in own]
    conversations += [Conversation.of(each.text.prompt) for each in public]
    x = Featurizer(embedder, INPUTS).transform(conversations).astype(np.float64)
    y = np.array([_target(each) for each in [*map(Judged.of, own), *public]])
    spread = x.std(axis=0)
    # Columns that hardly vary are not blown up.
    spread = np.maximum(spread, np.sqrt((spread**2).mean()))
    center, z = x.mean(axis=0), (x - x.mean(axis=0)) / spread
    target = (y - y.mean(axis=0)) / y.std(axis=0)
    gram = z.T @ z + PENALTY * np.eye(z.shape[1])
    coef = np.linalg.solve(gram, z.T @ target)
    leverage = 1 / len(z) + np.einsum("ij,ji->i", z, np.linalg.solve(gram, z.T))
    left_out = target - (target - z @ coef) / (1 - leverage)[:, None]
    weights = SPREAD * coef / spread[:, None]
    arrays = {
        "weights": weights.astype(np.float32),
        "bias": (-center @ weights).astype(np.float32),
        "embedder_id": np.frombuffer(embedder.embedder_id.encode(), np.uint8),
    }
    return arrays, {
        "graded_prompts": len(own),
        "public_prompts": len(public),
        "correlation_left_out": {
            name: round(float(np.corrcoef(left_out[:, i], target[:, i])[0, 1]), 3)
            for i, name in enumerate(COLUMNS)
        },
        "made_with": {
            "python": platform.python_version(),
            "numpy": version("numpy"),
            "command": "python scripts/train_outlook_block.py",
        },
    }


def _target(judged: Judged) -> tuple[float, float]:
    lengths = [np.log1p(each.tokens) for each in judged.judgements]
    return float(np.mean(lengths)), judged.grade


def main() -> None:
    """Train and write."""
    train_and_write(__doc__, train, default_out=WEIGHTS_FILE)


if __name__ == "__main__":
    main()
