"""The places of a simulated gateway, and the gateway's own queue before them."""

from collections.abc import Callable

from app.gateway.queues.fair_line import FairLine
from app.gateway.queues.virtual_counters import INPUT_WEIGHT, OUTPUT_WEIGHT, Rank, Ticket
from loadtest.sim.traffic import Traffic


class Door:
    """So many requests at a time; the others wait in a `FairLine`.

    Parameters
    ----------
    clock
        The simulation's.
    ranks
        In whose name each request waits.
    """

    def __init__(
        self,
        traffic: Traffic,
        *,
        clock: Callable[[], float],
        max_running: int,
        line: FairLine,
        ranks: Callable[[int], Rank],
    ) -> None:
        self.line = line
        self._input: list[int] = traffic.input_tokens.tolist()
        self._output: list[int] = traffic.output_tokens.tolist()
        self._clock, self._max_running, self._ranks = clock, max_running, ranks
        self._running = 0
        self._tickets: dict[int, Ticket] = {}
        self.n_idle = 0
        """How often a place was free while somebody waited, after an event: never, it must be."""

    def enter(self, request: int, begin: Callable[[], None]) -> None:
        """Let a request in, now or later.

        Raises
        ------
        ValueError
            If there is no room to wait: a simulated client does not come again.
        """
        if self._running < self._max_running:
            self._running += 1
            begin()
            return
        ticket = self.line.join(
            self._ranks(request),
            now=self._clock(),
            read=INPUT_WEIGHT * self._input[request],
            called=lambda _: begin(),
            dropped=_turned_away,
        )
        if ticket is None:
            raise ValueError("too many wait")
        self._tickets[request] = ticket

    def leave(self, request: int) -> None:
        """Give back the place of a request, with what it used."""
        self._running -= 1
        ticket = self._tickets.pop(request, None)
        if ticket is not None:
            used = INPUT_WEIGHT * self._input[request] + OUTPUT_WEIGHT * self._output[request]
            self.line.settle(ticket, used)
        while self._running < self._max_running and self.line.n_waiting:
            self._running += 1
            self.line.serve_next(self._clock())
        self.n_idle += bool(self.line.n_waiting) and self._running < self._max_running


def _turned_away(_ticket: Ticket) -> None:
    raise ValueError("too many wait")
