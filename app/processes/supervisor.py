"""The parent of several serving processes: starts them, starts anew what dies, reloads, stops.

It reads no configuration itself once it runs: a worker does, and hands on what it read. So nothing
that stands in a file can end the process that all others depend on.
"""

import asyncio
import logging
import os
import signal
import socket
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from itertools import count
from pathlib import Path

from prometheus_client.multiprocess import mark_process_dead

from app.config import LoadedConfig
from app.errors import ConfigError
from app.processes.board import Board
from app.processes.messages import (
    Apply,
    Failed,
    FromWorker,
    Ready,
    Reloaded,
    Reply,
    Stage,
    Stop,
    WantsReload,
    WorkersMissing,
)
from app.processes.worker import Seat
from app.processes.worker_process import WorkerProcess
from app.server.server import LAST_WORDS_S
from app.server.signals import Terminal

START_S = 120.0
"""How long a worker may take to begin."""

HUNG_S = 30.0
"""How long the event loop of a worker may stand still before it is killed."""

HEALTHY_S = 30.0
"""A worker that ran for so long is started anew at once when it dies; others wait longer and longer
for their next try, up to `MAX_PAUSE_S`."""

MAX_PAUSE_S = 30.0

_LOOK_S = 1.0
_MARGIN_S = 5.0
"""How much longer than it may take a worker is given to stop before it is killed."""

_log = logging.getLogger(__name__)


class Supervisor:
    """Keeps `n_workers` processes serving what comes to one socket.

    Parameters
    ----------
    host
        The address that is listened on, as it was asked for.
    folder
        Where workers count together, and tell each other how busy they are.
    on_death
        Notified of the process id of each worker that is no more.
    on_ready
        Called once all workers take connections.
    """

    def __init__(
        self,
        config: LoadedConfig,
        *,
        n_workers: int,
        listening: socket.socket,
        host: str,
        folder: Path,
        on_death: Callable[[int], None],
        on_ready: Callable[[], None],
    ) -> None:
        self._config = config
        self._listening = listening
        self._host = host
        self._folder = folder
        self._on_death = on_death
        self._on_ready = on_ready
        self._board_file = folder / "board"
        self._board = Board.create(self._board_file, workers=n_workers)
        self._workers: list[WorkerProcess | None] = [None] * n_workers
        self._failures = [0] * n_workers
        self._numbers = count(1)
        self._tasks: set[asyncio.Task[None]] = set()
        self._wanted = asyncio.Event()
        self._wanting: list[tuple[WorkerProcess, int]] = []
        self._stop_signals: list[int] = []
        self._stopping = asyncio.Event()
        self._refusal: str | None = None
        self._was_ready = False
        self._uncounted: list[str] = []
        self._terminal = Terminal()

    async def run(self) -> None:
        """Run until told to stop.

        Raises
        ------
        ConfigError
            If the workers cannot start.
        """
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGHUP, self._hung_up)
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._told_to_stop, number)
        for index in range(len(self._workers)):
            self._start(index)
        self._do(self._reload_when_wanted())
        self._do(self._look_after())
        try:
            await self._stopping.wait()
        finally:
            await self._stop()
        if self._refusal is not None:
            raise ConfigError(self._refusal)

    # --- workers ----------------------------------------------------------------------------------

    def _start(self, index: int) -> None:
        if self._stopping.is_set():
            return
        seat = Seat(
            index=index,
            config=self._config,
            host=self._host,
            board=self._board_file,
            metrics_dir=self._folder,
            n_workers=len(self._workers),
        )
        try:
            worker = WorkerProcess(seat, self._listening)
        except OSError as error:  # no memory, no processes: the system may have some later
            _log.error("a worker cannot be started: %s", error)
            self._start_later(index)
            return
        self._workers[index] = worker
        loop = asyncio.get_running_loop()
        loop.add_reader(worker.connection.fileno(), self._heard, worker)
        loop.add_reader(worker.process.sentinel, self._ended, worker)

    def _heard(self, worker: WorkerProcess) -> None:
        try:
            while worker.connection.poll():
                self._take(worker, worker.connection.recv())
        except (EOFError, OSError):
            asyncio.get_running_loop().remove_reader(worker.connection.fileno())

    def _take(self, worker: WorkerProcess, message: FromWorker) -> None:
        match message:
            case Ready():
                worker.ready = True
                _log.info("worker ready", extra={"fields": {"pid": worker.pid}})
                self._tell_of_missing()
                if worker.seat.config is not self._config:
                    self._do(self._catch_up(worker))
                if not self._was_ready and len(self._ready()) == len(self._workers):
                    self._was_ready = True
                    self._on_ready()
            case Failed():
                worker.failure = message.message
            case WantsReload():
                self._wanting.append((worker, message.number))
                self._wanted.set()
            case Reply():
                reply = worker.replies.get(message.number)
                if reply is not None and not reply.done():
                    reply.set_result(message)

    def _ended(self, worker: WorkerProcess) -> None:
        """Take note that a process is no more, and see to it that another one comes."""
        loop, index = asyncio.get_running_loop(), worker.seat.index
        loop.remove_reader(worker.process.sentinel)
        with suppress(OSError, ValueError):
            self._heard(worker)  # its last words
            loop.remove_reader(worker.connection.fileno())
        worker.process.join()
        worker.gone()
        pid, uptime_s = worker.pid, worker.age_s
        self._workers[index] = None
        self._board.leave(index)
        mark_process_dead(pid, str(self._folder))  # type: ignore[no-untyped-call]
        self._on_death(pid)
        if self._stopping.is_set():
            return
        cause, how = worker.how_it_ended()
        if not self._was_ready and worker.failure is not None:
            # It would fail the same way again, and whoever started us is told why.
            self._refusal = worker.failure
            self._stopping.set()
            return
        _log.error(
            "a worker died: %s",
            how,
            extra={"fields": {"pid": pid, "cause": cause, "uptime_s": round(uptime_s, 1)}},
        )
        if not self._was_ready and cause == "exit":
            self._refusal = f"a worker cannot start ({how}); see the log"
            self._stopping.set()
            return
        self._failures[index] = 0 if uptime_s >= HEALTHY_S else self._failures[index] + 1
        self._uncounted.append(cause)
        self._tell_of_missing()
        self._start_later(index)

    def _start_later(self, index: int) -> None:
        failures = self._failures[index]
        pause_s = 0.0 if failures <= 1 else min(2.0 ** (failures - 2), MAX_PAUSE_S)
        if pause_s:
            _log.error(
                "a worker died %d times in a row soon after its start; the next one starts in %g s",
                failures,
                pause_s,
            )
        asyncio.get_running_loop().call_later(pause_s, self._start, index)

    def _ready(self) -> list[WorkerProcess]:
        return [each for each in self._workers if each is not None and each.ready]

    def _tell_of_missing(self) -> None:
        """Tell those that run how many do not; the first of them counts who died."""
        ready = self._ready()
        n_missing = len(self._workers) - len(ready)
        for i, worker in enumerate(ready):
            died, self._uncounted = (self._uncounted, []) if i == 0 else ([], self._uncounted)
            worker.say(WorkersMissing(n_missing=n_missing, died=tuple(died)))

    async def _look_after(self) -> None:
        """Kill what has stood still for too long; it is then started anew."""
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + _LOOK_S
            await asyncio.sleep(_LOOK_S)
            if loop.time() > due + _LOOK_S:
                continue  # all of us stood still, not a worker alone
            for worker in self._workers:
                if worker is None:
                    continue
                still_s = self._board.silent_s(worker.seat.index)
                late = still_s > HUNG_S if worker.ready else worker.age_s > START_S
                if late and not worker.hung:
                    worker.hung = True
                    _log.error("worker %d stands still; it is killed", worker.pid)
                    worker.process.kill()

    # --- the configuration ------------------------------------------------------------------------

    def _hung_up(self) -> None:
        if self._terminal.is_gone():
            self._told_to_stop(signal.SIGTERM)
        else:
            self._wanted.set()

    async def _reload_when_wanted(self) -> None:
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            wanting, self._wanting = self._wanting, []
            version, problem = "", None
            try:
                version = await self._reload()
            except ConfigError as error:
                problem = error.message
                _log.error("the configuration is not replaced: %s", problem)
            except Exception as error:  # noqa: BLE001  (the supervisor goes on)
                # Whatever it is, workers are still started anew, and the next attempt is made.
                problem = f"the supervisor failed: {type(error).__name__}"
                _log.exception("the configuration is not replaced")
            for i, worker in enumerate(self._ready()):
                answers = tuple(number for each, number in wanting if each is worker)
                worker.say(
                    Reloaded(version=version, problem=problem, counts=i == 0, answers=answers)
                )

    async def _reload(self) -> str:
        """Have one worker read the configuration, all make it ready, and then all serve it.

        Raises
        ------
        ConfigError
            If it cannot be used by all, or not all serve it now.
        """
        workers = self._ready()
        if not workers:
            raise ConfigError("no worker runs that could read it; restart the gateway")
        first, others = workers[0], workers[1:]
        read = await first.ask(Stage(number=next(self._numbers), config=None))
        config = read.config
        if read.problem is not None or config is None:
            raise ConfigError(read.problem or f"worker {first.pid} read nothing")
        problems = await self._order(
            {each: Stage(number=next(self._numbers), config=config) for each in others}
        )
        if problems:
            raise ConfigError(f"{'; '.join(problems)}; nothing is replaced")
        self._config = config
        problems = await self._order(
            {each: Apply(number=next(self._numbers)) for each in workers}, or_else_kill=True
        )
        if problems:
            raise ConfigError(
                f"served by all workers but: {'; '.join(problems)}; those are started anew with it"
            )
        _log.info("the configuration is now version %s in %d workers", read.version, len(workers))
        return read.version

    async def _order(
        self, orders: Mapping[WorkerProcess, Stage | Apply], *, or_else_kill: bool = False
    ) -> list[str]:
        """Give each worker its order; return what keeps some of them from it."""
        replies = await asyncio.gather(*(worker.ask(each) for worker, each in orders.items()))
        problems = []
        for worker, reply in zip(orders, replies, strict=True):
            if reply.problem is not None:
                problems.append(f"worker {worker.pid}: {reply.problem}")
                if or_else_kill:
                    worker.process.kill()  # it serves what the others no longer do
        return problems

    async def _catch_up(self, worker: WorkerProcess) -> None:
        """Have a worker serve what was read anew while it started."""
        for order in (
            Stage(number=next(self._numbers), config=self._config),
            Apply(number=next(self._numbers)),
        ):
            reply = await worker.ask(order)
            if reply.problem is not None:
                _log.error("worker %d: %s; it is started anew", worker.pid, reply.problem)
                worker.process.kill()
                return

    # --- the end ----------------------------------------------------------------------------------

    def _told_to_stop(self, number: int) -> None:
        """Pass a signal on; the second one hurries."""
        self._stop_signals.append(number)
        for worker in self._workers:
            if worker is None:
                continue
            if number == signal.SIGINT and worker.ready:
                worker.say(Stop(at_once=self._stop_signals.count(number) > 1))
            else:
                worker.process.terminate()
        self._stopping.set()

    async def _stop(self) -> None:
        """Let nobody new in, and wait for the workers."""
        # As long as this end is open, what connects waits for somebody to take it.
        self._listening.close()
        for worker in self._workers:
            if worker is not None and not self._stop_signals:
                worker.process.terminate()
        server = self._config.gateway.server
        patience_s = server.drain_s + server.shutdown_grace_s + LAST_WORDS_S + _MARGIN_S
        with suppress(TimeoutError):
            async with asyncio.timeout(patience_s):
                await self._all_gone()
        for worker in self._workers:
            if worker is not None:
                _log.error("worker %d did not stop; it is killed", worker.pid)
                worker.process.kill()
        await self._all_gone()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._board.close()
        if self._refusal is None:
            _log.info("stopped", extra={"fields": {"pid": os.getpid()}})

    async def _all_gone(self) -> None:
        while any(self._workers):  # a sentinel tells of each, in `_ended`  # noqa: ASYNC110
            await asyncio.sleep(0.02)

    def _do(self, work: Coroutine[None, None, None]) -> None:
        """Run something beside; if it fails, that is told, and the supervisor goes on."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            _log.error("the supervisor failed", exc_info=task.exception())
