"""Comments that keep a silent stream alive, and harm none."""

import time

import httpx
import openai
import pytest

from tests.support.requests import assert_openai_error
from tests.support.watching import assert_no_task_is_left

ASK = {
    "model": "sim-nano",
    "messages": [{"role": "user", "content": "What is a steelyard?"}],
    "stream": True,
    "max_tokens": 3,
}
PING = ": ping"
EVERY_S = 0.05


@pytest.fixture
def pinging(fresh_gateway):
    """Start a gateway that pings often and ends a stream that is silent for two seconds."""
    return fresh_gateway(pings(idle_s=2))


def pings(*, every_s=EVERY_S, **timeouts):
    return {"server.sse_ping_s": every_s, "upstreams.stub.timeouts": timeouts}


def frames_of(gateway, **changes):
    with httpx.Client(trust_env=False, timeout=30) as client:
        answer = client.post(f"{gateway.url}/v1/chat/completions", json={**ASK, **changes})
    assert answer.status_code == 200, answer.text
    *frames, rest = answer.text.split("\n\n")
    assert rest == ""
    return frames


def test_a_stream_that_is_silent_gets_comments_until_it_ends(pinging, stub):
    stub.add_fault("stall_mid_stream", after_chunks=3)
    began = time.monotonic()
    frames = frames_of(pinging)
    assert 2 <= frames.count(PING) <= (time.monotonic() - began) / EVERY_S
    assert '"error"' in frames[-1]  # nothing comes after the end
    first_ping = frames.index(PING)
    assert all(frame.startswith("data: {") for frame in frames[:first_ping])


def test_comments_stand_between_events_however_the_upstream_cut_them(fresh_gateway, stub):
    gateway = fresh_gateway(pings())
    stub.add_fault("slow_drip", interval_s=0.0005)
    frames = frames_of(gateway, stream_options={"include_usage": True})
    assert PING in frames
    events = [frame for frame in frames if frame != PING]
    assert all(event.startswith("data: {") for event in events[:-1])
    assert events[-1] == "data: [DONE]"
    assert frames[-1] == "data: [DONE]"
    assert_no_task_is_left(gateway)


def test_the_official_client_reads_past_them(fresh_gateway, stub, monkeypatch):
    gateway = fresh_gateway(pings())
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with openai.OpenAI(base_url=gateway.openai_url, api_key="none") as sdk:

        def text():
            return "".join(
                c.choices[0].delta.content or "" for c in sdk.chat.completions.create(**ASK)
            )

        undisturbed = text()
        stub.add_fault("slow_drip", interval_s=0.0005)
        assert text() == undisturbed


def test_nothing_is_sent_before_the_first_content_so_that_errors_keep_their_status(
    fresh_gateway, stub
):
    gateway = fresh_gateway(pings(first_token_s=0.35))
    stub.add_fault("stall_before_headers")
    with httpx.Client(trust_env=False, timeout=30) as client:
        answer = client.post(f"{gateway.url}/v1/chat/completions", json=ASK)
    assert_openai_error(answer, status=504)


def test_a_client_that_leaves_a_silent_stream_leaves_nothing_running(pinging, stub):
    stub.add_fault("stall_mid_stream", after_chunks=3)
    with (
        httpx.Client(trust_env=False, timeout=30) as client,
        client.stream("POST", f"{pinging.url}/v1/chat/completions", json=ASK) as stream,
    ):
        assert PING in stream.iter_lines()
    stub.log(wait_for="client_gone")
    assert_no_task_is_left(pinging)


def test_without_a_time_there_are_no_comments(fresh_gateway, stub):
    gateway = fresh_gateway(pings(every_s=0, idle_s=0.35))
    stub.add_fault("stall_mid_stream", after_chunks=3)
    assert PING not in frames_of(gateway)
