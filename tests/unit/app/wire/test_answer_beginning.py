"""How answers begin, read without decoding them."""

import json

import pytest

from app.wire.answer_beginning import beginning

SAID = "I'm sorry, but I can\u2019t \u201chelp\u201d with\nthat."


def events(*payloads, compact=True):
    separators = (",", ":") if compact else None
    told = [json.dumps(each, separators=separators, ensure_ascii=compact) for each in payloads]
    return "".join(f"data: {each}\n\n" for each in told).encode()


def pieces():
    return [SAID[at : at + 4] for at in range(0, len(SAID), 4)]


@pytest.mark.parametrize("compact", [True, False])
@pytest.mark.parametrize(
    "payload",
    [
        lambda piece: {"choices": [{"index": 0, "delta": {"content": piece}}]},
        lambda piece: {"type": "content_block_delta", "delta": {"text": piece}},
        lambda piece: {"type": "response.output_text.delta", "delta": piece},
    ],
    ids=["chat", "messages", "responses"],
)
def test_pieces_of_a_stream_are_put_together(payload, compact):
    text, refused = beginning(events(*map(payload, pieces()), compact=compact))
    assert text.replace("\u2019", "'").startswith("I'm sorry, but I can't ")
    assert not refused


@pytest.mark.parametrize(
    "answer",
    [
        {"choices": [{"message": {"role": "assistant", "content": SAID, "refusal": None}}]},
        {"content": [{"type": "text", "text": SAID}]},
        {"output": [{"content": [{"type": "output_text", "text": SAID}]}]},
    ],
    ids=["chat", "messages", "responses"],
)
def test_a_whole_answer_begins_as_it_says(answer):
    text, refused = beginning(json.dumps(answer).encode())
    assert text.startswith("I'm sorry, but I can't ")
    assert not refused


def test_a_refusal_in_a_place_of_its_own_is_one():
    message = {"content": None, "refusal": "I can't help with that."}
    assert beginning(json.dumps({"choices": [{"message": message}]}).encode())[1]


@pytest.mark.parametrize("body", [b"", b"{", b'{"choices":[{"delta":{"content":"cut', b"\xff\xfe"])
def test_what_is_cut_or_no_answer_has_what_there_is(body):
    text, refused = beginning(body)
    assert text == ("cut" if b"cut" in body else "")
    assert not refused
