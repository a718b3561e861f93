"""The events of a Response, read by the official SDK and against the whole answer."""

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai import NOT_GIVEN
from openai._models import construct_type
from openai.lib.streaming.responses._responses import ResponseStreamState
from openai.types.responses import ResponseStreamEvent
from pydantic import TypeAdapter

from app.usage import Usage
from app.wire.responses.answer import Ids, echo_of, response_of, usage_object
from app.wire.responses.stream import ResponseStream
from app.wire.tool_names import Tool, ToolKind, ToolNames

_EVENT: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)
_USAGE = usage_object(
    Usage(input_tokens=9, output_tokens=7, cached_input_tokens=2, reasoning_tokens=3),
    cost_usd=0.25,
)
_TOOLS = [
    {
        "type": "function",
        "name": "f",
        "parameters": {"type": "object"},
        "strict": False,
        "description": "",
    }
]
_ECHO = echo_of({"tools": msgspec.json.encode(_TOOLS), "instructions": b'"Be brief."'})


def names() -> ToolNames:
    made = ToolNames()
    made.add(Tool("f"))
    made.add(Tool("apply_patch", None, ToolKind.CUSTOM))
    made.add(Tool("read", "files"))
    return made


def event(delta: dict[str, Any], finish_reason: str | None = None, **more: Any) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish_reason, **more}
    chunk = {"id": "c", "object": "x", "created": 1_700_000_000, "model": "m", "choices": [choice]}
    return b"data: " + msgspec.json.encode(chunk) + b"\n\n"


def call(index: int, arguments: str, name: str | None = None) -> dict[str, Any]:
    made: dict[str, Any] = {"index": index, "function": {"arguments": arguments}}
    if name is not None:
        made |= {"id": f"call_{index}", "type": "function"}
        made["function"]["name"] = name
    return {"tool_calls": [made]}


def written(events: list[bytes], size: int = 1) -> list[dict[str, Any]]:
    stream = ResponseStream(Ids("t"), _ECHO, names(), now=5)
    out = b"".join(
        stream.events(b"".join(events[i : i + size])) for i in range(0, len(events), size)
    )
    return list(payloads(out + stream.end(_USAGE, now=6)[0]))


def payloads(out: bytes) -> Iterator[dict[str, Any]]:
    for block in out.decode().split("\n\n"):
        lines = block.split("\n")
        if lines[0].startswith("event: "):
            payload = msgspec.json.decode(lines[1].removeprefix("data: "))
            assert payload["type"] == lines[0].removeprefix("event: ")
            yield payload


def read_by_the_sdk(events: list[dict[str, Any]]) -> Any:
    """Return what the SDK's own accumulator makes of a stream; it raises at what is no stream."""
    state: ResponseStreamState[Any] = ResponseStreamState(input_tools=[], text_format=NOT_GIVEN)
    for each in events:
        _EVENT.validate_python(each)
        state.handle_event(construct_type(type_=ResponseStreamEvent, value=each))
    return state._completed_response


TEXT = [
    event({"role": "assistant", "content": ""}),
    event({"reasoning_content": "Let me "}),
    event({"reasoning_content": "think."}),
    event({"content": "Hel"}),
    event({"content": "lo"}),
]
CALLS = [
    event(call(0, "", "f")),
    event(call(1, '{"inp', "apply_patch")),
    event(call(0, '{"a"')),
    event(call(1, 'ut":"PATCH"}')),
    event(call(0, ":1}")),
    event(call(2, "{}", "files__read")),
    event({}, "tool_calls"),
]


@pytest.mark.parametrize("size", [1, 2, 3, 100])
def test_the_sdk_reads_text_thinking_and_calls_however_they_are_chunked(size):
    events = written(TEXT + CALLS, size)
    assert [each["sequence_number"] for each in events] == list(range(len(events)))
    assert [each["type"] for each in events[:2]] == ["response.created", "response.in_progress"]
    response = read_by_the_sdk(events)
    thinking, message, f, patch, read = response.output
    assert thinking.summary[0].text == "Let me think."
    assert message.content[0].text == "Hello"
    assert (f.type, f.call_id, f.name, f.arguments) == ("function_call", "call_0", "f", '{"a":1}')
    assert (patch.type, patch.input) == ("custom_tool_call", "PATCH")
    assert (read.name, read.namespace) == ("read", "files")
    assert (response.status, response.created_at) == ("completed", 1_700_000_000)
    assert response.instructions == "Be brief."
    usage = response.usage
    assert (usage.input_tokens, usage.input_tokens_details.cached_tokens) == (9, 2)
    assert (usage.output_tokens_details.reasoning_tokens, usage.total_tokens) == (3, 16)


def test_text_after_calls_is_an_item_after_them():
    response = read_by_the_sdk(
        written([event(call(0, "{}", "f")), event({"content": "Done."}), event({}, "stop")])
    )
    assert [each.type for each in response.output] == ["function_call", "message"]


def test_an_answer_without_anything_is_an_empty_message():
    response = read_by_the_sdk(written([event({"role": "assistant"}), event({}, "stop")]))
    assert response.output[0].content[0].text == ""


def test_a_refusal_is_a_part_of_its_own():
    response = read_by_the_sdk(written([event({"refusal": "No"}), event({"refusal": "."}, "stop")]))
    assert response.output[0].content[0].refusal == "No."


@pytest.mark.parametrize(
    ("finish_reason", "reason"),
    [("length", "max_output_tokens"), ("content_filter", "content_filter")],
)
def test_an_answer_that_was_cut_is_incomplete(finish_reason, reason):
    events = written([event({"content": "a"}), event({}, finish_reason)])
    assert events[-1]["type"] == "response.incomplete"
    assert events[-1]["response"]["incomplete_details"] == {"reason": reason}
    read_by_the_sdk(events)


def test_a_stream_that_breaks_ends_as_failed():
    stream = ResponseStream(Ids("t"), _ECHO, names(), now=5)
    out = stream.events(event({"content": "a"}))
    out += stream.failed({"code": "server_error", "message": "gone"})
    last = list(payloads(out))[-1]
    assert (last["type"], last["response"]["status"]) == ("response.failed", "failed")
    assert last["response"]["error"] == {"code": "server_error", "message": "gone"}
    _EVENT.validate_python(last)


def test_comments_go_on_to_the_client():
    stream = ResponseStream(Ids("t"), _ECHO, names(), now=5)
    assert stream.events(b": ping\n\n") == b": ping\n\n"


def test_logprobs_are_told_where_there_are_some():
    token = {"token": "a", "logprob": -0.5, "bytes": [97], "top_logprobs": []}
    events = written([event({"content": "a"}, "stop", logprobs={"content": [token]})])
    delta = next(each for each in events if each["type"] == "response.output_text.delta")
    assert delta["logprobs"][0]["logprob"] == -0.5
    part = events[-1]["response"]["output"][0]["content"][0]
    assert [each["logprob"] for each in part["logprobs"]] == [-0.5]


_TEXTS = st.lists(st.text(min_size=1, max_size=5), max_size=3)


@given(_TEXTS, _TEXTS, st.lists(_TEXTS, max_size=3), st.sampled_from(["stop", "length"]))
def test_a_stream_and_the_whole_answer_come_to_the_same(thoughts, texts, calls, finish_reason):
    events = [event({"reasoning_content": each}) for each in thoughts]
    events += [event({"content": each}) for each in texts]
    for i, pieces in enumerate(calls):
        events.append(event(call(i, "", "f")))
        events += [event(call(i, piece)) for piece in pieces]
    events.append(event({}, finish_reason))
    message = {
        "role": "assistant",
        "content": "".join(texts) or None,
        "reasoning_content": "".join(thoughts) or None,
        "tool_calls": [
            {
                "id": f"call_{i}",
                "type": "function",
                "function": {"name": "f", "arguments": "".join(pieces)},
            }
            for i, pieces in enumerate(calls)
        ]
        or None,
    }
    body = msgspec.json.encode(
        {
            "created": 1_700_000_000,
            "model": "m",
            "choices": [{"index": 0, "message": message, "finish_reason": finish_reason}],
        }
    )
    whole = response_of(body, Ids("t"), _ECHO, names(), usage=_USAGE, now=6)
    streamed = written(events)[-1]["response"]
    for response in (whole, streamed):
        for item in response["output"]:
            item.pop("status", None)
    assert msgspec.json.decode(msgspec.json.encode(whole)) == streamed
