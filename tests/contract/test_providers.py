"""What every provider kind promises; a new kind joins by a line in `MAKE`."""

import inspect
import json
from collections.abc import Callable, Mapping

import pytest

from app.errors import UpstreamError
from app.providers._base import PROVIDERS, ModelCall, Provider, Timeouts
from app.providers._transport import HttptoolsTransport
from app.providers.openai import OpenAIProvider
from app.stub.faults import Fault, FaultKind
from app.stub.server import StubServer
from routers.errors import RoutingConfigError

MAKE: Mapping[str, Callable[[str], Provider]] = {
    "openai": lambda base_url: OpenAIProvider(
        base_url=base_url, api_key="sk", transport=HttptoolsTransport()
    ),
}

pytestmark = pytest.mark.parametrize("kind", PROVIDERS.kinds())


def call(*, stream: bool) -> ModelCall:
    return ModelCall(
        request_id="r",
        upstream_model="sim-nano",
        fields={"messages": b'[{"role":"user","content":"hi"}]'},
        stream=stream,
        timeouts=Timeouts(first_token_s=5, idle_s=5),
    )


def test_kind_names_a_class_with_the_two_methods(kind):
    cls = PROVIDERS.get(kind)
    assert inspect.isasyncgenfunction(cls.send)
    assert inspect.iscoroutinefunction(cls.aclose)


def test_unknown_kind_lists_the_known_ones(kind):
    with pytest.raises(RoutingConfigError, match=kind):
        PROVIDERS.get("no-such-kind")


async def test_whole_answer_is_a_stream_of_one_chunk(kind):
    async with StubServer(speed=0) as stub:
        provider = MAKE[kind](stub.base_url)
        chunks = [chunk async for chunk in provider.send(call(stream=False))]
        await provider.aclose()
    (chunk,) = chunks
    assert json.loads(chunk.data)["choices"]
    assert chunk.has_content
    assert chunk.usage is not None
    assert chunk.response_model == "sim-nano"


async def test_stream_is_whole_canonical_events_and_tells_usage_once(kind):
    async with StubServer(speed=0) as stub:
        provider = MAKE[kind](stub.base_url)
        chunks = [chunk async for chunk in provider.send(call(stream=True))]
        await provider.aclose()
    for chunk in chunks:
        *events, rest = chunk.data.split(b"\n\n")
        assert rest == b""
        for event in events:
            assert json.loads(event.removeprefix(b"data: "))["choices"]
    assert sum(chunk.usage_event is not None for chunk in chunks) == 1
    assert all(not chunk.headers for chunk in chunks[1:])


@pytest.mark.parametrize("stream", [True, False])
async def test_failure_is_an_upstream_error(kind, stream):
    async with StubServer(speed=0, faults=[Fault(fault=FaultKind.STATUS)]) as stub:
        provider = MAKE[kind](stub.base_url)
        with pytest.raises(UpstreamError) as raised:
            await anext(provider.send(call(stream=stream)))
        await provider.aclose()
    assert raised.value.status == 503
    assert raised.value.retryable


async def test_closing_without_ever_sending_is_fine(kind):
    await MAKE[kind]("http://127.0.0.1:9/v1").aclose()
