"""An upstream that repeats whatever it was sent, in every place where an answer has one."""

import json
import threading
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

LEAKY_MODELS = (
    "leak-bad-request",
    "leak-code",
    "leak-escaped",
    "leak-unauthorized",
    "leak-throttled",
    "leak-broken",
    "leak-page",
    "leak-redirect",
    "leak-event",
    "leak-late-event",
    "leak-no-stream",
    "leak-no-http",
    "leak-no-json",
    "leak-headers",
    "leak-cut",
)
"""What its models are called; each leaks in its own way."""


Headers = Mapping[str, str]
NOTHING: Headers = {}
JSON = "application/json"


class LeakyUpstream:
    """Answers as its model says, and keeps every request."""

    def __enter__(self) -> Self:
        self.requests: list[tuple[dict[str, str], bytes]] = []
        handler = type("Handler", (_Handler,), {"requests": self.requests})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()
        self.base_url = f"http://127.0.0.1:{self._server.server_port}/v1"
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(60)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    requests: list[tuple[dict[str, str], bytes]]

    def do_POST(self) -> None:  # noqa: C901, PLR0912  (one case for each model)
        """Answer one request."""
        body = self.rfile.read(int(self.headers["content-length"]))
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.requests.append((headers, body))
        sent = json.loads(body)
        key = headers.get("authorization", headers.get("x-api-key", "")).removeprefix("Bearer ")
        said = f"{key} {sent['messages'][-1]['content']}"
        model, stream = sent["model"], bool(sent.get("stream"))
        error = {"message": said, "type": "invalid_request_error", "param": None, "code": None}
        match model.removeprefix("leak-"):
            case "bad-request":
                self._json(400, {"error": error})
            case "code":
                self._json(400, {"error": {**error, "message": "no", "code": key}})
            case "escaped":
                escaped = "".join(f"\\u{ord(character):04x}" for character in key)
                self._send(400, b'{"error":{"message":"%b"}}' % escaped.encode())
            case "unauthorized":
                self._json(401, {"error": {**error, "code": "invalid_api_key"}})
            case "throttled":
                self._json(429, {"error": error}, headers={"retry-after": "0", "x-key": key})
            case "broken":
                self._json(500, {"error": error})
            case "page":
                self._send(502, f"<html>{said}</html>".encode(), "text/html")
            case "redirect":
                self._send(302, b"", headers={"location": f"http://127.0.0.1:9/?{key}"})
            case "event":
                self._events(
                    b"data: %b\n\n" % json.dumps({"error": {**error, "code": key}}).encode()
                )
            case "late-event":
                begin = b'data: {"choices":[{"index":0,"delta":{"content":"a"}}]}\n\n'
                failed = json.dumps({"error": {**error, "type": key}}).encode()
                self._events(begin + b"data: %b\n\n" % failed)
            case "no-stream":
                self._json(200, {"error": {**error, "code": key}})
            case "no-http":
                self.wfile.write(f"{said}\r\n\r\n".encode())
                self.close_connection = True
            case "no-json":
                self._send(200, said.encode(), "text/event-stream" if stream else "text/plain")
            case "headers":
                leaks = ("x-request-id", "openai-version", "set-cookie", "x-leak", "server-timing")
                self._good(stream=stream, headers=dict.fromkeys(leaks, key))
            case _:
                self._good(stream=stream, cut=True)

    def _good(self, *, stream: bool, cut: bool = False, headers: Headers = NOTHING) -> None:
        if stream:
            events = b'data: {"choices":[{"index":0,"delta":{"content":"a"}}]}\n\n'
            self._events(events + (b"" if cut else b"data: [DONE]\n\n"), headers=headers)
            return
        choice = {"index": 0, "message": {"role": "assistant", "content": "a"}}
        body = json.dumps({"choices": [choice]}).encode()
        self._send(200, body[:-5] if cut else body, headers=headers)

    def _json(self, status: int, value: Any, *, headers: Headers = NOTHING) -> None:
        self._send(status, json.dumps(value).encode(), headers=headers)

    def _events(self, data: bytes, *, headers: Headers = NOTHING) -> None:
        self._send(200, data, "text/event-stream", headers=headers)

    def _send(
        self,
        status: int,
        body: bytes,
        kind: str = "application/json",
        *,
        headers: Headers = NOTHING,
    ) -> None:
        self.send_response(status)
        for name, value in {"content-type": kind, **headers}.items():
            self.send_header(name, value)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""
