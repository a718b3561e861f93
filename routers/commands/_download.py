"""Download a file over HTTP, taking up where an earlier attempt ended."""

import hashlib
import urllib.error
import urllib.request
from collections.abc import Callable
from http.client import HTTPException, HTTPResponse
from pathlib import Path

from routers.errors import DataError

TIMEOUT_S = 30.0
_BLOCK = 1 << 16

Progress = Callable[[int, int | None], None]
"""Told the bytes that are there, and how many there will be where that is known."""


def download(url: str, out: Path, *, sha256: str | None, progress: Progress) -> None:
    """Fetch `url` into the file `out`; bytes gather in a `.part` file beside it until complete.

    Raises
    ------
    DataError
        If the address cannot be reached, the server refuses, or the checksum differs.
    """
    if not url.startswith(("https://", "http://")):
        raise DataError(f"{url}: only http and https can be fetched")
    part = out.with_name(out.name + ".part")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        total = _receive(url, part, progress)
        if total is not None and part.stat().st_size != total:
            raise DataError(
                f"{url}: the connection ended after {part.stat().st_size} of {total} bytes; "
                "run the same command to go on"
            )
    except urllib.error.HTTPError as error:
        error.close()
        raise DataError(f"{url}: the server answers {error.code} {error.reason}") from error
    except (urllib.error.URLError, TimeoutError, HTTPException) as error:
        reason = getattr(error, "reason", error)
        raise DataError(
            f"{url}: cannot be reached ({reason}); when offline, copy the file to {out} yourself"
        ) from error
    except OSError as error:
        raise DataError(f"{out}: cannot be written or received ({error})") from error
    if sha256 is not None and (found := _sha256(part)) != sha256:
        part.unlink()
        raise DataError(f"{url}: has the sha256 {found} instead of {sha256}; nothing was kept")
    part.replace(out)


def verify(path: Path, sha256: str) -> None:
    """Check a file that was there before.

    Raises
    ------
    DataError
        If it cannot be read or its checksum is another.
    """
    try:
        found = _sha256(path)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error
    if found != sha256:
        raise DataError(
            f"{path}: has the sha256 {found} instead of {sha256}; move it away to fetch it anew"
        )


def _receive(url: str, part: Path, progress: Progress) -> int | None:
    """Append what is missing; return the full size where the server tells it."""
    have = part.stat().st_size if part.exists() else 0
    headers = {"Range": f"bytes={have}-"} if have else {}
    request = urllib.request.Request(url, headers=headers)  # noqa: S310  (checked above)
    try:
        response: HTTPResponse
        with urllib.request.urlopen(request, timeout=TIMEOUT_S) as response:  # noqa: S310
            if response.status != 206:  # the server sends all of it
                have = 0
            length = response.headers.get("Content-Length")
            total = None if length is None else have + int(length)
            with part.open("ab" if have else "wb") as file:
                while block := response.read(_BLOCK):
                    file.write(block)
                    have += len(block)
                    progress(have, total)
            return total
    except urllib.error.HTTPError as error:
        if error.code == 416 and have:  # nothing is missing
            error.close()
            return None
        raise


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
