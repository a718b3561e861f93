"""What the knob and its companions mean, asked of a running gateway over HTTP."""

import contextlib
import itertools
import json
import threading

import httpx
import pytest

from routers.decision.dominance import NEAR_COST, SEEN
from tests.support.artifacts import TroubledArtifact, with_outcomes
from tests.support.gateway import STUB_MODELS

PROMPTS = (
    "What is a steelyard?",
    "Translate 'good morning' into French.",
    "Prove that the sum of two even numbers is even.\nA) by induction B) directly",
    "def f(x):\n    return x + 1\n\nWrite unit tests for this function. " * 12,
)
NOT_NANO = set(STUB_MODELS) - {"sim-nano"}
KNOBS = [round(0.1 * i, 1) for i in range(11)]
TOOLS = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]
SCHEMA = {"type": "json_schema", "json_schema": {"name": "s", "schema": {"type": "object"}}}
PICTURE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
SOUND = {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}


@pytest.fixture
def client(gateway):
    with httpx.Client(base_url=gateway.url, trust_env=False) as client:
        yield client


@pytest.fixture
def fresh_client(fresh_gateway):
    """Start a gateway of its own and return a client for it."""
    with contextlib.ExitStack() as stack:
        yield lambda *args, **kwargs: stack.enter_context(
            httpx.Client(base_url=fresh_gateway(*args, **kwargs).url, trust_env=False, timeout=30)
        )


def ask(client, path, prompt=PROMPTS[0], *, headers=None, **fields):
    body = {"model": "auto", "messages": [{"role": "user", "content": prompt}], **fields}
    return client.post(path, json=body, headers=headers)


def chat(client, *args, **kwargs):
    return ask(client, "/v1/chat/completions", *args, **kwargs)


def route(client, *args, **kwargs):
    response = ask(client, "/v1/route", *args, **kwargs)
    assert response.status_code == 200, response.text
    return response.json()


def error(response, *, status=400):
    assert response.status_code == status, response.text
    return response.json()["error"]


def table(answer):
    return {each["model"]: each for each in answer["candidates"]}


def eligible(answer):
    return [each for each in answer["candidates"] if each["eligible"]]


# --- the knob -----------------------------------------------------------------------------------


@pytest.mark.parametrize("prompt", PROMPTS)
def test_the_ends_of_the_knob_are_the_cheapest_and_the_best(client, prompt):
    cheapest = route(client, prompt, headers={"x-cost-quality": "0"})
    assert table(cheapest)[cheapest["model"]]["predicted_cost_usd"] == min(
        each["predicted_cost_usd"] for each in eligible(cheapest)
    )
    best = route(client, prompt, headers={"x-cost-quality": "1"})
    assert table(best)[best["model"]]["predicted_quality"] == max(
        each["predicted_quality"] for each in eligible(best)
    )


@pytest.mark.parametrize("prompt", PROMPTS)
def test_predicted_quality_and_cost_never_fall_as_the_knob_rises(client, prompt):
    chosen = []
    for t in KNOBS:
        answer = route(client, prompt, headers={"x-cost-quality": str(t)})
        chosen.append(table(answer)[answer["model"]])
    for lower, higher in itertools.pairwise(chosen):
        assert lower["predicted_quality"] <= higher["predicted_quality"]
        assert lower["predicted_cost_usd"] <= higher["predicted_cost_usd"]
    assert len({each["model"] for each in chosen}) > 1


@pytest.mark.parametrize("prompt", PROMPTS)
def test_counterfactual_ranges_cover_the_knob_and_are_true(client, prompt):
    steps = route(client, prompt)["counterfactual"]
    assert steps[0]["from_cost_quality"] == 0
    assert steps[-1]["to_cost_quality"] == 1
    for lower, higher in itertools.pairwise(steps):
        assert lower["to_cost_quality"] == higher["from_cost_quality"]
        assert lower["model"] != higher["model"]
    for step in steps:
        start, end = step["from_cost_quality"], step["to_cost_quality"]
        inside = (start + end) / 2
        if end - start < 2e-4 and start != end:
            continue  # narrower than the digits that are shown
        answer = route(client, prompt, headers={"x-cost-quality": f"{inside:.5f}"})
        assert answer["model"] == step["model"], (inside, steps)


@pytest.mark.parametrize("prompt", PROMPTS)
@pytest.mark.parametrize("loss", [0.0, 0.05, 0.3, 1.0])
def test_max_quality_loss_takes_the_cheapest_close_enough_to_the_best(client, prompt, loss):
    answer = route(client, prompt, headers={"x-route-max-quality-loss": str(loss)})
    rows = eligible(answer)
    best = max(each["predicted_quality"] for each in rows)
    # Shown qualities are rounded: one that stands on the edge may fall on either side.
    surely = [each for each in rows if each["predicted_quality"] >= best - loss + 2e-4]
    maybe = [each for each in rows if each["predicted_quality"] >= best - loss - 2e-4]
    chosen = table(answer)[answer["model"]]
    assert chosen in maybe
    assert all(chosen["predicted_cost_usd"] <= each["predicted_cost_usd"] for each in surely)


def test_min_quality_takes_the_cheapest_that_reaches_it(client):
    for prompt in PROMPTS:
        rows = sorted(eligible(route(client, prompt)), key=lambda row: row["predicted_quality"])
        wanted = (rows[1]["predicted_quality"] + rows[2]["predicted_quality"]) / 2
        answer = route(client, prompt, headers={"x-route-min-quality": str(wanted)})
        cheapest = min(rows[2:], key=lambda row: row["predicted_cost_usd"])
        assert answer["model"] == cheapest["model"]
        assert answer["decision"]["reason"] == "knob"


def test_a_quality_that_nothing_reaches_takes_the_best_and_says_so(client):
    answer = route(client, headers={"x-route-min-quality": "1"})
    best = max(eligible(answer), key=lambda row: row["predicted_quality"])
    assert best["predicted_quality"] < 1
    assert answer["model"] == best["model"]
    assert answer["decision"]["reason"] == "min_quality_unmet"
    response = chat(client, headers={"x-route-min-quality": "1"})
    assert response.headers["x-route-reason"] == "min_quality_unmet"


@pytest.mark.parametrize("mu", ["0", "0.05", "0.5", "0.95", "1"])
def test_mu_is_another_word_for_a_rate_or_for_quality_alone(client, mu):
    as_published = route(client, headers={"x-route-mu": mu})
    if mu == "0":
        same = route(client, headers={"x-cost-quality": "1"})
    else:
        rate = (1 - float(mu)) / (float(mu) * 100)
        same = route(client, headers={"x-route-lambda": repr(rate)})
        told = as_published["decision"]["usd_per_quality"]
        assert told == pytest.approx(rate)
    assert as_published["model"] == same["model"]
    assert route(client, routing={"mu": float(mu)})["model"] == same["model"]


@pytest.mark.parametrize("usd_per_quality", [0, 1e-6, 1e-4, 1e-2, 1.0])
def test_lambda_is_a_price_for_quality(client, usd_per_quality):
    for prompt in PROMPTS:
        answer = route(client, prompt, headers={"x-route-lambda": str(usd_per_quality)})

        def utility(row):
            return usd_per_quality * row["predicted_quality"] - row["predicted_cost_usd"]

        chosen = table(answer)[answer["model"]]
        best = max(utility(row) for row in eligible(answer))
        # What nobody sees is not paid for, nor a little saved on what everybody sees.
        unseen = (SEEN + 1e-4) * usd_per_quality + (NEAR_COST - 1) * chosen["predicted_cost_usd"]
        assert utility(chosen) >= best - unseen - 2e-9
        assert answer["decision"]["usd_per_quality"] == usd_per_quality


# --- limits -------------------------------------------------------------------------------------


def test_the_cost_limit_is_held_against_the_upper_estimate(client):
    rows = sorted(eligible(route(client)), key=lambda row: row["upper_cost_usd"])
    limit = (rows[2]["upper_cost_usd"] + rows[3]["upper_cost_usd"]) / 2
    answer = route(client, headers={"x-route-max-cost": f"{limit:.9f}", "x-cost-quality": "1"})
    for row in answer["candidates"]:
        assert row["eligible"] is (row["upper_cost_usd"] <= limit)
        assert row["exclusion"] == (None if row["eligible"] else "max_cost")
    assert answer["model"] in {row["model"] for row in rows[:3]}


def test_max_tokens_tightens_the_upper_estimate(client):
    rows = table(route(client, max_tokens=1))
    assert all(row["upper_output_tokens"] == 1 for row in rows.values())
    limit = max(row["upper_cost_usd"] for row in rows.values())
    answer = route(client, max_tokens=1, routing={"max_cost": limit})
    assert len(eligible(answer)) == 5


def test_a_cost_limit_that_nothing_meets_is_told_with_every_reason(client, stub):
    told = error(chat(client, headers={"x-route-max-cost": "0.0000001"}))
    assert told["code"] == "no_eligible_model"
    assert told["type"] == "invalid_request_error"
    assert set(told["models"]) == set(STUB_MODELS)
    assert all("limit is $1e-07" in why for why in told["models"].values())
    assert stub.log() == []


def test_a_pinned_model_keeps_to_the_cost_limit(client):
    told = error(chat(client, model="sim-frontier", headers={"x-route-max-cost": "0.0000001"}))
    assert told["code"] == "no_eligible_model"
    assert "limit" in told["models"]["sim-frontier"]
    served = chat(client, model="sim-frontier", headers={"x-route-max-cost": "1"})
    assert served.headers["x-route-reason"] == "pinned"
    assert served.headers["x-route-model"] == "sim-frontier"


def test_the_allow_list_is_kept_and_the_knob_shares_out_the_gap_within_it(client):
    allowed = {"x-route-models": "sim-small, sim-frontier"}
    for t, expected in ((0, "sim-small"), (1, "sim-frontier")):
        answer = route(client, headers={**allowed, "x-cost-quality": str(t)})
        assert answer["model"] == expected
        assert {row["model"] for row in eligible(answer)} == {"sim-small", "sim-frontier"}
    excluded = [row for row in answer["candidates"] if not row["eligible"]]
    assert {row["exclusion"] for row in excluded} == {"not_allowed"}
    by_body = route(client, routing={"models": ["sim-small", "sim-frontier"], "cost_quality": 0})
    assert by_body["model"] == "sim-small"
    only = chat(client, headers={"x-route-models": "sim-medium"})
    assert only.headers["x-route-model"] == "sim-medium"
    assert only.headers["x-route-reason"] == "only_eligible"


# --- policies, presets, precedence --------------------------------------------------------------


@pytest.mark.parametrize(("policy", "t"), [("default", 0.8), ("economy", 0.5), ("quality", 0.95)])
def test_a_policy_is_chosen_by_name_or_header_and_sets_the_knob(client, policy, t):
    by_name = route(client, model=f"auto:{policy}")
    by_header = route(client, headers={"x-route-policy": policy})
    by_body = route(client, routing={"policy": policy})
    for answer in (by_name, by_header, by_body):
        assert (answer["policy"], answer["cost_quality"]) == (policy, t)
    assert by_name["model"] == by_header["model"] == by_body["model"]


@pytest.mark.parametrize(("preset", "t"), [("economy", 0.5), ("balanced", 0.8), ("quality", 0.95)])
def test_presets_are_positions_of_the_knob(client, preset, t):
    assert route(client, headers={"x-cost-quality": preset})["cost_quality"] == t
    assert route(client, routing={"cost_quality": preset})["cost_quality"] == t


def test_a_header_wins_over_the_body_and_the_body_over_the_policy(client):
    quality = {"model": "auto:quality"}
    assert route(client, **quality)["cost_quality"] == 0.95
    assert route(client, **quality, routing={"cost_quality": 0.3})["cost_quality"] == 0.3
    answer = route(
        client, **quality, routing={"cost_quality": 0.3}, headers={"x-cost-quality": "0.1"}
    )
    assert answer["cost_quality"] == 0.1
    # Another objective in the header replaces the body's altogether.
    answer = route(client, routing={"cost_quality": 0.3}, headers={"x-route-max-quality-loss": "1"})
    assert answer["cost_quality"] is None


@pytest.mark.parametrize(
    ("headers", "fields", "param"),
    [
        ([("x-cost-quality", "0.1"), ("x-route-lambda", "1")], {}, "x-route-lambda"),
        ([("x-cost-quality", "0.1"), ("x-cost-quality", "0.1")], {}, "x-cost-quality"),
        ([], {"routing": {"min_quality": 1, "max_quality_loss": 0}}, "routing.min_quality"),
        ([("x-route-policy", "economy")], {"model": "auto:quality"}, "x-route-policy"),
        ([], {"model": "auto:quality", "routing": {"policy": "economy"}}, "routing.policy"),
        ([("x-route-policy", "nope")], {}, "x-route-policy"),
        ([("x-route-models", "sim-nano")], {"model": "sim-large"}, "x-route-models"),
        ([], {"routing": {"models": ["sim-nano", "gpt-9"]}}, "routing.models"),
        ([("x-route-models", "gpt-9")], {}, "x-route-models"),
        ([("x-cost-quality", "0.5")], {"model": "router-carrot-0.5"}, "model"),
        ([("x-route-policy", "default")], {"model": "router-carrot-0.5"}, "model"),
        ([], {"model": "router-carrot-1.5"}, "model"),
        ([], {"model": "router-carrot-nan"}, "model"),
        ([("x-route-nonsense", "1")], {}, "x-route-nonsense"),
        ([("x-cost-quality", "nan")], {}, "x-cost-quality"),
        ([("x-route-max-cost", "-1")], {}, "x-route-max-cost"),
    ],
)
def test_what_contradicts_itself_is_refused_by_name(client, headers, fields, param):
    for path in ("/v1/chat/completions", "/v1/route"):
        told = error(ask(client, path, headers=headers, **fields))
        assert (told["type"], told["param"]) == ("invalid_request_error", param)


@pytest.mark.parametrize(
    "model", ["gpt-9", "auto:nope", "auto:", "router-nope-0.5", "router-carrot-x", "AUTO", " auto"]
)
def test_an_unknown_model_lists_what_exists(client, model):
    told = error(chat(client, model=model), status=404)
    assert (told["code"], told["param"]) == ("model_not_found", "model")
    for name in ("auto:economy", "router-carrot-<threshold", *STUB_MODELS):
        assert name in told["message"]


def test_a_model_id_is_no_routing_at_all(client):
    answer = route(client, model="sim-large")
    assert answer["model"] == "sim-large"
    assert answer["decision"]["reason"] == "pinned"
    assert answer["candidates"] == []
    assert chat(client, model="sim-large").json()["model"] == "sim-large"


def test_a_threshold_name_decides_between_its_two_models(client):
    assert route(client, model="router-carrot-0")["model"] == "sim-frontier"
    assert route(client, model="router-carrot-1")["model"] == "sim-small"
    for prompt in PROMPTS:
        rows = table(route(client, prompt))
        score = rows["sim-frontier"]["predicted_quality"] * (
            1 - rows["sim-small"]["predicted_quality"]
        )
        below, above = max(0, score - 0.001), min(1, score + 0.001)
        assert route(client, prompt, model=f"router-carrot-{below:.5f}")["model"] == "sim-frontier"
        answer = route(client, prompt, model=f"router-carrot-{above:.5f}")
        assert (answer["model"], answer["decision"]["reason"]) == ("sim-small", "threshold")


# --- hard constraints ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "able", "exclusion"),
    [
        ({"response_format": SCHEMA}, NOT_NANO, "json_schema_unsupported"),
        (
            {"messages": [{"role": "user", "content": [PICTURE]}]},
            NOT_NANO,
            "vision_unsupported",
        ),
        (
            {"max_tokens": 50_000},
            set(STUB_MODELS) - {"sim-small", "sim-medium"},
            "max_output_tokens",
        ),
        (
            {"messages": [{"role": "user", "content": "word " * 110_000}]},
            {"sim-small", "sim-medium", "sim-large", "sim-frontier"},
            "context_window",
        ),
        (
            {"messages": [{"role": "user", "content": "word " * 200_000}]},
            {"sim-small", "sim-medium", "sim-frontier"},
            "context_window",
        ),
    ],
)
def test_models_that_cannot_take_a_request_are_excluded_with_the_reason(
    client, fields, able, exclusion
):
    answer = route(client, headers={"x-cost-quality": "0"}, **fields)
    assert {row["model"] for row in eligible(answer)} == able
    for row in answer["candidates"]:
        if not row["eligible"]:
            assert row["exclusion"] == exclusion
            assert row["exclusion_detail"]
    assert answer["model"] in able


def test_a_model_without_tools_is_excluded_where_there_are_some(fresh_client):
    client = fresh_client(
        {"models.sim-nano": {"upstream": "stub", "spec": "mistralai/mistral-7b-chat"}}
    )
    answer = route(client, headers={"x-cost-quality": "0"}, tools=TOOLS)
    assert {row["model"] for row in eligible(answer)} == NOT_NANO
    assert table(answer)["sim-nano"]["exclusion"] == "tools_unsupported"


def test_when_no_model_can_hear_everyone_says_so(client, stub):
    told = error(chat(client, messages=[{"role": "user", "content": [SOUND]}]))
    assert told["code"] == "no_eligible_model"
    assert told["models"] == dict.fromkeys(STUB_MODELS, "does not offer audio")
    assert error(chat(client, modalities=["text", "audio"]))["code"] == "no_eligible_model"
    assert stub.log() == []


def test_a_prompt_too_long_for_all_says_how_long_it_is(client):
    told = error(chat(client, "word " * 900_000))
    assert told["code"] == "no_eligible_model"
    assert "context window holds 1000000" in told["models"]["sim-frontier"]


@pytest.mark.parametrize("prompt", PROMPTS)
@pytest.mark.parametrize("t", ["0", "0.3", "0.5", "0.8", "1"])
def test_deciding_alone_and_serving_agree(client, prompt, t):
    decided = route(client, prompt, headers={"x-cost-quality": t})
    served = chat(client, prompt, headers={"x-cost-quality": t})
    assert served.headers["x-route-model"] == served.json()["model"] == decided["model"]
    assert served.headers["x-route-policy-version"] == decided["policy_version"]
    row = table(decided)[decided["model"]]
    assert float(served.headers["x-route-predicted-quality"]) == row["predicted_quality"]
    assert float(served.headers["x-route-predicted-cost-usd"]) == pytest.approx(
        row["predicted_cost_usd"], abs=1e-8
    )


def test_what_a_prediction_rests_on_is_said_wherever_it_is_told(client, fresh_client, artifacts):
    for path in ("/v1/chat/completions", "/v1/route"):
        assert ask(client, path).headers["x-route-evidence"] == "prior"
    answer = route(client)
    assert answer["evidence"] == "prior"
    assert {row["evidence"] for row in answer["candidates"]} == {"prior"}
    explained = chat(client, headers={"x-route-explain": "full"}).json()["steelyard"]
    assert {row["evidence"] for row in explained["candidates"]} == {"prior"}
    known = {name: with_outcomes(artifact) for name, artifact in artifacts.items()}
    calibrated = fresh_client(artifacts=known)
    assert chat(calibrated).headers["x-route-evidence"] == "outcomes"
    assert route(calibrated)["evidence"] == "outcomes"
    # Nothing is predicted of a model that was asked for by name.
    assert "x-route-evidence" not in chat(client, model="sim-large").headers
    assert route(client, model="sim-large")["evidence"] is None


def test_a_decision_says_why_and_so_does_every_range_of_the_knob(client):
    easy = route(client, "What is the capital of France?")
    assert easy["request"]["level"] == "trivial"
    assert easy["request"]["kind"] == "question"
    assert easy["why"] == "question, trivial: the cheapest model is predicted to do as well"
    hard = route(client, "Prove that sqrt(2) is irrational.")
    assert hard["request"]["level"] in ("demanding", "very demanding")
    assert hard["why"].startswith(f"mathematics, {hard['request']['level']}: the cheapest model is")
    for step in hard["counterfactual"]:
        middle = (step["from_cost_quality"] + step["to_cost_quality"]) / 2
        there = route(
            client, "Prove that sqrt(2) is irrational.", headers={"x-cost-quality": f"{middle:.4f}"}
        )
        assert there["why"] == step["why"]
    long = route(client, "Please repeat this text. " + "The cat sat on the mat. " * 2000)
    assert long["request"] is not None
    pinned = route(client, model="sim-large")
    assert (pinned["request"], pinned["why"]) == (None, "sim-large was asked for by name")


def test_deciding_alone_calls_nobody_and_has_the_headers(client, stub):
    response = ask(client, "/v1/route")
    assert stub.log() == []
    assert response.headers["x-route-model"] == response.json()["model"]
    assert response.headers["x-route-decision-id"] == response.json()["id"]
    refused = ask(client, "/v1/route", headers={"x-route-max-cost": "0"})
    assert refused.status_code == 400
    assert refused.headers["x-route-policy"] == "default"


# --- health and fallbacks -----------------------------------------------------------------------


def test_a_model_that_fails_is_avoided_afterwards(fresh_client, stub):
    client = fresh_client({"breaker.failures": 2})
    best = {"x-cost-quality": "1"}
    first = route(client, headers=best)["model"]
    stub.add_fault("status", model=first, status=500, times=2)
    for _ in range(2):
        assert chat(client, headers=best).headers["x-route-fallback-index"] == "1"
    answer = route(client, headers=best)
    assert table(answer)[first]["exclusion"] == "unhealthy"
    assert answer["model"] != first
    assert first not in answer["decision"]["fallbacks"]
    assert "x-route-fallback-index" not in chat(client, headers=best).headers
    assert client.get("/readyz").json()["unhealthy_models"] == [first]
    # Where nothing else may be tried it is tried all the same, and is well again.
    assert chat(client, headers={"x-route-models": first}).json()["model"] == first
    assert client.get("/readyz").json()["unhealthy_models"] == []


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("n_failures", [1, 2])
def test_fallbacks_are_tried_in_the_order_of_the_decision(client, stub, stream, n_failures):
    decided = route(client, stream=stream)
    order = [decided["model"], *decided["decision"]["fallbacks"]]
    for model in order[:n_failures]:
        stub.add_fault("status", model=model, status=503)
    response = chat(client, stream=stream)
    assert response.status_code == 200
    assert [entry.model for entry in stub.log()] == order[: n_failures + 1]
    assert response.headers["x-route-model"] == order[n_failures]
    assert response.headers["x-route-fallback-index"] == str(n_failures)
    assert response.headers["x-route-reason"] == "fallback"


def test_fallback_off_means_one_attempt(client, stub):
    stub.add_fault("status", status=503)
    told = error(chat(client, headers={"x-route-fallback": "off"}), status=502)
    assert [attempt["status"] for attempt in told["attempts"]] == [503]
    stub.add_fault("status", status=503)
    assert error(chat(client, routing={"fallback": "off"}), status=502)
    assert len(stub.log()) == 2


def test_when_every_attempt_fails_all_of_them_are_listed(client, stub):
    decided = route(client)
    stub.add_fault("status", status=503, times=2)
    stub.add_fault("bad_json")
    told = error(chat(client), status=502)
    assert told["code"] == "all_attempts_failed"
    assert [(each["model"], each["status"], each["error"]) for each in told["attempts"]] == [
        (decided["model"], 503, "upstream_unavailable"),
        (decided["decision"]["fallbacks"][0], 503, "upstream_unavailable"),
        (decided["decision"]["fallbacks"][1], None, "upstream_invalid_response"),
    ]
    assert all(each["ms"] >= 0 for each in told["attempts"])


def test_when_all_are_throttled_the_client_is_told_to_wait_for_the_first(client, stub):
    for retry_after_s in (9, 4, 6):
        stub.add_fault("status", status=429, retry_after_s=retry_after_s)
    response = chat(client)
    assert error(response, status=429)["code"] == "upstream_rate_limit_exceeded"
    assert response.headers["retry-after"] == "4"


# --- a router in trouble ------------------------------------------------------------------------


def count(client, line):
    """Return the value of one line of the metrics."""
    for each in client.get("/metrics").text.splitlines():
        if each.startswith(line):
            return float(each.rpartition(" ")[2])
    return 0.0


def test_a_router_that_fails_leaves_the_request_to_the_default_model(fresh_client, artifacts):
    artifact = TroubledArtifact(artifacts["carrot"])
    client = fresh_client(artifacts={"carrot": artifact})

    def trouble():
        raise ValueError("no predictions today")

    artifact.trouble = trouble
    for prompt in (PROMPTS[0], "long " * 5000):
        for stream in (False, True):
            response = chat(client, prompt, stream=stream, headers={"x-cost-quality": "1"})
            assert response.status_code == 200
            assert response.headers["x-route-model"] == "sim-medium"
            assert response.headers["x-route-reason"] == "router_error"
            assert "x-route-predicted-quality" not in response.headers
    answer = route(client)
    assert (answer["model"], answer["counterfactual"]) == ("sim-medium", [])
    # Hard constraints hold without predictions too.
    few = {"models": ["sim-nano", "sim-small"]}
    assert route(client, response_format=SCHEMA, routing=few)["model"] == "sim-small"
    line = 'gateway_router_failures_total{policy="default",reason="router_error"}'
    assert count(client, line) == 6
    artifact.trouble = None
    assert chat(client).headers["x-route-reason"] == "knob"


def test_a_router_that_is_late_leaves_the_request_to_the_default_model(fresh_client, artifacts):
    artifact = TroubledArtifact(artifacts["carrot"])
    changes = {"policies.default.router_deadline_s": 0.05}
    client = fresh_client(changes, artifacts={"carrot": artifact})
    release = threading.Event()
    artifact.trouble = release.wait
    prompt = "long " * 5000  # too long to be decided on the event loop
    try:
        response = chat(client, prompt, headers={"x-cost-quality": "1"})
        assert response.status_code == 200
        assert response.headers["x-route-model"] == "sim-medium"
        assert response.headers["x-route-reason"] == "router_timeout"
        assert float(response.headers["x-route-router-ms"]) >= 50
        assert client.get("/healthz").status_code == 200
    finally:
        release.set()
    line = 'gateway_router_failures_total{policy="default",reason="router_timeout"}'
    assert count(client, line) == 1


def test_an_unknown_price_is_null_and_keeps_a_model_out_where_costs_count(
    fresh_client, tmp_path, stub
):
    catalogue = tmp_path / "prices.json"
    models = {
        "unpriced": {
            "prices": {
                "input_usd_per_mtok": None,
                "output_usd_per_mtok": None,
                "source": "nobody knows",
                "date": "2026-01-01",
            },
            "context_window_tokens": 32768,
        }
    }
    priced = {"input_usd_per_mtok": 1.0, "output_usd_per_mtok": 2.0}
    models["priced"] = {
        **models["unpriced"],
        "prices": {**models["unpriced"]["prices"], **priced},
    }
    catalogue.write_text(json.dumps({"models": models}))
    client = fresh_client(
        {
            "catalogue": str(catalogue),
            "models": {
                "sim-nano": {
                    "upstream": "stub",
                    "spec": "unpriced",
                    "predicted_as": "gpt-4-1106-preview",
                },
                "sim-small": {
                    "upstream": "stub",
                    "spec": "priced",
                    "predicted_as": "mistralai/mistral-7b-chat",
                },
            },
            "routers": {"carrot": {}},
            "policies": {
                "default": {
                    "router": "carrot",
                    "candidates": ["sim-nano", "sim-small"],
                    "default_model": "sim-small",
                }
            },
        }
    )
    answer = route(client)
    assert answer["model"] == "sim-small"
    assert table(answer)["sim-nano"]["exclusion"] == "unknown_price"
    assert table(answer)["sim-nano"]["predicted_cost_usd"] is None
    assert route(client, headers={"x-cost-quality": "1"})["model"] == "sim-nano"
    response = chat(client, model="sim-nano")
    assert response.status_code == 200
    assert "x-route-cost-usd" not in response.headers
    events = chat(
        client, model="sim-nano", stream=True, stream_options={"include_usage": True}
    ).text.split("\n\n")
    assert json.loads(events[-3].removeprefix("data: "))["usage"]["cost_usd"] is None
