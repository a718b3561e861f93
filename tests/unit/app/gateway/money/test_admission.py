from dataclasses import replace

import pytest

from app.access.guard import ANONYMOUS, Caller
from app.errors import ForbiddenError, RateLimitedError, StoreUnavailableError
from app.gateway.money.admission import Admission
from app.gateway.money.allowances import Allowance, Allowances
from app.gateway.money.bid import UNKNOWN_LIMIT_TOKENS, bid_for, cut_limit
from app.gateway.money.tickets import TooDearError
from app.gateway.refusals import budget_exceeded
from app.keys import Budget, KeyRecord, Limits, OnLow, Period
from app.stores.base import StoreError
from app.stores.claims import Refusal, ScopeKind
from app.stores.memory import MemoryCounters
from routers.models import Demand, ModelSpec, Prices
from routers.objectives import CostQuality, MinQuality, UsdPerQuality
from tests.support.policies import decided, policy, routed
from tests.support.stores import FakeClock
from tests.support.transcripts import TASK, body

NUSD = 1_000_000_000
DAY = Period.DAY
REQUEST = body(TASK)
DEMAND = Demand(input_tokens=10, input_tokens_upper=15, max_output_tokens=20)
LONGEST_USD = (15 * 10 + 20 * 30) / 1e6
"""What a request costs at most, by the prices of both models."""
MIDNIGHT = 1_795_305_600.0  # 2026-11-22T00:00:00Z, a Sunday


class LostCounters:
    """A store that cannot be asked."""

    async def admit(self, request_id, claims, *, lifetime_s):
        raise StoreError(f"{request_id} {claims} {lifetime_s}")

    async def settle(self, request_id, settlements):
        raise StoreError(f"{request_id} {settlements}")

    async def standing(self, claims):
        raise StoreError(f"{claims}")


class World:
    def __init__(self, counters=None, *, now=MIDNIGHT + 3600, **allowances):
        self.clock = FakeClock(now)
        self.refusals = []
        self.admission = Admission(
            counters=MemoryCounters(clock=self.clock) if counters is None else counters,
            allowances=Allowances(**allowances),
            specs={spec.model_id: spec for spec in policy().candidates},
            lifetime_s=600,
            now=self.clock,
            on_refusal=self.refusals.append,
        )
        self.n = 0

    async def ask(self, caller=ANONYMOUS, *, model="small", **changes):
        self.n += 1
        request = routed(REQUEST, decision_id=f"dec-{self.n}", demand=DEMAND, **changes)
        return await self.admission.admit(request, decided(model), caller)

    async def spend(self, usd, caller=ANONYMOUS):
        ticket = await self.ask(caller)
        await self.admission.settle(ticket, tokens=0, cost_nusd=round(usd * NUSD))


def caller(team=None, **fields):
    key = KeyRecord(key_id="key-1", digest="0" * 64, name="k", created_at=0.0, **fields)
    return Caller(key, key.key_id, team)


def budget(usd, **fields):
    return Allowance(budgets=(Budget(usd=usd, period=Period.DAY, **fields),))


async def test_without_any_limit_the_store_is_never_asked():
    world = World(LostCounters())
    assert await world.ask() is None
    assert await world.ask(caller()) is None
    assert await world.admission.standings.pressure(caller()) is None


@pytest.mark.parametrize(
    ("allowances", "kind"),
    [
        ({"gateway": Allowance(Limits(requests_per_minute=2))}, "gateway"),
        ({"teams": {"red": Allowance(Limits(requests_per_minute=2))}}, "team"),
        ({"models": {"small": Limits(requests_per_minute=2)}}, "model"),
        ({"key": Allowance(Limits(requests_per_minute=2))}, "key"),
    ],
)
async def test_a_refusal_says_whose_limit_it_was(allowances, kind):
    world = World(**allowances)
    await world.ask(caller("red"))
    await world.ask(caller("red"))
    with pytest.raises(RateLimitedError) as refused:
        await world.ask(caller("red"))
    assert refused.value.code == f"{kind}_requests_limit_exceeded"
    assert 0 < refused.value.retry_after_s <= 30
    assert refused.value.should_retry
    assert [each.scope.kind for each in world.refusals] == [ScopeKind(kind)]


async def test_a_key_with_limits_of_its_own_has_those_and_not_the_default():
    world = World(key=Allowance(Limits(requests_per_minute=1)))
    generous = caller(limits=Limits(requests_per_minute=50))
    for _ in range(10):
        await world.ask(generous)
    await world.ask()
    with pytest.raises(RateLimitedError):
        await world.ask()


async def test_another_model_has_another_limit():
    world = World(models={"small": Limits(requests_per_minute=1)})
    await world.ask()
    assert await world.ask(model="large") is None
    with pytest.raises(RateLimitedError):
        await world.ask()


async def test_tokens_are_claimed_by_estimate_and_settled_by_what_was_used():
    world = World(key=Allowance(Limits(tokens_per_minute=1_000_000)))
    ticket = await world.ask()
    claimed = 1_000_000 - ticket.shown.tokens.remaining
    estimate = decided("small").estimate("small")
    assert claimed == DEMAND.input_tokens + round(estimate.output_tokens)
    await world.admission.settle(ticket, tokens=40_000, cost_nusd=0)
    ticket = await world.ask()
    assert ticket.shown.tokens.remaining == pytest.approx(960_000 - claimed, abs=1)


async def test_a_request_that_alone_exceeds_a_limit_is_told_not_to_try_again():
    world = World(key=Allowance(Limits(tokens_per_minute=1)))
    with pytest.raises(RateLimitedError, match="alone exceeds") as refused:
        await world.ask()
    assert refused.value.retry_after_s is None
    assert not refused.value.should_retry


async def refusal_of(world, **changes):
    with pytest.raises(TooDearError) as refused:
        await world.ask(**changes)
    needed_nusd = refused.value.bid.least_nusd
    return budget_exceeded(refused.value.refusal, needed_nusd=needed_nusd)


async def test_a_spent_budget_refuses_until_its_period_ends():
    world = World(gateway=budget(1.0), now=MIDNIGHT + 86_000)
    await world.spend(1.0)
    refused = await refusal_of(world)
    assert refused.message == "this gateway's budget of $1.00 for day:2026-11-22 is used up"
    assert refused.code == "gateway_budget_exceeded"
    assert not refused.should_retry
    assert refused.retry_after_s == pytest.approx(400)
    await world.clock.pass_time(401)
    await world.spend(0.5)


async def test_a_refusal_says_what_is_left_and_what_would_be_needed():
    world = World(gateway=budget(0.02))
    await world.spend(0.0196)
    refused = await refusal_of(world)
    assert refused.message == (
        "of this gateway's budget of $0.02 for day:2026-11-22 $0.0004 is left, too little of it "
        "for this request, which may need $0.00075; a smaller max_tokens or a cheaper model would "
        "need less"
    )
    assert not refused.should_retry


async def test_what_running_requests_hold_is_worth_waiting_for():
    world = World(gateway=budget(LONGEST_USD * 1.5))
    await world.ask()
    refused = await refusal_of(world)
    assert "$0.000375 is left beside the $0.00075 that running requests hold" in refused.message
    assert refused.should_retry
    assert refused.retry_after_s == 1.0


async def test_what_runs_counts_against_the_budget_by_the_most_it_can_cost():
    world = World(gateway=budget(LONGEST_USD * 2.5))
    for _ in range(2):
        ticket = await world.ask(model="large")
        assert ticket.granted_nusd == round(LONGEST_USD * NUSD)
    with pytest.raises(TooDearError) as refused:
        await world.ask(model="large")
    assert refused.value.refusal.left_nusd == round(LONGEST_USD * NUSD / 2)


async def test_without_a_limit_of_the_clients_what_is_left_bounds_the_answer():
    world = World(gateway=budget(LONGEST_USD))
    demand = replace(DEMAND, max_output_tokens=None)
    request = routed(REQUEST, demand=demand)
    ticket = await world.admission.admit(request, decided("large"), ANONYMOUS)
    assert ticket.granted_nusd == round(LONGEST_USD * NUSD)
    assert ticket.bid.max_output_tokens == UNKNOWN_LIMIT_TOKENS
    assert ticket.bid.limit_for(ticket.granted_nusd) == 20
    # Less than the cautious estimate of the answer is no answer.
    assert ticket.bid.least_output_tokens == 20
    with pytest.raises(TooDearError):
        await world.admission.admit(
            routed(REQUEST, demand=demand, decision_id="next"), decided("large"), ANONYMOUS
        )


async def test_a_model_without_a_price_cannot_be_used_under_a_budget():
    world = World(gateway=budget(1.0))
    unknown = replace(
        world.admission.specs["small"],
        prices=Prices(input_usd_per_mtok=None, output_usd_per_mtok=30.0),
    )
    world.admission.specs = {**world.admission.specs, "small": unknown}
    with pytest.raises(ForbiddenError, match="'small' cannot be used: its price is unknown") as no:
        await world.ask(model="small")
    assert no.value.code == "model_without_price"
    assert world.admission.has_budget(ANONYMOUS)
    candidates = world.admission.specs.values()
    assert set(world.admission.unpayable((), candidates)) == {"small"}


async def test_what_is_added_to_a_request_is_reserved_and_given_back_with_it():
    world = World(gateway=Allowance(Limits(concurrent_requests=1), (Budget(usd=1, period=DAY),)))
    ticket = await world.ask()
    request = routed(REQUEST, decision_id="dec-1")
    more = await world.admission.add(
        request, ANONYMOUS, nth=1, most_nusd=NUSD, least_nusd=NUSD // 2
    )
    assert more.granted_nusd == NUSD - ticket.granted_nusd
    refused = await world.admission.add(request, ANONYMOUS, nth=2, most_nusd=1, least_nusd=1)
    assert isinstance(refused, Refusal)
    await world.admission.settle(ticket, tokens=7, cost_nusd=5)
    await world.admission.settle(more, tokens=7, cost_nusd=5, first=False)
    (standing,) = await world.admission.standings.of(ANONYMOUS)
    assert (standing.in_flight, standing.budgets[0].spent_nusd) == (0, 5)
    assert standing.budgets[0].reserved_nusd == 0


async def test_a_pinned_request_claims_what_its_limit_would_cost():
    world = World(key=Allowance(Limits(tokens_per_minute=1_000_000), (Budget(usd=1, period=DAY),)))
    decision = replace(decided("small"), candidates=())
    few = routed(REQUEST, demand=replace(DEMAND, max_output_tokens=16_000, n_answers=2))
    ticket = await world.admission.admit(few, decision, ANONYMOUS)
    assert ticket.claims[0].tokens == 10 + 2 * 1024  # what is expected, for the rate
    assert ticket.claims[0].reserve_nusd == (15 * 10 + 2 * 16_000 * 30) * 1_000
    assert ticket.bid.limit_for(ticket.granted_nusd) is None


def test_what_a_budget_reserves_is_what_the_model_is_told_to_stop_at():
    terms = {"input_tokens": 10, "input_tokens_upper": 600, "max_output_tokens": 900}
    spec = ModelSpec(
        model_id="small",
        predicted_as="small",
        prices=Prices(input_usd_per_mtok=1.0, output_usd_per_mtok=1.0),
        context_window_tokens=1_000,
    )
    request = routed(REQUEST, demand=Demand(**terms))
    decision = decided("small")
    assert cut_limit(request, spec) == 400
    assert bid_for(request, decision, spec).max_output_tokens == 400


@pytest.mark.parametrize(
    ("period", "name", "days"),
    [("day", "2026-11-22", 1), ("week", "2026-W47", 1), ("month", "2026-11", 9)],
)
async def test_periods_are_days_iso_weeks_and_months_in_utc(period, name, days):
    limit = Budget(usd=1, period=Period(period))
    world = World(gateway=Allowance(budgets=(limit,)), now=MIDNIGHT)
    ticket = await world.ask()
    assert ticket.claims[0].budgets[0].period_id == f"{period}:{name}"
    assert ticket.claims[0].budgets[0].ends_in_s == days * 86_400


async def test_a_clock_that_was_ahead_for_a_moment_leaves_the_period_that_runs():
    world = World(gateway=budget(1.0), now=MIDNIGHT + 3600)
    periods = []
    for jump_s in (0, 86_400, -86_400, -7200, 7200):
        world.clock.now += jump_s
        claim = (await world.ask()).claims[0]
        periods.append(claim.budgets[0].period_id[-2:])
    assert periods == ["22", "23", "22", "21", "22"]


async def test_a_budget_that_degrades_lowers_the_knob_step_by_step():
    world = World(gateway=budget(10.0, on_low=OnLow.DEGRADE, degrade_from=0.5))
    seen = []
    for _ in range(10):
        pressure = await world.admission.standings.pressure(ANONYMOUS)
        lowered = CostQuality(1.0) if pressure is None else pressure.lower(CostQuality(1.0))
        seen.append(round(lowered.t, 2))
        await world.spend(0.999)
    assert seen == [1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.8, 0.6, 0.4, 0.2]
    assert (await world.admission.standings.pressure(ANONYMOUS)).lower(
        UsdPerQuality(3.0)
    ).usd_per_quality == 0


async def test_promises_other_than_the_knob_are_kept_under_pressure():
    world = World(gateway=budget(1.0, on_low=OnLow.DEGRADE, degrade_from=0.1))
    await world.spend(0.5)
    pressure = await world.admission.standings.pressure(ANONYMOUS)
    assert pressure.lower(MinQuality(0.9)) == MinQuality(0.9)


async def test_the_hardest_pressed_budget_counts():
    world = World(
        gateway=budget(100.0, on_low=OnLow.DEGRADE),
        teams={"red": budget(1.0, on_low=OnLow.DEGRADE)},
    )
    red = caller("red")
    await world.spend(0.9, red)
    pressure = await world.admission.standings.pressure(red)
    assert pressure.scope.kind is ScopeKind.TEAM
    assert pressure.share == pytest.approx(0.9)
    assert await world.admission.standings.pressure(ANONYMOUS) is None


async def test_what_was_spent_before_this_process_began_presses_from_the_first_request():
    world = World(gateway=budget(1.0, on_low=OnLow.DEGRADE))
    await world.spend(0.95)
    again = World(world.admission.counters, gateway=budget(1.0, on_low=OnLow.DEGRADE))
    assert (await again.admission.standings.pressure(ANONYMOUS)).step == 4


async def test_a_budget_that_was_changed_presses_by_its_new_limit_from_the_first_request():
    world = World()

    def of(usd):
        budgets = (Budget(usd=usd, period=Period.MONTH, on_low=OnLow.DEGRADE),)
        return caller(budgets=budgets)

    await world.spend(0.9, of(1.0))
    assert (await world.admission.standings.pressure(of(1.0))).share == pytest.approx(0.9)
    assert await world.admission.standings.pressure(of(10.0)) is None
    assert (await world.admission.standings.pressure(of(0.95))).share == pytest.approx(0.9 / 0.95)


async def test_money_that_cannot_be_counted_is_not_spent():
    world = World(LostCounters(), gateway=budget(1.0))
    with pytest.raises(StoreUnavailableError):
        await world.ask()
    with pytest.raises(StoreUnavailableError):
        await world.admission.standings.of(ANONYMOUS)


async def test_the_caller_is_told_of_the_narrowest_rate():
    world = World(
        key=Allowance(Limits(requests_per_minute=10)),
        gateway=Allowance(Limits(requests_per_minute=1000)),
    )
    ticket = await world.ask(caller())
    assert ticket.shown.scope.kind is ScopeKind.KEY
    assert ticket.shown.requests.remaining == 9
    assert not ticket.holds_a_place
    assert [each.scope.kind for each in await world.admission.standings.of(caller())] == [
        "key",
        "gateway",
    ]


def test_how_many_may_run_at_once_is_the_keys_or_the_teams_tightest_limit():
    def at_once(key=None, team=None, gateway=None):
        def limited(n):
            return Allowance(limits=Limits(concurrent_requests=n))

        admission = Admission(
            counters=MemoryCounters(clock=FakeClock()),
            allowances=Allowances(
                key=limited(key), teams={"t": limited(team)}, gateway=limited(gateway)
            ),
            specs={},
            lifetime_s=1.0,
        )
        return admission.at_once(Caller(None, "anonymous", "t"))

    assert at_once() is None
    assert at_once(gateway=1) is None
    assert at_once(key=3, team=2, gateway=1) == 2
    assert at_once(key=3, team=7) == 3
