"""What an answer shows of its model."""

import json
import math

import msgspec
import pytest

from app.gateway.excerpt import Excerpt
from app.gateway.watch.watched_answers import Seen, observation_of
from app.providers.base import Chunk
from routers.watch.signals import Placed, Signal

PLACE = ("large", "scripted", "large")
USUAL = Seen(
    place=PLACE,
    predicted_tokens=100.0,
    predictor="v1",
    input_tokens=50,
    output_tokens=200,
    limit_tokens=None,
    n_answers=1,
    n_chars=800,
    finish_reason="stop",
    began_s=0.5,
    streamed_s=2.0,
    excerpt=None,
    text_is_json=False,
    has_tools=False,
    answered="large",
)


def seen(**changes):
    return observation_of(msgspec.structs.replace(USUAL, **changes))


def events(**changes):
    return dict(seen(**changes).events)


def excerpt(content):
    found = Excerpt()
    body = json.dumps({"choices": [{"message": {"content": content}}]}).encode()
    found.saw(Chunk(data=body))
    return found


def test_a_usual_answer():
    found = seen()
    assert found.length == Placed("v1 text 1", pytest.approx(math.log(2.0)))
    assert found.first_s == Placed("0", pytest.approx(math.log(0.5)))
    assert found.s_per_token == Placed("", pytest.approx(math.log(0.01)))
    assert not any(dict(found.events).values())
    assert set(dict(found.events)) == {
        Signal.REFUSAL, Signal.EMPTY, Signal.TRUNCATED, Signal.ODD_END,
    }  # fmt: skip


@pytest.mark.parametrize(
    "changes",
    [
        {"predicted_tokens": None},
        {"output_tokens": None},
        {"n_answers": 2},
        {"limit_tokens": 250},
        {"finish_reason": "content_filter"},
    ],
    ids=["nothing predicted", "nothing counted", "two answers", "cut by its client", "filtered"],
)
def test_a_length_that_says_nothing_is_left_out(changes):
    assert seen(**changes).length is None


def test_answers_are_compared_with_those_of_their_kind():
    kinds = {
        seen(**changes).length.kind
        for changes in (
            {},
            {"predicted_tokens": 900.0},
            {"has_tools": True},
            {"text_is_json": True},
            {"predictor": "v2"},
        )
    }
    assert len(kinds) == 5


@pytest.mark.parametrize(
    ("changes", "signal"),
    [
        ({"n_chars": 0}, Signal.EMPTY),
        ({"finish_reason": "length"}, Signal.TRUNCATED),
        ({"finish_reason": "max_tokens", "limit_tokens": 4_000}, Signal.TRUNCATED),
        ({"finish_reason": "recitation"}, Signal.ODD_END),
        ({"finish_reason": "refusal", "n_chars": 0}, Signal.REFUSAL),
        ({"output_tokens": 12, "excerpt": excerpt("I cannot help with that.")}, Signal.REFUSAL),
        ({"text_is_json": True, "excerpt": excerpt("{oops")}, Signal.INVALID),
    ],
)
def test_what_went_wrong_is_told_as_that_alone(changes, signal):
    assert [each for each, hit in events(**changes).items() if hit] == [signal]


def test_an_answer_that_its_client_cut_was_not_truncated_by_its_model():
    assert Signal.TRUNCATED not in events(finish_reason="length", limit_tokens=120)


def test_a_call_of_a_tool_is_no_empty_answer():
    assert not events(n_chars=0, finish_reason="tool_calls")[Signal.EMPTY]


def test_times_of_an_answer_in_one_piece_say_nothing():
    found = seen(began_s=None)
    assert (found.first_s, found.s_per_token) == (None, None)


def test_an_excerpt_has_room_for_so_much():
    found = Excerpt(room_bytes=10)
    assert not found.saw(Chunk(data=b"12345"))
    assert not found.saw(Chunk(data=b""))
    assert found.is_whole
    assert found.saw(Chunk(data=b"1234567"))
    assert not found.is_whole
    assert found.pieces == [b"12345", b"1234567"]
