"""What upstreams were sent is what budgets and token limits were charged, however it ended."""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable

import httpx
import pytest

from app.access.guard import ANONYMOUS
from routers.text.token_estimate import estimate_tokens
from routers.types import Conversation
from tests.support.raw_server import Peer, raw_server
from tests.support.stores import new_prefix

MODEL = "sim-large"
PROMPT = "What does a steelyard weigh? " * 200
PROMPT_TOKENS = estimate_tokens(Conversation.of(PROMPT))
N = 5

Answer = Callable[[Peer], Awaitable[None]]


class Upstream:
    """Reads requests, counts them, and answers as `answer` does."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.bodies: list[dict[str, object]] = []
        self.read = asyncio.Event()

    async def __call__(self, peer: Peer) -> None:
        while True:
            _, body = await peer.request()
            self.bodies.append(json.loads(body))
            self.read.set()
            await self.answer(peer)


async def silence(peer: Peer) -> None:
    await peer.gone()


def event(delta: dict[str, object], **fields: object) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": None, **fields}
    chunk = {"id": "c", "object": "chat.completion.chunk", "model": MODEL, "choices": [choice]}
    return b"data: %b\n\n" % json.dumps(chunk).encode()


STREAM = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n"
WORDS = b"".join(event({"content": "word "}) for _ in range(7))


async def words(peer: Peer) -> None:
    await peer.send(STREAM + event({"role": "assistant", "content": ""}) + WORDS)
    await peer.gone()


async def dies(peer: Peer) -> None:
    peer.reset()


async def garbage(peer: Peer) -> None:
    await peer.answer(b"<html>", headers=b"content-type: text/html\r\n")


def whole(**usage: int) -> bytes:
    message = {"role": "assistant", "content": "word " * 200}
    body = {"model": MODEL, "choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}
    return json.dumps({**body, "usage": usage} if usage else body).encode()


async def breaks_off(peer: Peer) -> None:
    body = whole()
    head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
    await peer.send(head % len(body) + body[:-5])
    peer.writer.close()


@pytest.fixture(params=["memory", "redis"])
def store(request):
    """Return the changes and the environment of each kind of store."""
    if request.param == "memory":
        return {}, {}
    server = request.getfixturevalue("redis_server")
    changes = {"store": {"kind": "redis", "prefix": new_prefix(), "timeout_s": 5.0}}
    return changes, {"STEELYARD_REDIS_URL": server.url}


@pytest.fixture
def start(fresh_gateway, store):
    def start(origin, **changes):
        kind, env = store
        changes = {
            "upstreams.stub": {
                "base_url": f"{origin}/v1",
                "timeouts": {"first_token_s": 30, "whole_answer_s": 30},
                "retries": 0,
            },
            "breaker.failures": 1_000,
            **kind,
            **changes,
        }
        return fresh_gateway(changes, env=env)

    return start


def prices(gateway):
    return gateway.app.state.steelyard.config.specs[MODEL].prices


async def account(gateway):
    """Return where the only key stands once nothing runs any more."""
    deadline = asyncio.get_running_loop().time() + 60
    while True:
        (standing, *_) = await asyncio.wrap_future(
            asyncio.run_coroutine_threadsafe(
                gateway.app.state.steelyard.standings(ANONYMOUS), gateway.loop
            )
        )
        if not standing.in_flight:
            return standing
        assert asyncio.get_running_loop().time() < deadline, standing
        await asyncio.sleep(0.01)


def body(**fields: object) -> bytes:
    messages = [{"role": "user", "content": PROMPT}]
    return json.dumps({"model": MODEL, "messages": messages, **fields}).encode()


async def leave(gateway, upstream, *, heard: bytes = b"", **fields: object) -> None:
    """Ask, and be gone as soon as the upstream has read it and the client has heard that much."""
    upstream.read.clear()
    host, _, port = gateway.url.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    asked = body(**fields)
    head = b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
    writer.write(head + b"content-length: %d\r\n\r\n" % len(asked) + asked)
    reading = asyncio.ensure_future(reader.readuntil(heard) if heard else upstream.read.wait())
    await asyncio.wait_for(reading, 60)
    writer.transport.abort()


async def ask(gateway, **fields: object) -> httpx.Response:
    async with httpx.AsyncClient(trust_env=False, timeout=30) as client:
        return await client.post(
            f"{gateway.url}/v1/chat/completions",
            content=body(**fields),
            headers={"content-type": "application/json"},
        )


def budgets(usd: float):
    return {"allowances.key.budgets": [{"usd": usd, "period": "month"}]}


@pytest.mark.parametrize(
    ("answer", "fields", "output_tokens"),
    [
        (silence, {}, 0),
        (silence, {"stream": True}, 0),
        (words, {"stream": True}, 7),
    ],
)
async def test_clients_that_leave_pay_for_what_was_sent(start, answer, fields, output_tokens):
    upstream = Upstream(answer)
    async with raw_server(upstream) as raw:
        gateway = start(raw.origin, **budgets(10))
        for _ in range(N):
            await leave(gateway, upstream, heard=WORDS[-40:] if output_tokens else b"", **fields)
        standing = await account(gateway)
    assert len(upstream.bodies) == N
    cost_usd = prices(gateway).cost_usd(input_tokens=PROMPT_TOKENS, output_tokens=output_tokens)
    (budget,) = standing.budgets
    assert budget.spent_nusd == pytest.approx(N * cost_usd * 1e9, abs=N)
    assert budget.reserved_nusd == 0


@pytest.mark.parametrize(
    ("answer", "changes", "output_tokens"),
    [
        (dies, {}, 0),
        (garbage, {}, 0),
        (breaks_off, {}, 220),
        # Soon over, but not before all have been sent, however busy the machine is.
        (silence, {"upstreams.stub.timeouts": {"whole_answer_s": 2}}, 0),
        (silence, {"server.request_timeout_s": 2}, 0),
    ],
)
async def test_calls_that_fail_are_paid_for_what_was_sent(start, answer, changes, output_tokens):
    upstream = Upstream(answer)
    async with raw_server(upstream) as raw:
        gateway = start(raw.origin, **budgets(10), **changes)
        responses = await asyncio.gather(*(ask(gateway) for _ in range(N)))
        standing = await account(gateway)
    assert {response.status_code for response in responses} <= {502, 504}
    assert len(upstream.bodies) == N
    (budget,) = standing.budgets
    least_usd, most_usd = (
        prices(gateway).cost_usd(input_tokens=PROMPT_TOKENS, output_tokens=n)
        for n in (output_tokens * 0.8, output_tokens * 1.2)
    )
    assert N * least_usd * 1e9 - N <= budget.spent_nusd <= N * most_usd * 1e9 + N
    told_usd = sum(float(response.headers["x-route-cost-usd"]) for response in responses)
    assert told_usd == pytest.approx(budget.spent_nusd / 1e9, rel=1e-3)


async def test_calls_that_were_refused_or_never_sent_cost_nothing(start):
    async def busy(peer: Peer) -> None:
        await peer.send(b"HTTP/1.1 500 no\r\ncontent-length: 0\r\n\r\n")

    upstream = Upstream(busy)
    async with raw_server(upstream) as raw:
        gateway = start(raw.origin, **budgets(10))
        assert (await ask(gateway)).status_code == 502
        assert len(upstream.bodies) == 1
    assert (await ask(gateway)).status_code == 502  # and now nobody listens
    (budget,) = (await account(gateway)).budgets
    assert (budget.spent_nusd, budget.reserved_nusd) == (0, 0)


async def test_who_always_leaves_early_comes_to_the_end_of_a_budget(start):
    upstream = Upstream(silence)
    async with raw_server(upstream) as raw:
        gateway = start(raw.origin, **budgets(10))
        prompt_usd = prices(gateway).cost_usd(input_tokens=PROMPT_TOKENS, output_tokens=0)
    async with raw_server(upstream) as raw:
        limit_usd = 4 * prompt_usd
        gateway = start(raw.origin, **budgets(limit_usd))
        while True:
            refused = asyncio.ensure_future(ask(gateway, max_tokens=1))
            reading = asyncio.ensure_future(upstream.read.wait())
            upstream.read.clear()
            await asyncio.wait({refused, reading}, return_when=asyncio.FIRST_COMPLETED)
            reading.cancel()
            if refused.done():
                break
            refused.cancel()
            await account(gateway)
        (budget,) = (await account(gateway)).budgets
    # The cautious estimate of the prompt has to fit: that is a third more than the prompt.
    assert 0.5 * limit_usd < budget.spent_nusd / 1e9 <= limit_usd
    assert len(upstream.bodies) == pytest.approx(budget.spent_nusd / 1e9 / prompt_usd, abs=0.01)
    response = refused.result()
    assert response.status_code == 429
    assert response.json()["error"]["code"] == "key_budget_exceeded"
    assert "is left, too little of it" in response.json()["error"]["message"]
    assert response.headers["x-should-retry"] == "false"


async def test_who_leaves_early_uses_up_a_token_limit(start):
    upstream = Upstream(silence)
    async with raw_server(upstream) as raw:
        limit = 4 * N * PROMPT_TOKENS
        gateway = start(raw.origin, **{"allowances.key.limits": {"tokens_per_minute": limit}})
        began = time.monotonic()
        for _ in range(N):
            await leave(gateway, upstream)
        standing = await account(gateway)
        passed_s = time.monotonic() - began
    # Some of it has come back by now: a limit of a minute sinks.
    back = limit * passed_s / 60
    assert limit - standing.tokens.remaining >= 0.95 * N * PROMPT_TOKENS - back
    assert limit - standing.tokens.remaining < 1.05 * N * PROMPT_TOKENS


async def test_the_counts_that_come_after_the_last_word_are_waited_for(start):
    """The client has all it wants to see; what it cost in hidden reasoning comes a moment later."""
    left = asyncio.Event()

    async def reasons(peer: Peer) -> None:
        await peer.send(STREAM + event({"content": "Yes."}) + event({}, finish_reason="stop"))
        await left.wait()
        usage = {"prompt_tokens": 70, "completion_tokens": 5_001, "total_tokens": 5_071}
        usage["completion_tokens_details"] = {"reasoning_tokens": 5_000}
        last = json.dumps({"id": "c", "choices": [], "usage": usage}).encode()
        await peer.send(b"data: %b\n\ndata: [DONE]\n\n" % last)
        await peer.gone()

    upstream = Upstream(reasons)
    async with raw_server(upstream) as raw:
        gateway = start(raw.origin, **budgets(10))
        await leave(gateway, upstream, heard=b'"stop"', stream=True)
        left.set()
        (budget,) = (await account(gateway)).budgets
    cost_usd = prices(gateway).cost_usd(input_tokens=70, output_tokens=5_001)
    assert budget.spent_nusd == pytest.approx(cost_usd * 1e9, abs=1)


async def test_long_answers_at_once_never_cost_more_than_the_budget(start):
    """The upstream writes as much as it may, and far more than anybody expected."""

    async def long(peer: Peer) -> None:
        limit = upstream.bodies[-1].get("max_tokens", 4_096)
        usage = {"prompt_tokens": PROMPT_TOKENS, "completion_tokens": limit}
        await peer.answer(whole(**usage), headers=b"content-type: application/json\r\n")

    upstream = Upstream(long)
    async with raw_server(upstream) as raw:
        gateway = start(raw.origin, **budgets(10))
        spec = gateway.app.state.steelyard.config.specs[MODEL]
        one_usd = spec.prices.cost_usd(input_tokens=2 * PROMPT_TOKENS, output_tokens=4_096)
    async with raw_server(upstream) as raw:
        limit_usd = 2.5 * one_usd
        gateway = start(raw.origin, **budgets(limit_usd))
        answers = await asyncio.gather(
            *(ask(gateway, **({"max_tokens": 2_000} if i % 2 else {})) for i in range(20))
        )
        (budget,) = (await account(gateway)).budgets
    served = [each for each in answers if each.status_code == 200]
    refused = [each for each in answers if each.status_code != 200]
    assert served
    assert refused
    assert budget.spent_nusd <= limit_usd * 1e9
    assert budget.reserved_nusd == 0
    told = sum(each.json()["usage"]["cost_usd"] for each in served)
    assert budget.spent_nusd / 1e9 == pytest.approx(told, abs=1e-8 * len(served))
    for each in refused:
        assert each.status_code == 429
        assert "budget of $" in each.json()["error"]["message"]
