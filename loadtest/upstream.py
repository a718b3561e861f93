"""A mock upstream that is not the bottleneck: canned answers, streams whose chunks tell their time.

    python -m loadtest.upstream --port 0

prints `{"port": ...}` and serves until its standard input closes. Every POST is a chat completion:

- without `"stream": true` the answer is about 1 kB with usage (with `tools`, a tool call);
- with it, `[[stream N MS]]` anywhere in the request gives N chunks, MS milliseconds apart (0: all
  at once); without the mark, 20 chunks at once. Each chunk's text is `@<ns>@`, the monotonic clock
  of this machine when it was written, so that whoever receives it knows how long it was under way.

Parsing is the least there is: the body is searched, never decoded.
"""

import argparse
import asyncio
import os
import re
import sys
import time
from typing import cast

import httptools
import msgspec
import uvloop

_MARK = re.compile(rb"\[\[stream (\d+) (\d+)\]\]")
_STREAM = re.compile(rb'"stream"\s*:\s*true')
_DEFAULT_CHUNKS = 20
_HEAD_JSON = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b"
_HEAD_STREAM = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"
    b"cache-control: no-cache\r\ntransfer-encoding: chunked\r\n\r\n"
)
_END = b"0\r\n\r\n"


def _completion(message: dict[str, object], finish_reason: str) -> bytes:
    return msgspec.json.encode(
        {
            "id": "chatcmpl-bench",
            "object": "chat.completion",
            "created": 1700000000,
            "model": "bench",
            "choices": [
                {"index": 0, "message": message, "finish_reason": finish_reason, "logprobs": None}
            ],
            "usage": {"prompt_tokens": 64, "completion_tokens": 150, "total_tokens": 214},
            "system_fingerprint": None,
        }
    )


_TEXT = "The quick brown fox jumps over the lazy dog while the mock upstream answers. " * 9
_TOOL_CALL = {
    "id": "call_bench",
    "type": "function",
    "function": {"name": "tool_0", "arguments": '{"city":"Paris","days":3}'},
}


def _with_head(body: bytes) -> bytes:
    return _HEAD_JSON % (len(body), body)


WHOLE = _with_head(_completion({"role": "assistant", "content": _TEXT}, "stop"))
WITH_TOOL = _with_head(
    _completion({"role": "assistant", "content": None, "tool_calls": [_TOOL_CALL]}, "tool_calls")
)


def _event(payload: bytes) -> bytes:
    data = b"data: %b\n\n" % payload
    return b"%x\r\n%b\r\n" % (len(data), data)


_CHUNK = (
    b'{"id":"chatcmpl-bench","object":"chat.completion.chunk","created":1700000000,'
    b'"model":"bench","choices":[{"index":0,"delta":%b,"finish_reason":%b}]}'
)
_FIRST = _event(_CHUNK % (b'{"role":"assistant","content":""}', b"null"))
_LAST = (
    _event(_CHUNK % (b"{}", b'"stop"'))
    + _event(
        b'{"id":"chatcmpl-bench","object":"chat.completion.chunk","created":1700000000,'
        b'"model":"bench","choices":[],"usage":{"prompt_tokens":64,"completion_tokens":150,'
        b'"total_tokens":214}}'
    )
    + _event(b"[DONE]")
    + _END
)


def text_event() -> bytes:
    """Return a chunk that tells the time it was made."""
    return _event(_CHUNK % (b'{"content":"@%d@"}' % time.monotonic_ns(), b"null"))


class Upstream(asyncio.Protocol):
    """One connection; answers in order, one request at a time."""

    def __init__(self) -> None:
        self._parser = httptools.HttpRequestParser(self)
        self._body: list[bytes] = []
        self._stream: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the socket."""
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the stream that nobody reads."""
        del exc
        if self._stream is not None:
            self._stream.cancel()

    def data_received(self, data: bytes) -> None:
        """Parse; the callbacks below answer."""
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self._transport.close()

    def on_message_begin(self) -> None:
        """Forget the request before."""
        self._body.clear()

    def on_body(self, body: bytes) -> None:
        """Collect the body."""
        self._body.append(body)

    def on_message_complete(self) -> None:
        """Answer."""
        body = self._body[0] if len(self._body) == 1 else b"".join(self._body)
        if not _STREAM.search(body):
            self._transport.write(WITH_TOOL if b'"tools"' in body else WHOLE)
            return
        mark = _MARK.search(body)
        chunks, pace_ms = (_DEFAULT_CHUNKS, 0) if mark is None else (int(mark[1]), int(mark[2]))
        if pace_ms:
            self._stream = asyncio.ensure_future(self._paced(chunks, pace_ms / 1e3))
        else:
            events = [text_event() for _ in range(chunks)]
            self._transport.write(b"".join([_HEAD_STREAM, _FIRST, *events, _LAST]))

    async def _paced(self, chunks: int, pace_s: float) -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        self._transport.write(_HEAD_STREAM + _FIRST + text_event())
        for number in range(1, chunks):
            await asyncio.sleep(began + number * pace_s - loop.time())
            self._transport.write(text_event())
        self._transport.write(_LAST)


async def serve(host: str, port: int) -> None:
    """Serve until standard input closes."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Upstream, host, port, backlog=4096)
    print(f'{{"port": {server.sockets[0].getsockname()[1]}}}', flush=True)
    closed = asyncio.Event()
    loop.add_reader(sys.stdin, lambda: None if os.read(0, 4096) else closed.set())
    await closed.wait()
    server.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0)
    arguments = parser.parse_args()
    uvloop.run(serve(arguments.host, arguments.port))


if __name__ == "__main__":
    main()
