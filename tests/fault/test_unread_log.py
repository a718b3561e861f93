"""A log that nobody reads must not stop a gateway, nor its end."""

import asyncio
import os
import re
import signal
import sys

import httpx

from tests.support.gateway import REPOSITORY
from tests.support.processes import write_config

ASK = {"model": "auto", "messages": [{"role": "user", "content": "What is a steelyard?"}]}


async def test_a_stderr_that_nobody_reads_stops_neither_requests_nor_the_end(stub, tmp_path):
    config = write_config(
        tmp_path / "gateway.yaml",
        stub.origin,
        {"server.drain_s": 0},
    )
    reading, writing = os.pipe()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "app", "serve", "--config", str(config), "--port", "0"),
        cwd=REPOSITORY,
        stdout=asyncio.subprocess.PIPE,
        stderr=writing,
    )
    os.close(writing)
    try:
        welcome = ""
        while "Stop with Ctrl-C" not in welcome:
            welcome += (await asyncio.wait_for(process.stdout.readline(), 60)).decode()
        url = re.search(r"listens on (http://\S+)", welcome)[1]
        # Twice what a pipe holds, at some 700 bytes a line.
        async with httpx.AsyncClient(base_url=url, trust_env=False, timeout=60) as client:
            for _ in range(10):
                answers = await asyncio.gather(
                    *(client.post("/v1/chat/completions", json=ASK) for _ in range(25)),
                    client.get("/healthz"),
                )
                assert {answer.status_code for answer in answers} == {200}
        process.send_signal(signal.SIGTERM)
        await asyncio.wait_for(process.wait(), 60)
        # What was written is whole lines but for the last.
        assert os.read(reading, 65_536).startswith(b'{"time"')
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
        os.close(reading)
