import math

import pytest

from routers.decision.deadline import bar_late, by_lateness, late_s
from routers.decisions import CandidateEstimate, Exclusion, Latency
from routers.objectives import Constraints


def latency(total_s_upper, ttft_s_upper=0.5):
    return Latency(ttft_s=0.1, ttft_s_upper=ttft_s_upper, total_s=0.2, total_s_upper=total_s_upper)


def estimate(model_id, found, quality=0.5):
    return CandidateEstimate(
        model_id=model_id,
        quality=quality,
        quality_std=None,
        input_tokens=1,
        output_tokens=1.0,
        output_tokens_upper=1.0,
        cost_usd=0.0,
        cost_usd_upper=0.0,
        latency=found,
    )


@pytest.mark.parametrize(
    ("found", "limits", "late"),
    [
        (latency(3.0), {"max_latency_s": 2.0}, 1.0),
        (latency(3.0), {"max_latency_s": 3.0}, 0.0),
        (latency(3.0, 0.9), {"max_ttft_s": 0.4}, 0.5),
        (latency(3.0, 0.9), {"max_latency_s": 2.5, "max_ttft_s": 0.2}, 0.7),
        (latency(3.0), {"max_latency_s": -1.0}, 4.0),
        (None, {"max_latency_s": 2.0}, math.inf),
        (latency(3.0), {}, -math.inf),
    ],
)
def test_of_both_limits_the_one_that_is_missed_by_more_counts(found, limits, late):
    assert late_s(found, Constraints(**limits)) == pytest.approx(late)


def test_who_may_be_late_is_barred_and_told_why_unless_everybody_may_be():
    estimates = [estimate("slow", latency(5.0)), estimate("quick", latency(1.0))]
    barred = [None, None]
    assert bar_late(estimates, barred, Constraints(max_latency_s=2.0))
    assert barred == [(Exclusion.LATENCY, "may take 5 s, the limit is 2 s"), None]
    barred = [None, None]
    assert not bar_late(estimates, barred, Constraints(max_latency_s=0.5))
    assert barred == [None, None]


def test_who_is_barred_for_another_reason_saves_nobody_from_being_late():
    why = (Exclusion.VISION, "does not offer vision")
    estimates = [estimate("slow", latency(5.0)), estimate("blind", latency(1.0))]
    barred = [None, why]
    assert not bar_late(estimates, barred, Constraints(max_latency_s=2.0))
    assert barred == [None, why]
    assert bar_late(estimates, [why, why], Constraints(max_latency_s=2.0))


def test_of_those_that_are_late_the_quickest_comes_first_and_the_unknown_last():
    estimates = [
        estimate("unknown", None),
        estimate("slow", latency(5.0)),
        estimate("worse", latency(3.0), 0.4),
        estimate("better", latency(3.0), 0.6),
    ]
    ranked = by_lateness(estimates, Constraints(max_latency_s=2.0))
    assert [each.model_id for each in ranked] == ["better", "worse", "slow", "unknown"]
