"""Read a trained router from disk and refuse what does not hold together."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from routers.artifact import RouterArtifact, predict_all
from routers.artifact_files import (
    CALIBRATION,
    CORRECTION,
    FEATURES,
    ONBOARDED,
    ROUTER,
    arrays_under,
    read_manifest,
    read_weights,
)
from routers.base import ROUTERS, Router
from routers.calibration import CalibrationRows
from routers.correction import Correction
from routers.errors import ArtifactError, RoutingConfigError
from routers.features import FeatureSchema, Featurizer
from routers.knob import KnobCurve
from routers.newcomer import Newcomer
from routers.options import build
from routers.types import Prices


def load_artifact(path: Path) -> RouterArtifact:
    """Read and verify an artifact folder.

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
        featurizer = Featurizer.from_schema(schema, arrays_under(FEATURES, arrays))
        router = _restore_router(manifest, arrays_under(ROUTER, arrays))
        calibration = CalibrationRows.restore(arrays_under(CALIBRATION, arrays))
        prices = {model: Prices(**manifest["prices"][model]) for model in manifest["models"]}
        knob = KnobCurve.from_table(manifest["knob"])
        newcomers = _restore_newcomers(manifest, arrays)
        _try_out(router, newcomers, featurizer, calibration)
        correction = _restore_correction(manifest, arrays_under(CORRECTION, arrays))
    except ArtifactError as error:
        raise ArtifactError(f"{path}: {' '.join(str(error).split())}") from error
    except RoutingConfigError as error:
        raise ArtifactError(f"{path}: the manifest asks for what is not here: {error}") from error
    except (KeyError, ValueError, TypeError, IndexError) as error:
        raise ArtifactError(
            f"{path}: manifest and weights do not describe one router ({error}); fit it again"
        ) from error
    return RouterArtifact(
        manifest=manifest,
        router=router,
        featurizer=featurizer,
        calibration=calibration,
        prices=prices,
        knob=knob,
        newcomers=newcomers,
        correction=correction,
    )


def _restore_router(manifest: Mapping[str, Any], state: Mapping[str, np.ndarray]) -> Router:
    kind = manifest["strategy"]["kind"]
    router = build(ROUTERS.get(kind), manifest["strategy"]["options"], noun=f"strategy {kind!r}")
    n_trained = len(manifest["models"]) - len(manifest.get("onboarded", []))
    router.restore(state, manifest["models"][:n_trained])
    if router.state().keys() != state.keys():
        odd = ", ".join(sorted(router.state().keys() ^ state.keys()))
        raise ArtifactError(f"arrays that the strategy {kind!r} does not have or need: {odd}")
    return router


def _restore_newcomers(
    manifest: Mapping[str, Any], arrays: Mapping[str, np.ndarray]
) -> list[Newcomer]:
    names = [str(each["model"]) for each in manifest.get("onboarded", [])]
    if names != manifest["models"][len(manifest["models"]) - len(names) :]:
        raise ArtifactError("its onboarded models are not the last of its models; onboard again")
    return [
        Newcomer.restore(name, arrays_under(f"{ONBOARDED}{i}/", arrays))
        for i, name in enumerate(names)
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
    newcomers: Sequence[Newcomer],
    featurizer: Featurizer,
    calibration: CalibrationRows,
) -> None:
    """Predict once: shapes that do not fit, and numbers that are none, show here."""
    predictions = predict_all(router, newcomers, np.zeros((1, featurizer.dimensions), np.float32))
    shape = (1, len(router.models_) + len(newcomers))
    fields = (
        predictions.quality,
        predictions.quality_std,
        predictions.output_tokens,
        predictions.output_tokens_upper,
    )
    if any(field.shape != shape or not np.isfinite(field).all() for field in fields):
        raise ArtifactError("its predictions do not match its model list; fit it again")
    if calibration.quality_predicted.shape[1] != shape[1]:
        raise ArtifactError("its calibration rows do not match its model list; fit it again")
