"""What clients are told, cut, or refused where money is short or prices are not known."""

import json

import httpx
import openai
import pytest

from tests.support.gateway import CONFIGS, read_yaml, write_yaml
from tests.support.requests import assert_openai_error

ASK = [{"role": "user", "content": "What is a steelyard?"}]
BEST = {"x-cost-quality": "1"}


@pytest.fixture
def client():
    with httpx.Client(trust_env=False, timeout=30) as client:
        yield client


def ask(client, gateway, *, headers=None, path="chat/completions", **body):
    return client.post(
        f"{gateway.openai_url}/{path}",
        json={"model": "auto", "messages": ASK, **body},
        headers=headers,
    )


def budget(usd, **more):
    return {"allowances.key.budgets": [{"usd": usd, "period": "month"}], **more}


@pytest.fixture
def catalogue(tmp_path):
    """Return the shipped catalogue with changes to the prices or other facts of models."""

    def catalogue(**changes):
        document = read_yaml(CONFIGS / "models.yaml")
        for model_id, facts in changes.items():
            entry = document["models"][SPEC[model_id.replace("_", "-")]]
            prices = facts.pop("prices", {})
            entry.update(facts)
            entry["prices"] = {**entry["prices"], **prices}
        file = tmp_path / "models.yaml"
        write_yaml(file, document)
        return {"catalogue": str(file)}

    return catalogue


_MODELS = read_yaml(CONFIGS / "gateway.yaml")["models"]
SPEC = {model_id: model.get("spec", model_id) for model_id, model in _MODELS.items()}


def spec_of(gateway, model):
    return gateway.app.state.steelyard.config.specs[model]


# --- limits of answers --------------------------------------------------------------------------


@pytest.mark.parametrize("model", ["auto", "sim-frontier"])
@pytest.mark.parametrize("field", ["max_tokens", "max_completion_tokens"])
def test_more_than_a_model_gives_is_cut_to_what_it_gives_and_told(
    fresh_gateway, client, stub, model, field
):
    gateway = fresh_gateway()
    answer = ask(client, gateway, model=model, **{field: 200_000})
    assert answer.status_code == 200
    spec = spec_of(gateway, answer.headers["x-route-model"])
    limit = int(answer.headers["x-route-max-tokens"])
    assert 1_000 < limit <= (spec.max_output_tokens or spec.context_window_tokens)
    (entry,) = stub.log()
    assert entry.body[field] == limit


def test_what_a_model_gives_is_not_touched(fresh_gateway, client, stub):
    answer = ask(client, fresh_gateway(), model="sim-nano", max_tokens=7)
    assert "x-route-max-tokens" not in answer.headers
    (entry,) = stub.log()
    assert entry.body["max_tokens"] == 7


def test_a_policy_may_take_any_candidate_or_refuse_what_none_gives(fresh_gateway, client, stub):
    routing = {"cost_quality": 0, "models": ["sim-small", "sim-frontier"]}
    cheapest = {"routing": routing, "max_tokens": 50_000}
    cut = fresh_gateway({"policies.default.output_limit": "cut"})
    answer = ask(client, cut, **cheapest)
    assert answer.headers["x-route-model"] == "sim-small"
    assert answer.headers["x-route-max-tokens"] == str(stub.log()[0].body["max_tokens"])
    refuse = fresh_gateway({"policies.default.output_limit": "refuse"})
    assert ask(client, refuse, **cheapest).headers["x-route-model"] == "sim-frontier"
    refused = ask(client, refuse, **{**cheapest, "max_tokens": 900_000})
    assert assert_openai_error(refused, status=400)["code"] == "no_eligible_model"
    assert "900000 output tokens requested" in refused.text
    assert len(stub.log()) == 2


def test_near_the_end_of_a_budget_the_answer_is_bounded_by_what_is_left(
    fresh_gateway, client, stub
):
    prices = spec_of(fresh_gateway(), "sim-frontier").prices
    usd = prices.cost_usd(input_tokens=50, output_tokens=1_500)
    gateway = fresh_gateway(budget(usd))
    answer = ask(client, gateway, model="sim-frontier")
    assert answer.status_code == 200, answer.text
    bound = int(answer.headers["x-route-max-tokens"])
    assert 1_024 <= bound < 1_600
    (entry,) = stub.log()
    assert entry.body["max_tokens"] == bound
    # A client that names a limit gets that limit or nothing; where it names two, upstreams that
    # know only one of the names may heed the larger.
    for limits in ((8, 4_000), (4_000, 8)):
        both = dict(zip(("max_tokens", "max_completion_tokens"), limits, strict=True))
        refused = ask(client, gateway, model="sim-frontier", **both)
        assert assert_openai_error(refused, status=429)["code"] == "key_budget_exceeded"
    refused = ask(client, gateway, model="sim-frontier", max_tokens=4_000)
    assert assert_openai_error(refused, status=429)["code"] == "key_budget_exceeded"


def test_a_routed_request_steps_down_to_a_model_that_fits_before_it_is_refused(
    fresh_gateway, client
):
    any_gateway = fresh_gateway()
    dear, cheap = (spec_of(any_gateway, each).prices for each in ("sim-frontier", "sim-nano"))
    usd = 3 * cheap.cost_usd(input_tokens=50, output_tokens=500)
    assert usd < dear.cost_usd(input_tokens=5, output_tokens=500)
    gateway = fresh_gateway(budget(usd))
    answer = ask(client, gateway, headers=BEST, max_tokens=500)
    assert answer.status_code == 200, answer.text
    assert answer.headers["x-route-reason"] == "budget"
    assert answer.headers["x-route-model"] != "sim-frontier"
    for stuck in ({"model": "sim-frontier"}, {"routing": {"fallback": "off", "cost_quality": 1}}):
        refused = ask(client, gateway, max_tokens=500, **stuck)
        error = assert_openai_error(refused, status=429)
        assert "is left, too little of it for this request" in error["message"]


def test_a_fallback_under_a_budget_is_paid_beside_what_it_stands_in_for(
    fresh_gateway, client, stub
):
    stub.add_fault("bad_json")
    gateway = fresh_gateway(budget(1))
    answer = ask(client, gateway, headers=BEST, max_tokens=20)
    assert answer.status_code == 200, answer.text
    assert answer.headers["x-route-reason"] == "fallback"
    usage = answer.json()["usage"]
    served = spec_of(gateway, answer.headers["x-route-model"]).prices.cost_usd(
        input_tokens=usage["prompt_tokens"], output_tokens=usage["completion_tokens"]
    )
    assert usage["cost_usd"] > served  # the first one's prompt, and what came of its answer


def test_no_fallback_is_tried_that_the_budget_does_not_pay_for(fresh_gateway, client, stub):
    prices = spec_of(fresh_gateway(), "sim-frontier").prices
    # For one answer of the dearest model, and a token or two.
    usd = prices.cost_usd(input_tokens=24, output_tokens=20.5)
    gateway = fresh_gateway(budget(usd))
    stub.add_fault("bad_json", times=5)
    answer = ask(client, gateway, headers=BEST, max_tokens=20)
    spent = [entry.model for entry in stub.log()]
    assert answer.status_code in {200, 502}
    metrics = client.get(f"{gateway.url}/metrics").text
    (cost,) = (
        float(line.rpartition(" ")[2])
        for line in metrics.splitlines()
        if line.startswith("gateway_key_cost_usd_total")
    )
    assert cost <= usd, spent


def test_a_hedge_under_a_budget_is_paid_on_both_sides(fresh_gateway, client, stub):
    stub.add_fault("stall_before_headers")
    hedge = {f"policies.{name}.hedge_after_s": 0.05 for name in ("default", "economy", "quality")}
    gateway = fresh_gateway(budget(1, **hedge))
    answer = ask(client, gateway, headers=BEST, max_tokens=20)
    assert answer.status_code == 200, answer.text
    usage = answer.json()["usage"]
    served = spec_of(gateway, answer.headers["x-route-model"]).prices.cost_usd(
        input_tokens=usage["prompt_tokens"], output_tokens=usage["completion_tokens"]
    )
    assert usage["cost_usd"] > served


# --- prices -------------------------------------------------------------------------------------


def test_a_model_without_a_price_is_out_of_reach_under_a_budget(fresh_gateway, client, catalogue):
    unknown = catalogue(sim_frontier={"prices": {"output_usd_per_mtok": None}})
    gateway = fresh_gateway(budget(1, **unknown))
    pinned = ask(client, gateway, model="sim-frontier")
    error = assert_openai_error(pinned, status=403)
    assert error["code"] == "model_without_price"
    assert "'sim-frontier'" in error["message"]
    decided = ask(client, gateway, path="route", headers=BEST).json()
    assert decided["model"] != "sim-frontier"
    (why,) = (
        each["exclusion_detail"]
        for each in decided["candidates"]
        if each["model"] == "sim-frontier"
    )
    assert why == "its price is unknown, and a budget has to pay for it"
    assert ask(client, fresh_gateway(unknown), model="sim-frontier").status_code == 200


TIER = {"service_tier": "priority"}


@pytest.mark.parametrize(
    ("extra", "named"),
    [
        (TIER, "service_tier 'priority'"),
        ({"web_search_options": {}}, "web_search_options"),
        ({"tools": [{"type": "web_search_preview"}]}, "tools 'web_search_preview'"),
        ({"tools": [{"google_search": {}}]}, "tools 'untyped'"),
        ({"preset": "mine"}, "preset 'mine'"),
        ({"enable_search": True}, "enable_search"),
    ],
)
def test_a_field_that_changes_the_price_needs_one_under_a_budget(
    fresh_gateway, client, stub, extra, named
):
    refused = ask(client, fresh_gateway(budget(1)), model="sim-frontier", **extra)
    error = assert_openai_error(refused, status=403)
    assert error["code"] == "model_without_price"
    assert f"its price with {named} is unknown" in error["message"]
    assert not stub.log()


def test_a_field_with_a_surcharge_is_booked_with_it(fresh_gateway, client, catalogue):
    surcharges = [
        {"field": "service_tier", "value": "priority", "factor": 2.0},
        {"field": "web_search_options", "usd_per_request": 0.025},
    ]
    gateway = fresh_gateway(
        budget(1, **catalogue(sim_frontier={"prices": {"surcharges": surcharges}}))
    )

    def cost_usd(**fields):
        answer = ask(client, gateway, model="sim-frontier", **fields)
        assert answer.status_code == 200, answer.text
        return answer.json()["usage"]["cost_usd"]

    plain = cost_usd()
    assert cost_usd(service_tier="default") == plain
    assert cost_usd(**TIER) == pytest.approx(2 * plain, abs=1e-8)
    both = cost_usd(**TIER, web_search_options={"search_context_size": "low"})
    assert both == pytest.approx(2 * plain + 0.025, abs=1e-8)


def test_without_a_budget_such_an_answer_is_booked_as_unpriced(fresh_gateway, client):
    gateway = fresh_gateway()
    answer = ask(client, gateway, model="sim-frontier", **TIER)
    assert answer.status_code == 200
    assert "x-route-cost-usd" not in answer.headers
    metrics = client.get(f"{gateway.url}/metrics").text
    assert 'gateway_unpriced_calls_total{model="sim-frontier",role="answer"} 1.0' in metrics


# --- what clients are told ----------------------------------------------------------------------


@pytest.mark.parametrize("stream", [False, True])
def test_the_cost_stands_in_the_answer_rounded_like_in_its_header(fresh_gateway, client, stream):
    gateway = fresh_gateway()
    cached = {"routing": {"cache": "on"}}
    asked = {"stream": stream, "stream_options": {"include_usage": True}} if stream else {}

    def told(answer):
        if not stream:
            return answer.json()["usage"]["cost_usd"]
        *_, last, done = [line for line in answer.text.split("\n\n") if line]
        assert done == "data: [DONE]"
        return json.loads(last.removeprefix("data: "))["usage"]["cost_usd"]

    first = told(ask(client, gateway, **cached, **asked))
    assert first == round(first, 8) > 0
    hit = ask(client, gateway, **cached, **asked)
    assert hit.headers["x-route-cache"] == "hit"
    assert told(hit) == float(hit.headers["x-route-cost-usd"]) == 0


@pytest.mark.parametrize(("status", "n_calls"), [(401, 1), (403, 1), (503, 3)])
def test_clients_do_not_repeat_what_only_the_operator_can_mend(
    fresh_gateway, stub, monkeypatch, status, n_calls
):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    gateway = fresh_gateway({"upstreams.stub.retries": 0, "breaker.failures": 1000})
    stub.add_fault("status", status=status, times=100)
    with (
        openai.OpenAI(base_url=gateway.openai_url, api_key="x", max_retries=2) as sdk,
        pytest.raises(openai.APIStatusError),
    ):
        sdk.chat.completions.create(model="sim-nano", messages=ASK)
    assert len(stub.log()) == n_calls
