"""Requests of the Messages API told to chat servers: what each thing becomes, what is left out."""

import json

import msgspec
import pytest

from app.errors import UpstreamUnsupportedError
from app.wire.messages.names import ToolNames, id_for_chat, id_for_client
from app.wire.messages.request import to_chat
from app.wire.messages.seal import may_hold_unsigned, seal_of
from app.wire.messages.shapes import DECODERS, Asked
from app.wire.messages.tools import fits_strict

IMAGE = {
    "type": "image",
    "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="},
}
SHOWN = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}
TOOL = {
    "name": "read",
    "description": "Reads.",
    "input_schema": {"type": "object", "properties": {"path": {"type": "string"}}},
}


def form_of(**body):
    fields = {key: json.dumps(value).encode() for key, value in {"max_tokens": 10, **body}.items()}
    return to_chat(
        Asked(
            fields=fields,
            turns=DECODERS["messages"].decode(fields["messages"]),
            system=DECODERS["system"].decode(fields.get("system", b"null")),
            tools=DECODERS["tools"].decode(fields.get("tools", b"null")) or [],
        )
    )


def chat(**body):
    return {key: json.loads(value) for key, value in form_of(**body).fields.items()}


def messages(*turns, **body):
    return chat(messages=[{"role": role, "content": content} for role, content in turns], **body)[
        "messages"
    ]


def text(words, **more):
    return {"type": "text", "text": words, **more}


def use(call_id, name="read", **given):
    return {"type": "tool_use", "id": call_id, "name": name, "input": given}


def result(call_id, content="ok", **more):
    return {"type": "tool_result", "tool_use_id": call_id, "content": content, **more}


def tool_message(call_id, content="ok"):
    return {"role": "tool", "tool_call_id": call_id, "content": content}


def test_texts_stay_apart_by_a_blank_line_and_empty_ones_are_left_out():
    told = messages(
        ("user", [text("a"), text(""), text("b")]),
        ("assistant", "c"),
        ("user", "d"),
        system=[text("be brief", cache_control={"type": "ephemeral"}), text("be kind")],
    )
    assert told == [
        {"role": "system", "content": "be brief\n\nbe kind"},
        {"role": "user", "content": "a\n\nb"},
        {"role": "assistant", "content": "c"},
        {"role": "user", "content": "d"},
    ]


def test_a_system_turn_stays_where_it_is():
    told = messages(("user", "a"), ("system", "note"), ("user", "b"))
    assert [each["role"] for each in told] == ["user", "system", "user"]


def test_every_result_follows_the_calls_directly_whatever_stands_between():
    told = messages(
        ("user", "go"),
        ("assistant", [text("I look."), use("a", path="x"), use("b")]),
        ("system", "note"),
        ("user", [result("b", "two")]),
        ("user", [result("a", "one"), text("and now?")]),
    )
    assert told[1]["tool_calls"] == [
        {"id": "a", "type": "function", "function": {"name": "read", "arguments": '{"path": "x"}'}},
        {"id": "b", "type": "function", "function": {"name": "read", "arguments": "{}"}},
    ]
    assert told[2:] == [
        tool_message("b", "two"),
        tool_message("a", "one"),
        {"role": "system", "content": "note"},
        {"role": "user", "content": "and now?"},
    ]


def test_pictures_of_results_come_in_one_message_after_the_last_result():
    told = messages(
        ("user", "go"),
        ("assistant", [use("a"), use("b")]),
        ("user", [result("a", [text("see"), IMAGE]), result("b", [IMAGE]), text("compare")]),
    )
    assert [each["role"] for each in told] == ["user", "assistant", "tool", "tool", "user"]
    shown = told[-1]["content"]
    assert [part for part in shown if part["type"] == "image_url"] == [SHOWN, SHOWN]
    assert shown[-1] == text("compare")
    assert told[2]["content"].startswith("see\n\n")
    assert "a" in shown[0]["text"]


def test_an_error_of_a_tool_is_said_in_its_text():
    told = messages(
        ("user", "go"),
        ("assistant", [use("a"), use("b")]),
        ("user", [result("a", "no such file", is_error=True), result("b", None, is_error=True)]),
    )
    assert told[2] == tool_message("a", "Error: no such file")
    assert told[3]["content"].startswith("Error: ")


def test_a_call_without_result_and_a_result_without_call_are_told_as_servers_take_them():
    told = messages(
        ("user", [result("gone", "late")]), ("assistant", [use("a")]), ("user", "never mind")
    )
    assert told[0]["role"] == "user"
    assert "late" in told[0]["content"]
    assert told[2]["role"] == "tool"
    assert "not carried out" in told[2]["content"]
    assert told[3] == {"role": "user", "content": "never mind"}


def test_neighbouring_assistant_turns_are_one():
    told = messages(("user", "go"), ("assistant", "one"), ("assistant", [use("a")]))
    assert [each["role"] for each in told] == ["user", "assistant", "tool"]
    assert told[1]["content"] == "one"
    assert told[1]["tool_calls"]


def test_thinking_of_a_chat_server_goes_back_to_it_within_its_tool_loop_alone():
    def turn(thought, call_id):
        seal = seal_of("reasoning_content")
        return [{"type": "thinking", "thinking": thought, "signature": seal}, use(call_id)]

    told = messages(
        ("user", "one"),
        ("assistant", turn("old", "a")),
        ("user", [result("a")]),
        ("assistant", "done"),
        ("user", "two"),
        ("assistant", turn("new", "b")),
        ("user", [result("b")]),
        ("system", "note"),
    )
    assert [each.get("reasoning_content") for each in told if each["role"] == "assistant"] == [
        None,
        None,
        "new",
    ]


def test_signed_thinking_never_reaches_a_chat_server():
    form = form_of(
        messages=[
            {"role": "user", "content": "go"},
            {
                "role": "assistant",
                "content": [
                    {"type": "thinking", "thinking": "hm", "signature": "EqQB"},
                    {"type": "redacted_thinking", "data": "abc"},
                    use("a"),
                ],
            },
            {"role": "user", "content": [result("a")]},
        ]
    )
    assert "messages.thinking" in form.left_out
    assert b"EqQB" not in form.fields["messages"]
    assert b"hm" not in form.fields["messages"]


def test_tools_choice_and_the_wish_for_one_call_at_a_time():
    told = chat(
        messages=[{"role": "user", "content": "go"}],
        tools=[TOOL],
        tool_choice={"type": "any", "disable_parallel_tool_use": True},
    )
    function = {"name": "read", "description": "Reads.", "parameters": TOOL["input_schema"]}
    assert told["tools"] == [{"type": "function", "function": function}]
    assert told["tool_choice"] == "required"
    assert told["parallel_tool_calls"] is False


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ({"type": "auto"}, "auto"),
        ({"type": "none"}, "none"),
        ({"type": "tool", "name": "read"}, {"type": "function", "function": {"name": "read"}}),
    ],
)
def test_each_choice(choice, expected):
    told = chat(messages=[{"role": "user", "content": "go"}], tools=[TOOL], tool_choice=choice)
    assert told["tool_choice"] == expected


def test_tools_of_anthropics_servers_are_left_out_and_those_of_the_client_described():
    ask = [{"role": "user", "content": "go"}]
    search = {"type": "web_search_20250305", "name": "web_search"}
    bash = {"type": "bash_20250124", "name": "bash"}
    form = form_of(messages=ask, tools=[TOOL, search, bash])
    names = [each["function"]["name"] for each in json.loads(form.fields["tools"])]
    assert names == ["read", "bash"]
    assert form.left_out == ("tools.web_search_20250305",)
    for choice in ({"type": "tool", "name": "web_search"}, {"type": "any"}):
        with pytest.raises(UpstreamUnsupportedError) as caught:
            form_of(messages=ask, tools=[search], tool_choice=choice)
        assert caught.value.param == "tool_choice"


def test_strict_is_passed_on_only_with_a_schema_that_openai_takes():
    closed = {
        "type": "object",
        "properties": {"a": {"type": "string"}},
        "required": ["a"],
        "additionalProperties": False,
    }
    ask = [{"role": "user", "content": "go"}]
    strict = form_of(messages=ask, tools=[{"name": "a", "input_schema": closed, "strict": True}])
    assert json.loads(strict.fields["tools"])[0]["function"]["strict"] is True
    loose = form_of(
        messages=ask,
        tools=[{"name": "a", "input_schema": {**closed, "required": []}, "strict": True}],
    )
    assert "strict" not in json.loads(loose.fields["tools"])[0]["function"]
    assert loose.left_out == ("tools.strict",)


def test_how_the_answer_has_to_be():
    schema = {"type": "object", "properties": {"a": {"type": "string"}}}
    told = chat(
        messages=[{"role": "user", "content": "go"}],
        max_tokens=77,
        stop_sequences=["END"],
        temperature=0.5,
        top_p=0.9,
        stream=True,
        metadata={"user_id": "u-1"},
        output_config={"effort": "high", "format": {"type": "json_schema", "schema": schema}},
    )
    assert told["response_format"]["json_schema"]["schema"] == schema
    assert told["response_format"]["json_schema"]["strict"] is False
    expected = {
        "max_tokens": 77,
        "stop": ["END"],
        "temperature": 0.5,
        "top_p": 0.9,
        "stream": True,
        "user": "u-1",
        "reasoning_effort": "high",
    }
    assert {key: told[key] for key in expected} == expected


@pytest.mark.parametrize(
    ("thinking", "effort"),
    [
        ({"type": "enabled", "budget_tokens": 1024}, "low"),
        ({"type": "enabled", "budget_tokens": 10_000}, "medium"),
        ({"type": "enabled", "budget_tokens": 32_000}, "high"),
        ({"type": "adaptive"}, None),
    ],
)
def test_a_budget_of_thinking_becomes_an_effort(thinking, effort):
    told = chat(messages=[{"role": "user", "content": "go"}], thinking=thinking)
    assert told.get("reasoning_effort") == effort


def test_long_names_of_users_are_told_as_their_digest():
    told = chat(messages=[{"role": "user", "content": "go"}], metadata={"user_id": "u" * 65})
    assert len(told["user"]) == 64
    assert told["user"] != "u" * 64


def test_no_output_at_all_asks_for_the_least_there_is():
    assert chat(messages=[{"role": "user", "content": "go"}], max_tokens=0)["max_tokens"] == 1


def test_what_only_steers_anthropics_service_is_left_out_and_named():
    form = form_of(
        messages=[{"role": "user", "content": [text("a", cache_control={"type": "ephemeral"})]}],
        top_k=5,
        speed="fast",
        context_management={"edits": []},
        tools=[],
        future_field=1,
        mcp_servers=[],
        stop_sequences=list("abcde"),
        thinking={"type": "disabled"},
    )
    assert set(form.left_out) == {
        *("cache_control", "top_k", "speed", "context_management", "future_field"),
        *("stop_sequences[4:]", "thinking"),
    }
    assert form.fields.keys() == {"messages", "max_tokens", "stop"}


@pytest.mark.parametrize(
    "body",
    [
        {"mcp_servers": [{"name": "a"}]},
        {"container": "c-1"},
        {"thread": {"type": "continue", "previous_message_id": "msg_1"}},
        {"output_config": {"format": {"type": "grammar"}}},
        {"tools": [TOOL], "tool_choice": {"type": "future"}},
        {"tools": [TOOL], "tool_choice": {"type": "tool", "name": "other"}},
        {"stop_sequences": "a"},
        {"thinking": 5},
        {"metadata": [None]},
        {"output_config": {"effort": 5}},
    ],
)
def test_what_the_answer_hangs_on_is_refused_with_its_name(body):
    with pytest.raises(UpstreamUnsupportedError) as caught:
        form_of(messages=[{"role": "user", "content": "go"}], **body)
    assert caught.value.param in {*body, "tool_choice"}
    assert caught.value.param in caught.value.message
    assert caught.value.retryable


@pytest.mark.parametrize(
    "block",
    [
        {"type": "image", "source": {"type": "file", "file_id": "f"}},
        {"type": "document", "source": {"type": "url", "url": "https://x/a.pdf"}},
        {"type": "container_upload", "file_id": "f"},
        {"type": "of_the_future"},
    ],
)
def test_content_that_no_chat_server_can_see_is_refused(block):
    with pytest.raises(UpstreamUnsupportedError) as caught:
        messages(("user", [block]))
    assert caught.value.param == "messages"


def test_documents_and_search_results():
    (told,) = messages(
        (
            "user",
            [
                {
                    "type": "document",
                    "title": "Notes",
                    "source": {"type": "text", "media_type": "text/plain", "data": "words"},
                },
                {
                    "type": "search_result",
                    "title": "Found",
                    "source": "https://x",
                    "content": [text("there")],
                },
                {
                    "type": "document",
                    "source": {"type": "content", "content": [text("inner"), IMAGE]},
                },
                {
                    "type": "document",
                    "title": "a.pdf",
                    "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBE"},
                },
            ],
        )
    )
    notes, found, inner, image, pdf = told["content"]
    assert notes == text("# Notes\n\nwords")
    assert found == text("# Found\n\nhttps://x\n\nthere")
    assert (inner, image) == (text("inner"), SHOWN)
    file = {"filename": "a.pdf", "file_data": "data:application/pdf;base64,JVBE"}
    assert pdf == {"type": "file", "file": file}


def test_examples_of_a_tools_input_are_told_in_words():
    told = chat(
        messages=[{"role": "user", "content": [text("go", cache_control=None, citations=[])]}],
        tools=[{**TOOL, "input_examples": [{"path": "a"}]}, {**TOOL, "input_examples": []}],
    )
    first, second = (each["function"]["description"] for each in told["tools"])
    assert first == 'Reads.\n\nExamples of its input: [{"path": "a"}]'
    assert second == "Reads."


def test_an_input_of_null_is_an_empty_one():
    told = messages(
        ("user", "go"), ("assistant", [{**use("a"), "input": None}]), ("user", [result("a")])
    )
    assert told[1]["tool_calls"][0]["function"]["arguments"] == "{}"


def test_names_that_chat_servers_refuse_are_told_otherwise_and_back():
    names = ["mcp__server__" + "x" * 80, "mcp__server__" + "x" * 81, "a.b:c", "a_b_c", "plain"]
    mapped = ToolNames(names)
    told = [mapped.to_chat(name) for name in names]
    assert len(set(told)) == len(names)
    assert all(len(each) <= 64 and each.replace("-", "_").isidentifier() for each in told)
    assert [mapped.from_chat(each) for each in told] == names
    assert told[3:] == names[3:]
    assert ToolNames(reversed(names)).to_chat("a.b:c") == told[2]


def test_tools_choice_and_history_use_the_same_name():
    told = chat(
        messages=[
            {"role": "user", "content": "go"},
            {"role": "assistant", "content": [use("a", name="fs.read")]},
            {"role": "user", "content": [result("a")]},
        ],
        tools=[{**TOOL, "name": "fs.read"}],
        tool_choice={"type": "tool", "name": "fs.read"},
    )
    (tool,) = told["tools"]
    name = tool["function"]["name"]
    assert told["messages"][1]["tool_calls"][0]["function"]["name"] == name
    assert told["tool_choice"]["function"]["name"] == name
    assert "." not in name


@pytest.mark.parametrize(
    "call_id", ["functions.read:0", "", "call_" + "x" * 80, "call_b64_zz", "ünï", "toolu_01A"]
)
def test_ids_of_calls_come_back_as_their_server_gave_them(call_id):
    given = id_for_client(call_id)
    assert given == call_id or given.replace("-", "_").isidentifier()
    assert id_for_chat(given) == call_id


def test_ids_that_are_too_long_for_chat_servers_stay_the_same_wherever_they_stand():
    told = messages(("user", "go"), ("assistant", [use("x" * 41)]), ("user", [result("x" * 41)]))
    assert told[1]["tool_calls"][0]["id"] == told[2]["tool_call_id"]
    assert len(told[2]["tool_call_id"]) <= 40


@pytest.mark.parametrize(
    ("blocks", "expected"),
    [
        ([{"type": "thinking", "thinking": "a", "signature": "sig"}], False),
        ([{"type": "thinking", "thinking": "a", "signature": ""}], True),
        ([{"type": "thinking", "thinking": "a"}], True),
        ([{"type": "thinking", "thinking": "a", "signature": seal_of("reasoning")}], True),
        ([{"type": "redacted_thinking", "data": ""}], True),
        ([{"type": "redacted_thinking", "data": "x"}], False),
        ([{"type": "text", "text": '{"type":"thinking","signature":""}'}], False),
    ],
)
def test_thinking_without_its_seal_is_found(blocks, expected):
    raw = msgspec.json.encode([{"role": "assistant", "content": blocks}])
    assert may_hold_unsigned(raw) is expected


@pytest.mark.parametrize("required", [5, "a", [[]], [None], {"a": 1}])
def test_a_schema_that_is_none_is_not_strict(required):
    schema = {"type": "object", "properties": {"a": {}, "b": {}}, "additionalProperties": False}
    assert not fits_strict(msgspec.Raw(msgspec.json.encode({**schema, "required": required})))
