import json

import pytest

from app.errors import (
    UpstreamInvalidResponseError,
    UpstreamThrottledError,
    UpstreamUnavailableError,
)
from app.gateway.session import identify
from app.head import NO_HEAD
from app.providers.base import Chunk
from app.providers.messages.stream import MessageStream
from app.usage import ToldUsage, Usage
from tests.support.fixtures import assembled, events, fixture
from tests.support.transcripts import turns_of


def read(data: bytes) -> tuple[MessageStream, list[Chunk]]:
    stream = MessageStream([(b"x-upstream-request-id", b"req_1")])
    chunk = stream.feed(data)
    stream.close()
    return stream, [] if chunk is None else [chunk]


def event(kind: str, **fields: object) -> bytes:
    return b"data: %b\n\n" % json.dumps({"type": kind, **fields}).encode()


START = event("message_start", message={"id": "msg_1", "model": "claude-x"})
TEXT = event("content_block_delta", index=0, delta={"type": "text_delta", "text": "a"})


def counted(chunk: Chunk) -> Usage | None:
    """Return the whole counts; 0 would stand where something was not told."""
    return None if chunk.usage is None else chunk.usage.filled(input_tokens=0, output_tokens=0)


def test_text_stream_becomes_openais_events():
    stream, chunks = read(fixture("anthropic/text.sse"))
    (chunk,) = chunks
    assert stream.done
    assert stream.error is None
    first, *middle, last = events(chunks)
    assert first["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert {each["id"] for each in (first, *middle, last)} == {"msg_01steelyard"}
    assert {each["object"] for each in (first, *middle, last)} == {"chat.completion.chunk"}
    assert last["choices"][0] == {
        "index": 0,
        "delta": {},
        "logprobs": None,
        "finish_reason": "stop",
    }
    assert assembled(chunks)["content"] == "A steelyard weighs — ⚖ — by its arm."
    assert (chunk.response_model, chunk.finish_reason) == ("claude-sonnet-5-5", "stop")
    assert (chunk.content_events, chunk.content_chars) == (3, 36)
    assert counted(chunk) == Usage(input_tokens=25, output_tokens=12)
    assert chunk.headers == ((b"x-upstream-request-id", b"req_1"),)
    assert json.loads(chunk.template)["choices"]


def test_tool_use_becomes_tool_calls_with_json_arguments():
    stream, chunks = read(fixture("anthropic/tool_use.sse"))
    assert stream.done
    message = assembled(chunks)
    assert message["content"] == "I'll look at the scales."
    assert message["finish_reason"] == "tool_calls"
    assert message["tool_calls"] == [
        {"id": "toolu_01a", "name": "weigh", "args": '{"item": "lead"}'},
        {"id": "toolu_01b", "name": "list_scales", "args": "{}"},
    ]


def test_prompt_tokens_include_those_of_the_cache():
    _, (chunk,) = read(fixture("anthropic/tool_use.sse"))
    assert counted(chunk) == Usage(
        input_tokens=377 + 40 + 2048,
        output_tokens=65,
        cached_input_tokens=2048,
        cache_write_tokens=40,
    )
    told = json.loads(chunk.usage_event)
    assert told["choices"] == []
    assert told["usage"] == {
        "prompt_tokens": 2465,
        "completion_tokens": 65,
        "total_tokens": 2530,
        "prompt_tokens_details": {"cached_tokens": 2048, "cache_write_tokens": 40},
        "completion_tokens_details": {"reasoning_tokens": 0},
    }


def test_thinking_is_told_as_it_comes_and_whole_with_its_signature():
    _, chunks = read(fixture("anthropic/thinking.sse"))
    message = assembled(chunks)
    assert message["reasoning_content"] == "Moments must balance."
    assert message["content"] == "Four to one."
    assert message["thinking_blocks"] == [
        {
            "type": "thinking",
            "thinking": "Moments must balance.",
            "signature": "EqQBCgIYAhIM1gbcDa9G",
        },
        {"type": "redacted_thinking", "data": "EmwKAhgBEgy3va3p"},
    ]
    assert chunks[0].usage.reasoning_tokens == 67


def test_a_history_with_signed_thinking_binds_the_conversation_to_its_model():
    _, chunks = read(fixture("anthropic/thinking.sse"))
    said = assembled(chunks)
    answer = {"role": "assistant", **{key: said[key] for key in ("content", "thinking_blocks")}}
    plain = {"role": "assistant", "content": said["content"]}
    ask = {"role": "user", "content": "And now?"}

    def lock(*messages: dict) -> object:
        fields = {"messages": json.dumps(messages).encode()}
        return identify(NO_HEAD, fields, turns_of(fields), scope="key").lock

    assert lock(ask, answer, ask) is not None
    assert lock(ask, plain, ask) is None


def test_refusal_is_told_with_its_explanation():
    _, chunks = read(fixture("anthropic/refusal.sse"))
    message = assembled(chunks)
    assert message["finish_reason"] == "content_filter"
    assert message["refusal"] == "This request was refused due to policy."


@pytest.mark.parametrize(
    ("name", "reason", "usage"),
    [
        ("usage_late", "length", Usage(input_tokens=12, output_tokens=6)),
        ("usage_never", "stop", None),
        ("server_tool", "stop", Usage(input_tokens=42, output_tokens=40)),
        ("future", "stop", Usage(input_tokens=25, output_tokens=3)),
    ],
)
def test_streams_out_of_the_ordinary_are_whole_answers(name, reason, usage):
    stream, chunks = read(fixture(f"anthropic/{name}.sse"))
    assert stream.done
    assert chunks[0].finish_reason == reason
    assert counted(chunks[0]) == usage
    assert (chunks[0].usage_event is None) is (usage is None)
    assert assembled(chunks)["content"]
    assert assembled(chunks)["tool_calls"] == []


@pytest.mark.parametrize(
    ("name", "cls", "said"),
    [
        ("overloaded", UpstreamUnavailableError, "A steelyard weighs — ⚖ — by its arm."),
        ("rate_limited", UpstreamThrottledError, None),
    ],
)
def test_failure_comes_after_what_was_said_before_it(name, cls, said):
    stream, chunks = read(fixture(f"anthropic/{name}.sse"))
    assert type(stream.error) is cls
    assert not stream.done
    assert (assembled(chunks)["content"] if chunks else None) == said
    assert all(chunk.usage.output_tokens is None for chunk in chunks)


def test_stream_that_is_cut_is_not_done():
    data = fixture("anthropic/text.sse")
    stream, chunks = read(data[: data.index(b"event: message_stop")])
    assert not stream.done
    assert stream.error is None
    assert chunks[0].usage_event is None


def test_what_is_told_at_the_beginning_counts_even_if_the_end_never_comes():
    usage = {
        "input_tokens": 20_000,
        "cache_read_input_tokens": 50_000,
        "cache_creation_input_tokens": 3_000,
        "output_tokens": 1,
    }
    stream = MessageStream()
    chunk = stream.feed(event("message_start", message={"id": "m", "usage": usage}))
    assert chunk.usage == ToldUsage(
        input_tokens=73_000, cached_input_tokens=50_000, cache_write_tokens=3_000
    )
    later = stream.feed(event("message_delta", usage={"output_tokens": 7}))
    assert later.usage.output_tokens == 7
    assert later.usage.input_tokens == 73_000


@pytest.mark.parametrize(
    "later",
    [
        {"input_tokens": 0, "output_tokens": 25},
        {"input_tokens": None, "output_tokens": 25, "cache_read_input_tokens": 0},
        {"input_tokens": 100, "output_tokens": 25},
        {"input_tokens": "", "output_tokens": 25.0},
        {"output_tokens": "25"},
    ],
)
def test_a_later_record_never_lowers_a_count(later):
    begun = {"input_tokens": 100, "cache_read_input_tokens": 400, "output_tokens": 1}
    _, (chunk,) = read(
        event("message_start", message={"id": "m", "usage": begun})
        + TEXT
        + event("message_delta", delta={"stop_reason": "end_turn"}, usage=later)
        + event("message_stop")
    )
    assert counted(chunk) == Usage(input_tokens=500, output_tokens=25, cached_input_tokens=400)
    assert json.loads(chunk.usage_event)["usage"]["prompt_tokens"] == 500


def test_an_answer_of_nothing_is_none():
    stream, _ = read(START + event("message_stop"))
    assert type(stream.error) is UpstreamInvalidResponseError
    assert not stream.done
    silent, _ = read(
        START + event("message_delta", delta={"stop_reason": "end_turn"}) + event("message_stop")
    )
    assert silent.done  # the model had nothing to say, and says so


def test_fields_of_another_shape_are_as_good_as_absent():
    _, chunks = read(
        event("message_start", message={"id": None, "model": 7, "usage": [], "content": None})
        + event("content_block_start", index=None, content_block={"type": "text", "text": None})
        + event("content_block_delta", index=None, delta={"type": "text_delta", "text": "He"})
        + event("content_block_delta", index=0, delta={"type": "text_delta", "text": None})
        + event("content_block_delta", index=0, delta={"type": "text_delta", "text": "llo"})
        + event("content_block_start", index=1, content_block={"type": "new", "data": {"a": 1}})
        + event("content_block_stop", index=1)
        + event("message_delta", delta={"stop_reason": "end_turn", "stop_details": "none"})
        + event("message_stop")
    )
    assert assembled(chunks)["content"] == "Hello"
    assert chunks[0].finish_reason == "stop"


def test_a_block_whose_beginning_is_left_out():
    _, chunks = read(
        START
        + event("content_block_delta", index=3, delta={"type": "text_delta", "text": "a"})
        + event("message_delta", delta={"stop_reason": "end_turn"})
        + event("message_stop")
    )
    assert assembled(chunks)["content"] == "a"


def test_a_character_cut_into_two_events_is_put_together():
    def text(escaped: str) -> bytes:
        return (
            b'data: {"type":"content_block_delta","index":0,'
            b'"delta":{"type":"text_delta","text":"%b"}}\n\n' % escaped.encode()
        )

    stream, chunks = read(
        START
        + event("content_block_start", index=0, content_block={"type": "text", "text": ""})
        + text("Hi \\ud83d")
        + text("\\ude00 ok \\udc00")
        + event("message_delta", delta={"stop_reason": "end_turn"})
        + event("message_stop")
    )
    assert stream.done
    assert assembled(chunks)["content"] == "Hi \U0001f600 ok \ufffd"


def test_an_error_without_a_type_is_one():
    stream, _ = read(START + b'data: {"error":{"message":"Overloaded","type":"api_error"}}\n\n')
    assert isinstance(stream.error, UpstreamUnavailableError)


def test_role_announcement_and_pings_are_no_content():
    stream = MessageStream()
    assert not stream.feed(START).has_content
    assert stream.feed(event("ping")) is None
    assert stream.feed(b": keep-alive\n\n").data == b": keep-alive\n\n"


def test_input_that_comes_whole_with_the_block_is_kept():
    block = {"type": "tool_use", "id": "t", "name": "f", "input": {"a": [1]}}
    _, chunks = read(
        START
        + event("content_block_start", index=0, content_block=block)
        + event("content_block_stop", index=0)
    )
    assert assembled(chunks)["tool_calls"] == [{"id": "t", "name": "f", "args": '{"a": [1]}'}]


@pytest.mark.parametrize(
    "data",
    [
        b"data: {not json\n\n",
        b"data: [1]\n\n",
        event("content_block_delta", index=3, delta={"type": "input_json_delta"}),
        b"data: " + b"[" * 100_000 + b"\n\n",
    ],
)
def test_what_is_no_message_stream_is_an_invalid_response(data):
    stream, chunks = read(START + data)
    assert type(stream.error) is UpstreamInvalidResponseError
    assert len(chunks) == 1


def test_text_before_the_beginning_is_an_invalid_response():
    stream, _ = read(event("content_block_start", content_block={"type": "text", "text": "a"}))
    assert type(stream.error) is UpstreamInvalidResponseError


@pytest.mark.parametrize(
    ("usage", "told"),
    [
        ({"input_tokens": -1, "output_tokens": 1}, (None, 1)),
        ({"input_tokens": 1, "output_tokens": -1}, (1, None)),
        ({"input_tokens": "many", "output_tokens": True}, (None, None)),
        ({"input_tokens": 10**30, "output_tokens": 1}, (None, 1)),
        ({"output_tokens": 1}, (None, 1)),
    ],
)
def test_counts_that_cannot_be_are_left_to_be_estimated(usage, told):
    _, (chunk,) = read(START + TEXT + event("message_delta", usage=usage) + event("message_stop"))
    assert (chunk.usage.input_tokens, chunk.usage.output_tokens) == told
    assert chunk.usage_event is None
