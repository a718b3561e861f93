import math
import random
from collections import Counter

import pytest

from app.gateway.deployments.balance import CallSize
from app.gateway.deployments.pool import DeploymentPool
from app.gateway.deployments.quotas import Quota
from app.providers.base import ToldLimit
from tests.support.providers import ScriptedProvider, deployment


class Clock:
    now = 50.0

    def __call__(self):
        return self.now


def quota(*, rps=None, rpm=None, tpm=None, now=0.0):
    return Quota(max_rps=rps, requests_per_minute=rpm, tokens_per_minute=tpm, now=now)


def test_each_limit_has_a_burst_of_its_own_and_fills_evenly():
    calls = quota(rps=2.0, rpm=30.0)
    for _ in range(2):
        assert calls.wait_s(0.0, 0.0) == 0.0
        calls.take(0.0, 0.0)
    assert calls.wait_s(0.0, 0.0) == pytest.approx(0.5)
    assert calls.wait_s(0.5, 0.0) == 0.0
    # 2 a second are soon more than 30 a minute.
    at, taken = 0.5, 0
    while at < 120.0:
        if calls.wait_s(at, 0.0) == 0.0:
            calls.take(at, 0.0)
            taken += 1
        at += 0.125
    assert taken == pytest.approx(30 - 2 + 0.5 * 120.0, abs=1)


def test_less_than_one_call_a_second_is_still_one_at_a_time():
    slow = quota(rps=0.1)
    slow.take(0.0, 0.0)
    assert slow.wait_s(0.0, 0.0) == pytest.approx(10.0)
    assert slow.wait_s(10.0, 0.0) == 0.0


def test_tokens_are_settled_by_what_was_used():
    tokens = quota(tpm=6000.0)
    tokens.take(0.0, 4000.0)
    assert tokens.wait_s(0.0, 3000.0) == pytest.approx(10.0)
    tokens.settle(-2000.0)
    assert tokens.wait_s(0.0, 3000.0) == 0.0
    assert tokens.used(0.0) == pytest.approx(1 / 3)
    tokens.settle(-1e9)  # more than was taken is no credit
    assert tokens.used(0.0) == 0.0


def test_a_call_larger_than_the_limit_passes_where_nothing_is_used():
    tokens = quota(tpm=600.0)
    assert tokens.wait_s(0.0, 5000.0) == 0.0
    tokens.take(0.0, 5000.0)
    assert tokens.used(0.0) == 2.0
    # The debt is bounded: what was turned away did not use it up.
    assert tokens.wait_s(0.0, 1.0) == pytest.approx(60.1)


def test_a_clock_that_stands_still_or_goes_back_gives_nothing_and_takes_nothing():
    calls = quota(rps=1.0, now=100.0)
    calls.take(100.0, 0.0)
    assert calls.wait_s(40.0, 0.0) == pytest.approx(1.0)
    assert calls.wait_s(100.5, 0.0) == pytest.approx(0.5)


def pool_of(*places, clock, variant=False):
    made = [deployment("a", ScriptedProvider(), upstream=name, **limits) for name, limits in places]
    deployments = {"a": made}
    if variant:
        deployments["a@v"] = made
    return DeploymentPool(deployments, clock=clock, rng=random.Random(5))


def taken(pool, n, model="a", size=None):
    found = Counter()
    for _ in range(n):
        lease = pool.lease(model, size=size)
        found[lease.deployment.upstream] += 1
        lease.succeeded()
        lease.release()
    return found


def test_a_place_without_room_is_passed_over_until_it_has_some():
    clock = Clock()
    pool = pool_of(("x", {"max_rps": 3.0}), ("y", {}), clock=clock)
    got = taken(pool, 40)
    assert got["x"] == 3
    clock.now += 1.0
    assert taken(pool, 40)["x"] == 3


def test_where_none_has_room_the_one_that_has_some_first_takes_it():
    clock = Clock()
    pool = pool_of(("x", {"max_rps": 1.0}), ("y", {"max_rps": 4.0}), clock=clock)
    got = taken(pool, 15)
    assert got == {"x": 3, "y": 12}


def test_tokens_count_and_are_given_back():
    clock = Clock()
    pool = pool_of(("x", {"tokens_per_minute": 1000}), ("y", {}), clock=clock)
    size = CallSize(input_tokens=300.0, output_tokens=300.0)
    assert pool.predicts("a")
    leases = [pool.lease("a", size=size) for _ in range(4)]
    assert [each.deployment.upstream for each in leases].count("x") == 1
    mine = next(each for each in leases if each.deployment.upstream == "x")
    mine.used(350.0)
    for lease in leases:
        lease.release()
    slot = mine.slot
    assert slot.load.quota.used(clock.now) == pytest.approx(0.35)
    assert slot.wait_s(clock.now, size.tokens) == 0.0
    mine.used(None)
    assert slot.load.quota.used(clock.now) == pytest.approx(0.35)


def test_a_variant_shares_calls_and_quota_of_its_place():
    clock = Clock()
    pool = pool_of(("x", {"max_rps": 4.0}), ("y", {}), clock=clock, variant=True)
    held = [pool.lease("a@v") for _ in range(6)]
    assert {slot.outstanding for slot in pool.slots()} == {3}
    assert [slot.outstanding for slot in pool.slots()] == [3] * 4
    got = Counter(pool.lease("a").deployment.upstream for _ in range(6))
    assert got["x"] == 1
    for lease in held:
        lease.release()
    assert {slot.outstanding for slot in pool.slots()} == {1, 5}


def test_a_pool_without_limits_asks_for_no_sizes():
    assert not pool_of(("x", {}), ("y", {}), clock=Clock()).predicts("a")


def heard(quota, *limits, now=0.0, number=1, calls=0, tokens=0.0, **more):
    return quota.hear(limits, now, number=number, calls=calls, tokens=tokens, **more)


def test_what_a_place_tells_counts_and_fills_as_it_says():
    told = quota()
    assert heard(told, ToldLimit("requests", 2.0, 10.0, 4.0)) == 0.0
    for _ in range(2):
        assert told.wait_s(0.0, 0.0) == 0.0
        told.take(0.0, 0.0)
    # All 8 that are missing come in 4 seconds: one in half a second.
    assert told.wait_s(0.0, 0.0) == pytest.approx(0.5)
    assert told.used(4.0) == pytest.approx(0.2)
    assert heard(told, ToldLimit("requests", 0.0, 10.0, 5.0), now=4.0, number=2) == 5.0
    assert heard(told, ToldLimit("tokens", 500.0, 1000.0, 60.0), now=4.0, number=3) == 0.0
    assert told.wait_s(5.0, 700.0) == pytest.approx(23.0)


def test_calls_that_a_place_cannot_know_of_yet_count_besides():
    told = quota()
    heard(told, ToldLimit("requests", 5.0, 10.0, 60.0), number=3, calls=4, tokens=100.0)
    told.take(0.0, 0.0)
    assert told.wait_s(0.0, 0.0) > 0
    # What was told before, and is read later, is old.
    heard(told, ToldLimit("requests", 9.0, 10.0, 60.0), number=2)
    assert told.wait_s(0.0, 0.0) > 0
    heard(told, ToldLimit("requests", 9.0, 10.0, 60.0), number=8)
    assert told.wait_s(0.0, 0.0) == 0.0


def test_of_what_is_written_and_what_is_told_the_tighter_holds():
    both = quota(rpm=60.0)
    heard(both, ToldLimit("requests", 1000.0, 1000.0, None))
    for _ in range(60):
        both.take(0.0, 0.0)
    assert both.wait_s(0.0, 0.0) == pytest.approx(1.0)
    heard(both, ToldLimit("requests", 0.0, None, 7.0), now=60.0, number=2)
    assert both.wait_s(60.0, 0.0) == pytest.approx(7.0 / 1000.0)


def test_what_a_call_used_is_not_counted_twice_where_a_place_tells():
    told = quota()
    heard(told, ToldLimit("tokens", 600.0, 1000.0, 60.0))
    told.settle(400.0)
    assert told.used(0.0) == pytest.approx(0.4)


def test_a_place_with_nothing_left_is_left_alone_until_its_limit_is_whole_or_it_wants_calls():
    told = quota()
    assert heard(told, ToldLimit("tokens", 0.0, 1000.0, 40.0)) == 40.0
    assert heard(told, ToldLimit("tokens", 0.0, 1000.0, 40.0), retry_after_s=2.0) == 2.0
    assert heard(told, ToldLimit("tokens", 7.0, 1000.0, 40.0), retry_after_s=2.0) == 0.0
    assert heard(told, ToldLimit("output-tokens", 0.0, 1000.0, 9.0)) == 9.0
    assert heard(told, ToldLimit("input-tokens", 900.0, 1000.0, 9.0)) == 0.0


def test_what_is_left_of_told_limits_lasts_for_so_many_a_second():
    written = quota(rpm=60.0, tpm=600.0)
    assert written.told_per_s(0.0) == (math.inf, math.inf)
    heard(written, ToldLimit("requests", 30.0, 90.0, 60.0), ToldLimit("tokens", 50.0, 50.0, 0.0))
    assert written.told_per_s(0.0) == (0.5, math.inf)
    # One comes back each second.
    assert written.told_per_s(30.0) == (pytest.approx(2.0), math.inf)
    assert written.told_per_s(60.0) == (math.inf, math.inf)


class Plain:
    """Buckets as the words say it: filled at every look, then looked at or taken from."""

    def __init__(self, *limits):
        """Each limit: whether it is of calls, its size, and what comes in a second."""
        self.at = 0.0
        self.buckets = [
            [of_calls, size, per_s, size, -max(size, 10 * per_s)]
            for of_calls, size, per_s in limits
        ]

    def fill(self, now):
        for bucket in self.buckets:
            bucket[3] = min(bucket[1], bucket[3] + max(0.0, now - self.at) * bucket[2])
        self.at = max(self.at, now)

    def take(self, now, tokens, calls):
        self.fill(now)
        for bucket in self.buckets:
            self.draw(bucket, calls if bucket[0] else tokens)

    def draw(self, bucket, amount):
        bucket[3] = min(max(bucket[3] - amount, bucket[4]), bucket[1])

    def settle(self, tokens):
        for bucket in self.buckets:
            if not bucket[0]:
                self.draw(bucket, tokens)

    def wait_s(self, now, tokens):
        self.fill(now)
        return max(
            max(0.0, min(1.0 if of_calls else tokens, size) - left) / per_s
            for of_calls, size, per_s, left, _ in self.buckets
        )

    def used(self, now):
        self.fill(now)
        return max(1 - left / size for _, size, _, left, _ in self.buckets)


@pytest.mark.parametrize("seed", range(8))
def test_what_is_kept_of_the_least_left_is_what_filling_at_every_look_finds(seed):
    rng = random.Random(seed)
    fast = quota(rps=3.0, rpm=90.0, tpm=20_000.0)
    plain = Plain((True, 3.0, 3.0), (True, 90.0, 1.5), (False, 20_000.0, 20_000 / 60))
    now, n_waits = 0.0, 0
    for _ in range(600):
        now += rng.choice([0.0, 0.1, 0.5, 5.0, -0.2])
        tokens = rng.choice([0.0, 200.0, 3_000.0, 30_000.0])
        what = rng.randrange(5)
        if what <= 1:
            calls = rng.choice([1.0, 1.0, 4.0])
            fast.take(now, tokens, calls=calls)
            plain.take(now, tokens, calls)
        elif what == 2:
            settled = rng.uniform(-3_000.0, 1_500.0)
            fast.settle(settled)
            plain.settle(settled)
        elif what == 3:
            wait_s = plain.wait_s(now, tokens)
            n_waits += wait_s > 0
            assert fast.wait_s(now, tokens) == pytest.approx(wait_s, abs=1e-9)
            if fast.has_room(tokens):
                assert wait_s == 0.0
        else:
            assert fast.used(now) == pytest.approx(plain.used(now), abs=1e-9)
    assert n_waits > 20
