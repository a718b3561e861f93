"""Refit what the knob means for an artifact's policy of several calls."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from routers.artifact.artifact import RouterArtifact
from routers.artifact.calibration import CalibrationRows
from routers.artifact.workflow_knob import WorkflowKnob
from routers.data.answers import read_answers
from routers.data.dataset import OutcomeTable
from routers.errors import DataError
from routers.evaluation.frame import kept_rows, select_rows
from routers.evaluation.play import play
from routers.evaluation.policy import spec_of
from routers.evaluation.scene import Position, Scene
from routers.training.workflow_rates import measure
from routers.types import Predictions


@dataclass(frozen=True, slots=True)
class RefittedKnob:
    """What came of it.

    Attributes
    ----------
    knob
        None where it stays as it was.
    record
        Plain values for the manifest: whether it was refitted, and why not.
    """

    knob: WorkflowKnob | None
    record: dict[str, Any]


def refit_workflow_knob(
    artifact: RouterArtifact,
    table: OutcomeTable,
    data: Sequence[Path],
    answers: Sequence[Path],
    *,
    predictions: Predictions,
    calibration: CalibrationRows,
    seed: int = 0,
    progress: Callable[[str], None] = lambda _: None,
) -> RefittedKnob | None:
    """Measure a workflow at exchange rates on fresh answers; None where no knob steers it.

    Parameters
    ----------
    data, answers
        The files of the table, and files of answers where they do not stand beside the outcomes.
        Where nobody told any answers, the knob stays as it was.
    predictions
        Of all models of the artifact, corrected as it will correct them.
    calibration
        The rows that it will be stored with.

    Raises
    ------
    DataError
        If answers are given and the knob steers no workflow, or they cannot be used.
    """
    workflow = artifact.workflow
    if workflow is None or artifact.workflow_knob is None:
        if answers:
            raise DataError(
                "the artifact has no workflow that the knob steers, so nothing is refitted on "
                "answers; leave --answers out"
            )
        return None
    models = [model for model in artifact.models if model in table.models]
    try:
        recorded = read_answers(table, data, answers, models=models).columns(models)
    except DataError as error:
        if answers:
            raise
        return RefittedKnob(None, {"refitted": False, "why": str(error)})
    prices = {model: artifact.prices[model] for model in models}
    rows = select_rows(table, models, prices, keep=np.arange(len(table)))
    x = artifact.featurizer.transform(table.conversations) if workflow.reads_features else None
    columns = [artifact.column(model) for model in models]
    scene = Scene.of(
        [spec_of(model, prices[model]) for model in models],
        table.query_ids,
        rows,
        predictions.columns(columns),
        x,
        recorded,
    )
    everything = [artifact.prices[model] for model in artifact.models]
    dear_usd = calibration.dear_usd(range(len(everything)), everything)

    def go(rates: Sequence[float]) -> list[Position]:
        return play(workflow, scene, rates, scene.choices(rates), seed=seed)

    progress("replaying the workflow")
    measured = measure(go, rows.quality, dear_usd)
    record = {"refitted": True, "n_queries": len(kept_rows(rows.quality))}
    return RefittedKnob(measured.knob, record)
