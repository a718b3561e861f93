"""A stream of plain completions says the same however the network cut it."""

import itertools
import json

from hypothesis import given
from hypothesis import strategies as st

from app.providers.chat.texts import TextStream
from app.wire.completions.answer import text_events


def event(text, reason=None, **more):
    choice = {"text": text, "index": 0, "logprobs": None, "finish_reason": reason}
    payload = {"id": "cmpl-1", "object": "text_completion", "model": "m", "choices": [choice]}
    return b"data: %b\n\n" % json.dumps({**payload, **more}, ensure_ascii=False).encode()


USAGE = b'{"id":"cmpl-1","choices":[],"usage":{"prompt_tokens":3,"completion_tokens":5}}'
EVENTS = event("Hé") + event(' "wörld"\n') + event("", "stop")
STREAM = b": hello\r\n\r\n" + EVENTS.replace(b"\n\n", b"\r\n\r\n") + b"data: " + USAGE + b"\n\n"
STREAM += b"data: [DONE]\n\n"


@given(st.lists(st.integers(0, len(STREAM)), max_size=12))
def test_it_is_passed_on_as_it_came(cuts):
    stream = TextStream([(b"x-request-id", b"r")], max_event_bytes=10_000)
    places = sorted({0, len(STREAM), *cuts})
    chunks = [
        chunk
        for begin, end in itertools.pairwise(places)
        if (chunk := stream.feed(STREAM[begin:end])) is not None
    ]
    assert stream.done
    assert stream.error is None
    assert b"".join(chunk.data for chunk in chunks) == b": hello\n\n" + EVENTS
    assert sum(chunk.content_chars for chunk in chunks) == 11
    assert [chunk.usage_event for chunk in chunks if chunk.usage_event] == [USAGE]
    assert [chunk.finish_reason for chunk in chunks if chunk.finish_reason] == ["stop"]
    assert {chunk.dialect for chunk in chunks} == {"completions"}
    assert chunks[0].headers == ((b"x-request-id", b"r"),)


@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_nothing_that_comes_breaks_it(data):
    stream = TextStream((), max_event_bytes=10_000)
    stream.feed(b"data: " + data + b"\n\n")
    stream.close()
    text_events(b"data: " + data + b"\n\n")
