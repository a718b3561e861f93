"""A trained router on disk: a manifest that says what it is, and its arrays."""

import hashlib
import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from routers.base import ROUTERS, Router
from routers.calibration import CalibrationRows
from routers.correction import Correction
from routers.errors import ArtifactError, RoutingConfigError
from routers.features import FeatureSchema, Featurizer
from routers.knob import KnobCurve
from routers.newcomer import Newcomer, join
from routers.options import build, options_of
from routers.types import Conversation, FloatMatrix, ModelSpec, Predictions, Prices, PriceTable

FORMAT = 1
MANIFEST_FILE, WEIGHTS_FILE = "manifest.json", "weights.npz"

_ROUTER, _CALIBRATION, _FEATURES = "router/", "calibration/", "features/"
_ONBOARDED, _CORRECTION = "onboarded/", "correction/"
_CURVES = 256
_KEYS = frozenset(
    {
        "format",
        "steelyard_version",
        "created_at",
        "strategy",
        "features",
        "models",
        "prices",
        "knob",
        "data",
        "training",
        "metrics",
        "notes",
        "seed",
        "arrays",
        "weights_sha256",
        "digest",
    }
)
_OPTIONAL_KEYS = frozenset({"onboarded", "recalibrated"})


class RouterArtifact:
    """A fitted router with everything that serving needs; safe to share between threads.

    Attributes
    ----------
    version
        Twelve hexadecimal digits that name this training result; the same data, recipe and seed
        give the same version.
    manifest
        The manifest as plain values.
    models
        Names of the columns of every prediction.
    prices
        What the models cost when the router was trained.
    featurizer
        Makes the rows that `predict` takes.
    knob
        The curve of all models at training prices.
    router
        What was fitted; it knows nothing of newcomers.
    calibration
        The cross-fitted rows behind the knob; columns as in `models`.
    newcomers
        Models that joined after training; theirs are the last columns.
    correction
        Of predicted quality, learned from fresh outcomes; None where there is none.
    """

    def __init__(
        self,
        *,
        manifest: Mapping[str, Any],
        router: Router,
        featurizer: Featurizer,
        calibration: CalibrationRows,
        prices: PriceTable,
        knob: KnobCurve,
        newcomers: Sequence[Newcomer] = (),
        correction: Correction | None = None,
    ) -> None:
        self.manifest = manifest
        self.version: str = manifest["digest"][:12]
        self.newcomers = tuple(newcomers)
        self.correction = correction
        self.models: tuple[str, ...] = (*router.models_, *(each.model for each in newcomers))
        self.prices = prices
        self.featurizer = featurizer
        self.knob = knob
        self.router = router
        self.calibration = calibration
        self._columns = {model: column for column, model in enumerate(self.models)}
        self._curve = lru_cache(maxsize=_CURVES)(self._fit_curve)

    def predict(self, x: FloatMatrix) -> Predictions:
        """Predict every model on feature rows; columns as in `models`."""
        predictions = _predict(self.router, self.newcomers, x)
        return predictions if self.correction is None else self.correction.apply(predictions)

    def predict_base(self, x: FloatMatrix) -> Predictions:
        """Predict the models that the router was trained on, the first columns of `predict`."""
        return self.router.predict(x)

    def predict_conversations(self, conversations: Sequence[Conversation]) -> Predictions:
        """Predict every model on conversations; columns as in `models`."""
        return self.predict(self.featurizer.transform(conversations))

    def column(self, model: str) -> int:
        """Return the column of `model`.

        Raises
        ------
        RoutingConfigError
            If the artifact does not know it; the message lists what it knows.
        """
        try:
            return self._columns[model]
        except KeyError:
            known = ", ".join(self.models)
            raise RoutingConfigError(
                f"the artifact predicts no model {model!r}; it knows: {known}"
            ) from None

    def knob_curve(self, candidates: Sequence[ModelSpec]) -> KnobCurve:
        """Return the calibrated knob of these candidates at their current prices.

        Takes some milliseconds when a combination is first asked for; the last
        256 combinations are remembered.

        Raises
        ------
        RoutingConfigError
            If a candidate is predicted as a model that the artifact does not know.
        """
        key = {(self.column(spec.predicted_as), spec.prices): None for spec in candidates}
        return self._curve(tuple(sorted(key, key=repr)))

    def _fit_curve(self, key: tuple[tuple[int, Prices], ...]) -> KnobCurve:
        return self.calibration.curve([c for c, _ in key], [prices for _, prices in key])


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
) -> None:
    """Write a fitted router as `manifest.json` and `weights.npz` into the folder `path`.

    The same router gives the same bytes; only `created_at` may differ.

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
    arrays = _trained_arrays(router, featurizer)
    _write(path, content, arrays, calibration=calibration, prices=prices)


def save_onboarded(
    path: Path,
    artifact: RouterArtifact,
    newcomer: Newcomer,
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
    router, model = artifact.router, newcomer.model
    if model in router.models_:
        raise RoutingConfigError(
            f"the router was trained on {model!r}, which tells more than anchors can; "
            "onboard it under another name, or fit again"
        )
    if "recalibrated" in artifact.manifest:
        raise RoutingConfigError(
            "the artifact was recalibrated, which a further model would make void; onboard the "
            "model to the artifact before that, then calibrate"
        )
    old = artifact.manifest.get("onboarded", [])
    kept = [i for i, each in enumerate(artifact.newcomers) if each.model != model]
    newcomers = [*(artifact.newcomers[i] for i in kept), newcomer]
    content = {
        **artifact.manifest,
        "created_at": created_at,
        "models": [*router.models_, *(each.model for each in newcomers)],
        "onboarded": [*(old[i] for i in kept), {"model": model, **record}],
    }
    arrays = _trained_arrays(router, artifact.featurizer) | _newcomer_arrays(newcomers)
    trained = artifact.calibration.first_columns(len(router.models_))
    columns = [
        each.predict_from_base(trained.quality_predicted, trained.output_tokens)
        for each in newcomers
    ]
    _write(
        path,
        content,
        arrays,
        calibration=trained.with_columns(columns),
        prices={**artifact.prices, model: prices},
    )


def save_recalibrated(
    path: Path,
    artifact: RouterArtifact,
    *,
    correction: Correction | None,
    calibration: CalibrationRows,
    record: Mapping[str, Any],
    created_at: str,
) -> None:
    """Write an artifact with another calibration into the folder `path`.

    What was trained stays as it is, to the last bit; an earlier recalibration is replaced.

    Parameters
    ----------
    calibration
        Rows with corrected predictions, columns as in `artifact.models`.
    record
        What the manifest tells of the calibration and of what is promised; plain values only.

    Raises
    ------
    ArtifactError
        If the files cannot be written.
    """
    arrays = _trained_arrays(artifact.router, artifact.featurizer)
    arrays |= _newcomer_arrays(artifact.newcomers)
    if correction is not None:
        state = correction.state()
        arrays |= {f"{_CORRECTION}{name}": array for name, array in state.items()}
    content = {**artifact.manifest, "created_at": created_at, "recalibrated": dict(record)}
    _write(path, content, arrays, calibration=calibration, prices=artifact.prices)


def _newcomer_arrays(newcomers: Sequence[Newcomer]) -> dict[str, np.ndarray]:
    return {
        f"{_ONBOARDED}{i}/{name}": array
        for i, each in enumerate(newcomers)
        for name, array in each.state().items()
    }


def _trained_arrays(router: Router, featurizer: Featurizer) -> dict[str, np.ndarray]:
    arrays = {f"{_ROUTER}{name}": array for name, array in router.state().items()}
    return arrays | {f"{_FEATURES}{name}": array for name, array in featurizer.state().items()}


def _write(
    path: Path,
    content: Mapping[str, Any],
    trained: Mapping[str, np.ndarray],
    *,
    calibration: CalibrationRows,
    prices: PriceTable,
) -> None:
    rows = {f"{_CALIBRATION}{name}": array for name, array in calibration.state().items()}
    arrays = {**trained, **rows}
    weights = _pack(arrays)
    models = content["models"]
    knob = calibration.curve(range(len(models)), [prices[model] for model in models])
    manifest: dict[str, Any] = {
        **content,
        "prices": {model: asdict(prices[model]) for model in models},
        "knob": knob.to_table(),
        "arrays": {name: _signature(array) for name, array in sorted(arrays.items())},
        "weights_sha256": hashlib.sha256(weights).hexdigest(),
    }
    manifest["digest"] = _digest(manifest)
    try:
        path.mkdir(parents=True, exist_ok=True)
        (path / WEIGHTS_FILE).write_bytes(weights)
        text = json.dumps(manifest, indent=1, ensure_ascii=False, allow_nan=False)
        (path / MANIFEST_FILE).write_text(text + "\n", encoding="utf-8")
    except OSError as error:
        raise ArtifactError(f"cannot write the artifact to {path}: {error}") from error


def load_artifact(path: Path) -> RouterArtifact:
    """Read and verify an artifact folder.

    Raises
    ------
    ArtifactError
        If anything is missing, damaged, of another format, or was made for other features than
        the code at hand computes; one sentence says what.
    """
    manifest = _read_manifest(path)
    arrays = _read_weights(path, manifest)
    try:
        schema = FeatureSchema.from_dict(manifest["features"])
        featurizer = Featurizer.from_schema(schema, _under(_FEATURES, arrays))
        router = _restore_router(manifest, _under(_ROUTER, arrays))
        calibration = CalibrationRows.restore(_under(_CALIBRATION, arrays))
        prices = {model: Prices(**manifest["prices"][model]) for model in manifest["models"]}
        knob = KnobCurve.from_table(manifest["knob"])
        newcomers = _restore_newcomers(manifest, arrays)
        _try_out(router, newcomers, featurizer, calibration)
        correction = _restore_correction(manifest, _under(_CORRECTION, arrays))
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


def _predict(router: Router, newcomers: Sequence[Newcomer], x: FloatMatrix) -> Predictions:
    base = router.predict(x)
    if not newcomers:
        return base
    return join(base, [each.predict(x, base) for each in newcomers])


def _read_manifest(path: Path) -> dict[str, Any]:
    file = path / MANIFEST_FILE
    try:
        manifest = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ArtifactError(
            f"{path} is no artifact: {MANIFEST_FILE} cannot be read ({error.strerror})"
        ) from error
    except ValueError as error:
        raise ArtifactError(f"{file} is not valid JSON; fit the artifact again") from error
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        found = manifest.get("format") if isinstance(manifest, dict) else None
        raise ArtifactError(
            f"{file} has artifact format {found!r}, this version reads format {FORMAT}: "
            "fit the artifact again"
        )
    if manifest.keys() - _OPTIONAL_KEYS != _KEYS:
        odd = ", ".join(sorted((manifest.keys() - _OPTIONAL_KEYS) ^ _KEYS))
        raise ArtifactError(f"{file} lacks or adds entries ({odd}); fit the artifact again")
    if manifest["digest"] != _digest(manifest):
        raise ArtifactError(
            f"{file} was changed after training (its digest differs); fit the artifact again"
        )
    return manifest


def _read_weights(path: Path, manifest: Mapping[str, Any]) -> dict[str, np.ndarray]:
    file = path / WEIGHTS_FILE
    try:
        raw = file.read_bytes()
    except OSError as error:
        raise ArtifactError(f"{file} cannot be read ({error.strerror})") from error
    if hashlib.sha256(raw).hexdigest() != manifest["weights_sha256"]:
        raise ArtifactError(
            f"{file} is damaged or belongs to another manifest (its digest differs); "
            "copy both files again or fit the artifact again"
        )
    try:
        with np.load(io.BytesIO(raw), allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except (ValueError, OSError, zipfile.BadZipFile) as error:
        raise ArtifactError(f"{file} holds something other than plain arrays: {error}") from error
    found = {name: _signature(array) for name, array in arrays.items()}
    if found != manifest["arrays"]:
        odd = sorted(
            name
            for name in found.keys() | manifest["arrays"].keys()
            if found.get(name) != manifest["arrays"].get(name)
        )
        raise ArtifactError(
            f"{file} does not hold the arrays that the manifest lists "
            f"(different: {', '.join(odd)}); fit the artifact again"
        )
    for name, array in arrays.items():
        if array.dtype.kind == "f" and np.isinf(array).any():
            raise ArtifactError(f"{file} holds infinite numbers in {name}; fit the artifact again")
    return arrays


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
        Newcomer.restore(name, _under(f"{_ONBOARDED}{i}/", arrays)) for i, name in enumerate(names)
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
    predictions = _predict(router, newcomers, np.zeros((1, featurizer.dimensions), np.float32))
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


def _under(prefix: str, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {
        name.removeprefix(prefix): array
        for name, array in arrays.items()
        if name.startswith(prefix)
    }


def _signature(array: np.ndarray) -> dict[str, Any]:
    return {"dtype": array.dtype.str, "shape": list(array.shape)}


def _digest(manifest: Mapping[str, Any]) -> str:
    """Hash everything but the digest itself and the time."""
    content = {key: manifest[key] for key in sorted(manifest.keys() - {"digest", "created_at"})}
    text = json.dumps(content, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def _pack(arrays: Mapping[str, np.ndarray]) -> bytes:
    """Write an npz without time stamps: numpy's own writer stores the time of day."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, array in sorted(arrays.items()):
            entry = zipfile.ZipInfo(f"{name}.npy", date_time=(1980, 1, 1, 0, 0, 0))
            entry.compress_type = zipfile.ZIP_DEFLATED
            content = io.BytesIO()
            np.lib.format.write_array(content, np.ascontiguousarray(array), allow_pickle=False)
            archive.writestr(entry, content.getvalue())
    return buffer.getvalue()
