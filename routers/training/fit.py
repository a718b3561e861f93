"""From outcome data to an artifact directory."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from routers.answers.recorded import RecordedAnswers
from routers.artifact.calibration import CalibrationRows
from routers.artifact.load import load_artifact
from routers.artifact.save import TrainingRecord, save_artifact
from routers.base import ROUTERS, Router
from routers.data.answers import read_answers
from routers.data.dataset import OutcomeTable, read_outcomes
from routers.data.descriptions import read_descriptions
from routers.data.doubts import doubts
from routers.data.prices import find_prices
from routers.embedders.base import EMBEDDERS, make_embedder
from routers.errors import RoutingConfigError
from routers.evaluation.assess import assess, mean_costs
from routers.evaluation.crossfit import check_folds, cross_fit, prompt_folds, random_streams
from routers.features.featurizer import Featurizer
from routers.heads.base import check_heads
from routers.options import build
from routers.training.abstain import restrain
from routers.training.beside_length import over_prompt_length
from routers.training.fold_features import AuxiliaryFile, FoldFeatures
from routers.training.planted import find_planted
from routers.training.recipe import Recipe
from routers.training.several_calls import fit_workflow
from routers.types import Conversation
from routers.workflows.base import make_workflow


@dataclass(frozen=True, slots=True, kw_only=True)
class FitReport:
    """What a training run made."""

    path: Path
    version: str
    manifest: dict[str, Any]
    doubts: tuple[str, ...] = ()
    """What is odd about the data, as sentences."""


def fit(
    data: Sequence[Path],
    out: Path,
    *,
    recipe: Recipe,
    created_at: str,
    steelyard_version: str,
    prices_file: Path | None = None,
    descriptions_file: Path | None = None,
    auxiliary: Sequence[Path] = (),
    answers: Sequence[Path] = (),
    progress: Callable[[str], None] = lambda _: None,
) -> FitReport:
    """Train a router on files of outcomes and write its artifact.

    Parameters
    ----------
    data, auxiliary
        Outcome files; the auxiliary ones tell of other models, and a strategy may ignore them.
    answers
        Files of answers, for recipes with a workflow; without them they have to stand in `data`.
    descriptions_file
        What is written of the models, for strategies that read it.
    created_at
        For the manifest only; nothing depends on it.
    progress
        Told what is being done, a line at a time.

    Raises
    ------
    DataError, RoutingConfigError, ArtifactError
        If the data, the recipe or the destination cannot be used.

    Notes
    -----
    Every number in the manifest's metrics, and every calibration row, comes from cross-fitting:
    a router that has not seen the query, nor one that differs in punctuation only. On prompts of
    the public sets behind the block `difficulty`, that block has (no gain from it was measured).
    """
    make_parts(recipe)  # a wrong option should fail before the long work
    progress("reading outcomes")
    table = read_outcomes(data)
    return fit_table(
        table,
        out,
        recipe=recipe,
        created_at=created_at,
        steelyard_version=steelyard_version,
        prices=prices_file,
        auxiliary=auxiliary,
        described=_described(recipe, descriptions_file, table),
        recorded=_recorded(recipe, table, data, answers),
        progress=progress,
    )


def fit_table(
    table: OutcomeTable,
    out: Path,
    *,
    recipe: Recipe,
    created_at: str,
    steelyard_version: str,
    prices: Path | Mapping[str, Any] | None = None,
    auxiliary: Sequence[Path] = (),
    described: Sequence[str] = (),
    recorded: RecordedAnswers | None = None,
    progress: Callable[[str], None] = lambda _: None,
) -> FitReport:
    """Train a router on outcomes that were read already, and write its artifact; see `fit`.

    Parameters
    ----------
    prices
        A file, or what one would hold; for models whose costs the table does not tell.
    described
        What is written of each model, for a strategy that reads it.
    recorded
        What the models answered, for a recipe with a workflow.
    """
    source = find_prices(table, prices)
    if prices is not None and "costs" in source.origin.values():
        derived = [model for model, origin in source.origin.items() if origin == "costs"]
        told = prices if isinstance(prices, Path) else "those given"
        progress(f"prices by recorded costs, not by {told}: {', '.join(derived)}")
    labels = replace(table.labels, mean_cost_usd=mean_costs(table, source.prices))
    featurizer = make_parts(recipe)
    planted = find_planted(table.conversations, table.quality, featurizer.embed)
    if len(planted.rows):
        progress(planted.told())
        kept = np.setdiff1d(np.arange(len(table)), planted.rows)
        table, labels = table.rows(kept), labels.rows(kept)
        recorded = None if recorded is None else recorded.rows(kept)

    def make(wanted: Recipe = recipe) -> Router:
        kind = wanted.strategy
        return build(ROUTERS.get(kind), wanted.options, noun=f"strategy {kind!r}")

    if described:
        embedded = featurizer.embed([Conversation.of(text) for text in described])
        labels = replace(labels, descriptions=embedded)
    fold_rng, cross_rng, keep_rng, final_rng = random_streams(recipe.seed)
    folds = prompt_folds(table.conversations, recipe.calibration_folds, fold_rng)
    check_folds(labels, folds)
    progress(f"embedding {len(table)} queries")
    known = featurizer.precompute(table.conversations)

    others = [AuxiliaryFile.read(path, featurizer) for path in auxiliary]
    features = FoldFeatures(
        featurizer=featurizer,
        conversations=table.conversations,
        known=known,
        auxiliary=others,
        seed=recipe.seed,
    )
    held_out = cross_fit(
        make,
        features,
        labels,
        folds=folds,
        rng=cross_rng,
        length_column=featurizer.unfitted().length_column,
        progress=progress,
    )
    restrained = restrain(
        recipe, table, labels, held_out, features=features, folds=folds, prices=source.prices
    )
    served, held_out = restrained.recipe, restrained.predictions
    metrics = assess(table, held_out, folds=folds, prices=source.prices) | {
        "aiq_over_prompt_length": over_prompt_length(
            table, held_out, folds=folds, prices=source.prices
        ),
        "aiq_over_simpler": {kind: area.to_dict() for kind, area in restrained.over.items()},
    }
    calibration = CalibrationRows.collect(
        restrained.served, input_tokens=table.input_tokens, quality=table.quality, rng=keep_rng
    )
    progress("fitting on all rows")
    featurizer.fit(table.conversations, seed=recipe.seed)
    sets = [each.features(featurizer) for each in others]
    x = featurizer.transform(table.conversations, known=known)
    router = make(served).fit(
        x,
        labels,
        rng=final_rng,
        auxiliary=sets,
        length_column=featurizer.length_column,
    )
    several = None
    if recipe.workflow is not None and recorded is not None:
        several = fit_workflow(
            recipe.workflow,
            table,
            recorded,
            labels=labels,
            x=x,
            predictions=restrained.served,
            folds=folds,
            calibration=calibration,
            prices=source.prices,
            seed=recipe.seed,
            progress=progress,
        )
        metrics["workflow"] = several.metrics
    save_artifact(
        out,
        router=router,
        featurizer=featurizer,
        calibration=calibration,
        prices=source.prices,
        record=TrainingRecord(
            created_at=created_at,
            steelyard_version=steelyard_version,
            seed=recipe.seed,
            data=[
                {"file": file.name, "sha256": file.sha256, "rows": file.n_rows}
                for file in table.files
            ],
            training={
                "recipe": recipe.model_dump(mode="json", exclude_none=True),
                "n_queries": len(table),
                "n_outcomes": int((~np.isnan(table.quality)).sum()),
                "calibration_rows": len(calibration),
                "price_origin": dict(source.origin),
                "price_fit_error": dict(source.fit_error),
                "models_without_tokens": _without_tokens(table),
                "auxiliary": [path.name for path in auxiliary],
                **({"descriptions": list(described)} if described else {}),
                "abstains": None if served is recipe else served.strategy,
            },
            metrics=metrics,
        ),
        workflow=None if several is None else several.workflow,
        workflow_knob=None if several is None else several.knob,
    )
    outside = EMBEDDERS.get(recipe.embedder.kind).outside(recipe.embedder.options)
    artifact = load_artifact(out, trusted=() if outside is None else (outside,))
    return FitReport(
        path=out,
        version=artifact.version,
        manifest=dict(artifact.manifest),
        doubts=(*doubts(table), *((planted.told(),) if len(planted.rows) else ())),
    )


def make_parts(recipe: Recipe) -> Featurizer:
    """Make everything that a recipe names, unfitted, and return what makes its features.

    Raises
    ------
    RoutingConfigError
        If a kind does not exist, or an option does not exist or fit, however deep it stands.
    """
    kind = recipe.strategy
    router = build(ROUTERS.get(kind), recipe.options, noun=f"strategy {kind!r}")
    check_heads(router)
    first = router.first_block
    if first is not None and recipe.blocks[:1] != (first,):
        blocks = ", ".join(dict.fromkeys((first, *recipe.blocks)))
        raise RoutingConfigError(
            f"the strategy {kind!r} reads the feature block {first!r}, which has to come first: "
            f"blocks: [{blocks}]"
        )
    if recipe.workflow is not None:
        make_workflow(recipe.workflow)
    return Featurizer(make_embedder(recipe.embedder.kind, recipe.embedder.options), recipe.blocks)


def _described(recipe: Recipe, file: Path | None, table: OutcomeTable) -> tuple[str, ...]:
    if file is None:
        return ()
    if not ROUTERS.get(recipe.strategy).reads_descriptions:
        raise RoutingConfigError(
            f"the strategy {recipe.strategy!r} reads no descriptions of models; leave "
            "--descriptions out, or fit graph, mirt or nirt"
        )
    return read_descriptions(file, table.models)


def _recorded(
    recipe: Recipe, table: OutcomeTable, data: Sequence[Path], answers: Sequence[Path]
) -> RecordedAnswers | None:
    """Read the answers for a recipe with a workflow, and see that it can work."""
    if recipe.workflow is None:
        if answers:
            raise RoutingConfigError(
                "the recipe has no workflow, so nothing would learn from answers; give one that "
                "has (configs/training), or leave --answers out"
            )
        return None
    doubts = make_workflow(recipe.workflow).doubts(table.models)
    if doubts:
        raise RoutingConfigError(f"the workflow cannot work: {doubts[0]}")
    return read_answers(table, data, answers)


def _without_tokens(table: OutcomeTable) -> list[str]:
    silent = np.isnan(table.output_tokens).all(axis=0)
    return [table.models[column] for column in np.flatnonzero(silent)]
