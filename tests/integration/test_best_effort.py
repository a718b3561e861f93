"""Tiers under a burst on real sockets: what answers, what is told of it, and that it passes."""

import json
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from app.cli import main
from app.outcomes.export import Selection, sqlite_log
from app.outcomes.sqlite import read_outcomes
from tests.support.gateway import GatewayThread, stub_config
from tests.support.stub import StubThread

TIERS = ["sim-large", "sim-medium", "sim-nano"]
BURST, TOKENS = 32, 30
DEADLINE_MS = 15_000
SPEED = 1.5
"""Of the stub: an answer takes 1.9, .5 and .2 s, which what a busy machine adds does not blur."""
POLICY = {
    "router": "carrot", "candidates": TIERS, "default_model": "sim-nano",
    "best_effort": {"deadline_ms": DEADLINE_MS, "tiers": TIERS},
}  # fmt: skip


@pytest.fixture
def gateway(fresh_gateway):
    """Start a gateway before a stub that takes its time."""
    with StubThread(speed=SPEED) as stub:

        def start(**best_effort):
            policy = POLICY | {"best_effort": POLICY["best_effort"] | best_effort}
            return fresh_gateway(
                {"policies.tiers": policy, "upstreams.stub.base_url": f"{stub.origin}/v1"}
            )

        yield start


@pytest.fixture
def client():
    with httpx.Client(timeout=60, limits=httpx.Limits(max_connections=BURST)) as client:
        yield client


def body(model="auto:tiers", **more):
    return {
        "model": model, "max_tokens": TOKENS,
        "messages": [{"role": "user", "content": "What is a steelyard?"}], **more,
    }  # fmt: skip


def ask(client, gateway, headers=None, **more):
    answer = client.post(
        f"{gateway.openai_url}/chat/completions", json=body(**more), headers=headers
    )
    assert answer.status_code == 200, answer.text
    return answer


def told(answer):
    """Return the tier that a header tells, and its further words."""
    tier, *words = answer.headers["x-route-tier"].split("; ")
    return int(tier), words


def test_a_burst_makes_the_tier_fall_and_calm_brings_it_back(gateway, client):
    gateway = gateway()
    for _ in range(2):
        calm = ask(client, gateway)
        assert told(calm)[0] == 1
        assert calm.headers["x-route-model"] == "sim-large"
        assert calm.headers["x-route-reason"] == "best_effort"
    with ThreadPoolExecutor(BURST) as pool:
        answers = list(pool.map(lambda _: ask(client, gateway), range(BURST)))
    tiers = Counter(told(answer)[0] for answer in answers)
    assert tiers[1] > 0
    assert tiers[2] + tiers[3] > 0
    for answer in answers:
        assert answer.headers["x-route-model"] == TIERS[told(answer)[0] - 1]
        assert answer.headers["x-route-reason"] == "best_effort"
    after = ask(client, gateway)
    assert (told(after)[0], after.headers["x-route-model"]) == (1, "sim-large")
    metrics = httpx.get(f"{gateway.url}/metrics").text
    answered = sum(
        float(line.rpartition(" ")[2])
        for line in metrics.splitlines()
        if line.startswith("gateway_best_effort_answers_total")
    )
    assert answered == BURST + 3


def test_a_deadline_of_ones_own_takes_a_lower_tier_and_is_told(gateway, client):
    gateway = gateway()
    for model in 2 * TIERS:  # whoever is asked by name teaches too
        ask(client, gateway, model=model)
    decided = client.post(f"{gateway.openai_url}/route", json=body()).json()["best_effort"]
    assert (decided["tier"], decided["deadline_ms"]) == (1, DEADLINE_MS)
    deadline_ms = 1.5 * decided["expected_service_ms"]
    short = ask(client, gateway, headers={"x-route-deadline-ms": f"{deadline_ms:.0f}"})
    assert short.headers["x-route-model"] == "sim-medium"
    hopeless = ask(client, gateway, routing={"deadline_ms": 1})
    tier, words = told(hopeless)
    assert (tier, "late" in words) == (3, True)
    said = client.post(f"{gateway.openai_url}/route", json=body()).json()
    assert "expected to be in time" in said["why"]


def test_every_dialect_is_told_of_its_tier_streams_too(gateway, client):
    gateway = gateway()
    streamed = ask(client, gateway, stream=True)
    assert told(streamed)[0] == 1
    headers = {"x-api-key": "none", "anthropic-version": "2023-06-01"}
    answer = client.post(f"{gateway.url}/v1/messages", json=body(), headers=headers)
    assert answer.status_code == 200, answer.text
    assert told(answer)[0] == 1
    assert answer.headers["x-route-reason"] == "best_effort"


def test_a_tier_that_fails_is_followed_by_the_next_one_down(fresh_gateway, client):
    with StubThread(speed=10.0) as stub:
        gateway = fresh_gateway(
            {"policies.tiers": POLICY, "upstreams.stub.base_url": f"{stub.origin}/v1"}
        )
        stub.add_fault("status", model="sim-large", status=500, times=9)
        answer = ask(client, gateway)
        assert answer.headers["x-route-model"] == "sim-medium"
        assert answer.headers["x-route-reason"] == "fallback"
        assert told(answer)[0] == 1


def test_a_client_that_sets_the_knob_gets_its_own_order(gateway, client):
    gateway = gateway()
    cheapest = ask(client, gateway, headers={"x-cost-quality": "0"})
    assert cheapest.headers["x-route-model"] == "sim-nano"
    assert told(cheapest)[0] == 3


def test_by_prices_the_knob_counts_and_load_is_weighed(gateway, client):
    gateway = gateway(by="learned")
    best = ask(client, gateway, headers={"x-cost-quality": "1"})
    explained = client.post(
        f"{gateway.openai_url}/route", json=body(), headers={"x-cost-quality": "1"}
    ).json()
    quality = {each["model"]: each["predicted_quality"] for each in explained["candidates"]}
    assert best.headers["x-route-model"] == max(quality, key=quality.get)
    assert explained["best_effort"]["by"] == "learned"


@pytest.mark.parametrize("value", ["0", "-1", "soon", "1e9", "nan"])
def test_a_deadline_that_is_none_is_refused(gateway, client, value):
    gateway = gateway()
    answer = client.post(
        f"{gateway.openai_url}/chat/completions", json=body(),
        headers={"x-route-deadline-ms": value},
    )  # fmt: skip
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == "x-route-deadline-ms"


@pytest.mark.parametrize("model", ["auto", "sim-nano"])
def test_a_deadline_where_there_are_no_tiers_is_refused(gateway, client, model):
    gateway = gateway()
    answer = client.post(
        f"{gateway.openai_url}/chat/completions", json=body(model),
        headers={"x-route-deadline-ms": "500"},
    )  # fmt: skip
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == "x-route-deadline-ms"


def test_rows_and_their_exports_tell_the_tier_and_the_deadline(stub, artifacts, client, tmp_path):
    data = tmp_path / "data"
    changes = {"policies.tiers": POLICY, "store.data_dir": str(data)}
    config = stub_config(tmp_path, stub.origin, changes=changes)
    with GatewayThread(config, artifacts=artifacts) as gateway:
        ask(client, gateway)
        late = told(ask(client, gateway, routing={"deadline_ms": 1}))
        ask(client, gateway, model="sim-nano")
    assert "late" in late[1]
    rows = [row for _, row in read_outcomes(data)]
    calm, hurried, named = [(row.tier, row.tier_in_force, row.deadline_s) for row in rows]
    assert (calm, named) == ((1, 1, DEADLINE_MS / 1e3), (None, None, None))
    assert hurried == (late[0], 1, 0.001)
    assert rows[1].duration_s > rows[1].deadline_s
    log = sqlite_log(data, since=0.0, until=4e9)
    records = Selection(unlabelled=True, without_prompts=True).outcomes(log)
    log.contents.close()
    exported = [(each["tier"], each["tier_in_force"], each["deadline_s"]) for each in records]
    assert exported == [calm, hurried, named]


def test_explain_shows_the_tier_that_answers_in_calm(tmp_path, stub, capsys):
    stub_config(tmp_path, stub.origin, changes={"policies.tiers": POLICY})
    arguments = ["explain", "What is a steelyard?", "--policy", "tiers"]
    arguments += ["--config", str(tmp_path / "gateway.yaml")]
    main(arguments)
    assert "tier 1 of 3 within 15 s, in calm" in " ".join(capsys.readouterr().out.split())
    main([*arguments, "--json"])
    told = json.loads(capsys.readouterr().out)
    assert (told["model"], told["best_effort"]["tier"]) == ("sim-large", 1)


def turn(client, gateway, *turns, headers=None, **more):
    """Ask a conversation's next question; its earlier turns are given by their texts."""
    messages = [{"role": "user", "content": "What is a steelyard?"}]
    for text in turns:
        messages += [
            {"role": "assistant", "content": text},
            {"role": "user", "content": f"{text}: go on"},
        ]
    session = {"x-session-id": "a-conversation"}
    return ask(client, gateway, headers=session | (headers or {}), messages=messages, **more)


def placed(answer):
    names = ("model", "reason", "session", "session-reason")
    return tuple(answer.headers.get(f"x-route-{name}") for name in names)


def taught(client, gateway):
    """Have every tier known; return a deadline that the second one keeps and the first does not."""
    for model in 2 * TIERS:
        ask(client, gateway, model=model)
    decided = client.post(f"{gateway.openai_url}/route", json=body()).json()["best_effort"]
    return {"x-route-deadline-ms": f"{1.5 * decided['expected_service_ms']:.0f}"}


def test_a_conversation_rises_with_the_tier_in_force_and_not_with_a_moment(gateway, client, caplog):
    gateway = gateway()
    soon = taught(client, gateway)
    first = turn(client, gateway, headers=soon)
    assert placed(first) == ("sim-medium", "best_effort", "initialize", "initialize")
    assert "best effort steps down" not in caplog.messages
    # Nothing holds the policy down: the conversation gets the best tier.
    risen = turn(client, gateway, "one")
    assert placed(risen) == ("sim-large", "best_effort", "switch", "switch")
    assert told(risen)[0] == 1
    with ThreadPoolExecutor(BURST) as pool:
        list(pool.map(lambda _: ask(client, gateway), range(BURST)))
    assert "best effort steps down" in caplog.messages
    # It is better off than new requests, and in time.
    stayed = turn(client, gateway, "one", "two")
    assert stayed.headers["x-route-model"] == "sim-large"
    lower = turn(client, gateway, "one", "two", "three", headers=soon)
    assert placed(lower) == ("sim-medium", "best_effort", "switch", "switch")
    # The burst is over, but for all that is known it comes again at any moment.
    held = turn(client, gateway, "one", "two", "three", "four")
    assert placed(held) == ("sim-medium", "sticky", "retain", "retain")
    assert told(held)[0] == 2
    alone = turn(
        client, gateway, "one", "two", "three", "four", headers={"x-route-affinity": "off"}
    )
    assert placed(alone) == ("sim-large", "best_effort", None, "off")


def test_a_conversation_leaves_a_tier_that_is_not_in_time_but_for_what_binds_it(gateway, client):
    gateway = gateway()
    soon = taught(client, gateway)
    assert turn(client, gateway).headers["x-route-model"] == "sim-large"
    left = turn(client, gateway, "one", headers=soon)
    assert placed(left) == ("sim-medium", "best_effort", "switch", "switch")
    tools = [{"type": "function", "function": {"name": "read_file", "parameters": {}}}]
    loop = [
        {"role": "user", "content": "What is a steelyard?"},
        {"role": "assistant", "content": None, "tool_calls": [
            {"id": "a", "type": "function", "function": {"name": "read_file", "arguments": "{}"}}
        ]},
        {"role": "tool", "tool_call_id": "a", "content": "a balance"},
    ]  # fmt: skip
    session = {"x-session-id": "a-conversation", "x-route-deadline-ms": "1"}
    bound = ask(client, gateway, headers=session, messages=loop, tools=tools)
    assert placed(bound) == ("sim-medium", "sticky", "retain", "locked_tools")
    assert (told(bound)[0], "late" in told(bound)[1]) == (2, True)


def test_by_prices_a_conversation_is_left_for_what_is_worth_more(gateway, client):
    gateway = gateway(by="learned")
    cheap, dear = {"x-cost-quality": "0"}, {"x-cost-quality": "1"}
    first = turn(client, gateway, headers=dear)
    assert placed(first)[2:] == ("initialize", "initialize")
    again = turn(client, gateway, "one", headers=dear)
    assert placed(again) == (first.headers["x-route-model"], "best_effort", "retain", "unchanged")
    cheaper = turn(client, gateway, "one", "two", headers=cheap)
    assert cheaper.headers["x-route-model"] != first.headers["x-route-model"]
    assert placed(cheaper)[2:] == ("switch", "switch")


def test_a_policy_that_follows_no_conversations_follows_none_by_tiers_either(fresh_gateway, client):
    with StubThread(speed=10.0) as stub:
        gateway = fresh_gateway(
            {
                "policies.tiers": POLICY | {"affinity": {"enabled": False}},
                "upstreams.stub.base_url": f"{stub.origin}/v1",
            }
        )
        assert placed(turn(client, gateway, "one")) == ("sim-large", "best_effort", None, "off")
