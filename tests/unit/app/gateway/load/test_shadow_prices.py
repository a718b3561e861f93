"""Prices of models near their limits, and how replicas find them together."""

import pytest

from app.gateway.load.shadow_prices import (
    MAX_PRICE,
    STEP_PER_S,
    RateLimit,
    ShadowPrices,
    Shared,
    UsageRates,
)

LIMITS = {"a": RateLimit(10.0), "b": RateLimit(tokens_per_s=1_000.0)}


def prices(replica="one", **more):
    return ShadowPrices(replica=replica, limits=LIMITS, target=0.9, **more)


def test_rates_are_those_of_the_last_seconds_and_survive_a_new_count():
    usage = UsageRates()
    usage.tick({"a": (100, 5_000)}, 2.0)
    assert usage.rates["a"] == (0.0, 0.0)
    for n in range(1, 40):
        usage.tick({"a": (100 + 20 * n, 5_000 + 2_000 * n)}, 2.0)
    assert usage.rates["a"] == pytest.approx((10.0, 1_000.0), rel=0.01)
    usage.tick({"a": (3, 10)}, 2.0)
    assert usage.rates["a"][0] == pytest.approx(10.0 * 0.5**0.4, rel=0.01)


def test_a_price_rises_above_the_target_by_the_nearer_limit_and_falls_to_nothing():
    one = prices()
    one.step(None, {"a": (9.9, 0.0), "b": (1.0, 800.0)}, 2.0)
    assert one.prices == {"a": pytest.approx(STEP_PER_S * 2.0 * 0.1)}
    assert one.used == {"a": pytest.approx(0.99), "b": pytest.approx(0.8)}
    for _ in range(10):
        one.step(None, {"a": (5.0, 0.0)}, 2.0)
    assert one.prices == {}


def test_a_price_has_an_end_and_too_much_is_too_much():
    one = prices()
    one.step(None, {"a": (1e6, 0.0)}, 1.0)
    assert one.prices["a"] == pytest.approx(STEP_PER_S)
    for _ in range(10_000):
        one.step(None, {"a": (1e6, 0.0)}, 1.0)
    assert one.prices["a"] == MAX_PRICE
    assert one.surcharges_usd(0.01) == {"a": MAX_PRICE * 0.01}


def test_replicas_add_up_what_they_ask_and_take_one_step_together():
    one, two, alone = prices("one"), prices("two"), prices("alone")
    shared, rates = Shared(), {"a": (6.0, 0.0)}
    for _ in range(50):
        shared = one.step(shared, rates, 2.0)
        shared = two.step(shared, rates, 2.0)
        alone.step(None, {"a": (12.0, 0.0)}, 2.0)
    assert one.used["a"] == two.used["a"] == pytest.approx(1.2)
    assert two.prices["a"] == pytest.approx(alone.prices["a"], rel=0.05)
    assert one.prices["a"] == pytest.approx(two.prices["a"], rel=0.05)
    own = prices("own")
    own.step(None, rates, 2.0)
    assert own.prices == {}


def test_a_replica_that_is_gone_is_forgotten_and_one_that_stays_silent_for_a_moment_is_not():
    one, two = prices("one"), prices("two")
    shared = one.step(two.step(Shared(), {"a": (6.0, 0.0)}, 2.0), {"a": (6.0, 0.0)}, 2.0)
    shared = one.step(shared, {"a": (6.0, 0.0)}, 2.0)
    assert one.used["a"] == pytest.approx(1.2)
    for _ in range(6):
        shared = one.step(shared, {"a": (6.0, 0.0)}, 2.0)
    assert one.used["a"] == pytest.approx(0.6)
    assert set(shared.usage) == {"one"}


def test_a_step_that_is_taken_again_makes_nobody_seem_silent_for_longer():
    one, two = prices("one"), prices("two")
    shared = two.step(Shared(), {"a": (6.0, 0.0)}, 2.0)
    one.step(shared, {"a": (6.0, 0.0)}, 2.0)
    for _ in range(10):
        one.step(shared, {"a": (6.0, 0.0)}, 2.0, again=True)
    assert one.used["a"] == pytest.approx(1.2)


def test_without_the_others_each_goes_on_with_what_they_last_said():
    one, two = prices("one"), prices("two")
    shared = two.step(Shared(), {"a": (6.0, 0.0)}, 2.0)
    one.step(shared, {"a": (6.0, 0.0)}, 2.0)
    before = one.prices["a"]
    one.step(None, {"a": (6.0, 0.0)}, 2.0)
    assert one.used["a"] == pytest.approx(1.2)
    assert one.prices["a"] > before
