"""What the workers of one machine know of each other without asking: one page of shared memory."""

import mmap
import time
from pathlib import Path

_PER_WORKER = 2
_BYTES = 8
_ABSENT = -1


class Board:
    """How many connections each worker has, and when its event loop last turned.

    Each worker writes its own two numbers alone, and eight aligned bytes change at once, so that
    nothing is locked.

    Parameters
    ----------
    file
        Lies where all workers find it.
    """

    def __init__(self, file: Path) -> None:
        with file.open("r+b") as opened:
            self._memory = mmap.mmap(opened.fileno(), 0)
        self._numbers = memoryview(self._memory).cast("q")

    @classmethod
    def create(cls, file: Path, *, workers: int) -> "Board":
        """Make a board on which nobody is."""
        file.write_bytes(bytes(_PER_WORKER * _BYTES * workers))
        board = cls(file)
        for index in range(workers):
            board.leave(index)
        return board

    def leave(self, index: int) -> None:
        """Note that there is no such worker."""
        self._numbers[_PER_WORKER * index] = _ABSENT
        self._numbers[_PER_WORKER * index + 1] = 0

    def show(self, index: int, *, connections: int) -> None:
        """Note how many connections a worker has."""
        self._numbers[_PER_WORKER * index] = connections

    def beat(self, index: int) -> None:
        """Note that the event loop of a worker turns."""
        self._numbers[_PER_WORKER * index + 1] = time.monotonic_ns()

    def silent_s(self, index: int) -> float:
        """Return how long ago the event loop of a worker turned; 0 if it never has."""
        at = self._numbers[_PER_WORKER * index + 1]
        return (time.monotonic_ns() - at) / 1e9 if at else 0.0

    def least_of_others(self, index: int) -> int | None:
        """Return how many connections the least busy of the other workers has; None, no others."""
        return min(
            (n for i, n in enumerate(self._numbers[::_PER_WORKER]) if i != index and n != _ABSENT),
            default=None,
        )

    def close(self) -> None:
        """Let go of the memory."""
        self._numbers.release()
        self._memory.close()
