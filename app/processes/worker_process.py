"""A serving process as its parent sees it: started, spoken to, asked, and gone."""

import asyncio
import multiprocessing
import signal
import socket
from contextlib import suppress

from app.processes.messages import Apply, FromSupervisor, Reply, Stage
from app.processes.worker import Seat, run_worker

ANSWER_S = 60.0
"""How long a worker may take to make a configuration ready."""

_spawn = multiprocessing.get_context("spawn")


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
        self.process = _spawn.Process(target=run_worker, args=(seat, listening, theirs))
        try:
            self.process.start()
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
