"""`steelyard serve`: listening, the simulated upstream beside it, and what to try next."""

import contextlib
import gc
import logging
import os
import resource
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import click
import uvicorn

from app.api.console import console_is_served
from app.check.servable import check_servable, check_start
from app.config import GatewayConfig, LoadedConfig, StubConfig, load_config
from app.errors import ConfigError
from app.protocol import gateway_protocol
from app.runs import this_run
from app.server import Server, uvicorn_config
from app.telemetry.logs import configure_logging
from app.workers import Workers, counting_together, metrics_port

_log = logging.getLogger(__name__)

_SWITCH_INTERVAL_S = 0.0005
"""How long a worker thread may keep the event loop waiting (Python's default is 5 ms)."""


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
    # A worker that cannot start would be started again and again: this process looks at all of it.
    check = check_start if workers == 1 else check_servable
    check(loaded, host=host, port=port, workers=workers)
    configure_logging(level=config.server.log_level, secrets=loaded.hidden)
    _allow_connections(config.server.max_connections)
    os.environ["STEELYARD_CONFIG"] = str(file)
    os.environ["STEELYARD_LISTEN_HOST"] = host
    with (
        _listening_socket(host, port) as listening,
        this_run(loaded) as run,
        _simulated_upstream(config.stub),
    ):
        for_workers = uvicorn.Config(
            "app.serve:worker_app",
            factory=True,
            workers=workers,
            loop="uvloop",
            http=gateway_protocol(config.server),
            ws="none",
            lifespan="on",
            # Who asks is known by the key alone: no header says where a request came from.
            proxy_headers=False,
            log_config=None,
            log_level="warning",
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=round(config.server.shutdown_grace_s),
        )
        address = listening.getsockname()
        console = console_is_served(config, host, admin_token=loaded.admin_token)
        welcome = _welcome(f"http://{host}:{address[1]}", config, console=console)
        if workers > 1:
            with counting_together() as folder, metrics_port(loaded, folder, host=host):
                click.echo(welcome)
                Workers(
                    for_workers,
                    sockets=[listening],
                    file=file,
                    metrics_dir=folder,
                    on_death=run.worker_died,
                ).run()
        else:
            Server(
                uvicorn_config(config.server, worker_app),
                grace_s=config.server.shutdown_grace_s,
                on_listening=partial(click.echo, welcome),
            ).run(sockets=[listening])


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


def worker_app() -> object:
    """Build the application inside a serving process."""
    from app.main import from_env  # noqa: PLC0415

    configure_logging()
    sys.setswitchinterval(_SWITCH_INTERVAL_S)
    app = from_env()
    config: LoadedConfig = app.state.steelyard.config
    configure_logging(level=config.gateway.server.log_level, secrets=config.hidden)
    # What was built stays: a full collection need not go through it again and again.
    gc.collect()
    gc.freeze()
    # Nearly all garbage goes by its count of references: looking for cycles after every 700 objects
    # finds none.
    gc.set_threshold(20_000, 20, 20)
    return app


_STUB_START_S = 15.0


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


def _welcome(url: str, config: GatewayConfig, *, console: bool) -> str:
    kind = (
        "simulated models: no key needed, answers are canned"
        if config.stub is not None
        else f"models: {', '.join(config.models)}"
    )
    seen = f"See it decide:     {url}/console\n" if console else ""
    return f"""
Steelyard listens on {url}  ({kind})

Try it:
  curl -i {url}/v1/chat/completions -H 'content-type: application/json' -H 'x-cost-quality: 0.5' \\
    -d '{{"model": "auto", "messages": [{{"role": "user", "content": "What is a steelyard?"}}]}}'

From Python (pip install openai):
  from openai import OpenAI; client = OpenAI(base_url="{url}/v1", api_key="none"); print(
    client.chat.completions.create(model="auto", extra_headers={{"x-cost-quality": "0.5"}},
      messages=[{{"role": "user", "content": "What is a steelyard?"}}]).choices[0].message.content)

{seen}API documentation: {url}/docs       Stop with Ctrl-C.
"""
