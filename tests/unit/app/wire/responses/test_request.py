"""A Responses body as a chat body."""

import msgspec
import pytest

from app.errors import InvalidRequestError
from app.wire.responses.request import ChatForm, chat_form
from app.wire.responses.sealed import seal


def form(**body: object) -> ChatForm:
    return chat_form({name: msgspec.json.encode(value) for name, value in body.items()})


def chat(**body: object) -> dict[str, object]:
    return {k: msgspec.json.decode(v) for k, v in form(**body).fields.items()}


def test_a_string_is_the_users_message_after_the_instructions():
    assert chat(model="auto", input="Hi", instructions="Be brief.") == {
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "Hi"},
        ]
    }


def test_calls_of_one_turn_become_one_message_and_results_follow_it():
    messages = chat(
        input=[
            {"role": "user", "content": [{"type": "input_text", "text": "Weather?"}]},
            {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "foreign"},
            {
                "type": "message",
                "role": "assistant",
                "content": [{"type": "output_text", "text": "I look."}],
            },
            {"type": "function_call", "call_id": "c1", "name": "w", "arguments": '{"city":"A"}'},
            {"type": "function_call", "call_id": "c2", "name": "w", "arguments": '{"city":"B"}'},
            {"type": "function_call_output", "call_id": "c1", "output": "warm"},
            {"type": "function_call_output", "call_id": "c2", "output": "cold"},
        ]
    )["messages"]
    assert messages == [
        {"role": "user", "content": "Weather?"},
        {
            "role": "assistant",
            "content": "I look.",
            "tool_calls": [
                {
                    "id": f"c{i}",
                    "type": "function",
                    "function": {"name": "w", "arguments": f'{{"city":"{city}"}}'},
                }
                for i, city in ((1, "A"), (2, "B"))
            ],
        },
        {"role": "tool", "tool_call_id": "c1", "content": "warm"},
        {"role": "tool", "tool_call_id": "c2", "content": "cold"},
    ]


def test_pictures_in_results_follow_the_last_of_them():
    picture = {"type": "input_image", "image_url": "data:image/png;base64,AA"}
    messages = chat(
        input=[
            {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}"},
            {"type": "function_call", "call_id": "c2", "name": "f", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "c1", "output": [picture]},
            {"type": "function_call_output", "call_id": "c2", "output": "text"},
            {"role": "user", "content": "So?"},
        ]
    )["messages"]
    assert [each["role"] for each in messages] == ["assistant", "tool", "tool", "user", "user"]
    assert messages[3]["content"] == [
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA"}}
    ]


def test_text_between_a_call_and_its_result_stays_in_the_calls_message():
    messages = chat(
        input=[
            {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}"},
            {"role": "assistant", "content": "One moment."},
            {"type": "function_call_output", "call_id": "c1", "output": "1"},
        ]
    )["messages"]
    assert [each["role"] for each in messages] == ["assistant", "tool"]
    assert messages[0]["content"] == "One moment."


def test_thinking_that_was_sealed_for_the_model_goes_back_to_it():
    blocks = [{"type": "thinking", "thinking": "hm", "signature": "sig"}]
    sealed = seal({"thinking_blocks": blocks})
    messages = chat(
        input=[
            {"type": "reasoning", "id": "rs", "summary": [], "encrypted_content": sealed},
            {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}"},
        ]
    )["messages"]
    assert messages[0]["thinking_blocks"] == blocks


@pytest.mark.parametrize("field", ["reasoning_content", "reasoning"])
def test_thinking_of_a_chat_server_goes_back_to_it_within_its_tool_loop_alone(field):
    thought = {
        "type": "reasoning",
        "summary": [{"type": "summary_text", "text": "hm"}],
        "encrypted_content": seal({}, field=field),
    }
    loop = [
        thought,
        {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c1", "output": "9"},
    ]
    within = chat(input=[{"role": "user", "content": "go"}, *loop])["messages"]
    assert [message.get(field) for message in within] == [None, "hm", None]
    over = chat(input=[*loop, {"role": "user", "content": "and?"}, *loop])["messages"]
    assert [message.get(field) for message in over] == [None, None, None, "hm", None]


@pytest.mark.parametrize(
    ("thought", "lost"),
    [
        ({"summary": [], "encrypted_content": "of-another-vendor"}, True),
        ({"summary": [{"type": "summary_text", "text": "hm"}]}, True),
        ({"summary": []}, False),
        ({"summary": [], "encrypted_content": seal({"thinking_blocks": [{"a": 1}]})}, False),
    ],
)
def test_thinking_that_nobody_can_have_back_is_told_as_left_out(thought, lost):
    made = form(
        input=[{"type": "reasoning", "id": "rs", **thought}, {"role": "user", "content": "x"}]
    )
    assert ("input.reasoning" in made.left_out) == lost


def test_tools_are_flattened_and_found_again():
    made = form(
        input="x",
        tools=[
            {"type": "function", "name": "f", "parameters": {"type": "object"}, "strict": False},
            {
                "type": "namespace",
                "name": "files",
                "description": "",
                "tools": [{"type": "function", "name": "read", "parameters": {}}],
            },
            {
                "type": "custom",
                "name": "apply_patch",
                "description": "Patch.",
                "format": {"type": "grammar", "syntax": "lark", "definition": "start: A"},
            },
            {"type": "web_search"},
        ],
    )
    tools = msgspec.json.decode(made.fields["tools"])
    names = [each["function"]["name"] for each in tools]
    assert names == ["f", "files__read", "apply_patch"]
    assert made.names.tool("files__read") == ("read", "files", "function")
    assert made.names.tool("apply_patch").kind == "custom"
    assert tools[2]["function"]["description"].endswith("lark grammar:\n\nstart: A")
    assert made.left_out == ("tools.web_search",)


def test_the_choice_among_tools_is_told_in_their_flat_names():
    tools = [
        {"type": "function", "name": name, "parameters": {}} for name in ("long.name", "other")
    ]
    body = chat(input="x", tools=tools, tool_choice={"type": "function", "name": "long.name"})
    assert body["tool_choice"]["function"]["name"] == body["tools"][0]["function"]["name"]
    body = chat(
        input="x",
        tools=tools,
        tool_choice={
            "type": "allowed_tools",
            "mode": "required",
            "tools": [{"type": "function", "name": "other"}],
        },
    )
    assert body["tool_choice"] == "required"
    assert [each["function"]["name"] for each in body["tools"]] == ["other"]


def test_what_has_another_name_is_renamed():
    body = chat(
        input="x",
        stream=True,
        max_output_tokens=50,
        reasoning={"effort": "low", "summary": "auto"},
        text={
            "format": {"type": "json_schema", "name": "n", "schema": {"type": "object"}},
            "verbosity": "low",
        },
        include=["message.output_text.logprobs"],
        temperature=0.5,
        store=False,
        metadata={"a": "b"},
        client_metadata={"c": "d"},
        prompt_cache_key="k",
    )
    del body["messages"]
    assert body == {
        "stream": True,
        "stream_options": {"include_usage": True},
        "max_completion_tokens": 50,
        "reasoning_effort": "low",
        "verbosity": "low",
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "n", "schema": {"type": "object"}},
        },
        "logprobs": True,
        "temperature": 0.5,
        "prompt_cache_key": "k",
    }


def test_what_chat_has_no_word_for_is_told():
    made = form(input="x", truncation="auto", max_tool_calls=3, reasoning={"context": "x"})
    assert set(made.left_out) == {"truncation", "max_tool_calls", "reasoning.context"}


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "input"),
        ({"input": 3}, "input"),
        ({"input": [3]}, "input[0]"),
        ({"input": [{"role": "robot", "content": ""}]}, "input[0].role"),
        ({"input": [{"content": "x"}]}, "input[0]"),
        ({"input": [{"type": "item_reference", "id": "msg_1"}]}, "input"),
        ({"input": [{"type": "function_call", "call_id": "c", "name": "f"}]}, "input[0].arguments"),
        ({"input": "x", "background": True}, "background"),
        ({"input": "x", "conversation": "conv_1"}, "conversation"),
        ({"input": "x", "tools": {}}, "tools"),
        ({"input": "x", "tools": [{"type": "function"}]}, "tools[0].name"),
        ({"input": "x", "text": {"format": {"type": "xml"}}}, "text.format"),
        (
            {
                "input": "x",
                "tools": [{"type": "function", "name": "f"}],
                "tool_choice": {"type": "function", "name": "g"},
            },
            "tool_choice",
        ),
    ],
)
def test_what_is_no_request_is_refused_with_the_field_at_fault(body, param):
    with pytest.raises(InvalidRequestError) as caught:
        form(**body)
    assert caught.value.param == param
