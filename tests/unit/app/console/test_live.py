import numpy as np
import pytest

from app.calls import CallRole
from app.console.live import N_LISTED, savings, summarise
from app.outcome import CacheState, Outcome
from app.telemetry.recent import KEPT, Ended, Recent
from app.usage import Usage
from routers.decisions import CandidateEstimate, Decision, Reason
from tests.support.calls import call

MODELS = {"small": (0.6, 0.001), "large": (0.8, 0.010)}


def outcome(served="small", *, cost_usd=0.001, **changes):
    """Return how a request between `small` and `large` ended."""
    decision = Decision(
        model_id=served or "small",
        fallbacks=(),
        candidates=tuple(
            CandidateEstimate(
                model_id=model_id,
                quality=quality,
                quality_std=0.1,
                input_tokens=10,
                output_tokens=20.0,
                output_tokens_upper=40.0,
                cost_usd=predicted,
                cost_usd_upper=2 * predicted,
            )
            for model_id, (quality, predicted) in MODELS.items()
        ),
        reason=Reason.KNOB,
        usd_per_quality=0.1,
    )
    values = {
        "request_id": "r",
        "decision_id": "d",
        "policy": "default",
        "policy_version": "v",
        "stream": False,
        "decision": decision,
        "reason": Reason.KNOB,
        "calls": () if changes.get("cache") else (call("small", cost_usd=cost_usd),),
        "served_model_id": served,
        "response_model": served,
        "finish_reason": "stop",
        "usage": Usage(input_tokens=10, output_tokens=20),
        "decide_s": 0.001,
        "overhead_s": 0.002,
        "time_to_first_token_s": 0.1,
        "duration_s": 0.5,
        "status": 200,
        "error": None,
    }
    return Outcome(**{**values, **changes})


def ended(*outcomes):
    return [Ended.of(each, at=float(i)) for i, each in enumerate(outcomes)]


def summary(*outcomes, now=60.0):
    return summarise(ended(*outcomes), process_id=1, now=now, started_at=0.0, n_seen=len(outcomes))


def test_savings_are_against_what_the_strongest_would_have_cost():
    found = savings(ended(outcome(cost_usd=0.002), outcome(cost_usd=0.003)))
    assert found.strongest == ("large",)
    assert found.strongest_usd == pytest.approx(0.020)
    assert found.share == pytest.approx(1 - 0.005 / 0.020)
    assert found.quality == pytest.approx(0.6)
    assert found.strongest_quality == pytest.approx(0.8)


def test_where_the_strongest_served_nothing_was_saved_whatever_was_predicted():
    found = savings(ended(outcome("large", cost_usd=0.5), outcome("large", cost_usd=0.001)))
    assert found.share == 0.0


def test_savings_are_net_of_scorers():
    usage = Usage(input_tokens=100, output_tokens=1)
    calls = (
        call("judge", role=CallRole.JUDGE, usage=usage, cost_usd=0.004),
        call("small", cost_usd=0.001),
    )
    found = savings(ended(outcome(calls=calls)))
    assert found.actual_usd == pytest.approx(0.005)


def test_routing_can_cost_more_than_it_saves():
    found = savings(ended(*[outcome(cost_usd=0.030)] * 10))
    assert found.share == pytest.approx(-2.0)


def test_the_interval_needs_some_requests_and_narrows_with_them():
    mixed = [outcome(cost_usd=0.001), outcome("large", cost_usd=0.010)]
    assert savings(ended(*mixed)).low is None
    some, many = savings(ended(*mixed * 5)), savings(ended(*mixed * 50))
    assert some.low < some.share < some.high
    assert (some.high - some.low) / (many.high - many.low) == pytest.approx(3.3, abs=0.1)


def test_the_interval_covers_the_share_of_all_traffic_as_often_as_it_says():
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(300):
        paid = rng.lognormal(-6.5, 0.6, 200)
        found = savings(ended(*[outcome(cost_usd=float(each)) for each in paid]))
        truth = 1 - float(np.exp(-6.5 + 0.6**2 / 2)) / 0.010
        covered += found.low <= truth <= found.high
    assert 0.90 <= covered / 300 <= 0.97


@pytest.mark.parametrize(
    "changes",
    [
        {"decision": None},
        {"served_model_id": None},
        {"cost_usd": None},
        {"cache": CacheState.HIT, "cost_usd": 0.0},
    ],
)
def test_requests_that_compare_with_nothing_are_left_out(changes):
    assert savings(ended(outcome(**changes))) is None
    assert savings(ended(outcome(**changes), outcome())).n == 1


def test_nothing_is_claimed_of_nothing():
    live = summary()
    assert (live.savings, live.traffic, live.recent) == (None, (), ())
    assert live.window.requests_per_minute is None
    assert live.window.overhead_p50_s is None


def test_the_window_counts_what_happened():
    live = summary(
        outcome(),
        outcome("large", cost_usd=0.02, reason=Reason.FALLBACK),
        outcome(None, cost_usd=None, status=502, error="all_attempts_failed", usage=None),
        outcome(cost_usd=None),
        outcome(cache=CacheState.HIT, cost_usd=0.0),
    )
    seen = live.window
    assert (seen.n, seen.errors, seen.fallbacks, seen.cache_hits, seen.unpriced) == (5, 1, 1, 1, 1)
    assert seen.cost_usd == pytest.approx(0.021)
    assert (seen.compared_cost_usd, seen.predicted_cost_usd) == pytest.approx((0.021, 0.011))
    assert seen.requests_per_minute == pytest.approx(5)
    assert [(each.model, each.n) for each in live.traffic] == [("small", 3), ("large", 1)]
    assert live.traffic[0].share == 0.75


def test_the_newest_come_first_and_not_all_are_listed():
    live = summary(*[outcome(decision_id=str(i)) for i in range(N_LISTED + 5)])
    assert len(live.recent) == N_LISTED
    assert live.recent[0].decision_id == str(N_LISTED + 4)
    assert live.window.n == N_LISTED + 5


def test_quantiles_are_times_that_were_measured():
    live = summary(*[outcome(overhead_s=i / 1000) for i in range(1, 101)])
    assert (live.window.overhead_p50_s, live.window.overhead_p99_s) == (0.050, 0.099)


def test_only_the_newest_are_remembered_and_all_are_counted():
    recent = Recent(now=lambda: 7.0)
    for i in range(KEPT + 3):
        recent.record(outcome(decision_id=str(i)), 7.0)
    kept = recent.snapshot()
    assert (recent.n_seen, len(kept)) == (KEPT + 3, KEPT)
    assert (kept[0].decision_id, kept[0].at) == ("3", 7.0)
