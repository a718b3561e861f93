"""What a served process does when it is told something by signal."""

import contextlib
import fcntl
import os
import pty
import signal
import subprocess
import termios
import time

import httpx
import pytest

from tests.integration.test_cli import (
    ASK,
    command,
    config,  # noqa: F401  (a fixture)
    serving,
    shared,  # noqa: F401  (a fixture)
)
from tests.support.gateway import REPOSITORY, read_yaml, write_yaml

STOPPED = {0, -signal.SIGTERM}
"""Uvicorn ends by the signal that stopped it, the parent of several workers by itself."""


def rewrite(file, change):
    document = read_yaml(file)
    change(document)
    write_yaml(file, document)


def until(condition, *, timeout_s=60.0):
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.fixture
def client():
    with httpx.Client(trust_env=False, timeout=30) as client:
        yield client


def test_a_stopping_gateway_says_that_it_is_not_ready_and_serves_while_it_drains(config, client):  # noqa: F811
    rewrite(config, lambda document: document["server"].update(drain_s=8))
    with serving(config) as gateway:
        assert client.get(f"{gateway.url}/readyz").status_code == 200
        gateway.process.send_signal(signal.SIGTERM)
        until(lambda: client.get(f"{gateway.url}/readyz").status_code == 503)
        answer = client.post(f"{gateway.url}/v1/chat/completions", json=ASK)
        assert answer.status_code == 200
        assert gateway.process.wait(60) in STOPPED


def test_a_stream_that_runs_is_finished_before_the_gateway_stops(config, client):  # noqa: F811
    rewrite(config, lambda document: document["server"].update(drain_s=0))
    rewrite(config, lambda document: document["stub"].update(speed=1))
    with serving(config) as gateway:
        with client.stream(
            "POST", f"{gateway.url}/v1/chat/completions", json={**ASK, "stream": True}
        ) as stream:
            lines = stream.iter_lines()
            next(lines)
            gateway.process.send_signal(signal.SIGTERM)
            assert list(lines)[-2:] == ["data: [DONE]", ""]
        assert gateway.process.wait(60) in STOPPED


@pytest.mark.parametrize("workers", [1, 2])
def test_sighup_reads_the_configuration_anew_in_every_worker(shared, client, workers):  # noqa: F811
    def names():
        """Ask as often as it takes to have met every worker."""
        listed = []
        for _ in range(6 if workers > 1 else 1):
            with httpx.Client(trust_env=False, timeout=30) as fresh:
                data = fresh.get(f"{gateway.url}/v1/models").json()["data"]
                listed.append("auto:quality" in {each["id"] for each in data})
        return listed

    with serving(shared, "--workers", str(workers)) as gateway:
        until(lambda: all(names()))
        rewrite(shared, lambda document: document["policies"]["default"].update(router="nobody"))
        gateway.process.send_signal(signal.SIGHUP)
        rewrite(
            shared,
            lambda document: (
                document["policies"]["default"].update(router="carrot"),
                document["policies"].pop("quality"),
            ),
        )
        gateway.process.send_signal(signal.SIGHUP)
        until(lambda: not any(names()))
        assert client.post(f"{gateway.url}/v1/chat/completions", json=ASK).status_code == 200
        gateway.process.send_signal(signal.SIGTERM)
        assert gateway.process.wait(60) in STOPPED


@pytest.fixture
def in_a_terminal():
    """Start commands as the first of a terminal; returned is its other end, too."""
    started = []

    def start(*command, env):
        ours, theirs = pty.openpty()

        def take_the_terminal():
            # Whoever runs the tests by `nohup` has it ignored, which children inherit.
            signal.signal(signal.SIGHUP, signal.SIG_DFL)
            fcntl.ioctl(theirs, termios.TIOCSCTTY, 0)

        process = subprocess.Popen(
            command,
            cwd=REPOSITORY,
            env={**os.environ, **env},
            stdin=theirs,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            preexec_fn=take_the_terminal,  # noqa: PLW1509  (no threads that matter)
            text=True,
        )
        os.close(theirs)
        started.append(process)
        while "Stop with Ctrl-C" not in process.stdout.readline():
            assert process.poll() is None
        return process, ours

    yield start
    for process in started:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(30)
        process.stdout.close()


@pytest.mark.parametrize("workers", [1, 2])
def test_whoever_closes_the_terminal_ends_the_gateway(shared, in_a_terminal, workers):  # noqa: F811
    rewrite(shared, lambda document: document["server"].update(drain_s=0))
    arguments = ("--port", "0", "--workers", workers)
    process, terminal = in_a_terminal(*command("serve", "--config", shared, *arguments), env={})
    process.send_signal(signal.SIGHUP)  # somebody's `kill -HUP`: the terminal is still there
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(1)
    os.close(terminal)
    assert process.wait(60) in STOPPED
