"""Other gateways to compare with, each in an environment of its own under `var/peers`.

    python -m loadtest.peers          installs what can be had; says why the others are skipped

Everything that can be off is off in them: no keys, no database, no logging, one process.
"""

import contextlib
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from loadtest.processes import ROOT, Cores, Measured, free_port

PEERS = ROOT / "var" / "peers"
_INSTALL_S = 900


@dataclass(frozen=True, kw_only=True)
class Target:
    """A gateway that runs: how to ask it.

    Attributes
    ----------
    process
        None where nothing runs in between: the upstream itself.
    routed_model
        The model name that makes it choose; None where it does not route.
    """

    name: str
    port: int
    process: Measured | None
    version: str
    path: str = "/v1/chat/completions"
    headers: dict[str, str] = field(default_factory=dict)
    pinned_model: str = "bench"
    routed_model: str | None = None
    keys: Path | None = None
    config: Path | None = None

    @property
    def server(self) -> Measured:
        """The process, where there is one.

        Raises
        ------
        RuntimeError
            If there is none.
        """
        if self.process is None:
            raise RuntimeError(f"{self.name} is no process of ours")
        return self.process


@dataclass(frozen=True, kw_only=True)
class Peer:
    """One other gateway."""

    name: str
    install: Callable[[Path], None]
    version: Callable[[Path], str]
    start: Callable[[Path, int, Path, Cores], contextlib.AbstractContextManager[Target]]

    @property
    def home(self) -> Path:
        """Where it is installed."""
        return PEERS / self.name

    @property
    def installed(self) -> bool:
        """Whether `install` once went through."""
        return (self.home / ".installed").exists()


def _run(*command: str, cwd: Path | None = None) -> None:
    process = subprocess.run(
        command,
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
        timeout=_INSTALL_S,
        env={k: v for k, v in os.environ.items() if k != "VIRTUAL_ENV"},
    )
    if process.returncode:
        lines = (process.stderr or process.stdout).strip().splitlines()
        raise RuntimeError(lines[-1] if lines else f"status {process.returncode}")


def _pip(home: Path, *requirements: str) -> None:
    _run(sys.executable, "-m", "venv", str(home / "venv"))
    _run(str(home / "venv/bin/pip"), "install", "--quiet", *requirements)


def _pip_version(package: str) -> Callable[[Path], str]:
    def version(home: Path) -> str:
        found = next((home / "venv/lib").glob(f"python*/site-packages/{package}-*.dist-info"))
        return found.name.removeprefix(f"{package}-").removesuffix(".dist-info")

    return version


# --- LiteLLM ----------------------------------------------------------------------------------

_LITELLM_CONFIG = """\
model_list:
  - model_name: bench
    litellm_params:
      model: openai/bench
      api_base: "http://127.0.0.1:{port}/v1"
      api_key: sk-bench
litellm_settings: {{telemetry: false, num_retries: 0, request_timeout: 600}}
general_settings: {{disable_spend_logs: true}}
"""


@contextlib.contextmanager
def _litellm(home: Path, upstream_port: int, directory: Path, cores: Cores) -> Iterator[Target]:
    config, port = directory / "litellm.yaml", free_port()
    config.write_text(_LITELLM_CONFIG.format(port=upstream_port))
    command = [str(home / "venv/bin/litellm"), "--config", str(config), "--host", "127.0.0.1"]
    with Measured(
        [*command, "--port", str(port), "--num_workers", "1"],
        port=port,
        cores=cores.measured,
        log=directory / "litellm.log",
        ready_path="/health/liveliness",
        # Prices come from the package, not from the network; requests are not logged.
        env={
            "LITELLM_LOCAL_MODEL_COST_MAP": "True",
            "LITELLM_LOG": "ERROR",
            "LITELLM_MODE": "PRODUCTION",
            "NO_DOCS": "True",
            # Without keys it starts only so; it listens on loopback, and the mock needs no secret.
            "LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY": "true",
        },
        cwd=directory,
    ) as process:
        yield Target(
            name="litellm", port=port, process=process, version=_pip_version("litellm")(home)
        )


# --- Portkey ----------------------------------------------------------------------------------

_PORTKEY_PACKAGE = {
    "private": True,
    "dependencies": {"@portkey-ai/gateway": "^1.15.0", "@hono/node-server": "1.12.2"},
    # Its streams answer 500 on later versions of this server.
    "overrides": {"@hono/node-server": "1.12.2"},
}


def _install_portkey(home: Path) -> None:
    if shutil.which("npm") is None:
        raise RuntimeError("there is no npm here (Debian: apt-get install nodejs npm)")
    (home / "package.json").write_bytes(msgspec.json.encode(_PORTKEY_PACKAGE))
    _run("npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", cwd=home)


def _portkey_version(home: Path) -> str:
    package = home / "node_modules/@portkey-ai/gateway/package.json"
    version: str = msgspec.json.decode(package.read_bytes())["version"]
    return version


@contextlib.contextmanager
def _portkey(home: Path, upstream_port: int, directory: Path, cores: Cores) -> Iterator[Target]:
    port = free_port()
    script = home / "node_modules/@portkey-ai/gateway/build/start-server.js"
    with Measured(
        ["node", str(script), "--headless", f"--port={port}"],
        port=port,
        cores=cores.measured,
        log=directory / "portkey.log",
        ready_path="/",
        env={"TRUSTED_CUSTOM_HOSTS": "127.0.0.1,localhost", "NODE_ENV": "production"},
        cwd=home,
    ) as process:
        yield Target(
            name="portkey",
            port=port,
            process=process,
            version=_portkey_version(home),
            headers={
                "x-portkey-provider": "openai",
                "x-portkey-custom-host": f"http://127.0.0.1:{upstream_port}/v1",
            },
        )


# --- TensorZero -------------------------------------------------------------------------------

_TENSORZERO_CONFIG = """\
[gateway]
observability.enabled = false

[models.bench]
routing = ["mock"]

[models.bench.providers.mock]
type = "openai"
model_name = "bench"
api_base = "http://127.0.0.1:{port}/v1/"
api_key_location = "none"
"""
_TENSORZERO_SERVER = """\
import sys, threading, types, warnings
warnings.simplefilter("ignore")
from tensorzero import patch_openai_client
client = types.SimpleNamespace(base_url=None)
patch_openai_client(client, config_file=sys.argv[1], async_setup=False)
print("listening on", client.base_url, flush=True)
threading.Event().wait()
"""


@contextlib.contextmanager
def _tensorzero(home: Path, upstream_port: int, directory: Path, cores: Cores) -> Iterator[Target]:
    config, script = directory / "tensorzero.toml", directory / "tensorzero_server.py"
    config.write_text(_TENSORZERO_CONFIG.format(port=upstream_port))
    script.write_text(_TENSORZERO_SERVER)
    log = directory / "tensorzero.log"
    with Measured(
        [str(home / "venv/bin/python"), str(script), str(config)],
        port=_port_told_in(log),
        cores=cores.measured,
        log=log,
        ready_path=None,
        env={"RUST_LOG": "error"},
        cwd=directory,
    ) as process:
        yield Target(
            name="tensorzero",
            port=process.port,
            process=process,
            version=_pip_version("tensorzero")(home),
            path="/openai/v1/chat/completions",
            pinned_model="tensorzero::model_name::bench",
        )


def _port_told_in(log: Path) -> Callable[[], int | None]:
    def port() -> int | None:
        found = re.search(r"listening on \S*?:(\d+)", log.read_text(errors="replace"))
        return None if found is None else int(found[1])

    return port


PEER_GATEWAYS = (
    Peer(
        name="litellm",
        install=lambda home: _pip(home, "litellm[proxy]"),
        version=_pip_version("litellm"),
        start=_litellm,
    ),
    Peer(name="portkey", install=_install_portkey, version=_portkey_version, start=_portkey),
    Peer(
        name="tensorzero",
        # The last with a gateway in its wheel that listens; later ones need its container.
        install=lambda home: _pip(home, "tensorzero==2026.6.0"),
        version=_pip_version("tensorzero"),
        start=_tensorzero,
    ),
)


def main() -> None:
    for peer in PEER_GATEWAYS:
        if peer.installed:
            print(f"{peer.name} {peer.version(peer.home)} is there")
            continue
        began = time.perf_counter()
        shutil.rmtree(peer.home, ignore_errors=True)
        peer.home.mkdir(parents=True)
        try:
            peer.install(peer.home)
            version = peer.version(peer.home)
        except (RuntimeError, OSError, subprocess.SubprocessError, StopIteration) as error:
            print(f"{peer.name} is skipped: {error}")
            continue
        (peer.home / ".installed").touch()
        print(f"{peer.name} {version} installed in {time.perf_counter() - began:.0f} s")


if __name__ == "__main__":
    main()
