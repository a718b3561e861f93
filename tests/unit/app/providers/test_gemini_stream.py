import json

import pytest

from app.errors import UpstreamInvalidResponseError, UpstreamUnavailableError
from app.providers.base import Chunk
from app.providers.generate_content.stream import GenerateStream
from app.usage import Usage
from tests.support.fixtures import assembled, events, fixture


def read(name: str) -> tuple[GenerateStream, list[Chunk]]:
    stream = GenerateStream()
    chunks = [stream.feed(fixture(f"gemini/{name}.sse")), stream.close()]
    return stream, [chunk for chunk in chunks if chunk is not None]


def counted(chunks: list[Chunk]) -> Usage | None:
    told = [chunk.usage for chunk in chunks if chunk.usage is not None]
    return told[-1].filled(input_tokens=0, output_tokens=0) if told else None


def test_text_stream_becomes_openais_events():
    stream, chunks = read("text")
    assert stream.done
    assert stream.error is None
    first, *_, last = events(chunks)
    assert first["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert last["choices"][0]["finish_reason"] == "stop"
    assert {each["id"] for each in events(chunks)} == {"c2sVaeOyNeiQ28oP0PKRwQ8"}
    assert {each["model"] for each in events(chunks)} == {"gemini-3-flash-preview"}
    assert assembled(chunks)["content"] == "A steelyard weighs — ⚖ — by its arm."
    assert [chunk.response_model for chunk in chunks] == ["gemini-3-flash-preview", None]
    assert sum(chunk.content_chars for chunk in chunks) == 36
    assert counted(chunks) == Usage(input_tokens=25, output_tokens=12)
    assert chunks[0].headers == ((b"x-upstream-request-id", b"c2sVaeOyNeiQ28oP0PKRwQ8"),)


def test_usage_is_told_once_at_the_end_with_thoughts_and_cached_tokens():
    _, chunks = read("thinking")
    (usage,) = [json.loads(chunk.usage_event) for chunk in chunks if chunk.usage_event]
    assert usage["choices"] == []
    assert usage["usage"] == {
        "prompt_tokens": 40,
        "completion_tokens": 35,
        "total_tokens": 75,
        "prompt_tokens_details": {"cached_tokens": 16, "cache_write_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 30},
    }
    assert counted(chunks) == Usage(
        input_tokens=40, output_tokens=35, cached_input_tokens=16, reasoning_tokens=30
    )


def test_thoughts_are_reasoning_and_their_seal_comes_along():
    _, chunks = read("thinking")
    message = assembled(chunks)
    assert message["reasoning_content"] == "**Looking at the scales**\n\n"
    assert message["content"] == "Lead is heavier."
    seals = [event["choices"][0]["delta"].get("extra_content") for event in events(chunks)]
    assert [each for each in seals if each] == [{"google": {"thought_signature": "EpYBCpMBseal"}}]


def test_tool_calls_have_ids_stable_indexes_and_their_seal():
    _, chunks = read("tool_calls")
    deltas = [
        call
        for event in events(chunks)
        for call in event["choices"][0]["delta"].get("tool_calls") or ()
    ]
    assert [each["index"] for each in deltas] == [0, 1]
    assert [each["id"] for each in deltas] == ["jh3kq1w9", "call_c2sVaeOyNeiQ28oP0PKRwQ8_1"]
    assert deltas[0]["extra_content"] == {"google": {"thought_signature": "EqACcall"}}
    assert [json.loads(each["function"]["arguments"]) for each in deltas] == [{"item": "lead"}, {}]
    assert assembled(chunks)["finish_reason"] == "tool_calls"


def test_a_reason_in_every_event_ends_the_answer_once():
    stream, chunks = read("stop_in_every_event")
    assert stream.done
    assert assembled(chunks)["content"] == "A steelyard weighs."
    reasons = [each["choices"][0]["finish_reason"] for each in events(chunks)]
    assert [each for each in reasons if each] == ["stop"]


@pytest.mark.parametrize("name", ["blocked_prompt", "safety"])
def test_what_a_filter_stops_says_so(name):
    stream, chunks = read(name)
    assert stream.done
    message = assembled(chunks)
    assert message["finish_reason"] == chunks[-1].finish_reason == "content_filter"
    assert "filter" in message["refusal"]
    assert counted(chunks).input_tokens == 9


def test_the_limit_is_told():
    _, chunks = read("max_tokens")
    assert assembled(chunks)["finish_reason"] == "length"


@pytest.mark.parametrize("name", ["text", "tool_calls", "thinking"])
def test_a_stream_that_ends_before_a_reason_is_not_over(name):
    data = fixture(f"gemini/{name}.sse")
    stream = GenerateStream()
    stream.feed(data[: data.rindex(b"data: ")])
    assert stream.close() is None
    assert not stream.done


def test_a_model_that_gives_up_has_not_answered():
    stream, _ = read("malformed_call")
    assert not stream.done
    assert isinstance(stream.error, UpstreamInvalidResponseError)
    assert "MALFORMED_FUNCTION_CALL" in stream.error.message


def test_an_error_event_fails_the_stream_after_what_was_said():
    stream, chunks = read("overloaded")
    assert isinstance(stream.error, UpstreamUnavailableError)
    assert assembled(chunks)["content"] == "A steelyard"


def test_what_nobody_knows_yet_breaks_nothing():
    stream, chunks = read("future")
    assert stream.done
    assert assembled(chunks)["content"] == "Hi"
    assert assembled(chunks)["finish_reason"] == "stop"


def test_characters_cut_in_halves_are_joined():
    stream = GenerateStream()
    head = b'data: {"candidates":[{"content":{"parts":[{"text":"%b"}]}%b}],"responseId":"r"}\n\n'
    chunks = [
        stream.feed(head % (rb"\ud83d", b"")),
        stream.feed(head % (rb"\ude00", b',"finishReason":"STOP"')),
        stream.close(),
    ]
    assert assembled(chunk for chunk in chunks if chunk)["content"] == "😀"


def test_an_event_of_odd_values_is_read_as_far_as_it_can_be():
    stream = GenerateStream()
    chunk = stream.feed(
        b'data: {"candidates":[{"content":{"parts":[{"text":7},{"text":"a"}]},"finishReason":1}],'
        b'"usageMetadata":{"promptTokenCount":-5,"candidatesTokenCount":1e300}}\n\n'
    )
    assert assembled([chunk])["content"] == "a"
    assert chunk.usage is None or chunk.usage.input_tokens is None
