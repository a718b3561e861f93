import json

import pytest

from app.errors import UpstreamUnsupportedError
from app.providers.messages.request import DEFAULT_MAX_TOKENS, encode_messages_request

HI = [{"role": "user", "content": "hi"}]
PNG = "data:image/png;base64,iVBORw0KGgo="
WEIGH = {
    "type": "function",
    "function": {
        "name": "weigh",
        "description": "Weigh an item.",
        "parameters": {"type": "object", "properties": {"item": {"type": "string"}}},
        "strict": True,
    },
}
BARE = {"type": "function", "function": {"name": "list_scales"}}


def translated(*, stream: bool = False, messages: object = HI, **fields: object) -> dict:
    encoded = {
        key: json.dumps(value).encode() for key, value in {"messages": messages, **fields}.items()
    }
    return json.loads(encode_messages_request(encoded, model="claude-x", stream=stream))


def turns(messages: list[dict]) -> list[dict]:
    return translated(messages=messages)["messages"]


def text(words: str) -> dict:
    return {"type": "text", "text": words}


def refused(**fields: object) -> UpstreamUnsupportedError:
    with pytest.raises(UpstreamUnsupportedError) as raised:
        translated(**fields)
    assert raised.value.retryable
    assert not raised.value.provider_fault
    assert not raised.value.sent
    return raised.value


def test_the_smallest_request():
    assert translated() == {
        "model": "claude-x",
        "max_tokens": DEFAULT_MAX_TOKENS,
        "messages": [{"role": "user", "content": [text("hi")]}],
    }


def test_a_whole_tool_loop_with_an_image():
    call = {"id": "call:1/a", "type": "function"}
    messages = [
        {"role": "system", "content": "Be brief."},
        {
            "role": "user",
            "name": "ada",
            "content": [
                {"type": "text", "text": "What is this?"},
                {"type": "image_url", "image_url": {"url": PNG, "detail": "high"}},
                {"type": "image_url", "image_url": {"url": "https://example.org/a.jpg"}},
            ],
        },
        {"role": "developer", "content": [{"type": "text", "text": "In French."}]},
        {
            "role": "assistant",
            "content": None,
            "reasoning_content": "unsigned, so not sent back",
            "tool_calls": [
                {**call, "function": {"name": "weigh", "arguments": '{"item": "lead", "n": 1.50}'}},
                {"id": "call_2", "type": "function", "function": {"name": "list", "arguments": ""}},
            ],
        },
        {"role": "tool", "tool_call_id": "call:1/a", "content": "3 kg"},
        {"role": "tool", "tool_call_id": "call_2", "content": [{"type": "text", "text": "[]"}]},
        {"role": "user", "content": "Well?"},
        {"role": "user", "content": "And?"},
    ]
    assert translated(messages=messages) == {
        "model": "claude-x",
        "max_tokens": DEFAULT_MAX_TOKENS,
        "system": [text("Be brief."), text("In French.")],
        "messages": [
            {
                "role": "user",
                "content": [
                    text("What is this?"),
                    {
                        "type": "image",
                        "source": {
                            "type": "base64",
                            "media_type": "image/png",
                            "data": "iVBORw0KGgo=",
                        },
                    },
                    {
                        "type": "image",
                        "source": {"type": "url", "url": "https://example.org/a.jpg"},
                    },
                ],
            },
            {
                "role": "assistant",
                "content": [
                    {
                        "type": "tool_use",
                        "id": "call_1_a",
                        "name": "weigh",
                        "input": {"item": "lead", "n": 1.5},
                    },
                    {"type": "tool_use", "id": "call_2", "name": "list", "input": {}},
                ],
            },
            {
                "role": "user",
                "content": [
                    {"type": "tool_result", "tool_use_id": "call_1_a", "content": [text("3 kg")]},
                    {"type": "tool_result", "tool_use_id": "call_2", "content": [text("[]")]},
                    text("Well?"),
                    text("And?"),
                ],
            },
        ],
    }


def test_signed_thinking_goes_back_first_and_untouched():
    thinking = {"type": "thinking", "thinking": "hm", "signature": "sig", "new_key": 1}
    message = {
        "role": "assistant",
        "content": "4",
        "thinking_blocks": [thinking, {"type": "redacted_thinking", "data": "x"}],
    }
    assert turns([*HI, message])[1]["content"] == [
        thinking,
        {"type": "redacted_thinking", "data": "x"},
        text("4"),
    ]


def test_what_is_empty_is_left_out():
    messages = [
        *HI,
        {"role": "assistant", "content": ""},
        {"role": "assistant", "content": [{"type": "text", "text": ""}]},
        {"role": "user", "content": [{"type": "text", "text": ""}, {"type": "text", "text": "?"}]},
    ]
    assert turns(messages) == [{"role": "user", "content": [text("hi"), text("?")]}]


def test_refusals_of_the_past_are_text():
    assert turns([*HI, {"role": "assistant", "content": None, "refusal": "No."}])[1] == {
        "role": "assistant",
        "content": [text("No.")],
    }


def test_files_become_documents():
    file = {"file_data": "data:application/pdf;base64,JVBERi0=", "filename": "a.pdf"}
    (turn,) = turns([{"role": "user", "content": [{"type": "file", "file": file}]}])
    assert turn["content"] == [
        {
            "type": "document",
            "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0="},
            "title": "a.pdf",
        }
    ]


def test_cache_marks_stay_where_they_are():
    mark = {"type": "ephemeral"}
    body = translated(
        messages=[
            {"role": "user", "content": [{"type": "text", "text": "a", "cache_control": mark}]}
        ],
        tools=[{**BARE, "cache_control": mark}],
        cache_control=mark,
    )
    assert body["messages"][0]["content"] == [{"type": "text", "text": "a", "cache_control": mark}]
    assert body["tools"][0]["cache_control"] == mark
    assert body["cache_control"] == mark


def test_tools():
    assert translated(tools=[WEIGH, BARE])["tools"] == [
        {
            "name": "weigh",
            "description": "Weigh an item.",
            "input_schema": WEIGH["function"]["parameters"],
            "strict": True,
        },
        {"name": "list_scales", "input_schema": {"type": "object", "properties": {}}},
    ]


@pytest.mark.parametrize(
    ("fields", "choice"),
    [
        ({}, None),
        ({"tool_choice": "auto"}, {"type": "auto"}),
        ({"tool_choice": "none"}, {"type": "none"}),
        ({"tool_choice": "required"}, {"type": "any"}),
        (
            {"tool_choice": {"type": "function", "function": {"name": "weigh"}}},
            {"type": "tool", "name": "weigh"},
        ),
        ({"parallel_tool_calls": True}, None),
        ({"parallel_tool_calls": False}, {"type": "auto", "disable_parallel_tool_use": True}),
        (
            {"parallel_tool_calls": False, "tool_choice": "required"},
            {"type": "any", "disable_parallel_tool_use": True},
        ),
        ({"parallel_tool_calls": False, "tool_choice": "none"}, {"type": "none"}),
    ],
)
def test_tool_choice(fields, choice):
    assert translated(tools=[WEIGH], **fields).get("tool_choice") == choice


def test_a_choice_without_tools_is_none():
    assert "tool_choice" not in translated(tools=[], tool_choice="auto", parallel_tool_calls=False)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"max_tokens": 7}, {"max_tokens": 7}),
        ({"max_tokens": 7, "max_completion_tokens": 9.0}, {"max_tokens": 9}),
        ({"temperature": 0.3}, {"temperature": 0.3}),
        ({"temperature": 1.7}, {}),
        ({"temperature": 1, "top_p": 1.0}, {}),
        ({"temperature": None}, {}),
        ({"top_p": 0.9, "top_k": 5}, {"top_p": 0.9, "top_k": 5}),
        ({"stop": "END"}, {"stop_sequences": ["END"]}),
        ({"stop": ["a", "b"]}, {"stop_sequences": ["a", "b"]}),
        ({"stop": None}, {}),
        ({"temperature": 0.3, "top_p": 1}, {"temperature": 0.3}),
        ({"user": "u-1"}, {"metadata": {"user_id": "u-1"}}),
        ({"user": "u-1", "safety_identifier": "s-1"}, {"metadata": {"user_id": "s-1"}}),
        ({"service_tier": "default"}, {"service_tier": "standard_only"}),
        ({"service_tier": "auto"}, {"service_tier": "auto"}),
        ({"thinking": {"type": "adaptive"}}, {"thinking": {"type": "adaptive"}}),
        (  # a budget has to be below the limit, which may have been cut meanwhile
            {"thinking": {"type": "enabled", "budget_tokens": 9000}, "max_tokens": 2000},
            {"thinking": {"type": "enabled", "budget_tokens": 1999}, "max_tokens": 2000},
        ),
        (
            {
                "thinking": {"type": "enabled", "budget_tokens": 9000},
                "max_tokens": 1024,
                "top_k": 5,
            },
            {"thinking": {"type": "disabled"}, "max_tokens": 1024, "top_k": 5},
        ),
        (
            {"reasoning_effort": "high"},
            {"thinking": {"type": "adaptive"}, "output_config": {"effort": "high"}},
        ),
        (
            {"reasoning_effort": "minimal"},
            {"thinking": {"type": "adaptive"}, "output_config": {"effort": "low"}},
        ),
        ({"reasoning_effort": "none"}, {"thinking": {"type": "disabled"}}),
        (
            {"reasoning_effort": "low", "thinking": {"type": "disabled"}},
            {"thinking": {"type": "disabled"}, "output_config": {"effort": "low"}},
        ),
        ({"response_format": {"type": "text"}}, {}),
        (
            {
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"name": "a", "strict": True, "schema": {"type": "object"}},
                }
            },
            {"output_config": {"format": {"type": "json_schema", "schema": {"type": "object"}}}},
        ),
        # At their defaults, or without a say in the answer.
        ({"n": 1, "logprobs": False, "presence_penalty": 0.0, "seed": None}, {}),
        ({"logit_bias": {}, "modalities": ["text"], "verbosity": "medium"}, {}),
        ({"store": True, "metadata": {"a": "b"}, "prompt_cache_key": "k"}, {}),
        ({"session_id": "s"}, {}),
        ({"stream_options": {"include_usage": True}}, {}),
    ],
)
def test_fields(fields, expected):
    body = translated(**fields)
    smallest = {key: value for key, value in translated().items() if key not in expected}
    assert body == {**smallest, **expected}


def test_streams_are_asked_for():
    assert translated(stream=True)["stream"] is True


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"n": 2}, "n"),
        ({"logprobs": True}, "logprobs"),
        ({"top_logprobs": 3}, "top_logprobs"),
        ({"seed": 7}, "seed"),
        ({"presence_penalty": 0.5}, "presence_penalty"),
        ({"frequency_penalty": -1}, "frequency_penalty"),
        ({"logit_bias": {"50256": -100}}, "logit_bias"),
        ({"modalities": ["text", "audio"]}, "modalities"),
        ({"audio": {"voice": "alloy"}}, "audio"),
        ({"verbosity": "low"}, "verbosity"),
        ({"functions": [{"name": "f"}]}, "functions"),
        ({"function_call": "auto"}, "function_call"),
        ({"response_format": "json"}, "response_format"),
        ({"reasoning_effort": "extreme"}, "reasoning_effort"),
        ({"reasoning_effort": 3}, "reasoning_effort"),
        ({"service_tier": "flex"}, "service_tier"),
        ({"stop": ["a", "\n"]}, "stop"),
        ({"tools": [{"type": "custom", "custom": {"name": "x"}}]}, "tools"),
        ({"tools": [{"type": "function", "function": {}}]}, "tools"),
        ({"tools": "weigh"}, "tools"),
        (
            {"tools": [WEIGH], "tool_choice": "required", "thinking": {"type": "adaptive"}},
            "tool_choice",
        ),
        ({"user": 7}, "user"),
        ({"tools": [WEIGH], "tool_choice": {"type": "allowed_tools"}}, "tool_choice"),
        ({"tools": [WEIGH], "tool_choice": "sometimes"}, "tool_choice"),
        ({"best_of": 3}, "best_of"),
        ({"messages": "hi"}, "messages"),
    ],
)
def test_what_has_no_counterpart_is_refused_by_name(fields, param):
    error = refused(**fields)
    assert error.param == param
    assert param in error.message or "tools" in error.message


@pytest.mark.parametrize(
    "message",
    [
        {"role": "assistant", "content": None, "audio": {"id": "a"}},
        {"role": "assistant", "content": [{"type": "image_url", "image_url": {"url": PNG}}]},
        {"role": "system", "content": [{"type": "image_url", "image_url": {"url": PNG}}]},
        {"role": "assistant", "tool_calls": [{"id": "1", "function": {"name": ""}}]},
        {"role": "user", "content": [{"type": "input_audio", "input_audio": {"data": ""}}]},
        {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "http://x/a"}}]},
        {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:,x"}}]},
        {
            "role": "user",
            "content": [
                {"type": "image_url", "image_url": {"url": "data:image/tiff;base64,SUkqAA=="}}
            ],
        },
        {"role": "user", "content": [{"type": "file", "file": {"file_id": "file-1"}}]},
        {"role": "assistant", "tool_calls": [{"id": "1", "type": "custom", "custom": {}}]},
    ],
)
def test_content_without_a_counterpart_is_refused_with_its_place(message):
    error = refused(messages=[*HI, message])
    assert error.param == "messages"
    assert error.message.startswith("messages[1]: ")


@pytest.mark.parametrize(
    ("tool", "said"),
    [
        ({"name": "a.b"}, "names of letters"),
        ({"name": ""}, "names of letters"),
        ({"name": "x" * 129}, "names of letters"),
        ({"name": "f", "parameters": {"type": "string"}}, "schema of an object"),
        ({"name": "f", "parameters": {"type": ["string", "null"]}}, "schema of an object"),
        ({"name": "f", "parameters": []}, "schema of an object"),
        ({"name": "f", "parameters": {"type": "object", "anyOf": []}}, "no anyOf at the root"),
    ],
)
def test_a_tool_that_the_api_would_refuse_is_refused_with_its_place(tool, said):
    error = refused(tools=[WEIGH, {"type": "function", "function": tool}])
    assert error.param == "tools"
    assert error.message.startswith("tools[1]: ")
    assert said in error.message


NO_PARAMETERS = {"type": "object", "properties": {}}
ITEM = {"item": {"type": "string"}}


@pytest.mark.parametrize(
    ("parameters", "schema"),
    [
        (None, NO_PARAMETERS),
        ({}, NO_PARAMETERS),
        ({"properties": ITEM}, {"properties": ITEM, "type": "object"}),
        ({"type": None, "properties": ITEM}, {"type": "object", "properties": ITEM}),
        ({"type": ["object", "null"]}, {"type": "object"}),
    ],
)
def test_a_schema_says_that_it_is_of_an_object(parameters, schema):
    tool = {"type": "function", "function": {"name": "f", "parameters": parameters}}
    assert translated(tools=[tool])["tools"][0]["input_schema"] == schema


@pytest.mark.parametrize(
    "choice", ["required", {"type": "function", "function": {"name": "weigh"}}]
)
def test_a_tool_that_must_be_called_comes_before_thinking(choice):
    body = translated(tools=[WEIGH], tool_choice=choice, reasoning_effort="high", temperature=0.2)
    assert "thinking" not in body
    assert body["tool_choice"]["type"] in ("any", "tool")
    assert body["output_config"] == {"effort": "high"}
    assert body["temperature"] == 0.2


@pytest.mark.parametrize(
    "thinks",
    [{"reasoning_effort": "low"}, {"thinking": {"type": "enabled", "budget_tokens": 1024}}],
)
def test_sampling_gives_way_to_thinking(thinks):
    body = translated(temperature=0.2, top_p=0.5, top_k=3, **thinks)
    assert "thinking" in body
    assert not {"temperature", "top_p", "top_k"} & set(body)


def test_a_json_object_is_asked_for_in_words():
    system = [{"role": "system", "content": "Be brief."}]
    body = translated(messages=system + HI, response_format={"type": "json_object"})
    assert "output_config" not in body
    first, last = body["system"]
    assert first == text("Be brief.")
    assert "one JSON object" in last["text"]


@pytest.mark.parametrize("user", ["ada@example.org", "+41 44 123 45 67", "0441234567", "x" * 300])
def test_what_may_tell_who_a_person_is_goes_out_as_a_digest(user):
    told = translated(user=user)["metadata"]["user_id"]
    assert len(told) == 64
    assert told == translated(safety_identifier=user)["metadata"]["user_id"]
    assert told != translated(user=user + "1")["metadata"]["user_id"]
