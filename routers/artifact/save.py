"""Write a fitted router to disk: freshly trained, with one more model, or recalibrated."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from routers.artifact.artifact import RouterArtifact
from routers.artifact.calibration import CalibrationRows
from routers.artifact.correction import Correction
from routers.artifact.files import (
    CALIBRATION,
    CORRECTION,
    FEATURES,
    ONBOARDED,
    ROUTER,
    WORKFLOW,
    write_files,
)
from routers.artifact.manifest import FORMAT
from routers.artifact.placed_model import Onboarded
from routers.artifact.workflow_knob import WorkflowKnob
from routers.base import Router
from routers.errors import RoutingConfigError
from routers.features.featurizer import Featurizer
from routers.models import Prices, PriceTable
from routers.options import options_of, prefixed
from routers.workflows.base import Workflow

_LATER = frozenset(
    {
        "cache_write_usd_per_mtok",
        "cache_write_1h_usd_per_mtok",
        "audio_input_usd_per_mtok",
        "audio_output_usd_per_mtok",
    }
)
"""Prices that earlier manifests do not have: the same training gives the same version."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingRecord:
    """What the manifest tells of how an artifact came about; plain values only."""

    created_at: str
    steelyard_version: str
    seed: int
    data: Sequence[Mapping[str, Any]]
    training: Mapping[str, Any]
    metrics: Mapping[str, Any]


def save_artifact(
    path: Path,
    *,
    router: Router,
    featurizer: Featurizer,
    calibration: CalibrationRows,
    prices: PriceTable,
    record: TrainingRecord,
    workflow: Workflow | None = None,
    workflow_knob: WorkflowKnob | None = None,
) -> None:
    """Write a fitted router as `manifest.json` and `weights.npz` into the folder `path`.

    The same router gives the same bytes; only `created_at` may differ.

    Parameters
    ----------
    workflow, workflow_knob
        What makes several calls with the router, if anything, and what the knob means for it.

    Raises
    ------
    NotFittedError
        If the router was not fitted.
    ArtifactError
        If the files cannot be written.
    """
    content: dict[str, Any] = {
        "format": FORMAT,
        "steelyard_version": record.steelyard_version,
        "created_at": record.created_at,
        "seed": record.seed,
        "strategy": {"kind": router.kind, "options": options_of(router)},
        "features": featurizer.schema.to_dict(),
        "models": list(router.models_),
        "data": [dict(each) for each in record.data],
        "training": dict(record.training),
        "metrics": dict(record.metrics),
        "notes": router.notes(),
    }
    if workflow is not None:
        content["workflow"] = _entry(workflow, workflow_knob)
    arrays = _trained_arrays(router, featurizer, workflow)
    _write(path, content, arrays, calibration=calibration, prices=prices)


def save_onboarded(
    path: Path,
    artifact: RouterArtifact,
    added: Onboarded,
    *,
    prices: Prices,
    record: Mapping[str, Any],
    created_at: str,
) -> None:
    """Write an artifact that predicts one more model, into the folder `path`.

    Everything that was trained stays as it is, to the last bit. A model that was onboarded
    before is replaced.

    Parameters
    ----------
    record
        What the manifest tells of the estimate; plain values only.

    Raises
    ------
    RoutingConfigError
        If the router was trained on a model of that name, or was recalibrated since.
    ArtifactError
        If the files cannot be written.
    """
    router, model = artifact.router, added.model
    artifact.check_onboarding(model)
    if "recalibrated" in artifact.manifest:
        raise RoutingConfigError(
            "the artifact was recalibrated, which a further model would make void; onboard the "
            "model to the artifact before that, then calibrate"
        )
    old = artifact.manifest.get("onboarded", [])
    kept = [i for i, each in enumerate(artifact.onboarded) if each.model != model]
    onboarded = [*(artifact.onboarded[i] for i in kept), added]
    content = {
        **artifact.manifest,
        "created_at": created_at,
        "models": [*router.models_, *(each.model for each in onboarded)],
        "onboarded": [*(old[i] for i in kept), {"model": model, **record}],
    }
    arrays = _trained_arrays(router, artifact.featurizer, artifact.workflow) | _onboarded_arrays(
        onboarded
    )
    trained = artifact.calibration.first_columns(len(router.models_))
    columns = [
        each.predict_from_base(trained.quality_predicted, trained.output_tokens)
        for each in onboarded
    ]
    _write(
        path,
        content,
        arrays,
        calibration=trained.with_columns(columns),
        prices={**artifact.prices, model: prices},
    )


def save_remapped(
    path: Path,
    artifact: RouterArtifact,
    router: Router,
    *,
    calibration: CalibrationRows,
    record: Mapping[str, Any],
    created_at: str,
) -> None:
    """Write an artifact whose router learned the same and answers otherwise, into `path`.

    Its recipe is changed along: fitted again, it gives such a router.

    Parameters
    ----------
    calibration
        Rows that it predicts as it answers now.
    record
        What the manifest tells of the change; plain values only.

    Raises
    ------
    ArtifactError
        If the files cannot be written.
    """
    options = options_of(router)
    training = {**artifact.manifest["training"], "mapped": dict(record)}
    if "recipe" in training:
        training["recipe"] = {**training["recipe"], "options": options}
    content = {
        **artifact.manifest,
        "created_at": created_at,
        "strategy": {"kind": router.kind, "options": options},
        "training": training,
        "notes": router.notes(),
    }
    arrays = _trained_arrays(router, artifact.featurizer, None)
    _write(path, content, arrays, calibration=calibration, prices=artifact.prices)


def save_recalibrated(
    path: Path,
    artifact: RouterArtifact,
    *,
    correction: Correction | None,
    calibration: CalibrationRows,
    record: Mapping[str, Any],
    created_at: str,
    workflow_knob: WorkflowKnob | None = None,
) -> None:
    """Write an artifact with another calibration into the folder `path`.

    What was trained stays as it is, to the last bit; an earlier recalibration is replaced.

    Parameters
    ----------
    calibration
        Rows with corrected predictions, columns as in `artifact.models`.
    record
        What the manifest tells of the calibration and of what is promised; plain values only.
    workflow_knob
        What the knob means for the workflow; None to leave it as it is.

    Raises
    ------
    ArtifactError
        If the files cannot be written.
    """
    arrays = _trained_arrays(artifact.router, artifact.featurizer, artifact.workflow)
    arrays |= _onboarded_arrays(artifact.onboarded)
    if correction is not None:
        state = correction.state()
        arrays |= {f"{CORRECTION}{name}": array for name, array in state.items()}
    content = {**artifact.manifest, "created_at": created_at, "recalibrated": dict(record)}
    if workflow_knob is not None:
        content["workflow"] = {**content["workflow"], "knob": workflow_knob.to_table()}
    _write(path, content, arrays, calibration=calibration, prices=artifact.prices)


def save_grown(
    path: Path, artifact: RouterArtifact, *, record: Mapping[str, Any], created_at: str
) -> None:
    """Write an artifact whose router remembers more or fewer queries into the folder `path`.

    Parameters
    ----------
    record
        What the manifest tells of the change, beside those before; plain values only.

    Raises
    ------
    ArtifactError
        If the files cannot be written.
    """
    arrays = _trained_arrays(artifact.router, artifact.featurizer, artifact.workflow)
    arrays |= _onboarded_arrays(artifact.onboarded)
    if artifact.correction is not None:
        arrays |= prefixed(CORRECTION, artifact.correction.state())
    content = {
        **artifact.manifest,
        "created_at": created_at,
        "inserted": [*artifact.manifest.get("inserted", []), dict(record)],
        "notes": artifact.router.notes(),
    }
    _write(path, content, arrays, calibration=artifact.calibration, prices=artifact.prices)


def save_with_workflow(
    path: Path,
    artifact: RouterArtifact,
    workflow: Workflow,
    *,
    name: str,
    record: Mapping[str, Any],
    created_at: str,
    workflow_knob: WorkflowKnob | None = None,
) -> None:
    """Write an artifact with another workflow into the folder `path`.

    Everything else stays as it is, to the last bit.

    Parameters
    ----------
    workflow_knob
        What the knob means for it; None where none steers it.
    name, record
        Under which name the manifest's metrics tell what the workflow was found to be worth.

    Raises
    ------
    ArtifactError
        If the files cannot be written.
    """
    arrays = _trained_arrays(artifact.router, artifact.featurizer, workflow)
    arrays |= _onboarded_arrays(artifact.onboarded)
    if artifact.correction is not None:
        arrays |= prefixed(CORRECTION, artifact.correction.state())
    content = {
        **artifact.manifest,
        "created_at": created_at,
        "metrics": {**artifact.manifest["metrics"], name: dict(record)},
        "workflow": _entry(workflow, workflow_knob),
    }
    _write(path, content, arrays, calibration=artifact.calibration, prices=artifact.prices)


def _entry(workflow: Workflow, knob: WorkflowKnob | None) -> dict[str, Any]:
    return {
        "kind": workflow.kind,
        "options": options_of(workflow),
        "knob": None if knob is None else knob.to_table(),
        "notes": workflow.notes(),
    }


def _onboarded_arrays(onboarded: Sequence[Onboarded]) -> dict[str, np.ndarray]:
    return {
        f"{ONBOARDED}{i}/{name}": array
        for i, each in enumerate(onboarded)
        for name, array in each.state().items()
    }


def _trained_arrays(
    router: Router, featurizer: Featurizer, workflow: Workflow | None
) -> dict[str, np.ndarray]:
    states = {ROUTER: router.state(), FEATURES: featurizer.state()}
    if workflow is not None:
        states[WORKFLOW] = workflow.state()
    return {
        name: array
        for prefix, state in states.items()
        for name, array in prefixed(prefix, state).items()
    }


def _write(
    path: Path,
    content: Mapping[str, Any],
    trained: Mapping[str, np.ndarray],
    *,
    calibration: CalibrationRows,
    prices: PriceTable,
) -> None:
    rows = {f"{CALIBRATION}{name}": array for name, array in calibration.state().items()}
    models = content["models"]
    knob = calibration.curve(range(len(models)), [prices[model] for model in models])
    manifest = {
        **content,
        "prices": {model: _told(prices[model]) for model in models},
        "knob": knob.to_table(),
    }
    write_files(path, manifest, {**trained, **rows})


def _told(prices: Prices) -> dict[str, Any]:
    """Return prices as a manifest has them: those that came later only where they are known."""
    told = asdict(prices)
    return {name: usd for name, usd in told.items() if usd is not None or name not in _LATER}
