"""A serving process as its parent sees it: started, spoken to, asked, and gone."""

import asyncio
import multiprocessing
import signal
import socket
from contextlib import suppress
from multiprocessing import resource_tracker
from multiprocessing.context import ForkServerProcess

from app.processes.messages import Apply, FromSupervisor, Reply, Stage
from app.processes.worker import SUPERVISED, Seat, run_worker

ANSWER_S = 60.0
"""How long a worker may take to make a configuration ready."""

_IMPORTED = ["app.processes.worker", "httptools", "uvloop"]
"""What workers have to import, a second or two of a core each time. One process does it for all of
them, which then forks each: so there may be many, and whoever takes the place of a dead one serves
within half a second. It has no thread, holds no lock and reads nothing, which could not be forked.
"""


class WorkerProcess:
    """A serving process as its parent sees it."""

    def __init__(self, seat: Seat, listening: socket.socket) -> None:
        self.seat = seat
        self.ready = False
        self.hung = False
        self.failure: str | None = None
        self.started_at = asyncio.get_running_loop().time()
        self.replies: dict[int, asyncio.Future[Reply]] = {}
        self.connection, theirs = multiprocessing.Pipe()
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(_IMPORTED)
        self.process = context.Process(target=run_worker, args=(seat, listening, theirs))
        try:
            _start(self.process)
        finally:
            theirs.close()

    @property
    def pid(self) -> int:
        """Its process id."""
        return self.process.pid or 0

    @property
    def age_s(self) -> float:
        """How long ago it was started."""
        return asyncio.get_running_loop().time() - self.started_at

    def say(self, message: FromSupervisor) -> None:
        """Tell it something short; it may be no more."""
        with suppress(OSError):
            self.connection.send(message)

    async def ask(self, order: Stage | Apply) -> Reply:
        """Have it do something; whatever keeps it from that is in the answer."""
        reply: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self.replies[order.number] = reply
        try:
            async with asyncio.timeout(ANSWER_S):
                # A configuration may be more than a pipe holds.
                await asyncio.to_thread(self.connection.send, order)
                return await reply
        except TimeoutError:
            return Reply(number=order.number, problem=f"no answer within {ANSWER_S:g} s")
        except OSError:
            return Reply(number=order.number, problem="it died")
        finally:
            del self.replies[order.number]

    def gone(self) -> None:
        """Answer for it what it can no longer answer."""
        self.connection.close()
        for number, reply in self.replies.items():
            if not reply.done():
                reply.set_result(Reply(number=number, problem="it died"))

    def how_it_ended(self) -> tuple[str, str]:
        """Return the cause as a label and in words."""
        code = self.process.exitcode
        if self.hung:
            return "hung", "it stood still"
        if self.failure is not None:
            return "exit", self.failure
        if code is not None and code < 0:
            return "signal", f"by {signal.Signals(-code).name}"
        return "exit", f"with exit code {code}"


def _start(process: ForkServerProcess) -> None:
    """Start a worker; what forks it is started with the first one, or anew where it died.

    Raises
    ------
    OSError
    """
    resource_tracker.ensure_running()  # here, since it unblocks signals
    # What is sent to a whole group of processes is not meant for the one that forks.
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, SUPERVISED)
    try:
        process.start()
    except EOFError as error:
        raise OSError("the process that forks workers died") from error
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
