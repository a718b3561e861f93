"""The OpenAI provider against the simulated upstream: what it sends, brings back and raises."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import aclosing

import httpx
import pytest

from app.errors import (
    ConfigError,
    UpstreamConnectionLostError,
    UpstreamContextLengthError,
    UpstreamInvalidResponseError,
    UpstreamMisconfiguredError,
    UpstreamRejectedError,
    UpstreamThrottledError,
    UpstreamTimeoutError,
    UpstreamUnavailableError,
)
from app.http_client.transport import HttptoolsTransport
from app.providers.base import Chunk, ModelCall, Timeouts
from app.providers.openai import OpenAIProvider
from app.stub.faults import Fault, FaultKind
from app.stub.log import Ended
from app.stub.server import StubServer
from tests.support.raw_server import Peer, raw_server

MESSAGES = b'[{"role":"user","content":"What is the capital of France?"}]'
NOW = 1_795_300_000.0


@pytest.fixture
async def stub() -> AsyncIterator[StubServer]:
    async with StubServer(speed=0) as server:
        yield server


@pytest.fixture
async def provider(stub) -> AsyncIterator[OpenAIProvider]:
    made = make(stub.base_url)
    yield made
    await made.aclose()


def make(base_url: str, **options) -> OpenAIProvider:
    return OpenAIProvider(
        base_url=base_url,
        api_key="sk-upstream",
        transport=HttptoolsTransport(),
        now=lambda: NOW,
        **options,
    )


def call(*, stream: bool = True, model: str = "sim-small", headers=(), **fields: object):
    timeouts = {
        key: fields.pop(key) for key in ("connect_s", "first_token_s", "idle_s") if key in fields
    }
    return ModelCall(
        request_id="r-1",
        upstream_model=model,
        fields={
            "messages": MESSAGES,
            **{key: json.dumps(value).encode() for key, value in fields.items()},
        },
        stream=stream,
        timeouts=Timeouts(**timeouts),
        headers=headers,
    )


async def collect(provider: OpenAIProvider, model_call: ModelCall) -> list[Chunk]:
    return [chunk async for chunk in provider.send(model_call)]


def text(chunks: list[Chunk]) -> str:
    events = b"".join(chunk.data for chunk in chunks).split(b"\n\n")
    bodies = [json.loads(event.removeprefix(b"data: ")) for event in events if event]
    return "".join(
        choice["delta"].get("content") or "" for body in bodies for choice in body["choices"]
    )


def n_slots(provider: OpenAIProvider) -> int:
    return sum(pool._n_slots for pool in provider._transport._pools.values())


# --- what works -------------------------------------------------------------------------------


async def test_whole_answer_comes_as_one_chunk_with_its_usage(stub, provider):
    (chunk,) = await collect(provider, call(stream=False))
    body = json.loads(chunk.data)
    assert "simulated" in body["choices"][0]["message"]["content"]
    assert chunk.usage.output_tokens == body["usage"]["completion_tokens"] > 0
    assert chunk.response_model == "sim-small"
    assert chunk.finish_reason == "stop"
    assert chunk.content_chars == len(body["choices"][0]["message"]["content"])
    assert dict(chunk.headers)[b"x-upstream-request-id"] == body["id"].encode()
    assert {name for name, _ in chunk.headers} == {b"openai-version", b"x-upstream-request-id"}


async def test_stream_says_the_same_as_the_whole_answer(stub, provider):
    (whole,) = await collect(provider, call(stream=False))
    chunks = await collect(provider, call())
    assert text(chunks) == json.loads(whole.data)["choices"][0]["message"]["content"]
    assert chunks[-1].usage == whole.usage
    assert json.loads(chunks[-1].usage_event)["choices"] == []
    data = b"".join(chunk.data for chunk in chunks)
    assert b"[DONE]" not in data
    assert b'"choices":[]' not in data
    assert chunks[0].headers
    assert [chunk.finish_reason for chunk in chunks if chunk.finish_reason] == ["stop"]


async def test_upstream_gets_the_clients_fields_and_none_of_its_credentials(stub, provider):
    headers = (
        (b"Authorization", b"Bearer sk-client"),
        (b"accept-encoding", b"gzip"),
        (b"openai-beta", b"x"),
    )
    await collect(provider, call(headers=headers, temperature=0.5, stream_options={"x": 1}))
    (entry,) = stub.log.entries
    assert entry.body == {
        "model": "sim-small",
        "messages": json.loads(MESSAGES),
        "temperature": 0.5,
        "stream": True,
        "stream_options": {"x": 1, "include_usage": True},
    }
    seen = dict(entry.headers)
    assert seen["authorization"] == "Bearer sk-upstream"
    assert seen["accept-encoding"] == "identity"
    assert seen["openai-beta"] == "x"
    assert "sk-client" not in str(entry.headers)
    assert len(entry.headers) == len(seen)


async def test_fields_that_the_operator_drops_never_leave(stub):
    provider = make(stub.base_url, drop_fields=("temperature", "seed"))
    await collect(provider, call(stream=False, temperature=0.5, seed=1, top_p=0.9))
    await provider.aclose()
    assert stub.log.entries[0].body.keys() == {"model", "messages", "top_p"}


async def test_tool_call_is_streamed_as_deltas(stub, provider):
    tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
    chunks = await collect(provider, call(tools=[tool], tool_choice="required"))
    assert any(chunk.has_content for chunk in chunks)
    assert [each.finish_reason for each in chunks if each.finish_reason] == ["tool_calls"]
    assert b'"name":"f"' in b"".join(chunk.data for chunk in chunks)


async def test_one_connection_serves_many_calls_one_after_the_other(stub, provider):
    for stream in (True, False, True, False):
        await collect(provider, call(stream=stream))
    assert {entry.connection for entry in stub.log.entries} == {0}


async def test_extra_headers_and_no_key(stub):
    provider = OpenAIProvider(
        base_url=stub.base_url + "/",
        api_key=None,
        transport=HttptoolsTransport(),
        extra_headers=(("openai-organization", "org"),),
    )
    await collect(provider, call(stream=False))
    await provider.aclose()
    seen = dict(stub.log.entries[0].headers)
    assert seen["openai-organization"] == "org"
    assert "authorization" not in seen


@pytest.mark.parametrize("key", ["sk-x\n", "sk-é", "a\r\nb: c"])
def test_key_that_cannot_be_sent_is_a_config_error_that_does_not_show_it(key):
    with pytest.raises(ConfigError) as raised:
        OpenAIProvider(base_url="http://x/v1", api_key=key, transport=HttptoolsTransport())
    assert key.strip() not in raised.value.message


async def test_missing_usage_is_left_to_be_estimated(stub, provider):
    stub.faults.add(Fault(fault=FaultKind.NO_USAGE, times=2))
    (whole,) = await collect(provider, call(stream=False))
    chunks = await collect(provider, call())
    assert whole.usage is None
    assert all(chunk.usage is None for chunk in chunks)
    said = sum(chunk.content_chars for chunk in chunks)
    assert said == whole.content_chars == len(text(chunks))
    assert sum(chunk.content_events for chunk in chunks) > 10
    assert chunks[0].template is not None


@pytest.mark.parametrize("stream", [True, False])
async def test_answer_that_drips_byte_by_byte_is_the_same_answer(stub, provider, stream):
    plain = await collect(provider, call(stream=stream, max_tokens=5))
    stub.faults.add(Fault(fault=FaultKind.SLOW_DRIP))
    dripped = await collect(provider, call(stream=stream, max_tokens=5))
    if stream:
        assert text(dripped) == text(plain)
        assert dripped[-1].usage == plain[-1].usage
    else:
        assert dripped[0].usage == plain[0].usage


async def test_first_chunk_arrives_before_the_last_is_sent(stub, provider):
    stub.faults.add(Fault(fault=FaultKind.STALL_MID_STREAM, after_chunks=2))
    async with aclosing(provider.send(call())) as chunks:
        first = await anext(chunks)
        assert b"assistant" in first.data
        assert stub.log.entries[0].ended is Ended.RUNNING


# --- failures ---------------------------------------------------------------------------------

FAILURES = [
    (Fault(fault=FaultKind.STATUS, status=400), UpstreamRejectedError),
    (
        Fault(fault=FaultKind.STATUS, status=400, code="context_length_exceeded"),
        UpstreamContextLengthError,
    ),
    (Fault(fault=FaultKind.STATUS, status=401), UpstreamMisconfiguredError),
    (Fault(fault=FaultKind.STATUS, status=404), UpstreamMisconfiguredError),
    (Fault(fault=FaultKind.STATUS, status=408), UpstreamTimeoutError),
    (Fault(fault=FaultKind.STATUS, status=422), UpstreamRejectedError),
    (Fault(fault=FaultKind.STATUS, status=429, retry_after_s=7), UpstreamThrottledError),
    (Fault(fault=FaultKind.STATUS, status=500), UpstreamUnavailableError),
    (Fault(fault=FaultKind.STATUS, status=503), UpstreamUnavailableError),
    (Fault(fault=FaultKind.RESET_BEFORE_HEADERS), UpstreamUnavailableError),
    (Fault(fault=FaultKind.STALL_BEFORE_HEADERS), UpstreamTimeoutError),
    (Fault(fault=FaultKind.STALL_MID_STREAM), UpstreamTimeoutError),
    (Fault(fault=FaultKind.RESET_MID_STREAM), UpstreamUnavailableError),
    (Fault(fault=FaultKind.CLOSE_MID_STREAM), UpstreamUnavailableError),
    (Fault(fault=FaultKind.BAD_JSON), UpstreamInvalidResponseError),
]
STREAM_FAILURES = [
    (Fault(fault=FaultKind.END_WITHOUT_DONE), UpstreamUnavailableError),
    (Fault(fault=FaultKind.GARBAGE_SSE), UpstreamInvalidResponseError),
    (Fault(fault=FaultKind.ERROR_EVENT), UpstreamUnavailableError),
    (Fault(fault=FaultKind.ERROR_EVENT, code="rate_limit_exceeded"), UpstreamThrottledError),
]
CASES = [
    *((fault, error, stream) for fault, error in FAILURES for stream in (True, False)),
    (Fault(fault=FaultKind.WRONG_CONTENT_LENGTH), UpstreamUnavailableError, False),
    *((fault, error, True) for fault, error in STREAM_FAILURES),
]


@pytest.mark.parametrize(
    ("fault", "error", "stream"),
    CASES,
    ids=[f"{f.fault}-{f.status}-{f.code}-{'stream' if s else 'whole'}" for f, _, s in CASES],
)
async def test_every_fault_raises_its_error_and_leaves_no_connection(
    stub, provider, fault, error, stream
):
    stub.faults.add(fault)
    stalls = "stall" in fault.fault
    patience_s = 1.0 if stalls else 60.0
    with pytest.raises(error) as raised:
        await collect(provider, call(stream=stream, first_token_s=patience_s, idle_s=patience_s))
    assert type(raised.value) is error
    assert "sk-upstream" not in raised.value.message
    if fault.fault is FaultKind.STATUS:
        assert raised.value.status == fault.status
        assert raised.value.retry_after_s == fault.retry_after_s
        assert (raised.value.body is not None) is isinstance(raised.value, UpstreamRejectedError)
    seen = Ended.CLIENT_GONE if stalls else Ended.FAULT
    assert await stub.log.wait_for(seen, timeout_s=60)
    assert n_slots(provider) <= 1  # an error body read in full leaves its connection to reuse
    assert await collect(provider, call(stream=stream))  # the provider is as good as new


async def test_stream_is_complete_at_its_end_marker_whatever_its_length_promised(stub, provider):
    stub.faults.add(Fault(fault=FaultKind.WRONG_CONTENT_LENGTH))
    chunks = await collect(provider, call())
    assert "simulated" in text(chunks)
    assert chunks[-1].usage is not None


async def test_what_was_said_before_a_failure_is_delivered(stub, provider):
    stub.faults.add(Fault(fault=FaultKind.RESET_MID_STREAM, after_chunks=4))
    chunks: list[Chunk] = []

    async def consume() -> None:
        async for chunk in provider.send(call()):
            chunks.append(chunk)  # noqa: PERF401 - what came before the error is to be kept

    with pytest.raises(UpstreamUnavailableError):
        await consume()
    assert text(chunks) == "This is a"


async def test_unknown_model_is_the_operators_fault(stub, provider):
    with pytest.raises(UpstreamMisconfiguredError, match="model_not_found"):
        await collect(provider, call(model="no-such-model"))


async def test_reset_of_a_kept_connection_is_told_and_nothing_sent_again(stub, provider):
    await collect(provider, call(stream=False))
    stub.faults.add(Fault(fault=FaultKind.RESET_BEFORE_HEADERS))
    with pytest.raises(UpstreamConnectionLostError) as raised:
        await collect(provider, call(stream=False))
    assert raised.value.sent
    assert not raised.value.provider_fault
    assert [entry.ended for entry in stub.log.entries] == [Ended.COMPLETE, Ended.FAULT]


async def test_refused_connection():
    async with StubServer() as gone:
        url = gone.base_url
    provider = make(url)
    with pytest.raises(UpstreamUnavailableError, match="cannot be reached"):
        await collect(provider, call())
    await provider.aclose()


@pytest.mark.parametrize("kind", [FaultKind.STALL_BEFORE_HEADERS, FaultKind.STALL_MID_STREAM])
async def test_first_token_timeout_runs_until_there_is_content(stub, provider, kind):
    stub.faults.add(Fault(fault=kind, after_chunks=1))  # the role announcement alone is none
    with pytest.raises(UpstreamTimeoutError):
        await collect(provider, call(first_token_s=1, idle_s=60))
    assert await stub.log.wait_for(Ended.CLIENT_GONE, timeout_s=60)


async def test_idle_timeout_takes_over_once_there_is_content(stub, provider):
    stub.faults.add(Fault(fault=FaultKind.STALL_MID_STREAM, after_chunks=3))
    with pytest.raises(UpstreamTimeoutError):
        await collect(provider, call(first_token_s=60, idle_s=0.05))


async def test_comments_do_not_extend_the_wait_for_the_first_token():
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n")
        while True:
            await peer.send(b": processing\n\n")
            await asyncio.sleep(0.01)

    async with raw_server(script) as server:
        provider = make(server.origin)
        with pytest.raises(UpstreamTimeoutError):
            await collect(provider, call(first_token_s=0.1, idle_s=60))
        await provider.aclose()


def canned(body: bytes, *, content_type: bytes = b"text/event-stream", status: bytes = b"200 OK"):
    async def script(peer: Peer) -> None:
        await peer.request()
        head = b"HTTP/1.1 %b\r\ncontent-type: %b\r\ncontent-length: %d\r\n\r\n"
        await peer.send(head % (status, content_type, len(body)) + body)
        await peer.gone()

    return script


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b'{"error":{"message":"m","type":"server_error"}}', UpstreamUnavailableError),
        (b'{"error":{"message":"m","code":"rate_limit_exceeded"}}', UpstreamThrottledError),
        (b'{"choices":[{"message":{"content":""}}]}', UpstreamInvalidResponseError),
        (b"", UpstreamInvalidResponseError),
        (b"<html>moved</html>", UpstreamInvalidResponseError),
    ],
)
async def test_json_in_place_of_a_stream(body, error):
    async with raw_server(canned(body, content_type=b"application/json")) as server:
        provider = make(server.origin)
        with pytest.raises(error) as raised:
            await collect(provider, call())
        assert type(raised.value) is error
        await provider.aclose()


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b"", UpstreamInvalidResponseError),
        (b"[]", UpstreamInvalidResponseError),
        (b'{"choices":null}', UpstreamInvalidResponseError),
        (b'{"id":"x"}', UpstreamInvalidResponseError),
        (b'{"error":{"message":"m"}}', UpstreamUnavailableError),
        (b' [{"error":{"message":"m","code":400}}]', UpstreamRejectedError),
        (b'{"choices":[' + b" " * 2000 + b"]}", UpstreamInvalidResponseError),
    ],
)
async def test_whole_answer_of_another_shape(body, error):
    async with raw_server(canned(body, content_type=b"application/json")) as server:
        provider = make(server.origin, max_response_bytes=1000)
        with pytest.raises(error) as raised:
            await collect(provider, call(stream=False))
        assert type(raised.value) is error
        await provider.aclose()


@pytest.mark.parametrize("body", [b"moved", b": c\n\n", b"data: [DON"])
async def test_stream_that_is_none_ends_without_done(body):
    async with raw_server(canned(body, content_type=b"text/html")) as server:
        provider = make(server.origin)
        with pytest.raises(UpstreamUnavailableError, match=r"without \[DONE\]"):
            await collect(provider, call())
        await provider.aclose()


async def test_error_body_that_never_ends_does_not_hold_the_error_back():
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 503 No\r\ncontent-length: 100\r\n\r\n{")
        await peer.gone()

    async with raw_server(script) as server:
        provider = make(server.origin)
        with pytest.raises(UpstreamUnavailableError, match="503"):
            await collect(provider, call(first_token_s=1.5))
        await provider.aclose()


async def test_other_transports_serve_as_well(stub):
    provider = OpenAIProvider(
        base_url=stub.base_url, api_key="sk", transport=httpx.AsyncHTTPTransport()
    )
    assert text(await collect(provider, call()))
    (whole,) = await collect(provider, call(stream=False))
    assert whole.usage is not None
    await provider.aclose()


# --- giving up --------------------------------------------------------------------------------


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("kind", [FaultKind.STALL_BEFORE_HEADERS, FaultKind.STALL_MID_STREAM])
async def test_cancellation_reaches_the_upstream_in_every_phase(stub, provider, kind, stream):
    stub.faults.add(Fault(fault=kind))
    task = asyncio.create_task(collect(provider, call(stream=stream)))
    assert await stub.log.wait_for(Ended.RUNNING, timeout_s=60)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await stub.log.wait_for(Ended.CLIENT_GONE, timeout_s=60)
    assert n_slots(provider) == 0


async def test_closing_the_generator_early_drops_the_connection_at_once(stub, provider):
    stub.faults.add(Fault(fault=FaultKind.STALL_MID_STREAM))
    chunks = provider.send(call())
    await anext(chunks)
    await chunks.aclose()
    assert n_slots(provider) == 0
    assert await stub.log.wait_for(Ended.CLIENT_GONE, timeout_s=60)
    assert stub.log.entries[0].chunks_sent <= 3


async def test_a_hundred_streams_given_up_leave_nothing_behind(stub, provider):
    stub.faults.add(Fault(fault=FaultKind.STALL_MID_STREAM, times=100))
    tasks = [asyncio.create_task(collect(provider, call())) for _ in range(100)]
    while len(stub.log.entries) < 100:
        await asyncio.sleep(0)
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    while any(entry.ended is Ended.RUNNING for entry in stub.log.entries):
        await asyncio.sleep(0)
    assert {entry.ended for entry in stub.log.entries} == {Ended.CLIENT_GONE}
    assert n_slots(provider) == 0
    while stub.open_connections:
        await asyncio.sleep(0)
