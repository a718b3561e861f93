"""What requests teach is shared by gateways and survives them, on a real Redis and real files."""

import asyncio
import contextlib
import signal
from contextlib import AsyncExitStack

import httpx
import msgspec
import numpy as np
import pytest

from app.assembly.active_config import prepare
from app.assembly.gauges import sample
from app.assembly.reload import Staged
from tests.support.gateway import GatewayThread, stub_config
from tests.support.processes import gateway_process, write_config
from tests.support.redis_server import RedisServer, until
from tests.support.several import JUDGE, LARGE, NANO, THRESHOLD, Models, changes_for

POLICY = "learning"
WORKFLOW = {**THRESHOLD, "memory": None}
"""Asks both models and has both verified; nothing fades, so that verdicts can be counted."""
ASK = {"model": f"auto:{POLICY}", "messages": [{"role": "user", "content": "(A) or (B)?"}]}
BEST = {"x-cost-quality": "1"}


@pytest.fixture(scope="module")
def served_models():
    with Models() as server:
        yield server
        server.release.set()


@pytest.fixture
def models(served_models):
    """Have the cheap model right and the strong one wrong, unlike what the router predicts."""
    served_models.reset()
    served_models.said |= {NANO: "RIGHT", LARGE: "WRONG", JUDGE: grade}
    return served_models


def grade(body):
    return "5" if "RIGHT" in body["messages"][-1]["content"].split("<answer-")[1] else "1"


def asked_first(answer):
    return answer.json()["model"]


async def ask(gateway, n=1):
    async with gateway.client() as client:
        for _ in range(n):
            answer = await client.post("/v1/chat/completions", json=ASK, headers=BEST)
            assert answer.status_code == 200, answer.text


async def decided(gateway):
    async with gateway.client() as client:
        return asked_first(await client.post("/v1/route", json=ASK, headers=BEST))


async def stop(gateway):
    gateway.process.send_signal(signal.SIGTERM)
    await gateway.process.wait()


def n_kept(redis):
    """Return how many verdicts stand in Redis."""
    with contextlib.closing(redis.client()) as client:
        client.connection_pool.connection_kwargs["decode_responses"] = False
        total = 0
        for name in client.keys("{lessons:registers}:*"):
            kept = msgspec.msgpack.decode(client.hget(name, "value"))
            if len(kept) != 3:  # what is watched of models stands in registers as well
                continue
            shape, numbers = kept[2]["tried"]
            total += np.frombuffer(numbers).reshape(shape).sum()
        return total


async def test_gateways_learn_from_each_other_and_nothing_is_lost_or_counted_twice(
    models, tmp_path
):
    changes = {
        **changes_for(models.url, {POLICY: WORKFLOW}),
        "store": {"kind": "redis", "prefix": "lessons"},
        "server.max_lag_s": 60,
        "server.drain_s": 0,
    }
    config = write_config(tmp_path / "gateway.yaml", models.url, changes)

    async def all_kept():
        return n_kept(redis) == models.asked.count(JUDGE)

    with RedisServer(tmp_path / "redis") as redis:
        env = {"STEELYARD_REDIS_URL": redis.url}
        async with AsyncExitStack() as stack:
            one, two = await asyncio.gather(
                *[stack.enter_async_context(gateway_process(config, env=env)) for _ in range(2)]
            )
            assert await decided(two) == LARGE
            await ask(one, n=25)

            async def told():
                return await decided(two) == NANO

            await until(told)
            await until(all_kept)
            redis.kill()
            await asyncio.gather(ask(one, n=4), ask(two, n=3))
            redis.start()  # with nothing of what it knew
            await until(all_kept)
            await ask(two, n=2)
            await asyncio.gather(stop(one), stop(two))
            assert await all_kept()


def test_what_was_learned_survives_restarts_and_reloads_but_no_other_bins(
    models, artifacts, tmp_path
):
    def serving(**options):
        changes = {
            **changes_for(models.url, {POLICY: {**WORKFLOW, **options}}),
            "store.data_dir": "data",
        }
        return stub_config(tmp_path, models.url, changes=changes)

    def first(client):
        return asked_first(client.post("/v1/route", json=ASK, headers=BEST))

    def post(client, path, **fields):
        answer = client.post(path, headers=BEST, **fields)
        assert answer.status_code == 200, answer.text
        return answer

    def reload(gateway, config):
        policies, names = prepare(config, artifacts)
        staged = Staged(config=config, version="new", policies=policies, names=names)
        gateway.loop.call_soon_threadsafe(gateway.app.state.reloader.apply, staged)

    with served(serving(), artifacts) as (_, client):
        assert first(client) == LARGE
        for _ in range(25):
            post(client, "/v1/chat/completions", json=ASK)
        assert first(client) == NANO
    with served(serving(), artifacts) as (gateway, client):
        assert first(client) == NANO
        post(client, "/v1/chat/completions", json=ASK)
        asyncio.run_coroutine_threadsafe(sample(gateway.app.state.steelyard), gateway.loop).result()
        metrics = client.get("/metrics").text
        for bound in ("estimate", "low", "high"):
            labels = f'bound="{bound}",policy="{POLICY}"'
            assert f"gateway_learned_threshold{{{labels}}}" in metrics
        reload(gateway, serving(checked=0.5))
        assert first(client) == NANO
        reload(gateway, serving(bins=4))
        assert first(client) == LARGE
        reload(gateway, serving())
        while first(client) != NANO:  # once it has read what was known of old
            pass


@contextlib.contextmanager
def served(config, artifacts):
    with (
        GatewayThread(config, artifacts=artifacts) as gateway,
        httpx.Client(base_url=gateway.url, trust_env=False, timeout=60) as client,
    ):
        yield gateway, client
