"""The body of a large request is not made on the event loop."""

import threading
from contextlib import aclosing

import httpx
import pytest

from app.providers.anthropic import AnthropicProvider
from app.providers.base import ModelCall, Timeouts
from app.providers.openai import OpenAIProvider

ANSWER = (
    b'{"id":"a","object":"chat.completion","choices":[{"index":0,"message":'
    b'{"role":"assistant","content":"hi"},"finish_reason":"stop"}]}'
)
MESSAGE = (
    b'{"id":"a","type":"message","role":"assistant","model":"m","content":'
    b'[{"type":"text","text":"hi"}],"stop_reason":"end_turn",'
    b'"usage":{"input_tokens":1,"output_tokens":1}}'
)


def answering(provider_class, body):
    """Return a provider that notes where it makes its bodies, and whose upstream answers."""

    class Noting(provider_class):
        threads: list = []  # noqa: RUF012  (of this one test)

        def _encode(self, call):
            self.threads.append(threading.current_thread())
            return super()._encode(call)

    def answer(_request):
        return httpx.Response(200, content=body, headers={"content-type": "application/json"})

    return Noting(base_url="http://upstream/v1", api_key="k", transport=httpx.MockTransport(answer))


@pytest.mark.parametrize(
    ("provider_class", "body", "n_bytes"),
    [(OpenAIProvider, ANSWER, 300_000), (AnthropicProvider, MESSAGE, 20_000)],
)
async def test_a_large_body_is_made_in_a_thread_and_a_small_one_is_not(
    provider_class, body, n_bytes
):
    provider = answering(provider_class, body)
    for size in (10, n_bytes):
        call = ModelCall(
            request_id="r",
            upstream_model="m",
            fields={"messages": b'[{"role":"user","content":"%b"}]' % (b"x" * size)},
            stream=False,
            timeouts=Timeouts(),
        )
        async with aclosing(provider.send(call)) as chunks:
            assert b"hi" in b"".join([chunk.data async for chunk in chunks])
    here = threading.current_thread()
    assert [thread is here for thread in provider.threads] == [True, False]
