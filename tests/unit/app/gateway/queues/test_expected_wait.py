import heapq
import random

import pytest

from app.gateway.queues.expected_wait import expected_wait
from app.gateway.queues.fair_line import FairLine
from app.gateway.queues.virtual_counters import Rank

PLACES, HELD_S, OTHER_S, LIMIT_S = 4, 2.0, 6.0, 9.0


def test_turns_come_as_places_become_free_until_it_is_seen_how_fast_they_do():
    wait = expected_wait(n_ahead=3, n_places=8, held_s=4.0, gap_s=None)
    assert wait.seconds == 2.0
    assert wait.seconds_upper == pytest.approx(2.0 + 1.2816)
    assert expected_wait(n_ahead=3, n_places=8, held_s=4.0, gap_s=1.0).seconds == 4.0


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
            upper_s = expected_wait(
                n_ahead=self.line.n_waiting, n_places=PLACES, held_s=HELD_S, gap_s=self.line.gap_s
            ).seconds_upper
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
