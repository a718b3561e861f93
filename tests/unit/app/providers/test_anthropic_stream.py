import json

import pytest

from app.errors import (
    UpstreamInvalidResponseError,
    UpstreamThrottledError,
    UpstreamUnavailableError,
)
from app.gateway.session import identify
from app.providers._anthropic_stream import MessageStream
from app.providers._base import Chunk
from app.types import ToldUsage, Usage
from tests.support.fixtures import assembled, events, fixture


def read(data: bytes) -> tuple[MessageStream, list[Chunk]]:
    stream = MessageStream([(b"x-upstream-request-id", b"req_1")])
    chunk = stream.feed(data)
    stream.close()
    return stream, [] if chunk is None else [chunk]


def event(kind: str, **fields: object) -> bytes:
    return b"data: %b\n\n" % json.dumps({"type": kind, **fields}).encode()


START = event("message_start", message={"id": "msg_1", "model": "claude-x"})


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
    assert chunk.usage == ToldUsage.of(Usage(input_tokens=25, output_tokens=12))
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
    assert chunk.usage == ToldUsage.of(
        Usage(input_tokens=377 + 40 + 2048, output_tokens=65, cached_input_tokens=2048)
    )
    told = json.loads(chunk.usage_event)
    assert told["choices"] == []
    assert told["usage"] == {
        "prompt_tokens": 2465,
        "completion_tokens": 65,
        "total_tokens": 2530,
        "prompt_tokens_details": {"cached_tokens": 2048, "cache_creation_tokens": 40},
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
        return identify((), fields, scope="key").lock

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
    assert chunks[0].usage == (None if usage is None else ToldUsage.of(usage))
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
    assert all(chunk.usage is None for chunk in chunks)


def test_stream_that_is_cut_is_not_done():
    data = fixture("anthropic/text.sse")
    stream, chunks = read(data[: data.index(b"event: message_stop")])
    assert not stream.done
    assert stream.error is None
    assert chunks[0].usage is None


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
        b"data: {}\n\n",
        event("content_block_start", index="x", content_block={"type": "text"}),
        event("content_block_delta", index=3, delta={"type": "text_delta", "text": "a"}),
        event("message_start", message={"usage": {"input_tokens": "many"}}),
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
    "usage",
    [
        {"input_tokens": -1, "output_tokens": 1},
        {"input_tokens": 1, "output_tokens": -1},
        {"input_tokens": 1, "output_tokens": 1, "cache_read_input_tokens": -5},
        {"input_tokens": 1, "output_tokens": 1, "output_tokens_details": {"thinking_tokens": 2}},
        {"output_tokens": 1},
    ],
)
def test_counts_that_cannot_be_are_left_to_be_estimated(usage):
    _, (chunk,) = read(START + event("message_delta", usage=usage) + event("message_stop"))
    assert chunk.usage is None
