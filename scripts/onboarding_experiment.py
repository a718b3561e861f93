"""Hide every model of a set in turn, onboard it with some anchors, and measure what that recovers.

Of each set 60 % of the prompts train a `carrot` router, without one of its models; the anchors are
drawn from the same prompts, and everything is measured on the other 40 %. Two measures, both per
hidden model and then averaged:

- squared error of the predicted quality of the hidden model. Ignoring it is the mean prediction
  of the others (what is known of a model nobody has tried); full training is the router that saw
  it on all training prompts.
- AIQ, the area under the hull of the cost-quality curve. Ignoring it is routing without it.

Run it as `python scripts/onboarding_experiment.py --seeds 2 --markdown out.md`. It reads
routerbench, mmlupro_tiger and mmlupro_carrot from $STEELYARD_DATA_DIR or ../shared/data.
"""

import argparse
import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from public_data import DATA

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from routers.artifact.onboarded_model import join, nearest
from routers.base import Labels
from routers.data.dataset import OutcomeTable, read_outcomes
from routers.data.prices import find_prices
from routers.embedders.base import make_embedder
from routers.estimators.item_response import fit_item_response
from routers.evaluation.assess import predicted_costs, realised_costs
from routers.evaluation.metrics import area_under_hull, curve, single_models
from routers.features.featurizer import Featurizer
from routers.heads.base import HeadConfig
from routers.strategies.carrot import CarrotRouter
from routers.training.onboarding.anchors import choose_anchors, choose_by_item_response
from routers.training.onboarding.clusters import cluster_centers, shrunk_errors
from routers.training.onboarding.place import AbilityPrior, AnchorOutcomes, place_model
from routers.types import Predictions

SETS = ("routerbench", "mmlupro_tiger", "mmlupro_carrot")
SIZES = (32, 100, 400)
TRAIN_SHARE = 0.6


@dataclass(frozen=True, kw_only=True)
class Split:
    """One set, split by prompt, with the routers that saw all models or all but one."""

    table: OutcomeTable
    x: np.ndarray
    train: np.ndarray
    test: np.ndarray
    head: str
    seed: int

    def labels(self, columns: list[int]) -> Labels:
        """Return the training labels of some models."""
        labels = self.table.labels.rows(self.train)
        tokens = labels.output_tokens
        return Labels(
            models=tuple(self.table.models[i] for i in columns),
            quality=labels.quality[:, columns],
            output_tokens=None if tokens is None else tokens[:, columns],
        )

    def fit(self, columns: list[int]) -> CarrotRouter:
        """Train on some models."""
        router = CarrotRouter(quality_head=HeadConfig(kind=self.head))
        return router.fit(
            self.x[self.train], self.labels(columns), rng=np.random.default_rng(self.seed)
        )


def at_random(
    split: Split, _p: AbilityPrior, _b: Predictions, others: list[int], n: int, seed: int
) -> np.ndarray:
    """Draw anchors without looking."""
    return np.random.default_rng([split.seed, seed, len(others), n]).permutation(len(split.train))[
        :n
    ]


def by_prediction(
    split: Split, prior: AbilityPrior, base: Predictions, _o: list[int], n: int, seed: int
) -> np.ndarray:
    """Choose by the information that the artifact's own predictions promise."""
    directions, chances = prior.information(base.quality)
    return choose_anchors(split.x[split.train], directions, chances, n=n, seed=seed)


def by_outcomes(
    split: Split, _p: AbilityPrior, _b: Predictions, others: list[int], n: int, seed: int
) -> np.ndarray:
    """Choose by a MIRT fitted on the outcomes of the other models."""
    x, y = split.x[split.train], split.labels(others).quality
    model = fit_item_response(x, y, rng=np.random.default_rng(split.seed), n_steps=300)
    return choose_by_item_response(x, model, n=n, seed=seed)


class Measured:
    """Sums of both measures by method."""

    def __init__(self) -> None:
        self.error: dict[str, list[float]] = {}
        self.area: dict[str, list[float]] = {}

    def add(self, method: str, error: float, area: float) -> None:
        """Note one hidden model."""
        self.error.setdefault(method, []).append(error)
        self.area.setdefault(method, []).append(area)

    def closed(self, values: dict[str, list[float]], method: str) -> float:
        """Return the share of the gap from ignoring to full training, over all hidden models."""
        nothing, full = np.mean(values["ignored"]), np.mean(values["fully trained"])
        return float((np.mean(values[method]) - nothing) / (full - nothing))

    def interval(self, values: dict[str, list[float]], method: str) -> tuple[float, float]:
        """Return the 95 % bootstrap interval of `closed` over hidden models and seeds."""
        a, b, c = (np.asarray(values[name]) for name in ("ignored", "fully trained", method))
        rng = np.random.default_rng(0)
        at = rng.integers(0, len(a), (2000, len(a)))
        shares = (c[at].mean(1) - a[at].mean(1)) / (b[at].mean(1) - a[at].mean(1))
        low, high = np.quantile(shares, (0.025, 0.975))
        return float(low), float(high)


def measure(split: Split, measured: Measured) -> None:
    """Hide every model of one split in turn."""
    table, test = split.table, split.test
    prices = find_prices(table).prices
    everyone = list(range(len(table.models)))
    x_test = split.x[test]
    everywhere = split.fit(everyone).predict(split.x)
    full = everywhere.rows(test)
    spent_all = realised_costs(table, everywhere, prices)[test]
    quality = np.nan_to_num(table.quality[test], nan=0.0).astype(np.float64)
    low, high = (float(f(single_models(quality, spent_all)[0])) for f in (np.min, np.max))

    def area(predictions: Predictions, columns: list[int]) -> float:
        models = tuple(table.models[i] for i in columns)
        cost = predicted_costs(table.input_tokens[test], predictions.output_tokens, models, prices)
        points = curve(predictions.quality, cost, quality[:, columns], spent_all[:, columns])
        return area_under_hull(*points, low=low, high=high)

    full_area = area(full, everyone)
    for hidden in everyone:
        others = [i for i in everyone if i != hidden]
        known = ~np.isnan(table.quality[test, hidden])
        truth = table.quality[test, hidden][known]

        def error(
            predicted: np.ndarray, truth: np.ndarray = truth, known: np.ndarray = known
        ) -> float:
            return float(((predicted[known] - truth) ** 2).mean())

        router = split.fit(others)
        base_train, base = router.predict(split.x[split.train]), router.predict(x_test)
        prior = AbilityPrior.of(base_train.quality)
        order = [*others, hidden]
        measured.add("ignored", error(base.quality.mean(axis=1)), area(base, others))
        measured.add("fully trained", error(full.quality[:, hidden]), full_area)

        for n in SIZES:
            for name, picker in (
                ("random", at_random),
                ("by prediction", by_prediction),
                ("by outcomes", by_outcomes),
            ):
                if name != "random" and n != 100:
                    continue
                picked = picker(split, prior, base_train, others, n, hidden)
                picked = picked[~np.isnan(table.quality[split.train[picked], hidden])]
                rows = split.train[picked]
                outcomes = AnchorOutcomes(
                    x=split.x[rows],
                    quality=table.quality[rows, hidden].astype(np.float64),
                    output_tokens=table.output_tokens[rows, hidden].astype(np.float64),
                )
                peers = AnchorOutcomes(
                    x=outcomes.x,
                    quality=outcomes.quality,
                    output_tokens=outcomes.output_tokens,
                    peer_quality=table.quality[rows][:, others].astype(np.float64),
                )
                for suffix, given in (("", outcomes), (", peers known", peers)):
                    placed = place_model("new", given, base=base_train.rows(picked), prior=prior)
                    joined = join(base, [placed.predict(x_test, base)])
                    measured.add(
                        f"{n} anchors {name}{suffix}",
                        error(joined.quality[:, -1]),
                        area(joined, order),
                    )
                if name == "random":
                    centers = cluster_centers(split.x[split.train], 16)
                    errors = shrunk_errors(
                        1 - outcomes.quality, nearest(outcomes.x, centers), len(centers)
                    )
                    joined.quality[:, -1] = 1 - errors[nearest(x_test, centers)]
                    measured.add(
                        f"{n} anchors random, clusters alone",
                        error(joined.quality[:, -1]),
                        area(joined, order),
                    )


def run(name: str, head: str, seeds: int) -> Measured:
    """Measure one set with one head."""
    table = read_outcomes([DATA / f"{name}.parquet"])
    featurizer = Featurizer(make_embedder("static", {}), ("embedding", "lexical"))
    x = featurizer.transform(table.conversations)
    measured = Measured()
    for seed in range(seeds):
        order = np.random.default_rng(seed).permutation(len(table))
        cut = int(len(table) * TRAIN_SHARE)
        split = Split(
            table=table,
            x=x,
            train=np.sort(order[:cut]),
            test=np.sort(order[cut:]),
            head=head,
            seed=seed,
        )
        measure(split, measured)
    return measured


def to_markdown(results: dict[tuple[str, str], Measured], seeds: int) -> str:
    """Lay the results out, one table per set and head."""
    parts = []
    for (name, head), measured in results.items():
        n = len(measured.error["ignored"])
        parts += [
            f"### {name}, head {head}",
            "",
            f"{n // seeds} models hidden in turn, {seeds} splits.",
            "",
            "| the hidden model is | squared error | gap closed (95 %) | AIQ | gap closed (95 %) |",
            "|---|---|---|---|---|",
        ]
        for method in measured.error:
            cells = []
            for values, digits in ((measured.error, 4), (measured.area, 4)):
                cells.append(f"{np.mean(values[method]):.{digits}f}")
                low, high = measured.interval(values, method)
                told = f"{measured.closed(values, method):.0%} ({low:.0%} to {high:.0%})"
                cells.append("" if method in ("ignored", "fully trained") else told)
            parts.append(f"| {method} | {' | '.join(cells)} |")
        parts.append("")
    return "\n".join(parts)


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--heads", default="linear")
    parser.add_argument("--sets", default=",".join(SETS))
    parser.add_argument("--markdown", type=Path)
    arguments = parser.parse_args()
    results = {}
    for name in arguments.sets.split(","):
        for head in arguments.heads.split(","):
            began = time.perf_counter()
            results[name, head] = run(name, head, arguments.seeds)
            print(f"{name} {head}: {time.perf_counter() - began:.0f} s", file=sys.stderr)
            if arguments.markdown:
                arguments.markdown.write_text(
                    to_markdown(results, arguments.seeds), encoding="utf-8"
                )
    print(to_markdown(results, arguments.seeds))


if __name__ == "__main__":
    main()
