"""The providers of Google and AWS against servers that answer what they should not."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from app.errors import (
    UpstreamError,
    UpstreamInvalidResponseError,
    UpstreamThrottledError,
    UpstreamUnavailableError,
    UpstreamUnsupportedError,
)
from app.http_client.transport import HttptoolsTransport
from app.providers.base import PROVIDERS, Chunk, ModelCall, Provider, Timeouts
from tests.support.event_streams import event, recorded
from tests.support.fixtures import assembled, fixture
from tests.support.raw_server import Peer, raw_server

KINDS = ("bedrock", "gemini")
TYPES = {"bedrock": b"application/vnd.amazon.eventstream", "gemini": b"text/event-stream"}
STREAMS = {"bedrock": b"".join(recorded("text")), "gemini": fixture("gemini/text.sse")}
BEGUN = {
    "bedrock": b"".join(recorded("text")[:2]),
    "gemini": STREAMS["gemini"][: STREAMS["gemini"].index(b"data:", 5)],
}
SAID = "A steelyard weighs"
MAX_BYTES = 20_000


def call(*, stream: bool = True, **fields: bytes) -> ModelCall:
    return ModelCall(
        request_id="r",
        upstream_model="model-x",
        fields={"messages": b'[{"role":"user","content":"hi"}]', **fields},
        stream=stream,
        timeouts=Timeouts(first_token_s=60, idle_s=60),
    )


async def collect(provider: Provider, model_call: ModelCall) -> list[Chunk]:
    return [chunk async for chunk in provider.send(model_call)]


@asynccontextmanager
async def serving(kind: str, *scripts) -> AsyncIterator[Provider]:
    async with raw_server(*scripts) as server:
        provider = PROVIDERS.get(kind)(
            base_url=server.origin,
            api_key="sk-canary-canary",
            transport=HttptoolsTransport(),
            max_response_bytes=MAX_BYTES,
        )
        yield provider
        await provider.aclose()


def canned(body: bytes, content_type: bytes, *, more: int = 0, status: int = 200):
    """Send a body; with `more`, less of it than its head says."""

    async def script(peer: Peer) -> None:
        await peer.request()
        head = b"HTTP/1.1 %d X\r\ncontent-type: %b\r\ncontent-length: %d\r\n\r\n"
        await peer.send(head % (status, content_type, len(body) + more) + body)
        if more:
            peer.writer.close()
        else:
            await peer.gone()

    return script


async def said_before_failing(provider: Provider) -> tuple[str, UpstreamError]:
    chunks: list[Chunk] = []

    async def read() -> None:
        async for chunk in provider.send(call()):
            chunks.append(chunk)  # noqa: PERF401 - what came before the error is to be kept

    with pytest.raises(UpstreamError) as raised:
        await read()
    return assembled(chunks)["content"] if chunks else "", raised.value


@pytest.mark.parametrize("kind", KINDS)
async def test_an_answer_in_order(kind):
    async with serving(kind, canned(STREAMS[kind], TYPES[kind])) as provider:
        chunks = await collect(provider, call())
    assert assembled(chunks)["finish_reason"] == "stop"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("body", [b"", b"<html>", b"{}", b"[]", b'{"completion":"x"}', b"nonsense"])
async def test_what_is_no_answer_is_a_failure(kind, stream, body):
    async with serving(kind, canned(body, b"application/json")) as provider:
        with pytest.raises((UpstreamUnavailableError, UpstreamInvalidResponseError)):
            await collect(provider, call(stream=stream))


@pytest.mark.parametrize("kind", KINDS)
async def test_a_stream_that_is_cut_short_is_no_short_answer(kind):
    async with serving(kind, canned(BEGUN[kind], TYPES[kind])) as provider:
        said, error = await said_before_failing(provider)
    assert (said, type(error)) == (SAID, UpstreamUnavailableError)
    assert PROVIDERS.get(kind).end_marker in error.message
    async with serving(kind, canned(STREAMS[kind], TYPES[kind], more=1)) as provider:
        if kind == "gemini":  # whose streams end with their connection
            _, error = await said_before_failing(provider)
            assert type(error) is UpstreamUnavailableError
        else:
            assert assembled(await collect(provider, call()))["finish_reason"] == "stop"


@pytest.mark.parametrize("kind", KINDS)
async def test_an_event_that_is_too_long_is_refused(kind):
    text = "x" * (MAX_BYTES + 1)
    large = (
        event("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": text}})
        if kind == "bedrock"
        else b"data: %b\n\n" % json.dumps({"candidates": [{"content": text}]}).encode()
    )
    async with serving(kind, canned(BEGUN[kind] + large, TYPES[kind])) as provider:
        _, error = await said_before_failing(provider)
    assert type(error) is UpstreamInvalidResponseError
    assert str(MAX_BYTES) in error.message


@pytest.mark.parametrize("kind", KINDS)
async def test_a_whole_answer_that_is_too_long_is_refused(kind):
    body = b'{"x":"%b"}' % (b"y" * MAX_BYTES)
    async with serving(kind, canned(body, b"application/json")) as provider:
        with pytest.raises(UpstreamInvalidResponseError, match="longer than"):
            await collect(provider, call(stream=False))


@pytest.mark.parametrize("kind", KINDS)
async def test_what_was_taken_by_an_answer_that_was_cut_is_known(kind):
    body = fixture(f"{kind}/answer.json").strip()
    cut = body[:-1]
    async with serving(kind, canned(cut, b"application/json", more=1)) as provider:
        model_call = call(stream=False)
        with pytest.raises(UpstreamUnavailableError):
            await collect(provider, model_call)
    assert model_call.progress.heard_bytes == len(cut)
    assert model_call.progress.usage.output_tokens == 32


async def test_a_damaged_frame_ends_the_stream_after_what_was_said():
    damaged = bytearray(recorded("text")[2])
    damaged[-10] ^= 1
    data = BEGUN["bedrock"] + bytes(damaged)
    async with serving("bedrock", canned(data, TYPES["bedrock"])) as provider:
        said, error = await said_before_failing(provider)
    assert (said, type(error)) == (SAID, UpstreamInvalidResponseError)
    assert "checksum" in error.message


async def test_throttling_in_a_stream_is_throttling():
    data = b"".join(recorded("throttled"))
    async with serving("bedrock", canned(data, TYPES["bedrock"])) as provider:
        _, error = await said_before_failing(provider)
    assert type(error) is UpstreamThrottledError


@pytest.mark.parametrize("kind", KINDS)
async def test_a_refused_request_opens_no_connection(kind):
    async def script(peer: Peer) -> None:
        raise AssertionError("nothing should have come")

    async with serving(kind, script) as provider:
        model_call = call(n=b"2")
        with pytest.raises(UpstreamUnsupportedError):
            await collect(provider, model_call)
    assert not model_call.progress.sent


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("status", [400, 401, 429])
async def test_no_error_repeats_the_key(kind, status):
    body = json.dumps({"error": {"message": "key sk-canary-canary"}, "message": "sk-canary-canary"})
    script = canned(body.encode(), b"application/json", status=status)
    async with serving(kind, script) as provider:
        with pytest.raises(UpstreamError) as raised:
            await collect(provider, call())
    assert "canary" not in raised.value.message
    assert b"canary" not in (raised.value.body or b"")


SEALED = [
    {"role": "user", "content": "hi"},
    {
        "role": "assistant",
        "content": "ho",
        "thinking_blocks": [{"type": "thinking", "thinking": "hm", "signature": "seal"}],
        "extra_content": {"google": {"thought_signature": "seal"}},
        "tool_calls": [
            {
                "id": "a",
                "type": "function",
                "function": {"name": "weigh", "arguments": "{}"},
                "extra_content": {"google": {"thought_signature": "seal"}},
            }
        ],
    },
    {"role": "tool", "tool_call_id": "a", "content": "1 kg"},
]
REFUSALS = {
    "bedrock": "messages.1.content.0: Invalid `signature` in `thinking` block",
    "gemini": "Unable to submit request because Thought signature is not valid..",
}


@pytest.mark.parametrize("kind", KINDS)
async def test_seals_that_are_refused_are_left_out_and_asked_once_more(kind):
    bodies: list[bytes] = []
    tools = b'[{"type":"function","function":{"name":"weigh"}}]'

    def refusing(times: int):
        left = [times]

        async def script(peer: Peer) -> None:
            while True:
                _, body = await peer.request()
                bodies.append(body)
                left[0] -= 1
                told = {"message": REFUSALS[kind], "code": 400, "status": "INVALID_ARGUMENT"}
                status = 400 if left[0] >= 0 else 200
                data = json.dumps({"error": told}).encode() if status == 400 else STREAMS[kind]
                head = b"HTTP/1.1 %d X\r\ncontent-type: x/y\r\ncontent-length: %d\r\n\r\n"
                await peer.send(head % (status, len(data)) + data)

        return script

    asked = call(messages=json.dumps(SEALED).encode(), tools=tools)
    async with serving(kind, refusing(1)) as provider:
        chunks = await collect(provider, asked)
    assert assembled(chunks)["finish_reason"] == "stop"
    first, second = bodies
    assert b'"seal"' in first
    assert b'"seal"' not in second
    async with serving(kind, refusing(2)) as provider:
        with pytest.raises(UpstreamError):
            await collect(provider, asked)
    assert len(bodies) == 4
