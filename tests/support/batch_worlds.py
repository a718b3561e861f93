"""Processes that work at batches, without gateways around them: what they ask is under control."""

import asyncio
import json

from app.access.guard import ANONYMOUS
from app.batches.clock import StoreClock
from app.batches.desk import Desk
from app.batches.door import Answer, Candidate
from app.batches.files import Files
from app.batches.runner import Runner

CHAT = "/v1/chat/completions"
BODY = {"model": "m", "messages": [{"role": "user", "content": "Hello"}]}
USD = 0.5


def requests(n):
    """Return a file of so many requests."""
    lines = (
        {"custom_id": str(each), "method": "POST", "url": CHAT, "body": BODY} for each in range(n)
    )
    return b"".join(json.dumps(each).encode() + b"\n" for each in lines)


def fine(request_id, _):
    """Answer."""
    return Answer(status=200, body=b'{"ok":true}', request_id=request_id, cost_usd=USD, model="m")


class Door:
    """Answers the first few requests; the others wait until somebody lets them in."""

    def __init__(self, n_at_once, answer=fine):
        self.n_asked, self._n_at_once, self._answer = 0, n_at_once, answer
        self.opened = asyncio.Event()
        self.waiting = asyncio.Event()

    async def answer(self, _asked, _line, *, request_id, model):  # noqa: ARG002  (the seam's)
        self.n_asked += 1
        if self.n_asked > self._n_at_once:
            self.waiting.set()
            await self.opened.wait()
        return self._answer(request_id, self.n_asked)

    async def candidates(self, _asked, lines):
        one = Candidate(model="m", quality=0.5, cost_usd=USD, cost_usd_upper=USD)
        return [(one,)] * len(lines)


async def anybody(_):
    """Return whom every key stands for."""
    return ANONYMOUS


class Place:
    """What one process has: its way to the store, and its clock.

    Parameters
    ----------
    clock
        Of the process, as of `StoreClock`.
    """

    def __init__(self, jobs, **clock):
        self.jobs = jobs
        self.clock = StoreClock(jobs=jobs, **clock)
        self.files = Files(jobs=jobs, clock=self.clock, lifetime_s=1e6, max_stored_bytes=10**8)
        self.desk = Desk(jobs=jobs, files=self.files, clock=self.clock)

    def runner(self, door, *, lease_s, concurrency=4, caller_of=anybody):
        """Return a process that works at the batches of the store."""
        return Runner(
            jobs=self.jobs,
            clock=self.clock,
            files=self.files,
            door=door,
            caller_of=caller_of,
            max_running=4,
            concurrency=concurrency,
            max_lines=1_000,
            max_line_bytes=10_000,
            lease_s=lease_s,
            grace_s=0.0,
        )

    async def lines(self, file_id):
        """Return the lines of a file."""
        file = await self.files.find(ANONYMOUS.key_id, file_id)
        content = b"".join([part async for part in self.files.content(file)])
        return [json.loads(each) for each in content.splitlines()]
