"""Run the simulated upstream as a process of its own and read what it saw."""

import asyncio
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx

ROOT = Path(__file__).resolve().parents[2]


class StubProcess:
    """A stub in another process; in-process tests use `app.stub.server.StubServer` itself."""

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
        self, *, wait_for: str | None = None, since: int = 0, timeout_s: float = 5.0
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
        await asyncio.wait_for(self.process.wait(), timeout=10)


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
    line = await asyncio.wait_for(process.stdout.readline(), timeout=30)
    stub = StubProcess(line.decode().split()[-1], process)
    try:
        yield stub
    finally:
        await stub.aclose()
