"""The stub refuses what the real Messages API refuses, so that translation is tested against it."""

import json

import pytest

from app.stub.answers import Answer, compose
from app.stub.messages_wire import completion_body, error_body, events, to_chat
from app.stub.tiers import TIERS

TURN = {"role": "user", "content": [{"type": "text", "text": "hi"}]}
REPLY = {"role": "assistant", "content": "Hello."}


def body(**fields: object) -> dict:
    return {"max_tokens": 9, "messages": [TURN], **fields}


@pytest.mark.parametrize(
    "wrong",
    [
        {"messages": [TURN]},
        body(messages=[]),
        body(messages=[TURN, TURN]),
        body(messages=[REPLY]),
        body(messages=[TURN, REPLY, REPLY]),
    ],
)
def test_what_the_real_api_refuses_is_refused(wrong):
    with pytest.raises(ValueError, match=r"max_tokens|alternate"):
        to_chat(wrong)


def test_a_prompt_and_its_limit_are_understood():
    chat = to_chat(body(system="Be brief.", messages=[TURN, REPLY, TURN]))
    assert [each["role"] for each in chat["messages"]] == ["system", "user", "assistant", "user"]
    answer = compose("sim-nano", TIERS["sim-nano"], chat)
    assert len(answer.pieces) == 9


@pytest.mark.parametrize(
    ("choice", "called"),
    [(None, None), ("none", None), ("any", "weigh"), ("auto", None)],
)
def test_tools_are_called_where_they_are_asked_for(choice, called):
    asked = body(max_tokens=99, tools=[{"name": "weigh", "input_schema": {"type": "object"}}])
    if choice is not None:
        asked["tool_choice"] = {"type": choice}
    assert compose("m", TIERS["sim-nano"], to_chat(asked)).tool == called


def test_a_tool_by_name_and_its_result():
    tools = [{"name": name, "input_schema": {"type": "object"}} for name in ("weigh", "count")]
    named = body(tools=tools, tool_choice={"type": "tool", "name": "count"})
    assert compose("m", TIERS["sim-nano"], to_chat(named)).tool == "count"
    result = {"type": "tool_result", "tool_use_id": "t", "content": "3 kg"}
    chat = to_chat(body(messages=[TURN, REPLY, {"role": "user", "content": [result]}]))
    assert [each["role"] for each in chat["messages"]] == ["user", "assistant", "tool"]


def test_arguments_that_are_cut_are_still_an_object():
    answer = Answer(pieces=['{"ci'], finish_reason="length", tool="weigh")
    told = json.loads(completion_body("msg_1", "m", [answer], None))
    assert told["content"][0]["input"] == {}
    assert told["stop_reason"] == "max_tokens"
    assert "usage" not in told


def test_every_event_names_its_type_twice():
    answer = Answer(pieces=["a", "b"], finish_reason="stop")
    for _, framed in events("msg_1", "m", [answer], {"output_tokens": 2}):
        name, data, *rest = framed.split(b"\n")
        assert name == b"event: " + json.loads(data.removeprefix(b"data: "))["type"].encode()
        assert rest == [b"", b""]


def test_errors_have_no_code_of_their_own():
    told = json.loads(error_body("m", kind="server_error", code="rate_limit_exceeded"))
    assert told["error"] == {"type": "rate_limit_error", "message": "m"}
    assert json.loads(error_body("m", kind="server_error"))["error"]["type"] == "api_error"
