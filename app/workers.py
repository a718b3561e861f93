"""Several serving processes behind one socket, and what they count together."""

import contextlib
import logging
import os
import signal
import socket
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import uvicorn
from prometheus_client import CollectorRegistry
from prometheus_client.multiprocess import mark_process_dead
from uvicorn.supervisors import Multiprocess

from app.api.ops import metrics_refusal
from app.config import LoadedConfig, load_config
from app.errors import ConfigError
from app.settings import METRICS_DIR_VARIABLE
from app.telemetry.exposition import MetricsServer, render

_log = logging.getLogger(__name__)


class Workers(Multiprocess):
    """Several serving processes; SIGHUP is passed on to them, if the configuration is usable."""

    def __init__(
        self,
        config: uvicorn.Config,
        *,
        sockets: list[socket.socket],
        file: Path,
        metrics_dir: Path,
        on_death: Callable[[int], None] = lambda _pid: None,
    ) -> None:
        super().__init__(config, sockets=sockets)
        self._file = file
        self._metrics_dir = metrics_dir
        self._on_death = on_death
        self._known_pids: set[int] = set()

    def keep_subprocess_alive(self) -> None:
        """Start anew what died; what dead workers counted stays counted, their gauges go."""
        self._known_pids |= self._pids()
        super().keep_subprocess_alive()
        for pid in self._known_pids - self._pids():
            mark_process_dead(pid, str(self._metrics_dir))  # type: ignore[no-untyped-call]
            self._on_death(pid)
        self._known_pids = self._pids()

    def _pids(self) -> set[int]:
        return {process.pid for process in self.processes if process.pid is not None}

    def handle_hup(self) -> None:
        """Have every worker read the configuration anew."""
        try:
            load_config(self._file)
        except ConfigError as error:
            _log.error("the configuration is not replaced: %s", error.message)
            return
        for process in self.processes:
            if process.pid is not None:
                os.kill(process.pid, signal.SIGHUP)


@contextlib.contextmanager
def counting_together() -> Iterator[Path]:
    """Give the workers a fresh folder to count in; they must find it when they start."""
    with tempfile.TemporaryDirectory(prefix="steelyard-metrics-") as folder:
        os.environ[METRICS_DIR_VARIABLE] = folder
        try:
            yield Path(folder)
        finally:
            del os.environ[METRICS_DIR_VARIABLE]


def metrics_port(
    config: LoadedConfig, folder: Path, *, host: str
) -> contextlib.AbstractContextManager[object]:
    """Serve `/metrics` of all workers on a port of its own, where one is configured.

    Parameters
    ----------
    host
        The address that the gateway listens on.

    Raises
    ------
    ConfigError
        If it is taken.
    """
    server = config.gateway.server
    if server.metrics_port is None:
        return contextlib.nullcontext()
    try:
        return MetricsServer(
            host,
            server.metrics_port,
            render=partial(render, CollectorRegistry(), workers_dir=folder),
            refusal=metrics_refusal(config, host=host),
        )
    except OSError as error:
        raise ConfigError(
            f"cannot serve metrics on {host}:{server.metrics_port} ({error.strerror}); "
            "choose another server.metrics_port"
        ) from error
