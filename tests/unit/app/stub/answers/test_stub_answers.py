import itertools
import json
import statistics

import jsonschema_rs
import pytest

from app.stub.answers.compose import compose, input_tokens
from app.stub.faults import Fault, FaultKind, FaultScript
from app.stub.tiers import MIN_ANSWER_TOKENS, TIERS, Tier

TIER = TIERS["sim-large"]


def ask(prompt="How do rivers form?", **fields):
    return {"messages": [{"role": "user", "content": prompt}], **fields}


def answer(body, *, index=0):
    return compose("sim-large", TIER, body, index=index)


def called(body):
    return [call.name for call in answer(body).calls]


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


def test_tiers_that_think_begin_later_and_are_paid_for_more():
    small, thinking = list(TIERS.values())[:3], list(TIERS.values())[3:]
    for quick, slow in itertools.product(small, thinking):
        assert 2 * quick.time_to_first_token_s < slow.time_to_first_token_s
        assert 2 * quick.mean_output_tokens < slow.mean_output_tokens
    assert len({tier.tokens_per_s for tier in TIERS.values()}) == len(TIERS)


@pytest.mark.parametrize("key", ["max_tokens", "max_completion_tokens"])
def test_token_limit_is_kept_and_told(key):
    limited = answer(ask(**{key: 3}))
    assert (len(limited.pieces), limited.finish_reason) == (3, "length")
    assert answer(ask(**{key: 10_000})).finish_reason == "stop"


def test_json_object_is_one():
    assert json.loads(answer(ask(response_format={"type": "json_object"})).text)["simulated"]


WEATHER_SCHEMA = {
    "type": "object",
    "properties": {
        "city": {"type": "string"},
        "days": {"type": "integer", "minimum": 1, "maximum": 14},
        "unit": {"enum": ["celsius", "fahrenheit"]},
    },
    "required": ["city", "days", "unit"],
}


@pytest.mark.parametrize(
    ("prompt", "arguments"),
    [
        ("What will the weather be in Paris?", {"city": "Paris", "days": 1, "unit": "celsius"}),
        (
            "Weather in New York for 5 days, in Fahrenheit please",
            {"city": "New York", "days": 5, "unit": "fahrenheit"},
        ),
        ('weather for "la paz"', {"city": "la paz", "days": 1, "unit": "celsius"}),
        ("and the weather for 99 days?", {"city": "simulated", "days": 1, "unit": "celsius"}),
    ],
)
def test_arguments_are_taken_from_the_prompt(prompt, arguments):
    tool = {"type": "function", "function": {"name": "get_weather", "parameters": WEATHER_SCHEMA}}
    got = answer(ask(prompt, tools=[tool]))
    (call,) = got.calls
    assert call.name == "get_weather"
    assert json.loads(call.text) == arguments
    jsonschema_rs.validate(WEATHER_SCHEMA, arguments)


@pytest.mark.parametrize(
    ("system", "expected"),
    [
        (
            "Answer in JSON with this schema:\n" + json.dumps(WEATHER_SCHEMA),
            {"city": "simulated", "days": 1, "unit": "celsius"},
        ),
        (
            'Use the template {"answer": "<text>", "n": 3, "steps": ["<step>"]}. No more.',
            {"answer": "simulated", "n": 3, "steps": ["simulated"]},
        ),
    ],
)
@pytest.mark.parametrize("role", ["system", "user"])
def test_json_object_is_the_one_that_was_described(system, expected, role):
    body = ask("Hello", response_format={"type": "json_object"})
    body["messages"].insert(0, {"role": role, "content": system})
    assert json.loads(answer(body).text) == expected


A_NUMBER = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
TOOLS = [
    {"type": "function", "function": {"name": name, "parameters": A_NUMBER}}
    for name in ("get_weather", "send_mail")
]


@pytest.mark.parametrize(
    ("fields", "tool"),
    [
        ({"tool_choice": "required"}, "get_weather"),
        ({"tool_choice": {"type": "function", "function": {"name": "send_mail"}}}, "send_mail"),
        ({"tool_choice": "none", "prompt": "call send_mail"}, None),
        ({"prompt": "please send_mail to Ann"}, "send_mail"),
        ({"prompt": "What is the weather like in Paris?"}, "get_weather"),
        ({"prompt": "Two mails are to go out"}, "send_mail"),
        ({"prompt": "Get me a list"}, None),
        ({}, None),
    ],
)
def test_tools_are_called_where_it_is_asked_for(fields, tool):
    prompt = fields.pop("prompt", "hello")
    got = answer(ask(prompt, tools=TOOLS, **fields))
    assert [call.name for call in got.calls] == [tool] * bool(tool)
    if tool:
        assert got.finish_reason == "tool_calls"
        jsonschema_rs.validate(A_NUMBER, json.loads(got.calls[0].text))


def test_result_of_a_tool_is_answered_in_text():
    body = ask("call send_mail", tools=TOOLS)
    body["messages"].append({"role": "tool", "content": "sent"})
    assert called(body) == []
    assert "The tool answered: “sent”" in answer(body).text


CALLED = {
    "openai": {"role": "assistant", "tool_calls": [{"function": {"name": "get_weather"}}]},
    "anthropic": {
        "role": "assistant",
        "content": [{"type": "tool_use", "name": "get_weather", "input": {}}],
    },
}


@pytest.mark.parametrize("dialect", CALLED)
def test_a_demanded_tool_is_called_after_a_result_too_and_another_one(dialect):
    body = ask("What is the weather?", tools=TOOLS, tool_choice="required")
    assert called(body) == ["get_weather"]
    body["messages"] += [CALLED[dialect], {"role": "tool", "content": "sunny"}]
    assert called(body) == ["send_mail"]
    body["tools"] = TOOLS[:1]
    assert called(body) == ["get_weather"]


@pytest.mark.parametrize("dialect", CALLED)
def test_what_was_called_already_is_not_called_again_of_its_own_accord(dialect):
    body = ask("What is the weather?", tools=TOOLS)
    body["messages"] += [CALLED[dialect], {"role": "tool", "content": "sunny"}]
    assert called(body) == []
    body["messages"].append({"role": "user", "content": "And the weather tomorrow?"})
    assert called(body) == ["get_weather"]


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
