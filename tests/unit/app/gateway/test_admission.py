from dataclasses import replace

import pytest
from msgspec import structs

from app.access.guard import ANONYMOUS, Caller
from app.errors import BudgetExceededError, RateLimitedError, StoreUnavailableError
from app.gateway.admission import Admission, Allowance, Allowances
from app.keys import Budget, KeyRecord, Limits, OnLow, Period
from app.stores._base import ScopeKind, StoreError
from app.stores.memory import MemoryCounters
from routers.types import CostQuality, MinQuality, UsdPerQuality
from tests.support.policies import decided, policy, routed
from tests.support.stores import FakeClock
from tests.support.transcripts import TASK, body

NUSD = 1_000_000_000
REQUEST = body(TASK)
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
        request = structs.replace(routed(REQUEST, **changes), decision_id=f"dec-{self.n}")
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
    assert await world.admission.pressure(caller()) is None


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
    assert claimed == routed(REQUEST).demand.input_tokens + round(estimate.output_tokens)
    await world.admission.settle(ticket, tokens=40_000, cost_nusd=0)
    ticket = await world.ask()
    assert ticket.shown.tokens.remaining == pytest.approx(960_000 - claimed, abs=1)


async def test_a_request_that_alone_exceeds_a_limit_is_told_not_to_try_again():
    world = World(key=Allowance(Limits(tokens_per_minute=1)))
    with pytest.raises(RateLimitedError, match="alone exceeds") as refused:
        await world.ask()
    assert refused.value.retry_after_s is None
    assert not refused.value.should_retry


async def test_a_spent_budget_refuses_until_its_period_ends():
    world = World(gateway=budget(1.0), now=MIDNIGHT + 86_000)
    await world.spend(1.0)
    with pytest.raises(
        BudgetExceededError, match=r"budget of \$1.00 for day:2026-11-22"
    ) as refused:
        await world.ask()
    assert refused.value.code == "gateway_budget_exceeded"
    assert not refused.value.should_retry
    await world.clock.pass_time(401)
    await world.spend(0.5)


async def test_what_runs_counts_against_the_budget_by_its_cautious_estimate():
    estimate = decided("large").estimate("large")
    cautious = estimate.cost_usd_upper or estimate.cost_usd
    world = World(gateway=budget(cautious * 2.5))
    await world.ask(model="large")
    await world.ask(model="large")
    with pytest.raises(BudgetExceededError):
        await world.ask(model="large")


async def test_a_pinned_request_claims_what_its_limit_would_cost():
    world = World(key=Allowance(Limits(tokens_per_minute=1_000_000)))
    decision = replace(decided("small"), candidates=())
    few = routed(REQUEST)
    few = structs.replace(few, demand=replace(few.demand, max_output_tokens=7))
    ticket = await world.admission.admit(few, decision, ANONYMOUS)
    assert ticket.claims[0].tokens == few.demand.input_tokens + 7
    assert ticket.claims[0].reserve_nusd > 0


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
        pressure = await world.admission.pressure(ANONYMOUS)
        lowered = CostQuality(1.0) if pressure is None else pressure.lower(CostQuality(1.0))
        seen.append(round(lowered.t, 2))
        await world.spend(0.999)
    assert seen == [1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.8, 0.6, 0.4, 0.2]
    assert (await world.admission.pressure(ANONYMOUS)).lower(
        UsdPerQuality(3.0)
    ).usd_per_quality == 0


async def test_promises_other_than_the_knob_are_kept_under_pressure():
    world = World(gateway=budget(1.0, on_low=OnLow.DEGRADE, degrade_from=0.1))
    await world.spend(0.5)
    pressure = await world.admission.pressure(ANONYMOUS)
    assert pressure.lower(MinQuality(0.9)) == MinQuality(0.9)


async def test_the_hardest_pressed_budget_counts():
    world = World(
        gateway=budget(100.0, on_low=OnLow.DEGRADE),
        teams={"red": budget(1.0, on_low=OnLow.DEGRADE)},
    )
    red = caller("red")
    await world.spend(0.9, red)
    pressure = await world.admission.pressure(red)
    assert pressure.scope.kind is ScopeKind.TEAM
    assert pressure.share == pytest.approx(0.9)
    assert await world.admission.pressure(ANONYMOUS) is None


async def test_what_was_spent_before_this_process_began_presses_from_the_first_request():
    world = World(gateway=budget(1.0, on_low=OnLow.DEGRADE))
    await world.spend(0.95)
    again = World(world.admission.counters, gateway=budget(1.0, on_low=OnLow.DEGRADE))
    assert (await again.admission.pressure(ANONYMOUS)).step == 4


async def test_a_budget_that_was_changed_presses_by_its_new_limit_from_the_first_request():
    world = World()

    def of(usd):
        budgets = (Budget(usd=usd, period=Period.MONTH, on_low=OnLow.DEGRADE),)
        return caller(budgets=budgets)

    await world.spend(0.9, of(1.0))
    assert (await world.admission.pressure(of(1.0))).share == pytest.approx(0.9)
    assert await world.admission.pressure(of(10.0)) is None
    assert (await world.admission.pressure(of(0.95))).share == pytest.approx(0.9 / 0.95)


async def test_money_that_cannot_be_counted_is_not_spent():
    world = World(LostCounters(), gateway=budget(1.0))
    with pytest.raises(StoreUnavailableError):
        await world.ask()
    with pytest.raises(StoreUnavailableError):
        await world.admission.standings(ANONYMOUS)


async def test_the_caller_is_told_of_the_narrowest_rate():
    world = World(
        key=Allowance(Limits(requests_per_minute=10)),
        gateway=Allowance(Limits(requests_per_minute=1000)),
    )
    ticket = await world.ask(caller())
    assert ticket.shown.scope.kind is ScopeKind.KEY
    assert ticket.shown.requests.remaining == 9
    assert not ticket.holds_a_place
    assert [each.scope.kind for each in await world.admission.standings(caller())] == [
        "key",
        "gateway",
    ]
