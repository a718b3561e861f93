"""Fit a policy of several calls beside a router, and tell whether it is worth its calls."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from routers.answers.recorded import RecordedAnswers
from routers.artifact.calibration import CalibrationRows
from routers.artifact.workflow_knob import WorkflowKnob
from routers.base import Labels
from routers.data.dataset import OutcomeTable
from routers.evaluation.assess import predicted_costs
from routers.evaluation.equal_cost import gains
from routers.evaluation.frame import NEGLIGIBLE, Frame, kept_rows, select_rows, sweep
from routers.evaluation.play import play
from routers.evaluation.policy import spec_of
from routers.evaluation.scene import Position, Scene, stacked_positions
from routers.models import PriceTable
from routers.training.workflow_rates import measure
from routers.types import FloatMatrix, Predictions
from routers.workflows.base import Workflow, WorkflowContext, make_workflow

POSITIONS = tuple(round(0.05 * step, 2) for step in range(21))
"""At which the knob is calibrated, and a workflow compared with single choice."""

_DRAWS = 400


@dataclass(frozen=True, slots=True, kw_only=True)
class FittedWorkflow:
    """A workflow, what the knob means for it, and what it was found to be worth.

    Attributes
    ----------
    workflow
        None where single choice is as good, so that it serves.
    knob
        None where the knob does not steer it.
    metrics
        Plain values for the manifest: of the workflow fitted on other folds.
    """

    workflow: Workflow | None
    knob: WorkflowKnob | None
    metrics: dict[str, Any]


def fit_workflow(
    given: Mapping[str, Any],
    table: OutcomeTable,
    answers: RecordedAnswers,
    *,
    labels: Labels,
    x: FloatMatrix,
    predictions: Predictions,
    folds: NDArray[np.intp],
    calibration: CalibrationRows,
    prices: PriceTable,
    seed: int,
    progress: Callable[[str], None] = lambda _: None,
) -> FittedWorkflow:
    """Fit a workflow on all rows, and measure it fold by fold, fitted on the others.

    Parameters
    ----------
    given
        Its kind and options.
    predictions
        Of the router, by a fit that has not seen the query.
    calibration
        Of the router's knob, whose positions become exchange rates.
    """
    rows = select_rows(table, table.models, prices, keep=np.arange(len(table)))
    context = WorkflowContext(
        x=x,
        conversations=table.conversations,
        labels=labels,
        predictions=predictions,
        answers=answers,
        cost_usd=rows.cost_usd,
        predicted_cost_usd=predicted_costs(
            table.input_tokens, predictions.output_tokens, table.models, prices
        ),
        folds=folds,
        rng=np.random.default_rng([seed, int(folds.max()) + 1]),
    )
    specs = [spec_of(model, prices[model]) for model in table.models]
    scene = Scene.of(specs, table.query_ids, rows, predictions, x, answers)
    columns, priced = range(len(specs)), [prices[model] for model in table.models]
    crossed = Crossed.fit(given, context, scene, seed=seed, progress=progress)
    kept, knob = kept_rows(rows.quality), None
    steered = make_workflow(given).heeds_knob
    if steered:
        dear_usd = calibration.dear_usd(columns, priced)
        progress("calibrating the knob of the workflow")
        measured = measure(crossed.play, rows.quality, dear_usd)
        knob = measured.knob
        positions = [measured.at(knob.usd_per_quality(t, dear_usd)) for t in POSITIONS]
    else:
        curve = calibration.curve(columns, priced)
        positions = crossed.play([curve.usd_per_quality_for(t) for t in POSITIONS])
    quality = realised_quality(positions, rows.quality)
    progress("fitting the workflow on all rows")
    workflow = make_workflow(given).fit(context)
    frame = Frame(rows=rows.take(kept), n_draws=_DRAWS, seed=seed)
    metrics = _metrics(frame, scene, positions, quality, kept, steered=steered)
    if workflow.rehearses:
        # Recorded answers tell all of such a workflow: it asks nothing of its own.
        metrics = {"ships": metrics["aiq_over_single_choice"]["value"] > NEGLIGIBLE, **metrics}
    return FittedWorkflow(
        workflow=workflow if metrics.get("ships", True) else None,
        knob=knob if metrics.get("ships", True) else None,
        metrics=metrics,
    )


def _picks(scene: Scene, kept: NDArray[np.intp]) -> NDArray[np.intp]:
    """Return what single choice takes at every exchange rate, (n_settings, n_kept)."""
    assert scene.predictions is not None  # noqa: S101  (there is a router)
    return sweep(scene.predictions.quality.astype(np.float64), scene.expected_costs())[:, kept]


@dataclass(frozen=True, slots=True)
class Crossed:
    """A workflow that was fitted once for every fold, on the others."""

    scene: Scene
    parts: list[tuple[NDArray[np.intp], Workflow]]
    seed: int

    @classmethod
    def fit(
        cls,
        given: Mapping[str, Any],
        context: WorkflowContext,
        scene: Scene,
        *,
        seed: int,
        progress: Callable[[str], None] = lambda _: None,
    ) -> Self:
        """Fit it for each fold of the context, whose queries are those of the scene."""
        n_folds = int(context.folds.max()) + 1
        parts = []
        for fold in range(n_folds):
            progress(f"fitting the workflow, fold {fold + 1}/{n_folds}")
            others, mine = (
                np.flatnonzero(context.folds != fold),
                np.flatnonzero(context.folds == fold),
            )
            rng = np.random.default_rng([seed, fold])
            parts.append((mine, make_workflow(given).fit(_part(context, others, rng))))
        return cls(scene, parts, seed)

    def play(self, rates: Sequence[float]) -> list[Position]:
        """Return how it goes on every fold, at every exchange rate."""
        picks = self.scene.choices(rates)
        played = [
            play(workflow, self.scene.rows(mine), rates, picks[:, mine], seed=self.seed)
            for mine, workflow in self.parts
        ]
        back = np.argsort(np.concatenate([mine for mine, _ in self.parts]))
        return [stacked_positions(each).rows(back) for each in zip(*played, strict=True)]


def realised_quality(
    positions: Sequence[Position], quality: NDArray[np.floating]
) -> NDArray[np.float64]:
    """Return what was served at each position was worth, (n_positions, n_queries)."""
    return np.stack([each.quality(quality) for each in positions])


def _part(
    context: WorkflowContext, index: NDArray[np.intp], rng: np.random.Generator
) -> WorkflowContext:
    return WorkflowContext(
        x=context.x[index],
        conversations=[context.conversations[i] for i in index],
        labels=context.labels.rows(index),
        predictions=context.predictions.rows(index),
        answers=context.answers.rows(index),
        cost_usd=context.cost_usd[index],
        predicted_cost_usd=context.predicted_cost_usd[index],
        folds=np.unique(context.folds[index], return_inverse=True)[1],
        rng=rng,
    )


def _metrics(
    frame: Frame,
    scene: Scene,
    positions: Sequence[Position],
    quality: NDArray[np.float64],
    kept: NDArray[np.intp],
    *,
    steered: bool,
) -> dict[str, Any]:
    singles = np.concatenate([_picks(scene, kept), frame.every_single])
    cost = np.stack([each.cost_usd for each in positions])[:, kept]
    over = gains(frame, cost, quality[:, kept], *frame.realised(singles), steered=steered)
    return {
        "aiq_over_single_choice": over.area.to_dict(),
        "positions": [
            {
                "cost_quality": t,
                "quality": float(np.nanmean(quality[i, kept])),
                "usd_per_1000": float(1000 * cost[i].mean()),
                "calls": float(position.n_calls[kept].mean()),
                "over_single_choice": over.positions[i].to_dict(),
            }
            for i, (t, position) in enumerate(zip(POSITIONS, positions, strict=True))
        ],
    }
