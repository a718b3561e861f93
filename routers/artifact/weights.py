"""The arrays of an artifact: nothing is unpacked that the manifest does not announce.

`numpy.load` would do for files of our own. It takes what a file says of itself for granted, though:
unpacks before anybody could look at the size, knows Python objects, and meets what is damaged with
whatever error comes first. Here the manifest says which arrays there are, bounds say how large they
may be, and only then is each one unpacked, into exactly the space it was announced to need.
"""

import hashlib
import io
import math
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from routers.artifact.manifest import MAX_ARRAYS
from routers.errors import ArtifactError
from routers.files import read_regular, shown, shown_bytes

WEIGHTS_FILE = "weights.npz"

MAX_FILE_BYTES = 2**30
MAX_UNPACKED_BYTES = 2**30
"""All arrays together; the shipped artifact has 6 MB, a million remembered queries have 800."""
MAX_RATIO = 200
"""Unpacked over packed size, from `_ANY_RATIO_BYTES` on; trained weights reach 1.1 to 3."""

_ANY_RATIO_BYTES = 64 * 2**20
_DTYPES = frozenset({"|b1", "|i1", "|u1", *(f"<{k}{n}" for k in "iuf" for n in (2, 4, 8))})
_MAGIC = b"\x93NUMPY\x01\x00"
_MAX_HEADER_BYTES = 4096
_BLOCK = 2**20

_END, _END_BYTES = b"PK\x05\x06", 22
_ZIP64_LOCATOR, _ZIP64_LOCATOR_BYTES = b"PK\x06\x07", 20
_MAX_DIRECTORY_BYTES = 512 * MAX_ARRAYS

_DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    ValueError,
    OSError,
    EOFError,
    KeyError,
    RuntimeError,
    OverflowError,
    MemoryError,
)
"""What `zipfile` meets a damaged or foreign archive with."""


def read_weights(path: Path, manifest: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Read the arrays of the folder `path`: exactly those that its manifest lists.

    Raises
    ------
    ArtifactError
        If the file is missing, damaged or too large, or holds anything but the arrays listed, all
        of plain numbers and none of them infinite.
    """
    file = path / WEIGHTS_FILE
    try:
        raw = read_regular(file, most_bytes=MAX_FILE_BYTES)
    except OSError as error:
        raise ArtifactError(f"{file} cannot be read ({error.strerror})") from error
    if hashlib.sha256(raw).hexdigest() != manifest["weights_sha256"]:
        raise ArtifactError(
            f"{file} is damaged or belongs to another manifest (its digest differs); "
            "copy both files again or fit the artifact again"
        )
    listed: Mapping[str, Mapping[str, Any]] = manifest["arrays"]
    try:
        _check_announced(listed, n_packed=len(raw))
        _check_end(raw)
        with zipfile.ZipFile(io.BytesIO(raw)) as archive:
            members = _members(archive, listed)
            arrays = {
                name: _read_array(archive, members[name], name, listed[name])
                for name in sorted(listed)
            }
    except ArtifactError as error:
        raise ArtifactError(f"{file} {error}; fit the artifact again") from error
    except _DAMAGE as error:
        raise ArtifactError(
            f"{file} holds something other than plain arrays: {shown(str(error))}"
        ) from error
    for name, array in arrays.items():
        if array.dtype.kind == "f" and np.isinf(array).any():
            raise ArtifactError(
                f"{file} holds infinite numbers in {shown(name)}; fit the artifact again"
            )
    return arrays


def _check_announced(listed: Mapping[str, Mapping[str, Any]], *, n_packed: int) -> None:
    total = 0
    for name, signature in listed.items():
        if signature["dtype"] not in _DTYPES:
            raise ArtifactError(
                f"holds something other than plain arrays: {shown(name)} is of the type "
                f"{shown(signature['dtype'])}"
            )
        total += _size(signature)
    bound = max(_ANY_RATIO_BYTES, MAX_RATIO * n_packed)
    if total > min(MAX_UNPACKED_BYTES, bound):
        raise ArtifactError(
            f"would unpack to {shown_bytes(total)} from {shown_bytes(n_packed)}, more than "
            f"{shown_bytes(MAX_UNPACKED_BYTES)} or {MAX_RATIO} times its size"
        )


def _check_end(raw: bytes) -> None:
    """Refuse archives whose directory could be larger than it says, before it is read.

    Neither numpy nor this package writes comments or, within the bounds above, the fields for
    archives over 4 GiB.
    """
    end = raw[-_END_BYTES:]
    locator = raw[-_END_BYTES - _ZIP64_LOCATOR_BYTES : -_END_BYTES]
    if not end.startswith(_END) or locator.startswith(_ZIP64_LOCATOR):
        raise ArtifactError("holds something other than plain arrays: it is no plain zip archive")
    if int.from_bytes(end[12:16], "little") > _MAX_DIRECTORY_BYTES:
        raise ArtifactError(f"holds something other than plain arrays: over {MAX_ARRAYS} members")


def _members(
    archive: zipfile.ZipFile, listed: Mapping[str, Mapping[str, Any]]
) -> dict[str, zipfile.ZipInfo]:
    """Return the members by the names of their arrays; exactly those listed, each once."""
    found: dict[str, zipfile.ZipInfo] = {}
    for info in archive.infolist():
        name = info.filename.removesuffix(".npy")
        plain = (
            info.filename.endswith(".npy")
            and info.compress_type in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
            and not info.flag_bits & 1  # encrypted
        )
        if not plain or name in found:
            raise ArtifactError(
                "holds something other than plain arrays: the member "
                f"{shown(info.filename)}{' occurs twice' if name in found else ''}"
            )
        found[name] = info
    if found.keys() != listed.keys():
        raise _differing(found.keys() ^ listed.keys())
    return found


def _read_array(
    archive: zipfile.ZipFile, info: zipfile.ZipInfo, name: str, signature: Mapping[str, Any]
) -> np.ndarray:
    size = _size(signature)
    if not 0 < info.file_size - size <= _MAX_HEADER_BYTES:
        raise _differing({name})
    with archive.open(info) as member:
        start = member.read(len(_MAGIC) + 2)
        if not start.startswith(_MAGIC):
            raise ArtifactError(f"holds something other than plain arrays: {shown(name)}")
        header = member.read(int.from_bytes(start[-2:], "little"))
        if header.rstrip() != _header(signature):
            raise _differing({name})
        flat = np.empty(size, np.uint8)
        at = 0
        while at < size and (block := member.read(min(_BLOCK, size - at))):
            flat[at : at + len(block)] = np.frombuffer(block, np.uint8)
            at += len(block)
        # Reading on to the end is what compares the checksum.
        if at < size or member.read(1):
            raise _differing({name})
    array: np.ndarray = flat.view(np.dtype(signature["dtype"])).reshape(signature["shape"])
    if array.dtype.kind == "b" and (flat > 1).any():
        raise ArtifactError(f"holds something other than plain arrays: {shown(name)}")
    return array


def _header(signature: Mapping[str, Any]) -> bytes:
    """Return the header that numpy writes; arrays in the order of Fortran are not ours."""
    shape = tuple(signature["shape"])
    return (
        f"{{'descr': {signature['dtype']!r}, 'fortran_order': False, 'shape': {shape!r}, }}"
    ).encode()


def _size(signature: Mapping[str, Any]) -> int:
    return int(math.prod(signature["shape"])) * int(signature["dtype"][2:])


def _differing(names: set[str]) -> ArtifactError:
    return ArtifactError(
        "does not hold just the plain arrays that the manifest lists "
        f"(different: {shown(', '.join(sorted(names)))})"
    )
