"""Measure what a served `guarded-knn` learns of feedback on the answers that it chose.

    python scripts/feedback_experiment.py [--sets NAME,...] [--seeds 5]

Each set of STEELYARD_DATA_DIR is split as in `routing_benchmark.py`. A third of the training
prompts is fitted; of the others the router chooses a model, at a position of the knob that is drawn
each time, and is told the quality of that one answer, in batches, as `routers.NAME.feedback` does.
Prints the area under the curve on what is held back: of the fit alone, with feedback, and of a fit
on all outcomes of all training prompts, which feedback cannot reach. *drifted*: the model of best
mean has lost its abilities (right half as often) since the fit, in what is told and in what is
held back.
"""

import argparse
from dataclasses import dataclass, replace

import numpy as np
from routing_benchmark import _PLAIN, Split, _columns

from routers.base import ROUTERS, Labels, Router
from routers.decision.choice import choose
from routers.embedders.static import StaticEmbedder
from routers.evaluation.metrics import area_under_hull, curve, sweep_rates
from routers.options import build
from routers.types import FloatMatrix

_SETS = ("routerbench", "mmlupro_tiger", "mmlupro_carrot", "zeroeval")
"""Those with costs, and enough prompts to fit a third of them."""
_AT_ONCE = 16
_LOST = 0.5
"""Of the best model's right answers, where it has drifted."""


def main() -> None:
    """Print a line for each set, steady and drifted."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sets", default=",".join(_SETS))
    parser.add_argument("--seeds", type=int, default=5)
    options = parser.parse_args()
    print("set, outcomes, told: fitted | with feedback | all outcomes (AUC; gain over fitted ± se)")
    for name in options.sets.split(","):
        for drifted in (False, True):
            rows = np.asarray(
                [measured(name, seed, drifted=drifted) for seed in range(options.seeds)]
            )
            means, gains = rows.mean(axis=0), rows[:, 1:3] - rows[:, :1]
            error = gains.std(axis=0, ddof=1) / np.sqrt(len(rows)) if len(rows) > 1 else [0.0, 0.0]
            print(
                f"{name} {'drifted' if drifted else 'steady'} {means[3]:.0f}: {means[0]:.4f} | "
                f"{means[1]:.4f} ({gains[:, 0].mean():+.4f} ± {error[0]:.4f}) | "
                f"{means[2]:.4f} ({gains[:, 1].mean():+.4f} ± {error[1]:.4f})",
                flush=True,
            )


def measured(name: str, seed: int, *, drifted: bool) -> tuple[float, float, float, int]:
    """Return the area of the fit alone, with feedback, of all outcomes, and what was told."""
    split, rng = Split(name, seed), np.random.default_rng(seed)
    _, x = split.features(StaticEmbedder(), _PLAIN, known=_columns(name))
    known = ~np.isnan(split.table.quality + split.table.cost_usd).any(axis=1)
    train, test = (rng.permutation(rows[known[rows]]) for rows in (split.train, split.test))
    first, served = np.split(train, [len(train) // 3])
    labels = split.table.labels
    world = _World(x, labels, labels.quality.copy(), split.table.cost_usd)
    router = world.fitted(first)
    if drifted:
        worse = rng.random(len(x)) < _LOST
        worse[first] = False
        world.quality[worse, labels.models.index(router.notes()["pinned"])] = 0.0
    fitted = world.area(router, test)
    rates = sweep_rates(world.quality[first], world.cost_usd[first])
    for at in range(0, len(served), _AT_ONCE):
        world.teach(router, served[at : at + _AT_ONCE], rng.choice(rates))
    return fitted, world.area(router, test), world.area(world.fitted(train), test), len(served)


@dataclass(frozen=True, slots=True)
class _World:
    """Queries, and what every model is worth and costs on them now."""

    x: FloatMatrix
    labels: Labels
    quality: FloatMatrix
    cost_usd: FloatMatrix

    def fitted(self, rows: np.ndarray) -> Router:
        """Return a router that was fitted on all outcomes of some queries."""
        costs = self.cost_usd[rows].mean(axis=0)
        labels = replace(self.labels, quality=self.quality, mean_cost_usd=costs).rows(rows)
        router = build(ROUTERS.get("guarded-knn"), {}, noun="strategy")
        return router.fit(self.x[rows], labels, rng=np.random.default_rng(0))

    def teach(self, router: Router, rows: np.ndarray, rate: float) -> None:
        """Have a router choose on some queries, and tell it how good each chosen answer was."""
        models = self.labels.models
        predicted = router.predict(self.x[rows]).quality
        chosen = choose(predicted, self.cost_usd[rows], rate, model_ids=models)
        told = np.full(predicted.shape, np.nan, np.float32)
        told[np.arange(len(rows)), chosen] = self.quality[rows, chosen]
        router.insert(self.x[rows], Labels(models=models, quality=told))

    def area(self, router: Router, rows: np.ndarray) -> float:
        """Return the area under the curve of what a router chooses."""
        quality, cost = self.quality[rows], self.cost_usd[rows]
        found = curve(router.predict(self.x[rows]).quality, cost, quality, cost)
        means = cost.mean(axis=0)
        return area_under_hull(*found, low=float(means.min()), high=float(means.max()))


if __name__ == "__main__":
    main()
