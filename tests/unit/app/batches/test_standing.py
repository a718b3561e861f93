"""What metrics tell of batches that are not over, whoever works at them."""

import msgspec
import pytest

from app.batches.records import Batch, Counts
from app.batches.standing import LOOK_EVERY_S, MOST, Standings
from app.stores.sqlite_jobs import SqliteJobs

BATCH = Batch(
    batch_id="batch-1",
    owner="me",
    key_digest=None,
    endpoint="/v1/chat/completions",
    input_file_id="file-1",
    completion_window="24h",
    output_lifetime_s=1e6,
    created_at=1_000.0,
    expires_at=1e6,
    forget_at=2e6,
    status="in_progress",
    counts=Counts(total=10),
)


class Stored:
    """A store whose time and clock stand until they are moved."""

    def __init__(self, jobs):
        self.jobs, self.at = jobs, 0.0
        self.standings = Standings(jobs=jobs, now=lambda: 1_000.0 + self.at, clock=lambda: self.at)

    async def put(self, batch=BATCH, **changes):
        record = msgspec.structs.replace(batch, **changes).record()
        assert await self.jobs.put(record, lifetime_s=1e6)

    async def look(self, *, after_s):
        self.at += after_s
        return await self.standings.look()


@pytest.fixture
async def stored():
    jobs = SqliteJobs(None)
    await jobs.open()
    yield Stored(jobs)
    await jobs.aclose()


async def test_where_there_is_none_everything_is_nought(stored):
    found = await stored.look(after_s=0)
    assert set(found.by_status.values()) == {0}
    assert (found.oldest_s, found.idle_s, found.spent_usd, found.budget_usd) == (0, 0, 0, 0)


async def test_states_ages_and_money_are_of_those_that_are_not_over(stored):
    await stored.put(counts=Counts(total=10, completed=2, cost_usd=0.5), budget_usd=2.0)
    await stored.put(batch_id="batch-2", status="validating", created_at=1_040.0, budget_usd=1.0)
    await stored.put(batch_id="batch-3", cancelling_at=1_050.0, counts=Counts(cost_usd=7.0))
    await stored.put(batch_id="batch-4", status="completed", created_at=1.0, budget_usd=9.0)
    found = await stored.look(after_s=60)
    assert found.by_status == {
        "validating": 1, "in_progress": 1, "finalizing": 0, "cancelling": 1,
    }  # fmt: skip
    assert found.oldest_s == 60
    assert (found.spent_usd, found.budget_usd) == (0.5, 3.0)


async def test_a_batch_is_idle_from_when_nothing_more_came_of_it(stored):
    await stored.put()
    assert (await stored.look(after_s=0)).idle_s == 0
    assert (await stored.look(after_s=100)).idle_s == 100
    await stored.put(counts=Counts(total=10, failed=1))
    assert (await stored.look(after_s=50)).idle_s == 0
    # Of several it is the one that has waited the longest; one that was not begun does not count.
    await stored.put(batch_id="batch-2", status="validating")
    await stored.look(after_s=30)
    await stored.put(counts=Counts(total=10, failed=2))
    assert (await stored.look(after_s=30)).idle_s == 0
    await stored.put(batch_id="batch-2")
    await stored.look(after_s=10)
    assert (await stored.look(after_s=10)).idle_s == 20
    await stored.put(status="completed")
    assert (await stored.look(after_s=5)).idle_s == 15
    await stored.put(batch_id="batch-2", status="failed")
    assert (await stored.look(after_s=5)).idle_s == 0


async def test_it_is_not_looked_all_the_time_nor_at_all_of_very_many(stored):
    for number in range(MOST + 5):
        await stored.put(batch_id=f"batch-{number}", created_at=1_000.0 + number)
    assert (await stored.look(after_s=200)).by_status["in_progress"] == MOST
    assert await stored.look(after_s=LOOK_EVERY_S / 2) is None
    assert (await stored.look(after_s=LOOK_EVERY_S / 2)).oldest_s == 200 + LOOK_EVERY_S
