"""What a provider tells of a call that ends badly: was it sent, and how much of its answer came."""

import asyncio
import json
from contextlib import aclosing

import pytest

from app.errors import UpstreamError, UpstreamUnsupportedError
from app.http_client.transport import HttptoolsTransport
from app.providers.anthropic import AnthropicProvider
from app.providers.base import ModelCall, Progress, Timeouts
from app.providers.openai import OpenAIProvider
from tests.support.raw_server import Peer, close, once, raw_server, reset

ANSWER = json.dumps(
    {
        "model": "m",
        "choices": [
            {
                "message": {"content": 'she wrote "usage":{"prompt_tokens":1}' * 9},
                "finish_reason": "stop",
            }
        ],
        "usage": {"prompt_tokens": 70, "completion_tokens": 30},
    }
).encode()
ANTHROPIC_ANSWER = (
    b'{"type":"message","content":[{"type":"text","text":"hi"}],"stop_reason":"end_turn",'
    b'"usage":{"input_tokens":70,"output_tokens":30},"container":{"id":"x"}}'
)


def call(*, stream: bool = False, messages: bytes = b"[]", **timeouts: float) -> ModelCall:
    return ModelCall(
        request_id="r",
        upstream_model="m",
        fields={"messages": messages},
        stream=stream,
        timeouts=Timeouts(**timeouts),
        progress=Progress(sent=False),
    )


async def ended(provider, asked: ModelCall) -> None:
    """Make a call that fails."""
    try:
        with pytest.raises(UpstreamError):
            await anext(provider.send(asked))
    finally:
        await provider.aclose()


def openai(origin: str, **options) -> OpenAIProvider:
    return OpenAIProvider(
        base_url=f"{origin}/v1", api_key=None, transport=HttptoolsTransport(**options)
    )


def cut(body: bytes, *, missing: int):
    """Promise a whole answer and send all but its last bytes."""
    head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
    return once(head % len(body) + body[: len(body) - missing], then=close)


async def test_what_nobody_listens_to_was_not_sent():
    async with raw_server(once(b"")) as gone:
        origin = gone.origin
    asked = call()
    await ended(openai(origin), asked)
    assert not asked.progress.sent


async def test_what_waited_for_a_free_connection_in_vain_was_not_sent():
    async with raw_server(once(b"")) as silent:
        provider = openai(silent.origin, max_connections=1)
        first = call(first_token_s=60)
        async with aclosing(provider.send(first)) as busy:
            waiting = asyncio.ensure_future(anext(busy))
            while not first.progress.sent:
                await asyncio.sleep(0)
            asked = call(connect_s=0.01)
            await ended(provider, asked)
            assert not asked.progress.sent
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)


async def test_what_cannot_be_said_to_an_upstream_was_not_sent():
    provider = AnthropicProvider(
        base_url="http://127.0.0.1:9/v1", api_key=None, transport=HttptoolsTransport()
    )
    asked = call(messages=b'[{"role":"user","content":[{"type":"hologram"}]}]')
    with pytest.raises(UpstreamUnsupportedError):
        await anext(provider.send(asked))
    assert not asked.progress.sent


@pytest.mark.parametrize("then", [close, reset])
async def test_what_an_upstream_may_have_read_was_sent(then):
    async with raw_server(once(b"", then=then)) as server:
        asked = call()
        await ended(openai(server.origin), asked)
    assert asked.progress.sent
    assert asked.progress.heard_bytes == 0


async def test_a_call_that_is_given_up_was_sent():
    async with raw_server(once(b"")) as server:
        provider, asked = openai(server.origin), call()
        task = asyncio.ensure_future(anext(provider.send(asked)))
        while not asked.progress.sent:
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await provider.aclose()
    assert asked.progress.sent


@pytest.mark.parametrize("missing", [1, 2])
async def test_token_counts_that_came_with_a_cut_answer_are_told(missing):
    async with raw_server(cut(ANSWER, missing=missing)) as server:
        asked = call()
        await ended(openai(server.origin), asked)
    assert asked.progress.heard_bytes == len(ANSWER) - missing
    told = asked.progress.usage
    # Two bytes earlier even the counts are cut.
    assert (told and (told.input_tokens, told.output_tokens)) == (
        (70, 30) if missing == 1 else None
    )


async def test_anthropics_token_counts_are_found_in_a_cut_answer_too():
    async with raw_server(cut(ANTHROPIC_ANSWER, missing=20)) as server:
        provider = AnthropicProvider(
            base_url=f"{server.origin}/v1", api_key=None, transport=HttptoolsTransport()
        )
        asked = call(messages=b'[{"role":"user","content":"hi"}]')
        await ended(provider, asked)
    assert (asked.progress.usage.input_tokens, asked.progress.usage.output_tokens) == (70, 30)


async def test_an_answer_that_cannot_be_read_has_come_all_the_same():
    async with raw_server(cut(b"<html>" * 50, missing=0)) as server:
        asked = call()
        await ended(openai(server.origin), asked)
    assert asked.progress.heard_bytes == 300


async def test_a_whole_answer_that_is_given_up_in_the_middle_had_begun_to_come():
    async def half(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n" + b"x" * 400)
        await peer.gone()

    async with raw_server(half) as server:
        asked = call(first_token_s=2)
        await ended(openai(server.origin), asked)
    assert asked.progress.heard_bytes == 400
