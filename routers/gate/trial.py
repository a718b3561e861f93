"""What the gate judges: an artifact and its baselines on every row that none of them has seen."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from routers.artifact.artifact import RouterArtifact
from routers.artifact.evidence import abstention_note
from routers.artifact.load import load_artifact
from routers.base import ROUTERS, Router
from routers.data.dataset import OutcomeTable, read_outcomes
from routers.data.doubts import doubts
from routers.data.prices import find_prices, read_prices
from routers.data.support import Support
from routers.embedders.base import make_embedder
from routers.errors import DataError
from routers.evaluation import baselines
from routers.evaluation.assess import mean_costs, predicted_costs
from routers.evaluation.crossfit import (
    FURTHER,
    TRAIN_ONLY,
    cross_fit,
    normalised,
    prompt_folds,
    random_streams,
)
from routers.evaluation.frame import Frame, Rows, Series, join_rows, kept_rows, select_rows, sweep
from routers.evaluation.replay import common_models, predict_rows, stacked
from routers.features.featurizer import Featurizer
from routers.models import PriceTable
from routers.numeric import FloatArray
from routers.options import build
from routers.training.abstain import restrain
from routers.training.fold_features import FoldFeatures
from routers.training.recipe import Recipe, recipe_of
from routers.types import Conversation, Predictions


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """Where the judged rows stand in the files: those of the training come first.

    Attributes
    ----------
    trained, further
        Numbers of rows of `--train` and of `--data`.
    folds
        Of the former: which fit has not seen them.
    """

    trained: NDArray[np.intp]
    further: NDArray[np.intp]
    folds: NDArray[np.intp]


@dataclass(frozen=True, kw_only=True)
class Trial:
    """An artifact, or a recipe alone, and its baselines on the same rows.

    Attributes
    ----------
    artifact
        None where a recipe is tried without one.
    candidate, baselines
        None and empty where the outcomes cannot tell how routers compare.
    label
        What a router would choose that is told the benchmark's name; None where there is one only.
    n_abstaining
        Judged rows that something simpler than the recipe chose on, by the evidence of the others.
    n_crossed
        Judged rows that the artifact was trained on: they are predicted by its recipe, fitted on
        other folds. All others are predicted by the artifact itself.
    notes
        What a reader of the verdict should know, as sentences.
    judged
        Where the judged rows come from; None where a recipe is tried.
    several
        What the artifact's workflow cost and was worth at each position of the knob,
        (n_positions, n_queries) each; None where it has none.
    """

    artifact: RouterArtifact | None
    frame: Frame
    support: Support
    candidate: Series | None
    baselines: tuple[Series, ...]
    label: Series | None
    n_abstaining: int
    n_crossed: int
    notes: tuple[str, ...]
    judged: Judged | None = None
    several: tuple[FloatArray, FloatArray] | None = None

    def named(self, name: str) -> Series:
        """Return the baseline of a name."""
        return next(each for each in self.baselines if each.name == name)


_Predicted = tuple[Predictions, NDArray[np.bool_]]
"""Predictions of rows, and on which of them the recipe abstained."""


def prepare_trial(
    path: Path,
    train: Sequence[Path],
    data: Sequence[Path] = (),
    *,
    split: int = 0,
    prices_file: Path | None = None,
    n_draws: int = 1000,
    seed: int = 0,
    trusted: Collection[str] = (),
    progress: Callable[[str], None] = lambda _: None,
) -> Trial:
    """Predict all rows out of sample, by the artifact and by every baseline.

    Rows of `train` are predicted by the artifact's recipe, and by the baselines, fitted on the
    folds that they are not in. Rows of `data` are predicted by the artifact as it is, and by
    baselines fitted on all of `train`. Where the recipe cannot be fitted again (`train` is not what
    the artifact was fitted on, or it was changed since) only the rows of `data` are judged.

    Parameters
    ----------
    split
        Which folds: 0 for those of the training itself, others are drawn anew.

    Raises
    ------
    ArtifactError, DataError
        If the artifact or a file cannot be used, fewer than two models are in common, or there is
        no row that can be judged.
    """
    artifact = load_artifact(path, trusted=trusted)
    progress("reading outcomes")
    trained = read_outcomes(train)
    further = read_outcomes(data) if data else None
    models = common_models([artifact], [trained] if further is None else [trained, further])
    prices: PriceTable = {model: artifact.prices[model] for model in models}
    if prices_file is not None:
        prices = {**prices, **read_prices(prices_file, models)}
    recipe = _recipe(artifact, trained)
    notes = [] if isinstance(recipe, Recipe) else [f"Only the rows of --data are judged: {recipe}."]
    abstention = abstention_note(artifact.manifest)
    if abstention is not None:
        notes.append(f"{abstention}.")
    learned = _tried(trained, models)
    pool = select_rows(trained, models, prices, keep=learned)
    folds = np.full(len(pool), TRAIN_ONLY)
    if isinstance(recipe, Recipe):
        recipe = recipe.model_copy(update={"seed": recipe.seed + split})
        folds = _folds(trained, recipe)[learned]
    notes += [f"{doubt}." for doubt in doubts(trained)]
    fresh = _fresh(further, trained, models, notes)
    if further is not None and len(fresh):
        pool = join_rows(pool, select_rows(further, models, prices, keep=fresh))
        folds = np.append(folds, np.full(len(fresh), FURTHER))
    asked = np.flatnonzero(folds != TRAIN_ONLY)
    if len(asked) < 2:
        raise DataError(
            f"no rows to judge the artifact on ({'; '.join(notes) or 'too few'}); give outcomes "
            "that it was not trained on by --data"
        )

    def predict() -> _Predicted:
        abstaining = np.zeros(len(pool), bool)
        if isinstance(recipe, Recipe):
            crossed, means = _cross_fitted(
                artifact.featurizer.unfitted(),
                recipe,
                trained,
                artifact.prices,
                progress,
                described=artifact.manifest["training"].get("descriptions", ()),
            )
            columns = [trained.models.index(model) for model in models]
            blocks = [crossed.columns(columns).rows(learned)]
            abstaining[: len(learned)] = means[learned]
        else:
            blocks = [_nothing(len(learned), len(models))]
        if len(fresh):
            progress("predicting further rows")
            blocks.append(predict_rows(artifact, pool.take(np.flatnonzero(folds == FURTHER))))
        return stacked(blocks), abstaining

    trial = _on_rows(path.name, pool, folds, prices, predict, n_draws, seed, progress)
    judged = _judged(pool, folds)
    of_training = judged[judged < len(learned)]
    return replace(
        trial,
        artifact=artifact,
        notes=tuple(notes),
        judged=Judged(
            trained=learned[of_training],
            further=fresh[judged[judged >= len(learned)] - len(learned)],
            folds=folds[of_training],
        ),
    )


def try_recipe(
    recipe: Recipe,
    train: Sequence[Path],
    *,
    prices_file: Path | None = None,
    n_draws: int = 1000,
    seed: int = 0,
    progress: Callable[[str], None] = lambda _: None,
) -> Trial:
    """Try what a recipe makes of some outcomes, without an artifact: every row by other folds.

    Raises
    ------
    DataError, RoutingConfigError
        If a file or the recipe cannot be used.
    """
    progress("reading outcomes")
    trained = read_outcomes(train)
    prices = find_prices(trained, prices_file).prices
    featurizer = Featurizer(
        make_embedder(recipe.embedder.kind, recipe.embedder.options), recipe.blocks
    )
    return _on_rows(
        recipe.strategy,
        select_rows(trained, trained.models, prices, keep=np.arange(len(trained))),
        _folds(trained, recipe),
        prices,
        lambda: _cross_fitted(featurizer, recipe, trained, prices, progress),
        n_draws,
        seed,
        progress,
    )


def _on_rows(  # noqa: PLR0917
    name: str,
    pool: Rows,
    folds: NDArray[np.intp],
    prices: PriceTable,
    predict: Callable[[], _Predicted],
    n_draws: int,
    seed: int,
    progress: Callable[[str], None],
) -> Trial:
    """Set predictions of all rows, and baselines, on those that can be judged."""
    asked = np.flatnonzero(folds != TRAIN_ONLY)
    judged = _judged(pool, folds)
    support = Support.of(pool.quality[asked])
    candidate, label, n_abstaining = None, None, 0
    others: tuple[Series, ...] = ()
    if support.warning is None:
        predictions, abstaining = predict()
        n_abstaining = int(abstaining[judged].sum())
        candidate = _series(name, predictions.rows(judged), pool, judged, prices)
        others = (
            *baselines.fixed(pool.take(judged), None),
            baselines.crossed_prompt_length(pool, folds, judged),
            *baselines.crossed_neighbours(pool, folds, judged, prices, progress=progress),
        )
        label = baselines.crossed_label(pool, folds, judged)
    return Trial(
        artifact=None,
        frame=Frame(rows=pool.take(judged), n_draws=n_draws, seed=seed),
        support=support,
        candidate=candidate,
        baselines=others,
        label=label,
        n_abstaining=n_abstaining,
        n_crossed=int((folds[judged] >= 0).sum()),
        notes=(),
    )


def _judged(pool: Rows, folds: NDArray[np.intp]) -> NDArray[np.intp]:
    """Return the numbers of the rows that can be judged."""
    asked = np.flatnonzero(folds != TRAIN_ONLY)
    return np.asarray(asked[kept_rows(pool.quality[asked])])


def _recipe(artifact: RouterArtifact, trained: OutcomeTable) -> Recipe | str:
    """Return the recipe that made the artifact out of `trained`, or why there is none."""
    manifest = artifact.manifest
    if "recalibrated" in manifest or "inserted" in manifest or artifact.onboarded:
        return "the artifact was recalibrated, or taught outcomes or a model, after it was fitted"
    if {each.sha256 for each in trained.files} != {each.get("sha256") for each in manifest["data"]}:
        return "the files of --train are not those that the artifact was fitted on"
    if manifest["training"].get("auxiliary"):
        return "the artifact was fitted along with auxiliary files"
    return recipe_of(manifest) or "the artifact does not tell the recipe that it was fitted by"


def _tried(table: OutcomeTable, models: Sequence[str]) -> NDArray[np.intp]:
    """Return the numbers of rows that know an outcome of one of the models."""
    columns = [table.models.index(model) for model in models]
    return np.flatnonzero(~np.isnan(table.quality[:, columns]).all(axis=1))


def _folds(trained: OutcomeTable, recipe: Recipe) -> NDArray[np.intp]:
    fold_rng, *_ = random_streams(recipe.seed)
    return prompt_folds(trained.conversations, recipe.calibration_folds, fold_rng)


def _fresh(
    further: OutcomeTable | None, trained: OutcomeTable, models: Sequence[str], notes: list[str]
) -> NDArray[np.intp]:
    """Return the rows of `--data` whose prompts are not, or hardly changed, among `--train`."""
    if further is None:
        return np.empty(0, np.intp)
    seen = {normalised(each) for each in trained.conversations}
    rows = _tried(further, models)
    fresh = np.asarray([i for i in rows if normalised(further.conversations[i]) not in seen], int)
    if len(fresh) < len(rows):
        notes.append(
            f"{len(rows) - len(fresh)} rows of --data are left out: their prompts are among those "
            "of --train."
        )
    return fresh


def _cross_fitted(
    featurizer: Featurizer,
    recipe: Recipe,
    trained: OutcomeTable,
    prices: PriceTable,
    progress: Callable[[str], None],
    *,
    described: Sequence[str] = (),
) -> _Predicted:
    """Predict the training rows as training did: by the recipe, fitted on the other folds.

    In a fold on which it is not worth it, by the evidence of the others, something simpler is.
    """
    cls = ROUTERS.get(recipe.strategy)

    def make() -> Router:
        return build(cls, recipe.options, noun=f"strategy {recipe.strategy!r}")

    _, cross_rng, *_ = random_streams(recipe.seed)
    folds = _folds(trained, recipe)
    labels = replace(trained.labels, mean_cost_usd=mean_costs(trained, prices))
    if described:
        told = featurizer.embed([Conversation.of(text) for text in described])
        labels = replace(labels, descriptions=told)
    features = FoldFeatures(
        featurizer=featurizer,
        conversations=trained.conversations,
        known=featurizer.precompute(trained.conversations),
        seed=recipe.seed,
    )
    crossed = cross_fit(
        make,
        features,
        labels,
        folds=folds,
        rng=cross_rng,
        length_column=featurizer.length_column,
        progress=progress,
    )
    found = restrain(
        recipe, trained, labels, crossed, features=features, folds=folds, prices=prices
    )
    return found.predictions, found.abstaining


def _nothing(n_queries: int, n_models: int) -> Predictions:
    """Stand for predictions of rows that nobody asks about."""
    zeros = np.zeros((n_queries, n_models), np.float32)
    return Predictions(
        quality=zeros, quality_std=zeros, output_tokens=zeros, output_tokens_upper=zeros
    )


def _series(
    name: str, predictions: Predictions, pool: Rows, judged: NDArray[np.intp], prices: PriceTable
) -> Series:
    tokens = predictions.output_tokens
    cost = predicted_costs(pool.input_tokens[judged], tokens, pool.models, prices)
    return Series(
        name=name,
        kind="artifact",
        picks=sweep(predictions.quality.astype(np.float64), cost),
        predictions=predictions,
    )
