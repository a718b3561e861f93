from collections.abc import Mapping

import pytest

from app.gateway.deployments.loading import LoadCredits, Loading
from app.gateway.deployments.machines import Wait
from routers.decisions import CandidateEstimate, Decision, Reason
from routers.objectives import Constraints

RATE = 1.0


def decision(chosen, qualities: Mapping[str, float], *, rate=RATE, barred=()):
    candidates = tuple(
        CandidateEstimate(
            model_id=name, quality=quality, quality_std=0.0, input_tokens=1, output_tokens=1.0,
            output_tokens_upper=1.0, cost_usd=0.0, cost_usd_upper=0.0,
            exclusion="unhealthy" if name in barred else None,
        )
        for name, quality in qualities.items()
    )  # fmt: skip
    return Decision(
        model_id=chosen, fallbacks=(), candidates=candidates, reason=Reason.KNOB,
        usd_per_quality=rate,
    )  # fmt: skip


def test_waiting_and_loading_are_counted():
    waits = {"m": Wait(seconds=10.0, usd=0.02)}
    assert LoadCredits().surcharges(waits) == {"m": 0.02}
    assert LoadCredits().surcharges(waits, usd_per_wait_s=0.01) == {"m": pytest.approx(0.12)}


def test_many_small_losses_pay_for_loading_a_better_model_once():
    given_up, waits, n_without = LoadCredits(), {"better": Wait(seconds=30.0, usd=1.0)}, 0
    qualities = {"loaded": 0.7, "better": 0.8}
    while given_up.surcharges(waits)["better"] > 0.1:
        given_up.learn(decision("loaded", qualities), waits)
        n_without += 1
        assert n_without < 100
    # Nine times a tenth was given up; the tenth request would rather load it.
    assert n_without == 9
    given_up.learn(decision("better", qualities), waits)
    assert given_up.surcharges(waits) == {"better": 1.0}


def test_only_the_model_that_would_have_been_chosen_is_credited():
    given_up = LoadCredits()
    waits = {name: Wait(seconds=1.0, usd=1.0) for name in ("good", "best", "ill")}
    qualities = {"here": 0.5, "good": 0.6, "best": 0.7, "ill": 0.9}
    given_up.learn(decision("here", qualities, barred=["ill"]), waits)
    assert {name: given_up.of(name) for name in waits} == {
        "good": 0.0, "best": pytest.approx(0.2), "ill": 0.0,
    }  # fmt: skip


@pytest.mark.parametrize("rate", [None, float("inf")])
def test_where_quality_has_no_price_nothing_is_credited(rate):
    given_up, waits = LoadCredits(), {"m": Wait(seconds=1.0, usd=1.0)}
    given_up.learn(decision("here", {"here": 0.5, "m": 0.9}, rate=rate), waits)
    assert given_up.of("m") == 0.0


def test_waiting_that_latency_counts_already_is_not_counted_twice():
    loading = Loading(to_load=lambda _: {})
    waits = {"m": Wait(seconds=10.0, usd=0.02)}

    def latency(constraints, _):
        return constraints.with_surcharges({"m": 0.01 * 12.0, "other": 0.01})

    weigh = loading.beside(latency, waits, usd_per_wait_s=0.01)
    found = weigh(Constraints(), ()).surcharges_usd
    assert found == {"m": pytest.approx(0.12 + 0.02), "other": 0.01}
    alone = loading.beside(None, waits, usd_per_wait_s=0.0)
    assert alone(Constraints(), ()).surcharges_usd == {"m": 0.02}


def test_what_was_given_up_is_taken_off_the_wait_and_the_cost_and_no_more():
    loading, waits = Loading(to_load=lambda _: {}), {"m": Wait(seconds=10.0, usd=0.02)}
    for _ in range(3):
        loading.given_up.learn(decision("here", {"here": 0.5, "m": 0.55}), waits)

    def latency(constraints, _):
        return constraints.with_surcharges({"m": 0.01 * 12.0})

    found = loading.beside(latency, waits, usd_per_wait_s=0.01)(Constraints(), ())
    # 0.12 for the wait and the loading are paid for by the 0.15 given up; the answer's 2 s are not.
    assert found.surcharges_usd == {"m": pytest.approx(0.02)}
