"""One of several serving processes: takes its share of the connections, does as it is told."""

import asyncio
import contextlib
import logging
import signal
import socket
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import count
from multiprocessing.connection import Connection
from pathlib import Path
from types import FrameType
from typing import cast

import uvicorn
from fastapi import FastAPI

from app.assembly.reload import Reloader, Staged
from app.config import LoadedConfig
from app.config.settings import Settings
from app.errors import ConfigError, GatewayError
from app.processes.accepting import FairListener, ShownConnections
from app.processes.board import Board
from app.processes.messages import (
    Apply,
    Failed,
    FromSupervisor,
    FromWorker,
    Ready,
    Reloaded,
    Reply,
    Stage,
    Stop,
    WantsReload,
    WorkersMissing,
)
from app.processes.serving_app import serving_app
from app.server.server import Server, uvicorn_config
from app.state import AppState
from app.telemetry.logs import configure_logging
from routers.errors import RoutingError
from routers.plugins import load_plugins, plugin_names

RELOAD_S = 200.0
"""How long a client may wait for all workers to have read the configuration anew."""

BEAT_S = 0.5
"""How often a worker shows that its event loop turns."""

SUPERVISED = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)
"""The signals that a supervisor takes; a worker begins with them blocked."""

REFUSED_CODE = 2
"""The exit code of a worker that said why it cannot start."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Seat:
    """What a worker is started with."""

    index: int
    config: LoadedConfig
    host: str
    board: Path
    metrics_dir: Path
    n_workers: int


def run_worker(seat: Seat, listening: socket.socket, connection: Connection) -> None:
    """Serve until told to stop; the body of a worker process."""
    # What a terminal or an operator means is the supervisor's to pass on.
    for number in (signal.SIGHUP, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SUPERVISED)
    server = seat.config.gateway.server
    configure_logging(level=server.log_level, secrets=seat.config.hidden)
    line = Line(connection)
    plugins = plugin_names(Settings().plugins)
    make = partial(
        serving_app,
        seat.config,
        host=seat.host,
        workers_dir=seat.metrics_dir,
        n_workers=seat.n_workers,
        reload=line.reload,
    )
    try:
        load_plugins(plugins)
        _Worker(
            uvicorn_config(server, make),
            grace_s=server.shutdown_grace_s,
            seat=seat,
            listening=listening,
            line=line,
        ).run()
    except (GatewayError, RoutingError) as error:
        line.say(Failed(message=str(error)))
        sys.exit(REFUSED_CODE)


class Line:
    """A worker's end of the line to its supervisor."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._waiting: dict[int, asyncio.Future[Reloaded]] = {}
        self._numbers = count(1)
        self._staged: Staged | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    def say(self, message: FromWorker) -> None:
        """Tell the supervisor, if there still is one."""
        with contextlib.suppress(OSError):
            self._connection.send(message)

    async def reload(self) -> str:
        """Have all workers read the configuration anew; return its version.

        Raises
        ------
        ConfigError
            If it cannot be used, or not by all of them.
        """
        number = next(self._numbers)
        waiting: asyncio.Future[Reloaded] = asyncio.get_running_loop().create_future()
        self._waiting[number] = waiting
        self.say(WantsReload(number=number))
        try:
            async with asyncio.timeout(RELOAD_S):
                outcome = await waiting
        except TimeoutError:
            raise ConfigError(
                f"the workers did not say within {RELOAD_S:g} s whether they could read the "
                "configuration anew; see the log"
            ) from None
        finally:
            del self._waiting[number]
        if outcome.problem is not None:
            raise ConfigError(outcome.problem)
        return outcome.version

    def listen(self, server: "_Worker", reloader: Reloader, state: AppState) -> None:
        """Do what the supervisor says from now on; without one, stop."""
        loop = asyncio.get_running_loop()

        def orphaned() -> None:
            _log.error("the supervisor is gone; this worker stops")
            server.should_exit = True

        def hear() -> None:
            # In a thread: to wait for a pipe, uvloop makes it one that is never waited for, and
            # half a message would be an error.
            with contextlib.suppress(RuntimeError):  # the loop has ended, and with it the process
                with contextlib.suppress(EOFError, OSError):
                    while True:
                        order = self._connection.recv()
                        loop.call_soon_threadsafe(self._obey, order, server, reloader, state)
                loop.call_soon_threadsafe(orphaned)

        threading.Thread(target=hear, name="line to the supervisor", daemon=True).start()

    def _obey(
        self, order: FromSupervisor, server: "_Worker", reloader: Reloader, state: AppState
    ) -> None:
        match order:
            case Stage():
                task = asyncio.create_task(self._stage(order, reloader))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
            case Apply():
                self.say(self._apply(order, reloader))
            case Reloaded():
                self._staged = None
                reloader.told(successful=order.problem is None, counts=order.counts)
                for number in order.answers:
                    waiting = self._waiting.get(number)
                    if waiting is not None and not waiting.done():
                        waiting.set_result(order)
            case WorkersMissing():
                state.readiness.missing_workers = order.n_missing
                for cause in order.died:
                    state.metrics.process.worker_died(cause)
            case Stop():
                server.should_exit = True
                server.force_exit = order.at_once

    async def _stage(self, order: Stage, reloader: Reloader) -> None:
        try:
            staged = self._staged = await reloader.stage(order.config)
        except ConfigError as error:
            self.say(Reply(number=order.number, problem=error.message))
            return
        config = staged.config if order.config is None else None
        self.say(Reply(number=order.number, version=staged.version, config=config))

    def _apply(self, order: Apply, reloader: Reloader) -> Reply:
        staged, self._staged = self._staged, None
        if staged is None:
            return Reply(number=order.number, problem="nothing was made ready")
        try:
            return Reply(number=order.number, version=reloader.apply(staged))
        except ConfigError as error:
            return Reply(number=order.number, problem=error.message)


class _Worker(Server):
    """A server that shares a socket with others of its kind."""

    def __init__(
        self,
        config: uvicorn.Config,
        *,
        grace_s: float,
        seat: Seat,
        listening: socket.socket,
        line: Line,
    ) -> None:
        super().__init__(config, grace_s=grace_s)
        self._seat = seat
        self._line = line
        self._listening = listening
        self._board = Board(seat.board)
        self._connections = ShownConnections(self._board, seat.index)
        self.server_state.connections = self._connections

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start the application, then take connections."""
        await super().startup(sockets=sockets or [])
        if self.should_exit:
            return
        listener = FairListener(
            self._listening,
            make=partial(
                cast("Callable[..., asyncio.Protocol]", self.config.http_protocol_class),
                config=self.config,
                server_state=self.server_state,
                app_state=self.lifespan.state,
            ),
            connections=self._connections,
            board=self._board,
            index=self._seat.index,
        )
        listener.open()
        self._beat()
        self.servers.append(listener)  # type: ignore[arg-type]  # closed like one of asyncio's
        app = self.config.loaded_app
        assert isinstance(app, FastAPI)  # noqa: S101  (what `serving_app` makes)
        self._line.listen(self, app.state.reloader, app.state.steelyard)
        self._line.say(Ready())

    def _beat(self) -> None:
        """Show that the event loop turns, also while it stops."""
        self._board.beat(self._seat.index)
        asyncio.get_running_loop().call_later(BEAT_S, self._beat)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop as told; the others no longer leave connections to this worker."""
        self._connections.leave()
        await super().shutdown(sockets)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Stop on SIGTERM; a terminal's Ctrl-C reaches the supervisor, too, which passes it on."""
        if sig != signal.SIGINT:
            super().handle_exit(sig, frame)
