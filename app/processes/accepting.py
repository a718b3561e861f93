"""How several workers share the connections that come to one socket: who has fewest takes them.

Left to themselves the first to wake takes everything: with a few clients that keep their
connections one worker has them all, and the others have nothing to do. A socket for each
(SO_REUSEPORT) draws lots, which is as bad for few clients, and what waits at the socket of a worker
that died is lost.
"""

import asyncio
import logging
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from app.processes.board import Board

PATIENCE_S = 0.01
"""How long a connection is left to a worker that has fewer; it may be too busy to come."""

_TROUBLE_S = 0.5
"""How long nothing is taken after the system refused (out of open files, most likely)."""

_SLACK = 8
"""One more connection than the least busy worker for every so many that it has: a rush of
connections goes faster if not every single one has to wait for its turn."""

_log = logging.getLogger(__name__)


class ShownConnections(set[Any]):
    """The connections of a worker; the board always says how many there are."""

    def __init__(self, board: Board, index: int) -> None:
        super().__init__()
        self._board, self._index = board, index
        self._shown = True

    def add(self, connection: Any, /) -> None:
        """Take one in."""
        super().add(connection)
        self._show()

    def discard(self, connection: Any, /) -> None:
        """Let one go."""
        super().discard(connection)
        self._show()

    def leave(self) -> None:
        """Take the worker off the board for good: nothing new is left to it."""
        self._shown = False
        self._board.leave(self._index)

    def _show(self) -> None:
        if self._shown:
            self._board.show(self._index, connections=len(self))


class FairListener:
    """A worker's end of the socket that all workers listen on.

    Parameters
    ----------
    make
        Makes the protocol of a connection.
    connections
        Those that there are.
    """

    def __init__(
        self,
        listening: socket.socket,
        *,
        make: Callable[[], asyncio.Protocol],
        connections: ShownConnections,
        board: Board,
        index: int,
    ) -> None:
        self._listening = listening
        self._make = make
        self._connections = connections
        self._board = board
        self._index = index
        self._loop = asyncio.get_running_loop()
        self._opening: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None

    def open(self) -> None:
        """Begin to take connections."""
        self._listening.setblocking(False)
        self._board.show(self._index, connections=len(self._connections))
        self._loop.add_reader(self._listening, self._knocked)

    def close(self) -> None:
        """Take no more; once all workers and their parent have done so, nobody can connect."""
        if self._timer is not None:
            self._timer.cancel()
        if self._listening.fileno() >= 0:
            self._loop.remove_reader(self._listening)
            self._listening.close()

    async def wait_closed(self) -> None:
        """Wait for connections that are being opened."""
        await asyncio.gather(*self._opening, return_exceptions=True)

    def _knocked(self) -> None:
        mine = len(self._connections) + len(self._opening)
        least = self._board.least_of_others(self._index)
        most = mine + _SLACK if least is None else least + least // _SLACK
        if mine <= most:
            self._take(1 + most - mine)
        else:
            self._wait(PATIENCE_S, self._nobody_came)

    def _nobody_came(self) -> None:
        self._listen_again()
        self._take(1 + len(self._connections) // _SLACK)

    def _take(self, most: int) -> None:
        for _ in range(most):
            try:
                connection, _address = self._listening.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                _log.error("no connection can be accepted: %s", error)
                self._wait(_TROUBLE_S, self._listen_again)
                return
            task = self._loop.create_task(self._start(connection))
            self._opening.add(task)
            task.add_done_callback(self._opening.discard)

    async def _start(self, connection: socket.socket) -> None:
        connection.setblocking(False)
        with suppress(OSError):
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            await self._loop.connect_accepted_socket(self._make, connection)
        except OSError:  # it has gone already
            connection.close()

    def _wait(self, seconds: float, then: Callable[[], None]) -> None:
        self._loop.remove_reader(self._listening)
        self._timer = self._loop.call_later(seconds, then)

    def _listen_again(self) -> None:
        self._timer = None
        self._loop.add_reader(self._listening, self._knocked)
