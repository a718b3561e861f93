"""An upstream that answers with exactly the bytes a test names, model by model."""

import asyncio
import json
import threading
from collections.abc import Sequence
from typing import Any, Self

USAGE = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}


def event(delta: object = None, *, finish: str | None = None, **fields: Any) -> bytes:
    """Return one event of a stream."""
    choice = {"index": 0, "delta": {} if delta is None else delta, "finish_reason": finish}
    return data({"choices": [choice], **fields})


def data(payload: object) -> bytes:
    """Frame one event: of a stream's head and `payload`, or of bytes as they are."""
    if isinstance(payload, dict):
        head = {"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "up"}
        payload = json.dumps({**head, **payload}).encode()
    assert isinstance(payload, bytes)
    return b"data: " + payload + b"\n\n"


ROLE = event({"role": "assistant", "content": ""})
HELLO = event({"content": "Hello"})
END = event(finish="stop")
DONE = data(b"[DONE]")


def completion(content: object = "Hello", **fields: Any) -> dict[str, Any]:
    """Return a whole answer."""
    message = {"role": "assistant", "content": content}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    return {"id": "c1", "object": "chat.completion", "choices": [choice], "usage": USAGE, **fields}


def stream(*events: bytes, headers: bytes = b"content-type: text/event-stream\r\n") -> list[bytes]:
    """Return a whole HTTP answer that streams `events`, each in a write of its own."""
    head = b"HTTP/1.1 200 OK\r\n%btransfer-encoding: chunked\r\n\r\n" % headers
    return [head, *(b"%x\r\n%b\r\n" % (len(each), each) for each in events if each), b"0\r\n\r\n"]


def whole(
    body: object, *, status: int = 200, headers: bytes = b"content-type: application/json\r\n"
) -> list[bytes]:
    """Return a whole HTTP answer with a JSON body, or with bytes as they are."""
    encoded = body if isinstance(body, bytes) else json.dumps(body).encode()
    head = b"HTTP/1.1 %d X\r\n%bcontent-length: %d\r\n\r\n" % (status, headers, len(encoded))
    return [head + encoded]


class OddUpstream:
    """A server in a thread of its own; what it has no answer for it answers well.

    Attributes
    ----------
    answers
        Upstream model → the writes that answer it.
    hangs_up
        Models whose next request is read, and answered by the end of the connection.
    asked
        The head and the body of every request, in order.
    """

    def __init__(self) -> None:
        self.answers: dict[str, Sequence[bytes]] = {}
        self.hangs_up: set[str] = set()
        self.asked: list[tuple[bytes, dict[str, Any]]] = []
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="odd upstream")

    @property
    def models(self) -> list[str]:
        """Which models were asked, in order."""
        return [body["model"] for _, body in self.asked]

    def reset(self) -> None:
        """Forget what was asked and what to answer."""
        self.answers.clear()
        self.hangs_up.clear()
        self.asked.clear()

    def __enter__(self) -> Self:
        self._thread.start()
        self._server = asyncio.run_coroutine_threadsafe(
            asyncio.start_server(self._serve, "127.0.0.1", 0), self._loop
        ).result(60)
        self.origin = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result(60)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(60)
        self._loop.close()

    async def _stop(self) -> None:
        self._server.close()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = next(
                    int(line.split(b":")[1])
                    for line in head.lower().split(b"\r\n")
                    if line.startswith(b"content-length:")
                )
                body = json.loads(await reader.readexactly(length))
                self.asked.append((head, body))
                if body["model"] in self.hangs_up:
                    self.hangs_up.remove(body["model"])
                    return
                good = stream(ROLE, HELLO, END, data({"choices": [], "usage": USAGE}), DONE)
                usual = good if body.get("stream") else whole(completion())
                for piece in self.answers.get(body["model"], usual):
                    writer.write(piece)
                    await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()
