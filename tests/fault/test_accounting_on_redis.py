"""One budget, two gateway processes, one Redis: nobody spends what is not there."""

import asyncio
import time

import pytest

from loadtest.fault_proxy import FaultProxy, ProxyFault
from tests.support.processes import gateway_process, write_config
from tests.support.stores import new_prefix

N_REQUESTS = 1_000
BUDGET_USD = 0.06
REQUEST_TIMEOUT_S = 6.0
SLOW = {ProxyFault.LATENCY: 1.0}


@pytest.fixture
async def proxy(stub):
    async with FaultProxy(upstream=stub.origin, shares=SLOW, latency_s=0.1) as proxy:
        yield proxy


@pytest.fixture
def configured(tmp_path, proxy, redis_server):
    def configured(**changes):
        changes = {
            "store": {"kind": "redis", "prefix": new_prefix(), "timeout_s": 10.0},
            "auth.mode": "keys",
            # 500 at once, on whatever else the machine does: nobody may be late.
            "upstreams.stub.timeouts": {"connect_s": 60},
            "server.head_timeout_s": 60,
            **changes,
        }
        file = write_config(tmp_path / "gateway.yaml", proxy.origin, changes)
        return file, {"STEELYARD_REDIS_URL": redis_server.url}

    return configured


def chat(number, *, model, max_tokens=None):
    text = f"r{number:04d}: what is the price of a lever?"
    body = {"model": model, "messages": [{"role": "user", "content": text}]}
    return body if max_tokens is None else {**body, "max_tokens": max_tokens}


async def new_key(gateway, **terms):
    async with gateway.client() as admin:
        made = (await admin.post("/admin/keys", json={"name": "shared", **terms})).json()
        return made["key_id"], made["secret"]


async def budget_of(gateway, key_id):
    async with gateway.client() as admin:
        answer = await admin.get(f"/admin/keys/{key_id}/standing")
        return answer.json()["scopes"][0]["budgets"][0]


async def test_a_thousand_requests_at_once_overspend_by_no_more_than_was_in_flight(configured):
    file, env = configured()
    async with gateway_process(file, env=env) as one, gateway_process(file, env=env) as two:
        key_id, secret = await new_key(one, budgets=[{"usd": BUDGET_USD, "period": "month"}])
        reserved = [0.0]

        async def watch():
            while True:
                reserved.append((await budget_of(two, key_id))["reserved_usd"])
                await asyncio.sleep(0.02)

        watching = asyncio.create_task(watch())
        async with one.client(token=secret) as first, two.client(token=secret) as second:

            def ask(i):
                return (first, second)[i % 2].post(
                    "/v1/chat/completions",
                    json=chat(
                        i,
                        model=("auto", "sim-large")[i % 4 < 2],
                        max_tokens=(None, 80)[i % 3 > 0],
                    ),
                )

            # A few first, so that both take part however the machine shares itself out.
            answers = await asyncio.gather(*map(ask, range(10)))
            answers += await asyncio.gather(*map(ask, range(10, N_REQUESTS)))
        watching.cancel()
        [stopped] = await asyncio.gather(watching, return_exceptions=True)
        assert isinstance(stopped, asyncio.CancelledError), stopped
        budget = await budget_of(two, key_id)

    served = [answer for answer in answers if answer.status_code == 200]
    refused = [answer for answer in answers if answer.status_code != 200]
    assert len(served) > 50
    assert len(refused) > 50
    for answer in refused:
        assert answer.status_code == 429
        assert answer.json()["error"]["code"] == "key_budget_exceeded"
    # Both took part, and what they told their clients is what the budget holds.
    by_gateway = [
        sum(answers[i].status_code == 200 for i in range(k, N_REQUESTS, 2)) for k in (0, 1)
    ]
    assert min(by_gateway) > 0
    told_usd = sum(float(answer.headers["x-route-cost-usd"]) for answer in served)
    assert budget["spent_usd"] == pytest.approx(told_usd, abs=1e-8 * len(served))
    assert budget["reserved_usd"] == 0
    assert max(reserved) > 0
    assert budget["spent_usd"] <= BUDGET_USD + max(reserved)
    # The estimates are cautious: in truth next to nothing is overspent.
    assert 0.1 * BUDGET_USD < budget["spent_usd"] <= 1.05 * BUDGET_USD


async def test_what_a_killed_gateway_had_reserved_is_free_again_after_a_while(configured, proxy):
    file, env = configured(**{"server.request_timeout_s": REQUEST_TIMEOUT_S})
    ask = chat(0, model="sim-medium", max_tokens=1_000)  # some $0.002
    async with gateway_process(file, env=env) as two:
        async with gateway_process(file, env=env) as one:
            key_id, secret = await new_key(two, budgets=[{"usd": 0.003, "period": "month"}])
            proxy.shares = {ProxyFault.STALL_BEFORE_HEADERS: 1.0}
            async with one.client(token=secret) as client:
                began = time.monotonic()
                hanging = asyncio.create_task(client.post("/v1/chat/completions", json=ask))
                while not (await budget_of(two, key_id))["reserved_usd"]:
                    assert not hanging.done()
                    await asyncio.sleep(0.01)
                await one.kill()
                [failure] = await asyncio.gather(hanging, return_exceptions=True)
                assert isinstance(failure, Exception)
        proxy.shares = {}
        assert (await budget_of(two, key_id))["reserved_usd"] > 0
        async with two.client(token=secret) as client:
            answer = await client.post("/v1/chat/completions", json=ask)
            assert answer.json()["error"]["code"] == "key_budget_exceeded"
            while answer.status_code != 200:
                assert time.monotonic() < began + 60
                await asyncio.sleep(0.05)
                answer = await client.post("/v1/chat/completions", json=ask)
            # Not before the request could have ended by itself.
            assert time.monotonic() > began + REQUEST_TIMEOUT_S
        budget = await budget_of(two, key_id)
        assert budget["reserved_usd"] == 0
        assert budget["spent_usd"] == pytest.approx(float(answer.headers["x-route-cost-usd"]))
