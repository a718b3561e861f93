"""Rows that earlier releases wrote, wherever they lie, are read as rows of today."""

import json
import math
import re
import sqlite3
from contextlib import closing

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import redis

from app.outcomes.collector import Collector
from app.outcomes.export import Selection, sqlite_log
from app.outcomes.parquet import collected_log
from app.outcomes.redis import Names
from app.outcomes.sqlite import OUTCOMES_NAME, SqliteOutcomes, read_outcomes
from app.spend.parquet import ParquetSpend
from app.spend.question import Amounts, Dimension, Question
from app.spend.rows import RedisSpend
from app.spend.sqlite import SqliteSpend
from tests.support.spending import BEGIN, spent_row
from tests.support.stores import new_prefix

OLD_SCHEMA = """
CREATE TABLE outcomes (
    id INTEGER PRIMARY KEY, request_id TEXT NOT NULL, decision_id TEXT NOT NULL UNIQUE,
    time REAL NOT NULL, key_id, team, policy, policy_version, artifact_version, objective,
    usd_per_quality, decided_model, model, upstream, response_model, reason, session, cache,
    stream INTEGER NOT NULL, status INTEGER NOT NULL, error, finish_reason, candidates, fallbacks,
    attempts, input_tokens, cached_input_tokens, output_tokens, reasoning_tokens,
    estimated INTEGER NOT NULL, cost_nusd, hedge_cost_nusd, scorer_cost_nusd, predicted_quality,
    predicted_cost_nusd, decide_s, overhead_s, time_to_first_token_s, duration_s, propensity,
    features
);
CREATE INDEX outcomes_by_time ON outcomes (time);
CREATE TABLE contents (
    decision_id TEXT PRIMARY KEY, expires_at REAL NOT NULL, content BLOB NOT NULL
);
CREATE TABLE labels (
    decision_id TEXT NOT NULL, other_decision_id TEXT NOT NULL, kind TEXT NOT NULL,
    quality REAL NOT NULL, labelled_by TEXT NOT NULL, time REAL NOT NULL,
    n_changes INTEGER NOT NULL,
    PRIMARY KEY (decision_id, other_decision_id)
) WITHOUT ROWID;
PRAGMA user_version = 1;
"""

LOST = {"model": "large", "upstream": "stub", "ms": 9.0, "status": None, "error": "hedge_lost"}
LOST |= {"input_tokens": 10, "output_tokens": 0, "cost_nusd": 40}
SERVED = {"model": "small", "upstream": "stub", "ms": 5.0, "status": 200, "error": None}
SERVED |= {"input_tokens": 10, "output_tokens": 20, "cost_nusd": 60}

OLD = {
    **msgspec.structs.asdict(spent_row()),
    "decision_id": "dec-hedged",
    "time": BEGIN,
    "model": "small",
    "attempts": [LOST, SERVED],
    "cost_nusd": 100,
    "hedge_cost_nusd": 40,
    "scorer_cost_nusd": 7,
}
PLAIN = {**OLD, "decision_id": "dec-plain", "attempts": [SERVED], "cost_nusd": 60}
PLAIN |= {"hedge_cost_nusd": 0, "scorer_cost_nusd": None}
UNPRICED = {**OLD, "decision_id": "dec-unpriced", "attempts": [], "cost_nusd": None}
UNPRICED |= {"hedge_cost_nusd": None, "scorer_cost_nusd": 3}
OLD_NAMES = set(re.findall(r"\w+", OLD_SCHEMA))
OLD_ROWS = []
for each in (OLD, PLAIN, UNPRICED):
    row = {name: value for name, value in each.items() if name in OLD_NAMES}
    OLD_ROWS.append({**row, "attempts": json.dumps(row["attempts"])})


def in_sqlite(folder, _request):
    with closing(sqlite3.connect(folder / OUTCOMES_NAME)) as connection, connection:
        connection.executescript(OLD_SCHEMA)
        names = list(OLD_ROWS[0])
        places = ", ".join("?" * len(names))
        insert = f"INSERT INTO outcomes ({', '.join(names)}) VALUES ({places})"  # noqa: S608
        connection.executemany(insert, [[row[name] for name in names] for row in OLD_ROWS])
    return SqliteSpend(folder)


def in_parquet(folder, _request):
    place = folder / "outcomes" / "date=2026-11-18"
    place.mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(OLD_ROWS), place / "1.parquet")
    return ParquetSpend(folder)


def put(client, prefix):
    for row in OLD_ROWS:
        client.xadd(Names(prefix).outcomes, {"outcome": json.dumps(row)})


def in_redis(_folder, request):
    url, prefix = request.getfixturevalue("redis_server").url, new_prefix()
    with redis.Redis.from_url(url) as client:
        put(client, prefix)
    return RedisSpend(url, prefix=prefix)


WHOLE = {"since": 0.0, "until": 4e9}


@pytest.mark.parametrize("place", [in_sqlite, in_parquet, in_redis])
def test_spending_is_told_of_them_by_role_too(tmp_path, request, place):
    source = place(tmp_path, request)
    whole = source.read(Question(**WHOLE), deadline=math.inf)[()]
    assert (whole.requests, whole.cost_nusd, whole.unpriced_requests) == (3, 170, 1)
    by = (Dimension.ROLE, Dimension.MODEL)
    assert source.read(Question(**WHOLE, by=by), deadline=math.inf) == {
        ("answer", "small"): Amounts(requests=2, input_tokens=20, output_tokens=40, cost_nusd=120),
        ("answer", "large"): Amounts(requests=1, input_tokens=10, cost_nusd=40),
        ("judge", None): Amounts(requests=2, cost_nusd=10),
    }
    by = (Dimension.SESSION, Dimension.AGENT)
    assert source.read(Question(**WHOLE, by=by), deadline=math.inf) == {(None, None): whole}
    judged = Question(**WHOLE, only={Dimension.ROLE: "judge"})
    assert source.read(judged, deadline=math.inf)[()].cost_nusd == 10


def test_a_file_goes_on_and_both_layouts_are_read_and_exported(tmp_path):
    source = in_sqlite(tmp_path, None)
    sink = SqliteOutcomes(tmp_path)
    sink.open()
    new = spent_row(calls='[{"role": "judge", "cost_nusd": 1000}]')
    sink.write([new])
    sink.close()
    hedged, plain, unpriced, last = [row for _, row in read_outcomes(tmp_path)]
    assert last == new
    assert (hedged.cost_nusd, plain.cost_nusd, unpriced.cost_nusd) == (107, 60, None)
    assert {(row.category, row.decision_model) for row in (hedged, plain)} == {(None, None)}
    assert {(row.tier, row.tier_in_force, row.deadline_s) for row in (hedged, plain)} == {
        (None, None, None)
    }
    roles = [[call["role"] for call in json.loads(row.calls)] for row in (hedged, plain, unpriced)]
    assert roles == [["judge", "answer", "answer"], ["answer"], ["judge"]]
    by = Question(**WHOLE, by=(Dimension.ROLE,))
    assert source.read(by, deadline=math.inf)["judge",].cost_nusd == 1010
    log = sqlite_log(tmp_path, **WHOLE)
    records = Selection(unlabelled=True, without_prompts=True).outcomes(log)
    log.contents.close()
    # What the model that answered cost, without what was paid beside it.
    assert [record["cost_usd"] for record in records[:2]] == pytest.approx([60e-9, 60e-9])
    assert [call["error"] for call in records[0]["calls"]] == [None, "hedge_lost", None]


def test_those_that_wait_in_redis_are_collected_as_rows_of_today(tmp_path, redis_server):
    prefix = new_prefix()
    with redis.Redis.from_url(redis_server.url) as client:
        put(client, prefix)
        collector = Collector(
            client=client, names=Names(prefix), out=tmp_path, consumer="one", keep_days=36_500
        )
        collector.open()
        assert collector.catch_up() == 3
    log = collected_log(tmp_path, **WHOLE)
    assert {row.decision_id: row.cost_nusd for row in log.outcomes} == {
        "dec-hedged": 107,
        "dec-plain": 60,
        "dec-unpriced": None,
    }
    whole = ParquetSpend(tmp_path).read(Question(**WHOLE), deadline=math.inf)[()]
    assert (whole.cost_nusd, whole.unpriced_requests) == (170, 1)
