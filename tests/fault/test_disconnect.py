"""A client that goes away takes its upstream call with it, in every phase, and is accounted for."""

import contextlib
import json
import threading
import time

import pytest

from tests.support.artifacts import TroubledArtifact
from tests.support.raw_client import RawClient
from tests.support.stub import StubThread
from tests.support.watching import assert_no_task_is_left, metrics, until

CONTENT = json.dumps([{"role": "user", "content": "What is a steelyard?"}])
GONE = 'gateway_requests_total{error="client_disconnected"'


def wait_for(condition):
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


@pytest.fixture
def stub():
    """Start a stub of its own, so that nobody else is connected to it."""
    with StubThread() as stub:
        yield stub


@pytest.fixture
def gateway(fresh_gateway):
    """Start a gateway of its own, so that its counters start at nothing."""
    return fresh_gateway()


@pytest.fixture
def connect():
    """Open sockets to a gateway; all are closed in the end."""
    with contextlib.ExitStack() as stack:
        yield lambda gateway: stack.enter_context(contextlib.closing(RawClient(gateway.url)))


def chat(stream):
    return f'{{"model":"auto","messages":{CONTENT},"stream":{json.dumps(stream)}}}'


def assert_nothing_is_left(gateway, stub, *, outcomes=1):
    line = until(gateway, GONE, outcomes)
    assert 'status_class="4xx"' in line
    until(gateway, "gateway_requests_in_flight", 0)
    assert_no_task_is_left(gateway)
    assert stub.open_connections == 0  # the connection of a cancelled call is never reused


@pytest.mark.parametrize("reset", [False, True])
@pytest.mark.parametrize("stream", [False, True])
def test_leaving_before_the_upstream_answers_cancels_the_call(
    connect, gateway, stub, stream, reset
):
    stub.add_fault("stall_before_headers")
    client = connect(gateway)
    client.send_request(chat(stream))
    stub.log(wait_for="running")
    client.close(reset=reset)
    (entry,) = stub.log(wait_for="client_gone")
    assert entry.chunks_sent == 0
    assert_nothing_is_left(gateway, stub)


def test_leaving_while_a_whole_answer_arrives_cancels_the_call(gateway, connect, stub):
    stub.add_fault("stall_mid_stream", after_chunks=40)
    client = connect(gateway)
    client.send_request(chat(stream=False))
    stub.log(wait_for="running")
    client.close()
    stub.log(wait_for="client_gone")
    assert_nothing_is_left(gateway, stub)


def test_leaving_between_the_role_and_the_first_word_cancels_the_call(gateway, connect, stub):
    stub.add_fault("stall_mid_stream", after_chunks=1)
    client = connect(gateway)
    client.send_request(chat(stream=True))
    stub.log(wait_for="running")
    client.close()
    (entry,) = stub.log(wait_for="client_gone")
    assert entry.chunks_sent == 1
    assert_nothing_is_left(gateway, stub)


@pytest.mark.parametrize("reset", [False, True])
def test_leaving_in_the_middle_of_a_stream_cancels_the_call(gateway, connect, stub, reset):
    stub.add_fault("stall_mid_stream", after_chunks=5)
    client = connect(gateway)
    client.send_request(chat(stream=True))
    client.read_until(b'"content":" simulated"')
    client.close(reset=reset)
    (entry,) = stub.log(wait_for="client_gone")
    assert entry.chunks_sent == 5
    assert_nothing_is_left(gateway, stub)
    assert any(line.startswith("gateway_tokens_total") for line in metrics(gateway))


def test_leaving_while_a_fallback_is_tried_cancels_the_fallback(gateway, connect, stub):
    stub.add_fault("status", status=503)
    stub.add_fault("stall_before_headers")
    client = connect(gateway)
    client.send_request(chat(stream=True))
    stub.log(wait_for="fault")
    stub.log(wait_for="running")
    client.close()
    failed, gone = stub.log(wait_for="client_gone")
    assert (failed.status, gone.ended) == (503, "client_gone")
    assert_nothing_is_left(gateway, stub)


def test_leaving_while_still_sending_calls_nobody(gateway, connect, stub):
    client = connect(gateway)
    client.send_request(chat(stream=True), length=10_000)
    serving = gateway.app.state.steelyard.serving
    wait_for(lambda: serving.in_flight == 1)  # its head is there; it has no place before its body
    client.close()
    wait_for(lambda: serving.in_flight == 0)
    assert_no_task_is_left(gateway)
    assert stub.log() == []
    # Nothing was asked for yet: there is no outcome to record.
    assert not any(line.startswith("gateway_requests_total") for line in metrics(gateway))


def test_leaving_while_the_router_thinks_calls_nobody(fresh_gateway, connect, artifacts, stub):
    artifact = TroubledArtifact(artifacts["carrot"])
    gateway = fresh_gateway(
        {"policies.default.router_deadline_s": 30}, artifacts={"carrot": artifact}
    )
    thinking, release = threading.Event(), threading.Event()

    def trouble():
        thinking.set()
        assert release.wait(60)

    artifact.trouble = trouble
    content = json.dumps([{"role": "user", "content": "long " * 5000}])
    client = connect(gateway)
    client.send_request(f'{{"model":"auto","messages":{content}}}')
    assert thinking.wait(60)
    client.close()
    try:
        until(gateway, GONE, 1)
    finally:
        release.set()
    assert_no_task_is_left(gateway)
    assert stub.log() == []


def test_many_clients_leaving_at_once_leave_nothing_behind(gateway, connect, stub):
    n = 20
    stub.add_fault("stall_mid_stream", after_chunks=3, times=n)
    clients = [connect(gateway) for _ in range(n)]
    for client in clients:
        client.send_request(chat(stream=True))
    for client in clients:
        client.read_until(b'"content":" is"')
    assert stub.open_connections == n
    for client in clients:
        client.close()
    wait_for(lambda: all(entry.ended == "client_gone" for entry in stub.log()))
    assert len(stub.log()) == n
    until(gateway, "gateway_requests_in_flight", 0)
    assert_no_task_is_left(gateway)
    assert stub.open_connections == 0
    gone = [line for line in metrics(gateway) if line.startswith(GONE)]
    assert sum(float(line.rpartition(" ")[2]) for line in gone) == n


def test_a_client_that_never_reads_is_given_up_at_the_deadline(fresh_gateway, connect, stub):
    gateway = fresh_gateway({"server.request_timeout_s": 6})
    client = connect(gateway)
    # Some megabytes: more than the kernel buffers on the way take.
    client.send_request(f'{{"model":"sim-frontier","messages":{CONTENT},"stream":true,"n":128}}')
    client.read_until(b"data: ")
    line = until(gateway, 'gateway_requests_total{error="deadline_exceeded"', 1)
    assert 'status_class="5xx"' in line
    until(gateway, "gateway_requests_in_flight", 0)
    assert_no_task_is_left(gateway)


def test_a_client_that_leaves_after_its_answer_is_no_disconnect(gateway, connect, stub):
    client = connect(gateway)
    client.send_request(chat(stream=True))
    client.read_until(b"[DONE]")
    client.close()
    until(gateway, 'gateway_requests_total{error=""', 1)
    assert not any(line.startswith(GONE) for line in metrics(gateway))
    (entry,) = stub.log()
    assert entry.ended == "complete"
