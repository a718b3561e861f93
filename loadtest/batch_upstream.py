"""The upstream of `bench_batch`: answers at once, and counts how often it was asked each line.

Lines are known by `[[line 17]]` in what they ask. It is told `counts` on standard input, and says
on standard output how many lines were asked how often: `{"1": 49990, "2": 10}`.
"""

import asyncio
import re
import sys
from collections import Counter

import msgspec
import uvloop

from loadtest.upstream import Upstream

MARK = "[[line {}]]"
_MARK = re.compile(rb"\[\[line (\d+)\]\]")
_asked: Counter[bytes] = Counter()


class CountingUpstream(Upstream):
    """One connection of it."""

    def on_message_complete(self) -> None:
        """Count, and answer."""
        found = _MARK.search(b"".join(self._body))
        if found is not None:
            _asked[found[1]] += 1
        super().on_message_complete()


async def serve() -> None:
    """Serve until standard input closes."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(CountingUpstream, "127.0.0.1", 0, backlog=4096)
    print(f'{{"port": {server.sockets[0].getsockname()[1]}}}', flush=True)
    while await loop.run_in_executor(None, sys.stdin.readline):
        times = Counter(str(each) for each in _asked.values())
        print(msgspec.json.encode(times).decode(), flush=True)
    server.close()


if __name__ == "__main__":
    uvloop.run(serve())
