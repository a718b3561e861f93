"""Run the simulated upstream beside a test and read what it saw."""

import asyncio
import sys
import threading
from collections.abc import AsyncIterator, Coroutine, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Self, TypeVar

import httpx

from app.stub.faults import Fault, FaultKind
from app.stub.log import Ended, LogEntry
from app.stub.server import StubServer

ROOT = Path(__file__).resolve().parents[2]


_T = TypeVar("_T")


class StubThread:
    """A stub in a thread with an event loop of its own, for tests that are not async."""

    def __init__(self, *, speed: float = 0.0) -> None:
        self._speed = speed
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="stub")

    def __enter__(self) -> Self:
        self._thread.start()
        self._stub = StubServer(speed=self._speed)
        self._call(self._stub.start())
        self.origin = f"http://{self._stub.host}:{self._stub.port}"
        return self

    def __exit__(self, *_: object) -> None:
        self._call(self._stub.aclose())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(60)
        self._loop.close()

    @property
    def base_url(self) -> str:
        """What a client of OpenAI's API is given as its base URL."""
        return f"{self.origin}/v1"

    @property
    def open_connections(self) -> int:
        """How many clients are connected."""
        return self._stub.open_connections

    def add_fault(self, fault: str, **fields: Any) -> None:
        """Add one failure; see `app.stub.faults.Fault`."""

        async def add() -> None:
            self._stub.faults.add(Fault(fault=FaultKind(fault), **fields))

        self._call(add())

    def log(self, *, wait_for: str | None = None, timeout_s: float = 50.0) -> list[LogEntry]:
        """Return the log since the last reset, after waiting for an entry that ended like that."""

        async def read() -> list[LogEntry]:
            if wait_for is not None:
                found = await self._stub.log.wait_for(Ended(wait_for), timeout_s=timeout_s)
                entries = [(entry.model, entry.ended.value) for entry in self._stub.log.entries]
                assert found, f"no request came to {wait_for!r}: {entries}"
            return list(self._stub.log.entries)

        return self._call(read())

    def reset(self) -> None:
        """Forget log and failures."""

        async def clear() -> None:
            self._stub.faults.clear()
            self._stub.log.clear()

        self._call(clear())

    def _call(self, work: Coroutine[Any, Any, _T]) -> _T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(60)


class StubProcess:
    """A stub in another process."""

    def __init__(self, origin: str, process: asyncio.subprocess.Process) -> None:
        self.origin = origin
        self.base_url = f"{origin}/v1"
        self.process = process
        self._client = httpx.AsyncClient(base_url=origin, timeout=30, trust_env=False)

    async def add_fault(self, **fault: Any) -> None:
        """Add one failure; see `app.stub.faults.Fault`."""
        response = await self._client.post("/stub/faults", json=fault)
        response.raise_for_status()

    async def log(
        self, *, wait_for: str | None = None, since: int = 0, timeout_s: float = 30.0
    ) -> list[Mapping[str, Any]]:
        """Return the log, after waiting for an entry that ended like that."""
        wait = {"wait_for": wait_for, "since": since, "timeout_s": timeout_s} if wait_for else {}
        response = await self._client.get("/stub/log", params=wait)
        response.raise_for_status()
        answer = response.json()
        assert answer["found"], f"no request came to {wait_for!r}: {answer['entries']}"
        return answer["entries"]

    async def reset(self) -> None:
        """Forget log and failures."""
        (await self._client.post("/stub/reset")).raise_for_status()

    async def aclose(self) -> None:
        """Close the control connection and stop the process through its stdin."""
        await self._client.aclose()
        assert self.process.stdin is not None
        self.process.stdin.close()
        await asyncio.wait_for(self.process.wait(), timeout=60)


@asynccontextmanager
async def stub_process(*, speed: float = 0.0) -> AsyncIterator[StubProcess]:
    """Start a stub on a free port; it ends with the block, or with this process."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "app.stub", "--port", "0", "--speed", str(speed)),
        "--exit-on-stdin-close",
        cwd=ROOT,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    line = await asyncio.wait_for(process.stdout.readline(), timeout=60)
    stub = StubProcess(line.decode().split()[-1], process)
    try:
        yield stub
    finally:
        await stub.aclose()
