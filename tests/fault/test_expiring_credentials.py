"""Upstreams that are shown a token, and refuse it when it has expired."""

import asyncio
import json
import sys
from contextlib import asynccontextmanager

import pytest

from app.errors import UpstreamMisconfiguredError, UpstreamTimeoutError
from app.http_client.transport import HttptoolsTransport
from app.providers.base import Identity, ModelCall, Timeouts
from app.providers.vertex import VertexProvider
from tests.support.fixtures import fixture
from tests.support.raw_server import Peer, raw_server

REFUSED = {"error": {"code": 401, "message": "Expired: ya29.canary-0", "status": "UNAUTHENTICATED"}}
COUNTING = """
import pathlib, sys
count = pathlib.Path(sys.argv[1])
n = int(count.read_text()) if count.exists() else 0
count.write_text(str(n + 1))
print(f"ya29.canary-{n}")
"""


def call(*, timeout_s: float = 60.0) -> ModelCall:
    return ModelCall(
        request_id="r",
        upstream_model="gemini-3-flash",
        fields={"messages": b'[{"role":"user","content":"hi"}]'},
        stream=False,
        timeouts=Timeouts(first_token_s=timeout_s),
    )


def answering(tokens: list[str], *statuses: int):
    """Answer request after request, on whichever connection it comes."""
    left = list(statuses)

    async def script(peer: Peer) -> None:
        while True:
            head, _ = await peer.request()
            status = left.pop(0)
            assert head.startswith(b"POST /v1/projects/p/models/gemini-3-flash:generateContent ")
            lines = dict(line.split(b": ", 1) for line in head.split(b"\r\n")[1:] if line)
            tokens.append(lines[b"Authorization"].decode())
            body = fixture("gemini/answer.json") if status == 200 else json.dumps(REFUSED).encode()
            head = b"HTTP/1.1 %d X\r\ncontent-length: %d\r\n\r\n" % (status, len(body))
            await peer.send(head + body)

    return script


@asynccontextmanager
async def serving(tmp_path, *scripts, command=()):
    told = command or (sys.executable, "-c", COUNTING, str(tmp_path / "count"))
    async with raw_server(*scripts) as server:
        provider = VertexProvider(
            base_url=f"{server.origin}/v1/projects/p",
            api_key=None,
            transport=HttptoolsTransport(),
            identity=Identity(token_command=told),
        )
        yield provider
        await provider.aclose()


async def test_a_refused_token_is_fetched_anew_and_the_request_sent_once_more(tmp_path):
    tokens: list[str] = []
    async with serving(tmp_path, answering(tokens, 200, 401, 200)) as provider:
        for _ in range(2):
            chunks = [chunk async for chunk in provider.send(call())]
            assert chunks[0].finish_reason == "tool_calls"
    assert tokens == [f"Bearer ya29.canary-{n}" for n in (0, 0, 1)]


async def test_a_token_that_is_refused_twice_is_the_operators_to_mend(tmp_path):
    tokens: list[str] = []
    async with serving(tmp_path, answering(tokens, 401, 401)) as provider:
        with pytest.raises(UpstreamMisconfiguredError) as raised:
            [chunk async for chunk in provider.send(call())]
    assert len(tokens) == 2
    assert "canary" not in raised.value.message
    assert raised.value.body is None


async def test_a_command_that_never_ends_costs_no_longer_than_an_answer_may(tmp_path):
    never = (sys.executable, "-c", "import time; time.sleep(60)")
    async with serving(tmp_path, command=never) as provider:
        model_call = call(timeout_s=0.2)
        async with asyncio.timeout(20):
            with pytest.raises(UpstreamTimeoutError):
                [chunk async for chunk in provider.send(model_call)]
        assert not model_call.progress.sent
