"""Machines that say themselves what they have loaded: asked now and then."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from app.errors import UpstreamError
from app.gateway.deployments.machines import Machine

_log = logging.getLogger(__name__)


class Reader(Protocol):
    """Asks a machine what it has loaded."""

    async def read(self) -> frozenset[str]:
        """Return its names for these models.

        Raises
        ------
        UpstreamError
        """
        ...

    async def aclose(self) -> None:
        """Let go of its connections."""
        ...


@dataclass(slots=True, kw_only=True, eq=False)
class WatchedMachine:
    """A machine, what asks it, and how often.

    Attributes
    ----------
    name
        Of its upstream.
    """

    name: str
    machine: Machine
    reader: Reader
    poll_s: float
    read_at: float = float("-inf")
    fails: bool = False

    async def ask(self, clock: Callable[[], float]) -> bool:
        """Set the picture right by what the machine says; return whether it said something."""
        self.read_at = clock()
        try:
            loaded = await self.reader.read()
        except UpstreamError as error:
            if not self.fails:
                _log.warning("upstream %s does not say what it has loaded: %s", self.name, error)
            self.fails = True
            return False
        self.fails = False
        self.machine.told(loaded, clock())
        return True


async def watch_machines(
    machines: Callable[[], Sequence[WatchedMachine]],
    clock: Callable[[], float],
    *,
    on_failure: Callable[[str], None],
    step_s: float = 0.5,
) -> None:
    """Ask machines what they have loaded until cancelled, each as often as it says.

    Parameters
    ----------
    machines
        Those of the configuration that is served.
    on_failure
        Told of the name of a machine that did not say.
    """
    while True:
        due = [each for each in machines() if clock() - each.read_at >= each.poll_s]
        if due:
            for each, said in zip(
                due, await asyncio.gather(*(each.ask(clock) for each in due)), strict=True
            ):
                if not said:
                    on_failure(each.name)
        await asyncio.sleep(step_s)
