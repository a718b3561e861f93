"""What clients see of a gateway that stops while they wait; nothing of theirs just breaks off."""

import asyncio
import json
import signal

import pytest

from tests.support.processes import gateway_process, write_config
from tests.support.stub import StubThread

ASK = {"model": "sim-nano", "messages": [{"role": "user", "content": "What is a steelyard?"}]}
WORKERS = pytest.mark.parametrize("workers", [1, 2])


@pytest.fixture
def own_stub():
    with StubThread() as stub:
        yield stub


@pytest.fixture
def configured(tmp_path, own_stub, redis_server):
    def configured(workers, **server):
        changes = {f"server.{name}": value for name, value in server.items()}
        if workers > 1:
            changes["store"] = {"kind": "redis", "prefix": f"stopping-{tmp_path.name}"}
        file = write_config(tmp_path / "gateway.yaml", own_stub.origin, changes)
        return file, ("--workers", str(workers)), {"STEELYARD_REDIS_URL": redis_server.url}

    return configured


def post(client, **fields):
    return client.stream("POST", "/v1/chat/completions", json={**ASK, **fields})


@WORKERS
async def test_what_outlives_the_grace_ends_with_an_error_in_openais_shape(
    configured, own_stub, workers
):
    file, arguments, env = configured(workers, drain_s=0, shutdown_grace_s=0.5)
    own_stub.add_fault("stall_mid_stream", after_chunks=3, times=4)
    own_stub.add_fault("stall_before_headers", times=4)
    async with (
        gateway_process(file, *arguments, env=env) as gateway,
        gateway.client(token=None) as client,
    ):

        async def stream():
            async with post(client, stream=True) as answer:
                lines = answer.aiter_lines()
                async for line in lines:
                    if "content" in line:
                        begun.release()
                        break
                return answer.status_code, [line async for line in lines if line]

        begun = asyncio.Semaphore(0)
        streams = [asyncio.create_task(stream()) for _ in range(4)]
        for _ in streams:
            await begun.acquire()
        whole = [asyncio.create_task(client.post("/v1/chat/completions", json=ASK)) for _ in "abcd"]
        await asyncio.to_thread(own_stub.log, wait_for="running")
        while len(own_stub.log()) < 8:
            await asyncio.sleep(0.01)
        gateway.process.send_signal(signal.SIGTERM)
        for status, lines in await asyncio.gather(*streams):
            assert status == 200
            assert "data: [DONE]" not in lines
            error = json.loads(lines[-1].removeprefix("data: "))["error"]
            assert error["code"] == "server_shutting_down"
            assert error["type"] == "service_unavailable_error"
        for answer in await asyncio.gather(*whole):
            assert answer.status_code == 503
            assert answer.json()["error"]["code"] == "server_shutting_down"
            assert answer.headers["connection"] == "close"
        assert await gateway.ended() == 0
        ended = [(line["status"], line["error"]) for line in gateway.ledger]
        assert ended == [(503, "server_shutting_down")] * 8
        cut = [line for line in gateway.ledger if line["stream"]]
        assert all(line["output_tokens"] and line["cost_usd"] for line in cut)


async def test_who_still_waits_for_a_place_is_told_so_too(configured, own_stub):
    file, arguments, env = configured(
        1,
        drain_s=0,
        shutdown_grace_s=0.5,
        max_concurrent_requests=1,
        max_queued_requests=1,
        queue_timeout_s=60,
    )
    own_stub.add_fault("stall_before_headers", times=1)
    async with (
        gateway_process(file, *arguments, env=env) as gateway,
        gateway.client(token=None) as client,
    ):
        first = asyncio.create_task(client.post("/v1/chat/completions", json=ASK))
        await asyncio.to_thread(own_stub.log, wait_for="running")
        two = [asyncio.create_task(client.post("/v1/chat/completions", json=ASK)) for _ in "ab"]
        # One of them finds room to wait, and once the other one is refused it does so.
        (refused,), (waits,) = await asyncio.wait(two, return_when=asyncio.FIRST_COMPLETED)
        assert (await refused).json()["error"]["code"] == "overloaded"
        gateway.process.send_signal(signal.SIGTERM)
        for each in (first, waits):
            answer = await each
            assert answer.status_code == 503
            assert answer.json()["error"]["code"] == "server_shutting_down"
        assert await gateway.ended() == 0


@WORKERS
async def test_while_it_drains_answers_ask_for_connections_elsewhere(configured, workers):
    file, arguments, env = configured(workers, drain_s=30)
    async with (
        gateway_process(file, *arguments, env=env) as gateway,
        gateway.client(token=None) as client,
    ):
        assert "connection" not in (await client.get("/healthz")).headers
        gateway.process.send_signal(signal.SIGTERM)
        while (answer := await client.get("/readyz")).status_code == 200:
            await asyncio.sleep(0.01)
        assert answer.headers["connection"] == "close"
        answer = await client.post("/v1/chat/completions", json=ASK)
        assert (answer.status_code, answer.headers["connection"]) == (200, "close")
        gateway.process.send_signal(signal.SIGTERM)  # a second one is obeyed at once
        assert await gateway.ended() == 0


async def test_each_step_of_a_gateways_life_is_one_line(configured):
    file, _, env = configured(1, drain_s=0)
    async with gateway_process(file, env=env) as gateway:
        gateway.process.send_signal(signal.SIGTERM)
        await gateway.ended()
    messages = [json.loads(line)["message"].split(":")[0] for line in gateway.other_lines]
    assert messages == ["started", "ready", "draining", "stopping", "stopped"]
