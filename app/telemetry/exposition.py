"""What Prometheus reads: every instrument as text, of this process or of all workers together."""

import logging
import threading
import time
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

from app.error_answers import answer_for
from app.errors import GatewayError

RawHeaders = list[tuple[bytes, bytes]]

Refusal = Callable[[RawHeaders], GatewayError | None]
"""Says why a request with these headers (names in lower case) may not be answered; None: it may."""

_log = logging.getLogger(__name__)

_TIMEOUT_S = 10.0
_TRIES = 5
_PAUSE_S = 0.05


def render(registry: CollectorRegistry, *, workers_dir: Path | None) -> bytes:
    """Render every instrument in Prometheus' text format; takes milliseconds.

    Parameters
    ----------
    registry
        The instruments of this process.
    workers_dir
        Where several worker processes count; what they counted together is then rendered.
    """
    if workers_dir is None:
        return generate_latest(registry)
    for attempt in range(_TRIES):
        together = CollectorRegistry()
        MultiProcessCollector(together, path=str(workers_dir))  # type: ignore[no-untyped-call]
        try:
            return generate_latest(together)
        except Exception:  # of a file that a starting worker has made, and not written into yet,
            # prometheus_client says so in many ways; what stays is raised.
            if attempt == _TRIES - 1:
                raise
            time.sleep(_PAUSE_S)
    raise AssertionError("unreachable")


class MetricsServer:
    """`/metrics` on a port of its own, answered by threads of its own.

    Parameters
    ----------
    render
        Returns the text.
    refusal
        Says who may not read it.

    Raises
    ------
    OSError
        If the address is taken.
    """

    def __init__(
        self,
        host: str,
        port: int,
        *,
        render: Callable[[], bytes],
        refusal: Refusal,
    ) -> None:
        class Handler(BaseHTTPRequestHandler):
            timeout = _TIMEOUT_S

            def do_GET(self) -> None:
                headers = [
                    (name.lower().encode("latin-1"), value.encode("latin-1"))
                    for name, value in self.headers.items()
                ]
                if urlsplit(self.path).path != "/metrics":
                    self.send_error(HTTPStatus.NOT_FOUND)
                elif (refused := refusal(headers)) is not None:
                    self.send_error(answer_for(refused).status, explain=refused.message)
                else:
                    try:
                        body = render()
                    except Exception:  # noqa: BLE001  (whatever it is, the scraper is told)
                        _log.exception("the metrics cannot be rendered")
                        self.send_error(HTTPStatus.INTERNAL_SERVER_ERROR)
                        return
                    self.send_response(HTTPStatus.OK)
                    self.send_header("Content-Type", CONTENT_TYPE_LATEST)
                    self.send_header("Content-Length", str(len(body)))
                    self.end_headers()
                    if self.command != "HEAD":
                        self.wfile.write(body)

            do_HEAD = do_GET  # noqa: N815  (the base class's name)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                """Keep quiet: scrapes come every few seconds."""

        self._server = ThreadingHTTPServer((host, port), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(
            target=self._server.serve_forever, name="metrics", daemon=True
        )

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._server.server_address[1])

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
