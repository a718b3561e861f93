"""How busy tiers are found to be, and which one takes a request."""

import heapq
import random

import pytest

from app.gateway.deployments.tier_load import TierLoad
from app.gateway.load.best_effort import PROBE_S, BestEffort
from app.gateway.load.load_price import FITTED, PRESSURES, LoadPrice


def played(load, *, slots, service_s, rate_per_s, seconds, rng, began=0.0):
    """Play Poisson arrivals at places with exponential services and one line before them."""
    free, running, now = [began] * slots, [], began
    while now < began + seconds:
        now += rng.expovariate(rate_per_s)
        while running and running[0][0] <= now:
            at, call = heapq.heappop(running)
            load.ended(call, at, whole=True)
        call = load.begun(now)
        ends = max(heapq.heappop(free), now) + rng.expovariate(1 / service_s)
        heapq.heappush(free, ends)
        heapq.heappush(running, (ends, call))
    for at, call in sorted(running):
        load.ended(call, at, whole=True)
    return load


@pytest.mark.parametrize("slots", [1, 4, 16])
def test_how_fast_a_full_tier_answers_is_found_by_what_calls_took(slots):
    rng, load = random.Random(0), TierLoad()
    played(load, slots=slots, service_s=0.5, rate_per_s=slots * 2.5, seconds=60, rng=rng)
    # Of a line that grows all the time only the pace of it can be told.
    assert load.capacity / load.service_s == pytest.approx(slots / 0.5, rel=0.3)


def test_a_tier_that_was_never_full_is_taken_to_bear_a_little_more_than_it_did():
    rng, load = random.Random(0), TierLoad()
    played(load, slots=64, service_s=0.5, rate_per_s=16, seconds=120, rng=rng)
    most = max(load._bins)
    assert load.expected(200.0).wait_s == 0.0
    assert 8 < load.capacity < 100, most
    assert load.service_s == pytest.approx(0.5, rel=0.2)


def test_calls_that_hang_say_so_by_their_age_and_a_single_slow_one_does_not():
    load = TierLoad(usual_s=0.5)
    one = load.begun(0.0)
    assert load.expected(1.2).wait_s == 0.0
    for _ in range(3):
        load.begun(0.0)
    assert load.expected(1.2).wait_s > 0.0
    assert load.expected(10.0).wait_s > 8.0
    load.ended(one, 10.0, whole=False)
    assert load.outstanding == 3


def test_what_was_not_answered_teaches_nothing():
    load = TierLoad(usual_s=0.5)
    load.ended(load.begun(0.0), 30.0, whole=False)
    assert load.service_s == 0.5
    assert load.outstanding == 0
    assert load.expected(30.0).total_s == 0.5


def test_service_that_becomes_slower_and_fast_again_is_followed():
    rng, load = random.Random(0), TierLoad()
    played(load, slots=4, service_s=0.2, rate_per_s=5, seconds=30, rng=rng)
    assert load.service_s == pytest.approx(0.2, rel=0.3)
    played(load, slots=4, service_s=2.0, rate_per_s=1, seconds=120, rng=rng, began=31.0)
    assert load.service_s > 1.0
    played(load, slots=4, service_s=0.2, rate_per_s=5, seconds=60, rng=rng, began=200.0)
    assert load.service_s == pytest.approx(0.2, rel=0.5)


@pytest.fixture
def tiers():
    loads = tuple(
        TierLoad(slots=4, usual_s=service_s) for service_s in (0.5, 0.15, 0.04)
    )  # fmt: skip
    changes = []
    best_effort = BestEffort(
        tiers=("best", "middle", "cheapest"), loads=loads, deadline_s=2.0,
        on_change=lambda before, after: changes.append((before, after)),
    )  # fmt: skip
    return best_effort, changes


def filled(load, n, now=0.0):
    return [load.begun(now) for _ in range(n)]


def test_in_calm_the_best_tier_answers(tiers):
    best_effort, _ = tiers
    effort = best_effort.choose(0.0)
    assert (effort.tier, effort.late, effort.expected.wait_s) == (0, False, 0.0)


def test_a_full_tier_takes_no_more_before_it_has_room_to_spare(tiers):
    best_effort, _ = tiers
    load = best_effort.loads[0]
    calls = filled(load, 40)
    assert best_effort.choose(0.0).tier == 1
    while best_effort.choose(0.0).tier:
        load.ended(calls.pop(), 0.0, whole=False)
    reopened = load.outstanding
    while not best_effort.choose(0.0).tier:
        calls += filled(load, 1)
    assert reopened < load.outstanding


def test_whoever_is_at_a_tier_may_stay_while_it_is_closed_to_others_and_in_time(tiers):
    best_effort, _ = tiers
    load = best_effort.loads[0]
    calls = filled(load, 40)
    assert best_effort.choose(0.0).tier == 1
    assert not best_effort.is_in_time(best_effort.at(0, 0.0, left_s=2.0), left_s=2.0)
    while not best_effort.is_in_time(best_effort.at(0, 0.0, left_s=2.0), left_s=2.0):
        load.ended(calls.pop(), 0.0, whole=False)
    assert best_effort.choose(0.0).tier == 1  # it waits for room to spare
    assert not best_effort.is_in_time(best_effort.at(0, 0.0, left_s=0.5), left_s=0.5)
    assert best_effort.at(0, 0.0, left_s=0.1).late
    assert best_effort.price(best_effort.at(0, 0.0, left_s=2.0), left_s=2.0) == 0.0


def test_a_shorter_deadline_of_its_own_takes_a_request_further_down(tiers):
    best_effort, _ = tiers
    assert best_effort.choose(0.0, deadline_s=0.9).tier == 1
    assert best_effort.choose(0.0, deadline_s=0.2).tier == 2
    assert best_effort.choose(0.0, passed_s=1.5).tier == 1
    assert best_effort.choose(0.0).tier == 0


def test_where_nobody_is_in_time_the_least_late_one_answers(tiers):
    best_effort, _ = tiers
    for load in best_effort.loads:
        filled(load, 1_000)
    effort = best_effort.choose(0.0)
    assert (effort.tier, effort.late) == (2, True)
    assert best_effort.choose(0.0, order=[0, 1]).tier == 1


def test_the_tier_in_force_changes_with_a_share_of_requests_and_not_with_one(tiers):
    best_effort, changes = tiers
    for second in range(20):
        best_effort.went(best_effort.choose(float(second)), float(second))
    calls = filled(best_effort.loads[0], 40, 20.0)
    low = best_effort.choose(20.0)
    best_effort.went(low, 20.0)
    assert (low.tier, changes) == (1, [])
    for number in range(5):
        best_effort.went(low, 20.0 + number / 10)
    assert changes == [(0, 1)]
    for call in calls:
        best_effort.loads[0].ended(call, 21.0, whole=False)
    now = 21.0
    while best_effort.tier:
        best_effort.went(best_effort.choose(now), now)
        now += 0.25
    assert changes == [(0, 1), (1, 0)]
    assert now >= 50.0


def test_a_tier_that_is_too_slow_is_asked_again_now_and_then(tiers):
    best_effort, _ = tiers
    load = best_effort.loads[0]
    for _ in range(64):
        load.ended(load.begun(0.0), 3.0, whole=True)
    assert best_effort.choose(4.0).tier == 1
    assert best_effort.choose(3.1 + PROBE_S).tier == 0
    probe = load.begun(3.1 + PROBE_S)
    assert best_effort.choose(3.2 + PROBE_S).tier == 1
    load.ended(probe, 3.5 + PROBE_S, whole=True)
    now = 4.0 + PROBE_S
    while best_effort.choose(now).tier:
        now += PROBE_S
        if not best_effort.choose(now).tier:
            load.ended(load.begun(now), now + 0.3, whole=True)
        assert now < 300.0
    assert load.service_s < 1.0


def test_a_price_of_load_sends_those_down_that_lose_least(tiers):
    best_effort, _ = tiers
    best_effort.prices = FITTED(3)
    easy, hard = (0.9, 0.89, 0.85), (0.9, 0.71, 0.45)
    assert best_effort.choose(0.0, values=easy).tier == 0
    filled(best_effort.loads[0], 5)
    assert best_effort.choose(0.0, values=easy).tier == 1
    assert best_effort.choose(0.0, values=hard).tier == 0
    assert best_effort.choose(0.0).tier == 0


def test_prices_rise_with_the_load_and_the_lowest_tier_is_free():
    prices = FITTED(3)
    at = [prices.of(0, pressure / 10) for pressure in range(-1, 12)]
    assert at == sorted(at)
    assert at[0] == at[1] == 0.0
    assert at[-1] == prices.prices[-1]
    assert prices.of(2, 0.9) == 0.0
    assert len(prices.prices) == len(PRESSURES)
    assert LoadPrice((0, 1, 1, 1, 3), 2).of(0, 0.875) == 2


def test_a_request_that_no_tier_takes_is_refused(tiers):
    with pytest.raises(ValueError, match="at least one tier"):
        tiers[0].choose(0.0, order=[])
