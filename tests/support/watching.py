"""Look into a running gateway: its metrics and what still runs in its event loop."""

import asyncio
import time

import httpx

from tests.support.gateway import RunningGateway

_STANDING = frozenset(
    {
        "_exchange_news",
        "_tasks",
        "_work_at_batches",
        "Canaries.ask_forever",
        "FallbackStore._pay_always",
        "LifespanOn.main",
        "LoadWatch.run",
        "Memories.take_in_forever",
        "ProviderWatch.keep_forever",
        "Pupils.keep_forever",
        "Server.serve",
        "Settler.run",
        "sample_forever",
        "watch_machines",
        "weigh_load_forever",
    }
)
"""Tasks of a gateway that nobody asks anything."""


def metrics(gateway: RunningGateway) -> list[str]:
    """Return the lines of the metrics."""
    return httpx.get(f"{gateway.url}/metrics", trust_env=False).text.splitlines()


def metric(gateway: RunningGateway, begins: str) -> float:
    """Return the sum of all metrics whose line begins like that; 0 where there is none."""
    lines = [line for line in metrics(gateway) if line.startswith(begins)]
    return sum(float(line.rpartition(" ")[2]) for line in lines)


def until(gateway: RunningGateway, begins: str, value: float) -> str:
    """Ask for the metrics until a line is there: the outcome is recorded a moment later."""
    found: list[str] = []
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        found = [line for line in metrics(gateway) if line.startswith(begins)]
        if found and float(found[0].rpartition(" ")[2]) == value:
            return found[0]
    raise AssertionError(f"{begins} never came to {value}: {found}")


def assert_no_task_is_left(gateway: RunningGateway) -> None:
    """Wait until nothing runs in the gateway's event loop, apart from the server itself."""
    left: list[str] = []
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        left = asyncio.run_coroutine_threadsafe(_tasks(), gateway.loop).result(60)
        if not left:
            return
    raise AssertionError(left)


async def _tasks() -> list[str]:
    names = (task.get_coro().__qualname__ for task in asyncio.all_tasks())  # type: ignore[union-attr]
    return [name for name in names if name not in _STANDING]
