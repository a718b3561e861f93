import json

import pytest

from app.api.wire import parse_chat_request
from app.errors import InvalidRequestError
from routers.types import Capability, CostQuality, Role


def body(**fields):
    return json.dumps(
        {"model": "auto", "messages": [{"role": "user", "content": "Hello"}], **fields}
    ).encode()


def test_only_routing_fields_are_taken_out_and_the_rest_keeps_its_bytes():
    raw = (
        b'{"model":"auto", "routing": {"cost_quality": 0.4},'
        b'"messages":[{"role":"user","content":"h\\u00e9llo","name":"x"}],'
        b'"seed":12345678901234567890123, "temperature":0.10, "x_unknown" : {"a":[1.0, null]}}'
    )
    request = parse_chat_request(raw)
    assert {key: bytes(value) for key, value in request.fields.items()} == {
        "messages": b'[{"role":"user","content":"h\\u00e9llo","name":"x"}]',
        "seed": b"12345678901234567890123",
        "temperature": b"0.10",
        "x_unknown": b'{"a":[1.0, null]}',
    }
    assert request.knobs.objective == CostQuality(0.4)
    assert request.conversation.messages[0].text == "héllo"


def test_text_is_read_from_strings_parts_refusals_and_tool_results():
    request = parse_chat_request(
        body(
            messages=[
                {"role": "developer", "content": "Be brief."},
                {
                    "role": "user",
                    "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}],
                },
                {"role": "assistant", "content": None, "refusal": "no"},
                {"role": "tool", "tool_call_id": "t", "content": "42"},
                {"role": "critic", "content": "hm"},
            ]
        )
    )
    assert [(m.role, m.text) for m in request.conversation.messages] == [
        (Role.SYSTEM, "Be brief."),
        (Role.USER, "a\nb"),
        (Role.ASSISTANT, "no"),
        (Role.TOOL, "42"),
        (Role.USER, "hm"),
    ]


@pytest.mark.parametrize(
    ("fields", "capability"),
    [
        ({"stream": True}, Capability.STREAMING),
        ({"tools": [{"type": "function"}]}, Capability.TOOLS),
        ({"functions": [{"name": "f"}]}, Capability.TOOLS),
        (
            {"messages": [{"role": "assistant", "tool_calls": [{"id": "1"}]}]},
            Capability.TOOLS,
        ),
        ({"response_format": {"type": "json_schema", "json_schema": {}}}, Capability.JSON_SCHEMA),
        ({"modalities": ["text", "audio"]}, Capability.AUDIO),
        (
            {
                "messages": [
                    {"role": "user", "content": [{"type": "input_audio", "input_audio": {}}]}
                ]
            },
            Capability.AUDIO,
        ),
        (
            {
                "messages": [
                    {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "u"}}]}
                ]
            },
            Capability.VISION,
        ),
    ],
)
def test_what_a_request_needs_of_a_model_is_noticed(fields, capability):
    assert parse_chat_request(body(**fields)).demand.capabilities == {capability}


@pytest.mark.parametrize(
    "fields",
    [
        {"tools": []},
        {"tools": None, "functions": None, "stream": None, "n": None, "modalities": ["text"]},
        {"response_format": {"type": "json_object"}},
        {"stream": False, "stream_options": None, "routing": None},
    ],
)
def test_empty_and_null_fields_ask_for_nothing(fields):
    demand = parse_chat_request(body(**fields)).demand
    assert demand.capabilities == frozenset()
    assert demand.n_answers == 1


def test_images_and_tools_count_as_prompt_tokens():
    plain = parse_chat_request(body()).demand
    tools = parse_chat_request(body(tools=[{"description": "x" * 400}])).demand
    content = [{"type": "text", "text": "Hello"}, {"type": "image_url", "image_url": {"url": "u"}}]
    image = parse_chat_request(body(messages=[{"role": "user", "content": content}])).demand
    content[1]["image_url"]["detail"] = "low"
    low = parse_chat_request(body(messages=[{"role": "user", "content": content}])).demand
    assert tools.input_tokens >= plain.input_tokens + 100
    assert tools.input_tokens_upper > tools.input_tokens
    assert image.input_tokens >= plain.input_tokens + 765
    assert plain.input_tokens < low.input_tokens < image.input_tokens


def test_the_newer_output_limit_wins():
    demand = parse_chat_request(body(max_tokens=10, max_completion_tokens=20, n=3)).demand
    assert demand.max_output_tokens == 20
    assert demand.n_answers == 3


@pytest.mark.parametrize(
    ("raw", "param"),
    [
        (b"", None),
        (b"  \n", None),
        (b"[]", None),
        (b'"text"', None),
        (b"null", None),
        (b"{", None),
        (b'{"model": NaN}', None),
        (b'{"model": "a"} trailing', None),
        (b'{"model": "\xff"}', None),
        (b'{"model": "\\ud800"}', None),
        (b'{"a":' + b"[" * 200_000 + b"]" * 200_000 + b"}", None),
        (b'{"messages": [{"role": "user"}]}', "model"),
        (b'{"model": 3, "messages": [{"role": "user"}]}', "model"),
        (b'{"model": "", "messages": [{"role": "user"}]}', "model"),
        (b'{"model": "auto"}', "messages"),
    ],
)
def test_a_body_that_is_no_request_is_an_error(raw, param):
    with pytest.raises(InvalidRequestError) as caught:
        parse_chat_request(raw)
    assert caught.value.param == param


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"messages": []}, "messages"),
        ({"messages": None}, "messages"),
        ({"messages": "hi"}, "messages"),
        ({"messages": ["hi"]}, "messages[0]"),
        ({"messages": [{"content": "x"}]}, "messages[0]"),
        ({"messages": [{"role": 1}]}, "messages[0].role"),
        ({"messages": [{"role": "user", "content": 5}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": ["x"]}]}, "messages[0].content[0]"),
        ({"stream": "yes"}, "stream"),
        ({"stream_options": []}, "stream_options"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": -1}, "max_tokens"),
        ({"max_tokens": 1.5}, "max_tokens"),
        ({"max_tokens": 10**30}, "max_tokens"),
        ({"max_completion_tokens": "10"}, "max_completion_tokens"),
        ({"n": 0}, "n"),
        ({"tools": {}}, "tools"),
        ({"tools": ["x"]}, "tools[...]"),
        ({"response_format": "json"}, "response_format"),
        ({"modalities": "audio"}, "modalities"),
        ({"routing": "cheap"}, "routing"),
        ({"routing": {"cost_quality": 7}}, "routing.cost_quality"),
    ],
)
def test_a_field_of_the_wrong_type_is_an_error_that_names_it(fields, param):
    with pytest.raises(InvalidRequestError) as caught:
        parse_chat_request(body(**fields))
    assert (caught.value.param or "").startswith(param.split("[...]")[0])


def test_the_usage_event_is_asked_for_only_when_it_is_asked_for():
    assert not parse_chat_request(body(stream=True)).include_usage
    assert not parse_chat_request(body(stream=True, stream_options={})).include_usage
    assert parse_chat_request(
        body(stream=True, stream_options={"include_usage": True})
    ).include_usage
