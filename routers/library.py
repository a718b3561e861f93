"""The library's front door: outcomes in, a router out, and what it would do with a prompt."""

import os
import tempfile
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from routers.artifact.artifact import RouterArtifact
from routers.artifact.files import check_free
from routers.artifact.load import load_artifact
from routers.artifact.manifest import MANIFEST_FILE
from routers.artifact.weights import WEIGHTS_FILE
from routers.data.dataset import OutcomeTable, read_outcomes, table_of_records
from routers.data.facts import read_traits
from routers.data.messages import Prompt, read_prompts
from routers.data.prices import read_prices
from routers.decision.choice import choose_each
from routers.decision.decide import decide as decide_one
from routers.decisions import Decision
from routers.errors import ArtifactError, RoutingConfigError
from routers.evaluation.assess import predicted_costs
from routers.evaluation.replay import arrange
from routers.evaluation.replay import evaluate as measure
from routers.evaluation.result import Report
from routers.files import replacing
from routers.models import Demand, ModelSpec, PriceTable
from routers.objectives import Constraints, CostQuality, Objective
from routers.text.token_estimate import estimate_tokens, estimate_tokens_and_upper
from routers.training.fit import fit_table
from routers.training.recipe import Recipe, find_recipe
from routers.types import Predictions
from routers.wishes import NO_TRAITS, Traits, parse_flags

BALANCED = 0.8
"""Where the knob stands if nobody says."""

Data = str | os.PathLike[str] | Sequence[str | os.PathLike[str]] | OutcomeTable | Iterable[Any]
"""A file of outcomes or several, a table that was read, or outcomes as mappings."""

PriceList = str | os.PathLike[str] | Mapping[str, Any]
"""USD per million tokens: a file, or `{model: (input, output)}`."""

Facts = str | os.PathLike[str] | Mapping[str, Traits]
"""What is known of models: a catalogue, or `{model: Traits(...)}`."""

_NO_LIMITS = Constraints()
_LONG_CONTEXT = 2**31 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainedRouter:
    """A router that predicts and decides; safe to share between threads.

    Attributes
    ----------
    artifact
        What it was loaded from: manifest, features, calibrated knob.
    files
        The two files of the artifact, by name, as `save` writes them.
    """

    artifact: RouterArtifact
    files: Mapping[str, bytes]

    @property
    def models(self) -> tuple[str, ...]:
        """Names of the columns of predictions."""
        return self.artifact.models

    @property
    def prices(self) -> PriceTable:
        """What the models cost when it was trained."""
        return self.artifact.prices

    @property
    def metrics(self) -> Mapping[str, Any]:
        """What it reached on queries that were held out as it was trained."""
        found: Mapping[str, Any] = self.artifact.manifest["metrics"]
        return found

    def predict(self, prompts: Prompt | Sequence[Prompt]) -> Predictions:
        """Predict quality and output tokens of every model on one prompt, or on each of a list.

        Returns
        -------
        Predictions
            Arrays are (n_prompts, n_models), columns as in `models`.
        """
        return self.artifact.predict_conversations(read_prompts(prompts))

    def decide(
        self,
        prompt: Prompt,
        *,
        cost_quality: float = BALANCED,
        objective: Objective | None = None,
        constraints: Constraints = _NO_LIMITS,
        prices: PriceList | None = None,
        flags: str | None = None,
        traits: Facts | None = None,
    ) -> Decision:
        """Choose a model for one prompt.

        Parameters
        ----------
        cost_quality
            The knob: the share of the quality gap to recover, 0 (cheapest) to 1 (best).
        objective
            Another rule instead: `MinQuality(0.8)`, `MaxQualityLoss(0.02)`, `UsdPerQuality(0.01)`.
        constraints
            Limits that come before any score: `Constraints(max_cost_usd=0.01)`.
        prices
            Today's; those of the training without them.
        flags
            What is wanted besides quality and price: `size=1, recency=.5, security=high`.
        traits
            What is known of the models for that: a catalogue, or `{model: Traits(...)}`. What
            nobody knows counts as the worst.

        Returns
        -------
        Decision
            `model_id`, the models to try next (`fallbacks`), and what was predicted of each
            (`candidates`).

        Raises
        ------
        NoEligibleModelError
            If no model keeps the limits, or does what the flags demand.
        WishError
            If the flags cannot be understood.
        """
        (conversation,) = read_prompts(prompt)
        candidates = self._candidates(prices, traits)
        if flags is not None:
            constraints = msgspec.structs.replace(constraints, wishes=parse_flags(flags).wishes())
        tokens, upper = estimate_tokens_and_upper(conversation)
        return decide_one(
            candidates=candidates,
            predictions=self.artifact.predict_conversations([conversation]),
            demand=Demand(input_tokens=tokens, input_tokens_upper=upper),
            constraints=constraints,
            objective=CostQuality(_position(cost_quality)) if objective is None else objective,
            knob=self.artifact.knob_curve(candidates),
        )

    def choose(
        self,
        prompts: Sequence[Prompt],
        *,
        cost_quality: float = BALANCED,
        prices: PriceList | None = None,
    ) -> list[str]:
        """Return the model that the knob chooses for each of many prompts."""
        conversations = read_prompts(prompts)
        if not conversations:
            return []
        predictions = self.artifact.predict_conversations(conversations)
        candidates = self._candidates(prices)
        cost = predicted_costs(
            np.asarray([estimate_tokens(each) for each in conversations], np.float64),
            predictions.output_tokens,
            self.models,
            {spec.model_id: spec.prices for spec in candidates},
        )
        rate = self.artifact.knob_curve(candidates).usd_per_quality_for(_position(cost_quality))
        quality = predictions.quality.astype(np.float64)
        (picks,) = choose_each(quality, cost, [rate], model_ids=self.models)
        return [self.models[column] for column in picks]

    def save(self, folder: str | os.PathLike[str], *, overwrite: bool = False) -> Path:
        """Write the artifact into a folder, from which `load` and the gateway read it.

        Raises
        ------
        ArtifactError
            If the folder holds an artifact and `overwrite` is not set, or cannot be written.
        """
        path = Path(folder)
        check_free(path, overwrite=overwrite)
        try:
            path.mkdir(parents=True, exist_ok=True)
            with (
                replacing(path / MANIFEST_FILE) as manifest,
                replacing(path / WEIGHTS_FILE) as weights,
            ):
                weights.write_bytes(self.files[WEIGHTS_FILE])
                manifest.write_bytes(self.files[MANIFEST_FILE])
        except OSError as error:
            raise ArtifactError(f"cannot write the artifact to {path}: {error.strerror}") from error
        return path

    def _candidates(self, prices: PriceList | None, traits: Facts | None = None) -> list[ModelSpec]:
        listed = {} if prices is None else read_prices(_listing(prices), self.models)
        known: Mapping[str, Traits] = {}
        if traits is not None:
            known = (
                traits if isinstance(traits, Mapping) else read_traits(Path(traits), self.models)
            )
        return [
            ModelSpec(
                model_id=model,
                predicted_as=model,
                prices=listed.get(model, self.prices[model]),
                context_window_tokens=_LONG_CONTEXT,
                traits=known.get(model, NO_TRAITS),
            )
            for model in self.models
        ]


def load(folder: str | os.PathLike[str], *, trusted: Iterable[str] = ()) -> TrainedRouter:
    """Load a router that `fit` (or `steelyard fit`) wrote; nothing of it is run.

    Parameters
    ----------
    trusted
        Folders and models of encoders, which may run code, that it may name.

    Raises
    ------
    ArtifactError
        If it is missing, damaged, or does not fit the code at hand; the message says what.
    """
    path = Path(folder)
    artifact = load_artifact(path, trusted=tuple(trusted))
    try:
        files = {name: (path / name).read_bytes() for name in (MANIFEST_FILE, WEIGHTS_FILE)}
    except OSError as error:
        raise ArtifactError(f"{path}: cannot be read ({error.strerror})") from error
    return TrainedRouter(artifact=artifact, files=files)


def outcomes(data: Data) -> OutcomeTable:
    """Return outcomes as a table: of files (see docs/guides/train-your-own.md), or from memory.

    Parameters
    ----------
    data
        A file or several; or one mapping an outcome with the keys of a JSON line (`prompt`,
        `model`, `quality`, ...) or one mapping a query with `prompt` and `q:MODEL`, ...; a data
        frame of such rows will do.

    Raises
    ------
    DataError
        If the data cannot be understood; the message names the place.
    """
    if isinstance(data, OutcomeTable):
        return data
    if isinstance(data, str | os.PathLike):
        return read_outcomes([Path(data)])
    rows = data.to_dict("records") if hasattr(data, "to_dict") else list(data)
    if rows and all(isinstance(each, str | os.PathLike) for each in rows):
        return read_outcomes([Path(each) for each in rows])
    return table_of_records(rows)


def fit(
    data: Data,
    *,
    out: str | os.PathLike[str] | None = None,
    recipe: str | os.PathLike[str] | Recipe | None = None,
    prices: PriceList | None = None,
    seed: int | None = None,
    overwrite: bool = False,
    progress: Callable[[str], None] = lambda _: None,
) -> TrainedRouter:
    """Train a router on outcomes.

    Parameters
    ----------
    data
        As `outcomes` takes it.
    out
        Folder to write the artifact to; without one it is kept in memory (`save` writes it).
    recipe
        A `Recipe`, a YAML file, or the name of one of configs/training; the default one without.
        `Recipe(strategy="my-own")` trains a strategy of that name.
    prices
        USD per million tokens of models whose costs the data does not tell.
    seed
        Instead of the recipe's.
    overwrite
        Whether an artifact that is in `out` may be replaced.
    progress
        Told what is being done, a line at a time; `print` will do.

    Raises
    ------
    DataError, RoutingConfigError, ArtifactError
        If the data, the recipe or the folder cannot be used.
    """
    if not isinstance(recipe, Recipe):
        recipe = Recipe() if recipe is None else find_recipe(Path(recipe))
    if seed is not None:
        recipe = recipe.model_copy(update={"seed": seed})
    if recipe.workflow is not None:
        raise RoutingConfigError(
            "a recipe with a workflow learns from answers, which stand in files: steelyard fit"
        )
    if out is not None:
        check_free(Path(out), overwrite=overwrite)
    table = outcomes(data)
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "artifact" if out is None else Path(out)
        report = fit_table(
            table,
            path,
            recipe=recipe,
            created_at=datetime.now(UTC).isoformat(timespec="seconds"),
            steelyard_version=metadata.version("steelyard"),
            prices=None if prices is None else _listing(prices),
            progress=progress,
        )
        for doubt in report.doubts:
            warnings.warn(doubt, stacklevel=2)
        return load(path, trusted=_encoders_of(recipe))


def evaluate(
    routers: TrainedRouter | Mapping[str, TrainedRouter],
    data: Data,
    *,
    train: Data | None = None,
    prices: PriceList | None = None,
    draws: int = 1000,
    seed: int = 0,
    progress: Callable[[str], None] = lambda _: None,
) -> Report:
    """Measure routers and baselines on outcomes that no router was trained on.

    Parameters
    ----------
    routers
        One (then named `router`), or several by name: these are compared in pairs.
    data
        As `outcomes` takes it.
    train
        The outcomes of the training: for the baselines that learn.
    prices
        Today's; those of the first router's training without them.
    draws, seed
        Resamplings behind the 95 % intervals.

    Raises
    ------
    DataError
        If the data cannot be used, or fewer than two models are in common.
    """
    named = {"router": routers} if isinstance(routers, TrainedRouter) else routers
    arena = arrange(
        {name: each.artifact for name, each in named.items()},
        outcomes(data),
        train_table=None if train is None else outcomes(train),
        prices_file=None if prices is None else _listing(prices),
        n_draws=draws,
        seed=seed,
        progress=progress,
    )
    return Report.of(measure(arena, progress=progress))


def _listing(prices: PriceList) -> Path | Mapping[str, Any]:
    return prices if isinstance(prices, Mapping) else Path(prices)


def _position(cost_quality: float) -> float:
    if not 0 <= cost_quality <= 1:
        raise RoutingConfigError(f"the knob is at {cost_quality}; it goes from 0 to 1")
    return cost_quality + 0.0  # no negative zero


def _encoders_of(recipe: Recipe) -> tuple[str, ...]:
    from routers.embedders.base import EMBEDDERS  # noqa: PLC0415

    outside = EMBEDDERS.get(recipe.embedder.kind).outside(recipe.embedder.options)
    return () if outside is None else (outside,)
