import math
from dataclasses import replace

import msgspec
import pytest

from routers.decision.switching import (
    LastTurn,
    Scarcity,
    SessionReason,
    SessionState,
    SwitchRule,
    switch_cost_usd,
    weigh,
)
from routers.decisions import CandidateEstimate, Decision, Exclusion, Reason
from routers.models import Prices
from routers.objectives import (
    CostQuality,
    MaxQualityLoss,
    MinQuality,
    StrongThreshold,
    UsdPerQuality,
)

PRICES = Prices(input_usd_per_mtok=10.0, output_usd_per_mtok=30.0, cached_input_usd_per_mtok=1.0)
LOCKS = [
    SessionReason.LOCKED_TOOLS,
    SessionReason.LOCKED_REASONING,
    SessionReason.LOCKED_RESPONSE_ID,
]


def estimate(model_id, quality, cost_usd, *, exclusion=None, input_tokens=50_000):
    return CandidateEstimate(
        model_id=model_id,
        quality=quality,
        quality_std=None,
        input_tokens=input_tokens,
        output_tokens=100.0,
        output_tokens_upper=200.0,
        cost_usd=cost_usd,
        cost_usd_upper=cost_usd,
        exclusion=exclusion,
    )


def decision(model_id="new", *, old=(0.8, 0.10), new=(0.9, 0.12), rate=1.0, exclusion=None):
    """Return a decision for `new`; `third` is worse than both."""
    candidates = (
        estimate("old", *old, exclusion=exclusion),
        estimate("new", *new),
        estimate("third", 0.1, 9.0),
    )
    ranked = [model_id, *(c.model_id for c in candidates if c.eligible and c.model_id != model_id)]
    return Decision(
        model_id=model_id,
        fallbacks=tuple(ranked[1:]),
        candidates=candidates,
        reason=Reason.KNOB,
        usd_per_quality=rate,
    )


def judge(
    made, objective=None, *, tokens=0, idle_s=0.0, lock=None, old="old", stalled=False,
    scarcity=None, **rule,
):  # fmt: skip
    return weigh(
        made,
        LastTurn(model_id=old, prefix_tokens=tokens, idle_s=idle_s),
        objective=objective or UsdPerQuality(1.0),
        prices=PRICES,
        rule=SwitchRule(**rule),
        lock=lock,
        stalled=stalled,
        scarcity=scarcity,
    )


def test_a_small_gain_does_not_throw_the_prefix_cache_away():
    # Gain: 1 $ * 0.1 - (0.12 - 0.10) = $0.08; 10,000 tokens at a discount of $9 a million: $0.09.
    verdict = judge(decision(), tokens=10_000)
    assert verdict.reason is SessionReason.RETAIN
    assert verdict.gain_usd == pytest.approx(0.08)
    assert verdict.switch_cost_usd == pytest.approx(0.09)
    assert verdict.decision.model_id == "old"
    assert verdict.decision.fallbacks == ("new", "third")
    assert verdict.decision.reason is Reason.STICKY


def test_a_gain_above_the_lost_cache_switches():
    verdict = judge(decision(), tokens=8_000)
    assert verdict.switch_cost_usd == pytest.approx(0.072)
    assert verdict.reason is SessionReason.SWITCH
    assert verdict.decision == decision()
    assert verdict.previous_model_id == "old"


def test_the_cost_of_a_switch_fades_until_the_cache_is_cold():
    half_cold = judge(decision(), tokens=10_000, idle_s=150.0)
    assert half_cold.switch_cost_usd == pytest.approx(0.045)
    assert half_cold.reason is SessionReason.SWITCH
    for idle_s in (300.0, 1e6, -1.0):
        assert judge(decision(), tokens=10**9, idle_s=idle_s).switch_cost_usd == 0
    assert judge(decision(), tokens=10**9, cache_lifetime_s=0.0).switch_cost_usd == 0


def test_a_margin_holds_a_conversation_beyond_its_cache():
    assert judge(decision(), idle_s=1e6, margin_usd=0.1).reason is SessionReason.RETAIN
    assert judge(decision(), idle_s=1e6, margin_usd=0.07).reason is SessionReason.SWITCH


def test_a_shortened_conversation_has_no_longer_prefix_than_its_prompt():
    last = LastTurn(model_id="old", prefix_tokens=1_000_000, idle_s=0.0)
    short = estimate("old", 0.8, 0.1, input_tokens=1_000)
    cost = switch_cost_usd(last, short, prices=PRICES, rule=SwitchRule())
    assert cost == pytest.approx(0.009)


@pytest.mark.parametrize(
    "prices",
    [
        None,
        Prices(input_usd_per_mtok=None, output_usd_per_mtok=None),
        Prices(input_usd_per_mtok=5.0, output_usd_per_mtok=5.0),
        Prices(input_usd_per_mtok=5.0, output_usd_per_mtok=5.0, cached_input_usd_per_mtok=6.0),
    ],
)
def test_no_discount_is_invented_where_none_is_known(prices):
    last = LastTurn(model_id="old", prefix_tokens=1_000_000, idle_s=0.0)
    old = estimate("old", 0.8, 0.1)
    assert switch_cost_usd(last, old, prices=prices, rule=SwitchRule()) == 0


def test_the_same_choice_again_is_unchanged():
    verdict = judge(decision("old"), tokens=10_000)
    assert verdict.reason is SessionReason.UNCHANGED
    assert verdict.decision == decision("old")


@pytest.mark.parametrize("lock", LOCKS)
@pytest.mark.parametrize("choice", ["old", "new"])
def test_a_lock_holds_the_model_and_leaves_no_fallback(lock, choice):
    verdict = judge(decision(choice, rate=1e9), lock=lock)
    assert verdict.decision.model_id == "old"
    assert verdict.decision.fallbacks == ()
    assert verdict.reason is lock


@pytest.mark.parametrize("lock", [None, *LOCKS])
@pytest.mark.parametrize(
    "exclusion",
    [each for each in Exclusion if each not in (Exclusion.UNHEALTHY, Exclusion.DEMOTED)],
)
def test_a_model_that_may_not_serve_is_left_even_under_a_lock(lock, exclusion):
    verdict = judge(decision(exclusion=exclusion), tokens=10**9, lock=lock)
    assert verdict.reason is SessionReason.MOVED_INELIGIBLE
    assert verdict.decision.model_id == "new"


def test_a_model_that_is_no_candidate_any_more_is_left():
    assert judge(decision(), old="gone").reason is SessionReason.MOVED_INELIGIBLE


def test_a_failing_model_is_left_unless_a_lock_holds():
    failing = decision(exclusion=Exclusion.UNHEALTHY)
    assert judge(failing, tokens=10**9).reason is SessionReason.MOVED_UNHEALTHY
    held = judge(failing, lock=SessionReason.LOCKED_TOOLS)
    assert held.decision.model_id == "old"
    assert held.reason is SessionReason.LOCKED_TOOLS


def test_the_knobs_cheapest_end_counts_dollars_only():
    cheaper = decision(old=(0.9, 0.5), new=(0.1, 0.1), rate=0.0)
    assert judge(cheaper, CostQuality(0.0)).gain_usd == pytest.approx(0.4)


def test_at_the_knobs_best_end_any_quality_outweighs_any_cache():
    better = decision(old=(0.90, 0.1), new=(0.91, 9.0), rate=math.inf)
    assert judge(better, CostQuality(1.0), tokens=10**9).reason is SessionReason.SWITCH
    equal = decision(old=(0.9, 0.2), new=(0.9, 0.1), rate=math.inf)
    verdict = judge(equal, CostQuality(1.0), tokens=50_000)
    assert verdict.gain_usd == pytest.approx(0.1)
    assert verdict.reason is SessionReason.RETAIN


@pytest.mark.parametrize(
    ("objective", "old_quality", "meets"),
    [
        (MaxQualityLoss(0.05), 0.86, True),
        (MaxQualityLoss(0.05), 0.84, False),
        (MinQuality(0.85), 0.86, True),
        (MinQuality(0.85), 0.84, False),
        (StrongThreshold(strong="old", weak="new", threshold=0.5), 0.5, True),
        (StrongThreshold(strong="new", weak="old", threshold=0.5), 0.5, False),
    ],
)
def test_without_a_rate_staying_is_weighed_only_while_it_meets_the_objective(
    objective, old_quality, meets
):
    made = decision(old=(old_quality, 0.10), new=(0.9, 0.06), rate=None)
    verdict = judge(made, objective, tokens=10_000)
    if meets:
        assert verdict.gain_usd == pytest.approx(0.04)  # less than the cache of $0.09
        assert verdict.reason is SessionReason.RETAIN
        assert judge(made, objective, tokens=1_000).reason is SessionReason.SWITCH
    else:
        assert verdict.gain_usd == math.inf
        assert verdict.reason is SessionReason.SWITCH


def test_where_nothing_reaches_the_least_quality_the_best_is_wanted():
    more = decision(old=(0.5, 0.1), new=(0.6, 0.2), rate=None)
    assert judge(more, MinQuality(0.9), tokens=10**9).gain_usd == math.inf


def test_unknown_costs_are_no_saving():
    made = decision(old=(0.9, None), new=(0.9, 0.1), rate=math.inf)
    assert judge(made, CostQuality(1.0)).reason is SessionReason.RETAIN


def test_a_router_that_failed_is_no_reason_to_leave():
    made = decision(old=(None, None), new=(None, None), rate=None)
    assert judge(made).reason is SessionReason.RETAIN


def test_every_reason_but_off_says_what_happened_to_the_model():
    states = {reason: reason.state for reason in SessionReason}
    assert states.pop(SessionReason.OFF) is None
    assert set(states.values()) == set(SessionState)


@pytest.mark.parametrize("lock", [None, SessionReason.LOCKED_TOOLS])
def test_a_stalled_task_goes_to_a_better_model_whatever_that_costs(lock):
    verdict = judge(decision(new=(0.81, 9.0)), lock=lock, stalled=True, tokens=10**9)
    assert (verdict.decision.model_id, verdict.reason) == ("new", SessionReason.STALLED)


@pytest.mark.parametrize("lock", [SessionReason.LOCKED_REASONING, SessionReason.LOCKED_RESPONSE_ID])
def test_what_no_other_model_can_go_on_with_holds_a_stalled_task(lock):
    verdict = judge(decision(), lock=lock, stalled=True)
    assert (verdict.decision.model_id, verdict.reason) == ("old", lock)


@pytest.mark.parametrize("new", [(0.8, 0.1), (None, None)])
def test_a_model_that_is_not_known_to_be_better_is_no_help(new):
    verdict = judge(decision(new=new, rate=None), lock=SessionReason.LOCKED_TOOLS, stalled=True)
    assert verdict.reason is SessionReason.LOCKED_TOOLS


def test_what_models_cost_beside_their_price_counts_for_and_against_a_switch():
    made = decision()
    plain = judge(made)
    assert plain.gain_usd == pytest.approx(0.1 - 0.02)

    def surcharged(model_id, usd):
        return replace(
            made,
            candidates=tuple(
                msgspec.structs.replace(each, surcharge_usd=usd * (each.model_id == model_id))
                for each in made.candidates
            ),
        )

    assert judge(surcharged("new", 0.05)).gain_usd == pytest.approx(plain.gain_usd - 0.05)
    assert judge(surcharged("old", 0.05)).gain_usd == pytest.approx(plain.gain_usd + 0.05)
    assert judge(surcharged("new", 0.1)).decision.model_id == "old"


@pytest.mark.parametrize("tokens", [0, 10**9])
@pytest.mark.parametrize("stays", [True, False])
def test_load_that_decides_is_heeded_whatever_a_switch_gains_and_costs(stays, tokens):
    verdict = judge(decision(), tokens=tokens, scarcity=Scarcity(stays))
    assert verdict.decision.model_id == ("old" if stays else "new")
    assert verdict.reason is (SessionReason.RETAIN if stays else SessionReason.SWITCH)
    assert (verdict.gain_usd, verdict.switch_cost_usd) == (None, None)


def test_load_that_makes_staying_dearer_counts_as_a_gain_of_leaving():
    assert judge(decision(), tokens=10_000, scarcity=Scarcity(None)).gain_usd == pytest.approx(0.08)
    dearer = judge(decision(), tokens=10_000, scarcity=Scarcity(None, 0.02))
    assert dearer.gain_usd == pytest.approx(0.10)
    assert dearer.reason is SessionReason.SWITCH


def test_a_lock_holds_a_model_that_load_says_to_leave():
    verdict = judge(decision(), lock=SessionReason.LOCKED_TOOLS, scarcity=Scarcity(stays=False))
    assert verdict.decision.model_id == "old"
