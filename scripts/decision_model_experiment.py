"""What a decision model that is right so often would be worth: simulated on public outcomes.

    python scripts/decision_model_experiment.py [--sets NAME,...] [--seeds 3]

No public rows carry the answers of a decision model. Here one is made up: the true level of a
prompt is the quarter that it falls into by how many of the models answer it well, and the simulated
model names that level with the given probability, else one of the other three at random. So it
knows of the outcomes what no model of words could know, as often as it is right. Splits, costs and
measures are those of routing_benchmark.py; the area under the curve of each way to use what it says
is printed.
"""

import argparse
import os

for _variable in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")

import numpy as np
from routing_benchmark import Split, _columns

from routers.embedders.static import StaticEmbedder
from routers.features.blocks.judged import JudgedBlock
from routers.text.conversation import ConversationText
from routers.types import FloatMatrix

ACCURACIES = (0.25, 0.4, 0.6, 0.8, 1.0)
"""The first is chance."""

_BLOCKS = ("embedding", "lexical")
_LINEAR = {"quality_head": {"kind": "linear"}, "domains": False, "shrink_unfamiliar": False}
_WAYS = {
    "guarded knn": ("guarded-knn", {}),
    "carrot, linear": ("carrot", _LINEAR),
}
_LEVELS = 4


def main() -> None:
    """Measure, and print a line for every way and accuracy."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--sets", default="routerbench,mmlupro_tiger,zeroeval")
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    for name in options.sets.split(","):
        found: dict[str, list[float]] = {}
        for seed in range(options.seeds):
            split = Split(name, seed)
            featurizer, x = split.features(StaticEmbedder(), _BLOCKS, known=_columns(name))
            for way, (strategy, given) in _WAYS.items():
                measured = split.measure_on(
                    x, strategy, given, length_column=featurizer.length_column, label=False
                )
                found.setdefault(f"{way}, without", []).append(measured["aiq"])
                found.setdefault("mix of single models", []).append(measured["aiq_zero"])
            for accuracy in ACCURACIES:
                judged = _judged(split.table.quality, accuracy, seed)
                alone = split.measure_on(judged, "carrot", _LINEAR, length_column=None, label=False)
                found.setdefault(f"level alone, right {accuracy:.0%}", []).append(alone["aiq"])
                for way, (strategy, given) in _WAYS.items():
                    both = split.measure_on(
                        np.hstack([judged, x]),
                        strategy,
                        given,
                        length_column=featurizer.length_column + judged.shape[1],
                        label=False,
                    )
                    key = f"{way}, with levels right {accuracy:.0%}"
                    found.setdefault(key, []).append(both["aiq"])
        for way, areas in found.items():
            print(f"| {name} | {way} | {np.mean(areas):.4f} | {np.std(areas):.4f} |", flush=True)


def _judged(quality: np.ndarray, accuracy: float, seed: int) -> FloatMatrix:
    """Return the columns of the block `judged`, of what the simulated model says of every row."""
    rng = np.random.default_rng([seed, round(100 * accuracy)])
    hard = 1 - np.nanmean(quality, axis=1) + rng.random(len(quality)) * 1e-6
    true = np.argsort(np.argsort(hard)) * _LEVELS // len(hard)
    wrong = (true + rng.integers(1, _LEVELS, len(true))) % _LEVELS
    said = np.where(rng.random(len(true)) < accuracy, true, wrong)
    chances = np.eye(_LEVELS)[said]
    texts = [ConversationText(prompt="", judged=tuple(row)) for row in chances.tolist()]
    return JudgedBlock(StaticEmbedder()).compute(texts)


if __name__ == "__main__":
    main()
