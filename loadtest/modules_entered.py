"""List the modules that one routed, streamed request goes through.

    python -m loadtest.modules_entered [--rooms]

A gateway with keys, limits, budgets and a decision log serves a simulated upstream over sockets.
Once it is warm, every call of a Python function is watched, in all threads, for one request more:
counted are the modules of `app` and `routers` whose code runs until the answer's last byte, and
those that only run in the half second after it (log line, metrics, rows).
"""

import os

for _variable in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")

import argparse
import contextlib
import http.client
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import uvicorn
import yaml

from app.config import load_config
from app.main import create_app
from app.server.protocol import gateway_protocol
from loadtest.gateways import make_keys
from loadtest.processes import ROOT, free_port

_WARM_UP = 20
_AFTERWARDS_S = 0.5
_MANY = 1_000_000


class Watch:
    """Notes, in the order of their first call, the modules whose functions are called."""

    def __init__(self) -> None:
        self.modules: dict[str, None] = {}
        self.watching = False

    def __call__(self, frame: FrameType, event: str, _argument: Any) -> None:
        """Take one event of the interpreter."""
        if self.watching and event == "call":
            name = frame.f_globals.get("__name__", "")
            if name.partition(".")[0] in {"app", "routers"}:
                self.modules.setdefault(name)


@contextlib.contextmanager
def upstream() -> Iterator[str]:
    """Run the simulated upstream, which ends with its standard input; yield its address."""
    process = subprocess.Popen(
        [sys.executable, "-m", "app.stub", "--port", "0", "--speed", "0", "--exit-on-stdin-close"],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        if process.stdin is None or process.stdout is None:
            raise RuntimeError("no pipe to the simulated upstream")
        yield process.stdout.readline().split()[-1]
        process.stdin.close()


def configuration(upstream_url: str) -> dict[str, Any]:
    """Return the shipped configuration with keys, limits, budgets and a decision log on disk."""
    document = yaml.safe_load((ROOT / "configs" / "gateway.yaml").read_text(encoding="utf-8"))
    document["catalogue"] = str(ROOT / "configs" / "models.yaml")
    document["stub"] = None
    document["upstreams"]["stub"]["base_url"] = f"{upstream_url}/v1"
    document["auth"] = {"mode": "keys"}
    document["store"] = {"kind": "memory", "data_dir": "data"}
    document["allowances"] = {
        "gateway": {
            "limits": {"requests_per_minute": _MANY, "tokens_per_minute": _MANY},
            "budgets": [{"usd": _MANY, "period": "month"}],
        }
    }
    return document


@contextlib.contextmanager
def gateway(path: Path) -> Iterator[int]:
    """Serve a configuration from a thread; yield the port."""
    config, port = load_config(path), free_port()
    server = uvicorn.Server(
        uvicorn.Config(
            create_app(config),
            port=port,
            log_config=None,
            http=gateway_protocol(config.gateway.server),
            ws="none",
        )
    )
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            time.sleep(0.01)
        yield port
    finally:
        server.should_exit = True
        thread.join()


def ask(connection: http.client.HTTPConnection, secret: str, number: int) -> None:
    """Send one request and read its stream to the end."""
    body = json.dumps(
        {
            "model": "auto",
            "stream": True,
            "messages": [{"role": "user", "content": f"Prove that {number} is not a prime."}],
        }
    )
    headers = {"authorization": f"Bearer {secret}", "content-type": "application/json"}
    connection.request("POST", "/v1/chat/completions", body, headers)
    answer = connection.getresponse()
    text = answer.read()
    if answer.status != 200 or not text.rstrip().endswith(b"[DONE]"):
        raise RuntimeError(f"answered {answer.status}: {text[:200]!r}")


def entered() -> tuple[list[str], list[str]]:
    """Return the modules that run until the last byte, and those that only run after it."""
    watch = Watch()
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        path = folder / "gateway.yaml"
        path.write_text(yaml.safe_dump(configuration(stack.enter_context(upstream()))))
        (secret,) = make_keys(path, 1)
        threading.setprofile(watch)
        stack.callback(threading.setprofile, None)
        port = stack.enter_context(gateway(path))
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        stack.callback(connection.close)
        for number in range(_WARM_UP):
            ask(connection, secret, number)
        time.sleep(_AFTERWARDS_S)
        watch.watching = True
        ask(connection, secret, _WARM_UP)
        before = list(watch.modules)
        time.sleep(_AFTERWARDS_S)
        watch.watching = False
    return before, [name for name in watch.modules if name not in before]


def main() -> None:
    """Print the modules, in the order in which they are entered."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rooms", action="store_true", help="how many of each room instead")
    options = parser.parse_args()
    before, after = entered()
    for title, names in (("until the last byte", before), ("after it", after)):
        of_app = sum(name.startswith("app.") for name in names)
        print(f"{len(names)} modules {title}: {of_app} of app, {len(names) - of_app} of routers")
        if options.rooms:
            rooms: dict[str, int] = {}
            for name in names:
                room = ".".join(name.split(".")[:2])
                rooms[room] = rooms.get(room, 0) + 1
            print("  " + ", ".join(f"{room} {n}" for room, n in rooms.items()))
        else:
            for name in names:
                print(f"  {name}")


if __name__ == "__main__":
    main()
