"""A disk without room is told to clients, and costs no answer; work goes on once there is some."""

import resource

import openai
import pytest

from tests.support.batches import CHAT, beyond, jsonl, line
from tests.support.processes import gateway_process, write_config
from tests.support.redis_server import until

LINES = [line(str(n), f"What is {n} and {n}?", model="sim-small") for n in range(60)]
ROOM_BYTES = 200_000
"""For some of their answers."""
CHANGES = {
    "auth": {},
    "store": {"data_dir": "data"},
    "batches": {"enabled": True, "concurrency": 4, "lease_s": 1.0},
    "upstreams.stub.retries": 0,
    "server.max_lag_s": 3600.0,
}


def let_write(gateway, n_bytes):
    """Let no file of a gateway grow beyond so many bytes, as a disk or a quota would."""
    _, most = resource.prlimit(gateway.process.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(gateway.process.pid, resource.RLIMIT_FSIZE, (n_bytes, most))


async def test_a_full_disk_is_told_and_answers_wait_for_room(stub, tmp_path):
    config = write_config(tmp_path / "gateway.yaml", stub.origin, CHANGES)
    async with gateway_process(config, env={}) as gateway:
        client = openai.AsyncOpenAI(base_url=f"{gateway.url}/v1", api_key="x", max_retries=0)
        async with client:
            waiting = await client.files.create(file=("w.jsonl", jsonl(LINES)), purpose="batch")
            file = await client.files.create(file=("in.jsonl", jsonl(LINES)), purpose="batch")
            log = tmp_path / "data" / "batches.sqlite3-wal"
            let_write(gateway, log.stat().st_size + ROOM_BYTES)
            batch = await client.batches.create(
                input_file_id=file.id, endpoint=CHAT, completion_window="24h"
            )

            async def answers_wait():
                # Each is tried again every second: by then no lease was renewed for longer.
                return sum("trying again" in each for each in gateway.other_lines) >= 12

            await until(answers_wait)
            let_write(gateway, 0)
            asked = len(stub.log())
            assert 0 < asked < len(LINES)
            for refused in (
                lambda: client.files.create(file=("in.jsonl", b"{}"), purpose="batch"),
                lambda: client.batches.create(
                    input_file_id=waiting.id,
                    endpoint=CHAT,
                    completion_window="24h",
                ),
                lambda: client.batches.cancel(batch.id),
            ):
                with pytest.raises(openai.InternalServerError) as told:
                    await refused()
                assert (told.value.status_code, told.value.code) == (507, "storage_full")
            assert len((await client.files.list()).data) == 2
            assert len((await client.batches.list()).data) == 1
            assert len(stub.log()) == asked  # nothing is asked whose answer could not be kept

            _, most = resource.prlimit(gateway.process.pid, resource.RLIMIT_FSIZE)
            let_write(gateway, most)

            async def is_over():
                nonlocal batch
                batch = await client.batches.retrieve(batch.id)
                return batch.status == "completed"

            await until(is_over)
            assert batch.request_counts.completed == len(LINES)
            content = (await client.files.content(batch.output_file_id)).text
            assert len(content.splitlines()) == len(LINES)
            assert beyond(batch)["retried"] == 0
            await client.files.create(file=("in.jsonl", jsonl(LINES)), purpose="batch")
    assert len(stub.log()) == len(LINES)
