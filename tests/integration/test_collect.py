"""The decision log by way of Redis: gateways write streams, collectors make files of them."""

import dataclasses
import itertools
import json
import os
import subprocess
from contextlib import closing

import msgspec
import pytest
import redis
from click.testing import CliRunner

from app.cli import cli
from app.outcomes.collector import GROUP, Collector
from app.outcomes.log import OutcomeLog
from app.outcomes.parquet import collected_log, forget
from app.outcomes.redis import Names, RedisOutcomes
from app.outcomes.rows import ContentRow, Label, LabelKind, Labelled, OutcomeRow
from tests.integration.test_cli import command
from tests.integration.test_feedback import Client
from tests.support.gateway import GatewayThread, stub_config
from tests.support.redis_server import RedisServer
from tests.support.requests import assert_openai_error
from tests.unit.app.outcomes.test_log import NOW, row

DAY_S = 86_400.0
_prefixes = itertools.count()


@pytest.fixture
def prefix():
    return f"collect-{next(_prefixes)}"


@pytest.fixture
def client(redis_server):
    with closing(redis.Redis.from_url(redis_server.url, protocol=2)) as client:
        yield client


@pytest.fixture
def sink(redis_server, prefix):
    sink = RedisOutcomes(
        redis_server.url, prefix=prefix, keep_s=90 * DAY_S, contents_keep_s=7 * DAY_S
    )
    sink.open()
    yield sink
    sink.close()


@pytest.fixture
def collector(client, prefix, tmp_path):
    def collector(consumer="one", **options):
        collector = Collector(
            client=options.pop("client", client),
            names=Names(prefix),
            out=tmp_path / "log",
            consumer=consumer,
            keep_days=36_500,
            block_s=0.05,
            **options,
        )
        collector.open()
        return collector

    return collector


def read(folder):
    log = collected_log(folder / "log", since=0, until=float("inf"))
    return list(log.outcomes), list(log.labels), log.contents


def label(quality=1.0, **changes):
    full = Label(
        decision_id="dec-1", kind=LabelKind.SCORE, quality=quality, labelled_by="k", time=NOW
    )
    return dataclasses.replace(full, **changes)


def test_rows_come_out_as_they_went_in_partitioned_by_day(sink, collector, tmp_path):
    rows = [
        row("one", features=b"\x00\x01\xff", stream=True, objective='{"cost_quality":0.5}'),
        row("two", time=NOW + DAY_S, model=None, cost_nusd=None),
    ]
    sink.write(rows)
    assert collector().catch_up() == 2
    found, labels, _ = read(tmp_path)
    assert found == rows
    assert labels == []
    days = sorted(path.name for path in (tmp_path / "log" / "outcomes").iterdir())
    assert days == ["date=2026-11-18", "date=2026-11-19"]
    files = [path for path in (tmp_path / "log").rglob("*") if path.is_file()]
    assert all(path.stat().st_mode & 0o077 == 0 for path in files)


def test_what_was_collected_is_gone_from_redis(sink, collector, client, prefix):
    sink.write([row("one"), ContentRow(decision_id="dec-one", expires_at=NOW, content=b"{}")])
    collector().catch_up()
    names = Names(prefix)
    assert client.xlen(names.outcomes) == client.xlen(names.contents) == 0
    assert client.xpending(names.outcomes, GROUP)["pending"] == 0


class CutError(Exception):
    """The collector died."""


class CutClient:
    """A client that dies before it acknowledges anything."""

    def __init__(self, client):
        self._client = client

    def __getattr__(self, name):
        if name == "pipeline":
            raise CutError
        return getattr(self._client, name)


@pytest.mark.parametrize("next_one", ["one", "two"])
def test_a_collector_that_dies_before_it_acknowledges_loses_and_doubles_nothing(
    sink, collector, client, tmp_path, next_one
):
    sink.write([row(f"row-{i}") for i in range(10)])
    dying = collector("one", client=CutClient(client))
    with pytest.raises(CutError):
        dying.catch_up()
    sink.write([row(f"row-{i}") for i in range(8, 15)])  # a gateway that tried again
    collector(next_one, claim_after_s=0.0).catch_up()
    found, _, _ = read(tmp_path)
    assert [each.request_id for each in found] == [f"row-{i}" for i in range(15)]


def test_an_entry_that_cannot_be_read_does_not_stand_in_the_way(
    sink, collector, client, prefix, tmp_path
):
    client.xadd(Names(prefix).outcomes, {"outcome": b"not JSON"})
    client.xadd(Names(prefix).outcomes, {"invention": b"{}"})
    sink.write([row("one")])
    one = collector()
    one.catch_up()
    assert [each.request_id for each in read(tmp_path)[0]] == ["one"]
    assert one.n_unreadable >= 1
    assert client.xlen(Names(prefix).outcomes) == 0


def test_a_label_is_kept_once_and_its_last_word_counts(sink, collector, tmp_path):
    became = [
        sink.label(label(quality, time=NOW + i), max_changes=2)
        for i, quality in enumerate((0.0, 0.0, 0.25, 0.5, 0.75))
    ]
    assert became == [
        Labelled.NEW,
        Labelled.SAME,
        Labelled.CHANGED,
        Labelled.CHANGED,
        Labelled.REFUSED,
    ]
    sink.write([row("one")])
    collector().catch_up()
    _, (last,), _ = read(tmp_path)
    assert (last.quality, last.kind) == (0.5, LabelKind.SCORE)


def test_texts_are_read_and_deleted_when_their_time_is_over(sink, collector, tmp_path):
    far = 4_000_000_000.0
    sink.write(
        [
            row("one"),
            ContentRow(decision_id="dec-one", expires_at=far, content=b"words"),
            ContentRow(decision_id="dec-two", expires_at=NOW, content=b"past"),
        ]
    )
    collector().catch_up()
    contents = read(tmp_path)[2]
    assert contents.get("dec-one") == b"words"
    assert contents.get("dec-two") is None
    assert forget(tmp_path / "log", keep_days=1, now=lambda: NOW + 3 * DAY_S) == [
        "outcomes/date=2026-11-18"
    ]
    (day,) = (tmp_path / "log" / "contents").iterdir()  # what was over, the collector deleted
    assert day.name == "date=2096-10-02"
    assert forget(tmp_path / "log", keep_days=1, now=lambda: far + 2 * DAY_S) != []
    assert not list((tmp_path / "log").rglob("*.parquet"))


def test_what_nobody_collects_is_forgotten(redis_server, client, prefix):
    later = [NOW]
    sink = RedisOutcomes(
        redis_server.url, prefix=prefix, keep_s=60.0, contents_keep_s=30.0, now=lambda: later[0]
    )
    sink.open()
    sink.write([row("one"), ContentRow(decision_id="dec-one", expires_at=NOW, content=b"{}")])
    names = Names(prefix)
    stamp = int(client.xrange(names.outcomes)[0][0].split(b"-")[0]) / 1e3
    later[0] = stamp + 31.0
    sink.purge()
    assert (client.xlen(names.outcomes), client.xlen(names.contents)) == (1, 0)
    assert 0 < client.ttl(names.outcomes) <= 61
    later[0] = stamp + 61.0
    sink.purge()
    assert client.xlen(names.outcomes) == 0
    assert all(client.ttl(key) > 0 for key in client.keys(f"{{{prefix}:outcomes}}:decision:*"))
    sink.close()


CHANGES = {
    "store.kind": "redis",
    "outcomes": {"sink": "redis", "contents": {"enabled": True}},
}


def test_from_two_gateways_by_redis_to_training_data(
    stub, artifacts, tmp_path, redis_server, prefix
):
    env = {"STEELYARD_REDIS_URL": redis_server.url}
    config = stub_config(
        tmp_path, stub.origin, changes={**CHANGES, "store.prefix": prefix}, env=env
    )
    with (
        GatewayThread(config, artifacts=artifacts) as first,
        GatewayThread(config, artifacts=artifacts) as second,
    ):
        asking, labelling = Client(first.url, None), Client(second.url, None)
        decision_ids = [asking.ask() for _ in range(5)]
        for i, decision_id in enumerate(decision_ids):
            answer = labelling.label(decision_id=decision_id, score=i / 4)
            assert answer.status_code == 200, answer.text
        assert_openai_error(labelling.label(decision_id="dec-unknown", score=1), status=404)
        for each in (asking, labelling):
            each.http.close()
    at = ["--config", str(tmp_path / "gateway.yaml")]
    log, out = str(tmp_path / "log"), tmp_path / "data.jsonl"
    collected = subprocess.run(
        command("collect", *at, "--out", log, "--once", "--json"),
        env={**os.environ, **env},
        capture_output=True,
        check=True,
        timeout=300,
    )
    assert json.loads(collected.stdout)["rows"] == 15  # an outcome, a label and a text each
    result = CliRunner().invoke(cli, ["export", *at, "--from", log, "--out", str(out)])
    assert result.exit_code == 0, result.output
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert {each["decision_id"]: each["quality"] for each in rows} == {
        decision_id: i / 4 for i, decision_id in enumerate(decision_ids)
    }
    assert rows[0]["messages"] == [{"role": "user", "content": "What is a steelyard?"}]


def test_without_redis_requests_are_served_and_feedback_says_why_not(stub, artifacts, tmp_path):
    with RedisServer(tmp_path / "redis") as server:
        env = {"STEELYARD_REDIS_URL": server.url}
        config = stub_config(tmp_path, stub.origin, changes=CHANGES, env=env)
        with GatewayThread(config, artifacts=artifacts) as gateway:
            client = Client(gateway.url, None)
            decision_id = client.ask()
            server.kill()
            for _ in range(3):
                client.ask()
            answer = client.label(decision_id=decision_id, score=1)
            assert assert_openai_error(answer, status=503)["code"] == "store_unavailable"
            server.start()
            client.http.close()
        with closing(redis.Redis.from_url(server.url, protocol=2)) as found:
            entries = found.xrange(Names("steelyard").outcomes)
    kept = [msgspec.json.decode(fields[b"outcome"])["decision_id"] for _, fields in entries]
    assert len(kept) >= 3  # what waited while Redis was gone was written when it was back


@pytest.mark.parametrize(
    ("changes", "kept"),
    [
        ({"input_tokens": 2**64}, {"input_tokens": 2**63 - 1}),
        ({"response_model": "m\ud800"}, {"response_model": "m\\ud800"}),
        ({"duration_s": float("nan")}, {"duration_s": 0.0}),
        ({"finish_reason": {"why": 1j}}, {"finish_reason": "{'why': 1j}"}),
    ],
    ids=lambda value: str(value)[:20],
)
async def test_a_row_that_no_stream_can_hold_is_kept_as_it_can_be(
    redis_server, client, prefix, changes, kept
):
    told = []
    log = OutcomeLog(
        RedisOutcomes(redis_server.url, prefix=prefix, keep_s=DAY_S, contents_keep_s=DAY_S),
        lambda each: [each],
        on_drop=told.append,
    )
    await log.open()
    poison = ContentRow(decision_id="dec-two", expires_at=NOW, content=1j)
    for each in (row("one"), row("odd", **changes), poison, row("two")):
        log.record(each)
    await log.aclose()
    entries = client.xrange(Names(prefix).outcomes)
    rows = [msgspec.json.decode(fields[b"outcome"], type=OutcomeRow) for _, fields in entries]
    by_id = {each.request_id: each for each in rows}
    assert by_id.keys() == {"one", "odd", "two"}
    assert {name: getattr(by_id["odd"], name) for name in changes} == kept
    assert (log.dropped, told) == (1, [1])
