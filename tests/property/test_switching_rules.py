"""What holds of every conversation's next turn, whatever the numbers."""

import math

from hypothesis import given, settings
from hypothesis import strategies as st

from routers.decision.decide import decide
from routers.decision.switching import LastTurn, SessionReason, SwitchRule, weigh
from routers.decisions import Reason
from routers.errors import NoEligibleModelError
from routers.models import Demand, Prices
from routers.objectives import Constraints, CostQuality
from tests.property.test_decision_rules import cases

LOCKS = (
    SessionReason.LOCKED_TOOLS,
    SessionReason.LOCKED_REASONING,
    SessionReason.LOCKED_RESPONSE_ID,
)
money = st.floats(0, 100)
known_prices = st.builds(
    Prices,
    input_usd_per_mtok=money,
    output_usd_per_mtok=money,
    cached_input_usd_per_mtok=st.one_of(st.none(), money),
)
rules = st.builds(SwitchRule, cache_lifetime_s=st.floats(0, 1e4), margin_usd=st.floats(0, 1))


@st.composite
def turns(draw):
    case = draw(cases())
    try:
        decision = decide(**case)
    except NoEligibleModelError:
        # Ask for less, so that somebody can serve.
        easy = {
            "demand": Demand(input_tokens=50, input_tokens_upper=99, max_output_tokens=1),
            "constraints": Constraints(),
            "objective": CostQuality(1.0),
        }
        case |= easy
        decision = decide(**case)
    ids = [spec.model_id for spec in case["candidates"]]
    last = LastTurn(
        model_id=draw(st.sampled_from([*ids, "gone"])),
        prefix_tokens=draw(st.integers(0, 10**6)),
        idle_s=draw(st.floats(0, 1e4)),
    )
    lock = draw(st.one_of(st.none(), st.sampled_from(LOCKS)))
    verdict = weigh(
        decision,
        last,
        objective=case["objective"],
        prices=draw(st.one_of(st.none(), known_prices)),
        rule=(rule := draw(rules)),
        lock=lock,
    )
    return case, decision, last, rule, lock, verdict


@settings(max_examples=150, deadline=None)
@given(turns())
def test_staying_never_breaks_a_hard_constraint(turn):
    case, decision, _, _, lock, verdict = turn
    demand, limits = case["demand"], case["constraints"]
    specs = {spec.model_id: spec for spec in case["candidates"]}
    order = (verdict.decision.model_id, *verdict.decision.fallbacks)
    assert len(set(order)) == len(order)
    for model_id in order:
        spec, estimate = specs[model_id], decision.estimate(model_id)
        assert limits.allowed_model_ids is None or model_id in limits.allowed_model_ids
        assert demand.capabilities <= spec.capabilities
        # More may be asked for than there is room for: the answer is then cut, not refused.
        room = spec.context_window_tokens - demand.input_tokens_upper
        assert math.ceil(estimate.output_tokens) <= room
        if limits.max_cost_usd is not None:
            assert estimate.cost_usd_upper <= limits.max_cost_usd
    if lock is None:
        assert set(order) == {decision.model_id, *decision.fallbacks}


@settings(max_examples=150, deadline=None)
@given(turns())
def test_a_switch_happens_if_and_only_if_its_gain_beats_its_cost(turn):
    _, decision, last, rule, lock, verdict = turn
    if verdict.gain_usd is None:
        assert verdict.reason not in (SessionReason.SWITCH, SessionReason.RETAIN)
    else:
        assert lock is None
        assert verdict.switch_cost_usd >= 0
        gains = verdict.gain_usd > verdict.switch_cost_usd + rule.margin_usd
        assert verdict.reason is (SessionReason.SWITCH if gains else SessionReason.RETAIN)
    stayed = verdict.decision.model_id == last.model_id
    assert stayed == (verdict.reason.state == "retain")
    if not stayed:
        assert verdict.decision == decision
    moved_by_the_rule = stayed and decision.model_id != last.model_id
    assert (verdict.decision.reason is Reason.STICKY) == moved_by_the_rule


@settings(max_examples=150, deadline=None)
@given(turns())
def test_the_routers_own_choice_is_never_worth_less_than_the_old_model(turn):
    # Otherwise a conversation could be moved at a loss by a rule that only looks at the cost.
    verdict = turn[-1]
    assert verdict.gain_usd is None or verdict.gain_usd >= -1e-6
