"""Keys and spending in a file: restarts, several processes, files that cannot be used."""

import asyncio
import contextlib
import math
import sqlite3
import stat
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from app.errors import ConfigError
from app.keys import MAX_NUSD
from app.stores.base import StoreError
from app.stores.bounds import MAX_SUM_NUSD
from app.stores.claims import Claim, Resource, Scope, ScopeKind
from app.stores.keys import MAX_AUDIT, KeyChange
from app.stores.memory import MemoryStore
from app.stores.sqlite import DATABASE_NAME, SqliteDatabase
from app.stores.watch import StoreEvents
from tests.support.stores import DAY, FakeClock, StoreUnderTest, audit_entry, budget, key_record
from tests.support.threads import kill_thread

ROOT = Path(__file__).resolve().parents[4]
SCOPE, OTHER = Scope(ScopeKind.KEY, "key-1"), Scope(ScopeKind.KEY, "key-other")
MONTH = Claim(scope=SCOPE, budgets=(budget(1000, ends_in_s=10**6),), reserve_nusd=1)


async def reopened(directory: Path, clock: FakeClock) -> StoreUnderTest:
    store = MemoryStore(directory, clock=clock)
    await store.open()
    return StoreUnderTest(store, clock.pass_time)


async def test_spending_and_keys_survive_a_restart(tmp_path):
    clock = FakeClock()
    first = await reopened(tmp_path / "new" / "data", clock)
    await first.store.keys.save(key_record("kept"))
    for cost_nusd in (300, 650):
        request_id, _ = await first.admitted(MONTH)
        await first.settle(request_id, [MONTH], cost_nusd=cost_nusd)
    await first.admitted(MONTH)
    await first.lifecycle.aclose()

    second = await reopened(tmp_path / "new" / "data", clock)
    assert await second.store.keys.find(key_record("kept").digest) == key_record("kept")
    (standing,) = (await second.standing(MONTH)).budgets
    # Requests that were running have ended with the process: nothing is reserved.
    assert (standing.spent_nusd, standing.reserved_nusd) == (950, 0)
    request_id, _ = await second.admitted(MONTH)
    await second.settle(request_id, [MONTH], cost_nusd=50)
    await second.lifecycle.aclose()

    third = await reopened(tmp_path / "new" / "data", clock)
    assert (await third.refused(MONTH)).resource is Resource.BUDGET
    await third.lifecycle.aclose()


async def test_spending_of_a_period_long_over_is_forgotten(tmp_path):
    clock = FakeClock()
    first = await reopened(tmp_path, clock)
    request_id, _ = await first.admitted(MONTH)
    await first.settle(request_id, [MONTH], cost_nusd=300)
    await first.lifecycle.aclose()
    clock.now += 10**6 + 86_401.0
    second = await reopened(tmp_path, clock)
    assert len(second.store.counters) == 0
    await second.lifecycle.aclose()
    with sqlite3.connect(tmp_path / DATABASE_NAME) as connection:
        assert connection.execute("SELECT count(*) FROM spending").fetchone() == (0,)
    connection.close()


async def test_spending_is_on_the_disk_before_the_store_is_closed(tmp_path):
    under_test = await reopened(tmp_path, FakeClock())
    request_id, _ = await under_test.admitted(MONTH)
    await under_test.settle(request_id, [MONTH], cost_nusd=300)
    connection = sqlite3.connect(tmp_path / DATABASE_NAME)
    async with asyncio.timeout(60):
        while connection.execute("SELECT nusd FROM spending").fetchall() != [(300,)]:
            await asyncio.sleep(0.01)
    connection.close()
    await under_test.lifecycle.aclose()


async def test_one_absurd_cost_leaves_what_others_spent_on_the_disk(tmp_path):
    clock = FakeClock()
    first = await reopened(tmp_path, clock)
    large = budget(MAX_NUSD, ends_in_s=10**6)
    claims = {
        scope: msgspec.structs.replace(MONTH, scope=scope, budgets=(large,))
        for scope in (SCOPE, OTHER)
    }
    admitted = {scope: await first.admitted(claim) for scope, claim in claims.items()}
    for scope, cost_nusd in ((SCOPE, 2**64), (OTHER, 5_150_000_000)):
        await first.settle(admitted[scope][0], [claims[scope]], cost_nusd=cost_nusd)
    await first.lifecycle.aclose()
    second = await reopened(tmp_path, clock)
    spent = {
        scope: (await second.standing(claim)).budgets[0].spent_nusd
        for scope, claim in claims.items()
    }
    assert spent == {SCOPE: MAX_NUSD, OTHER: 5_150_000_000}
    await second.lifecycle.aclose()


async def test_spending_that_cannot_be_written_is_lost_alone_and_said(tmp_path, caplog):
    lost = []
    events = StoreEvents(lost=lambda what, n: lost.append((what, n)))
    database = SqliteDatabase(tmp_path, clock=FakeClock(), events=events)
    await database.open()
    for i in range(20):
        database.spending.add(Scope(ScopeKind.KEY, f"key-{i}"), DAY, i + 1, 2e9)
    database.spending.add(Scope(ScopeKind.KEY, "key-\ud800"), DAY, 100, 2e9)
    database.spending.add(OTHER, DAY, 100, math.nan)
    await database.aclose()
    database = SqliteDatabase(tmp_path, clock=FakeClock())
    spent = {scope.name: nusd for scope, _, nusd, _ in await database.open()}
    await database.aclose()
    assert spent == {f"key-{i}": i + 1 for i in range(20)}
    assert lost == [("spending", 1)] * 2
    assert "are lost" in caplog.text


async def test_sums_beyond_what_the_disk_counts_stay_whole_numbers(tmp_path):
    database = SqliteDatabase(tmp_path, clock=FakeClock())
    for _ in range(3):
        await database.open()
        database.spending.add(SCOPE, DAY, MAX_SUM_NUSD - 1, 2e9)
        await database.aclose()
        database = SqliteDatabase(tmp_path, clock=FakeClock())
    assert await database.open() == [(SCOPE, DAY, MAX_SUM_NUSD, 2e9)]
    await database.aclose()


async def test_the_thread_that_writes_spending_is_followed_when_it_dies(tmp_path):
    restarted = []
    store = MemoryStore(tmp_path, clock=FakeClock(), events=StoreEvents(restarted=restarted.append))
    await store.open()
    under_test = StoreUnderTest(store)
    request_id, _ = await under_test.admitted(MONTH)
    await asyncio.to_thread(kill_thread, "steelyard-spending")
    await under_test.settle(request_id, [MONTH], cost_nusd=300)
    connection = sqlite3.connect(tmp_path / DATABASE_NAME)
    async with asyncio.timeout(60):
        while connection.execute("SELECT nusd FROM spending").fetchall() != [(300,)]:
            await asyncio.sleep(0.01)
    connection.close()
    assert restarted == ["steelyard-spending"]
    await store.aclose()


_OTHER_PROCESS = """
import asyncio, sys
from pathlib import Path
from app.stores.memory import MemoryStore
from tests.support.stores import key_record

async def main():
    store = MemoryStore(Path(sys.argv[1]))
    await store.open()
    for i in range(int(sys.argv[3])):
        await store.store.keys.save(key_record(f"{sys.argv[2]}{i}", revoked_at=1.0))
    await store.aclose()

asyncio.run(main())
"""


async def test_keys_that_another_process_adds_and_revokes_are_seen_at_once(tmp_path):
    under_test = await reopened(tmp_path, FakeClock())
    await under_test.store.keys.save(key_record("a0"))
    assert await under_test.store.keys.find(key_record("b0").digest) is None
    others = [
        await asyncio.create_subprocess_exec(
            sys.executable, "-c", _OTHER_PROCESS, str(tmp_path), name, "20", cwd=ROOT
        )
        for name in ("a", "b")
    ]
    for i in range(20):  # everybody writes to the same file
        await under_test.store.keys.save(key_record(f"c{i}"))
    assert [await other.wait() for other in others] == [0, 0]
    assert (await under_test.store.keys.find(key_record("a0").digest)).revoked_at == 1.0
    assert (await under_test.store.keys.find(key_record("b19").digest)).revoked_at == 1.0
    assert len(await under_test.store.keys.all()) == 60
    await under_test.lifecycle.aclose()


async def test_spending_waits_while_another_process_holds_the_file(tmp_path):
    under_test = await reopened(tmp_path, FakeClock())
    other = sqlite3.connect(tmp_path / DATABASE_NAME, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    request_id, _ = await under_test.admitted(MONTH)
    await under_test.settle(request_id, [MONTH], cost_nusd=300)
    assert await under_test.store.keys.find("none") is None
    other.execute("COMMIT")
    await under_test.lifecycle.aclose()
    assert other.execute("SELECT nusd FROM spending").fetchall() == [(300,)]
    other.close()


async def test_spending_that_cannot_be_written_is_kept_and_the_store_says_so(tmp_path, caplog):
    under_test = await reopened(tmp_path, FakeClock())
    other = sqlite3.connect(tmp_path / DATABASE_NAME, isolation_level=None)
    other.execute("ALTER TABLE spending RENAME TO elsewhere")
    request_id, _ = await under_test.admitted(MONTH)
    await under_test.settle(request_id, [MONTH], cost_nusd=300)
    async with asyncio.timeout(60):
        while await under_test.lifecycle.healthy():
            await asyncio.sleep(0.01)
    other.execute("ALTER TABLE elsewhere RENAME TO spending")
    async with asyncio.timeout(60):
        while not await under_test.lifecycle.healthy():
            await asyncio.sleep(0.01)
    await under_test.lifecycle.aclose()
    assert other.execute("SELECT nusd FROM spending").fetchall() == [(300,)]
    other.close()
    assert sum("cannot write" in record.message for record in caplog.records) == 1


async def test_the_files_are_for_their_owner_only(tmp_path):
    under_test = await reopened(tmp_path / "data", FakeClock())
    await under_test.store.keys.save(key_record("secret"))
    assert stat.S_IMODE((tmp_path / "data").stat().st_mode) == 0o700
    modes = {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "data").iterdir()}
    assert modes == {0o600}
    await under_test.lifecycle.aclose()


async def test_a_file_that_is_no_database_stops_the_start(tmp_path):
    (tmp_path / DATABASE_NAME).write_bytes(b"not a database at all, but long enough" * 100)
    with pytest.raises(ConfigError, match="cannot use"):
        await MemoryStore(tmp_path).open()


async def test_a_place_that_is_no_folder_stops_the_start(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot use"):
        await MemoryStore(tmp_path / "file").open()


async def test_a_database_of_a_newer_release_stops_the_start(tmp_path):
    connection = sqlite3.connect(tmp_path / DATABASE_NAME)
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(ConfigError, match="newer release"):
        await MemoryStore(tmp_path).open()


async def test_a_key_that_cannot_be_read_is_not_taken_for_unknown(tmp_path):
    under_test = await reopened(tmp_path, FakeClock())
    connection = sqlite3.connect(tmp_path / DATABASE_NAME)
    with connection:
        connection.execute("INSERT INTO keys VALUES ('d', 0.0, ?)", (b'{"from":"the future"}',))
    connection.close()
    with pytest.raises(StoreError, match="cannot be read"):
        await under_test.store.keys.find("d")
    await under_test.lifecycle.aclose()


async def test_a_closed_store_knows_no_keys(tmp_path):
    under_test = await reopened(tmp_path, FakeClock())
    await under_test.lifecycle.aclose()
    with pytest.raises(StoreError):
        await under_test.store.keys.find("d")


_KILLED_PROCESS = """
import asyncio, os, signal, sqlite3, sys
from pathlib import Path
from app.stores.sqlite import DATABASE_NAME
from tests.support.stores import FakeClock
from tests.unit.app.stores.test_sqlite import MONTH, reopened

async def main():
    directory = Path(sys.argv[1])
    under_test = await reopened(directory, FakeClock())
    request_id, _ = await under_test.admitted(MONTH)
    await under_test.settle(request_id, [MONTH], cost_nusd=100)
    connection = sqlite3.connect(directory / DATABASE_NAME)
    while not connection.execute("SELECT 1 FROM spending").fetchall():
        await asyncio.sleep(0.01)
    request_id, _ = await under_test.admitted(MONTH)
    await under_test.settle(request_id, [MONTH], cost_nusd=1)
    os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main())
"""


def test_a_process_that_is_killed_loses_no_more_than_the_last_moment(tmp_path):
    ended = subprocess.run(
        [sys.executable, "-c", _KILLED_PROCESS, str(tmp_path)], cwd=ROOT, check=False, timeout=60
    )
    assert ended.returncode == -9
    connection = sqlite3.connect(tmp_path / DATABASE_NAME)
    assert connection.execute("SELECT nusd FROM spending").fetchone()[0] in {100, 101}
    connection.close()


async def test_of_what_was_done_to_keys_so_much_is_kept(tmp_path):
    under_test = await reopened(tmp_path, FakeClock())
    with contextlib.closing(sqlite3.connect(tmp_path / DATABASE_NAME)) as connection, connection:
        connection.executemany(
            "INSERT INTO audit (key_id, entry) VALUES ('key-a', ?)",
            [(msgspec.json.encode(audit_entry(key_record("a"))),)] * (MAX_AUDIT + 5),
        )
    record = key_record("b")
    await under_test.store.keys.change(
        [KeyChange(before=None, after=record)], entry=audit_entry(record)
    )
    told = await under_test.store.keys.history(key_id=None, limit=2 * MAX_AUDIT)
    assert len(told) == MAX_AUDIT
    assert told[0].key_id == "key-b"
    await under_test.lifecycle.aclose()
