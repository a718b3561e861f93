"""Processes die in the middle of a batch; another one goes on, and nothing is paid for twice."""

import contextlib
from collections import Counter

import openai
import pytest

from tests.support.batches import (
    beyond,
    end_leases,
    handed_in,
    handed_in_async,
    line,
    lines_of,
    over,
    when,
)
from tests.support.processes import gateway_process, write_config
from tests.support.redis_server import until
from tests.support.stores import new_prefix

PROMPTS = [f"What is {n} and {n}?" for n in range(20)]
LINES = [line(str(n), prompt, model="sim-small") for n, prompt in enumerate(PROMPTS)]
STALLED = 3


def changes(store):
    return {
        "auth": {},
        "store": store,
        # No busy machine overstays it; it ends where a test says so.
        "batches": {"enabled": True, "concurrency": STALLED + 1, "lease_s": 600.0},
        "upstreams.stub.retries": 0,
        "server.max_lag_s": 3600.0,
    }


@pytest.fixture(params=["sqlite", "redis"])
def store(request):
    """Return where batches are kept, and the environment for it."""
    if request.param == "sqlite":
        return {"data_dir": "data"}, {}
    url = request.getfixturevalue("redis_server").url
    return {"kind": "redis", "prefix": new_prefix(), "timeout_s": 5.0}, {"STEELYARD_REDIS_URL": url}


async def test_a_batch_goes_on_where_a_process_was_killed(store, stub, tmp_path, redis_server):
    section, env = store
    config = write_config(tmp_path / "gateway.yaml", stub.origin, changes(section))
    stub.add_fault("stall_before_headers", times=STALLED)

    async with gateway_process(config, env=env) as first:
        client = openai.AsyncOpenAI(base_url=f"{first.url}/v1", api_key="x", max_retries=0)
        async with client:
            batch = await handed_in_async(client, LINES)

            async def all_but_those_that_hang():
                return len(stub.log()) == len(LINES)

            await until(all_but_those_that_hang)
            running = await client.batches.retrieve(batch.id)
            assert running.status == "in_progress"
        await first.kill()
    if "kind" in section:  # what is on the disk was nobody else's
        end_leases(redis_server, section["prefix"])
    asked = len(stub.log())
    assert asked == len(LINES)

    async with gateway_process(config, env=env) as second:
        client = openai.AsyncOpenAI(base_url=f"{second.url}/v1", api_key="x", max_retries=0)
        async with client:

            async def is_over():
                nonlocal batch
                batch = await client.batches.retrieve(batch.id)
                return batch.status == "completed"

            await until(is_over)
            assert batch.request_counts.completed == len(LINES)
            told = beyond(batch)
            content = (await client.files.content(batch.output_file_id)).text
    assert len(content.splitlines()) == len(LINES)
    # The last answer may have been on its way back from the upstream when the process died.
    assert STALLED <= told["retried"] <= STALLED + 1
    assert len(stub.log()) - asked == told["retried"]


async def test_another_process_takes_over_once_the_lease_of_a_dead_one_ends(
    redis_server, stub, tmp_path
):
    section = {"kind": "redis", "prefix": new_prefix(), "timeout_s": 5.0}
    env = {"STEELYARD_REDIS_URL": redis_server.url}
    config = write_config(tmp_path / "gateway.yaml", stub.origin, changes(section))
    stub.add_fault("stall_before_headers", times=STALLED)
    async with contextlib.AsyncExitStack() as stack:
        first = await stack.enter_async_context(gateway_process(config, env=env))
        client = openai.AsyncOpenAI(base_url=f"{first.url}/v1", api_key="x", max_retries=0)
        batch = await handed_in_async(await stack.enter_async_context(client), LINES)

        async def all_but_those_that_hang():
            return len(stub.log()) == len(LINES)

        await until(all_but_those_that_hang)
        second = await stack.enter_async_context(gateway_process(config, env=env))
        client = openai.AsyncOpenAI(base_url=f"{second.url}/v1", api_key="x", max_retries=0)
        await stack.enter_async_context(client)
        assert (await client.batches.retrieve(batch.id)).status == "in_progress"
        assert len(stub.log()) == len(LINES)  # exactly one process works at it
        await first.kill()
        end_leases(redis_server, section["prefix"])

        async def is_over():
            return (await client.batches.retrieve(batch.id)).status == "completed"

        await until(is_over)
        assert (await client.batches.retrieve(batch.id)).request_counts.completed == len(LINES)


def test_a_gateway_that_is_stopped_leaves_a_batch_for_the_next_one(keyed, stub):
    stub.add_fault("status", model="sim-nano", status=429, retry_after_s=30, times=100_000)
    mixed = [
        line(str(n), prompt, model="sim-nano" if n % 4 == 0 else "sim-small")
        for n, prompt in enumerate(PROMPTS)
    ]
    with contextlib.ExitStack() as running:
        first = keyed(running=running)
        client = first.client()
        secret = first.key["secret"]
        batch = handed_in(client, mixed)
        when(client, batch.id, lambda each: each.request_counts.completed == 15)
    n_asked = Counter(each.model for each in stub.log())
    stub.reset()
    second = keyed()
    client = second.client_of(secret)
    batch = over(client, batch.id)
    assert batch.request_counts.completed == 20
    assert len(lines_of(client, batch.output_file_id)) == 20
    assert n_asked["sim-small"] == 15
    assert Counter(each.model for each in stub.log()) == {"sim-nano": 5}
