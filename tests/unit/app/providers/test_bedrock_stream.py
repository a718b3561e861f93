import json

import pytest

from app.errors import (
    UpstreamInvalidResponseError,
    UpstreamThrottledError,
    UpstreamUnavailableError,
)
from app.providers.base import Chunk
from app.providers.converse.stream import ConverseStream
from app.usage import Usage
from tests.support.event_streams import event, recorded
from tests.support.fixtures import assembled, events

HEADERS = ((b"x-upstream-request-id", b"req-1"),)


def read(name: str, *, without_last: int = 0) -> tuple[ConverseStream, list[Chunk]]:
    stream = ConverseStream(HEADERS, model="nova")
    messages = recorded(name)
    chunk = stream.feed(b"".join(messages[: len(messages) - without_last]))
    stream.close()
    return stream, [] if chunk is None else [chunk]


def counted(chunk: Chunk) -> Usage:
    return chunk.usage.filled(input_tokens=0, output_tokens=0)


def test_text_stream_becomes_openais_events():
    stream, chunks = read("text")
    (chunk,) = chunks
    assert stream.done
    first, *_, last = events(chunks)
    assert first["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert {each["id"] for each in events(chunks)} == {"req-1"}
    assert {each["model"] for each in events(chunks)} == {"nova"}
    assert last["choices"][0]["finish_reason"] == chunk.finish_reason == "stop"
    assert assembled(chunks)["content"] == "A steelyard weighs — ⚖ — by its arm."
    assert (chunk.content_events, chunk.content_chars) == (3, 36)
    assert counted(chunk) == Usage(input_tokens=25, output_tokens=12)
    assert chunk.headers == HEADERS
    assert json.loads(chunk.usage_event)["usage"]["total_tokens"] == 37


def test_tool_calls_come_in_pieces_with_stable_indexes():
    _, chunks = read("tool_use")
    message = assembled(chunks)
    assert message["finish_reason"] == "tool_calls"
    assert message["tool_calls"] == [
        {"id": "tooluse_a1", "name": "weigh", "args": '{"item": "lead"}'},
        {"id": "tooluse_b2", "name": "list_scales", "args": "{}"},
    ]


def test_tokens_of_the_cache_are_part_of_the_prompt():
    _, (chunk,) = read("tool_use")
    assert counted(chunk) == Usage(
        input_tokens=377 + 2048 + 40,
        output_tokens=65,
        cached_input_tokens=2048,
        cache_write_tokens=40,
    )
    details = json.loads(chunk.usage_event)["usage"]["prompt_tokens_details"]
    assert details == {"cached_tokens": 2048, "cache_write_tokens": 40}


def test_thinking_is_told_as_it_comes_and_whole_with_its_seal():
    _, chunks = read("thinking")
    message = assembled(chunks)
    assert message["reasoning_content"] == "Lead or tin?"
    assert message["content"] == "Lead."
    assert message["thinking_blocks"] == [
        {"type": "thinking", "thinking": "Lead or tin?", "signature": "c2VhbA=="},
        {"type": "redacted_thinking", "data": "aGlkZGVu"},
    ]


@pytest.mark.parametrize(
    ("name", "reason"),
    [("guardrail", "content_filter"), ("usage_never", "length"), ("future", "stop")],
)
def test_reasons_to_end(name, reason):
    stream, chunks = read(name)
    assert stream.done
    assert assembled(chunks)["finish_reason"] == reason


@pytest.mark.parametrize("name", ["text", "tool_use", "thinking"])
def test_a_stream_that_ends_before_its_reason_is_not_over(name):
    stream, _ = read(name, without_last=2)
    assert not stream.done
    assert stream.error is None


def test_a_stream_that_ends_within_an_event_is_not_over():
    stream = ConverseStream()
    stream.feed(b"".join(recorded("text"))[:-1])
    stream.close()
    assert not stream.done


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("throttled", UpstreamThrottledError),
        ("failed_at_once", UpstreamUnavailableError),
        ("malformed", UpstreamInvalidResponseError),
    ],
)
def test_failures_inside_the_stream(name, error):
    stream, _ = read(name)
    assert not stream.done
    assert type(stream.error) is error


def test_what_was_said_before_a_failure_is_told():
    _, chunks = read("throttled")
    assert assembled(chunks)["content"] == "A steelyard"


def test_input_of_a_tool_that_had_not_begun_is_refused():
    stream = ConverseStream()
    piece = {"contentBlockIndex": 0, "delta": {"toolUse": {"input": "{}"}}}
    stream.feed(event("messageStart", {"role": "assistant"}) + event("contentBlockDelta", piece))
    assert isinstance(stream.error, UpstreamInvalidResponseError)


def test_absurd_counts_are_refused():
    stream = ConverseStream()
    usage = {"inputTokens": -4, "outputTokens": 10**12, "totalTokens": 3}
    chunk = stream.feed(
        event("messageStart", {"role": "assistant"})
        + event("messageStop", {"stopReason": "end_turn"})
        + event("metadata", {"usage": usage})
    )
    assert chunk.usage is None or chunk.usage.output_tokens is None
