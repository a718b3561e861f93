"""What gateways hear of each other's calls, by notes that they put up on one board."""

import random
from collections import Counter

import msgspec
import pytest

from app.gateway.deployments.balance import STALE_S
from app.gateway.deployments.news import NewsExchange
from app.gateway.deployments.pool import DeploymentPool
from app.stores.base import StoreError
from tests.support.providers import ScriptedProvider, deployment


class Board:
    """One in memory."""

    def __init__(self):
        self.notes = {}
        self.broken = None

    async def exchange(self, owner, note, *, gone=()):
        if self.broken is not None:
            raise self.broken
        self.notes[owner] = note
        for name in gone:
            self.notes.pop(name, None)
        return dict(self.notes)


class Gateway:
    """One of some gateways: its own clock, its own pool."""

    def __init__(self, board, *, seed, began=0.0, **limits):
        self.now = began
        self.board = board
        self.limits = limits
        self.seed = seed
        self.reload()
        self.news = NewsExchange(
            board, pool=lambda: self.pool, clock=lambda: self.now, name=f"gateway-{seed}"
        )

    def reload(self):
        places = [
            deployment("m", ScriptedProvider(), upstream=name, **self.limits) for name in "xy"
        ]
        self.pool = DeploymentPool(
            {"m": places}, clock=lambda: self.now, rng=random.Random(self.seed)
        )

    def hold(self, upstream, n):
        others = [slot for slot in self.pool.slots() if slot.deployment.upstream != upstream]
        return [self.pool.lease("m", avoid=others) for _ in range(n)]

    def taken(self, n):
        leases = [self.pool.lease("m") for _ in range(n)]
        for lease in leases:
            lease.release()
        return Counter(lease.deployment.upstream for lease in leases)

    async def tell(self):
        await self.news.exchange()


async def rounds(*gateways, n=2):
    for _ in range(n):
        for each in gateways:
            each.now += 0.1
            await each.tell()


async def test_a_place_that_another_gateway_is_busy_with_gets_fewer_calls():
    board = Board()
    one, another = Gateway(board, seed=1), Gateway(board, seed=2, began=5e6)
    one.hold("x", 8)
    assert another.taken(8) == {"x": 4, "y": 4}
    await rounds(one, another, n=3)
    assert another.news.n_others == 1
    assert another.taken(8) == {"y": 8}
    assert one.taken(4) == {"y": 4}


async def test_clocks_of_other_machines_do_not_matter_nor_does_one_that_stops():
    board = Board()
    one, another = Gateway(board, seed=1, began=1e9), Gateway(board, seed=2)
    one.hold("x", 8)
    await rounds(one, another, n=3)
    assert another.taken(4) == {"y": 4}
    # The other one is gone; its last note stays on the board, and is not believed for long.
    for _ in range(int(STALE_S / 0.1) + 2):
        another.now += 0.1
        await another.tell()
    assert another.news.n_others == 0
    assert another.taken(8) == {"x": 4, "y": 4}
    for _ in range(400):
        another.now += 0.1
        await another.tell()
    assert set(board.notes) == {"gateway-2"}


async def test_a_note_that_was_there_before_is_not_believed_until_it_changes():
    board = Board()
    one = Gateway(board, seed=1)
    one.hold("x", 8)
    await one.tell()
    another = Gateway(board, seed=2)
    await another.tell()
    assert another.taken(8) == {"x": 4, "y": 4}
    await rounds(one, another)
    assert another.taken(8) == {"y": 8}


async def test_quotas_are_used_up_by_all_together():
    board = Board()
    one, another = (Gateway(board, seed=n, requests_per_minute=60) for n in (1, 2))
    await rounds(one, another)
    for lease in one.hold("x", 40):
        lease.release()
    await rounds(one, another)
    used = {
        slot.deployment.upstream: slot.load.quota.used(another.now) for slot in another.pool.slots()
    }
    assert used == {"x": pytest.approx(40 / 60, abs=0.02), "y": 0.0}
    await rounds(one, another, n=4)  # nothing is counted twice
    assert next(another.pool.slots()).load.quota.used(another.now) < 40 / 60


async def test_a_gateway_that_begins_anew_is_not_taken_to_have_begun_fewer_calls():
    board = Board()
    one, another = (Gateway(board, seed=n, requests_per_minute=60) for n in (1, 2))
    await rounds(one, another)
    for lease in one.hold("x", 10):
        lease.release()
    await rounds(one, another)
    one.reload()
    await rounds(one, another)
    assert next(another.pool.slots()).load.quota.used(another.now) <= 10 / 60


async def test_without_the_board_each_goes_by_its_own_calls_and_hears_again_when_it_is_back():
    board = Board()
    one, another = Gateway(board, seed=1), Gateway(board, seed=2)
    one.hold("x", 8)
    await rounds(one, another, n=3)
    board.broken = StoreError("gone")
    with pytest.raises(StoreError):
        await another.tell()
    assert another.taken(4) == {"y": 4}  # for a while what was heard holds
    another.now += STALE_S + 0.1
    assert another.taken(8) == {"x": 4, "y": 4}
    board.broken = None
    board.notes.clear()  # a Redis that lost everything
    await rounds(one, another)
    assert another.taken(8) == {"y": 8}


@pytest.mark.parametrize(
    "note", [b"", b"\xff\x00", msgspec.msgpack.encode([1, {"x": "what"}]), b"\x92\x01"]
)
async def test_notes_that_cannot_be_read_or_are_of_other_models_are_passed_over(note):
    board = Board()
    board.notes["odd"] = note
    board.notes["foreign"] = msgspec.msgpack.encode([1, {"elsewhere\nm": [9, 9, 9.0]}])
    one = Gateway(board, seed=1)
    await one.tell()
    board.notes["foreign"] = msgspec.msgpack.encode([2, {"elsewhere\nm": [9, 9, 9.0]}])
    await one.tell()
    assert one.taken(8) == {"x": 4, "y": 4}


async def test_a_model_in_one_place_without_limits_is_no_news():
    pool = DeploymentPool(
        {"m": [deployment("m", ScriptedProvider())]}, clock=lambda: 0.0, rng=random.Random(1)
    )
    assert pool.shared_loads() == {}
