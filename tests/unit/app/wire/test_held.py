"""Answers that were held back say the same however their stream is read."""

import json
import random

import pytest

from app.paths import MESSAGES
from app.providers.base import Chunk
from app.wire.held import read_held

ODD = (
    {"choices": [{"index": "0", "delta": {"content": "x"}}]},
    {"choices": [{"index": 0, "delta": {"content": [1]}}]},
    {"choices": [{"index": 0, "delta": {"content": "x"}, "logprobs": 5}]},
    {"choices": [{"index": 0, "delta": {"content": "x"}, "logprobs": {"content": [None]}}]},
    {"choices": [{"index": 1, "delta": {"content": "other"}}]},
    {"choices": [{"index": 0, "delta": None}]},
    {"choices": None},
    {"choices": "none"},
    {},
)


def chunks_of(events, *, dialect="chat_completions"):
    data = b"".join(b"data: %b\n\n" % json.dumps(each).encode() for each in events)
    return [Chunk(data=data, dialect=dialect)]


def piece(content, *, logprobs=None, finish_reason=None):
    told = (
        None if logprobs is None else {"content": [{"token": "t", "logprob": p} for p in logprobs]}
    )
    choice = {"index": 0, "delta": {"content": content}, "logprobs": told}
    return {"id": "c", "choices": [{**choice, "finish_reason": finish_reason}]}


def test_text_reason_and_chances_are_put_together():
    events = [
        piece(""),
        piece("Hello", logprobs=[-0.1]),
        {"choices": [], "usage": {"prompt_tokens": 1}},
        piece(" world", logprobs=[-0.2, -0.3]),
        piece(None, finish_reason="length"),
    ]
    read = read_held(chunks_of(events), stream=True)
    assert read == ("Hello world", "length", (-0.1, -0.2, -0.3))


@pytest.mark.parametrize("seed", range(40))
def test_an_unusual_event_never_makes_it_say_something_else(seed):
    rng = random.Random(seed)
    texts = [rng.choice(["", "a", "é\n", '"data: "']) for _ in range(4)]
    events = [piece(each, logprobs=rng.choice([None, [-0.5]])) for each in texts]
    usual = read_held(chunks_of(events), stream=True)
    assert usual is not None
    assert usual.text == "".join(texts)
    # What nobody knows the place of sends it the long way.
    told = read_held(chunks_of([*events, {"choices": [{"index": 0, "x": 1}]}]), stream=True)
    assert told == usual
    odd = read_held(chunks_of([*events, rng.choice(ODD)]), stream=True)
    assert odd is None or odd.text in {usual.text, f"{usual.text}x"}


@pytest.mark.parametrize("chunks", [[], [Chunk(data=b"data: {no\n\n")], [Chunk(data=b": hm\n\n")]])
def test_what_says_nothing_is_no_answer(chunks):
    assert read_held(chunks, stream=True) is None


def test_another_dialect_is_not_read():
    assert read_held(chunks_of([piece("x")], dialect=MESSAGES), stream=True) is None
