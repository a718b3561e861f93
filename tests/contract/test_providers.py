"""What every provider kind promises, whichever kinds there are."""

import inspect
import json
from contextlib import aclosing

import httpx
import pytest

from app.errors import (
    UpstreamContextLengthError,
    UpstreamError,
    UpstreamInvalidResponseError,
    UpstreamMisconfiguredError,
    UpstreamRejectedError,
    UpstreamThrottledError,
    UpstreamTimeoutError,
    UpstreamUnavailableError,
)
from app.http_client.transport import HttptoolsTransport
from app.providers.base import PROVIDERS, Chunk, ModelCall, Provider, Timeouts
from app.stub.faults import Fault, FaultKind
from app.stub.log import Ended
from app.stub.server import StubServer
from routers.errors import RoutingConfigError

KEY = "sk-upstream-canary"

TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
}

pytestmark = pytest.mark.parametrize("kind", PROVIDERS.kinds())


def make(kind: str, origin: str) -> Provider:
    """Return a provider of the kind at its usual path, on another server."""
    provider_class = PROVIDERS.get(kind)
    url = httpx.URL(provider_class.example_url)
    at = httpx.URL(origin)
    url = url.copy_with(scheme=at.scheme, host=at.host, port=at.port)
    return provider_class(base_url=str(url), api_key=KEY, transport=HttptoolsTransport())


@pytest.fixture
async def stub():
    async with StubServer(speed=0) as server:
        yield server


@pytest.fixture
async def provider(kind, stub):
    made = make(kind, stub.base_url)
    yield made
    await made.aclose()


def call(*, stream: bool, headers=(), timeout_s: float = 60.0, **fields: object) -> ModelCall:
    return ModelCall(
        request_id="r",
        upstream_model="sim-nano",
        fields={
            "messages": b'[{"role":"user","content":"hi"}]',
            **{key: json.dumps(value).encode() for key, value in fields.items()},
        },
        stream=stream,
        timeouts=Timeouts(first_token_s=timeout_s, idle_s=timeout_s),
        headers=headers,
    )


async def collect(provider: Provider, model_call: ModelCall) -> list[Chunk]:
    return [chunk async for chunk in provider.send(model_call)]


def bodies(chunks: list[Chunk]) -> list[dict]:
    events = b"".join(chunk.data for chunk in chunks).split(b"\n\n")
    return [json.loads(event.removeprefix(b"data: ")) for event in events if event]


def said(chunks: list[Chunk]) -> str:
    return "".join(body["choices"][0]["delta"].get("content") or "" for body in bodies(chunks))


def test_kind_names_a_class_with_the_two_methods(kind):
    cls = PROVIDERS.get(kind)
    assert inspect.isasyncgenfunction(cls.send)
    assert inspect.iscoroutinefunction(cls.aclose)


def test_unknown_kind_lists_the_known_ones(kind):
    with pytest.raises(RoutingConfigError, match=kind):
        PROVIDERS.get("no-such-kind")


async def test_whole_answer_is_a_stream_of_one_chunk(provider):
    (chunk,) = await collect(provider, call(stream=False))
    body = json.loads(chunk.data)
    assert body["object"] == "chat.completion"
    assert "simulated" in body["choices"][0]["message"]["content"]
    assert body["choices"][0]["finish_reason"] == chunk.finish_reason == "stop"
    assert chunk.has_content
    assert chunk.usage is not None
    assert chunk.usage.input_tokens == body["usage"]["prompt_tokens"]
    assert chunk.usage.output_tokens == body["usage"]["completion_tokens"]
    assert chunk.content_chars == len(body["choices"][0]["message"]["content"])
    assert chunk.response_model == "sim-nano"
    assert dict(chunk.headers)[b"x-upstream-request-id"]


async def test_stream_is_whole_canonical_events_and_tells_usage_once(provider):
    chunks = await collect(provider, call(stream=True))
    for chunk in chunks:
        *events, rest = chunk.data.split(b"\n\n")
        assert rest == b""
        for event in events:
            body = json.loads(event.removeprefix(b"data: "))
            assert body["choices"]
            assert body["object"] == "chat.completion.chunk"
    (usage_event,) = [chunk.usage_event for chunk in chunks if chunk.usage_event is not None]
    assert json.loads(usage_event)["choices"] == []
    assert all(not chunk.headers for chunk in chunks[1:])
    assert dict(chunks[0].headers)[b"x-upstream-request-id"]


async def test_stream_says_the_same_as_the_whole_answer(provider):
    (whole,) = await collect(provider, call(stream=False))
    chunks = await collect(provider, call(stream=True))
    assert said(chunks) == json.loads(whole.data)["choices"][0]["message"]["content"]
    assert [chunk.usage for chunk in chunks if chunk.usage][-1] == whole.usage
    assert [chunk.finish_reason for chunk in chunks if chunk.finish_reason] == ["stop"]
    assert sum(chunk.content_chars for chunk in chunks) == whole.content_chars


async def test_tool_call_streams_the_arguments_of_the_whole_answer(provider):
    asked = {"tools": [TOOL], "tool_choice": "required"}
    (whole,) = await collect(provider, call(stream=False, **asked))
    chunks = await collect(provider, call(stream=True, **asked))
    choice = json.loads(whole.data)["choices"][0]
    (made,) = choice["message"]["tool_calls"]
    deltas = [
        delta
        for body in bodies(chunks)
        for delta in body["choices"][0]["delta"].get("tool_calls") or ()
    ]
    assert choice["finish_reason"] == "tool_calls"
    assert made["function"]["name"] == deltas[0]["function"]["name"] == "get_weather"
    assert deltas[0]["id"]
    assert {delta["index"] for delta in deltas} == {0}
    streamed = "".join(delta["function"].get("arguments", "") for delta in deltas)
    assert (
        json.loads(streamed) == json.loads(made["function"]["arguments"]) == {"city": "simulated"}
    )


async def test_length_limit_is_told(provider):
    (whole,) = await collect(provider, call(stream=False, max_completion_tokens=3))
    chunks = await collect(provider, call(stream=True, max_tokens=3))
    assert whole.finish_reason == "length"
    assert whole.usage.output_tokens == 3
    assert [chunk.finish_reason for chunk in chunks if chunk.finish_reason] == ["length"]


async def test_upstream_sees_its_own_credential_and_none_of_the_clients(provider, stub):
    headers = (
        (b"Authorization", b"Bearer sk-client"),
        (b"X-Api-Key", b"sk-client"),
        (b"Api-Key", b"sk-client"),
        (b"X-Goog-Api-Key", b"sk-client"),
        (b"X-Amz-Security-Token", b"sk-client"),
    )
    await collect(provider, call(stream=True, headers=headers))
    seen = [value for _, value in stub.log.entries[0].headers]
    assert sum(KEY in value for value in seen) == 1
    assert not any("sk-client" in value for value in seen)


FAULTS = [
    (Fault(fault=FaultKind.STATUS, status=400), UpstreamRejectedError),
    (Fault(fault=FaultKind.STATUS, status=401), UpstreamMisconfiguredError),
    (Fault(fault=FaultKind.STATUS, status=404), UpstreamMisconfiguredError),
    (Fault(fault=FaultKind.STATUS, status=413), UpstreamRejectedError),
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
STREAM_FAULTS = [
    (Fault(fault=FaultKind.END_WITHOUT_DONE), UpstreamUnavailableError),
    (Fault(fault=FaultKind.GARBAGE_SSE), UpstreamInvalidResponseError),
    (Fault(fault=FaultKind.ERROR_EVENT), UpstreamUnavailableError),
]
CASES = [
    *((fault, error, stream) for fault, error in FAULTS for stream in (True, False)),
    *((fault, error, True) for fault, error in STREAM_FAULTS),
]


@pytest.mark.parametrize(
    ("fault", "error", "stream"),
    CASES,
    ids=[f"{f.fault}-{f.status}-{'stream' if s else 'whole'}" for f, _, s in CASES],
)
async def test_every_fault_raises_its_error_and_leaves_the_provider_usable(
    provider, stub, fault, error, stream
):
    stub.faults.add(fault)
    timeout_s = 0.1 if error is UpstreamTimeoutError else 60.0
    with pytest.raises(UpstreamError) as raised:
        await collect(provider, call(stream=stream, timeout_s=timeout_s))
    assert type(raised.value) is error
    assert KEY not in raised.value.message
    if fault.fault is FaultKind.STATUS:
        assert raised.value.status == fault.status
        assert raised.value.retry_after_s == fault.retry_after_s
    if raised.value.body is not None:
        told = json.loads(raised.value.body)["error"]
        assert told.keys() >= {"message", "type", "param", "code"}
    assert await collect(provider, call(stream=stream))


async def test_prompt_that_is_too_long_may_be_tried_elsewhere(provider, stub):
    fault = Fault(fault=FaultKind.STATUS, status=400, code="context_length_exceeded")
    stub.faults.add(fault)
    with pytest.raises(UpstreamContextLengthError) as raised:
        await collect(provider, call(stream=True))
    assert raised.value.retryable
    assert json.loads(raised.value.body)["error"]["code"] == "context_length_exceeded"


async def test_what_was_said_before_a_failure_is_delivered(provider, stub):
    stub.faults.add(Fault(fault=FaultKind.RESET_MID_STREAM, after_chunks=5))
    chunks: list[Chunk] = []

    async def consume() -> None:
        async for chunk in provider.send(call(stream=True)):
            chunks.append(chunk)  # noqa: PERF401 - what came before the error is to be kept

    with pytest.raises(UpstreamUnavailableError):
        await consume()
    assert said(chunks).startswith("This is")


@pytest.mark.parametrize("stream", [True, False])
async def test_answer_that_drips_byte_by_byte_is_the_same_answer(provider, stub, stream):
    plain = await collect(provider, call(stream=stream, max_tokens=5))
    stub.faults.add(Fault(fault=FaultKind.SLOW_DRIP))
    dripped = await collect(provider, call(stream=stream, max_tokens=5))
    told = [[each.usage for each in chunks if each.usage] for chunks in (dripped, plain)]
    assert told[0][-1] == told[1][-1]
    if stream:
        assert said(dripped) == said(plain)


async def test_closing_the_generator_early_drops_the_connection_at_once(provider, stub):
    stub.faults.add(Fault(fault=FaultKind.STALL_MID_STREAM))
    async with aclosing(provider.send(call(stream=True))) as chunks:
        await anext(chunks)
    assert await stub.log.wait_for(Ended.CLIENT_GONE, timeout_s=60)


async def test_closing_without_ever_sending_is_fine(kind):
    await make(kind, "http://127.0.0.1:9").aclose()
