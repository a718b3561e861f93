"""Hide models of a set in turn and have them join a router by 12, 32, 100 and 400 answers.

`--router graph` links them into the graph by so many edges; `--router knn` inserts the answers as
neighbours.

Measured as in `onboarding_experiment.py` (60 % of the prompts train, 40 % are judged; squared error
of what is predicted of the hidden model, and AIQ), beside the house's rule for the same edges
(`place_model`, on what the same router predicts of the others), and beside a mix of both. Without
answers and description a model is the average one: that is the line *ignored*. `--draw` hides
models drawn anew in every split, not evenly spaced ones.

    python scripts/own_onboarding.py --router graph --prompts 2000 --hidden 3 --seeds 5 --draw
    python scripts/own_onboarding.py --router knn --prompts 5000 --hidden 6
"""

import argparse
import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
from public_data import DATA

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from routers.artifact.onboarded_model import join
from routers.base import Labels, Newcomer, Router
from routers.data.dataset import read_outcomes
from routers.data.prices import find_prices
from routers.embedders.base import make_embedder
from routers.evaluation.assess import predicted_costs, realised_costs
from routers.evaluation.metrics import area_under_hull, curve, single_models
from routers.features.featurizer import Featurizer
from routers.heads.base import HeadConfig
from routers.heads.knn import KnnHead
from routers.strategies.carrot import CarrotRouter
from routers.strategies.graph import GraphRouter
from routers.training.onboarding.place import AbilityPrior, AnchorOutcomes, place_model
from routers.types import FloatMatrix, Predictions

_NEIGHBOURS, _OWN_NEIGHBOURS = 50, 20
"""Of the trained models, and of one of which only its few answers are remembered."""

SIZES = (12, 32, 100, 400)
_MIXED = 0.15
"""Share of the own rule in the mix."""

TRAIN_SHARE = 0.6


def main() -> None:  # noqa: PLR0915  (an experiment, read from top to bottom)
    """Measure, and print a line for every way to join."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--router", choices=("graph", "knn"), default="graph")
    parser.add_argument("--set", default="mmlupro_tiger")
    parser.add_argument("--prompts", type=int, default=2500)
    parser.add_argument("--hidden", type=int, default=4)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--draw", action="store_true")
    options = parser.parse_args()
    table = read_outcomes([DATA / f"{options.set}.parquet"])
    prices = find_prices(table).prices
    found: dict[str, list[tuple[float, float]]] = {}
    for seed in range(options.seeds):
        rows = np.random.default_rng(seed).permutation(len(table))[: options.prompts]
        featurizer = Featurizer(make_embedder("static", {}), ("embedding", "lexical"))
        x = featurizer.transform([table.conversations[i] for i in rows])
        cut = int(len(rows) * TRAIN_SHARE)
        train, test = rows[:cut], rows[cut:]
        x_train, x_test = x[:cut], x[cut:]
        quality = np.nan_to_num(table.quality[test], nan=0.0).astype(np.float64)
        everyone = list(range(len(table.models)))

        def fit(
            columns: list[int], train: np.ndarray = train, x: np.ndarray = x_train, seed: int = seed
        ) -> Router:
            labels = Labels(
                models=tuple(table.models[i] for i in columns),
                quality=table.quality[train][:, columns],
                output_tokens=table.output_tokens[train][:, columns],
            )
            graph = GraphRouter(own_rule_below=1 + max(SIZES))
            router = graph if options.router == "graph" else _neighbours()
            return router.fit(x, labels, rng=np.random.default_rng(seed))

        full = fit(everyone).predict(x_test)
        part = replace(
            table,
            input_tokens=table.input_tokens[test],
            output_tokens=table.output_tokens[test],
            cost_usd=table.cost_usd[test],
        )
        spent = realised_costs(part, full, prices)
        low, high = (float(f(single_models(quality, spent)[0])) for f in (np.min, np.max))

        def area(  # noqa: PLR0917
            predictions: Predictions,
            columns: list[int],
            test: np.ndarray = test,
            quality: np.ndarray = quality,
            spent: np.ndarray = spent,
            bounds: tuple[float, float] = (low, high),
        ) -> float:
            models = tuple(table.models[i] for i in columns)
            cost = predicted_costs(
                table.input_tokens[test], predictions.output_tokens, models, prices
            )
            points = curve(predictions.quality, cost, quality[:, columns], spent[:, columns])
            return area_under_hull(*points, low=bounds[0], high=bounds[1])

        full_area = area(full, everyone)
        hide = np.linspace(0, len(everyone) - 1, options.hidden).astype(int)
        if options.draw:
            drawn = np.random.default_rng([seed, 77])
            hide = drawn.choice(len(everyone), options.hidden, replace=False)
        for hidden in hide.tolist():
            others = [i for i in everyone if i != hidden]
            truth = table.quality[test, hidden]

            def note(
                way: str, predicted: np.ndarray, its: float, truth: np.ndarray = truth
            ) -> None:
                error = float(np.nanmean((predicted - truth) ** 2))
                found.setdefault(way, []).append((error, its))

            router = fit(others)
            base, base_train = router.predict(x_test), router.predict(x_train)
            note("ignored", base.quality.mean(axis=1), area(base, others))
            note("fully trained", full.quality[:, hidden], full_area)
            prior = AbilityPrior.of(base_train.quality)
            shuffled = np.random.default_rng([seed, hidden]).permutation(cut)
            for n in SIZES:
                at = shuffled[:n]
                at = at[~np.isnan(table.quality[train[at], hidden])]
                told = table.quality[train[at], hidden].astype(np.float64)
                lengths = table.output_tokens[train[at], hidden].astype(np.float64)
                newcomer = Newcomer(x=x_train[at], quality=told, output_tokens=lengths)
                own = join(base, [_by_its_own_rule(router, newcomer, x_test)])
                note(
                    f"{n} answers, {options.router}",
                    own.quality[:, -1],
                    area(own, [*others, hidden]),
                )
                anchors = AnchorOutcomes(x=x_train[at], quality=told, output_tokens=lengths)
                model = place_model("new", anchors, base=base_train.rows(at), prior=prior)
                house = model.predict(x_test, base)
                share = np.float32(_MIXED)
                quality_of_both = (1 - share) * house.quality + share * own.quality[:, -1:]
                both = replace(house, quality=quality_of_both)
                for way, placed in (("house", house), (f"house and {_MIXED} of its own", both)):
                    ours = join(base, [placed])
                    note(f"{n} answers, {way}", ours.quality[:, -1], area(ours, [*others, hidden]))
            print(f"seed {seed}, {table.models[hidden]}", file=sys.stderr, flush=True)
    _tell(found, options.hidden)


def _neighbours() -> Router:
    head = HeadConfig(kind="knn", options={"n_neighbors": _NEIGHBOURS})
    return CarrotRouter(quality_head=head, tokens_head=head, shrink_unfamiliar=False, domains=False)


def _by_its_own_rule(router: Router, newcomer: Newcomer, x: FloatMatrix) -> Predictions:
    placed = router.place(newcomer)
    if placed is not None:
        return router.predict_placed(placed, x)
    quality, tokens = (
        KnnHead(n_neighbors=min(_OWN_NEIGHBOURS, len(newcomer.x)), search="exact").fit(
            newcomer.x, told[:, None].astype(np.float32), rng=np.random.default_rng(0)
        )
        for told in (newcomer.quality, newcomer.output_tokens)
    )
    (mean, std), (length, _) = quality.predict(x), tokens.predict(x)
    return Predictions(
        quality=mean, quality_std=std, output_tokens=length, output_tokens_upper=2 * length
    )


def _tell(found: dict[str, list[tuple[float, float]]], n_hidden: int) -> None:
    """Print means, which share of the gap to full training they close, how far the house is.

    The last is the squared error beyond that of the house, mean and standard error over splits.
    """
    means = {way: np.mean(each, axis=0) for way, each in found.items()}
    nothing, full = means["ignored"], means["fully trained"]
    for way, mean in means.items():
        closed = (mean - nothing) / (full - nothing)
        told = f"{mean[0]:.4f} ({closed[0]:.0%}) | {mean[1]:.4f} ({closed[1]:.0%})"
        print(f"| {way} | {told} | {len(found[way])}{_beyond(found, way, n_hidden)}")
    sys.stdout.flush()


def _beyond(found: dict[str, list[tuple[float, float]]], way: str, n_hidden: int) -> str:
    house = f"{way.split(',', 1)[0]}, house"
    if house == way or house not in found:
        return ""
    more = np.array(found[way])[:, 0] - np.array(found[house])[:, 0]
    splits = more.reshape(-1, n_hidden).mean(axis=1)
    error = splits.std(ddof=1) / np.sqrt(len(splits)) if len(splits) > 1 else np.nan
    return f" | {splits.mean():+.4f} ± {error:.4f}"


if __name__ == "__main__":
    main()
