import pytest

from app.errors import (
    UpstreamInvalidResponseError,
    UpstreamThrottledError,
    UpstreamUnavailableError,
)
from app.providers._chat_stream import ChatStream
from app.types import ToldUsage

ROLE = b'{"id":"c","model":"m-1","choices":[{"index":0,"delta":{"role":"assistant","content":""}}]}'
WORD = b'{"id":"c","model":"m-1","choices":[{"index":0,"delta":{"content":"word"}}],"usage":null}'
FINISH = b'{"id":"c","model":"m-1","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}'
USAGE = b'{"id":"c","model":"m-1","choices":[],"usage":{"prompt_tokens":3,"completion_tokens":4}}'
COUNTS = ToldUsage(input_tokens=3, output_tokens=4)


def frame(*events: bytes) -> bytes:
    return b"".join(b"data: %b\n\n" % event for event in events)


def test_whole_canonical_events_are_forwarded_as_the_very_bytes_that_came():
    data = frame(ROLE, WORD)
    chunk = ChatStream().feed(data)
    assert chunk.data is data
    assert chunk.has_content
    assert (chunk.content_events, chunk.content_chars) == (1, 4)
    assert chunk.response_model == "m-1"
    assert chunk.template == WORD


def test_role_announcement_is_no_content():
    assert not ChatStream().feed(frame(ROLE)).has_content


def test_finish_reason_is_content_and_is_told():
    chunk = ChatStream().feed(frame(FINISH))
    assert chunk.has_content
    assert chunk.finish_reason == "stop"


def test_usage_event_is_taken_out():
    chunk = ChatStream().feed(frame(FINISH, USAGE))
    assert chunk.data == frame(FINISH)
    assert chunk.usage == COUNTS
    assert chunk.usage_event == USAGE


def test_usage_inside_an_ordinary_event_stays_and_is_recorded():
    event = WORD.replace(b"null", b'{"prompt_tokens":3,"completion_tokens":4}')
    chunk = ChatStream().feed(frame(event))
    assert chunk.data == frame(event)
    assert chunk.usage == COUNTS
    assert chunk.usage_event is None


def test_event_without_any_choice_is_for_no_client():
    # Recorded shape of Azure's first event: what the content filter thinks of the prompt.
    event = b'{"choices":[],"created":0,"id":"","model":"","object":"","prompt_filter_results":[]}'
    chunk = ChatStream().feed(frame(event, WORD))
    assert chunk.data == frame(WORD)
    assert chunk.response_model == "m-1"
    assert ChatStream().feed(frame(event)) is None


def test_end_marker_is_never_in_the_data():
    chat = ChatStream()
    chunk = chat.feed(frame(FINISH, USAGE, b"[DONE]") + b"data: after the end\n\n")
    assert chunk.data == frame(FINISH)
    assert chat.done
    assert chat.error is None


def test_end_marker_alone_brings_no_chunk():
    chat = ChatStream()
    assert chat.feed(frame(b"[DONE]")) is None
    assert chat.done


def test_end_marker_without_line_end_counts_when_the_connection_ends():
    chat = ChatStream()
    assert chat.feed(b"data: [DONE]") is None
    assert not chat.done
    chat.close()
    assert chat.done


def test_other_framings_become_canonical():
    chat = ChatStream()
    pretty = b'{"id":"c",\n"choices":[{"delta":{"content":"x"}}]}'
    data = (
        b": ping\r\n\r\ndata:%b\r\n\r\n" % WORD
        + b"event: e\ndata: "
        + pretty.replace(b"\n", b"\ndata: ")
        + b"\n\ndata:\n\n"
    )
    chunk = chat.feed(data)
    assert chunk.data == b": ping\n\n" + frame(WORD, pretty.replace(b"\n", b" "))
    assert chunk.content_events == 2


def test_comment_alone_is_a_chunk_without_content():
    chunk = ChatStream().feed(b": keep-alive\n\n")
    assert chunk.data == b": keep-alive\n\n"
    assert not chunk.has_content


def test_part_of_an_event_brings_no_chunk_until_it_is_whole():
    chat = ChatStream()
    data = frame(WORD)
    assert chat.feed(data[:20]) is None
    assert chat.feed(data[20:]).data == data


def test_headers_come_with_the_first_chunk_only():
    chat = ChatStream([(b"openai-version", b"1")])
    assert chat.feed(b"data: {") is None
    assert chat.feed(b'"choices":[{}]}\n\n').headers == ((b"openai-version", b"1"),)
    assert chat.feed(frame(WORD)).headers == ()


def test_all_choices_count():
    event = (
        b'{"choices":[{"index":0,"delta":{"content":"ab"}},'
        b'{"index":1,"delta":{"content":"c"},"finish_reason":"length"},{"index":2}]}'
    )
    chunk = ChatStream().feed(frame(event))
    assert (chunk.content_events, chunk.content_chars) == (2, 3)
    assert chunk.finish_reason == "length"


@pytest.mark.parametrize(
    ("event", "cls"),
    [
        (b'{"error":{"message":"m","type":"server_error"}}', UpstreamUnavailableError),
        (b'{"error":{"code":"rate_limit_exceeded"},"choices":[]}', UpstreamThrottledError),
        (b'{"error":true}', UpstreamUnavailableError),
        # Older vLLM servers end a failed stream with this and then [DONE].
        (b'{"object":"error","message":"m","code":400}', UpstreamUnavailableError),
        (b"{not json", UpstreamInvalidResponseError),
        (b"[1]", UpstreamInvalidResponseError),
    ],
)
def test_failure_comes_after_what_was_said_before_it(event, cls):
    chat = ChatStream()
    chunk = chat.feed(frame(WORD, event, WORD))
    assert chunk.data == frame(WORD)
    assert type(chat.error) is cls
    assert not chat.done


def test_event_that_never_ends_is_a_failure():
    chat = ChatStream()
    assert chat.feed(b"data: " + b"x" * 9_000_000) is None
    assert type(chat.error) is UpstreamInvalidResponseError
