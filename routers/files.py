"""Files from elsewhere, read within bounds; files of our own, written whole or not at all."""

import errno
import io
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_SHOWN_CHARS = 120


def open_regular(path: Path) -> io.BufferedReader:
    """Open a file for reading in bytes.

    Symbolic links are followed. What is no file of a size (a folder, a pipe, a device) is refused
    rather than waited for.

    Raises
    ------
    OSError
        If it cannot be opened or is something else; `strerror` says why.
    """
    try:
        file = open(path, "rb", opener=_without_waiting)  # noqa: SIM115  (see below)
    except ValueError as error:  # a name with a NUL or a lone surrogate
        raise OSError(errno.EINVAL, "its name is no file name") from error
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise OSError(errno.EINVAL, "it is no regular file")
    return file


def _without_waiting(name: str, flags: int) -> int:
    """Open as usual, but never wait for somebody at the other end of a pipe."""
    return os.open(name, flags | os.O_NONBLOCK)


def read_regular(path: Path, *, most_bytes: int) -> bytes:
    """Read a file that is expected to be small.

    Raises
    ------
    OSError
        If it cannot be read, is no regular file, or is larger; `strerror` says why.
    """
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        if size > most_bytes:
            raise OSError(errno.EFBIG, f"it is larger than {shown_bytes(most_bytes)}")
        content = file.read(size + 1)
    if len(content) > size:
        raise OSError(errno.EBUSY, "it grows while it is read")
    return content


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a name beside `path` to write to; what was written takes its place when all went well.

    Whoever reads `path` meanwhile sees what was there before, and nothing is left of a failure.

    Raises
    ------
    OSError
        If the file cannot be put there.
    """
    target = Path(os.path.realpath(path))
    partial = target.with_name(f".{target.name}.{os.getpid()}.partial")
    try:
        yield partial
        descriptor = os.open(partial, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)


def shown_bytes(n: int) -> str:
    """Return a number of bytes for people."""
    for unit, size in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if n >= size:
            return f"{n / size:.3g} {unit}"
    return f"{n} bytes"


def shown(text: str) -> str:
    """Return a name out of a file for an error message: one line, not too long, printable."""
    text = printable(text[:400])
    return text if len(text) <= _SHOWN_CHARS else f"{text[: _SHOWN_CHARS - 1]}…"


def repaired(value: Any) -> Any:
    """Return plain values whose texts can be encoded: half a surrogate pair becomes U+FFFD."""
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:
            return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        return value
    if isinstance(value, dict):
        return {repaired(name): repaired(each) for name, each in value.items()}
    return [repaired(each) for each in value] if isinstance(value, list) else value


def shown_value(value: object) -> str:
    """Return a value out of a file likewise, a text in quotes."""
    return shown(_repr(value[:400] if isinstance(value, str) else value))


def printable(text: str) -> str:
    """Return a text in one line, with what terminals obey instead of showing written out."""
    return "".join(each if each.isprintable() else f"\\x{ord(each):02x}" for each in text)


def _repr(value: object) -> str:
    try:
        return repr(value)
    except (ValueError, RecursionError):  # an integer of thousands of digits, a deep list
        return f"a {type(value).__name__} that cannot be shown"
