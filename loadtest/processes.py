"""Processes under measurement: started on their core, their processor time and memory read."""

import contextlib
import http.client
import json
import os
import platform
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

ROOT = Path(__file__).resolve().parents[1]
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_READY_S = 90.0


def free_port() -> int:
    """Return a port that nobody listened on a moment ago."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


@dataclass(frozen=True, kw_only=True)
class Cores:
    """Where things run: what is measured, and what measures it."""

    measured: frozenset[int]
    around: frozenset[int]

    @classmethod
    def of_this_machine(cls, *, together: bool = False) -> Self:
        """Give the first core to what is measured and the others to the rest; one core is shared.

        With `together` nothing is kept apart: for several workers on a small machine.
        """
        mine = sorted(os.sched_getaffinity(0))
        if together or len(mine) == 1:
            return cls(measured=frozenset(mine), around=frozenset(mine))
        return cls(measured=frozenset(mine[:1]), around=frozenset(mine[1:]))


class Measured:
    """A server and its children, from its start to its end.

    Parameters
    ----------
    port
        Where it listens, or what tells that once it is known.
    ready_path
        Answers 200 once the server is ready; None: it is as soon as something listens.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        port: int | Callable[[], int | None],
        cores: frozenset[int],
        log: Path,
        ready_path: str | None,
        env: Mapping[str, str] | None = None,
        cwd: Path = ROOT,
    ) -> None:
        self._log = log
        self._tell_port = port if callable(port) else lambda: port
        began = time.perf_counter()
        with log.open("wb") as file:
            self._process = subprocess.Popen(
                ["taskset", "-c", ",".join(map(str, sorted(cores))), *command],
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                cwd=cwd,
                env={**os.environ, **(env or {})},
                start_new_session=True,
            )
        try:
            self._wait(ready_path)
        except BaseException:
            self.stop()
            raise
        self.ready_s = time.perf_counter() - began

    def _wait(self, ready_path: str | None) -> None:
        until = time.perf_counter() + _READY_S
        while time.perf_counter() < until:
            if self._process.poll() is not None:
                raise RuntimeError(f"ended at once: {self.log_tail()}")
            with contextlib.suppress(OSError, http.client.HTTPException):
                told = self._tell_port()
                if told is None:
                    time.sleep(0.01)
                    continue
                self.port = told
                if ready_path is None:
                    socket.create_connection(("127.0.0.1", self.port), timeout=0.2).close()
                    return
                connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=1)
                connection.request("GET", ready_path)
                status = connection.getresponse().status
                connection.close()
                if status == 200:
                    return
            time.sleep(0.01)
        raise RuntimeError(f"not ready after {_READY_S:g} s: {self.log_tail()}")

    def log_tail(self) -> str:
        """Return the end of what it wrote."""
        return self._log.read_text(errors="replace")[-600:]

    @property
    def pids(self) -> list[int]:
        """Itself and its descendants."""
        return _family(self._process.pid)

    def cpu_s(self) -> float:
        """Return the user and system time of all its processes until now."""
        return sum(cpu_s_of(pid) for pid in self.pids)

    def memory_mb(self) -> dict[str, float]:
        """Return resident memory, and the proportional share of it that is this server's."""
        rss = pss = 0.0
        for pid in self.pids:
            with contextlib.suppress(OSError):
                for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                    if line.startswith("Rss:"):
                        rss += float(line.split()[1]) * 1024 / 1e6
                    elif line.startswith("Pss:"):
                        pss += float(line.split()[1]) * 1024 / 1e6
        return {"rss": round(rss, 1), "pss": round(pss, 1)}

    def stop(self) -> None:
        """End it, and whatever of it does not end by itself."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGTERM)
        try:
            self._process.wait(timeout=8)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def _family(pid: int) -> list[int]:
    found, new = [], [pid]
    while new:
        found += new
        new = [child for each in new for child in _children(each)]
    return found


def _children(pid: int) -> list[int]:
    try:
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
        return [int(c) for task in tasks for c in (task / "children").read_text().split()]
    except OSError:
        return []


def cpu_s_of(pid: int) -> float:
    """Return the user and system time of a process until now; 0 if it has ended."""
    try:
        after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(after_name[11]) + int(after_name[12])) / _TICKS_PER_S


def foreign_cpu_s(*, but: int) -> float:
    """Return the processor time that the machine spent on work that is not ours, until now.

    Parameters
    ----------
    but
        A child that is left out because it may have ended; it counts as foreign.
    """
    # user, nice, system, idle, iowait, irq, softirq, steal: what other guests took counts too.
    ticks = [int(each) for each in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    busy_s = (sum(ticks) - ticks[3] - ticks[4]) / _TICKS_PER_S
    return busy_s - sum(cpu_s_of(pid) for pid in _family(os.getpid()) if pid != but)


def end_on_sigterm() -> None:
    """Leave by an exception when told to stop, so that what was started is stopped too."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))


class Helper:
    """A process of ours that is talked to by lines of JSON: the upstream, a load generator."""

    def __init__(self, module: str, *arguments: str, cores: frozenset[int]) -> None:
        core_list = ",".join(map(str, sorted(cores)))
        self._process = subprocess.Popen(
            ["taskset", "-c", core_list, sys.executable, "-m", module, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=ROOT,
            text=True,
        )

    @property
    def pid(self) -> int:
        """Its process id, where `taskset` has become the program."""
        return self._process.pid

    def tell(self, line: str) -> None:
        """Send a line."""
        assert self._process.stdin is not None  # noqa: S101  (a pipe)
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()

    def hear(self) -> dict[str, Any]:
        """Return its next line."""
        assert self._process.stdout is not None  # noqa: S101  (a pipe)
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the helper ended with status {self._process.wait()}")
        heard: dict[str, Any] = json.loads(line)
        return heard

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()
        try:
            self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def machine() -> dict[str, Any]:
    """Return what a result must be read with."""
    return {
        "cpu": _cpu_name(),
        "cores": os.cpu_count(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "commit": _said("git", "rev-parse", "--short", "HEAD"),
        "changed_files": len(_said("git", "status", "--porcelain", "app", "routers").splitlines()),
        "date": time.strftime("%Y-%m-%dT%H:%MZ", time.gmtime()),
        "load_average_before": [round(each, 2) for each in os.getloadavg()],
    }


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _said(*command: str) -> str:
    process = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    return process.stdout.strip()
