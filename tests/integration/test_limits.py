"""Limits, budgets, crowds and new configurations, over real sockets."""

import asyncio
import contextlib
import json
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import openai
import pytest

from app.access.guard import ANONYMOUS
from tests.support.gateway import read_yaml, write_yaml
from tests.support.raw_client import RawClient
from tests.support.requests import assert_openai_error

ASK = [{"role": "user", "content": "What is a steelyard?"}]
TOKEN = "an-admin-token-of-the-tests"  # noqa: S105  (opens nothing else)
ENV = {"STEELYARD_ADMIN_TOKEN": TOKEN}


@pytest.fixture
def client(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with httpx.Client(trust_env=False, timeout=30) as client:
        yield client


def ask(client, gateway, *, headers=None, **body):
    return client.post(
        f"{gateway.url}/v1/chat/completions",
        json={"model": "auto", "messages": ASK, **body},
        headers=headers,
    )


def limits(**limits):
    return {"allowances.key.limits": limits}


def test_answers_tell_where_the_limits_stand(fresh_gateway, client):
    # Ten seconds bring the next one: longer than there is between two requests.
    gateway = fresh_gateway(limits(requests_per_minute=6, tokens_per_minute=1_000_000))
    first, second = ask(client, gateway), ask(client, gateway)
    assert first.headers["x-ratelimit-limit-requests"] == "6"
    assert first.headers["x-ratelimit-remaining-requests"] == "5"
    assert second.headers["x-ratelimit-remaining-requests"] == "4"
    assert 10 <= int(second.headers["x-ratelimit-reset-requests"].removesuffix("s")) <= 20
    used = first.json()["usage"]["total_tokens"]
    remaining = int(second.headers["x-ratelimit-remaining-tokens"])
    assert 1_000_000 - 50 * used < remaining < 1_000_000


def test_a_refusal_says_whose_limit_it_was_and_when_to_come_again(fresh_gateway, client):
    gateway = fresh_gateway(limits(requests_per_minute=2))
    ask(client, gateway)
    ask(client, gateway)
    refused = ask(client, gateway)
    error = assert_openai_error(refused, status=429)
    assert error["code"] == "key_requests_limit_exceeded"
    assert error["type"] == "rate_limit_error"
    assert 0 < int(refused.headers["retry-after"]) <= 30
    assert refused.headers["x-ratelimit-remaining-requests"] == "0"
    assert refused.headers["x-route-model"]
    metrics = client.get(f"{gateway.url}/metrics").text
    assert 'gateway_limit_refusals_total{resource="requests",scope="key"} 1.0' in metrics


def test_the_official_client_waits_and_comes_again(fresh_gateway, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    gateway = fresh_gateway(limits(requests_per_minute=120))
    with openai.OpenAI(base_url=gateway.openai_url, api_key="none", max_retries=3) as sdk:
        for _ in range(125):  # the bucket holds 120; half a second brings the next
            assert sdk.chat.completions.create(model="sim-nano", messages=ASK, max_tokens=1)


def test_no_more_requests_run_at_a_time_than_allowed(fresh_gateway, client, stub):
    gateway = fresh_gateway(limits(concurrent_requests=1))
    stub.add_fault("stall_before_headers")
    with contextlib.closing(RawClient(gateway.url)) as hanging:
        body = {"model": "sim-nano", "messages": ASK, "stream": True}
        hanging.send_request(json.dumps(body))
        stub.log(wait_for="running")
        refused = ask(client, gateway, model="sim-nano")
        assert assert_openai_error(refused, status=429)["code"] == "key_concurrency_limit_exceeded"
    # The client went away: its place is free again at once, not when its claim expires.
    deadline = time.monotonic() + 60
    while (answer := ask(client, gateway, model="sim-nano")).status_code != 200:
        assert time.monotonic() < deadline, answer.text


def test_one_place_serves_one_client_as_often_as_it_asks(fresh_gateway, client):
    gateway = fresh_gateway(limits(concurrent_requests=1))
    for stream in (False, True) * 15:
        answer = ask(client, gateway, stream=stream)
        assert answer.status_code == 200, answer.text


def test_a_model_at_its_limit_hands_routed_requests_on(fresh_gateway, client):
    gateway = fresh_gateway({"models.sim-frontier.limits": {"requests_per_minute": 1}})
    best = {"x-cost-quality": "1"}
    first = ask(client, gateway, headers=best)
    second = ask(client, gateway, headers=best)
    assert first.headers["x-route-model"] == "sim-frontier"
    assert second.headers["x-route-model"] != "sim-frontier"
    assert second.headers["x-route-reason"] == "fallback"
    pinned = ask(client, gateway, model="sim-frontier")
    assert assert_openai_error(pinned, status=429)["code"] == "model_requests_limit_exceeded"


def test_a_spent_budget_refuses_and_says_that_trying_again_is_no_use(fresh_gateway, client):
    budget = {"usd": 1e-9, "period": "month"}
    gateway = fresh_gateway({"allowances.gateway.budgets": [budget]})
    refused = ask(client, gateway)
    error = assert_openai_error(refused, status=429)
    assert error["code"] == "gateway_budget_exceeded"
    assert error["type"] == "insufficient_quota"
    assert refused.headers["x-should-retry"] == "false"


def test_money_spent_is_what_the_answers_cost(fresh_gateway, client):
    budget = {"usd": 100, "period": "month"}
    gateway = fresh_gateway({"allowances.key.budgets": [budget], "auth.mode": "none"}, env=ENV)
    cost_usd = 0.0
    for i in range(20):
        answer = ask(client, gateway, headers={"x-cost-quality": str(i / 20)})
        cost_usd += float(answer.headers["x-route-cost-usd"])
    standings = asyncio.run_coroutine_threadsafe(
        gateway.app.state.steelyard.standings(ANONYMOUS), gateway.loop
    ).result(60)
    [standing] = standings[0].budgets
    assert standing.spent_nusd == pytest.approx(cost_usd * 1e9, abs=20 * 10)
    assert standing.reserved_nusd == 0


def test_a_budget_that_runs_low_lowers_the_knob_and_says_so(fresh_gateway, client):
    budget = {"usd": 0.004, "period": "month", "on_low": "degrade", "degrade_from": 0.2}
    gateway = fresh_gateway({"allowances.gateway.budgets": [budget]})
    # Without the cheapest one, which could be paid for a thousand times.
    headers = {"x-cost-quality": "1", "x-route-models": "sim-small,sim-medium,sim-frontier"}
    seen = []
    for _ in range(400):
        answer = ask(client, gateway, headers=headers, max_tokens=20)
        if answer.status_code != 200:
            break
        seen.append((answer.headers.get("x-route-budget"), answer.headers["x-route-model"]))
    assert assert_openai_error(answer, status=429)["code"] == "gateway_budget_exceeded"
    assert seen[0] == (None, "sim-frontier")
    told = [header for header, _ in seen if header]
    assert told[0].startswith("degraded; scope=gateway; used=0.")
    assert told[0].endswith("cost-quality=0.80")
    positions = [float(header.rpartition("=")[2]) for header in told]
    assert positions == sorted(positions, reverse=True)
    assert seen[-1][1] != "sim-frontier"


def test_a_crowd_is_turned_away_at_once(fresh_gateway, client, stub):
    gateway = fresh_gateway(
        {
            "server.max_concurrent_requests": 1,
            "server.max_queued_requests": 0,
            "upstreams.stub.timeouts": {"first_token_s": 5},
        }
    )
    stub.add_fault("stall_before_headers")
    with ThreadPoolExecutor(1) as pool:
        hanging = pool.submit(ask, client, gateway, model="sim-nano", stream=True)
        stub.log(wait_for="running")
        with httpx.Client(trust_env=False) as other:
            for path in ("chat/completions", "route"):
                refused = other.post(
                    f"{gateway.openai_url}/{path}", json={"model": "auto", "messages": ASK}
                )
                error = assert_openai_error(refused, status=503)
                assert error["code"] == "overloaded"
                assert int(refused.headers["retry-after"]) >= 1
            assert other.get(f"{gateway.url}/healthz").status_code == 200
        assert hanging.result().status_code == 504
    assert ask(client, gateway).status_code == 200


@pytest.fixture
def reloadable(fresh_gateway, client):
    gateway = fresh_gateway(limits(requests_per_minute=10_000), env=ENV)
    path = gateway.app.state.steelyard.config.path

    def reload(change):
        document = read_yaml(path)
        change(document)
        write_yaml(path, document)
        return client.post(
            f"{gateway.url}/admin/reload", headers={"authorization": f"Bearer {TOKEN}"}
        )

    return gateway, reload


def test_a_new_configuration_is_served_and_streams_in_flight_go_on(
    reloadable, client, stub, monkeypatch
):
    monkeypatch.setenv("STEELYARD_ADMIN_TOKEN", TOKEN)
    gateway, reload = reloadable
    before = ask(client, gateway).headers["x-route-policy-version"]
    stub.add_fault("slow_drip", interval_s=0.001)
    with (
        httpx.Client(trust_env=False) as own,
        own.stream(
            "POST",
            f"{gateway.url}/v1/chat/completions",
            json={"model": "auto", "messages": ASK, "stream": True, "max_tokens": 3},
        ) as stream,
    ):
        lines = stream.iter_lines()
        next(lines)
        reloaded = reload(lambda document: document["policies"].pop("quality"))
        assert reloaded.status_code == 200, reloaded.text
        assert list(lines)[-2:] == ["data: [DONE]", ""]
    # As a policy it is gone; what is left of the name is a position of the knob.
    asked = ask(client, gateway, model="auto:quality")
    assert asked.headers["x-route-policy"] == "default"
    assert ask(client, gateway).headers["x-route-policy-version"] == before
    names = [each["id"] for each in client.get(f"{gateway.url}/v1/models").json()["data"]]
    assert "auto:quality" not in names


def test_a_configuration_that_cannot_be_used_changes_nothing(reloadable, client, monkeypatch):
    monkeypatch.setenv("STEELYARD_ADMIN_TOKEN", TOKEN)
    gateway, reload = reloadable
    refused = reload(lambda document: document["policies"]["default"].update(router="nobody"))
    error = assert_openai_error(refused, status=400)
    assert error["code"] == "invalid_configuration"
    assert "unknown name 'nobody'" in error["message"]
    assert ask(client, gateway).status_code == 200
    metrics = client.get(f"{gateway.url}/metrics").text
    assert "gateway_config_last_reload_successful 0.0" in metrics


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        ("since: 2024-02-30\n", "since: there is no such date: 2024-02-30"),
        ("deep: " + "[" * 5000, "is nested more than 32 levels deep"),
        ("many: " + "9" * 5000, "many: there is no such number"),
        ("a: &a [*a]\n", "an alias repeats itself"),
    ],
)
def test_a_damaged_file_changes_nothing_and_is_told_in_words(
    reloadable, client, monkeypatch, damage, words
):
    monkeypatch.setenv("STEELYARD_ADMIN_TOKEN", TOKEN)
    gateway, _ = reloadable
    path = gateway.app.state.steelyard.config.path
    path.write_text(path.read_text() + damage)
    url = f"{gateway.url}/admin/reload"
    refused = client.post(url, headers={"authorization": f"Bearer {TOKEN}"})
    error = assert_openai_error(refused, status=400)
    assert words in error["message"]
    assert "gateway.yaml: line " in error["message"]
    assert ask(client, gateway).status_code == 200


def test_what_needs_a_restart_is_refused_by_name(reloadable, monkeypatch):
    monkeypatch.setenv("STEELYARD_ADMIN_TOKEN", TOKEN)
    _, reload = reloadable
    refused = reload(lambda document: document["server"].update(port=9))
    assert "server changed, which needs a restart" in assert_openai_error(refused)["message"]
