"""Processes that change one key at the same time: every change counts, on every shared store."""

import asyncio
import sys

import pytest

from app.access.issuing import Issuer
from app.access.terms import KeyTerms, KnownNames
from app.stores.memory import MemoryStore
from app.stores.redis import RedisStore
from tests.support.gateway import REPOSITORY
from tests.support.stores import new_prefix

KNOWN = KnownNames(models=frozenset(), policies=frozenset(), teams=frozenset())
N_CHANGES = 8

_PROCESS = """
import asyncio, sys
from pathlib import Path
from app.access.changes import KeyChanges
from app.access.issuing import Issuer
from app.access.terms import KnownNames
from app.stores.memory import MemoryStore
from app.stores.redis import RedisStore

KNOWN = KnownNames(models=frozenset(), policies=frozenset(), teams=frozenset())

async def main(kind, place, prefix, key_id, name, n):
    if kind == "redis":
        lifecycle = RedisStore(place, prefix=prefix, timeout_s=5.0)
    else:
        lifecycle = MemoryStore(Path(place))
    await lifecycle.open()
    issuer = Issuer(lifecycle.store.keys, lambda: KNOWN)
    print("ready", flush=True)
    sys.stdin.readline()
    for i in range(int(n)):
        await issuer.update(key_id, KeyChanges(metadata={f"{name}{i}": "x"}), by=name)
        if i == 3:
            await issuer.rotate(key_id, grace_s=600)
    await lifecycle.aclose()

asyncio.run(main(*sys.argv[1:]))
"""


@pytest.fixture(params=["sqlite", "redis"])
async def shared(request, tmp_path):
    """Return how processes reach a store, and the store."""
    if request.param == "redis":
        url, prefix = request.getfixturevalue("redis_server").url, new_prefix()
        arguments, store = ("redis", url, prefix), RedisStore(url, prefix=prefix, timeout_s=5.0)
    else:
        arguments, store = ("sqlite", str(tmp_path), "-"), MemoryStore(tmp_path)
    await store.open()
    yield arguments, store.store
    await store.aclose()


async def test_no_change_of_a_key_is_lost_between_two_processes(shared):
    arguments, store = shared
    issuer = Issuer(store.keys, lambda: KNOWN)
    key, _ = await issuer.create(KeyTerms(name="raced"))
    key_id = key.record.key_id
    processes = [
        await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", _PROCESS, *arguments, key_id, name, str(N_CHANGES)),
            cwd=REPOSITORY,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        for name in ("a", "b")
    ]
    for process in processes:
        assert await process.stdout.readline() == b"ready\n"
    for process in processes:
        process.stdin.write(b"go\n")
    assert [await process.wait() for process in processes] == [0, 0]
    names = {f"{name}{i}" for name in ("a", "b") for i in range(N_CHANGES)}
    records = [each for each in await store.keys.all() if each.key_id == key_id]
    assert len(records) == 3
    after = (await issuer.get(key_id)).record
    assert set(after.metadata) == names
    # Every change made a version, and was told.
    history = await issuer.history(key_id=key_id, limit=100)
    assert [each.version for each in history] == list(range(1 + 2 * (N_CHANGES + 1), 0, -1))
    assert after.version == history[0].version
    for record in records:
        assert set(record.metadata) == names
