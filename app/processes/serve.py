"""`steelyard serve`: listening, the simulated upstream beside it, and what to try next."""

import asyncio
import contextlib
import logging
import os
import resource
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

import click

from app.api.console import console_is_served
from app.check.servable import check_start
from app.config import StubConfig, load_config
from app.errors import ConfigError
from app.processes.runs import this_run
from app.processes.serving_app import serving_app
from app.processes.shared_metrics import counting_together, metrics_port
from app.processes.supervisor import Supervisor
from app.processes.welcome import welcome
from app.server.server import Server, uvicorn_config
from app.telemetry.logs import configure_logging

_log = logging.getLogger(__name__)


def serve(file: Path, *, host: str | None, port: int | None, workers: int) -> None:
    """Run until stopped.

    Raises
    ------
    ConfigError
        If the configuration is wrong or an address is taken.
    """
    loaded = load_config(file)
    config = loaded.gateway
    host = config.server.host if host is None else host
    port = config.server.port if port is None else port
    check_start(loaded, host=host, port=port, workers=workers)
    configure_logging(level=config.server.log_level, secrets=loaded.hidden)
    _allow_connections(config.server.max_connections)
    warn_of_proxies(os.environ)
    with (
        _listening_socket(host, port) as listening,
        this_run(loaded) as run,
        _simulated_upstream(config.stub),
    ):
        console = console_is_served(config, host, admin_token=loaded.admin_token)
        text = welcome(loaded, host=host, port=listening.getsockname()[1], console=console)
        if workers > 1:
            with counting_together() as folder, metrics_port(loaded, folder, host=host):
                supervisor = Supervisor(
                    loaded,
                    n_workers=workers,
                    listening=listening,
                    host=host,
                    folder=folder,
                    on_death=run.worker_died,
                    on_ready=partial(click.echo, text),
                )
                asyncio.run(supervisor.run())
        else:
            Server(
                uvicorn_config(config.server, partial(serving_app, loaded, host=host)),
                grace_s=config.server.shutdown_grace_s,
                on_listening=partial(click.echo, text),
            ).run(sockets=[listening])


_PROXIES = frozenset({"HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"})

_OTHER_FILES = 256
"""What a process opens besides connections to clients and upstreams, generously."""


def _allow_connections(max_connections: int) -> None:
    """Raise the limit of open files, as far as may be, to what so many connections need.

    Each request of a client may hold a connection to an upstream.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = 2 * max_connections + _OTHER_FILES
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return
    allowed = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    if allowed < needed:
        _log.warning(
            "this process may open %d files, which server.max_connections %d can exceed; "
            "raise the limit (ulimit -n) to %d",
            allowed,
            max_connections,
            needed,
        )


def warn_of_proxies(environment: Mapping[str, str]) -> None:
    """Tell whoever expects upstreams to be called through a proxy that they are not."""
    found = [name for name in environment if name.upper() in _PROXIES and environment[name]]
    if found:
        _log.warning(
            "%s is set, and is not used: upstreams are called directly "
            "(docs/guides/providers.md, certificates and proxies)",
            ", ".join(sorted(found)),
        )


_STUB_START_S = 60.0


@contextlib.contextmanager
def _listening_socket(host: str, port: int) -> Iterator[socket.socket]:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listening = socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        raise ConfigError(
            f"cannot listen on {host}:{port} ({error.strerror}); choose another with --port"
        ) from error
    with contextlib.closing(listening):
        listening.set_inheritable(True)
        yield listening


@contextlib.contextmanager
def _simulated_upstream(stub: StubConfig | None) -> Iterator[None]:
    """Run the stub as a process of its own, so that it costs the gateway nothing."""
    if stub is None:
        yield
        return
    process = subprocess.Popen(  # noqa: S603  (our own module, no user input)
        [
            sys.executable,
            "-m",
            "app.stub",
            "--port",
            str(stub.port),
            "--speed",
            str(stub.speed),
            "--exit-on-stdin-close",
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None  # noqa: S101  (it is a pipe)
        # A stub that never speaks is killed, and its output then ends.
        alarm = threading.Timer(_STUB_START_S, process.kill)
        alarm.start()
        first_line = process.stdout.readline()
        alarm.cancel()
        if not first_line.startswith("stub listening"):
            problem = process.stderr.read().strip().splitlines() if process.stderr else []
            raise ConfigError(
                f"the simulated upstream cannot start on port {stub.port}: "
                f"{problem[-1] if problem else 'it ended at once'}"
            )
        yield
    finally:
        # It also ends by itself when this process dies: its standard input closes.
        process.terminate()
        process.wait()
        for pipe in (process.stdin, process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()
