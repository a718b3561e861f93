"""What a platform team is afraid of in upstreams, each fear with the behaviour that answers it."""

import concurrent.futures
import contextlib
import json
import time

import httpx
import pytest

from tests.support.raw_client import RawClient
from tests.support.stub import StubThread
from tests.support.watching import assert_no_task_is_left, metric, metrics, until

ASK = {"messages": [{"role": "user", "content": "What is a steelyard?"}], "max_tokens": 12}
DEAD = "http://127.0.0.1:9/v1"
NANO = "llama-3.1-8b-instruct"


@pytest.fixture
def stub():
    """Start a stub of its own, so that nobody else is connected to it."""
    with StubThread() as stub:
        yield stub


@pytest.fixture
def start(fresh_gateway):
    """Start a gateway on the stub and a client for it: ``start({...})``."""
    with contextlib.ExitStack() as stack:

        def start(changes=None):
            gateway = fresh_gateway(changes)
            client = httpx.Client(base_url=gateway.url, trust_env=False, timeout=20)
            return gateway, stack.enter_context(client)

        yield start


def ask(client, *, headers=None, model="auto", **fields):
    body = {**ASK, "model": model, **fields}
    return client.post("/v1/chat/completions", json=body, headers=headers)


def order(client, **options):
    """Return the models in the order in which they would be tried."""
    answer = client.post("/v1/route", json={**ASK, "model": "auto"}, **options).json()
    return [answer["model"], *answer["decision"]["fallbacks"]]


def called(stub):
    return [entry.model for entry in stub.log()]


def until_well(client):
    """Wait until a probe may be made; what the cooldown is measured by is the real clock."""
    deadline = time.monotonic() + 60
    while client.get("/readyz").json()["unhealthy_models"]:
        assert time.monotonic() < deadline


def until_called(n, *stubs):
    """Wait until the stubs were asked so often, all together."""
    deadline = time.monotonic() + 60
    while sum(len(stub.log()) for stub in stubs) < n:
        assert time.monotonic() < deadline


def until_gone(stub, n):
    """Wait until the stub has noticed that its callers are gone; return how its calls ended."""
    deadline = time.monotonic() + 60
    while (ended := [entry.ended for entry in stub.log()]).count("client_gone") < n:
        assert time.monotonic() < deadline, ended
    return ended


def two_places(stub, *, second=DEAD, weights=(1, 1)):
    """Serve sim-nano in two places, the first of which is the stub."""
    return {
        "upstreams.other": {"kind": "openai", "base_url": second},
        "models.sim-nano": {
            "spec": NANO,
            "deployments": [
                {"upstream": "stub", "weight": weights[0]},
                {"upstream": "other", "upstream_model": "sim-nano", "weight": weights[1]},
            ],
        },
    }


# --- several deployments ------------------------------------------------------------------------


@pytest.mark.parametrize("stream", [False, True])
def test_a_model_goes_on_when_one_of_its_deployments_is_gone(start, stub, stream):
    # Its weight has it asked before the other one, until its circuit is open.
    gateway, client = start({**two_places(stub, weights=(1, 1e4)), "breaker.failures": 2})
    for _ in range(12):
        response = ask(client, model="sim-nano", stream=stream)
        assert response.status_code == 200
        assert response.headers["x-route-model"] == "sim-nano"
    assert called(stub) == ["sim-nano"] * 12
    refused = 'gateway_calls_total{error="upstream_unavailable"'
    assert 'upstream="other"' in until(gateway, refused, 2)  # then its circuit was open
    state = 'gateway_breaker_state{model="sim-nano",upstream='
    assert metric(gateway, f'{state}"other"') == 2
    assert metric(gateway, f'{state}"stub"') == 0
    assert client.get("/readyz").json()["unhealthy_models"] == []


def test_calls_go_to_the_deployments_by_their_weights(start, stub):
    with StubThread() as other:
        _, client = start(two_places(stub, second=other.base_url, weights=(3, 1)))
        for _ in range(200):
            assert ask(client, model="sim-nano").status_code == 200
        assert len(stub.log()) + len(other.log()) == 200
        assert 19 <= len(other.log()) <= 81  # 50 expected; five standard deviations are 31


def test_the_least_busy_deployment_takes_the_next_call(start, stub):
    with StubThread() as other:
        gateway, _ = start(two_places(stub, second=other.base_url))
        n = 4
        for each in (stub, other):
            each.add_fault("stall_before_headers", times=n)
        with contextlib.ExitStack() as stack:
            for _ in range(2 * n):
                waiting = stack.enter_context(contextlib.closing(RawClient(gateway.url)))
                waiting.send_request(json.dumps({**ASK, "model": "sim-nano"}))
            until_called(2 * n, stub, other)
            assert (len(stub.log()), len(other.log())) == (n, n)


def test_the_error_of_a_model_lists_what_each_of_its_deployments_did(start, stub):
    _, client = start({**two_places(stub), "upstreams.stub.base_url": "http://127.0.0.1:9/v1/"})
    error = ask(client, model="sim-nano").json()["error"]
    assert [(each["model"], each["status"]) for each in error["attempts"]] == [
        ("sim-nano", None),
        ("sim-nano", None),
    ]
    assert all(each["ms"] >= 0 for each in error["attempts"])


# --- the breaker --------------------------------------------------------------------------------


def test_only_faults_of_the_provider_open_a_circuit(start, stub):
    _, client = start({"breaker.failures": 1})
    first = order(client)[0]
    for status in (400, 413, 422, 429):
        stub.add_fault("status", status=status, model=first)
        ask(client, headers={"x-route-models": first})
        assert client.get("/readyz").json()["unhealthy_models"] == []
    stub.add_fault("status", status=500, model=first)
    ask(client)
    assert client.get("/readyz").json()["unhealthy_models"] == [first]


def test_a_model_alone_in_its_policy_is_tried_though_its_circuit_is_open(start, stub):
    gateway, client = start(
        {
            "breaker.failures": 1,
            "breaker.cooldown_s": 3600,
            "policies.default.candidates": ["sim-nano"],
            "policies.default.default_model": "sim-nano",
        }
    )
    stub.add_fault("status", status=500, times=3)
    for _ in range(3):
        assert ask(client).status_code == 502
    assert metric(gateway, 'gateway_breaker_state{model="sim-nano"') == 2
    assert ask(client).status_code == 200
    assert metric(gateway, 'gateway_breaker_state{model="sim-nano"') == 0


def test_when_every_model_is_unhealthy_all_are_tried_all_the_same(start, stub):
    _, client = start({"breaker.failures": 1, "breaker.cooldown_s": 3600})
    models = order(client)
    for model in models:
        stub.add_fault("status", status=500, model=model)
        ask(client, headers={"x-route-models": model})
    assert client.get("/readyz").json()["unhealthy_models"] == sorted(models)
    assert ask(client).status_code == 200


def test_a_recovering_model_gets_one_probe_and_nobody_else(start, stub):
    gateway, client = start({"breaker.failures": 1, "breaker.cooldown_s": 0.2})
    first, second, *_ = order(client)
    stub.add_fault("status", status=500, model=first)
    ask(client)
    until_well(client)
    stub.reset()
    stub.add_fault("stall_before_headers", model=first)
    with contextlib.closing(RawClient(gateway.url)) as probing:
        probing.send_request(json.dumps({**ASK, "model": "auto"}))
        stub.log(wait_for="running")
        assert metric(gateway, f'gateway_breaker_state{{model="{first}"') == 1
        for _ in range(5):
            assert ask(client).headers["x-route-model"] == second
        assert called(stub) == [first, *[second] * 5]
    # Whoever it was left without waiting for the end: the next one is the probe.
    stub.log(wait_for="client_gone")
    until_well(client)
    assert ask(client).headers["x-route-model"] == first
    assert metric(gateway, f'gateway_breaker_state{{model="{first}"') == 0


# --- rate limits --------------------------------------------------------------------------------


def test_a_short_retry_after_is_waited_for(start, stub):
    _, client = start()
    first = order(client)[0]
    stub.add_fault("status", status=429, retry_after_s=0, model=first)
    response = ask(client)
    assert response.headers["x-route-model"] == first
    assert "x-route-fallback-index" not in response.headers
    assert called(stub) == [first, first]


def test_a_long_retry_after_is_forwarded_at_once(start, stub):
    _, client = start()
    stub.add_fault("status", status=429, retry_after_s=40)
    began = time.monotonic()
    response = ask(client, model="sim-nano")
    assert time.monotonic() - began < 30
    assert response.status_code == 429
    assert response.headers["retry-after"] == "40"
    assert response.headers["retry-after-ms"] == "40000"
    assert response.json()["error"]["code"] == "upstream_rate_limit_exceeded"
    assert len(stub.log()) == 1


def test_a_throttled_model_is_left_alone_until_then_unless_nothing_else_is_left(start, stub):
    gateway, client = start()
    first, second, *_ = order(client)
    stub.add_fault("status", status=429, retry_after_s=60, model=first)
    assert ask(client).headers["x-route-model"] == second
    stub.reset()
    for _ in range(3):
        assert ask(client).headers["x-route-model"] == second
    assert first not in called(stub)
    assert metric(gateway, f'gateway_breaker_state{{model="{first}"') == 0  # no breaker fault
    assert ask(client, headers={"x-route-models": first}).headers["x-route-model"] == first


def test_of_many_deployments_the_one_that_is_not_throttled_answers(start, stub):
    with StubThread() as other:
        _, client = start(two_places(stub, second=other.base_url))
        stub.add_fault("status", status=429, retry_after_s=60, times=100)
        for _ in range(10):
            assert ask(client, model="sim-nano").status_code == 200
        assert len(stub.log()) <= 1
        assert len(other.log()) == 10


# --- asking again -------------------------------------------------------------------------------


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("status", [503, 529])
def test_an_overload_of_a_moment_does_not_change_the_model(start, stub, status, stream):
    _, client = start()
    first = order(client)[0]
    stub.add_fault("status", status=status, model=first)
    response = ask(client, stream=stream)
    assert response.status_code == 200
    assert response.headers["x-route-model"] == first
    assert called(stub) == [first, first]


@pytest.mark.parametrize(
    "fault", ["reset_before_headers", "stall_before_headers", "end_without_done", "garbage_sse"]
)
def test_what_may_have_been_billed_is_never_asked_for_again(start, stub, fault):
    patience_s = 2.5 if "stall" in fault else 60
    timeouts = dict.fromkeys(("first_token_s", "idle_s", "whole_answer_s"), patience_s)
    _, client = start({"upstreams.stub.timeouts": timeouts, "upstreams.stub.retries": 5})
    first = order(client)[0]
    stub.add_fault(fault, after_chunks=1, model=first)
    ask(client, stream=True)
    deadline = time.monotonic() + 60
    while first not in called(stub):  # whose request was given up soon may not have read it yet
        assert time.monotonic() < deadline
    assert called(stub).count(first) == 1


# --- fallbacks ----------------------------------------------------------------------------------


def test_a_fallback_never_costs_more_than_the_request_allows(start, stub):
    _, client = start({"policies.default.max_attempts": 10})
    table = client.post("/v1/route", json={**ASK, "model": "auto"}).json()["candidates"]
    costs = {each["model"]: each["upper_cost_usd"] for each in table}
    limit = sum(sorted(costs.values())[2:4]) / 2  # three of the five may be had
    affordable = {model for model, cost in costs.items() if cost <= limit}
    stub.add_fault("status", status=500, times=100)
    for headers in (
        {"x-route-max-cost": f"{limit:.12f}", "x-cost-quality": "1"},
        {"x-route-max-cost": f"{limit:.12f}", "x-cost-quality": "0"},
    ):
        error = ask(client, headers=headers).json()["error"]
        assert {each["model"] for each in error["attempts"]} == affordable
    assert set(called(stub)) == affordable
    assert len(affordable) == 3


def test_a_fallback_never_leaves_the_models_that_the_request_allows(start, stub):
    _, client = start({"policies.default.max_attempts": 10})
    allowed = {"sim-small", "sim-frontier"}
    stub.add_fault("status", status=500, times=100)
    error = ask(client, headers={"x-route-models": ",".join(allowed)}).json()["error"]
    assert {each["model"] for each in error["attempts"]} == allowed
    assert set(called(stub)) == allowed


def test_with_fallback_off_no_other_model_is_ever_called(start, stub):
    _, client = start({"policies.default.hedge_after_s": 0.01})
    stub.add_fault("slow_drip", interval_s=0.0005)
    response = ask(client, headers={"x-route-fallback": "off"})
    assert response.status_code == 200
    stub.add_fault("status", status=500)
    assert ask(client, headers={"x-route-fallback": "off"}).status_code == 502
    assert len(stub.log()) == 2


# --- the whole attempt --------------------------------------------------------------------------


def test_a_stream_that_drips_for_ever_is_ended_without_a_splice(start, stub):
    timeouts = {"first_token_s": 5, "idle_s": 5, "total_s": 4}
    gateway, client = start({"upstreams.stub.timeouts": timeouts})
    stub.add_fault("slow_drip", interval_s=0.0002)
    response = ask(client, stream=True, max_tokens=4000)
    assert response.status_code == 200
    events = [each.removeprefix("data: ") for each in response.text[:-2].split("\n\n")]
    *before, last = [json.loads(each) for each in events]
    assert last["error"]["code"] == "upstream_timeout"
    assert len({each["model"] for each in before}) == 1
    (entry,) = stub.log(wait_for="client_gone")
    assert entry.chunks_sent > 1
    until(gateway, 'gateway_requests_total{error="upstream_timeout"', 1)
    # What arrived is paid for, and flagged as counted by us.
    tokens = [line for line in metrics(gateway) if line.startswith("gateway_tokens_total")]
    assert any('class="output",estimated="true"' in line for line in tokens)
    assert_no_task_is_left(gateway)
    assert stub.open_connections == 0


# --- hedging ------------------------------------------------------------------------------------

HEDGE = {"policies.default.hedge_after_s": 0.05}


@pytest.mark.parametrize("stream", [False, True])
def test_a_silent_model_is_overtaken_and_its_connection_dropped_at_once(start, stub, stream):
    gateway, client = start(HEDGE)
    first, second, *_ = order(client)
    n = 5
    for number in range(1, n + 1):
        stub.add_fault("stall_before_headers", model=first)
        response = ask(client, stream=stream)
        assert response.status_code == 200
        assert response.headers["x-route-model"] == second
        assert response.headers["x-route-reason"] == "fallback"
        assert response.headers["x-route-fallback-index"] == "1"
        assert until_gone(stub, number).count("client_gone") == number
    assert called(stub) == [first, second] * n
    lost = f'gateway_calls_total{{error="hedge_lost",model="{first}"'
    until(gateway, lost, n)
    assert metric(gateway, f'gateway_cost_usd_total{{model="{first}"') > 0
    assert metric(gateway, f'gateway_tokens_total{{class="input",estimated="true",model="{first}"')
    assert_no_task_is_left(gateway)
    assert stub.open_connections <= 1  # the winner's, kept for the next call


def test_a_model_is_overtaken_once_it_takes_longer_than_predicted(start, stub):
    gateway, client = start({"policies.default.hedge_after_s": "auto"})
    first, second, *_ = order(client)
    for _ in range(20):  # which tell how fast it is
        assert ask(client, stream=True).status_code == 200
    stub.reset()
    stub.add_fault("stall_before_headers", model=first)
    assert ask(client, stream=True).headers["x-route-model"] == second
    assert called(stub) == [first, second]
    assert_no_task_is_left(gateway)


def test_a_slow_model_that_still_wins_takes_the_hedge_back(start, stub):
    gateway, client = start(HEDGE)
    first, second, *_ = order(client)
    stub.add_fault("slow_drip", interval_s=0.004, model=first)
    stub.add_fault("stall_before_headers", model=second)
    response = ask(client)
    assert response.headers["x-route-model"] == first
    assert "x-route-fallback-index" not in response.headers
    cost_usd = float(response.headers["x-route-cost-usd"])
    by_end = {entry.model: entry.ended for entry in stub.log(wait_for="client_gone")}
    assert by_end[second] == "client_gone"
    until(gateway, 'gateway_requests_total{error=""', 1)
    assert metric(gateway, "gateway_cost_usd_total") == pytest.approx(cost_usd, abs=1e-8)
    assert metric(gateway, f'gateway_cost_usd_total{{model="{second}"') > 0
    assert_no_task_is_left(gateway)


def test_a_pinned_model_is_never_hedged(start, stub):
    _, client = start(HEDGE)
    stub.add_fault("slow_drip", interval_s=0.0005)
    assert ask(client, model="sim-nano").status_code == 200
    assert called(stub) == ["sim-nano"]


def test_a_hedge_never_makes_a_request_dearer_than_it_may_be(start, stub):
    _, client = start(HEDGE)
    cheapest, *_ = order(client, headers={"x-cost-quality": "0"})
    table = client.post("/v1/route", json={**ASK, "model": "auto"}).json()["candidates"]
    costs = sorted(each["upper_cost_usd"] for each in table)
    for limit, n_calls in ((costs[1] * 1.01, 1), (sum(costs), 2)):
        stub.reset()
        stub.add_fault("slow_drip", interval_s=0.003, model=cheapest)
        headers = {"x-cost-quality": "0", "x-route-max-cost": f"{limit:.12f}"}
        assert ask(client, headers=headers).status_code == 200
        assert len(stub.log()) == n_calls


def test_leaving_during_a_hedge_cancels_both_calls(start, stub):
    gateway, _ = start(HEDGE)
    stub.add_fault("stall_before_headers", times=2)
    with contextlib.closing(RawClient(gateway.url)) as leaving:
        leaving.send_request(json.dumps({**ASK, "model": "auto"}))
        until_called(2, stub)
    until(gateway, 'gateway_requests_total{error="client_disconnected"', 1)
    stub.log(wait_for="client_gone")
    deadline = time.monotonic() + 60
    while stub.open_connections and time.monotonic() < deadline:
        pass
    assert stub.open_connections == 0
    assert [entry.ended for entry in stub.log()] == ["client_gone"] * 2
    assert_no_task_is_left(gateway)
    # Both upstreams may have read the prompt.
    assert metric(gateway, 'gateway_tokens_total{class="input",estimated="true"') > 0
    assert metric(gateway, 'gateway_unserved_cost_usd_total{error="cancelled"') > 0


def test_many_hedged_requests_at_once_leave_nothing_behind(start, stub):
    gateway, client = start({**HEDGE, "breaker.failures": 1_000_000})
    first, *_ = order(client)
    n = 12
    stub.add_fault("stall_before_headers", model=first, times=n)
    with contextlib.ExitStack() as stack, concurrent.futures.ThreadPoolExecutor(n) as pool:
        clients = [
            stack.enter_context(httpx.Client(base_url=gateway.url, trust_env=False, timeout=20))
            for _ in range(n)
        ]
        answers = list(pool.map(ask, clients))
    assert [each.status_code for each in answers] == [200] * n
    until(gateway, "gateway_requests_in_flight", 0)
    assert_no_task_is_left(gateway)
    ended = until_gone(stub, n)
    assert (ended.count("client_gone"), ended.count("complete")) == (n, n)
    assert stub.open_connections <= n
