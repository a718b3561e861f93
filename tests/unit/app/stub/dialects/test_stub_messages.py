"""The stub refuses what the real Messages API refuses, so that translation is tested against it."""

import json

import pytest

from app.stub.answers.answer import Answer, Call
from app.stub.answers.compose import compose
from app.stub.dialects.base import Refused, Reply
from app.stub.dialects.messages import error_body, events, whole
from app.stub.dialects.messages_request import to_chat
from app.stub.tiers import TIERS

TURN = {"role": "user", "content": [{"type": "text", "text": "hi"}]}
REPLY = {"role": "assistant", "content": "Hello."}


def body(**fields: object) -> dict:
    return {"max_tokens": 9, "messages": [TURN], **fields}


USE = {"role": "assistant", "content": [{"type": "tool_use", "id": "t1", "name": "w", "input": {}}]}
RESULT = {"type": "tool_result", "tool_use_id": "t1", "content": "3 kg"}


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"messages": [TURN]}, "max_tokens: Field required"),
        (body(messages=[]), "first message"),
        (body(messages=[REPLY]), "first message"),
        (body(messages=[{"role": "tool", "content": ""}]), "first message"),
        (body(messages=[TURN, {"role": "tool", "content": ""}]), "roles"),
        (body(messages=[TURN, USE]), "`tool_use` ids were found without `tool_result`"),
        (body(messages=[TURN, USE, TURN]), "`tool_use` ids were found without `tool_result`"),
        (body(thinking={"type": "enabled", "budget_tokens": 9}), "budget_tokens"),
    ],
)
def test_what_the_real_api_refuses_is_refused(wrong, told):
    with pytest.raises(Refused, match=told):
        to_chat(wrong)


def test_neighbours_of_one_role_and_the_system_in_the_middle_are_taken():
    middle = {"role": "system", "content": "Be brief."}
    chat = to_chat(body(messages=[TURN, TURN, REPLY, TURN, middle]))
    assert compose("m", TIERS["sim-nano"], chat | {"max_tokens": 99}).text.count("“hi”") == 1


def test_a_prompt_and_its_limit_are_understood():
    chat = to_chat(body(system="Be brief.", messages=[TURN, REPLY, TURN]))
    assert [each["role"] for each in chat["messages"]] == ["system", "user", "assistant", "user"]
    answer = compose("sim-nano", TIERS["sim-nano"], chat)
    assert len(answer.pieces) == 9


WEIGH = {"name": "weigh", "input_schema": {"type": "object", "properties": {}}}
COUNT = {"name": "count", "input_schema": {"type": "object"}}


def called(asked):
    return [call.name for call in compose("m", TIERS["sim-nano"], to_chat(asked)).calls]


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        (None, []),
        ({"type": "none"}, []),
        ({"type": "auto"}, []),
        ({"type": "any"}, ["weigh"]),
        ({"type": "tool", "name": "count"}, ["count"]),
    ],
)
def test_tools_are_called_where_they_are_asked_for(choice, expected):
    asked = body(max_tokens=99, tools=[WEIGH, COUNT])
    if choice is not None:
        asked["tool_choice"] = choice
    assert called(asked) == expected


def test_tools_of_the_api_itself_are_not_called():
    search = {"type": "web_search_20260209", "name": "web_search"}
    assert called(body(tools=[search], tool_choice={"type": "any"})) == []


def test_parallel_use_can_be_switched_off():
    question = {"role": "user", "content": "weigh and count the apples"}
    asked = body(tools=[WEIGH, COUNT], messages=[question])
    assert called(asked) == ["weigh", "count"]
    asked["tool_choice"] = {"type": "auto", "disable_parallel_tool_use": True}
    assert called(asked) == ["weigh"]
    use = {"type": "tool_use", "id": "t1", "name": "weigh", "input": {}}
    asked["messages"] += [
        {"role": "assistant", "content": [use]},
        {"role": "user", "content": [RESULT]},
    ]
    assert called(asked) == ["count"]


def test_a_reminder_beside_results_is_no_new_question():
    question = {"role": "user", "content": "weigh the apples"}
    reminder = {"type": "text", "text": "<system-reminder>weigh nothing</system-reminder>"}
    use = {"type": "tool_use", "id": "t1", "name": "weigh", "input": {}}
    turns = [
        {"role": "assistant", "content": [use]},
        {"role": "user", "content": [RESULT, reminder]},
    ]
    chat = to_chat(body(max_tokens=99, messages=[question, *turns], tools=[WEIGH]))
    answer = compose("m", TIERS["sim-nano"], chat)
    assert not answer.calls
    assert "“weigh the apples”. The tool answered: “3 kg”." in answer.text


def reply(*answers, counts=None, **fields):
    return Reply(reply_id="msg_1", model="m", body=fields, answers=list(answers), counts=counts)


def test_arguments_that_are_no_json_are_still_an_object():
    calls = [Call(name="weigh", pieces=['{"ci'])]
    answer = Answer(pieces=[], finish_reason="length", calls=calls)
    told = json.loads(whole(reply(answer)))
    assert told["content"][0]["input"] == {}
    assert told["stop_reason"] == "max_tokens"
    assert "usage" not in told


@pytest.mark.parametrize(
    ("budget", "n_tokens"), [(1024, 24), (8000, 64), (20_000, 128), (50_000, 256)]
)
def test_a_budget_buys_thought_of_any_model(budget, n_tokens):
    thinking = {"type": "enabled", "budget_tokens": budget}
    chat = to_chat(body(max_tokens=99_000, thinking=thinking))
    assert len(compose("m", TIERS["sim-nano"], chat).thought) == n_tokens


def test_models_that_think_do_so_where_it_is_left_to_them():
    chat = to_chat(body(max_tokens=999, thinking={"type": "adaptive"}))
    assert not compose("m", TIERS["sim-nano"], chat).thought
    assert len(compose("m", TIERS["sim-large"], chat).thought) == 128
    chat = to_chat(
        body(max_tokens=999, thinking={"type": "adaptive"}, output_config={"effort": "low"})
    )
    assert len(compose("m", TIERS["sim-large"], chat).thought) == 24
    assert not compose("m", TIERS["sim-large"], to_chat(body(max_tokens=999))).thought


def test_a_stop_sequence_ends_the_answer_and_is_named():
    chat = to_chat(body(max_tokens=99, stop_sequences=["simulated", "§"]))
    answer = compose("m", TIERS["sim-nano"], chat)
    assert answer.text == "This is a "
    told = json.loads(whole(reply(answer)))
    assert (told["stop_reason"], told["stop_sequence"]) == ("stop_sequence", "simulated")


def test_every_event_names_its_type_twice():
    answer = Answer(pieces=["a", "b"], finish_reason="stop", thought=["hm"])
    for _, framed in events(reply(answer, counts={"output_tokens": 2})):
        name, data, *rest = framed.split(b"\n")
        assert name == b"event: " + json.loads(data.removeprefix(b"data: "))["type"].encode()
        assert rest == [b"", b""]


def test_errors_have_no_code_of_their_own():
    told = json.loads(error_body("m", kind="server_error", code="rate_limit_exceeded"))
    assert told["error"] == {"type": "rate_limit_error", "message": "m"}
    assert json.loads(error_body("m", kind="server_error"))["error"]["type"] == "api_error"
