import json

import msgspec
import pytest

from app.errors import (
    UpstreamInvalidResponseError,
    UpstreamThrottledError,
    UpstreamUnavailableError,
)
from app.providers.chat.stream import ChatStream
from app.usage import ToldUsage

DONE = b"[DONE]"
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
    chat = ChatStream(max_event_bytes=9_000)
    assert chat.feed(b"data: " + b"x" * 8_000) is None
    assert (chat.error, chat.pending_bytes) == (None, 8_006)
    assert chat.feed(b"x" * 1_000) is None
    assert type(chat.error) is UpstreamInvalidResponseError


@pytest.mark.parametrize(
    "event",
    [
        b'event: error\ndata: {"message":"why","code":500}\n\n',
        b"event: error\ndata: why\n\n",
        b"event:error\ndata:\n\n",
        frame(b'{"message":"why","code":500}'),
        frame(b'{"detail":"why"}'),
        frame(b'{"base_resp":{"status_code":1000,"status_msg":"why"},"choices":null}'),
        frame(b'{"choices":[{"index":0,"delta":{"content":""},"finish_reason":"error"}]}'),
        frame(b'{"choices":[{"delta":{},"error":{"code":502,"message":"why"}}]}'),
    ],
)
def test_errors_of_every_shape_are_failures(event):
    chat = ChatStream()
    chat.feed(event)
    assert type(chat.error) is UpstreamUnavailableError


@pytest.mark.parametrize(
    "event",
    [
        b'{"choices":[{"delta":{"content":"a"}}],"error":""}',
        b'{"choices":[{"delta":{"content":"a"}}],"error":{"message":"","code":null}}',
        b'{"choices":[{"delta":{"content":"a"},"error":null}],"error":{}}',
        b'{"choices":[{"delta":{"content":"a"}}],"error":[]}',
        b'{"choices":[{"delta":{"content":"a"}}],"error":false}',
    ],
)
def test_an_error_that_says_nothing_is_none(event):
    chat = ChatStream()
    assert chat.feed(frame(event)).data == frame(event)
    assert chat.error is None


def test_the_name_of_an_event_is_its_own():
    chat = ChatStream()
    chunk = chat.feed(b"event: error\n\nevent: message\n" + frame(WORD))
    assert (chunk.data, chat.error) == (frame(WORD), None)


HALVES = [
    (b'"Hi \\ud83d"', b'"\\ude00 ok"'),
    (b'"Hi \xf0"', b'"\x9f\x98\x80 ok"'),
    (b'"Hi \xf0\x9f"', b'"\x98\x80 ok"'),
    (b'"Hi \xf0\x9f\x98"', b'"\x80 ok"'),
]


@pytest.mark.parametrize("pair", HALVES)
@pytest.mark.parametrize(
    "shape",
    [
        b'{"choices":[{"index":0,"delta":{"content":%b}}]}',
        b'{"choices":[{"index":1,"delta":{"reasoning_content":%b}}]}',
        b'{"choices":[{"delta":{"tool_calls":[{"index":0,"function":{"arguments":%b}}]}}]}',
    ],
)
@pytest.mark.parametrize("between", [b"", b'{"choices":[{"index":7,"delta":{"content":"x"}}]}'])
def test_a_character_that_two_events_share_is_put_together(pair, shape, between):
    chat = ChatStream()
    first, second = (frame(shape.replace(b"%b", part)) for part in pair)
    chunks = [
        chat.feed(read) for read in (first, between and frame(between), second, frame(DONE)) if read
    ]
    assert chat.done
    assert chat.error is None
    text = b"".join(chunk.data for chunk in chunks if chunk is not None).decode()
    assert "Hi " in text
    assert "\U0001f600 ok" in text
    assert "\ufffd" not in text


def test_half_a_character_without_the_other_is_replaced():
    chat = ChatStream()
    chunk = chat.feed(frame(b'{"choices":[{"delta":{"content":"a \\ud83d"}}]}', WORD))
    assert "\ufffd" in chunk.data.decode()
    whole = b'{"choices":[{"delta":{"content":"\\ude00 \xff","x\\ud83d":1},"logprobs":-Infinity}]}'
    data = ChatStream().feed(frame(whole)).data
    assert json.loads(data[6:]) == {
        "choices": [{"delta": {"content": "\ufffd \ufffd", "x\ufffd": 1}, "logprobs": None}]
    }


@pytest.mark.parametrize(
    "odd",
    [
        b'{"choices":[{"delta":{"content":"a"},"logprobs":{"content":[{"token":"\\ud83d"}]}}]}',
        b'{"choices":[{"delta":{"content":"a"},"logprobs":[NaN,Infinity,-Infinity,1e999]}]}',
        b'{"choices":[{"delta":{"content":"a"}}],"x":"\xff"}',
        b'{"choices":[{"delta":{"content":"a"}}],"x":"\x01"}',
        b'\xef\xbb\xbf{"choices":[{"delta":{"content":"a"}}]}',
    ],
)
def test_strict_clients_can_read_what_passes(odd):
    chunk = ChatStream().feed(frame(odd))
    assert msgspec.json.decode(chunk.data[6:])["choices"][0]["delta"] == {"content": "a"}
    assert (chunk.content_events, chunk.content_chars) == (1, 1)


def test_escaped_characters_pass_as_they_came():
    event = b'{"choices":[{"delta":{"content":"\\ud83d\\ude00 \\\\ud83d \\u00e9"}}]}'
    assert ChatStream().feed(frame(event)).data == frame(event)


def test_forgotten_blank_lines_are_put_in():
    chat = ChatStream()
    chunk = chat.feed(b"data: " + WORD + b"\ndata: " + WORD + b"\ndata: [DONE]")
    last = chat.close()
    assert (chunk.data if chunk else b"") + last.data == frame(WORD, WORD)
    assert chat.done
