"""The outcome log loses nothing it accepted, and forgets what it must not keep."""

import asyncio
import dataclasses
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from app.outcomes.log import MAX_LABEL_CHANGES, OutcomeLog
from app.outcomes.rows import (
    ContentRow,
    Decided,
    Label,
    LabelKind,
    Labelled,
    OutcomeRow,
)
from app.outcomes.sqlite import (
    OUTCOMES_NAME,
    ContentReader,
    SqliteOutcomes,
    read_labels,
    read_outcomes,
)
from tests.support.spending import spent_row
from tests.support.stores import FakeClock
from tests.support.threads import kill_thread

ROOT = Path(__file__).resolve().parents[4]
NOW = 1_795_000_000.0


def log_in(directory: Path, *, keep_s=None, clock=None, encode=None, **options) -> OutcomeLog:
    times = {} if clock is None else {"clock": clock}
    sink = SqliteOutcomes(directory, keep_s=keep_s, **times)
    return OutcomeLog(sink, encode or (lambda row: [row]), **options)


def row(request_id: str = "req-1", **changes) -> OutcomeRow:
    fields = {"request_id": request_id, "decision_id": f"dec-{request_id}", "time": NOW}
    fields |= {"team": "blue", "estimated": True, "cost_nusd": 9_000_000_000_000_000}
    return msgspec.structs.replace(spent_row(), **{**fields, **changes})


def rows_of(directory: Path) -> list[OutcomeRow]:
    return [row for _, row in read_outcomes(directory)]


async def test_rows_are_read_as_they_were_recorded(tmp_path):
    log = log_in(tmp_path)
    await log.open()
    nothing = {
        field.name: None
        for field in msgspec.structs.fields(OutcomeRow)
        if "None" in str(field.type)
    }
    recorded = [row("req-1"), row("req-2", **nothing, estimated=False), row("' OR 1=1; --")]
    for each in recorded:
        log.record(each)
    await log.aclose()
    assert rows_of(tmp_path) == recorded
    assert log.dropped == 0


async def test_a_file_of_an_earlier_release_is_read_and_goes_on_and_it_can_go_back(tmp_path):
    log = log_in(tmp_path)
    await log.open()
    log.record(row("old"))
    await log.aclose()
    file = tmp_path / OUTCOMES_NAME
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("ALTER TABLE outcomes DROP COLUMN calls")
        columns = [each[1] for each in connection.execute("PRAGMA table_info(outcomes)")]
    assert rows_of(tmp_path) == [row("old")]
    log = log_in(tmp_path)
    await log.open()
    log.record(row("new", calls="[]"))
    await log.aclose()
    assert rows_of(tmp_path) == [row("old"), row("new", calls="[]")]
    with closing(sqlite3.connect(file)) as connection:  # as the earlier release does
        names, places = ", ".join(columns[1:]), ", ".join("?" * len(columns[1:]))
        values = [getattr(row("older"), name) for name in columns[1:]]
        connection.execute(f"INSERT INTO outcomes ({names}) VALUES ({places})", values)  # noqa: S608
        connection.commit()
    assert rows_of(tmp_path)[-1] == row("older")


async def test_rows_are_written_while_the_log_is_open_and_can_be_read_on_from_a_number(tmp_path):
    log = log_in(tmp_path)
    await log.open()
    for i in range(5):
        log.record(row(f"req-{i}"))
    async with asyncio.timeout(60):
        while len(rows_of(tmp_path)) < 5:
            await asyncio.sleep(0.01)
    second = list(read_outcomes(tmp_path))[1][0]
    rest = [each.request_id for _, each in read_outcomes(tmp_path, after_id=second, limit=2)]
    assert rest == ["req-2", "req-3"]
    await log.aclose()


async def test_what_does_not_fit_is_dropped_and_counted(tmp_path):
    told = []
    log = log_in(tmp_path, capacity=10, on_drop=told.append)
    for i in range(25):
        log.record(row(f"req-{i}"))
    assert log.dropped == sum(told) == 15
    await log.open()
    await log.aclose()
    assert len(rows_of(tmp_path)) == 10


async def test_rows_wait_while_the_file_is_held_by_another_process(tmp_path):
    log = log_in(tmp_path)
    await log.open()
    other = sqlite3.connect(tmp_path / OUTCOMES_NAME, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    for i in range(100):
        log.record(row(f"req-{i}"))
    other.execute("COMMIT")
    other.close()
    await log.aclose()
    assert len(rows_of(tmp_path)) == 100


async def test_rows_that_cannot_be_written_are_tried_again_and_counted_at_the_end(tmp_path):
    log = log_in(tmp_path)
    await log.open()
    other = sqlite3.connect(tmp_path / OUTCOMES_NAME, isolation_level=None)
    other.execute("ALTER TABLE outcomes RENAME TO elsewhere")
    log.record(row())
    async with asyncio.timeout(60):
        while log.healthy:
            await asyncio.sleep(0.01)
    await log.aclose()
    assert log.dropped == 1
    other.close()


_OTHER_PROCESS = """
import asyncio, sys
from pathlib import Path
from tests.unit.app.outcomes.test_log import log_in, row

async def main():
    log = log_in(Path(sys.argv[1]))
    await log.open()
    for i in range(500):
        log.record(row(f"{sys.argv[2]}-{i}"))
        await asyncio.sleep(0)
    await log.aclose()

asyncio.run(main())
"""


async def test_several_processes_append_to_one_log(tmp_path):
    others = [
        await asyncio.create_subprocess_exec(
            sys.executable, "-c", _OTHER_PROCESS, str(tmp_path), name, cwd=ROOT
        )
        for name in ("a", "b", "c")
    ]
    assert [await other.wait() for other in others] == [0, 0, 0]
    assert len({each.request_id for each in rows_of(tmp_path)}) == 1500


async def test_texts_are_erased_when_their_time_is_over(tmp_path):
    clock = FakeClock(NOW)
    log = log_in(tmp_path, clock=clock)
    await log.open()
    log.record(row("req-1"))
    log.record(ContentRow(decision_id="dec-1", expires_at=NOW + 100.0, content=b"canary-one"))
    log.record(ContentRow(decision_id="dec-2", expires_at=NOW + 9999.0, content=b"canary-two"))
    await log.aclose()
    assert b"canary-one" in files(tmp_path)
    clock.now += 101.0
    log = log_in(tmp_path, clock=clock)
    await log.open()
    await log.aclose()
    assert b"canary-one" not in files(tmp_path)
    assert b"canary-two" in files(tmp_path)
    assert len(rows_of(tmp_path)) == 1


@pytest.mark.parametrize(("keep_s", "left"), [(None, 2), (3600.0, 1)])
async def test_rows_are_kept_for_as_long_as_configured(tmp_path, keep_s, left):
    log = log_in(tmp_path, keep_s=keep_s, clock=FakeClock(NOW))
    log.record(row("old", time=NOW - 3601.0))
    log.record(row("new", time=NOW - 3599.0))
    await log.open()
    await log.aclose()
    assert len(rows_of(tmp_path)) == left


def files(directory: Path) -> bytes:
    return b"".join(path.read_bytes() for path in sorted(directory.iterdir()))


async def test_a_record_that_cannot_be_encoded_does_not_keep_others_from_being_written(tmp_path):
    def encode(item):
        if item == "bad":
            raise ValueError(item)
        return [row(item)]

    log = log_in(tmp_path, encode=encode)
    await log.open()
    for item in ("one", "bad", "two", "bad"):
        log.record(item)
    await log.aclose()
    assert [each.request_id for each in rows_of(tmp_path)] == ["one", "two"]
    assert log.dropped == 2


@pytest.mark.parametrize(
    ("changes", "kept"),
    [
        ({"input_tokens": 2**64}, {"input_tokens": 2**63 - 1}),
        ({"cost_nusd": -(10**30)}, {"cost_nusd": -(2**63 - 1)}),
        ({"response_model": "m\ud800"}, {"response_model": "m\\ud800"}),
        ({"finish_reason": ["stop"]}, {"finish_reason": "['stop']"}),
        ({"duration_s": float("nan")}, {"duration_s": 0.0}),
        ({"team": {"a": 1}, "status": 10**25}, {"team": "{'a': 1}", "status": 2**63 - 1}),
    ],
    ids=lambda value: str(value)[:20],
)
async def test_a_row_that_no_sink_can_hold_is_kept_as_it_can_be(tmp_path, changes, kept):
    log = log_in(tmp_path)
    await log.open()
    for each in (row("one"), row("odd", **changes), row("two")):
        log.record(each)
    await log.aclose()
    rows = {each.request_id: each for each in rows_of(tmp_path)}
    odd = rows.pop("odd")
    assert rows == {name: row(name) for name in ("one", "two")}
    assert {name: getattr(odd, name) for name in changes} == kept
    assert log.dropped == 0


async def test_texts_that_cannot_be_written_are_lost_alone(tmp_path):
    told = []
    log = log_in(tmp_path, on_drop=told.append)
    await log.open()
    rows = [row(f"r{i}") for i in range(50)]
    poison = ContentRow(decision_id="dec-r7", expires_at=NOW, content=["no bytes"])
    for each in (*rows[:20], poison, *rows[20:]):
        log.record(each)
    await log.aclose()
    assert {each.request_id for each in rows_of(tmp_path)} == {each.request_id for each in rows}
    assert (log.dropped, told) == (1, [1])
    assert log.healthy


async def test_a_thread_that_dies_is_followed_by_another_one(tmp_path, caplog):
    restarted = []
    log = log_in(tmp_path, on_restart=restarted.append)
    await log.open()
    log.record(row("before"))
    await asyncio.to_thread(kill_thread, "steelyard-outcomes")
    log.record(row("after"))
    async with asyncio.timeout(60):
        while len(rows_of(tmp_path)) < 2:
            await asyncio.sleep(0.01)
    assert restarted == ["steelyard-outcomes"]
    assert "steelyard-outcomes died" in caplog.text
    async with asyncio.timeout(60):
        while not log.healthy:
            await asyncio.sleep(0.01)
    await log.aclose()


async def test_a_row_that_is_written_twice_is_there_once(tmp_path):
    log = log_in(tmp_path)
    await log.open()
    for status in (200, 500):
        log.record(row(status=status))
    await log.aclose()
    assert [each.status for each in rows_of(tmp_path)] == [200]


async def test_the_room_for_texts_is_bounded_and_comes_back_once_they_are_written(tmp_path):
    log = log_in(tmp_path, max_text_bytes=100)
    assert log.has_room_for(100)
    assert not log.has_room_for(101)
    log.record(row("req-1"), text_bytes=60)
    assert not log.has_room_for(41)
    await log.open()
    assert await log.find("dec-req-1") is not None  # which writes first
    assert log.has_room_for(100)
    await log.aclose()


async def test_what_was_recorded_a_moment_ago_is_found(tmp_path):
    log = log_in(tmp_path)
    await log.open()
    log.record(row("req-1", policy="economy"))
    assert await log.find("dec-req-1") == Decided(
        key_id="key-1", policy="economy", model="small", predicted_quality=0.75
    )
    assert await log.find("dec-other") is None
    await log.aclose()


def label(quality: float = 1.0, **changes) -> Label:
    full = Label(
        decision_id="dec-1",
        kind=LabelKind.SCORE,
        quality=quality,
        labelled_by="key-1",
        time=NOW,
    )
    return dataclasses.replace(full, **changes)


async def test_a_label_is_kept_once_and_may_change_a_bounded_number_of_times(tmp_path):
    log = log_in(tmp_path)
    await log.open()
    assert await log.label(label(0.0)) is Labelled.NEW
    assert await log.label(label(0.0)) is Labelled.SAME
    for i in range(MAX_LABEL_CHANGES):
        assert await log.label(label((i + 1) / 100)) is Labelled.CHANGED
    assert await log.label(label(0.99)) is Labelled.REFUSED
    assert await log.label(label(MAX_LABEL_CHANGES / 100)) is Labelled.SAME
    await log.aclose()
    assert list(read_labels(tmp_path)) == [label(MAX_LABEL_CHANGES / 100)]


async def test_comparisons_stand_beside_labels_of_the_same_decision(tmp_path):
    log = log_in(tmp_path)
    await log.open()
    both = [label(0.5), label(1.0, other_decision_id="dec-2", kind=LabelKind.PREFERENCE)]
    for each in both:
        assert await log.label(each) is Labelled.NEW
    await log.aclose()
    assert list(read_labels(tmp_path)) == both


async def test_texts_are_read_until_their_time_is_over(tmp_path):
    log = log_in(tmp_path, clock=FakeClock(NOW))
    await log.open()
    log.record(ContentRow(decision_id="dec-1", expires_at=NOW + 100.0, content=b"words"))
    await log.aclose()
    clock = FakeClock(NOW)
    reader = ContentReader(tmp_path, clock=clock)
    assert reader.get("dec-1") == b"words"
    assert reader.get("dec-2") is None
    clock.now += 100.0
    assert reader.get("dec-1") is None
    reader.close()
