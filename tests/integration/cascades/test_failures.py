"""What becomes of a cascade where a stage, its judge or its client fails."""

import json
import threading

import pytest

from tests.support.cascading import (
    CHEAP,
    DEAR,
    JUDGED,
    SURE,
    UNSURE,
    ask,
    broken,
    count,
    drafted,
    wait_for,
)
from tests.support.raw_client import RawClient
from tests.support.requests import assert_openai_error
from tests.support.scoring_server import answer, completion, pieces
from tests.support.watching import assert_no_task_is_left

DRAFTS = 'gateway_calls_total{{error="{}",model="sim-nano",role="draft",upstream="drafter"}}'
JUDGES = 'gateway_calls_total{{error="{}",model="sim-medium",role="judge",upstream="judge"}}'
EVENTS = pieces(answer("a b c d e f g h", chances=SURE))
CHAT = {"model": "auto", "messages": [{"role": "user", "content": "What is a steelyard?"}]}


def test_a_first_stage_that_fails_is_followed_by_the_next(start, drafter):
    client = start()
    drafter.answer = lambda _: broken()
    response = ask(client)
    assert response.headers["x-route-model"] == DEAR
    assert response.headers["x-route-reason"] == "fallback"
    assert response.headers["x-route-accepted-by"] == "last_stage"
    assert "gateway_drafts_total{" not in client.get("/metrics").text


def test_a_draft_that_breaks_off_was_never_seen(start, drafter):
    client = start()

    def break_off(_):
        def events():
            yield from EVENTS[:4]
            raise BrokenPipeError

        return 200, events()

    drafter.answer = break_off
    response = ask(client, stream=True)
    assert response.headers["x-route-model"] == DEAR
    assert "chatcmpl-score" not in response.text
    assert response.text.endswith("data: [DONE]\n\n")

    def drafts():
        lines = client.get("/metrics").text.splitlines()
        calls = [each for each in lines if each.startswith("gateway_calls_total{")]
        return [each for each in calls if 'role="draft"' in each]

    wait_for(drafts)
    (line,) = drafts()
    assert 'error=""' not in line


@pytest.mark.parametrize("stream", [False, True])
def test_a_draft_is_better_than_no_answer(start, drafter, stub, stream):
    client = start()
    drafter.answer = drafted("Unsure.", UNSURE)
    stub.add_fault("status", status=500, times=4)
    response = ask(client, stream=stream, headers={"x-route-cache": "on"})
    assert response.status_code == 200
    assert "Unsure." in response.text
    assert '"logprob"' not in response.text
    assert response.headers["x-route-model"] == CHEAP
    assert response.headers["x-route-reason"] == "fallback"
    assert response.headers["x-route-accepted-by"] == "nothing_better"
    stub.reset()
    again = ask(client, headers={"x-route-cache": "on"})  # a makeshift is not kept
    assert again.headers["x-route-model"] == DEAR


def test_where_every_stage_fails_each_is_told(start, drafter, stub):
    client = start()
    drafter.answer = lambda _: broken(503)
    stub.add_fault("status", status=500, times=4)
    error = assert_openai_error(ask(client), status=502)
    assert [each["model"] for each in error["attempts"]][:2] == [CHEAP, DEAR]


def test_a_request_that_an_upstream_finds_at_fault_is_not_tried_on(start, drafter):
    client = start()
    message = {"message": "temperature is out of range", "type": "invalid_request_error"}
    drafter.answer = lambda _: (400, {"error": message})
    response = ask(client)
    assert response.status_code == 400
    assert response.json()["error"]["message"] == "temperature is out of range"


@pytest.mark.parametrize(("without", "model"), [("reject", DEAR), ("accept", CHEAP)])
@pytest.mark.parametrize("fault", ["error", "late"])
def test_a_judge_that_fails_leaves_it_to_the_configured_rule(start, judge, fault, without, model):
    acceptor = {**JUDGED, "without": without, "deadline_s": 20.0 if fault == "error" else 0.2}
    client = start(acceptor)

    def fail(_):
        if fault == "late":
            judge.release.wait(60)
        return broken()

    judge.answer = fail
    response = ask(client)
    assert response.status_code == 200
    assert response.headers["x-route-model"] == model
    code = "upstream_unavailable" if fault == "error" else "upstream_timeout"
    wait_for(lambda: count(client, JUDGES.format(code)) == 1)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("text", ["", "  \n"])
def test_an_answer_without_text_is_none(start, drafter, judge, stream, text):
    client = start(JUDGED)
    judge.answer = lambda _: (200, completion("5"))
    drafter.answer = drafted(text, SURE)
    assert ask(client, stream=stream).headers["x-route-model"] == DEAR
    assert not judge.bodies


# --- how long, and how many bytes -----------------------------------------------------------------


@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_too_long_to_hold_back_is_given_up_for_the_next_stage(start, drafter, stream):
    client = start(**{"server.hold_back": {"max_bytes": 2_000}})
    drafter.answer = drafted("word " * 500)
    response = ask(client, stream=stream)
    assert response.headers["x-route-model"] == DEAR
    assert response.headers["x-route-reason"] == "fallback"
    wait_for(lambda: count(client, DRAFTS.format("hold_back_exceeded")) == 1)


@pytest.mark.parametrize("stream", [False, True])
def test_or_it_serves_from_there_on(start, drafter, stream):
    client = start(**{"server.hold_back": {"max_bytes": 2_000, "longer": "serve"}})
    drafter.answer = drafted("word " * 500, UNSURE)
    response = ask(client, stream=stream, max_tokens=1000)
    assert response.headers["x-route-model"] == CHEAP
    assert response.headers["x-route-accepted-by"] == "hold_back"
    assert response.headers["x-route-reason"] == "workflow"
    assert response.text.count("word") == 500
    assert '"logprob"' not in response.text
    wait_for(lambda: count(client, DRAFTS.format("")) == 1)


def test_a_stage_that_takes_too_long_is_given_up(start, drafter):
    client = start(**{"server.hold_back": {"max_s": 2.0}})

    def dawdle(_):
        def events():
            yield from EVENTS[:3]
            drafter.release.wait(60)

        return 200, events()

    drafter.answer = dawdle
    response = ask(client, stream=True)
    assert response.headers["x-route-model"] == DEAR
    wait_for(lambda: count(client, DRAFTS.format("hold_back_exceeded")) == 1)
    drafter.answer = lambda _: (drafter.release.wait(60), drafted()({}))[1]
    assert ask(client).headers["x-route-model"] == DEAR
    wait_for(lambda: count(client, DRAFTS.format("upstream_timeout")) == 1)


def test_the_deadline_of_the_whole_request_comes_first(start, drafter):
    client = start(**{"server.request_timeout_s": 0.4})
    drafter.answer = lambda _: (drafter.release.wait(60), drafted()({}))[1]
    assert_openai_error(ask(client), status=504)


# --- a client that waits, and one that leaves -----------------------------------------------------


def read_stream(client, judge, meanwhile):
    """Return headers and lines of a stream; `meanwhile` is called after its second comment."""
    n_comments, lines = 0, []
    with client.stream("POST", "/v1/chat/completions", json={**CHAT, "stream": True}) as response:
        for line in response.iter_lines():
            lines.append(line)
            n_comments += line.startswith(":")
            if n_comments == 2 and meanwhile is not None:
                meanwhile, done = None, meanwhile
                done()
    return response, lines


WAITING = {"server.hold_back": {"headers_after_s": 0.05}, "server.sse_ping_s": 0.05}


@pytest.mark.parametrize(("grade", "model"), [("5", "scorer-1"), ("1", DEAR)])
def test_a_stream_that_is_held_back_for_long_begins_with_comments(start, judge, grade, model):
    client = start(JUDGED, **WAITING)
    judge.answer = lambda _: (judge.release.wait(60), (200, completion(grade)))[1]
    response, lines = read_stream(client, judge, judge.release.set)
    assert response.status_code == 200
    assert response.headers["content-type"].startswith("text/event-stream")
    assert response.headers["x-route-policy"] == "default"
    assert response.headers["x-route-decision-id"]
    assert "x-route-model" not in response.headers  # nobody knew
    events = [line.removeprefix("data: ") for line in lines if line.startswith("data: ")]
    assert events[-1] == "[DONE]"
    assert {json.loads(each)["model"] for each in events[:-1]} == {model}
    first = next(i for i, line in enumerate(lines) if line.startswith("data: "))
    assert [line for line in lines[:first] if line] == [": ping"] * sum(
        line.startswith(":") for line in lines[:first]
    )


def test_what_fails_after_that_is_an_event_of_the_stream(start, judge, drafter, stub):
    client = start(**WAITING)
    drafter.answer = lambda _: (drafter.release.wait(60), broken())[1]
    stub.add_fault("status", status=500, times=4)
    response, lines = read_stream(client, judge, drafter.release.set)
    assert response.status_code == 200
    events = [line.removeprefix("data: ") for line in lines if line.startswith("data: ")]
    (error,) = [json.loads(each) for each in events]
    assert error["error"]["code"] == "all_attempts_failed"


def test_without_such_a_time_nothing_is_sent_before_an_answer_serves(start, judge):
    changes = {**WAITING, "server.hold_back": {"headers_after_s": None}}
    client = start({**JUDGED, "deadline_s": 0.4, "without": "accept"}, **changes)
    judge.answer = lambda _: (judge.release.wait(60), (200, completion("5")))[1]
    response = ask(client, stream=True)
    assert response.headers["x-route-model"] == CHEAP
    before, first, _ = response.text.partition("data: ")
    assert first
    assert ":" not in before


@pytest.mark.parametrize("while_judged", [False, True])
def test_a_client_that_leaves_takes_what_is_held_back_with_it(
    start_gateway, drafter, judge, while_judged
):
    started = start_gateway(JUDGED)
    client, gateway = started.client, started.gateway
    asked = threading.Event()

    def wait(_):
        asked.set()
        judge.release.wait(60)
        return 200, completion("5")

    def endless(_):
        def events():
            yield from EVENTS[:3]
            asked.set()
            while not drafter.release.wait(0.005):
                yield EVENTS[2]

        return 200, events()

    if while_judged:
        judge.answer = wait
    else:
        drafter.answer = endless
    leaver = RawClient(gateway.url)
    leaver.send_request(json.dumps({**CHAT, "stream": True}))
    assert asked.wait(60)
    leaver.close()
    cancelled = JUDGES if while_judged else DRAFTS
    wait_for(lambda: count(client, cancelled.format("cancelled")) == 1)
    if while_judged:
        wait_for(lambda: count(client, DRAFTS.format("cancelled")) == 1)  # nobody got that either
    else:
        assert drafter.hung_up.wait(60)
    wait_for(lambda: count(client, "gateway_requests_in_flight") == 0)
    assert_no_task_is_left(gateway)
