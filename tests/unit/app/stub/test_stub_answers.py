import itertools
import json
import statistics

import jsonschema_rs
import pytest

from app.stub.answers import compose, example, input_tokens
from app.stub.faults import Fault, FaultKind, FaultScript
from app.stub.tiers import MIN_ANSWER_TOKENS, TIERS, Tier

TIER = TIERS["sim-large"]


def ask(prompt="How do rivers form?", **fields):
    return {"messages": [{"role": "user", "content": prompt}], **fields}


def answer(body, *, index=0):
    return compose("sim-large", TIER, body, index=index)


@pytest.mark.parametrize("name", TIERS)
def test_every_answer_says_that_it_is_simulated_and_by_whom(name):
    text = compose(name, TIERS[name], ask()).text
    assert text.startswith(f"This is a simulated answer from {name},")
    assert "How do rivers form?" in text


def test_answers_are_deterministic_and_differ_between_choices():
    assert answer(ask()) == answer(ask())
    lengths = {len(answer(ask(), index=index).pieces) for index in range(5)}
    assert len(lengths) > 1


def test_lengths_are_log_normal_about_the_tiers_mean():
    lengths = [TIER.answer_tokens(str(i)) for i in range(4000)]
    assert statistics.mean(lengths) == pytest.approx(TIER.mean_output_tokens, rel=0.05)
    assert statistics.median(lengths) < statistics.mean(lengths)
    assert min(lengths) >= MIN_ANSWER_TOKENS


def test_dearer_tiers_are_slower_and_say_more():
    tiers = list(TIERS.values())
    for cheaper, dearer in itertools.pairwise(tiers):
        assert cheaper.time_to_first_token_s < dearer.time_to_first_token_s
        assert cheaper.tokens_per_s > dearer.tokens_per_s
        assert cheaper.mean_output_tokens < dearer.mean_output_tokens


@pytest.mark.parametrize("key", ["max_tokens", "max_completion_tokens"])
def test_token_limit_is_kept_and_told(key):
    limited = answer(ask(**{key: 3}))
    assert (len(limited.pieces), limited.finish_reason) == (3, "length")
    assert answer(ask(**{key: 10_000})).finish_reason == "stop"


SCHEMAS = [
    {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]},
    {"properties": {"a": {"type": "string", "minLength": 20}, "b": {"enum": [3, 4]}}},
    {"type": "array", "items": {"type": "boolean"}, "minItems": 3},
    {"type": ["number", "null"], "minimum": 5},
    {"type": "number", "maximum": -2},
    {"anyOf": [{"type": "null"}, {"type": "string"}]},
    {"const": {"x": 1}},
    {"type": "string", "format": "date"},
    {"type": "string", "maxLength": 3},
    {
        "type": "object",
        "properties": {"p": {"$ref": "#/$defs/P"}},
        "required": ["p"],
        "$defs": {"P": {"type": "object", "properties": {"x": {"type": "number"}}}},
    },
]


@pytest.mark.parametrize("schema", SCHEMAS, ids=json.dumps)
def test_examples_satisfy_simple_schemas(schema):
    jsonschema_rs.validate(schema, example(schema))
    wanted = {"type": "json_schema", "json_schema": {"name": "n", "schema": schema}}
    assert json.loads(answer(ask(response_format=wanted)).text) == example(schema)


def test_schema_that_refers_to_itself_comes_to_an_end():
    schema = {"type": "object", "properties": {"next": {"$ref": "#"}}, "required": ["next"]}
    assert "next" in example(schema)


def test_json_object_is_one():
    assert json.loads(answer(ask(response_format={"type": "json_object"})).text)["simulated"]


TOOLS = [
    {"type": "function", "function": {"name": name, "parameters": SCHEMAS[0]}}
    for name in ("get_weather", "send_mail")
]


@pytest.mark.parametrize(
    ("fields", "tool"),
    [
        ({"tool_choice": "required"}, "get_weather"),
        ({"tool_choice": {"type": "function", "function": {"name": "send_mail"}}}, "send_mail"),
        ({"tool_choice": "none", "prompt": "call send_mail"}, None),
        ({"prompt": "please send_mail to Ann"}, "send_mail"),
        ({}, None),
    ],
)
def test_tools_are_called_where_it_is_asked_for(fields, tool):
    prompt = fields.pop("prompt", "hello")
    got = answer(ask(prompt, tools=TOOLS, **fields))
    assert got.tool == tool
    if tool:
        assert got.finish_reason == "tool_calls"
        assert json.loads(got.text) == {"a": 1}


def test_result_of_a_tool_is_answered_in_text():
    body = ask("call send_mail", tools=TOOLS)
    body["messages"].append({"role": "tool", "content": "sent"})
    assert answer(body).tool is None


@pytest.mark.parametrize(
    "messages",
    [
        [],
        [None, 7],
        [{"role": "user"}],
        [{"role": "user", "content": 5}],
        [{"role": "user", "content": [{"type": "image_url"}, {"type": "text", "text": 9}, 1]}],
    ],
)
def test_odd_messages_are_answered_all_the_same(messages):
    body = {"messages": messages}
    assert "simulated" in answer(body).text
    assert input_tokens(body) >= 0


def test_content_parts_are_read():
    body = ask([{"type": "text", "text": "What is this?"}, {"type": "image_url"}])
    assert "What is this?" in answer(body).text


def test_faults_hit_in_order_as_often_as_they_say():
    script = FaultScript([Fault(fault=FaultKind.BAD_JSON, model="a", times=2)])
    script.add(Fault(fault=FaultKind.STATUS))
    script.add(Fault(fault=FaultKind.NO_USAGE, times=0))
    assert script.take("b").fault is FaultKind.STATUS
    assert [script.take("a").fault for _ in range(2)] == [FaultKind.BAD_JSON] * 2
    assert script.take("a") is None
    script.add(Fault(fault=FaultKind.STATUS))
    script.clear()
    assert script.take("a") is None


def test_tier_is_fixed_for_a_key():
    tier = Tier(time_to_first_token_s=0, tokens_per_s=1, mean_output_tokens=100)
    assert tier.answer_tokens("x") == tier.answer_tokens("x")
