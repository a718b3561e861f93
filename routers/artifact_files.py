"""The two files of an artifact: a manifest that says what it is, and its arrays."""

import hashlib
import io
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from routers.errors import ArtifactError

FORMAT = 1
MANIFEST_FILE, WEIGHTS_FILE = "manifest.json", "weights.npz"

# Whose arrays: the first part of their names in the weights file.
ROUTER, CALIBRATION, FEATURES = "router/", "calibration/", "features/"
ONBOARDED, CORRECTION = "onboarded/", "correction/"

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


def write_files(path: Path, content: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> None:
    """Write manifest and weights into the folder `path`; the same input gives the same bytes.

    Parameters
    ----------
    content
        The manifest; its entries `arrays`, `weights_sha256` and `digest` are worked out here.

    Raises
    ------
    ArtifactError
        If the files cannot be written.
    """
    weights = _pack(arrays)
    manifest: dict[str, Any] = {
        **content,
        "arrays": {name: _signature(array) for name, array in sorted(arrays.items())},
        "weights_sha256": hashlib.sha256(weights).hexdigest(),
    }
    manifest["digest"] = digest_of(manifest)
    try:
        path.mkdir(parents=True, exist_ok=True)
        (path / WEIGHTS_FILE).write_bytes(weights)
        text = json.dumps(manifest, indent=1, ensure_ascii=False, allow_nan=False)
        (path / MANIFEST_FILE).write_text(text + "\n", encoding="utf-8")
    except OSError as error:
        raise ArtifactError(f"cannot write the artifact to {path}: {error}") from error


def read_manifest(path: Path) -> dict[str, Any]:
    """Read the manifest of the folder `path` and hold it against its own digest.

    Raises
    ------
    ArtifactError
        If it is missing, of another format, or was changed.
    """
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
    if manifest["digest"] != digest_of(manifest):
        raise ArtifactError(
            f"{file} was changed after training (its digest differs); fit the artifact again"
        )
    return manifest


def read_weights(path: Path, manifest: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Read the arrays of the folder `path` and hold them against what the manifest lists.

    Raises
    ------
    ArtifactError
        If the file is missing, damaged, or holds anything but the finite arrays listed.
    """
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


def digest_of(manifest: Mapping[str, Any]) -> str:
    """Hash everything in a manifest but the digest itself and the time."""
    content = {key: manifest[key] for key in sorted(manifest.keys() - {"digest", "created_at"})}
    text = json.dumps(content, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def arrays_under(prefix: str, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the arrays whose names begin with `prefix`, named without it."""
    return {
        name.removeprefix(prefix): array
        for name, array in arrays.items()
        if name.startswith(prefix)
    }


def _signature(array: np.ndarray) -> dict[str, Any]:
    return {"dtype": array.dtype.str, "shape": list(array.shape)}


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
