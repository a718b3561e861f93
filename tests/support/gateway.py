"""Run the real gateway on a real socket, beside the test."""

import asyncio
import contextlib
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvicorn
import yaml
from fastapi import FastAPI

from app.config import LoadedConfig, load_config
from app.main import create_app
from app.server.protocol import gateway_protocol
from routers.artifact.artifact import RouterArtifact

REPOSITORY = Path(__file__).parents[2]
CONFIGS = REPOSITORY / "configs"
_TICK_S = 0.1
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_DUMPER = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
STUB_MODELS = ("sim-nano", "sim-small", "sim-medium", "sim-large", "sim-frontier")


def stub_config(
    directory: Path,
    stub_url: str,
    *,
    changes: Mapping[str, Any] | None = None,
    env: Mapping[str, str] | None = None,
) -> LoadedConfig:
    """Load the default configuration with its upstream moved to a running stub.

    `changes` replaces parts of the document; keys are dotted paths. `env` holds the secrets.
    """
    document = read_yaml(CONFIGS / "gateway.yaml")
    document["catalogue"] = str(CONFIGS / "models.yaml")
    document["stub"] = None
    document["upstreams"]["stub"]["base_url"] = f"{stub_url}/v1"
    file = directory / "gateway.yaml"
    write_yaml(file, patient(changed(document, changes or {})))
    return load_config(file, env=env or {})


def changed(document: Any, changes: Mapping[str, Any]) -> Any:
    """Replace parts of a document, and return it; keys are dotted paths."""
    for path, value in changes.items():
        *parents, last = path.split(".")
        place = document
        for parent in parents:
            place = place.setdefault(parent, {})
        place[last] = value
    return document


def patient(document: Any) -> Any:
    """Have a configuration bear a busy machine wherever it does not say otherwise, and return it.

    Such a machine makes a late event loop, late routers and a late Redis; only tests of that should
    see it.
    """
    document["server"] = {"max_lag_s": 3600.0, **document.get("server", {})}
    if document.get("store", {}).get("kind") == "redis":
        document["store"] = {"timeout_s": 5.0, **document["store"]}
    scored = {name for name, router in document.get("routers", {}).items() if "scorer" in router}
    for name, policy in document.get("policies", {}).items():
        if policy.get("router") not in scored:  # those have to say it themselves
            document["policies"][name] = {"router_deadline_s": 10.0, **policy}
    return document


def read_yaml(file: Path) -> Any:
    """Return what a file holds; by libyaml, since hundreds of tests begin with it."""
    return yaml.load(file.read_bytes(), Loader=_LOADER)  # noqa: S506  (a safe one)


def write_yaml(file: Path, document: Any, *, sort_keys: bool = True) -> None:
    """Write what a file is to hold."""
    file.write_text(yaml.dump(document, Dumper=_DUMPER, sort_keys=sort_keys), encoding="utf-8")


@dataclass(frozen=True, slots=True)
class RunningGateway:
    """A gateway that listens."""

    url: str
    app: FastAPI
    loop: asyncio.AbstractEventLoop

    @property
    def openai_url(self) -> str:
        """What an OpenAI client takes as `base_url`."""
        return f"{self.url}/v1"


class GatewayThread:
    """Serve an application from a thread with an event loop of its own."""

    def __init__(
        self,
        config: LoadedConfig,
        *,
        artifacts: Mapping[str, RouterArtifact] | None = None,
        host: str | None = None,
        **options: Any,
    ) -> None:
        self._app = create_app(config, artifacts=artifacts, host=host, **options)
        self._listening = threading.Event()
        self._server = _Server(
            uvicorn.Config(
                self._app,
                host="127.0.0.1",
                port=0,
                log_config=None,
                lifespan="on",
                http=gateway_protocol(config.gateway.server),
                ws="none",
                proxy_headers=False,
                access_log=False,
            ),
            self._listening,
        )
        self._thread = threading.Thread(target=self._server.run, name="gateway")

    def __enter__(self) -> RunningGateway:
        self._thread.start()
        if not self._listening.wait(60):
            raise RuntimeError("the gateway did not start")
        port = self._server.servers[0].sockets[0].getsockname()[1]
        return RunningGateway(url=f"http://127.0.0.1:{port}", app=self._app, loop=self._server.loop)

    def __exit__(self, *_: object) -> None:
        self._server.stop()
        self._thread.join(60)
        if self._thread.is_alive():
            raise RuntimeError("the gateway did not stop")


class _Server(uvicorn.Server):
    """A server that stops when it is told, where uvicorn's looks ten times a second."""

    def __init__(self, config: uvicorn.Config, listening: threading.Event) -> None:
        super().__init__(config)
        self._listening_event = listening
        self._told_to_stop = asyncio.Event()

    def stop(self) -> None:
        """Stop as soon as nothing runs any more; callable from any thread."""
        self.should_exit = True
        with contextlib.suppress(RuntimeError):  # the loop is closed: it has stopped already
            self.loop.call_soon_threadsafe(self._told_to_stop.set)

    async def startup(self, sockets: list[Any] | None = None) -> None:
        await super().startup(sockets=sockets)
        self.loop = asyncio.get_running_loop()
        self._listening_event.set()

    async def main_loop(self) -> None:
        n_ticks = 0
        while not await self.on_tick(n_ticks):
            n_ticks += 1
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_TICK_S):  # no task: tests count those that are left
                    await self._told_to_stop.wait()

    async def shutdown(self, sockets: list[Any] | None = None) -> None:  # noqa: ARG002
        for server in self.servers:
            server.close()
        state = self.server_state
        for connection in list(state.connections):
            connection.shutdown()
        while state.connections or state.tasks:
            await asyncio.sleep(0.001)
        await self.lifespan.shutdown()
