"""A small chat endpoint on a real socket that says what a test wants, chances included."""

import json
import math
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self


def completion(
    text: str | None, *, top: Mapping[str, float] | None = None, usage: bool = True
) -> dict[str, Any]:
    """Return an answer; `top` are the chances of the first token's alternatives."""
    body: dict[str, Any] = {
        "id": "chatcmpl-score",
        "object": "chat.completion",
        "created": 0,
        "model": "scorer-1",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": text},
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
    }
    if top is not None:
        tokens = [{"token": token, "logprob": math.log(p)} for token, p in top.items()]
        first = {**tokens[0], "bytes": None, "top_logprobs": tokens}
        body["choices"][0]["logprobs"] = {"content": [first], "refusal": None}
    if usage:
        body["usage"] = {"prompt_tokens": 120, "completion_tokens": 2, "total_tokens": 122}
    return body


def answer(
    text: str, *, chances: Sequence[float] | None = None, tokens: tuple[int, int] = (10, 4)
) -> dict[str, Any]:
    """Return a whole answer; `chances` are those of its tokens."""
    body = completion(text)
    body["usage"] = {
        "prompt_tokens": tokens[0],
        "completion_tokens": tokens[1],
        "total_tokens": sum(tokens),
    }
    if chances is not None:
        content = [{"token": "t", "logprob": math.log(p), "top_logprobs": []} for p in chances]
        body["choices"][0]["logprobs"] = {"content": content, "refusal": None}
    return body


def pieces(whole: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return a whole answer as the events of a stream, a word or two in each."""
    (choice,) = whole["choices"]
    head = {**whole, "object": "chat.completion.chunk"}
    usage = head.pop("usage")
    words = choice["message"]["content"].split(" ")
    texts = [word if i == 0 else f" {word}" for i, word in enumerate(words)]
    told = choice["logprobs"]

    def event(delta: Mapping[str, Any], reason: str | None = None, **more: Any) -> dict[str, Any]:
        made = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason, **more}
        return {**head, "choices": [made]}

    return [
        event({"role": "assistant", "content": ""}),
        *(event({"content": text}) for text in texts[:-1]),
        event({"content": texts[-1]}, logprobs=told),
        event({}, "stop"),
        {**head, "choices": [], "usage": usage},
    ]


class ScoringServer:
    """Answers `POST /v1/chat/completions` with `answer(body)`, a status and an object.

    A list or an iterator in place of the object is streamed, piece by piece. An `answer` may block:
    the server is stopped only after `release` was set.
    """

    def __init__(self) -> None:
        self.answer: Callable[[dict[str, Any]], tuple[int, Any]] = lambda _: (200, completion("3"))
        self.bodies: list[dict[str, Any]] = []
        self.release = threading.Event()
        self.hung_up = threading.Event()
        """Set where a stream could not be written to its end."""

    def __enter__(self) -> Self:
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                outer.bodies.append(body)
                status, answer = outer.answer(body)
                if not isinstance(answer, dict):
                    self.stream(answer)
                    return
                data = json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def stream(self, events: Iterable[dict[str, Any]]) -> None:
                self.send_response(200)
                self.send_header("content-type", "text/event-stream")
                self.end_headers()
                self.close_connection = True
                try:
                    for event in events:
                        self.wfile.write(b"data: %b\n\n" % json.dumps(event).encode())
                    self.wfile.write(b"data: [DONE]\n\n")
                except OSError:
                    outer.hung_up.set()

            def log_message(self, *_: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_: object) -> None:
                """Say nothing where the gateway hung up, which is part of the tests."""

        self._server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.02,), name="scoring"
        )
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.release.set()
        self._server.shutdown()
        self._thread.join(60)
        self._server.server_close()
