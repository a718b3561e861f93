"""Conversations and cached answers over sockets, by the official client library."""

import re
import uuid

import httpx
import openai
import pytest

from tests.support.transcripts import DONE, SYSTEM, THANKS, calling, result

TOOLS = [{"type": "function", "function": {"name": "read_file", "parameters": {}}}]
CHEAP, BEST = {"x-cost-quality": "0"}, {"x-cost-quality": "1"}
CACHED = {"x-route-cache": "on"}
COST = re.compile(rb'"cost_usd":([0-9.e-]+)')


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture
def chat(gateway):
    """Return an asker: messages and headers in, raw answer out."""
    with openai.OpenAI(base_url=gateway.openai_url, api_key="sk-x", max_retries=0) as client:
        create = client.chat.completions.with_raw_response.create

        def ask(*messages, headers=None, **fields):
            return create(model="auto", messages=messages, extra_headers=headers, **fields)

        yield ask


@pytest.fixture
def task():
    """Return a first question that no other test asks."""
    return {"role": "user", "content": f"Why does build {uuid.uuid4()} fail?"}


def placed(answer):
    names = ("model", "reason", "session", "session-reason")
    return tuple(answer.headers.get(f"x-route-{name}") for name in names)


def test_a_tool_loop_stays_on_its_model_over_the_wire(chat, task):
    first = chat(SYSTEM, task, headers=BEST, tools=TOOLS)
    model, _, session, why = placed(first)
    assert (session, why) == ("initialize", "initialize")
    loop = [SYSTEM, task, calling("a", "b"), result("a"), result("b")]
    assert placed(chat(*loop, headers=CHEAP, tools=TOOLS)) == (
        model,
        "sticky",
        "retain",
        "locked_tools",
    )
    free = chat(*loop, headers={**CHEAP, "x-route-affinity": "off"}, tools=TOOLS)
    assert placed(free)[0] != model
    assert placed(free)[1:] == ("knob", None, "off")


def test_a_closed_loop_may_be_left_for_a_cheaper_model(chat, task):
    model = placed(chat(SYSTEM, task, headers=BEST))[0]
    later = chat(SYSTEM, task, DONE, THANKS, headers=CHEAP)
    assert placed(later)[0] != model
    assert placed(later)[1:] == ("knob", "switch", "switch")
    again = chat(SYSTEM, task, DONE, THANKS, DONE, THANKS, headers=CHEAP)
    assert placed(again) == (placed(later)[0], "knob", "retain", "unchanged")


def test_a_stream_remembers_its_model_before_the_client_has_all_of_it(chat, task):
    raw = chat(SYSTEM, task, headers=BEST, stream=True)
    model = placed(raw)[0]
    assert list(raw.parse())
    loop = [SYSTEM, task, calling("a"), result("a")]
    assert placed(chat(*loop, headers=CHEAP, tools=TOOLS, stream=True))[0] == model


def test_a_stated_session_reaches_no_upstream_and_is_the_same_in_header_and_body(chat, task, stub):
    session_id = str(uuid.uuid4())
    first = chat(SYSTEM, task, extra_body={"session_id": session_id}, headers=BEST, tools=TOOLS)
    [entry] = stub.log()
    assert "session_id" not in entry.body
    assert "x-session-id" not in dict(entry.headers)
    other = [calling("a"), result("a")]  # nothing of the first turn but its session
    headers = {**CHEAP, "x-session-id": session_id}
    assert placed(chat(*other, headers=headers, tools=TOOLS))[0] == placed(first)[0]


def test_a_bad_session_id_is_told(chat, task):
    with pytest.raises(openai.BadRequestError) as caught:
        chat(task, extra_body={"session_id": 7})
    assert caught.value.param == "session_id"


def test_the_decision_alone_tells_the_session_and_moves_nothing(gateway, chat, task):
    loop = [SYSTEM, task, calling("a"), result("a")]
    body = {"model": "auto", "messages": loop, "tools": TOOLS}
    decide = gateway.openai_url + "/route"
    unknown = httpx.post(decide, json=body)
    assert placed(unknown)[2:] == ("initialize", "unknown_origin")
    model = placed(chat(SYSTEM, task, headers=BEST, tools=TOOLS))[0]
    held = httpx.post(decide, json=body, headers=CHEAP)
    assert placed(held) == (model, "sticky", "retain", "locked_tools")
    assert held.json()["model"] == model


def test_a_pinned_model_has_no_session(chat, gateway, task):
    body = {"model": "sim-small", "messages": [task]}
    answer = httpx.post(gateway.openai_url + "/chat/completions", json=body)
    assert placed(answer) == ("sim-small", "pinned", None, None)


# --- the cache ----------------------------------------------------------------------------------


def test_a_cached_answer_comes_back_byte_for_byte_but_for_its_cost(chat, task, stub):
    first = chat(task, headers=CACHED)
    again = chat(task, headers=CACHED)
    assert [each.headers["x-route-cache"] for each in (first, again)] == ["miss", "hit"]
    assert float(COST.search(first.content)[1]) > 0
    assert again.content == COST.sub(b'"cost_usd":0.0', first.content)
    assert again.headers["x-route-model"] == first.headers["x-route-model"]
    assert float(again.headers["x-route-cost-usd"]) == 0
    assert float(first.headers["x-route-cost-usd"]) > 0
    assert len(stub.log()) == 1
    assert chat(task).headers["x-route-cache"] == "bypass"


@pytest.mark.parametrize("first_streams", [False, True])
def test_a_cached_answer_is_streamed_to_who_wants_a_stream(chat, task, stub, first_streams):
    options = {"stream_options": {"include_usage": True}, "stream": True}
    first = chat(task, headers=CACHED, **(options if first_streams else {}))
    if first_streams:
        chunks = list(first.parse())
        text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    else:
        text = first.parse().choices[0].message.content
    answer = chat(task, headers=CACHED, **options)
    assert answer.headers["x-route-cache"] == "hit"
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    *pieces, usage = answer.parse()
    assert "".join(piece.choices[0].delta.content or "" for piece in pieces) == text
    assert pieces[-1].choices[0].finish_reason == "stop"
    assert usage.choices == []
    assert usage.usage.completion_tokens > 0
    assert usage.usage.cost_usd == 0
    whole = chat(task, headers=CACHED)
    assert whole.headers["x-route-cache"] == "hit"
    assert whole.parse().choices[0].message.content == text
    assert len(stub.log()) == 1


def test_a_stream_that_breaks_is_not_kept(chat, task, stub):
    stub.add_fault("close_mid_stream", times=1)
    broken = chat(task, headers=CACHED, stream=True)
    with pytest.raises((openai.APIError, httpx.HTTPError)):
        list(broken.parse())
    assert chat(task, headers=CACHED).headers["x-route-cache"] == "miss"


def test_sessions_and_cache_are_counted(chat, gateway, task):
    chat(SYSTEM, task, headers=CACHED)
    chat(SYSTEM, task, headers=CACHED)
    text = httpx.get(gateway.url + "/metrics").text
    assert 'gateway_session_turns_total{policy="default",reason="initialize"}' in text
    assert 'gateway_cache_requests_total{state="hit"}' in text
