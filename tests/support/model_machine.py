"""A machine on a real socket that serves chat models, says which it has loaded, and can be full."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from tests.support.scoring_server import answer


class ModelMachine:
    """Answers for every model; its models are loaded when a test says so.

    Attributes
    ----------
    loaded
        What it says that it has loaded.
    status
        What chat requests are answered with; anything but 200 is an error.
    """

    def __init__(self) -> None:
        self.loaded: tuple[str, ...] = ()
        self.status = 200
        self.asked: list[str] = []
        """The models of chat requests."""
        self.read: list[str] = []
        """The paths of questions what is loaded."""
        self.was_read = threading.Event()
        machine = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                machine.read.append(self.path)
                self._answer(200 if machine.status == 200 else 500, machine.said(self.path))
                machine.was_read.set()

            def do_POST(self) -> None:
                length = int(self.headers["content-length"])
                asked = json.loads(self.rfile.read(length))
                machine.asked.append(asked["model"])
                if machine.status == 200:
                    self._answer(200, answer("A balance.") | {"model": asked["model"]})
                else:
                    error = {"message": "insufficient capacity", "type": "server_error"}
                    self._answer(machine.status, {"error": error})

            def log_message(self, *_: object) -> None:
                pass

            def _answer(self, status: int, body: Any) -> None:
                data = json.dumps(body).encode()
                self.send_response(status)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))

    @property
    def url(self) -> str:
        """What a configuration has as `base_url`."""
        return f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    def said(self, path: str) -> Any:
        """Return what a server of each kind says of what it has loaded."""
        if path == "/api/ps":
            return {"models": [{"name": name, "model": name, "size": 1} for name in self.loaded]}
        if path == "/running":
            ready = [{"model": name, "state": "ready"} for name in self.loaded]
            return {"running": [*ready, {"model": "late", "state": "starting"}]}
        models = [{"id": name, "status": {"value": "loaded"}} for name in self.loaded]
        return {"object": "list", "data": [*models, {"id": "x", "status": {"value": "unloaded"}}]}

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(60)
