"""Which deployment takes a call, on real sockets, and what a client reads of it."""

import contextlib
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from app.outcomes.calls import read_calls
from app.outcomes.sqlite import read_outcomes
from tests.support.gateway import GatewayThread, stub_config
from tests.support.stub import StubThread

PLACES = [{"upstream": "stub", "upstream_model": name} for name in ("sim-nano", "sim-large")]
ENOUGH = 8
NANO, LARGE = "stub/sim-nano", "stub/sim-large"


@pytest.fixture
def ask(fresh_gateway):
    """Start a gateway with a model in two places; return what asks it and says who answered."""
    with httpx.Client(timeout=30) as client:

        def start(balance, *, origin=None, places=PLACES):
            changes = {
                "models.both": {
                    "deployments": places, "spec": "llama-3.1-8b-instruct", "balance": balance,
                },
            }  # fmt: skip
            if origin is not None:
                changes["upstreams.stub.base_url"] = f"{origin}/v1"
            gateway = fresh_gateway(changes)

            def ask(model="both", *, stream=False):
                answer = client.post(
                    f"{gateway.openai_url}/chat/completions",
                    json={
                        "model": model,
                        "messages": [{"role": "user", "content": "What is a steelyard?"}],
                        "stream": stream,
                    },
                )
                assert answer.status_code == 200, answer.text
                return answer.headers.get("x-route-deployment")

            return ask

        yield start


def test_round_robin_goes_by_turns_and_answers_say_whose(ask):
    both = ask("round-robin")
    taken = [both(stream=bool(number % 2)) for number in range(6)]
    assert set(taken[:2]) == {NANO, LARGE}
    assert taken == taken[:2] * 3


def test_answers_say_in_which_region_they_were_made(fresh_gateway):
    places = [{**PLACES[0], "region": "eu-west"}, PLACES[1]]
    gateway = fresh_gateway(
        {"models.both": {"deployments": places, "spec": "llama-3.1-8b-instruct"}}
    )
    regions = {}
    with httpx.Client(base_url=gateway.url, trust_env=False) as client:
        body = {"model": "both", "messages": [{"role": "user", "content": "Hi"}]}
        while len(regions) < 2:
            answer = client.post("/v1/chat/completions", json=body)
            region = answer.headers.get("x-route-region")
            regions[answer.headers["x-route-deployment"]] = region
        shown = client.get("/console/api/live").json()["upstreams"]
    assert regions == {NANO: "eu-west", LARGE: None}
    mine = {each["upstream_model"]: each["region"] for each in shown if each["model"] == "both"}
    assert mine == {"sim-nano": "eu-west", "sim-large": None}


def test_an_answer_of_a_model_in_one_place_names_none(ask):
    assert ask("round-robin")("sim-small") is None


def test_by_predicted_impact_a_slow_place_loses_its_calls_once_it_is_known(ask):
    with StubThread(speed=5.0) as stub, ThreadPoolExecutor(32) as pool:
        both = ask("predicted-impact", origin=stub.origin)
        # At the same time, so that the least busy one is the one and the other in turn.
        taken = Counter(pool.map(lambda _: both(stream=True), range(32)))
        while min(taken[NANO], taken[LARGE]) < ENOUGH:
            taken[both(stream=True)] += 1
        assert [both(stream=True) for _ in range(4)] == [NANO] * 4
        assert [both() for _ in range(4)] == [NANO] * 4


def test_a_bandit_leaves_a_place_that_fails_and_rows_say_how_it_chose(stub, artifacts, tmp_path):
    places = [{**PLACES[0], "upstream": "bad"}, PLACES[1]]
    with StubThread() as failing:
        failing.add_fault("status", status=500, times=10_000)
        config = stub_config(
            tmp_path,
            stub.origin,
            changes={
                "store.data_dir": "data",
                "upstreams.bad": {"kind": "openai", "base_url": f"{failing.origin}/v1"},
                # Of no help to the bandit.
                "breaker.failures": 1_000,
                "upstreams.bad.retries": 0,
                "models.both": {
                    "deployments": places,
                    "spec": "llama-3.1-8b-instruct",
                    "balance": "bandit",
                    "bandit": {"memory": 50, "explore": 0.02},
                },
            },
        )
        with (
            GatewayThread(config, artifacts=artifacts) as gateway,
            httpx.Client(base_url=gateway.url, trust_env=False) as client,
        ):
            body = {"model": "both", "messages": [{"role": "user", "content": "Hi"}]}

            def ask():
                return client.post("/v1/chat/completions", json=body).status_code

            statuses = [ask()]
            while statuses[-1] == 200:  # every hundredth at least is drawn where it fails
                statuses.append(ask())
            statuses += [ask() for _ in range(60)]
    assert statuses[-30:].count(200) > 25
    rows = [row for _, row in read_outcomes(tmp_path / "data")]
    calls = [call for row in rows for call in read_calls(row.calls)]
    assert len(calls) == len(statuses)
    assert {call.deployment for call in calls} == {"bad", "stub"}
    late = [call for call in calls[-30:] if call.deployment == "stub"]
    assert calls[0].deployment_propensity == pytest.approx(0.5, abs=0.01)
    assert min(call.deployment_propensity for call in late) > 0.8
    assert max(call.deployment_propensity for call in late) <= 0.99 + 1e-9


def test_turns_of_a_conversation_and_agents_of_one_prompt_stay_where_they_began(fresh_gateway):
    names = [f"sim-{size}" for size in ("nano", "small", "large")]
    gateway = fresh_gateway(
        {
            "models.three": {
                "deployments": [{"upstream": "stub", "upstream_model": name} for name in names],
                "spec": "llama-3.1-8b-instruct",
                "balance": "prefix-affinity",
            }
        }
    )
    taken = {}
    with httpx.Client(base_url=gateway.url, trust_env=False) as client:

        def ask(agent, conversation, turn):
            messages = [{"role": "system", "content": f"You are agent {agent}."}]
            messages += [{"role": "user", "content": f"Question {conversation} of {agent}."}]
            for number in range(turn):
                messages += [
                    {"role": "assistant", "content": f"Answer {number}."},
                    {"role": "user", "content": f"And {number}?"},
                ]
            answer = client.post(
                "/v1/chat/completions", json={"model": "three", "messages": messages}
            )
            assert answer.status_code == 200
            return answer.headers["x-route-deployment"]

        for turn in range(4):
            for agent in range(8):
                for conversation in range(2):
                    place = ask(agent, conversation, turn)
                    taken.setdefault(agent, set()).add(place)
    # One call at a time: nobody is full, and no agent has more calls than one place holds.
    assert all(len(places) == 1 for places in taken.values())
    assert len(set.union(*taken.values())) == 3


def test_gateways_on_one_redis_use_up_a_quota_together(redis_server, stub, artifacts, tmp_path):
    limited = {**PLACES[0], "requests_per_minute": 30}
    with contextlib.ExitStack() as running:
        clients = []
        for number in range(2):
            folder = tmp_path / str(number)
            folder.mkdir()
            config = stub_config(
                folder,
                stub.origin,
                changes={
                    "store": {"kind": "redis", "prefix": "quota-together", "news_every_s": 0.01},
                    "models.both": {
                        "deployments": [limited, PLACES[1]],
                        "spec": "llama-3.1-8b-instruct",
                    },
                },
                env={"STEELYARD_REDIS_URL": redis_server.url},
            )
            gateway = running.enter_context(GatewayThread(config, artifacts=artifacts))
            clients.append(
                running.enter_context(httpx.Client(base_url=gateway.url, trust_env=False))
            )
        body = {"model": "both", "messages": [{"role": "user", "content": "Hi"}]}

        def ask(client):
            return client.post("/v1/chat/completions", json=body).headers["x-route-deployment"]

        one, another = clients
        # Of two that are as busy chance decides: once in a million million times it is never that.
        assert any(ask(another) == NANO for _ in range(40))
        # More than are allowed in a minute, even of both: one alone has used them up.
        began = time.monotonic()
        taken = Counter(ask(one) for _ in range(150))
        assert 20 <= taken[NANO] <= 30 + 0.5 * (time.monotonic() - began) + 1
        # The other one has sent hardly any itself, and hears of it: alone it had 29 left.
        began = time.monotonic()
        late = Counter(ask(another) for _ in range(150))
        assert late[NANO] < 15 + 0.5 * (time.monotonic() - began)
