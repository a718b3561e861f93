"""`steelyard spend` as an operator calls it."""

import csv
import io
import json
import time
from dataclasses import dataclass

import pytest

from app.cli import main
from app.outcomes.parquet import write_rows
from app.outcomes.redis import RedisOutcomes
from app.outcomes.sqlite import SqliteOutcomes
from tests.support.gateway import stub_config
from tests.support.spending import spent_row
from tests.support.stores import new_prefix

HOUR_S = 3600.0


@pytest.fixture
def rows():
    now = time.time()
    return [
        spent_row(time=now - HOUR_S, key_id="key-1", model="small", cost_nusd=1_000_000_000),
        spent_row(time=now - HOUR_S, key_id="key-2", model="large", cost_nusd=2_000_000_000),
        spent_row(time=now - 40 * 24 * HOUR_S, key_id="key-1", cost_nusd=5_000_000_000),
    ]


@pytest.fixture
def configured(tmp_path, rows):
    config = stub_config(tmp_path, "http://127.0.0.1:9", changes={"store": {"data_dir": "data"}})
    return config.path


@pytest.fixture
def logged(configured, rows):
    sink = SqliteOutcomes(configured.parent / "data")
    sink.open()
    sink.write(rows)
    sink.close()
    return configured


@dataclass
class Ended:
    returncode: int
    stdout: str
    stderr: str


@pytest.fixture
def run(capsys, monkeypatch):
    """Run a command in this process, which saves the time that a new one takes to start."""

    def run(*arguments, config, env=None):
        for name, value in {"STEELYARD_CONFIG": str(config), **(env or {})}.items():
            monkeypatch.setenv(name, value)
        code = 0
        try:
            main([str(each) for each in arguments])
        except SystemExit as ended:
            code = ended.code
        return Ended(code, *capsys.readouterr())

    return run


def test_the_same_is_told_as_a_table_as_csv_and_as_json(run, logged):
    made = run("keys", "create", "search", "--json", config=logged)
    assert made.returncode == 0
    arguments = ("spend", "--by", "model", "--since", "30d")
    table = run(*arguments, config=logged)
    assert (table.returncode, table.stderr) == (0, "")
    head, large, small, total = table.stdout.splitlines()
    assert head.split()[0] == "model"
    assert "$2.0000" in large
    assert "$1.0000" in small
    assert "$3.0000" in total
    found = list(
        csv.DictReader(io.StringIO(run(*arguments, "--format", "csv", config=logged).stdout))
    )
    assert [(row["model"], row["cost_usd"]) for row in found] == [
        ("large", "2.000000000"),
        ("small", "1.000000000"),
    ]
    told = json.loads(run(*arguments, "--format", "json", config=logged).stdout)
    assert [each["cost_usd"] for each in told["data"]] == [2.0, 1.0]
    assert told["totals"]["requests"] == 2


def test_requests_are_narrowed_and_names_of_keys_told(run, logged):
    key = json.loads(run("keys", "create", "search", "--json", config=logged).stdout)
    sink = SqliteOutcomes(logged.parent / "data")
    sink.open()
    sink.write([spent_row(time=time.time() - 60, key_id=key["key_id"])])
    sink.close()
    arguments = ("spend", "--by", "key", "--since", "30d", "--format", "json")
    told = json.loads(run(*arguments, "--key", key["key_id"], config=logged).stdout)
    assert [(each["key"], each["key_name"]) for each in told["data"]] == [(key["key_id"], "search")]
    told = json.loads(run(*arguments, "--model", "large", config=logged).stdout)
    assert [(each["key"], each["key_name"]) for each in told["data"]] == [("key-2", None)]


def test_collected_files_are_added_up_too(run, configured, rows, tmp_path):
    folder = tmp_path / "log"
    write_rows(folder, "outcomes", rows, name="1")
    arguments = ("spend", "--since", "30d", "--format", "json", "--from", folder)
    done = run(*arguments, config=configured)
    assert json.loads(done.stdout)["totals"]["cost_usd"] == 3.0
    assert "collect" in done.stderr


def test_what_waits_in_redis_is_added_up(run, redis_server, rows, tmp_path):
    prefix = new_prefix()
    changes = {"store": {"kind": "redis", "prefix": prefix}, "outcomes": {"sink": "redis"}}
    env = {"STEELYARD_REDIS_URL": redis_server.url}
    config = stub_config(tmp_path, "http://127.0.0.1:9", changes=changes, env=env)
    sink = RedisOutcomes(redis_server.url, prefix=prefix, keep_s=1e9, contents_keep_s=1.0)
    sink.open()
    sink.write(rows)
    sink.close()
    done = run("spend", "--since", "30d", "--by", "key", config=config.path, env=env)
    assert done.returncode == 0
    assert "collect" in done.stderr
    assert done.stdout.splitlines()[-1].split()[0] == "total"
    assert "$3.0000" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--by", "colour"), "key, team, model"),
        (("--since", "soon"), "soon"),
        (("--since", "1d", "--until", "2d"), "--since"),
        (("--format", "xml"), "xml"),
        (("--from", "none-such"), "none-such"),
        (("--config", "none-such.yaml"), "none-such.yaml"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_two(run, configured, arguments, words):
    done = run("spend", *arguments, config=configured)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("steelyard: ")
    assert done.stderr.count("\n") == 1
    assert words in done.stderr


def test_without_a_log_it_says_which_setting_makes_one(run, tmp_path):
    config = stub_config(tmp_path, "http://127.0.0.1:9")
    done = run("spend", config=config.path)
    assert (done.returncode, done.stdout) == (2, "")
    assert "store.data_dir" in done.stderr


def test_before_a_gateway_served_there_is_nothing_and_a_word_about_it(run, configured):
    done = run("spend", config=configured)
    assert done.returncode == 0
    assert "has a gateway served" in done.stderr
