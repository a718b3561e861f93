"""Who claims in a shared store, so that what a dead process claims can be given back at once.

A run is one `steelyard serve`; its processes are its owners. Names of runs are random: whoever
gives back what a run claims must never meet the claims of another one.
"""

import asyncio
import logging
import os
import queue
import secrets
import threading
from collections.abc import Callable

from app.stores.base import Lifecycle, StoreError

RETRY_S = 1.0
GIVE_UP_S = 3600.0
"""By then, claims have outlived their lifetime."""

_log = logging.getLogger(__name__)


def new_run() -> str:
    """Return a name for a run that no other one has."""
    return secrets.token_hex(8)


def owner_of(run: str, pid: int | None = None) -> str:
    """Return the name of a process of a run; default: of this process."""
    return f"{run}.{os.getpid() if pid is None else pid}"


class Releaser:
    """Give back what dead processes claim, in a thread: neither a caller nor a loop waits for it.

    A store that cannot be asked is asked again, for as long as it may matter.

    Parameters
    ----------
    connect
        Makes the store, which is opened and closed for each owner.
    on_release
        Notified of every owner whose claims are free.
    """

    def __init__(
        self,
        connect: Callable[[], Lifecycle],
        *,
        on_release: Callable[[str], None] = lambda _owner: None,
    ) -> None:
        self._connect = connect
        self._on_release = on_release
        self._dead: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="steelyard-releaser", daemon=True)
        self._thread.start()

    def release(self, owner: str) -> None:
        """Have given back what a process, or a whole run, claims."""
        self._dead.put(owner)

    def close(self) -> None:
        """Give up what cannot be done at once."""
        self._closing.set()
        self._dead.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (owner := self._dead.get()) is not None:
            try:
                self._release(owner)
            except Exception:  # noqa: BLE001  (one owner must not keep others from being released)
                _log.exception("what the dead process %s claims cannot be given back", owner)

    def _release(self, owner: str) -> None:
        for _ in range(round(GIVE_UP_S / RETRY_S)):
            try:
                asyncio.run(self._ask(owner))
            except StoreError as error:
                _log.warning("store: a dead process still holds its claims: %s", error)
            else:
                self._on_release(owner)
                return
            if self._closing.wait(RETRY_S):
                return

    async def _ask(self, owner: str) -> None:
        lifecycle = self._connect()
        try:
            await lifecycle.store.counters.release_owner(owner)
        finally:
            await lifecycle.aclose()
