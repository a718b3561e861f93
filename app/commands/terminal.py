"""Where commands print to: any encoding will do, and so will a reader that leaves early."""

import codecs
import contextlib
import io
import os
import sys
from typing import TextIO

_PLAIN = {
    "▶": ">",
    "→": "->",
    "←": "<-",
    "…": "...",
    "±": "+-",
    "≤": "<=",
    "≥": ">=",
    "·": ".",
    "\N{MULTIPLICATION SIGN}": "x",
    "\N{EN DASH}": "-",
    "\N{EM DASH}": "-",
    "•": "*",
    "█": "#",
    "░": ".",
    "✓": "+",
    "✗": "x",
}
_HANDLER = "steelyard.plain"


def prepare_output() -> None:
    """Make standard output and error take every character, and outlive their reader.

    What an encoding lacks is written in ASCII. After `| head` has read enough the command goes on
    to its end, in silence: its exit code says what it found, not who was listening.
    """
    codecs.register_error(_HANDLER, _plain)
    sys.stdout = _prepared(sys.stdout, sys.__stdout__)
    sys.stderr = _prepared(sys.stderr, sys.__stderr__)


def flush_output() -> None:
    """Write what is still buffered, so that a full disk shows before the command has ended.

    Raises
    ------
    OSError
        If it cannot be written.
    """
    for stream in (sys.stdout, sys.stderr):
        stream.flush()


class _Descriptor(io.FileIO):
    """A file descriptor to write to; once that fails, everything further goes nowhere."""

    def write(self, data: object, /) -> int:
        """Write to the descriptor."""
        try:
            return super().write(data)  # type: ignore[arg-type]
        except OSError as error:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self.fileno())
            os.close(nowhere)
            if not isinstance(error, BrokenPipeError):
                raise  # once; what is still buffered need not fail again
            return memoryview(data).nbytes  # type: ignore[arg-type]


def _prepared(stream: TextIO | None, original: TextIO | None) -> TextIO:
    if stream is None:  # closed by whoever started the command
        return open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123
    if stream is not original or not isinstance(stream, io.TextIOWrapper):
        return stream  # somebody's own
    with contextlib.suppress(OSError, ValueError):
        stream.flush()
    raw = _Descriptor(stream.fileno(), "wb", closefd=False)
    return io.TextIOWrapper(
        io.BufferedWriter(raw),
        encoding=stream.encoding,
        errors=_HANDLER,
        line_buffering=stream.line_buffering,
        write_through=stream.write_through,
    )


def _plain(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start : error.end]
    return "".join(_PLAIN.get(each, "?") for each in text), error.end
