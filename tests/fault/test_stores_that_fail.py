"""What is not written is told, by name and with the reason, until it is written again."""

import asyncio
import sqlite3

import httpx
import pytest

from app.assembly.gauges import sample
from app.outcomes.sqlite import OUTCOMES_NAME
from app.stores.sqlite import DATABASE_NAME
from tests.integration.test_cli import ASK
from tests.integration.test_feedback import counted
from tests.integration.test_signals import until
from tests.support.gateway import GatewayThread, stub_config
from tests.support.threads import kill_thread

CHANGES = {
    "store.data_dir": "data",
    "allowances": {"gateway": {"budgets": [{"usd": 100, "period": "month"}]}},
}


@pytest.fixture
def gateway(stub, artifacts, tmp_path):
    loaded = stub_config(tmp_path, stub.origin, changes=CHANGES)
    with GatewayThread(loaded, artifacts=artifacts) as gateway:
        yield gateway


def failing(gateway) -> dict[str, str]:
    answer = httpx.get(f"{gateway.url}/readyz", trust_env=False, timeout=30)
    assert answer.status_code == 200
    return answer.json()["failing_stores"]


def store_up(gateway) -> float:
    sampling = sample(gateway.app.state.steelyard)
    asyncio.run_coroutine_threadsafe(sampling, gateway.loop).result(30)
    return counted(gateway, "gateway_store_up")


def ask(gateway) -> None:
    url = f"{gateway.url}/v1/chat/completions"
    assert httpx.post(url, json=ASK, trust_env=False, timeout=30).status_code == 200


@pytest.mark.parametrize(
    ("file", "table", "what"),
    [(DATABASE_NAME, "spending", "spending"), (OUTCOMES_NAME, "outcomes", "outcomes")],
)
def test_what_cannot_be_written_is_told_until_it_is(gateway, tmp_path, file, table, what):
    assert (failing(gateway), store_up(gateway)) == ({}, 1)
    other = sqlite3.connect(tmp_path / "data" / file, isolation_level=None)
    other.execute(f"ALTER TABLE {table} RENAME TO elsewhere")
    ask(gateway)
    until(lambda: failing(gateway) == {what: f"cannot write: no such table: {table}"})
    assert store_up(gateway) == 0
    other.execute(f"ALTER TABLE elsewhere RENAME TO {table}")
    until(lambda: failing(gateway) == {})
    assert store_up(gateway) == 1
    # What waited meanwhile is there.
    until(lambda: other.execute(f"SELECT count(*) FROM {table}").fetchone() == (1,))  # noqa: S608
    other.close()


@pytest.mark.parametrize("thread", ["steelyard-spending", "steelyard-outcomes"])
def test_a_thread_that_dies_is_followed_and_counted(gateway, tmp_path, thread):
    kill_thread(thread)
    ask(gateway)
    until(lambda: failing(gateway) == {})
    assert store_up(gateway) == 1
    until(lambda: counted(gateway, "gateway_thread_restarts_total", thread=thread) == 1)
    for file, table in ((DATABASE_NAME, "spending"), (OUTCOMES_NAME, "outcomes")):
        with sqlite3.connect(tmp_path / "data" / file) as other:
            query = f"SELECT count(*) FROM {table}"  # noqa: S608
            until(lambda: other.execute(query).fetchone() == (1,))  # noqa: B023
        other.close()
