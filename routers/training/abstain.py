"""Whether what a router reads off a query is worth it; where not, something simpler is served.

A router that has learned noise chooses by noise. Whether it has, its cross-fitted predictions tell:
they are held against mixing single models at random and against the prompt's length alone, both
fitted on the same rows. What does best is what an artifact serves, and where nothing to speak of
lies between two the simpler one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from routers.base import ROUTERS, Labels, Router
from routers.data.dataset import OutcomeTable
from routers.data.support import Support
from routers.evaluation.assess import frame_of, predicted_costs, realised_costs
from routers.evaluation.bootstrap import Interval
from routers.evaluation.crossfit import cross_fit
from routers.evaluation.frame import NEGLIGIBLE, Frame, kept_rows, sweep
from routers.models import PriceTable
from routers.options import build
from routers.strategies.carrot import CarrotRouter
from routers.strategies.prompt_length import PromptLengthRouter
from routers.strategies.random_mix import RandomMixRouter
from routers.text.lexical import LEXICAL_SIGNALS
from routers.training.fold_features import FoldFeatures
from routers.training.recipe import Recipe
from routers.types import Predictions

_LENGTH = LEXICAL_SIGNALS.index("log_characters")


@dataclass(frozen=True, slots=True, kw_only=True)
class Restrained:
    """What a recipe comes to if it may abstain.

    Attributes
    ----------
    recipe
        What to serve, by the evidence of all rows: the given one, or a simpler one.
    served
        The cross-fitted predictions of that.
    predictions
        Of every fold those of what the *other* folds say: how the choice itself does on rows that
        it was not made on.
    abstaining
        bool (n_queries,), where these are not the given recipe's.
    over
        The area of the given recipe above that of each simpler strategy, on all rows; empty where
        nothing was chosen.
    """

    recipe: Recipe
    served: Predictions
    predictions: Predictions
    abstaining: NDArray[np.bool_]
    over: Mapping[str, Interval]


def restrain(
    recipe: Recipe,
    table: OutcomeTable,
    labels: Labels,
    crossed: Predictions,
    *,
    features: FoldFeatures,
    folds: NDArray[np.intp],
    prices: PriceTable,
) -> Restrained:
    """Choose between a recipe and what is simpler than it, on cross-fitted predictions.

    Only `carrot` abstains, unless its recipe says `abstain: false`; and only where the outcomes can
    tell how routers compare.

    Parameters
    ----------
    crossed
        What `cross_fit` returned of the recipe for `folds`.

    Notes
    -----
    The areas are the fair ones: settings are chosen on other rows than measured on, which costs a
    router of noise its flattery. The predictions of other folds come from routers that have learned
    from the fold that is decided on, as those behind the knob's record do.

    References
    ----------
    van der Laan, Polley & Hubbard 2007, Super learner (the cross-validation selector).
    """
    unchanged = Restrained(
        recipe=recipe,
        served=crossed,
        predictions=crossed,
        abstaining=np.zeros(len(table), bool),
        over={},
    )
    able = recipe.abstain and recipe.strategy == CarrotRouter.kind
    if not able or not Support.of(table.quality).comparable:
        return unchanged
    simpler = _simpler(recipe, features)
    recipes = [*simpler, recipe]
    predictions = [*(_crossed(each, features, labels, folds) for each in simpler), crossed]
    judged = kept_rows(table.quality)
    frame = frame_of(table, judged, realised_costs(table, crossed, prices)[judged])
    picks = [_picks(each, table, judged, prices) for each in predictions]
    chosen = np.full(len(table), len(recipes) - 1)
    for fold in range(int(folds.max()) + 1):
        others = np.flatnonzero(folds[judged] != fold)
        chosen[folds == fold] = _best(
            replace(frame, rows=frame.rows.take(others), n_draws=1),
            [each[:, others] for each in picks],
        )
    areas = [frame.fair_area(each) for each in picks]
    best = _best(replace(frame, n_draws=1), picks)
    return Restrained(
        recipe=recipes[best],
        served=predictions[best],
        predictions=_pieced(predictions, chosen),
        abstaining=chosen != len(recipes) - 1,
        over={
            each.strategy: Interval.of(areas[-1][0] - value, areas[-1][1] - draws)
            for each, (value, draws) in zip(simpler, areas, strict=False)
        },
    )


def _simpler(recipe: Recipe, features: FoldFeatures) -> list[Recipe]:
    """Return the recipes to hold the given one against, the simplest first."""
    kinds: dict[str, dict[str, Any]] = {RandomMixRouter.kind: {}}
    column = features.featurizer.length_column
    if column is not None:
        kinds[PromptLengthRouter.kind] = {"column": column}
    return [
        recipe.model_copy(update={"strategy": kind, "options": options})
        for kind, options in kinds.items()
    ]


def _crossed(
    recipe: Recipe, features: FoldFeatures, labels: Labels, folds: NDArray[np.intp]
) -> Predictions:
    """Predict every fold by a simple recipe, which needs no feature that has to be learned."""
    column = features.featurizer.length_column
    x = np.zeros((len(labels), 1 if column is None else column + 1), np.float32)
    if column is not None:
        x[:, column] = features.known["lexical"][:, _LENGTH]

    def make() -> Router:
        return build(ROUTERS.get(recipe.strategy), recipe.options, noun="strategy")

    return cross_fit(
        make,
        lambda train, test: (x[train], x[test], ()),
        labels,
        folds=folds,
        rng=np.random.default_rng(recipe.seed),
        length_column=column,
        progress=lambda _: None,
    )


def _picks(
    predictions: Predictions, table: OutcomeTable, rows: NDArray[np.intp], prices: PriceTable
) -> NDArray[np.intp]:
    quality, tokens = predictions.quality[rows], predictions.output_tokens[rows]
    cost = predicted_costs(table.input_tokens[rows], tokens, table.models, prices)
    return sweep(quality.astype(np.float64), cost)


def _best(frame: Frame, picks: Sequence[NDArray[np.intp]]) -> int:
    """Return which to serve: every further one has to be better than nothing to speak of."""
    best, area = 0, -np.inf
    for each, choices in enumerate(picks):
        value, _ = frame.fair_area(choices)
        if value > area + NEGLIGIBLE:
            best, area = each, value
    return best


def _pieced(predictions: Sequence[Predictions], chosen: NDArray[np.intp]) -> Predictions:
    """Take every row from the predictions that were chosen for it."""
    rows = np.arange(len(chosen))
    fields = {
        name: np.stack([getattr(each, name) for each in predictions])[chosen, rows]
        for name in ("quality", "quality_std", "output_tokens", "output_tokens_upper")
    }
    return Predictions(
        quality=fields["quality"],
        quality_std=fields["quality_std"],
        output_tokens=fields["output_tokens"],
        output_tokens_upper=fields["output_tokens_upper"],
    )
