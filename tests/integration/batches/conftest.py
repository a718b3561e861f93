"""Gateways with batches, and the official client of each."""

import contextlib

import pytest

from tests.support.batches import ENV, Batches
from tests.support.gateway import GatewayThread, stub_config

_ALIKE = {
    "breaker.failures": 1_000_000,
    "upstreams.stub.retries": 0,
    # What a test leaves unanswered holds up no other one, nor the end.
    "server.shutdown_grace_s": 0.1,
}
_BATCHES = {"enabled": True, "lease_s": 10.0, "max_running": 100}


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture(params=["memory", "sqlite", "redis"])
def kind(request):
    """Where batches are kept."""
    return request.param


@pytest.fixture
def keyed(stub, artifacts, tmp_path, request):
    """Start gateways that ask for keys, beside each other or one after the other."""
    with contextlib.ExitStack() as running:

        def start(kind="sqlite", *, running=running, **changes):
            store = {"data_dir": "data"}
            env = dict(ENV)
            if kind == "memory":
                store = {}
            if kind == "redis":
                env["STEELYARD_REDIS_URL"] = request.getfixturevalue("redis_server").url
                store = {"kind": "redis", "prefix": Batches.prefix(), "timeout_s": 5.0}
            config = stub_config(
                tmp_path,
                stub.origin,
                changes={
                    # Keys need a place that survives a restart.
                    "auth": {} if kind == "memory" else {"mode": "keys"},
                    "store": store,
                    "batches": _BATCHES,
                    **_ALIKE,
                    **changes,
                },
                env=env,
            )
            gateway = running.enter_context(GatewayThread(config, artifacts=artifacts))
            return Batches(gateway, running)

        yield start


@pytest.fixture(scope="module")
def shared(stub_thread, artifacts, tmp_path_factory):
    """Run one gateway on SQLite for tests that have keys of their own."""
    changes = {
        "auth": {"mode": "keys"},
        "store": {"data_dir": "data"},
        "batches": _BATCHES,
        **_ALIKE,
    }
    directory = tmp_path_factory.mktemp("batches")
    config = stub_config(directory, stub_thread.origin, changes=changes, env=ENV)
    with GatewayThread(config, artifacts=artifacts) as gateway:
        yield gateway


@pytest.fixture
def batches(stub, shared):
    """Hand out the gateway that tests share."""
    for slot in shared.app.state.steelyard.gateway.dispatcher.pool.slots():
        slot.throttled_until = 0.0  # what an earlier test's upstream asked for
    with contextlib.ExitStack() as stack:
        yield Batches(shared, stack)
