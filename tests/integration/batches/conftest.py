"""Gateways with batches, and the official client of each."""

import contextlib

import pytest

from tests.support.batches import ENV, Batches
from tests.support.gateway import GatewayThread, stub_config


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
                    "batches": {"enabled": True, "lease_s": 1.0},
                    "breaker.failures": 1_000_000,
                    "upstreams.stub.retries": 0,
                    **changes,
                },
                env=env,
            )
            thread = GatewayThread(config, artifacts=artifacts)
            gateway = running.enter_context(thread)
            return Batches(gateway, running)

        yield start


@pytest.fixture
def batches(keyed):
    """Run one gateway on SQLite, with one key."""
    return keyed()
