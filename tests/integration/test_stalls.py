"""Tasks that do not get on, over sockets."""

import httpx
import pytest

from tests.support.transcripts import SYSTEM, TASK, calling, result

TOOLS = [{"type": "function", "function": {"name": "read_file", "parameters": {}}}]
KNOB = {"policies.default.cost_quality": 0.0, "policies.default.stalls": {"cost_quality": [1.0]}}


@pytest.fixture
def ask(fresh_gateway):
    """Ask with the knob at its cheapest, in one conversation."""
    with httpx.Client(base_url=fresh_gateway(KNOB).url, trust_env=False) as client:

        def post(*messages, path="/v1/chat/completions", **fields):
            answer = client.post(path, json={"model": "auto", "messages": messages, **fields})
            assert answer.status_code == 200, answer.text
            return answer.headers

        yield post


def failing(n):
    return [each for i in range(n) for each in (calling(f"{i}"), result(f"{i}", "Error: no"))]


def test_a_task_that_does_not_get_on_is_raised_until_it_is_over(ask):
    cheap = ask(SYSTEM, TASK, tools=TOOLS)["x-route-model"]
    going_on = ask(SYSTEM, TASK, *failing(2), tools=TOOLS)
    assert (going_on["x-route-model"], going_on.get("x-route-stall")) == (cheap, None)
    stalled = ask(SYSTEM, TASK, *failing(3), tools=TOOLS)
    assert stalled["x-route-model"] != cheap
    assert stalled["x-route-stall"] == "1; failing_calls"
    assert stalled["x-route-session-reason"] == "stalled"
    better = stalled["x-route-model"]
    mended = ask(SYSTEM, TASK, *failing(3), calling("x"), result("x", "3 passed"), tools=TOOLS)
    assert mended["x-route-model"] == better
    done = {"role": "assistant", "content": "All tests pass."}
    other = {"role": "user", "content": "Write a haiku about steelyards."}
    new = ask(SYSTEM, TASK, *failing(3), done, other)
    assert new.get("x-route-stall") is None


def test_titles_are_told_and_cheap(ask):
    title = {"role": "system", "content": "You are a title generator. You output ONLY a title."}
    headers = ask(title, TASK)
    assert headers["x-route-housekeeping"] == "title"


def test_agents_of_the_messages_api_stall_too(ask):
    use = {"type": "tool_use", "name": "ls", "input": {"path": "/"}}
    given = {"type": "tool_result", "content": "not there", "is_error": True}
    loop = [
        {"role": role, "content": [{**part, key: f"t{n}"}]}
        for n in range(2)
        for role, part, key in (("assistant", use, "id"), ("user", given, "tool_use_id"))
    ]
    headers = ask(TASK, *loop, path="/v1/messages", max_tokens=20)
    assert headers["x-route-stall"] == "1; repeated_call"
