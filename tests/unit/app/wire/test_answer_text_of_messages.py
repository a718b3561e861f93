"""The text of answers in Anthropic's dialect, for whoever opted in to keep it."""

import json

import pytest

from app.paths import MESSAGES
from app.wire.answer_text import answer_text
from tests.support.fixtures import fixture


@pytest.mark.parametrize("pieces", [1, 40])
def test_a_stream_is_read_as_its_text(pieces):
    recorded = fixture("anthropic/text.sse")
    size = -(-len(recorded) // pieces)
    answer = [recorded[i : i + size] for i in range(0, len(recorded), size)]
    text = answer_text(answer, streamed=True, dialect=MESSAGES)
    assert text is not None
    assert text.startswith("A steelyard weighs")


def test_a_whole_answer_is_read_without_calls_and_thinking():
    content = [
        {"type": "thinking", "thinking": "hm", "signature": "s"},
        {"type": "text", "text": "Look: "},
        {"type": "tool_use", "id": "a", "name": "read", "input": {"text": 5}},
        {"type": "text", "text": "there."},
    ]
    body = json.dumps({"type": "message", "content": content}).encode()
    assert answer_text([body], streamed=False, dialect=MESSAGES) == "Look: there."
    assert answer_text([b"{"], streamed=False, dialect=MESSAGES) is None
