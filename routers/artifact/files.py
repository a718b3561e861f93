"""Write the two files of an artifact: a manifest that says what it is, and its arrays."""

import contextlib
import hashlib
import io
import json
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from routers.artifact.manifest import MANIFEST_FILE, digest_of
from routers.artifact.weights import WEIGHTS_FILE
from routers.errors import ArtifactError
from routers.files import replacing

# Whose arrays: the first part of their names in the weights file.
ROUTER, CALIBRATION, FEATURES = "router/", "calibration/", "features/"
ONBOARDED, CORRECTION, WORKFLOW = "onboarded/", "correction/", "workflow/"


def write_files(path: Path, content: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> None:
    """Write manifest and weights into the folder `path`; the same input gives the same bytes.

    Parameters
    ----------
    content
        The manifest; its entries `arrays`, `weights_sha256` and `digest` are worked out here.

    Raises
    ------
    ArtifactError
        If the files cannot be written, or the manifest holds a number that is none. The folder
        then is as it was.
    """
    weights = _pack(arrays)
    manifest: dict[str, Any] = {
        **content,
        "arrays": {name: _signature(array) for name, array in sorted(arrays.items())},
        "weights_sha256": hashlib.sha256(weights).hexdigest(),
    }
    try:
        manifest["digest"] = digest_of(manifest)
        text = json.dumps(manifest, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    except ValueError as error:  # UnicodeEncodeError is one, too
        raise ArtifactError(f"the artifact is not written to {path}: {error}") from error
    made = not path.exists()
    try:
        path.mkdir(parents=True, exist_ok=True)
        # The weights take their place first: a manifest never stands beside what came before it.
        with (
            replacing(path / MANIFEST_FILE) as manifest_file,
            replacing(path / WEIGHTS_FILE) as weights_file,
        ):
            weights_file.write_bytes(weights)
            manifest_file.write_text(text, encoding="utf-8")
    except OSError as error:
        if made:
            with contextlib.suppress(OSError):
                path.rmdir()
        raise ArtifactError(f"cannot write the artifact to {path}: {error.strerror}") from error


def check_free(path: Path, *, overwrite: bool = False) -> None:
    """Refuse a folder that holds an artifact, which may be served, or cannot be written to.

    Parameters
    ----------
    overwrite
        Whether an artifact that is there may be replaced.

    Raises
    ------
    ArtifactError
        If so; the message says how to replace it.
    """
    place = next(each for each in (path, *path.absolute().parents) if each.exists())
    if not place.is_dir():
        raise ArtifactError(f"cannot write the artifact to {path}: {place} is a file")
    if not os.access(place, os.W_OK | os.X_OK):
        raise ArtifactError(f"cannot write the artifact to {path}: no right to write in {place}")
    if not overwrite and ((path / MANIFEST_FILE).exists() or (path / WEIGHTS_FILE).exists()):
        raise ArtifactError(
            f"{path} holds an artifact already, which a gateway may serve; give another folder, "
            "or --overwrite (--force; from Python overwrite=True) to replace it"
        )


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
