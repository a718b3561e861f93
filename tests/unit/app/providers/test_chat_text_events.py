"""What is told of a stream's pieces of text is what its events say, however they are read."""

import json
import random

import msgspec
import pytest

from app.providers.base import TextPiece
from app.providers.chat.stream import ChatStream
from app.wire.held import read_held
from app.wire.messages.answer import Told
from app.wire.messages.names import ToolNames as MessagesNames
from app.wire.messages.stream import MessageEvents
from app.wire.responses.answer import Ids
from app.wire.responses.stream import ResponseStream
from app.wire.tool_names import ToolNames

ASCII = json.JSONEncoder(separators=(",", ":")).encode
ROLE = {"choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}}]}
CHANCES = {"content": [{"token": "t", "logprob": -0.5, "bytes": [116], "top_logprobs": []}]}
SAYS_MORE = {
    "an end": {"choices": [{"index": 0, "delta": {"content": "x"}, "finish_reason": "stop"}]},
    "reasoning": {"choices": [{"index": 0, "delta": {"content": "", "reasoning": "hm"}}]},
    "a call": {"choices": [{"index": 0, "delta": {"tool_calls": [{"index": 0, "id": "a"}]}}]},
    "something new": {"choices": [{"index": 0, "delta": {"content": "x", "audio": {"id": "a"}}}]},
    "parts": {"choices": [{"index": 0, "delta": {"content": [{"type": "text", "text": "x"}]}}]},
    "another answer": {"choices": [{"index": 1, "delta": {"content": "x"}}]},
    "two answers": {"choices": [{"index": i, "delta": {"content": "x"}} for i in (0, 1)]},
    "a message": {
        "choices": [{"index": 0, "delta": {"content": "x"}, "message": {"content": "y"}}]
    },
    "token counts": {"choices": [{"delta": {"content": "x"}}], "usage": {"prompt_tokens": 3}},
    "nothing": {"choices": [{"index": 0, "delta": {"content": None}}]},
}


def event(text, **more):
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": None, **more}
    return {"id": "c", "model": "m", "created": 1, "choices": [choice]}


def frame(*events):
    return b"".join(b"data: %b\n\n" % ASCII(each).encode() for each in events)


def test_pieces_are_told_with_their_chances():
    chunk = ChatStream().feed(frame(ROLE, event("Hi", logprobs=CHANCES), event("\u00e9\n")))
    assert [piece.text for piece in chunk.pieces] == ["", "Hi", "\u00e9\n"]
    assert [msgspec.json.decode(piece.logprobs) for piece in chunk.pieces] == [None, CHANCES, None]
    assert (chunk.content_events, chunk.content_chars) == (2, 4)
    assert chunk.has_content
    assert chunk.response_model == "m"


@pytest.mark.parametrize("more", SAYS_MORE.values(), ids=SAYS_MORE)
def test_an_event_that_says_more_is_left_to_be_read(more):
    stream = ChatStream()
    assert stream.feed(frame(event("a"), more)).pieces is None
    after = stream.feed(frame(event("b"), event("c")))
    assert (after.content_events, after.content_chars) == (2, 2)
    # Where texts follow they are told again.
    assert stream.feed(frame(event("d"))).pieces[0].text == "d"


def test_a_comment_is_left_to_be_passed_on():
    assert ChatStream().feed(b": hm\n\n" + frame(event("a"))).pieces is None


def test_an_error_that_holds_a_text_is_an_error():
    stream = ChatStream()
    stream.feed(b"event: error\n" + frame(event("a")))
    assert stream.error is not None


def test_half_a_character_is_no_piece():
    stream = ChatStream()
    chunks = [stream.feed(frame(event(each))) for each in ("\ud83d", "\ude00", "a")]
    assert [each and each.pieces for each in chunks[:2]] == [None, None]
    assert chunks[2].pieces == (TextPiece("a", msgspec.Raw(b"null")),)


@pytest.mark.parametrize("seed", range(25))
def test_whoever_reads_the_pieces_tells_what_the_events_say(seed):
    rng = random.Random(seed)
    kinds = [event(""), event("a"), event(" b\u00e9"), event("c", logprobs=CHANCES), ROLE]
    odd = [SAYS_MORE[name] for name in ("reasoning", "a call", "nothing")]
    stream = ChatStream()
    reads = [frame(*rng.choices([*kinds, *kinds, *odd], k=rng.randint(1, 3))) for _ in range(8)]
    chunks = [stream.feed(each) for each in [frame(ROLE, event("x")), *reads]]
    bare = [msgspec.structs.replace(each, pieces=None) for each in chunks]
    assert any(each.pieces for each in chunks)
    assert read_held(chunks, stream=True) == read_held(bare, stream=True)
    told = Told(message_id="m", stop_sequences=(), names=MessagesNames(()))
    pairs = [
        (events.feed, events.say)
        for events in (MessageEvents(told, input_tokens=1), MessageEvents(told, input_tokens=1))
    ]
    for chunk in chunks:
        by_bytes = pairs[0][0](chunk.data)
        by_pieces = pairs[1][0](chunk.data) if chunk.pieces is None else pairs[1][1](chunk.pieces)
        assert by_pieces == by_bytes
    first, second = (ResponseStream(Ids("t"), {}, ToolNames(), now=5) for _ in range(2))
    for chunk in chunks:
        by_bytes = first.events(chunk.data)
        if chunk.pieces is not None and second.began:
            assert second.say(chunk.pieces) == by_bytes
        else:
            assert second.events(chunk.data) == by_bytes
