"""Virtual keys that several gateways share on a real Redis."""

import asyncio
import time

import httpx
import pytest
import redis

from app.access.secrets import digest_of
from app.main import create_app
from app.stores.redis import RedisStore
from tests.support.gateway import stub_config
from tests.support.stores import new_prefix

TOKEN = "an-admin-token-of-the-tests"  # noqa: S105  (opens nothing else)
FRESH_S = 0.05


@pytest.fixture
def prefix():
    return new_prefix()


@pytest.fixture
async def gateways(artifacts, redis_server, stub, prefix, tmp_path):
    """Run two gateways on one Redis; yield a client of each."""
    auth = {"mode": "keys", "fresh_s": FRESH_S}
    changes = {"auth": auth, "store": {"data_dir": "data"}}
    config = stub_config(
        tmp_path, stub.origin, changes=changes, env={"STEELYARD_ADMIN_TOKEN": TOKEN}
    )
    clients, stores = [], []
    for _ in range(2):
        stores.append(RedisStore(redis_server.url, prefix=prefix, timeout_s=5.0))
        app = create_app(config, artifacts=artifacts, store=stores[-1])
        transport = httpx.ASGITransport(app)
        clients.append(httpx.AsyncClient(transport=transport, base_url="http://test"))
    yield clients
    for each in (*clients, *stores):
        await each.aclose()


def bearer(secret):
    return {"authorization": f"Bearer {secret}"}


async def make(client, **terms):
    response = await client.post(
        "/admin/keys", headers=bearer(TOKEN), json={"name": "shared", **terms}
    )
    assert response.status_code == 201, response.text
    return response.json()


async def status(client, secret):
    return (await client.get("/v1/models", headers=bearer(secret))).status_code


async def test_a_key_made_by_one_gateway_opens_the_other_and_is_revoked_in_both(gateways):
    first, second = gateways
    key = await make(first)
    assert [await status(each, key["secret"]) for each in gateways] == [200, 200]
    await second.delete(f"/admin/keys/{key['key_id']}", headers=bearer(TOKEN))
    assert await status(second, key["secret"]) == 401
    deadline = time.monotonic() + 60
    while await status(first, key["secret"]) != 401:
        assert time.monotonic() < deadline
        await asyncio.sleep(FRESH_S)


async def test_a_change_holds_at_once_where_it_was_made_and_soon_everywhere(gateways):
    first, second = gateways
    key = await make(first)
    path = f"/admin/keys/{key['key_id']}"
    for disabled, expected in ((True, 401), (False, 200)):
        assert [await status(each, key["secret"]) for each in gateways] == [
            {True: 200, False: 401}[disabled]
        ] * 2
        changed = await second.patch(path, headers=bearer(TOKEN), json={"disabled": disabled})
        assert changed.json()["disabled"] is disabled
        assert await status(second, key["secret"]) == expected
        deadline = time.monotonic() + 60
        while await status(first, key["secret"]) != expected:
            assert time.monotonic() < deadline
            await asyncio.sleep(FRESH_S)


async def test_of_changes_meant_for_one_version_exactly_one_is_made(gateways):
    key = await make(gateways[0])
    path = f"/admin/keys/{key['key_id']}"
    answers = await asyncio.gather(
        *(
            gateways[i % 2].patch(
                path, headers={**bearer(TOKEN), "if-match": '"1"'}, json={"owner": f"owner-{i}"}
            )
            for i in range(10)
        )
    )
    assert sorted(each.status_code for each in answers) == [200, *[412] * 9]
    (won,) = (each.json() for each in answers if each.status_code == 200)
    found = await gateways[0].get(path, headers=bearer(TOKEN))
    assert found.json() == won
    assert won["version"] == 2
    history = (await gateways[1].get("/admin/audit", headers=bearer(TOKEN))).json()["data"]
    assert [each["done"] for each in history] == ["updated", "created"]


async def test_everything_of_a_key_survives_the_way_through_redis(gateways):
    first, second = gateways
    key = await make(
        first,
        models=["sim-nano"],
        policies=["economy"],
        cost_quality=0.3,
        limits={"requests_per_minute": 7},
        budgets=[{"usd": 2.5, "period": "week", "on_low": "degrade"}],
        metadata={"cost-centre": "7"},
        expires_in_s=3600,
    )
    del key["secret"]
    answer = await second.get(f"/admin/keys/{key['key_id']}", headers=bearer(TOKEN))
    assert answer.json() == key


async def test_a_secret_is_nowhere_in_redis_and_its_digest_opens_nothing(
    gateways, redis_server, prefix
):
    first, second = gateways
    key = await make(first)
    new = await first.post(f"/admin/keys/{key['key_id']}/rotate", headers=bearer(TOKEN))
    secrets = [key["secret"], new.json()["secret"]]
    for secret in secrets:
        assert await status(second, secret) == 200
        digest = digest_of(secret.encode())
        for stolen in (digest, f"sk-sy-{digest}"):
            assert await status(second, stolen) == 401
    stored = await asyncio.to_thread(everything_in, redis_server.url, prefix)
    assert key["key_id"].encode() in stored
    for canary in (*secrets, TOKEN):
        assert canary.removeprefix("sk-sy-").encode() not in stored


def everything_in(url, prefix):
    """Return all names and values under a prefix, as one long text."""
    read = {
        b"string": lambda client, name: client.get(name),
        b"hash": lambda client, name: client.hgetall(name),
        b"set": lambda client, name: client.smembers(name),
        b"zset": lambda client, name: client.zrange(name, 0, -1),
        b"list": lambda client, name: client.lrange(name, 0, -1),
    }
    with redis.Redis.from_url(url) as client:
        found = [
            (name, read[client.type(name)](client, name))
            for name in client.scan_iter(f"*{prefix}*")
        ]
    assert found
    return repr(found).encode()
