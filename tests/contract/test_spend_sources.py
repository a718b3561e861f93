"""Every place that keeps the decision log adds up to the same."""

import itertools
import math

import msgspec
import pytest

from app.errors import InvalidRequestError
from app.outcomes.calls import StoredCall
from app.outcomes.parquet import write_rows
from app.outcomes.redis import RedisOutcomes
from app.outcomes.sqlite import SqliteOutcomes
from app.spend.parquet import ParquetSpend
from app.spend.question import Amounts, Dimension, Overdue, Question, time_text
from app.spend.rows import RedisSpend
from app.spend.sqlite import SqliteSpend
from tests.support.spending import BEGIN, random_rows, spent_row
from tests.support.stores import new_prefix

KEEP_S = 10 * 365 * 86_400.0
NEVER = math.inf
ONLY = (
    {},
    {Dimension.KEY: "key-2"},
    {Dimension.MODEL: "small", Dimension.TEAM: "ads"},
    {Dimension.ROLE: "judge"},
    {Dimension.SESSION: "session-1"},
    {Dimension.ROLE: "answer", Dimension.SESSION: "session-2", Dimension.AGENT: "agent-1"},
    {Dimension.ROLE: "answer", Dimension.MODEL: "large", Dimension.UPSTREAM: "stub"},
)
WHOLE = {"since": 0.0, "until": 4e9}


def sqlite_of(rows, tmp_path, _request):
    sink = SqliteOutcomes(tmp_path)
    sink.open()
    sink.write(rows)
    sink.close()
    return SqliteSpend(tmp_path)


def parquet_of(rows, tmp_path, _request):
    # A collector that died leaves some rows in two files.
    write_rows(tmp_path, "outcomes", rows[: len(rows) * 2 // 3], name="1")
    write_rows(tmp_path, "outcomes", rows[len(rows) // 3 :], name="2")
    return ParquetSpend(tmp_path)


def redis_of(rows, _tmp_path, request):
    url, prefix = request.getfixturevalue("redis_server").url, new_prefix()
    sink = RedisOutcomes(url, prefix=prefix, keep_s=KEEP_S, contents_keep_s=1.0)
    sink.open()
    sink.write(rows)
    sink.write(rows[-20:])  # what is not known to be written is written again
    sink.close()
    return RedisSpend(url, prefix=prefix)


@pytest.fixture(params=[sqlite_of, parquet_of, redis_of])
def source_of(request, tmp_path):
    """Return a function that makes a source of rows."""
    return lambda rows: request.param(rows, tmp_path, request)


OF = {
    Dimension.KEY: lambda row, _part: row.key_id,
    Dimension.TEAM: lambda row, _part: row.team,
    Dimension.MODEL: lambda _row, part: part.model,
    Dimension.BASE_MODEL: lambda _row, part: part.model and part.model.split("@")[0],
    Dimension.UPSTREAM: lambda _row, part: part.upstream,
    Dimension.POLICY: lambda row, _part: row.policy,
    Dimension.SESSION: lambda row, _part: row.session_id,
    Dimension.AGENT: lambda row, _part: row.agent_id,
    Dimension.ROLE: lambda _row, part: part.role,
    **{
        each: lambda row, _part, each=each: time_text(each, row.time)
        for each in (Dimension.HOUR, Dimension.DAY, Dimension.MONTH)
    },
}


def told(rows, question):
    """Add up, as plainly as can be: whole rows, or calls where roles are told apart."""
    found, seen = {}, set()
    of_calls = Dimension.ROLE in question.by or Dimension.ROLE in question.only
    for row in rows:
        if not question.since <= row.time < question.until:
            continue
        for part in msgspec.json.decode(row.calls, type=list[StoredCall]) if of_calls else [row]:
            if any(OF[each](row, part) != value for each, value in question.only.items()):
                continue
            group = tuple(OF[each](row, part) for each in question.by)
            sums = found.setdefault(group, Amounts())
            first = (group, row.decision_id) not in seen
            seen.add((group, row.decision_id))
            cost = part.cost_nusd
            if cost is None and not of_calls:
                cost = sum(each["cost_nusd"] or 0 for each in msgspec.json.decode(row.calls))
            sums.requests += first
            sums.failed_requests += first and (row.status >= 400 or row.error is not None)
            sums.cached_answers += row.cache == "hit" and not of_calls
            sums.input_tokens += part.input_tokens or 0
            sums.cached_input_tokens += part.cached_input_tokens or 0
            sums.output_tokens += part.output_tokens or 0
            sums.reasoning_tokens += part.reasoning_tokens or 0
            sums.cost_nusd += cost or 0
            sums.unpriced_requests += part.cost_nusd is None and part.input_tokens is not None
            sums.estimated_requests += part.estimated
            sums.estimated_cost_nusd += (cost or 0) if part.estimated else 0
    return found


def test_whatever_is_asked_the_rows_add_up(source_of):
    rows = random_rows(300, seed=5, days=5)  # each day is a file more to read for each question
    source = source_of(rows)
    pairs = [(), *((each,) for each in Dimension), *itertools.permutations(Dimension, 2)]
    for i, by in enumerate(pairs):
        question = Question(
            since=BEGIN + (i % 3) * 43_200,
            until=BEGIN + (2.5 + 0.25 * (i % 11)) * 86_400,
            by=by,
            only=ONLY[i % len(ONLY)],
        )
        assert source.read(question, deadline=NEVER) == told(rows, question)


def test_hours_days_and_months_are_those_of_utc_and_the_end_is_left_out(source_of):
    midnight = 1_793_491_200.0  # 2026-11-01
    rows = [spent_row(time=midnight + each) for each in (-0.001, 0.0, 3599.999, 86_400.0)]
    source = source_of(rows)
    for dimension, names in (
        (Dimension.HOUR, ["2026-10-31T23:00Z", "2026-11-01T00:00Z", "2026-11-01T00:00Z"]),
        (Dimension.DAY, ["2026-10-31", "2026-11-01", "2026-11-01"]),
        (Dimension.MONTH, ["2026-10", "2026-11", "2026-11"]),
    ):
        question = Question(since=midnight - 1, until=midnight + 86_400, by=(dimension,))
        found = source.read(question, deadline=NEVER)
        assert {group: each.requests for group, each in found.items()} == {
            (name,): names.count(name) for name in names
        }


def test_values_are_compared_and_never_interpreted(source_of):
    odd = "x' OR 1=1 --"
    source = source_of([spent_row(model=odd), spent_row(model="*"), spent_row()])
    for value, n in ((odd, 1), ("*", 1), ("%", 0), ("", 0)):
        question = Question(**WHOLE, only={Dimension.MODEL: value})
        found = source.read(question, deadline=NEVER)
        assert sum(each.requests for each in found.values()) == n


def test_an_answer_is_bounded(source_of):
    source = source_of([spent_row(model=f"m{i}") for i in range(5)])
    by = (Dimension.MODEL,)
    assert len(source.read(Question(**WHOLE, by=by, most_groups=5), deadline=NEVER)) == 5
    with pytest.raises(InvalidRequestError) as caught:
        source.read(Question(**WHOLE, by=by, most_groups=4), deadline=NEVER)
    assert caught.value.code == "too_many_groups"


def test_reading_ends_when_it_takes_too_long(source_of):
    source = source_of([spent_row(model=f"m{i}") for i in range(20_000)])
    with pytest.raises(Overdue):
        source.read(Question(**WHOLE, by=(Dimension.MODEL,), most_groups=10**6), deadline=0.0)


def test_nothing_is_changed_by_reading(source_of, tmp_path):
    source = source_of(random_rows(20, seed=1))
    before = {file: file.read_bytes() for file in tmp_path.rglob("*.sqlite3")}
    source.read(Question(**WHOLE, by=(Dimension.KEY,)), deadline=NEVER)
    assert {file: file.read_bytes() for file in tmp_path.rglob("*.sqlite3")} == before
