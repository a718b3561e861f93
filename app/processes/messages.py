"""What a supervisor and its workers say to each other, over a pipe for each worker.

Sent by `multiprocessing`, as everything is that a worker is started with: both ends are ours.
"""

from dataclasses import dataclass

from app.config import LoadedConfig

# --- from a worker --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Ready:
    """It takes connections."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """It cannot start, for a reason that an operator understands."""

    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class WantsReload:
    """A client of it asked for the configuration to be read anew."""

    number: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What came of an order; `problem` says why it cannot be followed."""

    number: int
    version: str = ""
    config: LoadedConfig | None = None
    problem: str | None = None


FromWorker = Ready | Failed | WantsReload | Reply

# --- from the supervisor --------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """Make everything ready for a configuration; without one, for what the file says."""

    number: int
    config: LoadedConfig | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Apply:
    """Serve what was made ready."""

    number: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Reloaded:
    """How an attempt to read the configuration anew ended; what is ready and unused may go.

    `counts` for one worker alone, since attempts are counted once; `answers` are the numbers of
    those who asked for it.
    """

    version: str
    problem: str | None
    counts: bool
    answers: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkersMissing:
    """So many workers do not run; `died` tells of what some did, where this worker counts it."""

    n_missing: int
    died: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop:
    """Stop without draining; `at_once` without waiting for what runs, either."""

    at_once: bool


FromSupervisor = Stage | Apply | Reloaded | WorkersMissing | Stop
