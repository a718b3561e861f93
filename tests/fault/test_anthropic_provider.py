"""The Anthropic provider against servers that answer what they should not."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from app.errors import (
    UpstreamInvalidResponseError,
    UpstreamThrottledError,
    UpstreamTimeoutError,
    UpstreamUnavailableError,
    UpstreamUnsupportedError,
)
from app.http_client.transport import HttptoolsTransport
from app.providers.anthropic import AnthropicProvider
from app.providers.base import Chunk, ModelCall, Timeouts
from tests.support.fixtures import assembled, fixture
from tests.support.raw_server import Peer, raw_server

OVERLOADED = b'{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}'
THROTTLED = b'{"type":"error","error":{"type":"rate_limit_error","message":"Slow down"}}'
PING = b'event: ping\ndata: {"type": "ping"}\n\n'


def call(*, stream: bool = True, first_token_s: float = 60.0, **fields: bytes) -> ModelCall:
    return ModelCall(
        request_id="r",
        upstream_model="claude-x",
        fields={"messages": b'[{"role":"user","content":"hi"}]', **fields},
        stream=stream,
        timeouts=Timeouts(first_token_s=first_token_s, idle_s=60),
    )


async def collect(provider: AnthropicProvider, model_call: ModelCall) -> list[Chunk]:
    return [chunk async for chunk in provider.send(model_call)]


@asynccontextmanager
async def serving(*scripts) -> AsyncIterator[AnthropicProvider]:
    async with raw_server(*scripts) as server:
        provider = AnthropicProvider(
            base_url=f"{server.origin}/v1", api_key="sk-1", transport=HttptoolsTransport()
        )
        yield provider
        await provider.aclose()


def canned(body: bytes, content_type: bytes):
    async def script(peer: Peer) -> None:
        head, _ = await peer.request()
        assert head.startswith(b"POST /v1/messages HTTP/1.1\r\n")
        answer = b"HTTP/1.1 200 OK\r\ncontent-type: %b\r\ncontent-length: %d\r\n\r\n"
        await peer.send(answer % (content_type, len(body)) + body)
        await peer.gone()

    return script


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize(
    ("body", "cls"),
    [
        (OVERLOADED, UpstreamUnavailableError),
        (THROTTLED, UpstreamThrottledError),
        (b'{"completion":"x"}', UpstreamInvalidResponseError),
        (b"<html>", UpstreamInvalidResponseError),
    ],
)
async def test_json_that_is_no_answer(stream, body, cls):
    async with serving(canned(body, b"application/json")) as provider:
        with pytest.raises(cls) as raised:
            await collect(provider, call(stream=stream))
    assert type(raised.value) is cls


@pytest.mark.parametrize("body", [b"", PING, b"<html>moved</html>", b"data: [DONE]\n\n"])
async def test_stream_that_is_none_is_a_failure(body):
    async with serving(canned(body, b"text/event-stream")) as provider:
        with pytest.raises((UpstreamUnavailableError, UpstreamInvalidResponseError)):
            await collect(provider, call())


async def test_stream_without_its_end_names_what_was_missing():
    data = fixture("anthropic/text.sse")
    cut = data[: data.index(b"event: message_stop")]
    async with serving(canned(cut, b"text/event-stream")) as provider:
        with pytest.raises(UpstreamUnavailableError, match="message_stop"):
            await collect(provider, call())


async def test_bytes_after_the_end_are_of_no_interest():
    data = fixture("anthropic/tool_use.sse") + b"data: {not json\n\n"
    async with serving(canned(data, b"text/event-stream")) as provider:
        chunks = await collect(provider, call())
    assert assembled(chunks)["finish_reason"] == "tool_calls"


async def test_pings_do_not_extend_the_wait_for_the_first_token():
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n")
        while True:
            await peer.send(PING)
            await asyncio.sleep(0.01)

    async with serving(script) as provider:
        with pytest.raises(UpstreamTimeoutError):
            await collect(provider, call(first_token_s=0.1))


async def test_a_refused_request_opens_no_connection():
    async def script(peer: Peer) -> None:
        raise AssertionError("nothing should have come")

    async with serving(script) as provider:
        with pytest.raises(UpstreamUnsupportedError):
            await collect(provider, call(n=b"2"))
