"""What a crash, a full buffer or a stuck disk costs: rows, never requests."""

import sqlite3
import time

import httpx
import pytest

from app.outcomes.decision_log import DecisionLog
from app.outcomes.sqlite import OUTCOMES_NAME, SqliteOutcomes, read_outcomes
from tests.integration.test_cli import ASK, config, serving, shared  # noqa: F401  (fixtures)
from tests.integration.test_feedback import counted
from tests.integration.test_signals import rewrite, until
from tests.support.gateway import GatewayThread, stub_config


def decisions_in(directory):
    return {row.decision_id for _, row in read_outcomes(directory)}


def test_a_killed_process_loses_at_most_what_waited_to_be_written(config):  # noqa: F811
    rewrite(config, lambda document: document.update(store={"data_dir": "data"}))
    data_dir = config.parent / "data"
    with serving(config) as gateway, httpx.Client(trust_env=False, timeout=30) as client:

        def ask() -> str:
            answer = client.post(f"{gateway.url}/v1/chat/completions", json=ASK)
            assert answer.status_code == 200
            return answer.headers["x-route-decision-id"]

        safe = {ask() for _ in range(20)}
        # They are written soon, also where nobody asks any more.
        until(lambda: safe <= decisions_in(data_dir))
        late = {ask() for _ in range(20)}
        gateway.process.kill()
        gateway.process.wait(60)
    kept = decisions_in(data_dir)
    assert safe <= kept <= safe | late
    # The next process goes on with the same file.
    with serving(config) as gateway, httpx.Client(trust_env=False, timeout=30) as client:
        answer = client.post(f"{gateway.url}/v1/chat/completions", json=ASK)
        until(lambda: answer.headers["x-route-decision-id"] in decisions_in(data_dir))
    assert kept < decisions_in(data_dir)


@pytest.fixture
def stuck(stub, artifacts, tmp_path):
    """Serve while another process holds the database, and never lets go of it."""
    loaded = stub_config(tmp_path, stub.origin, changes={"store.data_dir": "data"})
    with GatewayThread(loaded, artifacts=artifacts) as gateway:
        other = sqlite3.connect(tmp_path / "data" / OUTCOMES_NAME, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        try:
            yield gateway
        finally:
            other.execute("ROLLBACK")
            other.close()


def test_requests_do_not_wait_for_a_stuck_database(stuck):
    with httpx.Client(trust_env=False, timeout=30) as client:
        began = time.monotonic()
        for _ in range(100):
            answer = client.post(f"{stuck.url}/v1/chat/completions", json=ASK)
            assert answer.status_code == 200
    assert time.monotonic() - began < 20.0


def test_a_full_buffer_drops_and_counts_and_the_rest_is_served(stub, artifacts, tmp_path):
    loaded = stub_config(tmp_path, stub.origin, changes={"store.data_dir": "data"})
    with GatewayThread(loaded, artifacts=artifacts) as gateway:
        log: DecisionLog = gateway.app.state.steelyard.resources.decisions
        other = sqlite3.connect(tmp_path / "data" / OUTCOMES_NAME, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        log.log._capacity = 5
        with httpx.Client(trust_env=False, timeout=30) as client:
            for _ in range(12):
                answer = client.post(f"{gateway.url}/v1/chat/completions", json=ASK)
                assert answer.status_code == 200
        until(lambda: log.log.dropped == 7)  # an outcome is recorded a moment after its answer
        assert counted(gateway, "gateway_outcomes_dropped_total") == 7
        other.execute("ROLLBACK")
        other.close()
    assert len(decisions_in(tmp_path / "data")) == 5


async def test_what_can_never_be_written_is_counted_when_the_log_is_closed(tmp_path):
    told = []
    log = DecisionLog(SqliteOutcomes(tmp_path), on_drop=told.append)
    await log.log.open()
    with sqlite3.connect(tmp_path / OUTCOMES_NAME) as other:
        other.execute("DROP TABLE outcomes")
    other.close()
    for i in range(3):
        log.log.record(i)  # no outcome: cannot be encoded
    await log.log.aclose()
    assert sum(told) == log.log.dropped == 3
