"""One run of `steelyard serve`: its place on the disk, its name, and what its dead leave behind."""

import contextlib
import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from app.assembly import build_store
from app.config import LoadedConfig
from app.config.settings import RUN_VARIABLE
from app.outcomes.sqlite import SqliteOutcomes
from app.stores.data_dir import forget_run, holding, running
from app.stores.owners import Releaser, new_run, owner_of
from app.stores.sqlite import SqliteDatabase


class Run:
    """Free in a shared store what dead workers of this run claim.

    Parameters
    ----------
    releaser
        None where nothing is shared: claims then die with their process.
    """

    def __init__(self, name: str, releaser: Releaser | None) -> None:
        self._name = name
        self._releaser = releaser

    def worker_died(self, pid: int) -> None:
        """Have given back at once what a worker claims that is no more; does not wait."""
        if self._releaser is not None:
            self._releaser.release(owner_of(self._name, pid))


@contextlib.contextmanager
def this_run(config: LoadedConfig) -> Iterator[Run]:
    """Hold the data folder while the block runs, and name the run for the processes it starts.

    What earlier runs in the same folder claim in a shared store, and are no more, is freed.

    Raises
    ------
    ConfigError
        If the folder cannot be used, or another gateway uses it.
    """
    name, data_dir = new_run(), config.data_dir
    with contextlib.ExitStack() as stack:
        dead: tuple[str, ...] = ()
        shares = config.gateway.store.kind != "memory"
        if data_dir is not None:
            if shares:
                dead = stack.enter_context(running(data_dir, name))
            else:
                stack.enter_context(holding(data_dir))
            check_data_dir(config)
        os.environ[RUN_VARIABLE] = name
        stack.callback(os.environ.pop, RUN_VARIABLE, None)
        releaser = None
        if shares:
            build_store(config)  # a store without an address is refused before anything is begun
            releaser = Releaser(
                partial(build_store, config),
                on_release=lambda owner: _forget(data_dir, owner),
            )
            stack.callback(releaser.close)
            # Of workers that had to be killed at the end.
            stack.callback(releaser.release, name)
            for each in dead:
                releaser.release(each)
        yield Run(name, releaser)


def check_data_dir(config: LoadedConfig) -> None:
    """Find out whether the databases in the data folder can be used, before anything is served.

    Raises
    ------
    ConfigError
    """
    data_dir, gateway = config.data_dir, config.gateway
    if data_dir is None:
        return
    if gateway.store.kind == "memory":
        SqliteDatabase(data_dir).check()
    if gateway.logs_decisions and gateway.outcomes.sink == "sqlite":
        outcomes = SqliteOutcomes(data_dir)
        outcomes.open()
        outcomes.close()


def _forget(data_dir: Path | None, owner: str) -> None:
    if data_dir is not None and "." not in owner:
        forget_run(data_dir, owner)
