import random
from collections import Counter

from app.gateway.balance import RoundRobin
from app.gateway.breaker import Circuit
from app.gateway.slots import Slot
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
    places[1].outstanding = 100
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
