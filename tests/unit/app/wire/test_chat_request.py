import json

import pytest

from app.api.dialects.chat_completions import ChatCompletions, parse_chat_request
from app.errors import InvalidRequestError
from app.wire.bounds import check_structure, check_utf8, is_simple
from routers.models import Capability
from routers.objectives import CostQuality
from routers.types import Role


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
    assert {key: bytes(value) for key, value in request.body.chat().items()} == {
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


@pytest.mark.parametrize(
    "message",
    [
        {"role": "assistant", "content": "x", "tool_calls": []},
        {"role": "assistant", "content": "x", "tool_calls": None, "function_call": None},
        {"role": "assistant", "content": "x", "tool_calls": {}, "function_call": {}},
        {"role": "assistant", "content": []},
    ],
)
def test_a_message_that_calls_no_tool_asks_for_none(message):
    demand = parse_chat_request(body(messages=[message], tools=[], functions=[])).demand
    assert demand.capabilities == frozenset()
    spaced = json.dumps({"model": "auto", "messages": [message]}).replace("[]", "[ \n]")
    assert parse_chat_request(spaced.encode()).demand.capabilities == frozenset()


def base64_of(n_bytes, media_type):
    return f"data:{media_type};base64," + "QUJD" * (n_bytes // 3)


@pytest.mark.parametrize(
    ("part", "capability", "least", "most"),
    [
        (
            {"type": "file", "file": {"file_data": base64_of(3_000_000, "application/pdf")}},
            *(Capability.FILE, 40_000, 100_000),
        ),
        (
            {"type": "file", "file": {"file_data": base64_of(40_000, "text/plain")}},
            *(Capability.FILE, 10_000, 14_000),
        ),
        ({"type": "file", "file": {"file_id": "file-1"}}, Capability.FILE, 10_000, 20_000),
        ({"type": "input_file", "file_url": "https://a/b"}, Capability.FILE, 10_000, 20_000),
        (
            {"type": "document", "source": {"type": "base64", "data": "QUJD" * 250_000}},
            *(Capability.FILE, 10_000, 25_000),
        ),
        (
            {"type": "input_audio", "input_audio": {"data": "QUJD" * 100_000, "format": "mp3"}},
            *(Capability.AUDIO, 1_000, 5_000),
        ),
        ({"type": "audio_url", "audio_url": {"url": "https://a"}}, Capability.AUDIO, 5_000, 10_000),
        (
            {"type": "video_url", "video_url": {"url": "https://a"}},
            Capability.VIDEO,
            10_000,
            50_000,
        ),
        (
            {"type": "video", "video": base64_of(3_000_000, "video/mp4")},
            *(Capability.VIDEO, 2_000, 10_000),
        ),
        (
            {"type": "image", "source": {"type": "base64", "data": "QUJD" * 900_000}},
            *(Capability.VISION, 700, 2_000),
        ),
        ({"type": "hologram", "data": "x" * 40_000}, None, 10_000, 14_000),
    ],
)
def test_a_part_that_is_no_text_costs_and_asks_for_what_it_is(part, capability, least, most):
    messages = [
        {"role": "user", "content": [{"type": "text", "text": "Sum up"}]},
        {"role": "user", "content": "plain"},
        {"role": "user", "content": [{"type": "text", "text": "this"}, part]},
    ]
    demand = parse_chat_request(body(messages=messages)).demand
    assert demand.capabilities == (frozenset() if capability is None else {capability})
    assert least <= demand.input_tokens <= demand.input_tokens_upper
    assert demand.input_tokens_upper <= most + 100


def test_the_schema_of_an_answer_is_part_of_the_prompt():
    def with_schema(n):
        schema = {"schema": {"description": "x" * n}}
        return parse_chat_request(
            body(response_format={"type": "json_schema", "json_schema": schema})
        ).demand

    assert with_schema(4_000).input_tokens == with_schema(0).input_tokens + 1_000


def test_a_knob_in_the_wrong_place_is_told():
    with pytest.raises(InvalidRequestError, match="routing") as caught:
        parse_chat_request(body(cost_quality=0.5))
    assert caught.value.param == "cost_quality"


# --- bounds -----------------------------------------------------------------------------------


def many(n, one):
    return [one] * n


@pytest.mark.parametrize(
    ("fields", "what"),
    [
        ({"messages": many(21, {"role": "user"})}, "21 messages"),
        (
            {"messages": many(3, {"role": "user", "content": many(7, {"type": "text"})})},
            "21 parts",
        ),
        ({"tools": many(21, {})}, "21 tools"),
        ({"functions": many(21, {"name": "f"})}, "21 functions"),
        ({"tools": many(201, {})}, "201 objects in tools"),
        ({f"field{i}": i for i in range(1_001)}, "1003 fields"),
        ({"model": "m" * 1_100}, "model is longer"),
        ({"n": 10**1_100}, "n is longer"),
        ({"routing": {"models": ["m" * 20_000]}}, "routing is longer"),
        ({"stream_options": {"x": "m" * 20_000}}, "stream_options is longer"),
    ],
)
def test_a_request_has_no_more_parts_than_it_may(fields, what):
    with pytest.raises(InvalidRequestError, match=what):
        parse_chat_request(body(**fields), max_messages=20)


def test_a_request_that_just_fits_is_taken():
    tools = many(20, {"type": "function"})
    messages = many(20, {"role": "user", "content": [{"type": "text", "text": "a"}]})
    assert parse_chat_request(body(messages=messages, tools=tools), max_messages=20).body.chat()


@pytest.mark.parametrize(
    "content",
    [
        b'{"model":"auto",' + b'"f":1,' * 50_000 + b'"messages":[]}',
        b'{"model":"auto","messages":[' + b'{"role":"user"},' * 60_000 + b"1]}",
        b'{"a":{' + b'"\\\\":1,' * 150_000 + b'"b":1}}',
    ],
    ids=["fields", "messages", "escaped backslashes"],
)
def test_a_body_of_too_many_values_is_refused_before_anything_is_made_of_it(content):
    assert not is_simple(content)
    with pytest.raises(InvalidRequestError, match=r"more than (20000|100000)"):
        check_structure(content, max_messages=10_000, large_fields=ChatCompletions.large_fields)


@pytest.mark.parametrize(
    "content",
    [
        body(messages=[{"role": "user", "content": '{"a": "b", "c": ["d"]}\n' * 50_000}]),
        body(messages=many(1_000, {"role": "user", "content": 'say "hello"'})),
        body(metadata={"rows": many(10_000, "text")}),
    ],
    ids=["quotes in a text", "a long conversation", "a list of texts"],
)
def test_a_large_body_of_an_ordinary_shape_is_let_pass(content):
    assert not is_simple(content)
    check_structure(content, max_messages=10_000, large_fields=ChatCompletions.large_fields)


def test_a_body_that_is_soon_read_stays_where_it_is():
    assert is_simple(body())
    assert is_simple(body(messages=[{"role": "user", "content": "word, " * 20_000}]))


@pytest.mark.parametrize("at", [0, 5, 262_140, 262_143, 262_144, 400_000])
def test_a_byte_that_is_no_utf8_is_found_wherever_it_stands(at):
    text = ("é" * 300_000).encode()
    even = at - at % 2
    for wrong in (b"\xff", b"\xc3"):
        with pytest.raises(InvalidRequestError, match=rf"byte {even}\)"):
            check_utf8(text[:even] + wrong + text[even:])
    check_utf8(text)
    with pytest.raises(InvalidRequestError, match=r"byte 599998\)"):
        check_utf8(text[:-1])


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
