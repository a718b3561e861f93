"""What is counted of one request, to the cent and the token."""

import dataclasses

import pytest
from msgspec import structs
from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.parser import text_string_to_metric_families

from app.calls import CallRole
from app.errors import InvalidRequestError, OverloadedError, UnauthenticatedError
from app.telemetry._declare import OTHER, Count, Distribution, FirstNames
from app.telemetry.baselines import BudgetFact
from app.usage import Usage
from loadtest.bench_metrics import configured_metrics, example_outcome
from routers.decisions import Exclusion, Reason
from routers.objectives import CostQuality, MinQuality
from routers.probe import Stage
from tests.support.calls import call

CHAT = {"route": "/v1/chat/completions", "policy": "default"}


@pytest.fixture
def metrics():
    return configured_metrics()


@pytest.fixture
def value(metrics):
    """Return the sum of the samples of a name that have these labels."""

    def value(name, /, **labels):
        return sum(
            sample.value
            for family in text_string_to_metric_families(metrics.render().decode())
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )

    return value


def test_a_request_is_counted_with_all_that_it_used(metrics, value):
    metrics.record(example_outcome("sim-small"))
    model = {"model": "sim-small"}
    assert value("gateway_requests_total", **CHAT, **model, status_class="2xx", error="") == 1
    assert value("gateway_tokens_total", **model, **{"class": "output"}) == 190
    assert value("gateway_cost_usd_total", **model) == pytest.approx(1.5e-4)
    assert value("gateway_key_cost_usd_total", key="anonymous", team="none") == pytest.approx(
        1.5e-4
    )
    assert value("gateway_key_tokens_total") == 270
    per_token = value("gateway_time_per_output_token_seconds_sum", **model)
    assert per_token == pytest.approx((2.5 - 0.4) / 189)


def test_predictions_stand_beside_what_came_of_them(metrics, value):
    for _ in range(2):
        metrics.record(structs.replace(example_outcome("sim-small"), n_answers=2))
    assert value("gateway_predicted_cost_usd_total") == pytest.approx(2 * 4e-5)
    assert value("gateway_realised_cost_usd_total") == pytest.approx(2 * 1.5e-4)
    assert value("gateway_cost_ratio_sum") == pytest.approx(2 * 3.75)
    assert value("gateway_predicted_output_tokens_total") == 2 * 2 * 200
    assert value("gateway_realised_output_tokens_total") == 2 * 190
    assert value("gateway_predicted_quality_sum", model="sim-small") == pytest.approx(1.0)


@pytest.mark.parametrize(
    "changed", [{"error": "upstream_timeout"}, {"usage": None}, {"decision": None}]
)
def test_what_was_cut_short_or_not_predicted_is_compared_with_nothing(metrics, value, changed):
    metrics.record(structs.replace(example_outcome("sim-small"), **changed))
    assert value("gateway_predicted_cost_usd_total") == 0
    assert value("gateway_compared_cost_usd_total") == 0


def test_savings_are_net_of_scorers_and_hedges_against_each_baseline(metrics, value):
    usage = Usage(input_tokens=80, output_tokens=2)
    scorer = call("sim-nano", role=CallRole.JUDGE, usage=usage, cost_usd=2e-5)
    outcome = example_outcome("sim-small")
    lost = call("sim-large", error="hedge_lost", cost_usd=1e-5)
    metrics.record(structs.replace(outcome, calls=(scorer, lost, *outcome.calls)))
    baselines = {
        "strongest": 1e-5 * 4**4,
        "default": 1e-5 * 4**2,
        "cheapest": 1e-5,
        "chosen": 4e-5,
    }
    for baseline, cost_usd in baselines.items():
        told = value("gateway_baseline_cost_usd_total", policy="default", baseline=baseline)
        assert told == pytest.approx(cost_usd)
    assert value("gateway_compared_cost_usd_total") == pytest.approx(1.8e-4)
    assert value("gateway_realised_cost_usd_total") == pytest.approx(1.5e-4)


def test_every_call_is_counted_by_what_it_was_for(metrics, value):
    usage = Usage(input_tokens=80, output_tokens=2)
    judges = [
        call("sim-nano", role=CallRole.JUDGE, error="upstream_timeout", usage=usage, cost_usd=2e-5),
        call("sim-nano", role=CallRole.JUDGE, upstream="", error="unhealthy"),
    ]
    hedge = call("sim-large", role=CallRole.HEDGE, error="hedge_lost", usage=usage, cost_usd=1e-5)
    outcome = example_outcome("sim-small")
    metrics.record(structs.replace(outcome, calls=(*judges, hedge, *outcome.calls)))
    for role, cost_usd, n in (("judge", 2e-5, 2), ("hedge", 1e-5, 1), ("answer", 1.5e-4, 1)):
        assert value("gateway_calls_total", role=role) == n
        assert value("gateway_cost_usd_total", role=role) == pytest.approx(cost_usd)
    assert value("gateway_calls_total", upstream="none", error="unhealthy") == 1
    assert value("gateway_upstream_duration_seconds_count") == 3  # no call came about for one
    assert value("gateway_key_tokens_total") == 80 + 190 + 2 * 82


def test_an_unknown_price_leaves_a_request_out_of_the_comparison(metrics, value):
    outcome = example_outcome("sim-small")
    candidates = tuple(
        structs.replace(each, cost_usd=None) if each.model_id == "sim-frontier" else each
        for each in outcome.decision.candidates
    )
    metrics.record(
        structs.replace(
            outcome, decision=dataclasses.replace(outcome.decision, candidates=candidates)
        )
    )
    assert value("gateway_baseline_cost_usd_total") == 0
    assert value("gateway_compared_cost_usd_total") == 0
    assert value("gateway_predicted_cost_usd_total") == pytest.approx(4e-5)


def test_the_promise_lies_between_the_cheapest_and_the_best_that_may_serve(metrics, value):
    outcome = example_outcome("sim-small")
    candidates = tuple(
        structs.replace(each, exclusion=Exclusion.TOOLS)
        if each.model_id == "sim-frontier"
        else each
        for each in outcome.decision.candidates
    )
    decision = dataclasses.replace(outcome.decision, candidates=candidates)
    metrics.record(structs.replace(outcome, decision=decision, objective=CostQuality(0.25)))
    of = {
        name: value("gateway_expected_quality_total", of=name)
        for name in ("cheapest", "best", "served", "promised")
    }
    assert of == pytest.approx(
        {"cheapest": 0.4, "best": 0.7, "served": 0.5, "promised": 0.4 + 0.25 * 0.3}
    )
    assert value("gateway_cost_quality_asked_sum") == 0.25
    metrics.record(structs.replace(outcome, objective=MinQuality(0.5)))
    assert value("gateway_cost_quality_asked_count") == 1


def test_scores_fall_into_the_tenths_of_the_calibration_queries(metrics, value):
    bins = {each: value("gateway_score_bin_total", bin=str(each)) for each in range(10)}
    assert bins == dict.fromkeys(range(10), 0.0)
    metrics.record(example_outcome("sim-small"))  # the mean of 0.4 to 0.8
    assert value("gateway_score_bin_total", bin="6") == 1
    assert value("gateway_score_bin_total") == 1


def test_retries_fallbacks_and_hedges_are_told_apart(metrics, value):
    outcome = example_outcome("sim-small")

    def attempt(model_id, error=None, **fields):
        return call(model_id, error=error, **fields)

    failed = attempt("sim-small", "upstream_unavailable", cost_usd=2e-5)
    metrics.record(
        structs.replace(
            outcome,
            calls=(failed, failed, attempt("sim-large")),
            served_model_id="sim-large",
            reason=Reason.FALLBACK,
        )
    )
    assert value("gateway_retries_total", model="sim-small") == 1
    assert value("gateway_fallbacks_total", decided_model="sim-small", model="sim-large") == 1
    usage = Usage(input_tokens=80, output_tokens=0, estimated=True)
    lost = attempt("sim-large", "hedge_lost", usage=usage, cost_usd=1e-5)
    metrics.record(structs.replace(outcome, calls=(lost, attempt("sim-small"))))
    for error, cost_usd in {"hedge_lost": 1e-5, "upstream_unavailable": 4e-5}.items():
        assert value("gateway_unserved_cost_usd_total", error=error) == pytest.approx(cost_usd)
    estimated = {"model": "sim-large", "class": "input", "estimated": "true"}
    assert value("gateway_tokens_total", **estimated) == 80
    assert value("gateway_upstream_duration_seconds_count", upstream="stub") == 5


def test_names_that_are_not_configured_are_counted_as_other(metrics, value):
    outcome = structs.replace(
        example_outcome("sim-small"), policy="made-up", served_model_id="made-up"
    )
    metrics.record(outcome)
    assert value("gateway_requests_total", policy=OTHER, model=OTHER) == 1
    assert b"made-up" not in metrics.render()


def test_keys_beyond_the_first_ones_share_a_label():
    names = FirstNames(most=2)
    assert [names[each] for each in ("a", "b", "c", "a", "c", None)] == (
        ["a", "b", OTHER, "a", OTHER, "none"]
    )
    assert len(names) == 3


@pytest.mark.parametrize(
    ("error", "status_class", "code"),
    [
        (InvalidRequestError("no"), "4xx", "invalid_request"),
        (UnauthenticatedError("no"), "4xx", "invalid_api_key"),
        (OverloadedError("no"), "5xx", "overloaded"),
    ],
)
def test_requests_that_were_turned_away_are_counted_by_their_code(
    metrics, value, error, status_class, code
):
    metrics.requests.refused("/v1/route", error)
    labels = {"route": "/v1/route", "policy": "none", "model": "none"}
    assert value("gateway_requests_total", **labels, status_class=status_class, error=code) == 1


def test_what_was_served_before_a_reload_is_no_longer_told(metrics, value):
    assert value("gateway_build_info", config_version="0") == 1
    metrics.configured(version="0", config_version="1", models=("new",), upstreams=(), policies=())
    assert value("gateway_build_info", config_version="0") == 0
    assert value("gateway_build_info", config_version="1") == 1
    assert value("gateway_policy_info") == 0


def test_models_are_told_with_what_they_are_variants_of(metrics, value):
    served = ("nano", "nano@terse", "nano@low_detail")
    metrics.configured(version="0", config_version="1", models=served, upstreams=(), policies=())
    for model in served:
        assert value("gateway_model_info", model=model, base_model="nano") == 1
    metrics.configured(version="0", config_version="2", models=("nano",), upstreams=(), policies=())
    assert value("gateway_model_info", model="nano@terse", base_model="nano") == 0
    assert value("gateway_model_info", model="nano", base_model="nano") == 1


def test_budgets_stages_and_drift_are_shown_as_told(metrics, value):
    metrics.process.budgets(
        [
            BudgetFact(
                scope="key",
                name="key-1",
                period="day",
                limit_usd=5,
                spent_usd=2,
                reserved_usd=0.5,
            )
        ]
    )
    labels = {"scope": "key", "name": "key-1", "period": "day"}
    assert value("gateway_budget_limit_usd", **labels) == 5
    assert value("gateway_budget_spent_usd", **labels) == 2
    assert value("gateway_budget_reserved_usd", **labels) == 0.5
    metrics.routing.staged({Stage.EMBED: 0.001, Stage.PICK: 0.002})
    assert value("gateway_decide_stage_seconds_sum", stage="embed") == 0.001
    metrics.drift.sampled("default", distance=0.25, familiarity="uncertain")
    assert value("gateway_drift_prompts_total", familiarity="uncertain") == 1
    assert value("gateway_drift_distance_sum", policy="default") == 0.25


def test_the_short_ways_count_as_the_library_does():
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    values = (0.0, 0.1, 0.1000001, 0.5, 1.0, 2.0)
    counts = [Counter("n", "n", registry=each) for each in (ours, theirs)]
    times = [Histogram("t", "t", buckets=(0.1, 0.5, 1.0), registry=each) for each in (ours, theirs)]
    count, distribution = Count(counts[0]), Distribution(times[0])
    for each in values:
        count.inc(each)
        counts[1].inc(each)
        distribution.observe(each)
        times[1].observe(each)

    def samples(registry):
        return [
            (sample.name, sample.labels, sample.value)
            for metric in registry.collect()
            for sample in metric.samples
            if not sample.name.endswith("_created")
        ]

    assert samples(ours) == samples(theirs)
