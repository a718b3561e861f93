"""Every failure of an upstream has exactly one well-formed end for the client."""

import json

import httpx
import pytest

from app.stub.faults import FaultKind
from tests.support.gateway import GatewayThread, stub_config

ASK = {"model": "auto", "messages": [{"role": "user", "content": "What is a steelyard?"}]}
SHORT = 2.0
"""Long enough for everything but a stall, on a machine that has other things to do."""

# What a fault comes to when there is another model to try; the number is `after_chunks`.
ANSWERED, BROKEN_OFF = "answered", "broken off"
STREAMED = [
    (FaultKind.STATUS, 0, ANSWERED),
    (FaultKind.RESET_BEFORE_HEADERS, 0, ANSWERED),
    (FaultKind.STALL_BEFORE_HEADERS, 0, ANSWERED),
    *[
        (kind, after, ANSWERED if after < 2 else BROKEN_OFF)
        for kind in (
            FaultKind.STALL_MID_STREAM,
            FaultKind.RESET_MID_STREAM,
            FaultKind.CLOSE_MID_STREAM,
            FaultKind.GARBAGE_SSE,
            FaultKind.ERROR_EVENT,
        )
        for after in (0, 1, 4)  # nothing, the role, some words
    ],
    (FaultKind.END_WITHOUT_DONE, 0, BROKEN_OFF),
    (FaultKind.NO_USAGE, 0, ANSWERED),
    (FaultKind.BAD_JSON, 0, ANSWERED),
    (FaultKind.SLOW_DRIP, 0, ANSWERED),
    (FaultKind.WRONG_CONTENT_LENGTH, 0, ANSWERED),
]
STALLS = {FaultKind.STALL_BEFORE_HEADERS, FaultKind.STALL_MID_STREAM}
STALLS_WHOLE = {*STALLS, FaultKind.GARBAGE_SSE, FaultKind.ERROR_EVENT, FaultKind.END_WITHOUT_DONE}
"""What a whole answer stalls at: there are no events in it to break."""
HARMLESS = {FaultKind.NO_USAGE, FaultKind.SLOW_DRIP}


@pytest.fixture(scope="module")
def impatient_gateway(stub_thread, artifacts, tmp_path_factory):
    timeouts = {"first_token_s": SHORT, "idle_s": SHORT, "whole_answer_s": SHORT}
    changes = {
        "upstreams.stub.timeouts": timeouts,
        "upstreams.stub.retries": 0,
        "breaker.failures": 1_000_000,
    }
    directory = tmp_path_factory.mktemp("impatient")
    config = stub_config(directory, stub_thread.origin, changes=changes)
    with GatewayThread(config, artifacts=artifacts) as gateway:
        yield gateway


@pytest.fixture
def client(request, stub):
    """Return a client of a gateway that waits for nobody only where waiting is what is tested."""
    callspec = getattr(request.node, "callspec", None)
    kind = None if callspec is None else callspec.params.get("kind")
    stalls = kind in (STALLS_WHOLE if "whole_answer" in request.node.name else STALLS)
    gateway = request.getfixturevalue("impatient_gateway" if stalls else "gateway")
    with httpx.Client(base_url=gateway.url, trust_env=False, timeout=60) as client:
        yield client


def ask(client, **fields):
    return client.post("/v1/chat/completions", json={**ASK, "max_tokens": 12, **fields})


def said_by(stub, model):
    """Return what a model says to the question when nothing goes wrong."""
    body = {**ASK, "max_tokens": 12, "model": model}
    answer = httpx.post(f"{stub.base_url}/chat/completions", json=body, trust_env=False).json()
    return answer["choices"][0]["message"]["content"]


def check_error(error):
    assert set(error) >= {"message", "type", "param", "code"}
    assert error["message"]
    assert error["type"] in ("service_unavailable_error", "rate_limit_error")


def read_whole(response, stub):
    """Check that an answer is whole and one model's, or an error; return which."""
    answer = response.json()
    if response.status_code != 200:
        check_error(answer["error"])
        return "refused"
    (choice,) = answer["choices"]
    assert choice["message"]["content"] == said_by(stub, answer["model"])
    assert response.headers["x-route-model"] == answer["model"]
    return ANSWERED


def read_stream(response, stub):
    """Check that a stream is one model's answer with one end; return which end."""
    if response.status_code != 200:
        check_error(response.json()["error"])
        return "refused"
    assert response.text.endswith("\n\n")
    events = [each.removeprefix("data: ") for each in response.text[:-2].split("\n\n")]
    *before, last = events
    assert "[DONE]" not in before
    chunks = [json.loads(each) for each in before]
    assert all("error" not in chunk for chunk in chunks)
    assert len({chunk["id"] for chunk in chunks}) == 1
    (model,) = {chunk["model"] for chunk in chunks}
    assert response.headers["x-route-model"] == model
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks]
    assert [i for i, delta in enumerate(deltas) if "role" in delta] == [0]
    said = "".join(delta.get("content") or "" for delta in deltas)
    if last == "[DONE]":
        finished = [chunk["choices"][0]["finish_reason"] for chunk in chunks]
        assert [each for each in finished if each] == ["length"]
        assert said == said_by(stub, model)
        return ANSWERED
    check_error(json.loads(last)["error"])
    assert said_by(stub, model).startswith(said)
    assert said
    return BROKEN_OFF


@pytest.mark.parametrize(("kind", "after_chunks", "end"), STREAMED)
def test_a_stream_meets_a_fault_with_another_model_at_hand(client, stub, kind, after_chunks, end):
    stub.add_fault(kind, after_chunks=after_chunks)
    response = ask(client, stream=True)
    n_calls = len(stub.log())
    assert read_stream(response, stub) == end
    if end is BROKEN_OFF or kind in HARMLESS:
        assert n_calls == 1
        assert "x-route-fallback-index" not in response.headers


@pytest.mark.parametrize("kind", list(FaultKind))
def test_a_whole_answer_meets_a_fault_with_another_model_at_hand(client, stub, kind):
    stub.add_fault(kind, after_chunks=20)
    response = ask(client)
    n_calls = len(stub.log())
    assert read_whole(response, stub) == ANSWERED
    assert n_calls == (1 if kind in HARMLESS else 2)


@pytest.mark.parametrize(("kind", "after_chunks", "end"), STREAMED)
def test_a_stream_meets_a_fault_without_another_model(client, stub, kind, after_chunks, end):
    stub.add_fault(kind, after_chunks=after_chunks, model="sim-nano", times=2)
    response = ask(client, model="sim-nano", stream=True)
    complete = kind in {*HARMLESS, FaultKind.WRONG_CONTENT_LENGTH}
    expected = "refused" if end is ANSWERED and not complete else end
    stub.reset()
    assert read_stream(response, stub) == expected
    if expected == "refused":
        assert response.status_code == (504 if kind in STALLS else 502)


@pytest.mark.parametrize("kind", list(FaultKind))
def test_a_whole_answer_meets_a_fault_without_another_model(client, stub, kind):
    stub.add_fault(kind, after_chunks=20, model="sim-nano", times=2)
    response = ask(client, model="sim-nano")
    stub.reset()
    assert read_whole(response, stub) == (ANSWERED if kind in HARMLESS else "refused")


def test_usage_that_the_upstream_never_tells_is_counted_and_flagged(client, stub):
    stub.add_fault("no_usage", model="sim-nano")
    response = ask(client, model="sim-nano", stream=True, stream_options={"include_usage": True})
    *_, usage, done, _ = response.text.split("\n\n")
    assert done == "data: [DONE]"
    counted = json.loads(usage.removeprefix("data: "))
    assert counted["choices"] == []
    assert counted["usage"]["estimated"] is True
    assert counted["usage"]["completion_tokens"] >= 12
    assert counted["usage"]["cost_usd"] > 0


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("status", [400, 413, 422])
def test_a_request_at_fault_is_answered_in_the_upstreams_own_words(client, stub, status, stream):
    stub.add_fault("status", status=status, code="string_too_weird")
    response = ask(client, stream=stream)
    assert response.status_code == status
    assert response.json() == {
        "error": {
            "message": "Simulated failure.",
            "type": "invalid_request_error",
            "param": None,
            "code": "string_too_weird",
        }
    }
    assert len(stub.log()) == 1


@pytest.mark.parametrize("status", [401, 403, 404, 429, 500, 502, 503])
def test_a_status_that_is_no_fault_of_the_client_falls_over(client, stub, status):
    stub.add_fault("status", status=status)
    assert read_whole(ask(client), stub) == ANSWERED


def test_a_prompt_too_long_for_one_model_is_tried_on_the_next(client, stub):
    stub.add_fault("status", status=400, code="context_length_exceeded")
    assert read_whole(ask(client), stub) == ANSWERED


@pytest.mark.parametrize("stream", [False, True])
def test_an_upstream_that_is_not_there_is_an_error_that_says_so(fresh_gateway, stream):
    gateway = fresh_gateway({"upstreams.stub.base_url": "http://127.0.0.1:9/v1"})
    with httpx.Client(base_url=gateway.url, trust_env=False) as client:
        response = ask(client, stream=stream)
    assert response.status_code == 502
    error = response.json()["error"]
    assert error["code"] == "all_attempts_failed"
    assert {each["error"] for each in error["attempts"]} == {"upstream_unavailable"}
    # Nothing was sent, so each of the three may be asked twice.
    models = [each["model"] for each in error["attempts"]]
    assert len(set(models)) == 3
    assert models == sorted(models, key=models.index)
    assert all(models.count(each) == 2 for each in models)


@pytest.mark.parametrize("stream", [False, True])
def test_the_deadline_of_a_request_ends_it_in_every_phase(fresh_gateway, stub, stream):
    gateway = fresh_gateway({"server.request_timeout_s": 2})
    stub.add_fault("stall_before_headers")
    with httpx.Client(base_url=gateway.url, trust_env=False) as client:
        response = ask(client, stream=stream)
        assert response.status_code == 504
        assert response.json()["error"]["code"] == "deadline_exceeded"
        stub.log(wait_for="client_gone")
        stub.reset()
        stub.add_fault("stall_mid_stream", after_chunks=4)
        response = ask(client, stream=True)
        assert response.status_code == 200
        last = response.text.split("\n\n")[-2]
        assert json.loads(last.removeprefix("data: "))["error"]["code"] == "deadline_exceeded"
        stub.log(wait_for="client_gone")
