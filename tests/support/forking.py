"""Import what `python -m app` imports, once, and fork whatever is asked for along a socket.

The program at the other end of `tests.support.forked`.
"""

import gc
import importlib
import json
import os
import runpy
import socket
import sys
from typing import Any

IMPORTED = (
    *("app.cli", "app.main", "app.processes.serve", "app.processes.worker", "app.stub.__main__"),
    *("httptools", "uvloop", "uvicorn.lifespan.on", "uvicorn.loops.uvloop"),
)
MOST_BYTES = 1_000_000


def main(line: socket.socket) -> None:
    """Fork until the line is closed; what was forked returns from here as what it is to be."""
    for name in IMPORTED:
        importlib.import_module(name)
    warm()
    gc.collect()
    gc.freeze()
    while True:
        data, files, _, _ = socket.recv_fds(line, MOST_BYTES, 3)
        if not data:
            return
        between = os.fork()
        if between == 0:
            child = os.fork()
            if child == 0:
                line.close()
                _become(json.loads(data), files)
                return
            line.send(str(child).encode())
            os._exit(0)  # whoever asked is the parent now
        os.waitpid(between, 0)
        line.send(b"ended")
        for file in files:
            os.close(file)


def warm() -> None:
    """Read what a process keeps once it has read it: certificates of roots, our own table."""
    from app.config.parameters import shipped_table
    from app.http_client.transport import default_ssl_context

    default_ssl_context()
    shipped_table()


def _become(order: dict[str, Any], files: list[int]) -> None:
    for number, file in enumerate(files):
        os.dup2(file, number)
        os.close(file)
    if order["session"]:
        os.setsid()
    os.environ.clear()
    os.environ.update(order["env"])
    module, *arguments = order["words"]
    sys.argv = ["-m", *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main(socket.socket(fileno=int(sys.argv[1])))
