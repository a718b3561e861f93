"""Whose a data folder is: locks of the operating system, which end with their process."""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from app.errors import ConfigError

LOCK_NAME = "steelyard.lock"
RUNS_NAME = "runs"


@contextlib.contextmanager
def holding(data_dir: Path) -> Iterator[None]:
    """Keep the gateways of other processes out of a folder while the block runs.

    Two that count what is spent each for itself would each spend the whole budget. Whoever only
    reads, or changes keys, needs no lock.

    Raises
    ------
    ConfigError
        If another process has it (which one, is told), or the folder cannot be used.
    """
    with _opened(data_dir, LOCK_NAME) as lock:
        if not _locked(lock):
            holder = os.read(lock, 20).decode(errors="replace").strip()
            raise ConfigError(
                f"{data_dir} is in use by another gateway (process {holder or 'unknown'}); stop "
                "it, give this one a store.data_dir of its own, or share `store: {kind: redis}`"
            )
        yield


@contextlib.contextmanager
def running(data_dir: Path, run: str) -> Iterator[tuple[str, ...]]:
    """Leave the name of a run in a folder, which others may use too; locked while the block runs.

    The name stays until somebody calls `forget_run`. Yields the names of runs that are over.

    Raises
    ------
    ConfigError
        If the folder cannot be used.
    """
    runs = data_dir / RUNS_NAME
    with _opened(runs, run) as lock:
        _locked(lock)
        names = sorted(file.name for file in runs.iterdir())
        yield tuple(name for name in names if name != run and _dead(runs, name))


def forget_run(data_dir: Path, run: str) -> None:
    """Take away the name of a run that claims nothing any more."""
    with contextlib.suppress(OSError):  # it is then looked at again by the next one
        (data_dir / RUNS_NAME / run).unlink(missing_ok=True)


def _dead(runs: Path, name: str) -> bool:
    with contextlib.suppress(ConfigError), _opened(runs, name) as lock:
        return _locked(lock, tell=False)
    return False


@contextlib.contextmanager
def _opened(folder: Path, name: str) -> Iterator[int]:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(folder / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise ConfigError(f"store.data_dir {folder} cannot be used: {error.strerror}") from error
    try:
        yield lock
    finally:
        os.close(lock)


def _locked(lock: int, *, tell: bool = True) -> bool:
    """Lock a file unless another process has; it then says which process this is."""
    try:
        fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if tell:
            os.ftruncate(lock, 0)
            os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
    except (BlockingIOError, PermissionError):
        return False
    except OSError as error:
        raise ConfigError(f"store.data_dir cannot be used: {error.strerror}") from error
    return True
