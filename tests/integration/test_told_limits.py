"""Upstreams that tell their rate limits: none is asked beyond them while others serve."""

import asyncio
from datetime import UTC, datetime, timedelta

import httpx
import pytest

from tests.support.gateway import GatewayThread, stub_config
from tests.support.limited_upstream import LimitedUpstream


def as_openai(left):
    return {
        "x-ratelimit-limit-requests": "100",
        "x-ratelimit-remaining-requests": str(left),
        "x-ratelimit-reset-requests": "5h59m59.5s",
        "x-ratelimit-limit-tokens": "1000000",
        "x-ratelimit-remaining-tokens": "999000",
        "x-ratelimit-reset-tokens": "60ms",
    }


def as_anthropic(left):
    reset = datetime.now(UTC) + timedelta(hours=6)
    return {
        "anthropic-ratelimit-requests-limit": "100",
        "anthropic-ratelimit-requests-remaining": str(left),
        "anthropic-ratelimit-requests-reset": reset.isoformat(timespec="seconds"),
    }


def as_azure(left):
    return {"x-ratelimit-remaining-requests": str(left), "x-ratelimit-reset-requests": "20000"}


DIALECTS = [as_openai, as_anthropic, as_azure]


@pytest.fixture(params=DIALECTS, ids=lambda told: told.__name__)
def limited(request):
    with LimitedUpstream(5, request.param) as upstream:
        yield upstream


@pytest.fixture
def client():
    with httpx.Client(timeout=30, trust_env=False) as client:
        yield client


def ask(client, gateway, model="both", **headers):
    answer = client.post(
        f"{gateway.openai_url}/chat/completions",
        json={"model": model, "messages": [{"role": "user", "content": "What is 2 + 2?"}]},
        headers={name.replace("_", "-"): value for name, value in headers.items()},
    )
    assert answer.status_code == 200, answer.text
    return answer


def test_a_deployment_is_passed_over_before_it_turns_requests_away(limited, client, stub, tmp_path):
    changes = {
        "upstreams.limited": {"base_url": limited.url},
        "models.both": {
            "spec": "llama-3.1-8b-instruct",
            "balance": "round-robin",
            "deployments": [
                {"upstream": "limited", "upstream_model": "sim-nano"},
                {"upstream": "stub", "upstream_model": "sim-nano"},
            ],
        },
    }
    config = stub_config(tmp_path, stub.origin, changes=changes)
    with GatewayThread(config) as gateway:
        for _ in range(6):
            ask(client, gateway)
        assert limited.n_taken == 3
        limited.left = 1  # somebody else has the same account
        for _ in range(20):
            ask(client, gateway)
    assert (limited.n_taken, limited.left, limited.n_refused) == (4, 0, 0)


def test_a_model_is_passed_over_whose_only_deployment_has_nothing_left(
    limited, client, stub, artifacts, tmp_path
):
    changes = {
        "upstreams.limited": {"base_url": limited.url},
        "models.sim-medium": {"upstream": "limited", "spec": "gpt-4.1-mini"},
    }
    config = stub_config(tmp_path, stub.origin, changes=changes)
    with GatewayThread(config, artifacts=artifacts) as gateway:
        two = {"x_route_models": "sim-medium,sim-nano", "x_cost_quality": "1"}
        served = [ask(client, gateway, "auto", **two).headers["x-route-model"] for _ in range(12)]
        assert served == ["sim-medium"] * 5 + ["sim-nano"] * 7
        assert limited.n_refused == 0
        # By name it is asked all the same: whether it takes more is for it to say.
        answer = client.post(
            f"{gateway.openai_url}/chat/completions",
            json={"model": "sim-medium", "messages": [{"role": "user", "content": "Hello"}]},
            headers={"x-route-fallback": "off"},
        )
        assert answer.status_code == 429


def test_it_is_asked_again_when_it_wants_to_be(client, tmp_path, artifacts):
    def wants_calls_in_20_s(left):
        return as_openai(left) | {"retry-after": "20"}

    with LimitedUpstream(0, wants_calls_in_20_s) as limited:
        changes = {"upstreams.stub.retries": 0}
        config = stub_config(tmp_path, limited.url.removesuffix("/v1"), changes=changes)
        with GatewayThread(config, artifacts=artifacts) as gateway:
            answer = client.post(
                f"{gateway.openai_url}/chat/completions",
                json={"model": "sim-nano", "messages": [{"role": "user", "content": "Hello"}]},
            )
            live = client.get(f"{gateway.url}/console/api/live").json()
    assert answer.status_code == 429
    assert 0 < float(answer.headers["retry-after"]) <= 20
    (place,) = [each for each in live["upstreams"] if each["model"] == "sim-nano"]
    assert 0 < place["throttled_s"] <= 20
    assert place["quota_used"] > 0.99


def test_prices_of_load_follow_what_is_told(client, tmp_path, artifacts):
    def told(left):
        return {
            "x-ratelimit-limit-requests": "400",
            "x-ratelimit-remaining-requests": str(left),
            "x-ratelimit-reset-requests": "10m0s",
        }

    policy = {
        "router": "carrot", "candidates": ["sim-nano", "sim-large"], "default_model": "sim-nano",
        "load": {"target": 0.9},
    }  # fmt: skip
    with LimitedUpstream(400, told) as limited:
        config = stub_config(
            tmp_path, limited.url.removesuffix("/v1"), changes={"policies.near": policy}
        )
        with GatewayThread(config, artifacts=artifacts) as gateway:
            state = gateway.app.state.steelyard
            prices, now = state.serving.loads.of["near"].prices, state.resources.clock() + 1_000.0
            assert prices.limits == {}
            for _ in range(10):
                for _ in range(24):  # far more than 400 in ten minutes
                    ask(client, gateway, "sim-large")
                now += 4.0
                step = state.serving.loads.exchange(state.store.store.registers, now)
                asyncio.run_coroutine_threadsafe(step, gateway.loop).result(30)
    assert set(prices.prices) == {"sim-large"}
    assert prices.used["sim-large"] > 0.9
