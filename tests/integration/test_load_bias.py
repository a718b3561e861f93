"""Models near what their deployments take, on real sockets and a real Redis."""

import asyncio
import uuid

import httpx
import pytest

from app.assembly.gauges import sample

NANO, LARGE = "sim-nano", "sim-large"
TAKES = {"upstream": "stub", "requests_per_minute": 60}
POLICY = {
    "router": "carrot", "candidates": [NANO, LARGE], "default_model": NANO,
    "cost_quality": 0.9, "load": {"target": 0.9},
}  # fmt: skip
CHANGES = {
    "policies.near": POLICY,
    f"models.{LARGE}": {"deployments": [TAKES], "spec": "gpt-5.5", "predicted_as": "gpt-5"},
}
ASK = {
    "model": "auto:near", "max_tokens": 30,
    "messages": [{"role": "user", "content": "Prove that there are infinitely many primes."}],
}  # fmt: skip
STEP_S = 4.0


class Clocked:
    """Has a gateway weigh its load as if so much time had passed."""

    def __init__(self, gateway):
        self.gateway = gateway
        self.now = gateway.app.state.steelyard.resources.clock() + 1_000.0

    def exchange(self, n=1):
        state = self.gateway.app.state.steelyard

        async def weigh():
            for _ in range(n):
                self.now += STEP_S
                await state.serving.loads.exchange(state.store.store.registers, self.now)

        asyncio.run_coroutine_threadsafe(weigh(), self.gateway.loop).result(30)

    @property
    def prices(self):
        return dict(self.gateway.app.state.steelyard.serving.loads.of["near"].prices.prices)


@pytest.fixture
def client():
    with httpx.Client(timeout=60) as client:
        yield client


def ask(client, gateway, **more):
    answer = client.post(f"{gateway.openai_url}/chat/completions", json=ASK | more)
    assert answer.status_code == 200, answer.text
    return answer


def decided(client, gateway):
    return client.post(f"{gateway.openai_url}/route", json=ASK).json()


def test_a_model_near_its_limit_costs_more_until_it_is_not_near_any_more(fresh_gateway, client):
    gateway = fresh_gateway(CHANGES)
    clocked = Clocked(gateway)
    clocked.exchange()
    before = decided(client, gateway)
    assert (before["model"], before["load"]) == (LARGE, [])
    for _ in range(8):
        for _ in range(12):  # three a second, of one
            ask(client, gateway, model=LARGE)
        clocked.exchange()
    near = decided(client, gateway)
    (told,) = near["load"]
    assert told["model"] == LARGE
    assert told["used"] > 0.9
    assert told["price_quality"] == pytest.approx(clocked.prices[LARGE], abs=1e-6)
    surcharges = {each["model"]: each["surcharge_usd"] for each in near["candidates"]}
    assert surcharges[LARGE] == pytest.approx(told["surcharge_usd"])
    assert surcharges[NANO] == 0.0
    assert "costs $" in told["why"]
    shown = {"gateway_load_price": clocked.prices[LARGE], "gateway_load_used_ratio": told["used"]}
    asyncio.run_coroutine_threadsafe(sample(gateway.app.state.steelyard), gateway.loop).result(30)
    lines = client.get(f"{gateway.url}/metrics").text.splitlines()
    for name, value in shown.items():
        (line,) = [each for each in lines if each.startswith(f"{name}{{") and LARGE in each]
        assert float(line.rpartition(" ")[2]) == pytest.approx(value, abs=1e-4)
    clocked.exchange(60)
    assert clocked.prices == {}
    after = decided(client, gateway)
    assert (after["model"], after["load"]) == (LARGE, [])


def test_alike_requests_move_to_another_model_once_the_price_outweighs_its_quality(
    fresh_gateway, client
):
    # How loads even out where requests differ, and 429s with it, is simulated: `load-bias`.
    gateway = fresh_gateway(CHANGES)
    clocked = Clocked(gateway)
    clocked.exchange()
    served, prices = [], []
    for _ in range(40):
        prices.append(clocked.prices.get(LARGE, 0.0))
        (model,) = {ask(client, gateway).headers["x-route-model"] for _ in range(8)}
        served.append(model)
        clocked.exchange()
    moved = [price for price, model in zip(prices, served, strict=True) if model == NANO]
    stayed = [price for price, model in zip(prices, served, strict=True) if model == LARGE]
    assert (served[0], prices[0]) == (LARGE, 0.0)
    assert moved
    assert min(moved) >= max(stayed)


def test_two_gateways_add_up_what_they_ask(fresh_gateway, redis_server, client):
    shared = CHANGES | {"store": {"kind": "redis", "prefix": f"load{uuid.uuid4().hex}"}}
    env = {"STEELYARD_REDIS_URL": redis_server.url}
    clocked = [Clocked(fresh_gateway(shared, env=env)) for _ in range(2)]
    for each in clocked:
        each.exchange()
    for _ in range(6):
        for each in clocked:
            for _ in range(3):  # .75 a second each, of one
                ask(client, each.gateway, model=LARGE)
            each.exchange()
    first, second = (each.prices for each in clocked)
    assert first[LARGE] > 0
    assert second[LARGE] == pytest.approx(first[LARGE], rel=0.5)
