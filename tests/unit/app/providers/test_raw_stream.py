"""Streams of models that do not chat: passed on as they are, with a look at their ends."""

import pytest

from app.errors import UpstreamThrottledError, UpstreamUnavailableError
from app.providers.http.pinned import RawStream
from app.usage import ToldUsage
from app.wire.pinned.endpoints import SPEECH

EVENTS = ((b"Content-Type", b"text/event-stream; charset=utf-8"),)
JSON = ((b"content-type", b"application/json"),)
SOUND = ((b"content-type", b"audio/mpeg"),)
PARTIAL = b'event: a.partial_image\ndata: {"type":"a.partial_image","b64_json":"AAAA"}\n\n'
USAGE = b'"usage":{"input_tokens":3,"output_tokens":4}'
COMPLETED = b'event: a.completed\ndata: {"type":"a.completed",%b}\n\n' % USAGE
FAILED = b'event: error\ndata: {"type":"error","error":{"type":"server_error","message":"no"}}\n\n'
COUNTS = ToldUsage(input_tokens=3, output_tokens=4)


def read(*pieces, headers=EVENTS, dialect="images/generations"):
    """Return what is passed on, the token counts, and the failure."""
    stream = RawStream(dialect, headers)
    chunks = []
    for piece in pieces:
        chunks.append(stream.feed(piece))
        if stream.error is not None:
            break
    else:
        chunks.append(stream.close())
    chunks = [each for each in chunks if each is not None]
    usages = [each.usage for each in chunks if each.usage is not None]
    return b"".join(each.data for each in chunks), usages, stream.error


@pytest.mark.parametrize("headers", [EVENTS, JSON, SOUND, ()], ids=repr)
@pytest.mark.parametrize("size", [1, 7, 10_000])
def test_every_byte_is_passed_on_wherever_it_was_cut(headers, size):
    sent = PARTIAL + b": still here\n\n" + PARTIAL * 200 + COMPLETED
    pieces = [sent[i : i + size] for i in range(0, len(sent), size)]
    assert read(*pieces, headers=headers) == (sent, [COUNTS], None)


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
@pytest.mark.parametrize("size", [1, 10_000])
def test_a_failure_that_is_the_first_event_is_one_of_the_call(end, size):
    sent = FAILED.replace(b"\n", end)
    pieces = [sent[i : i + size] for i in range(0, len(sent), size)]
    told, usages, error = read(*pieces)
    assert (told, usages) == (b"", [])
    assert isinstance(error, UpstreamUnavailableError)


def test_a_failure_says_of_which_kind_it_is():
    busy = b'data: {"error":{"code":"rate_limit_exceeded","message":"slow down"}}\n\n'
    assert isinstance(read(busy)[2], UpstreamThrottledError)


def test_a_failure_behind_other_events_is_passed_on_and_known():
    for end in (b"", b"data: [DONE]\n\n", b": bye\n\n"):
        told, usages, error = read(PARTIAL, COMPLETED, FAILED + end)
        assert told == PARTIAL + COMPLETED + FAILED + end
        assert usages == [COUNTS]
        assert isinstance(error, UpstreamUnavailableError)


@pytest.mark.parametrize("text", [b'"error":null', b'"delta":"event: error \\"error\\":1"'])
def test_what_only_speaks_of_failures_is_none(text):
    event = b"data: {%b}\n\n" % text
    assert read(event) == (event, [], None)
    assert read(PARTIAL, event) == (PARTIAL + event, [], None)


def test_what_is_not_streamed_though_asked_is_an_answer_or_a_failure():
    answer = b'{"text":"heard",%b}' % USAGE
    assert read(answer[:9], answer[9:], headers=JSON) == (answer, [COUNTS], None)
    told, _, error = read(b'{"error":{"message":"no","type":"server_error"}}', headers=JSON)
    assert told == b""
    assert isinstance(error, UpstreamUnavailableError)


def test_of_sound_nothing_is_looked_into_but_its_events_are():
    assert read(USAGE, headers=SOUND, dialect=SPEECH) == (USAGE, [], None)
    told = read(b"data: {%b}\n\n" % USAGE, dialect=SPEECH)
    assert told[1:] == ([COUNTS], None)
