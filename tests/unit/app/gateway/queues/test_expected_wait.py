import heapq
import random

import pytest

from app.gateway.queues.expected_wait import expected_turns, expected_wait
from app.gateway.queues.fair_line import FairLine
from app.gateway.queues.virtual_counters import Rank
from app.keys import Priority

PLACES, HELD_S, OTHER_S, LIMIT_S = 4, 2.0, 6.0, 9.0


def test_turns_are_those_of_who_goes_before_and_one_s_own():
    turns = expected_turns(3, 1, None)
    assert turns == (3, 4, 0.0)
    wait = expected_wait(turns, 0.5)
    assert wait.seconds == 2.0
    # Four exponential gaps, and as much again of the mean as a mean over so few is off by.
    assert wait.seconds_upper == pytest.approx(2.0 + 1.2816 * 0.5 * (4 + 16 / 19) ** 0.5)


def test_who_comes_later_goes_before_a_key_as_often_as_it_did_of_late():
    # Every fourth turn is of the key, two of which wait: so the third one's is the twelfth.
    turns = expected_turns(2, 2, 4.0)
    assert turns.mean == 12.0
    assert turns.variance == pytest.approx(4 * 3 * (3 + 9 / 19))
    assert expected_turns(40, 2, 4.0).mean == 41
    assert expected_turns(2, 2, 1.0) == (2, 3, 0.0)


def drawn(rng, line, keys):
    """Have keys of unlike size, weight and class wait; each one's requests cost the same."""
    for key, (tokens, weight, n) in keys.items():
        for _ in range(n):
            line.join(
                Rank(key, weight=weight), now=0.0, read=tokens, written=0.0,
                called=lambda _: None, dropped=lambda _: None,
            )  # fmt: skip
    for _ in range(rng.randrange(10)):
        line.serve_next(0.0)


@pytest.mark.parametrize("seed", range(200))
def test_so_many_go_first_as_go_first_when_nobody_comes_later(seed):
    rng = random.Random(seed)
    line = FairLine(max_waiting=1_000)
    keys = {
        name: (rng.uniform(10.0, 400.0), rng.choice([0.5, 1.0, 4.0]), rng.randrange(8))
        for name in "abcde"
    }
    drawn(rng, line, keys)
    who = rng.choice([*keys, "new"])
    tokens, weight, _ = keys.get(who, (100.0, 1.0, 0))
    turns, served = line.turns(Rank(who, weight=weight)), []
    line.join(
        Rank(who, weight=weight), now=0.0, read=tokens, written=0.0,
        called=lambda _: served.append("me"), dropped=lambda _: None,
    )  # fmt: skip
    n = 0
    while not served:
        line.serve_next(0.0)
        n += 1
    assert turns.n_before == n - 1
    assert turns.mean >= n


def test_interactive_requests_go_before_a_batch_but_for_its_share():
    line = FairLine(max_waiting=1_000, batch_share=0.25)
    now, job = Rank("now"), Rank("job", Priority.BATCH)

    def join(rank, n=1):
        for _ in range(n):
            line.join(
                rank, now=0.0, read=100.0, written=0.0, called=lambda _: None,
                dropped=lambda _: None,
            )  # fmt: skip

    join(now, 6)
    join(job, 4)
    # Of every four one is a batch's as long as both wait.
    assert line.turns(now).n_before == 6 + 2
    assert line.turns(Rank("other")).n_before == 1
    assert line.turns(job).n_before == 6 + 4


def test_whose_turns_others_take_waits_longer():
    """A key with a backlog stands behind whoever comes later of a key with none."""
    rng = random.Random(1)
    line = FairLine(max_waiting=1_000)

    def join(who):
        line.join(
            Rank(who), now=0.0, read=100.0, written=0.0, called=lambda _: None,
            dropped=lambda _: None,
        )  # fmt: skip

    for _ in range(100):
        join("heavy")
    for _ in range(60):
        if rng.random() < 0.5:
            join(f"light {rng.random()}")  # each has asked for nothing before
        line.serve_next(0.0)
    turns = line.turns(Rank("heavy"))
    # About half of the turns are others'.
    assert 1.2 * turns.n_before < turns.mean < 3 * turns.n_before
    assert turns.variance > 0


class Served:
    """A model with four places and a queue, beside one that takes whatever comes, but slowly."""

    def __init__(self, *, seed, is_heeded, rate_per_s, n=4_000):
        self.rng = random.Random(seed)
        self.line = FairLine(max_waiting=100_000)
        self.free, self.running, self.now = PLACES, [], 0.0
        self.late = self.by_other = self.within = self.foreseen = 0
        self.is_heeded = is_heeded
        for _ in range(n):
            self.until(self.now + self.rng.expovariate(rate_per_s))
            self.come()
        self.until(float("inf"))

    def until(self, at):
        while self.running and self.running[0] <= at:
            self.now = heapq.heappop(self.running)
            self.free += 1
            self.line.serve_next(self.now)
        self.now = at

    def come(self):
        upper_s, waits = 0.0, self.line.n_waiting or not self.free
        if waits:
            gap_s = self.line.gap_s
            turns = self.line.turns(Rank("one"))
            upper_s = expected_wait(turns, HELD_S / PLACES if gap_s is None else gap_s)[1]
        held_s = self.rng.uniform(0.5, 1.5) * HELD_S
        if self.is_heeded and upper_s + 1.5 * HELD_S > LIMIT_S:
            self.by_other += 1
            self.late += OTHER_S > LIMIT_S
            return
        came = self.now

        def begins(_ticket):
            self.free -= 1
            heapq.heappush(self.running, self.now + held_s)
            self.late += self.now + held_s - came > LIMIT_S
            if waits:
                self.foreseen += 1
                self.within += self.now - came <= upper_s

        self.line.join(
            Rank("one"), now=self.now, read=1.0, written=1.0, called=begins,
            dropped=lambda _: None,
        )  # fmt: skip
        if self.free:
            self.line.serve_next(self.now)


@pytest.mark.parametrize("seed", range(3))
def test_who_heeds_the_wait_misses_fewer_limits(seed):
    crowded = {"seed": seed, "rate_per_s": 1.3 * PLACES / HELD_S}
    blind, seeing = Served(is_heeded=False, **crowded), Served(is_heeded=True, **crowded)
    assert blind.late > 2_000
    assert seeing.late < 100
    # What the model has room for it still gets.
    assert seeing.by_other < 0.3 * 4_000


@pytest.mark.parametrize("seed", range(3))
def test_most_wait_no_longer_than_foreseen(seed):
    busy = Served(seed=seed, is_heeded=True, rate_per_s=0.95 * PLACES / HELD_S)
    assert busy.within > 0.85 * busy.foreseen
    assert busy.foreseen > 1_000
