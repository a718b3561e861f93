"""Several workers under one parent: who takes which connection, what a death or a reload does."""

import asyncio
import contextlib
import json
import os
import signal
import socket
from collections import Counter
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.support.gateway import read_yaml, write_yaml
from tests.support.processes import forking_id, gateway_process, worker_ids, write_config
from tests.support.stub import StubThread

ASK = {"model": "sim-nano", "messages": [{"role": "user", "content": "What is a steelyard?"}]}
HEALTH = b"GET /healthz HTTP/1.1\r\nhost: t\r\n\r\n"


@pytest.fixture
def own_stub():
    with StubThread() as stub:
        yield stub


@pytest.fixture
def file(tmp_path, own_stub):
    changes = {
        "store": {"kind": "redis", "prefix": f"supervisor-{tmp_path.name}"},
        "server.drain_s": 0,
    }
    return write_config(tmp_path / "gateway.yaml", own_stub.origin, changes)


@pytest.fixture
def running(file, redis_server):
    @contextlib.asynccontextmanager
    async def running(workers=2):
        env = {"STEELYARD_REDIS_URL": redis_server.url}
        async with gateway_process(file, "--workers", str(workers), env=env) as gateway:
            yield gateway

    return running


def rewrite(file, change):
    document = read_yaml(file)
    change(document)
    write_yaml(file, document)


def pids_of(gateway):
    """Return the ids of the workers that were ready, in order."""
    lines = [json.loads(line) for line in gateway.other_lines if line.startswith("{")]
    return [line["pid"] for line in lines if line["message"] == "worker ready"]


def said(gateway, words):
    return [line for line in gateway.other_lines if words in line]


async def until(condition, *, timeout_s=60):
    async with asyncio.timeout(timeout_s):
        while not (found := condition()):
            await asyncio.sleep(0.02)
        return found


async def none_is_missing(client):
    """Wait until a worker has heard that none is missing."""
    async with asyncio.timeout(60):
        while (await client.get("/readyz")).json()["missing_workers"]:
            await asyncio.sleep(0.02)


async def samples(client):
    text = (await client.get("/metrics")).text
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def address(gateway):
    url = httpx.URL(gateway.url)
    return url.host, url.port


def connections_of(pid, port):
    """Return how many connections to our port a process holds, as the system tells."""
    inodes = set()
    for entry in os.scandir(f"/proc/{pid}/fd"):
        with contextlib.suppress(OSError):
            inodes.add(str(Path(entry.path).readlink()).removeprefix("socket:[").removesuffix("]"))
    fields = [line.split() for line in Path("/proc/net/tcp").read_text("ascii").splitlines()][1:]
    # A set, as the system may list a connection twice where others come and go while we read.
    ours = {f[9] for f in fields if f[3] == "01" and int(f[1].rpartition(":")[2], 16) == port}
    return len(ours & inodes)


async def test_connections_that_stay_are_spread_over_the_workers(running):
    async with running() as gateway:
        workers, (host, port) = pids_of(gateway), address(gateway)
        for n in (4, 16, 64):
            # Those of the readiness check, and of the round before, are closed by now.
            await until(lambda: not any(connections_of(pid, port) for pid in workers))
            streams = []
            for _ in range(n):
                reader, writer = await asyncio.open_connection(host, port)
                streams.append(writer)
                writer.write(HEALTH)
                await reader.readuntil(b'"ok"}')
            spread = sorted(connections_of(pid, port) for pid in workers)
            for writer in streams:
                writer.close()
            assert sum(spread) == n
            assert spread[0] >= n // 2 - max(n // 8, 1), spread


async def test_a_death_is_told_counted_and_made_good(running):
    async with running() as gateway, gateway.client() as client:
        first, second = pids_of(gateway)
        os.kill(first, signal.SIGKILL)
        line = json.loads((await until(lambda: said(gateway, "a worker died")))[0])
        assert (line["pid"], line["cause"], line["level"]) == (first, "signal", "error")
        assert "SIGKILL" in line["message"]
        assert line["uptime_s"] >= 0
        await until(lambda: len(pids_of(gateway)) == 3)
        await none_is_missing(client)
        async with asyncio.timeout(60):  # another worker counts than the one that was asked
            while not (found := await samples(client)).get(
                ("gateway_worker_restarts_total", (("cause", "signal"),))
            ):
                await asyncio.sleep(0.02)
        assert found["gateway_worker_restarts_total", (("cause", "signal"),)] == 1
        assert found["gateway_workers", ()] == 2
        assert second in pids_of(gateway)


async def test_whoever_dies_again_and_again_waits_and_the_others_serve(running, file):
    async with running() as gateway, gateway.client() as client:
        for _ in range(3):
            ready = pids_of(gateway)
            os.kill(ready[-1] if len(ready) > 2 else ready[0], signal.SIGKILL)
            await until(lambda ready=ready: len(pids_of(gateway)) > len(ready))
        assert said(gateway, "2 times in a row")
        assert said(gateway, "3 times in a row")
        assert (await client.post("/v1/chat/completions", json=ASK)).status_code == 200


async def test_when_what_forks_workers_is_killed_new_ones_take_the_place_of_all(running):
    async with running() as gateway, gateway.client() as client:
        before = worker_ids(gateway.process.pid)
        assert sorted(before) == sorted(pids_of(gateway))
        os.kill(forking_id(gateway.process.pid), signal.SIGKILL)
        await until(lambda: len(pids_of(gateway)) == 4)
        await until(lambda: len(said(gateway, "the supervisor is gone")) == 2)
        after = worker_ids(gateway.process.pid)
        assert len(after) == 2
        assert not {*before} & {*after}
        await none_is_missing(client)
        assert (await client.post("/v1/chat/completions", json=ASK)).status_code == 200


async def test_signals_to_the_whole_group_end_every_worker_in_order(running):
    async with running() as gateway:
        os.killpg(gateway.process.pid, signal.SIGTERM)
        assert await gateway.process.wait() == 0

        def all_stopped():
            stopped = [json.loads(line) for line in said(gateway, '"message":"stopped"')]
            return {*pids_of(gateway)} <= {line["pid"] for line in stopped}

        await until(all_stopped)  # what it said may still be on its way here
        assert not said(gateway, "a worker died")


async def test_a_worker_that_stands_still_does_not_keep_connections_from_the_others(running):
    async with running() as gateway:
        stands, _ = pids_of(gateway)
        os.kill(stands, signal.SIGSTOP)
        try:
            async with asyncio.timeout(60):
                for _ in range(6):
                    reader, writer = await asyncio.open_connection(*address(gateway))
                    writer.write(HEALTH)
                    await reader.readuntil(b'"ok"}')
                    writer.close()
        finally:
            os.kill(stands, signal.SIGCONT)


async def test_after_sigterm_nobody_can_connect_while_streams_end(running, own_stub, file):
    own_stub.add_fault("stall_mid_stream", after_chunks=3)
    rewrite(file, lambda document: document["server"].update(shutdown_grace_s=60))
    async with running() as gateway, gateway.client(token=None) as client:
        request = client.stream("POST", "/v1/chat/completions", json={**ASK, "stream": True})
        async with request as answer:
            await anext(answer.aiter_lines())
            gateway.process.send_signal(signal.SIGTERM)
            host, port = address(gateway)

            def refused():
                with contextlib.suppress(ConnectionResetError):
                    try:
                        socket.create_connection((host, port), timeout=5).close()
                    except ConnectionRefusedError:
                        return True
                return False

            await until(refused)
            assert gateway.process.returncode is None  # the stream still runs
            gateway.process.send_signal(signal.SIGKILL)


async def test_workers_whose_parent_was_killed_stop_and_leave_the_port(running):
    async with running() as gateway:
        workers, where = pids_of(gateway), address(gateway)
        gateway.process.send_signal(signal.SIGKILL)

        def free():
            with contextlib.suppress(OSError), socket.create_server(where):
                return True
            return False

        await until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in workers))
        await until(free)


async def names(gateway, n=8):
    """Ask on connections of their own, so that every worker is met."""
    found = []
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(n):
            client = await stack.enter_async_context(gateway.client(token=None))
            data = (await client.get("/v1/models")).json()["data"]
            found.append("auto:quality" in {each["id"] for each in data})
    return Counter(found)


@pytest.mark.parametrize("workers", [1, 2])
async def test_a_reload_by_http_reaches_all_workers_or_none(running, file, workers):
    async with running(workers) as gateway, gateway.client() as client:
        before = file.read_text(encoding="utf-8")
        rewrite(file, lambda document: document["policies"].pop("quality"))
        answer = await client.post("/admin/reload")
        assert answer.status_code == 200
        assert len(answer.json()["version"]) == 12
        assert (await names(gateway)).keys() == {False}

        for broken in ("polices: {}", "a: &a [*a]", "[" * 5_000, "server: 2024-02-30", "\x00"):
            file.write_text(broken, encoding="utf-8")
            answer = await client.post("/admin/reload")
            error = answer.json()["error"]
            assert (answer.status_code, error["code"]) == (400, "invalid_configuration")
            assert str(file) in error["message"]
        found = await samples(client)
        assert found["gateway_config_last_reload_successful", ()] == 0
        assert found["gateway_config_reloads_total", (("result", "success"),)] == 1
        assert found["gateway_config_reloads_total", (("result", "failure"),)] == 5

        file.write_text(before, encoding="utf-8")
        assert (await client.post("/admin/reload")).status_code == 200
        assert (await names(gateway)).keys() == {True}
        assert (await samples(client))["gateway_config_last_reload_successful", ()] == 1


async def test_a_broken_file_ends_no_supervisor_and_new_workers_serve_what_the_others_do(
    running, file
):
    async with running() as gateway:
        rewrite(file, lambda document: document["policies"].pop("quality"))
        gateway.process.send_signal(signal.SIGHUP)
        await until(lambda: said(gateway, "in 2 workers"))
        file.write_text("date: 2024-02-30\n" + "[" * 5_000, encoding="utf-8")
        gateway.process.send_signal(signal.SIGHUP)
        await until(lambda: said(gateway, "is not replaced"))
        os.kill(pids_of(gateway)[0], signal.SIGKILL)
        await until(lambda: len(pids_of(gateway)) == 3)
        assert (await names(gateway)).keys() == {False}
        gateway.process.send_signal(signal.SIGTERM)
        assert await gateway.process.wait() == 0
