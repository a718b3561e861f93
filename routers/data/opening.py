"""Text files as people keep them: packed or not, with or without a byte order mark."""

import codecs
import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from routers.errors import DataError
from routers.files import open_regular, shown_bytes

MAX_TEXT_BYTES = 4 * 2**30
"""What a packed file may unfold to; as much as a table may take."""

_WIDE = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def suffix_of(path: Path) -> str:
    """Return the suffix of a file's name, in small letters, that tells its format: without .gz."""
    name = Path(path.stem) if path.suffix.lower() == ".gz" else path
    return name.suffix.lower()


class _Bounded(io.RawIOBase):
    """Unpacked bytes, up to a bound: a small file may unfold to more than any disk holds."""

    def __init__(self, path: Path, unpacked: gzip.GzipFile) -> None:
        self._path = path
        self._unpacked = unpacked
        self._left = MAX_TEXT_BYTES

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        content = self._unpacked.read(min(len(buffer), self._left + 1))
        self._left -= len(content)
        if self._left < 0:
            raise DataError(
                f"{self._path}: unfolds to over {shown_bytes(MAX_TEXT_BYTES)}; take a sample of it"
            )
        buffer[: len(content)] = content
        return len(content)


@contextmanager
def open_text(path: Path, *, utf16: bool = False) -> Iterator[TextIO]:
    """Open a file of UTF-8 text, with newlines as they are; it is unpacked where it ends in .gz.

    Parameters
    ----------
    utf16
        Whether UTF-16 with a byte order mark is read, too, as spreadsheets write it.

    Raises
    ------
    DataError
        If it cannot be read (also in the course of the block), or is no such text; the message
        says what to do.
    """
    try:
        with open_regular(path) as file:
            packed = path.suffix.lower() == ".gz"
            content = (
                io.BufferedReader(_Bounded(path, gzip.GzipFile(fileobj=file))) if packed else file
            )
            encoding = "utf-8-sig"
            if content.peek(2)[:2] in _WIDE:
                if not utf16:
                    raise DataError(f"{path}: is UTF-16, not UTF-8 text; save it as UTF-8")
                encoding = "utf-16"
            yield io.TextIOWrapper(content, encoding=encoding, newline="")
    except (gzip.BadGzipFile, zlib.error, EOFError) as error:
        raise DataError(f"{path}: is no whole gzip file ({error})") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path}: is not UTF-8 text; save it as UTF-8 (Excel: CSV UTF-8)"
        ) from error
