"""Gateways that are killed: what they claimed in Redis is free at once, not after its lifetime."""

import asyncio
import os
import signal
from contextlib import asynccontextmanager

from app.stub.faults import FaultKind
from tests.support.processes import gateway_process, worker_ids, write_config
from tests.support.redis_server import until
from tests.support.stores import new_prefix

CHAT = {
    "model": "sim-large",
    "messages": [{"role": "user", "content": "What is a lever?"}],
    "max_tokens": 1000,
}


def configured(tmp_path, stub, redis_server, **changes):
    store = {"kind": "redis", "prefix": new_prefix(), "timeout_s": 10.0, **changes}
    file = write_config(
        tmp_path / "gateway.yaml", stub.origin, {"store": store, "auth.mode": "keys"}
    )
    return file, {"STEELYARD_REDIS_URL": redis_server.url}


async def new_key(gateway):
    async with gateway.client() as admin:
        terms = {
            "name": "shared",
            "limits": {"concurrent_requests": 3},
            "budgets": [{"usd": 1.0, "period": "month"}],
        }
        made = (await admin.post("/admin/keys", json=terms)).json()
        return made["key_id"], made["secret"]


async def standing_of(gateway, key_id):
    async with gateway.client() as admin:
        answer = await admin.get(f"/admin/keys/{key_id}/standing")
        return answer.json()["scopes"][0]


def claimed(standing):
    return standing["in_flight"], standing["budgets"][0]["reserved_usd"] > 0


@asynccontextmanager
async def hanging_requests(gateway, stub, secret, key_id):
    """Have three requests wait for their upstream while the block runs."""
    stub.add_fault(FaultKind.STALL_BEFORE_HEADERS, times=3)
    async with gateway.client(token=secret) as client:
        asking = [
            asyncio.create_task(client.post("/v1/chat/completions", json=CHAT)) for _ in range(3)
        ]

        async def all_claim():
            assert not any(each.done() for each in asking), [each.result() for each in asking]
            return claimed(await standing_of(gateway, key_id)) == (3, True)

        await until(all_claim, timeout_s=60)
        yield
        await asyncio.gather(*asking, return_exceptions=True)


async def test_workers_that_are_killed_leave_no_place_and_no_reservation(
    tmp_path, stub, redis_server
):
    file, env = configured(tmp_path, stub, redis_server)
    async with gateway_process(file, "--workers", "2", env=env) as gateway:
        key_id, secret = await new_key(gateway)
        async with hanging_requests(gateway, stub, secret, key_id):
            for pid in worker_ids(gateway.process.pid):
                os.kill(pid, signal.SIGKILL)

        async def is_free():
            return claimed(await standing_of(gateway, key_id)) == (0, False)

        # By its lifetime it would take eleven minutes.
        await until(is_free, timeout_s=60)


async def test_a_gateway_that_starts_again_frees_what_it_had_reserved_before_it_was_killed(
    tmp_path, stub, redis_server
):
    file, env = configured(tmp_path, stub, redis_server, data_dir="data")
    async with gateway_process(file, env=env) as gateway:
        key_id, secret = await new_key(gateway)
        async with hanging_requests(gateway, stub, secret, key_id):
            await gateway.kill()
    async with gateway_process(file, env=env) as gateway:

        async def is_free():
            return claimed(await standing_of(gateway, key_id)) == (0, False)

        await until(is_free, timeout_s=60)
        # Its own claims are safe from itself, and only its own name is left.
        async with gateway.client(token=secret) as client:
            assert (await client.post("/v1/chat/completions", json=CHAT)).status_code == 200
        assert len(list((tmp_path / "data" / "runs").iterdir())) == 1
