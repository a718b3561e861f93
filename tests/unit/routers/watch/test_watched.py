"""A model under watch: learned, warned of, demoted, back; and what an operator says of it."""

import msgspec
import numpy as np
import pytest

from routers.watch.profile import CANARIES_LEARNED, KNOWN_AFTER
from routers.watch.signals import WEIGHT, Observation, Placed, Signal
from routers.watch.watched import PROBATION, Level, Rule, Watched, peers_of

RULE = Rule(demotes=True, learn_from=200)
WARNS = Rule(learn_from=200)


class World:
    """Answers of one model, and when they come."""

    def __init__(self, rule=RULE, seed=1):
        self.rng, self.rule, self.now = np.random.default_rng(seed), rule, 0.0
        self.watched = Watched()
        self.changes = []

    def answer(self, n=1, *, shift=0.0, refused=0.01, slow=0.0, peers=None, until=None):
        """Have it answer; return after how many it came to the level `until`."""
        for at in range(1, n + 1):
            seen = Observation(
                length=Placed("text 1", self.rng.normal(shift, 0.6)),
                first_s=Placed("1", self.rng.normal(slow, 0.4)),
                events=((Signal.REFUSAL, bool(self.rng.random() < refused)),),
            )
            if self.see(seen, peers) is until and until is not None:
                return at
        return None

    def canaries(self, n, *, wrong=0.0, names=10, until=None):
        for at in range(n):
            seen = Observation(canary=(f"c{at % names}", bool(self.rng.random() < wrong)))
            if self.see(seen, None) is until and until is not None:
                return at + 1
        return None

    def see(self, seen, peers):
        found = self.watched.see(seen, rule=self.rule, peers=peers or {}, now=self.now)
        self.changes += found
        return found[-1].level if found else None

    @property
    def level(self):
        return self.watched.level


def test_the_weights_of_all_signals_make_one_average():
    assert set(WEIGHT) == set(Signal)
    assert sum(WEIGHT.values()) == pytest.approx(1.0)


def test_a_model_that_stays_as_it_is_is_never_warned_of():
    world = World()
    world.answer(10_000)
    assert world.changes == []


@pytest.mark.parametrize(
    ("change", "signal"),
    [
        ({"shift": -0.7}, Signal.SHORTER),
        ({"shift": 0.7}, Signal.LONGER),
        ({"refused": 0.3}, Signal.REFUSAL),
        ({"slow": 3.0}, Signal.SLOW_START),
    ],
)
def test_a_change_is_told_with_what_speaks_for_it(change, signal):
    world = World(WARNS)
    world.answer(400)
    assert world.answer(400, until=Level.WARNING, **change) is not None
    assert world.changes[-1].signals[0] is signal
    assert world.changes[-1].evidence >= WARNS.alarm


def test_warned_of_first_then_demoted_and_back_once_it_is_as_it_was():
    world = World()
    world.answer(400)
    assert world.answer(500, shift=-0.8, until=Level.DEMOTED) is not None
    assert [each.level for each in world.changes] == [Level.WARNING, Level.DEMOTED]
    world.answer(300, shift=-0.8)
    assert world.level is Level.DEMOTED
    assert world.answer(300, until=Level.RETURNING) is not None
    assert world.answer(PROBATION, until=Level.OK) == PROBATION
    world.answer(3_000)
    assert world.level is Level.OK


def test_where_models_are_not_demoted_a_warning_ends_when_it_is_as_it_was():
    world = World(WARNS)
    world.answer(400)
    world.answer(500, shift=-0.8)
    assert world.level is Level.WARNING
    assert world.answer(300, until=Level.OK) is not None


def test_slow_answers_are_warned_of_but_demote_nobody():
    world = World()
    world.answer(400)
    world.answer(1_000, slow=4.0)
    assert world.level is Level.WARNING


def test_what_comes_after_a_change_is_not_learned():
    world = World(Rule(learn_from=5_000))
    world.answer(400)
    world.answer(400, shift=-2.0, until=Level.WARNING)
    learned = world.watched.profile.lengths["text 1"].n
    world.answer(200, shift=-2.0)
    assert world.watched.profile.lengths["text 1"].n == learned


def test_a_demoted_model_is_tried_after_its_time_and_twice_as_late_after_it_failed():
    world = World(Rule(demotes=True, learn_from=200, return_after_s=100.0))
    world.answer(400)
    world.answer(500, shift=-0.8, until=Level.DEMOTED)

    def tried():
        return [each.level for each in world.watched.review(rule=world.rule, now=world.now)]

    world.now = 99.0
    assert tried() == []
    world.now = 100.0
    assert tried() == [Level.RETURNING]
    assert world.answer(PROBATION, shift=-0.8, until=Level.DEMOTED) is not None
    world.now = 299.0
    assert tried() == []
    world.now = 300.0
    assert tried() == [Level.RETURNING]
    world.answer(PROBATION)
    assert world.level is Level.OK
    assert world.watched.n_vain == 0


def test_where_answers_of_others_change_alike_it_is_the_requests():
    alone, among = World(WARNS), World(WARNS)
    for world in (alone, among):
        world.answer(400)
    others = [World(WARNS, seed=seed) for seed in (2, 3)]
    for each in others:
        each.answer(400)
        each.answer(40, shift=-0.7)
    peers = peers_of(each.watched for each in others)
    assert peers[Signal.SHORTER] > 0.6
    assert alone.answer(600, shift=-0.7, until=Level.WARNING) is not None
    among.answer(600, shift=-0.7, peers=peers)
    assert among.changes == []


def test_nobody_goes_by_others_that_something_is_held_against_or_little_was_seen_of():
    bad, new = World(WARNS), World(WARNS, seed=2)
    bad.answer(400)
    bad.answer(400, shift=-0.8)
    new.answer(105)
    assert bad.level is Level.WARNING
    assert peers_of([bad.watched, new.watched]) == {}


def learned_canaries(world, wrong=0.0):
    world.canaries(10 * KNOWN_AFTER + CANARIES_LEARNED, wrong=wrong)
    return world


def test_canaries_alone_find_a_worse_model_and_bring_it_back():
    world = learned_canaries(World())
    found = world.canaries(60, wrong=0.5, until=Level.WARNING)
    assert found is not None
    assert world.canaries(60, wrong=0.5, until=Level.DEMOTED) is not None
    assert world.changes[-1].signals == (Signal.CANARY,)
    assert world.canaries(80, until=Level.RETURNING) is not None
    assert world.canaries(PROBATION // 5, until=Level.OK) is not None


def test_what_a_model_does_not_know_is_not_held_against_it():
    world = World()
    for at in range(800):
        # One of four is beyond it; a model that knows nothing of it may still be right by chance.
        wrong = at % 4 == 0 and world.rng.random() < 0.8
        world.see(Observation(canary=(f"c{at % 12}", bool(wrong))), None)
    assert world.changes == []
    assert not any(world.watched.profile.knows(f"c{at}") for at in (0, 4))


def test_another_name_of_the_model_that_answers_is_told_once():
    world = World()
    for name in ("m-2024", "m-2024", "m-2025", "m-2025", "m-2024"):
        world.see(Observation(answered=name), None)
    assert [(each.level, each.answered) for each in world.changes] == [(None, "m-2025")]
    assert world.watched.profile.names == {"m-2024": 3, "m-2025": 2}


def test_an_operator_pins_clears_and_freezes():
    world = World()
    world.answer(400)
    world.answer(500, shift=-0.8, until=Level.DEMOTED)
    world.watched.pin(Level.OK, now=1.0)
    assert world.watched.held is Level.OK
    world.watched.clear(now=2.0)
    assert (world.watched.held, world.watched.since) == (Level.OK, 2.0)
    assert world.watched.evidence() == 0
    world.watched.frozen = True
    n = world.watched.profile.n
    world.answer(50)
    assert world.watched.profile.n == n


def test_all_of_it_is_kept_and_read_again():
    world = learned_canaries(World())
    world.answer(400)
    world.answer(500, shift=-0.8, until=Level.DEMOTED)
    data = msgspec.msgpack.encode(world.watched)
    assert msgspec.msgpack.decode(data, type=Watched) == world.watched
    assert len(data) < 20_000
