"""Whatever comes, ends, is late or goes: no place is lost, none is idle, nobody is passed by."""

import asyncio
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from app.errors import OverloadedError
from app.gateway.queues.fair_line import FairLine
from app.gateway.queues.places import Places, WaitLimits
from app.gateway.queues.virtual_counters import Rank
from app.keys import Priority

N_PLACES, N_KEYS, MAX_TOKENS = 3, 4, 1_000
WEIGHTS = (1.0, 1.0, 2.0, 0.5)

joins = st.tuples(
    st.just("join"), st.integers(0, N_KEYS - 1), st.integers(1, MAX_TOKENS), st.booleans()
)
others = st.tuples(
    st.sampled_from(["end", "end", "give up"]),
    st.integers(0, 1_000),
    st.integers(0, MAX_TOKENS),
    st.booleans(),
)
steps = st.lists(st.one_of(joins, others), max_size=120)


class House:
    """So many places and a queue before them, without any tasks: what happens is the steps."""

    def __init__(self, *, max_waiting=1_000, batch_share=0.05):
        self.line = FairLine(max_waiting=max_waiting, batch_share=batch_share)
        self.free, self.now = N_PLACES, 0.0
        self.running, self.waiting, self.served, self.gone = [], [], [], []
        self.n_walked_in = self.n_refused = 0

    def do(self, step):
        kind, number, tokens, flag = step
        self.now += 1.0
        if kind == "join":
            self.join(number, tokens, batch=flag)
        elif kind == "end" and self.running:
            ticket = self.running.pop(number % len(self.running))
            if ticket is not None:
                self.line.settle(ticket, float(tokens) if flag else None)
            self.free += 1
        elif kind == "give up" and self.waiting:
            ticket = self.waiting.pop(number % len(self.waiting))
            self.line.leave(ticket)
            self.gone.append(ticket)
        self.hand_out()

    def join(self, key, tokens, *, batch):
        if self.free:
            self.free -= 1
            self.running.append(None)
            self.n_walked_in += 1
            return
        priority = Priority.BATCH if batch else Priority.INTERACTIVE
        ticket = self.line.join(
            Rank(str(key), priority, WEIGHTS[key]),
            now=self.now,
            read=float(tokens),
            written=0.0,
            called=self.called,
            dropped=self.dropped,
        )
        if ticket is None:
            self.n_refused += 1
        else:
            self.waiting.append(ticket)

    def hand_out(self):
        while self.free and self.line.serve_next(self.now) is not None:
            self.free -= 1

    def called(self, ticket):
        self.waiting.remove(ticket)  # fails where it is called twice
        self.running.append(ticket)
        self.served.append(ticket)

    def dropped(self, ticket):
        self.waiting.remove(ticket)
        self.gone.append(ticket)


@settings(max_examples=60)
@given(steps, st.sampled_from([0, 2, 1_000]))
def test_no_place_is_lost_or_doubled_and_none_is_idle_while_somebody_waits(happens, max_waiting):
    house = House(max_waiting=max_waiting)
    n_joined = 0
    for step in happens:
        n_joined += step[0] == "join"
        house.do(step)
        assert house.free + len(house.running) == N_PLACES
        assert house.free == 0 or not house.waiting
        assert house.line.n_waiting == len(house.waiting) <= max_waiting
        told = house.n_walked_in + house.n_refused + len(house.served) + len(house.gone)
        assert told + len(house.waiting) == n_joined
    while house.running:
        house.do(("end", 0, 1, True))
    assert house.free == N_PLACES
    assert not house.waiting


@settings(max_examples=60)
@given(steps)
def test_requests_of_one_key_and_class_are_served_in_their_order(happens):
    house = House()
    for step in happens:
        house.do(step)
    for key in map(str, range(N_KEYS)):
        for priority in Priority:
            since = [ticket.since for ticket in house.served if ticket.rank[:2] == (key, priority)]
            assert all(first < second for first, second in pairwise(since))


@settings(max_examples=60)
@given(steps)
def test_without_a_share_batches_go_when_no_interactive_request_waits(happens):
    house = House(batch_share=0.0)
    for step in happens:
        interactive = {t for t in house.waiting if t.rank.priority is Priority.INTERACTIVE}
        n_served = len(house.served)
        house.do(step)
        if any(t.rank.priority is Priority.BATCH for t in house.served[n_served:]):
            assert not [t for t in interactive if t.is_waiting]


@settings(max_examples=60)
@given(
    st.lists(
        st.lists(st.integers(1, MAX_TOKENS), min_size=30, max_size=30),
        min_size=2,
        max_size=N_KEYS,
    ),
    st.lists(st.integers(-MAX_TOKENS, MAX_TOKENS), min_size=40, max_size=40),
    st.booleans(),
)
def test_what_keys_get_that_wait_all_the_time_differs_by_a_bound(demands, errors, exact):
    """VTC's bound: two requests of the dearest kind, and what was not foreseen of those that run.

    Sheng et al. 2024, theorem 4.4, with requests in place of batches.
    """
    house = House()
    for _ in range(N_PLACES):
        house.do(("join", 0, 1, False))
    for tokens in zip(*demands, strict=True):
        for key, each in enumerate(tokens):
            house.do(("join", key, each, False))
    got = [0.0] * len(demands)
    error = 0 if exact else MAX_TOKENS
    bound = 2 * (MAX_TOKENS + N_PLACES * error) / min(WEIGHTS)
    for wrong in errors:
        ticket = house.running.pop(0)
        if ticket is not None:
            used = ticket.charged if exact else max(ticket.charged + wrong, 0.0)
            house.line.settle(ticket, used)
            got[int(ticket.rank.who)] += (used - ticket.charged) / ticket.rank.weight
        n_served = len(house.served)
        house.free += 1
        house.hand_out()
        for served in house.served[n_served:]:
            got[int(served.rank.who)] += served.charged / served.rank.weight
        if len({each.rank.who for each in house.waiting}) < len(demands):
            return
        assert max(got) - min(got) <= bound


@settings(max_examples=30, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.integers(0, N_KEYS - 1),
            st.booleans(),
            st.integers(0, 4),
            st.one_of(st.none(), st.integers(0, 6)),
        ),
        max_size=40,
    ),
    st.sampled_from([1, 3, 1_000]),
)
def test_places_are_all_there_after_any_storm_of_tasks(visits, max_waiting):
    """Those of batches are late at once; others are cancelled after a few turns of the loop."""

    async def storm():
        loop = asyncio.get_running_loop()
        house = Places(
            max_running=2,
            line=FairLine(max_waiting=max_waiting),
            limits=WaitLimits(max_wait_s=60.0, batch_max_wait_s=0.0),
            clock=loop.time,
        )
        inside = 0

        async def visit(key, batch, stays):
            nonlocal inside
            rank = Rank(str(key), Priority.BATCH if batch else Priority.INTERACTIVE)
            ticket = None if house.enter() else await house.wait(rank, n_bytes=10)
            inside += 1
            assert inside <= 2
            try:
                for _ in range(stays):
                    await asyncio.sleep(0)
            finally:
                inside -= 1
                house.leave(ticket, None if ticket is None else 3.0)

        tasks = []
        for key, batch, stays, until in visits:
            task = asyncio.ensure_future(visit(key, batch, stays))
            tasks.append(task)
            if until is not None:
                for _ in range(until % 3):
                    await asyncio.sleep(0)
                task.cancel()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(
            each is None or isinstance(each, OverloadedError | asyncio.CancelledError)
            for each in ended
        )
        assert (house.running, house.waiting, inside) == (0, 0, 0)

    asyncio.run(storm())
