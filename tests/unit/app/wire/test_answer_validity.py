"""Whether what should be JSON in an answer can be read."""

import json

import pytest

from app.paths import CHAT_COMPLETIONS, MESSAGES
from app.wire.answer_validity import holds_valid_json


def whole(content=None, arguments=()):
    calls = [{"index": 9, "function": {"name": "f", "arguments": each}} for each in arguments]
    message = {"role": "assistant", "content": content, "tool_calls": calls or None}
    return [json.dumps({"choices": [{"index": 0, "message": message}]}).encode()]


def streamed(*deltas):
    return [
        b"data: " + json.dumps({"choices": [{"index": 0, "delta": each}]}).encode() + b"\n\n"
        for each in deltas
    ] + [b"data: [DONE]\n\n"]


def piece(index, arguments):
    return {"tool_calls": [{"index": index, "function": {"arguments": arguments}}]}


def valid(answer, *, stream=False, dialect=CHAT_COMPLETIONS, text_is_json=False):
    return holds_valid_json(answer, streamed=stream, dialect=dialect, text_is_json=text_is_json)


@pytest.mark.parametrize(
    ("arguments", "is_valid"),
    [
        (['{"a": 1}'], True),
        ([""], True),
        ([{"a": 1}], True),
        (['{"a": 1}', "{}"], True),
        (['{"a": 1'], False),
        (['{"a": 1}', "{'b': 2}"], False),
        (["[1]"], False),
        (["nothing"], False),
    ],
)
def test_arguments_of_tools_are_an_object_each(arguments, is_valid):
    assert valid(whole(arguments=arguments)) is is_valid


def test_arguments_are_put_together_of_their_pieces():
    good = streamed(piece(0, '{"a"'), piece(1, '{"b": 2}'), piece(0, ": 1}"))
    assert valid(good, stream=True) is True
    assert valid(good[:2], stream=True) is False


@pytest.mark.parametrize(("text", "is_valid"), [('{"a": [1, 2]}', True), ("{oops}", False)])
def test_text_is_looked_at_where_json_was_asked_for(text, is_valid):
    assert valid(whole(text)) is None
    assert valid(whole(text), text_is_json=True) is is_valid
    parts = streamed({"content": text[:3]}, {"content": text[3:]})
    assert valid(parts, stream=True, text_is_json=True) is is_valid
    message = [json.dumps({"content": [{"type": "text", "text": text}]}).encode()]
    assert valid(message, dialect=MESSAGES, text_is_json=True) is is_valid


@pytest.mark.parametrize("answer", [[b"{"], [b""], [b'{"choices": []}'], [b"\xff"]])
def test_of_what_is_no_answer_nothing_is_said(answer):
    assert valid(answer, text_is_json=True) is None
