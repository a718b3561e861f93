"""An upstream that takes so many requests, tells how many are left, and turns further ones away."""

import json
import threading
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self

from tests.support.scoring_server import answer


class LimitedUpstream:
    """Speaks OpenAI's chat completions.

    Parameters
    ----------
    left
        How many requests it still takes.
    told
        Makes the headers that tell it.

    Attributes
    ----------
    n_taken, n_refused
        Requests that it answered, and that it turned away with a 429.
    """

    def __init__(self, left: int, told: Callable[[int], Mapping[str, str]]) -> None:
        self.left, self.n_taken, self.n_refused = left, 0, 0
        self._lock = threading.Lock()
        upstream = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
                with upstream._lock:
                    takes = upstream.left > 0
                    upstream.left -= takes
                    upstream.n_taken += takes
                    upstream.n_refused += not takes
                    left = upstream.left
                body = answer("A balance.") | {"model": asked["model"]}
                if not takes:
                    body = {"error": {"message": "Rate limit reached", "type": "requests"}}
                data = json.dumps(body).encode()
                self.send_response(200 if takes else 429)
                for name, value in told(left).items():
                    self.send_header(name, value)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/v1"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(60)
