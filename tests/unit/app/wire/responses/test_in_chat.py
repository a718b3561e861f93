"""Cursor's bodies: Responses' shape where chat completions are asked for."""

import msgspec
import pytest

from app.wire.responses.in_chat import as_chat_fields

FLAT = {"type": "function", "name": "read_file", "parameters": {"type": "object"}}
NESTED = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
PATCH = {
    "type": "custom",
    "name": "apply_patch",
    "description": "Patch.",
    "format": {"type": "grammar", "syntax": "lark", "definition": "start: A"},
}


def fields_of(**body):
    return {name: msgspec.Raw(msgspec.json.encode(value)) for name, value in body.items()}


def test_the_agents_body_becomes_a_chat_body():
    chat = as_chat_fields(
        fields_of(
            model="auto",
            routing={"cost_quality": 1},
            input=[
                {"role": "system", "content": "You code."},
                {"role": "user", "content": [{"type": "input_text", "text": "Fix it."}]},
            ],
            tools=[FLAT, PATCH],
            reasoning={"effort": "high"},
            stream=True,
        )
    )
    body = {name: msgspec.json.decode(raw) for name, raw in chat.items()}
    assert body["model"] == "auto"
    assert body["routing"] == {"cost_quality": 1}
    assert body["messages"] == [
        {"role": "system", "content": "You code."},
        {"role": "user", "content": "Fix it."},
    ]
    assert [tool["function"]["name"] for tool in body["tools"]] == ["read_file", "apply_patch"]
    assert body["reasoning_effort"] == "high"
    assert body["stream"] is True


def test_flat_tools_among_nested_ones_are_nested():
    fields = fields_of(messages=[{"role": "user", "content": "x"}], tools=[NESTED, FLAT, PATCH])
    tools = msgspec.json.decode(as_chat_fields(fields)["tools"])
    assert tools[0] == NESTED
    assert [each["function"]["name"] for each in tools[1:]] == ["read_file", "apply_patch"]


@pytest.mark.parametrize(
    "tools",
    [
        [NESTED],
        [{"type": "custom", "custom": {"name": "c"}}],
        [{"type": "function", "function": {"name": "f", "parameters": {"x": FLAT}}}],
    ],
)
def test_a_chat_body_stays_byte_for_byte(tools):
    fields = fields_of(messages=[], tools=tools)
    assert as_chat_fields(fields) is fields
