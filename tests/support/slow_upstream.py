"""An upstream that answers when the test says so, and tells in which order it was asked."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.support.raw_server import Peer, raw_server


class SlowUpstream:
    """Speaks OpenAI's chat completions; every question waits until it is let go, the first first.

    Attributes
    ----------
    asked
        The users' words, in the order in which they came.
    """

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.origin = ""
        self._open: list[asyncio.Event] = []
        self._n_let_go = 0

    async def serve(self, peer: Peer) -> None:
        """Serve one connection."""
        while True:
            _, body = await peer.request()
            self.asked.append(json.loads(body)["messages"][-1]["content"])
            self._open.append(event := asyncio.Event())
            await event.wait()
            await peer.answer(_ANSWER, headers=b"content-type: application/json\r\n")

    def let_go(self, n: int = 1) -> None:
        """Answer the next n questions, which must have come."""
        for event in self._open[self._n_let_go : self._n_let_go + n]:
            event.set()
        self._n_let_go += n

    async def came(self, n: int) -> None:
        """Wait until n questions came since the beginning."""
        while len(self.asked) < n:
            await asyncio.sleep(0.005)


@asynccontextmanager
async def slow_upstream() -> AsyncIterator[SlowUpstream]:
    """Serve on a free port."""
    slow = SlowUpstream()
    async with raw_server(slow.serve) as server:
        slow.origin = server.origin
        yield slow


_ANSWER = json.dumps(
    {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": "sim-nano",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "A balance."},
                "finish_reason": "stop",
            }
        ],
        "usage": {"prompt_tokens": 10, "completion_tokens": 3, "total_tokens": 13},
    }
).encode()
