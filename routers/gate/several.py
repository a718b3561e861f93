"""How an artifact's workflow goes on the rows that the gate judges, none of which it has seen."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from routers.answers.recorded import RecordedAnswers
from routers.artifact.manifest import read_manifest
from routers.data.answers import read_answers
from routers.data.dataset import OutcomeTable, read_outcomes
from routers.evaluation.assess import predicted_costs
from routers.evaluation.equal_cost import beside_singles
from routers.evaluation.frame import select_rows
from routers.evaluation.play import play
from routers.evaluation.policy import spec_of
from routers.evaluation.scene import Position, Scene, stacked_positions
from routers.gate.trial import Trial
from routers.models import PriceTable
from routers.training.several_calls import POSITIONS, Crossed, realised_quality
from routers.workflows.base import WorkflowContext


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """Outcomes, and what the models answered to these queries."""

    table: OutcomeTable
    answers: RecordedAnswers


def read_answered(
    path: Path, train: Sequence[Path], data: Sequence[Path], answers: Sequence[Path]
) -> tuple[Answered, Answered | None] | None:
    """Return the rows of the training and further ones with answers; None without a workflow.

    Raises
    ------
    DataError
        If answers are missing.
    """
    manifest = read_manifest(path)
    if manifest.get("workflow") is None:
        return None
    found = []
    for files in (train, data):
        if files:
            table = read_outcomes(files)
            models = [model for model in manifest["models"] if model in table.models]
            recorded = read_answers(table, files, answers, models=models)
            found.append(Answered(table=table, answers=recorded))
    return found[0], found[1] if data else None


def with_workflow(
    trial: Trial,
    answered: tuple[Answered, Answered | None],
    *,
    seed: int = 0,
    progress: Callable[[str], None] = lambda _: None,
) -> Trial:
    """Return a trial with what the workflow of its artifact realised.

    Rows of the training go the way of a workflow that was fitted on the other folds, further rows
    that of the artifact as it is.
    """
    artifact, judged = trial.artifact, trial.judged
    if artifact is None or artifact.workflow is None or trial.candidate is None or judged is None:
        return trial
    models = trial.frame.rows.models
    prices = {model: artifact.prices[model] for model in models}
    specs = [spec_of(model, prices[model]) for model in models]
    curve = artifact.knob_curve(specs)
    rates = [curve.usd_per_quality_for(t) for t in POSITIONS]
    if artifact.workflow_knob is not None:
        dear_usd = artifact.dear_usd(specs)
        rates = [artifact.workflow_knob.usd_per_quality(t, dear_usd) for t in POSITIONS]
    n_crossed = len(judged.trained)
    parts: list[list[Position]] = []
    if n_crossed:
        scene = _scene(trial, answered[0], judged.trained, np.arange(n_crossed), prices)
        context = _context(scene, answered[0].table, judged.trained, judged.folds, prices)
        recipe = artifact.manifest["training"]["recipe"]["workflow"]
        progress("replaying the workflow on rows of the training")
        crossed = Crossed.fit(recipe, context, scene, seed=seed, progress=progress)
        parts.append(crossed.play(rates))
    if len(judged.further) and answered[1] is not None:
        at = np.arange(n_crossed, len(trial.frame.rows))
        scene = _scene(trial, answered[1], judged.further, at, prices)
        progress("replaying the workflow on further rows")
        parts.append(play(artifact.workflow, scene, rates, scene.choices(rates), seed=seed))
    positions = [stacked_positions(each) for each in zip(*parts, strict=True)]
    cost = np.stack([each.cost_usd for each in positions])
    several = cost, realised_quality(positions, trial.frame.rows.quality)
    if not artifact.workflow.heeds_knob:
        picks = np.concatenate([trial.candidate.picks, trial.frame.every_single])
        several = beside_singles(*several, *trial.frame.realised(picks))
    return replace(trial, several=several)


def _scene(
    trial: Trial, answered: Answered, index: np.ndarray, at: np.ndarray, prices: PriceTable
) -> Scene:
    """Set rows of a table, which are rows `at` of the trial."""
    assert trial.artifact is not None  # noqa: S101  (the caller has looked)
    assert trial.candidate is not None  # noqa: S101
    assert trial.candidate.predictions is not None  # noqa: S101  (artifacts predict)
    models, table = trial.frame.rows.models, answered.table
    rows = select_rows(table, models, prices, keep=index)
    return Scene.of(
        [spec_of(model, prices[model]) for model in models],
        [table.query_ids[i] for i in index],
        rows,
        trial.candidate.predictions.rows(at),
        trial.artifact.featurizer.transform(rows.conversations),
        answered.answers.columns(models).rows(index),
    )


def _context(
    scene: Scene,
    table: OutcomeTable,
    index: np.ndarray,
    folds: np.ndarray,
    prices: PriceTable,
) -> WorkflowContext:
    assert scene.predictions is not None  # noqa: S101  (made so above)
    assert scene.x is not None  # noqa: S101
    assert scene.answers is not None  # noqa: S101
    models = tuple(spec.model_id for spec in scene.candidates)
    columns = [table.models.index(model) for model in models]
    labels = table.labels.rows(index)
    tokens = labels.output_tokens
    return WorkflowContext(
        x=scene.x,
        conversations=scene.conversations,
        labels=replace(
            labels,
            models=models,
            quality=labels.quality[:, columns],
            output_tokens=None if tokens is None else tokens[:, columns],
            comparisons=None,
            samples=None if labels.samples is None else labels.samples[:, columns],
        ),
        predictions=scene.predictions,
        answers=scene.answers,
        cost_usd=scene.cost_usd,
        predicted_cost_usd=predicted_costs(
            scene.input_tokens, scene.predictions.output_tokens, models, prices
        ),
        folds=folds,
        rng=np.random.default_rng(0),
    )
