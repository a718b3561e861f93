"""Processes whose clocks are off by days neither end batches early nor take over live ones."""

import contextlib

import openai
import pytest

from tests.support.batches import end_leases, handed_in_async, line
from tests.support.processes import gateway_process, write_config
from tests.support.redis_server import until
from tests.support.stores import new_prefix

LINES = [line(str(n), f"What is {n} and {n}?", model="sim-small") for n in range(6)]
DAY_S = 86_400
OFF = """
import os, time
def shifted(tell=time.time, ahead_s=float(os.environ["CLOCK_AHEAD_S"])):
    return tell() + ahead_s
time.time = shifted
"""
"""What Python runs at its start where it finds it as `sitecustomize`."""


@pytest.fixture
def clock(tmp_path):
    """Return the environment of a process whose clock is so many seconds ahead."""
    folder = tmp_path / "off"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(OFF)

    def ahead(seconds):
        return {"PYTHONPATH": str(folder), "CLOCK_AHEAD_S": str(seconds)}

    return ahead


@pytest.mark.parametrize("days", [(2, -2), (-2, 2)], ids=["ahead-first", "behind-first"])
async def test_no_clock_but_that_of_the_store_counts(redis_server, stub, tmp_path, clock, days):
    prefix = new_prefix()
    changes = {
        "auth": {},
        "store": {"kind": "redis", "prefix": prefix, "timeout_s": 5.0},
        "batches": {"enabled": True, "lease_s": 600.0},
        "upstreams.stub.retries": 0,
        "server.max_lag_s": 3600.0,
    }
    config = write_config(tmp_path / "gateway.yaml", stub.origin, changes)
    stub.add_fault("stall_before_headers", times=len(LINES))
    async with contextlib.AsyncExitStack() as stack:
        gateways, clients = [], []
        for each in days:
            env = {"STEELYARD_REDIS_URL": redis_server.url, **clock(each * DAY_S)}
            gateway = await stack.enter_async_context(gateway_process(config, env=env))
            client = openai.AsyncOpenAI(base_url=f"{gateway.url}/v1", api_key="x", max_retries=0)
            gateways.append(gateway)
            clients.append(await stack.enter_async_context(client))
            if len(gateways) == 1:  # it alone can take the batch
                before = int(redis_server.client().time()[0])
                batch = await handed_in_async(client, LINES)
                after = int(redis_server.client().time()[0])
                assert before <= batch.created_at <= after
                assert batch.expires_at == batch.created_at + DAY_S

                async def all_hang():
                    return len(stub.log()) == len(LINES)

                await until(all_hang)
        told = await clients[1].batches.retrieve(batch.id)
        assert told.status == "in_progress"
        await gateways[0].kill()
        end_leases(redis_server, prefix)

        async def is_over():
            nonlocal told
            told = await clients[1].batches.retrieve(batch.id)
            return told.completed_at or told.expired_at

        await until(is_over)
        assert (told.status, told.request_counts.completed) == ("completed", len(LINES))
        assert told.created_at <= told.in_progress_at <= told.completed_at
        assert told.completed_at <= int(redis_server.client().time()[0])
        file = await clients[1].files.retrieve(told.output_file_id)
        assert before <= file.created_at <= told.completed_at
    assert len(stub.log()) == 2 * len(LINES)  # once by each, since the first one died
