import random
from collections import Counter

import pytest

from app.gateway.deployments.balance import STALE_S, LeastOutstanding, News, RoundRobin
from app.gateway.deployments.breaker import Circuit
from app.gateway.deployments.slots import Slot
from tests.support.providers import ScriptedProvider, deployment


def slots(*weights):
    return [
        Slot(
            deployment=deployment("m", ScriptedProvider(), upstream=name, weight=weight),
            circuit=Circuit(max_failures=5, cooldown_s=10),
        )
        for name, weight in zip("abcdef", weights, strict=False)
    ]


def turns(balance, places, n):
    return "".join(balance.pick(places, 0.0).deployment.upstream for _ in range(n))


def test_turns_go_round_whatever_places_are_busy_with():
    places = slots(1, 1, 1)
    places[1].load.outstanding = 100
    taken = turns(RoundRobin(random.Random(1)), places, 9)
    assert set(taken[:3]) == set("abc")
    assert taken == taken[:3] * 3


def test_turns_are_as_frequent_as_weights_say_and_smooth():
    taken = turns(RoundRobin(random.Random(2)), slots(4, 2, 1), 700)
    assert Counter(taken) == {"a": 400, "b": 200, "c": 100}
    assert "aaa" not in taken


def test_replicas_do_not_all_begin_with_the_same_place():
    rng = random.Random(3)
    first = Counter(turns(RoundRobin(rng), slots(1, 1, 1, 1), 1) for _ in range(400))
    assert min(first.values()) > 60
    assert len(first) == 4


def test_a_place_that_was_away_takes_its_turns_and_does_not_catch_up():
    balance, places = RoundRobin(random.Random(4)), slots(1, 1, 1)
    turns(balance, places, 6)
    without = turns(balance, places[:2], 10)
    assert Counter(without) == {"a": 5, "b": 5}
    assert Counter(turns(balance, places, 9)) == {"a": 3, "b": 3, "c": 3}


def news(at=0.0, per_s=0.0, **outstanding):
    return News(
        at=at,
        begun_per_s=per_s,
        outstanding={(name, "upstream-m"): n for name, n in outstanding.items()},
    )


def where(balance, places, now, n=600):
    return Counter(balance.pick(places, now).deployment.upstream for _ in range(n))


def test_calls_of_other_replicas_count_like_own_ones():
    balance, places = LeastOutstanding(random.Random(1)), slots(1, 1, 2)
    balance.heard(news(a=5, b=3, c=10))
    assert where(balance, places, 0.0) == {"b": 600}
    places[1].load.outstanding = 2
    assert set(where(balance, places, 0.0)) == {"a", "b", "c"}


def test_what_others_began_since_has_filled_up_the_least_busy():
    balance, places = LeastOutstanding(random.Random(2)), slots(1, 1, 1)
    balance.heard(news(per_s=8.0, a=10, b=2, c=6))
    assert set(where(balance, places, 0.25)) == {"b"}  # two calls: 4
    assert set(where(balance, places, 0.5)) == {"b", "c"}  # four: 6
    assert set(where(balance, places, 1.0)) == {"b", "c"}  # eight: 8
    assert set(where(balance, places, 1.75)) == {"a", "b", "c"}  # more than is missing anywhere
    places[1].load.outstanding = 1
    assert set(where(balance, places, 1.0)) == {"c"}


def test_what_others_began_fills_places_by_their_weight():
    balance, places = LeastOutstanding(random.Random(3)), slots(1, 3)
    balance.heard(news(per_s=4.0, a=4, b=8))  # 4 and 2.67 for each of its weight
    assert set(where(balance, places, 0.99)) == {"b"}
    assert set(where(balance, places, 1.01)) == {"a", "b"}


@pytest.mark.parametrize(("age_s", "expected"), [(STALE_S, {"b"}), (STALE_S + 0.1, {"a", "b"})])
def test_news_that_are_too_old_are_none(age_s, expected):
    balance, places = LeastOutstanding(random.Random(4)), slots(1, 1)
    balance.heard(news(at=100.0, a=50))
    assert set(where(balance, places, 100.0 + age_s)) == expected


def test_places_that_nobody_told_of_are_free():
    balance, places = LeastOutstanding(random.Random(5)), slots(1, 1, 1)
    balance.heard(news(a=1, c=1))
    assert where(balance, places, 0.0) == {"b": 600}
