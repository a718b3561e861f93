"""Read a trained router from disk and refuse what does not hold together."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from routers.artifact.artifact import RouterArtifact, predict_all
from routers.artifact.calibration import CalibrationRows
from routers.artifact.correction import Correction
from routers.artifact.files import (
    CALIBRATION,
    CORRECTION,
    FEATURES,
    ONBOARDED,
    ROUTER,
    WORKFLOW,
)
from routers.artifact.manifest import read_manifest
from routers.artifact.onboarded_model import OnboardedModel
from routers.artifact.placed_model import Onboarded, PlacedModel
from routers.artifact.thresholds import stored_thresholds
from routers.artifact.weights import read_weights
from routers.artifact.workflow_knob import WorkflowKnob
from routers.base import ROUTERS, Router
from routers.decision.knob import KnobCurve
from routers.errors import ArtifactError, RoutingConfigError
from routers.features.featurizer import Featurizer
from routers.features.schema import FeatureSchema
from routers.files import shown
from routers.models import Prices
from routers.options import build, under
from routers.workflows.base import WORKFLOWS, Workflow

_TRIED = 8


def load_artifact(path: Path, *, trusted: Collection[str] = ()) -> RouterArtifact:
    """Read and verify an artifact folder.

    An artifact is data: nothing of it is run, and what it takes in memory and time is bounded.

    Parameters
    ----------
    trusted
        Folders and models of encoders, which may run code, that it may name.

    Raises
    ------
    ArtifactError
        If anything is missing, damaged, of another format, or was made for other features than
        the code at hand computes; one sentence says what.
    """
    manifest = read_manifest(path)
    arrays = read_weights(path, manifest)
    try:
        schema = FeatureSchema.from_dict(manifest["features"])
        featurizer = Featurizer.from_schema(schema, under(FEATURES, arrays), trusted=trusted)
        router = _restore_router(manifest, under(ROUTER, arrays))
        calibration = CalibrationRows.restore(under(CALIBRATION, arrays))
        prices = {model: Prices(**manifest["prices"][model]) for model in manifest["models"]}
        knob = KnobCurve.from_table(manifest["knob"])
        onboarded = _restore_onboarded(manifest, arrays, router)
        _try_out(router, onboarded, featurizer, calibration)
        correction = _restore_correction(manifest, under(CORRECTION, arrays))
        workflow, workflow_knob = _restore_workflow(manifest, under(WORKFLOW, arrays))
        _check_strays(arrays, n_onboarded=len(onboarded))
        stored_thresholds(manifest)
    except ArtifactError as error:
        raise ArtifactError(f"{path}: {' '.join(str(error).split())}") from error
    except RoutingConfigError as error:
        raise ArtifactError(
            f"{path}: the manifest asks for what is not here: {' '.join(str(error).split())}"
        ) from error
    except Exception as error:
        # Strategies and heads restore themselves, and may trip over foreign shapes, types and
        # sizes in any way: here all of these mean the same.
        raise ArtifactError(
            f"{path}: manifest and weights do not describe one router "
            f"({type(error).__name__}: {shown(str(error))}); fit it again"
        ) from error
    return RouterArtifact(
        manifest=manifest,
        router=router,
        featurizer=featurizer,
        calibration=calibration,
        prices=prices,
        knob=knob,
        onboarded=onboarded,
        correction=correction,
        workflow=workflow,
        workflow_knob=workflow_knob,
    )


def _check_strays(arrays: Mapping[str, np.ndarray], *, n_onboarded: int) -> None:
    """Refuse arrays that nothing reads."""
    owners = (ROUTER, CALIBRATION, FEATURES, CORRECTION, WORKFLOW)
    onboarded = tuple(f"{ONBOARDED}{i}/" for i in range(n_onboarded))
    strays = [name for name in arrays if not name.startswith(owners + onboarded)]
    if strays:
        raise ArtifactError(f"arrays that nothing reads: {shown(', '.join(sorted(strays)))}")


def _restore_router(manifest: Mapping[str, Any], state: Mapping[str, np.ndarray]) -> Router:
    kind = manifest["strategy"]["kind"]
    router = build(ROUTERS.get(kind), manifest["strategy"]["options"], noun=f"strategy {kind!r}")
    n_trained = len(manifest["models"]) - len(manifest.get("onboarded", []))
    router.restore(state, manifest["models"][:n_trained])
    if router.state().keys() != state.keys():
        odd = ", ".join(sorted(router.state().keys() ^ state.keys()))
        raise ArtifactError(f"arrays that the strategy {kind!r} does not have or need: {odd}")
    return router


def _restore_workflow(
    manifest: Mapping[str, Any], state: Mapping[str, np.ndarray]
) -> tuple[Workflow | None, WorkflowKnob | None]:
    entry = manifest.get("workflow")
    if entry is None:
        if state:
            raise ArtifactError("it has arrays of a workflow, and its manifest names none")
        return None, None
    kind = entry["kind"]
    workflow = build(WORKFLOWS.get(kind), entry["options"], noun=f"workflow {kind!r}")
    n_trained = len(manifest["models"]) - len(manifest.get("onboarded", []))
    workflow.restore(state, manifest["models"][:n_trained])
    if workflow.state().keys() != state.keys():
        odd = ", ".join(sorted(workflow.state().keys() ^ state.keys()))
        raise ArtifactError(f"arrays that the workflow {kind!r} does not have or need: {odd}")
    knob = entry.get("knob")
    return workflow, None if knob is None else WorkflowKnob.from_table(knob)


def _restore_onboarded(
    manifest: Mapping[str, Any], arrays: Mapping[str, np.ndarray], router: Router
) -> list[Onboarded]:
    names = [str(each["model"]) for each in manifest.get("onboarded", [])]
    if names != manifest["models"][len(manifest["models"]) - len(names) :]:
        raise ArtifactError("its onboarded models are not the last of its models; onboard again")
    states = [under(f"{ONBOARDED}{i}/", arrays) for i in range(len(names))]
    return [
        PlacedModel.restore(name, state, router)
        if PlacedModel.wrote(state)
        else OnboardedModel.restore(name, state)
        for name, state in zip(names, states, strict=True)
    ]


def _restore_correction(
    manifest: Mapping[str, Any], state: Mapping[str, np.ndarray]
) -> Correction | None:
    if not state:
        return None
    correction = Correction.restore(state)
    if "recalibrated" not in manifest or len(correction.at) != len(manifest["models"]):
        raise ArtifactError("its correction does not match its manifest; calibrate it again")
    return correction


def _try_out(
    router: Router,
    onboarded: Sequence[Onboarded],
    featurizer: Featurizer,
    calibration: CalibrationRows,
) -> None:
    """Predict once: shapes that do not fit, and numbers that are none, show here."""
    x = np.random.default_rng(0).normal(size=(_TRIED, featurizer.dimensions)).astype(np.float32)
    x[0] = 0
    with np.errstate(all="ignore"):
        predictions = predict_all(router, onboarded, x)
    shape = (_TRIED, len(router.models_) + len(onboarded))
    fields = (
        predictions.quality,
        predictions.quality_std,
        predictions.output_tokens,
        predictions.output_tokens_upper,
    )
    if any(field.shape != shape or not np.isfinite(field).all() for field in fields):
        raise ArtifactError("its predictions do not match its model list; fit it again")
    if min(field.min() for field in fields[1:]) < 0:
        raise ArtifactError("its predictions are of fewer tokens than none; fit it again")
    if calibration.quality_predicted.shape[1] != shape[1]:
        raise ArtifactError("its calibration rows do not match its model list; fit it again")
