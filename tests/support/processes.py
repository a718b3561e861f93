"""Gateways as their operators run them: processes of `steelyard serve`."""

import asyncio
import contextlib
import json
import os
import re
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from tests.support.gateway import CONFIGS, REPOSITORY, changed, patient, read_yaml, write_yaml

ADMIN_TOKEN = "an-admin-token-of-the-tests"  # noqa: S105  (opens nothing else)
_START_S = 180


def write_config(file: Path, upstream: str, changes: Mapping[str, Any]) -> Path:
    """Write the default configuration with its upstream moved; keys are dotted paths."""
    document = read_yaml(CONFIGS / "gateway.yaml")
    document["catalogue"] = str(CONFIGS / "models.yaml")
    document["stub"] = None
    changes = {"upstreams.stub.base_url": f"{upstream}/v1", **changes}
    write_yaml(file, patient(changed(document, changes)))
    return file


def worker_ids(pid: int) -> list[int]:
    """Return the process ids of the workers of a gateway: what its child forks that does that."""
    return [worker for each in _children(pid) if _forks(each) for worker in _children(each)]


def forking_id(pid: int) -> int:
    """Return the id of the process that forks the workers of a gateway."""
    return next(filter(_forks, _children(pid)))


def _children(pid: int) -> list[int]:
    with contextlib.suppress(OSError):  # it has ended meanwhile
        return [*map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())]
    return []


def _forks(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return b"multiprocessing.forkserver" in Path(f"/proc/{pid}/cmdline").read_bytes()
    return False


@dataclass(slots=True)
class GatewayProcess:
    """A gateway in a process of its own; `ledger` holds the log lines of its requests."""

    url: str
    process: asyncio.subprocess.Process
    ledger: list[dict[str, Any]] = field(default_factory=list)
    other_lines: list[str] = field(default_factory=list)
    _reading: asyncio.Task[None] | None = None

    def client(
        self, *, token: str | None = ADMIN_TOKEN, timeout_s: float = 60
    ) -> httpx.AsyncClient:
        """Return a client; `token` is an admin token or the secret of a key."""
        headers = {} if token is None else {"authorization": f"Bearer {token}"}
        limits = httpx.Limits(max_connections=2_000, max_keepalive_connections=2_000)
        return httpx.AsyncClient(
            base_url=self.url, headers=headers, trust_env=False, timeout=timeout_s, limits=limits
        )

    async def kill(self) -> None:
        """End it and its workers at once, as a crash of the machine would."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        await self.process.wait()

    async def ended(self) -> int:
        """Wait until it has ended and all that it said was read; return its exit code."""
        code = await self.process.wait()
        if self._reading is not None:
            await self._reading
        return code

    async def _read_log(self) -> None:
        assert self.process.stderr is not None
        async for line in self.process.stderr:
            try:
                fields = json.loads(line)
            except ValueError:
                self.other_lines.append(line.decode())
                continue
            if fields.get("message") == "request":
                self.ledger.append(fields)
            else:
                self.other_lines.append(line.decode())


@contextlib.asynccontextmanager
async def gateway_process(
    config: Path, *arguments: str, env: Mapping[str, str]
) -> AsyncIterator[GatewayProcess]:
    """Run `steelyard serve` on a free port until the block ends."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "app", "serve", "--config", str(config), "--port", "0"),
        *arguments,
        cwd=REPOSITORY,
        env={**os.environ, "STEELYARD_ADMIN_TOKEN": ADMIN_TOKEN, **env},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,  # a group of processes, which can be killed as one
    )
    gateway = GatewayProcess("", process)
    reading = gateway._reading = asyncio.create_task(gateway._read_log())
    try:
        welcome = ""
        assert process.stdout is not None
        async with asyncio.timeout(_START_S):
            while "Stop with Ctrl-C" not in welcome:
                line = await process.stdout.readline()
                if not line:
                    await reading
                    raise AssertionError("".join(gateway.other_lines)[-2_000:])
                welcome += line.decode()
            found = re.search(r"listens on (http://\S+)", welcome)
            assert found
            gateway.url = found[1]
            async with gateway.client() as client:
                while not await _ready(client):
                    await asyncio.sleep(0.02)
        yield gateway
    finally:
        await gateway.kill()
        await reading


async def _ready(client: httpx.AsyncClient) -> bool:
    with contextlib.suppress(httpx.TransportError):
        return (await client.get("/readyz")).status_code == httpx.codes.OK
    return False
