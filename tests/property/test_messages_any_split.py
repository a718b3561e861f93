"""However a chat server cuts an answer, the client's own accumulator puts the same together."""

import json
import random

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.usage import Usage
from app.wire.messages.answer import Told, to_message
from app.wire.messages.names import ToolNames
from app.wire.messages.stream import MessageEvents
from tests.support.messages import accumulated, events_of

USAGE = Usage(input_tokens=50, output_tokens=9, cached_input_tokens=20, reasoning_tokens=3)
BEGIN = b'data: {"model":"m"}\n\n'
TELLS = Told(message_id="msg_1", names=ToolNames(["fs.read", "plain"]), stop_sequences=["END"])

TEXTS = st.text('ab \n"\\{}é😀', max_size=30)
INPUTS = st.dictionaries(TEXTS, st.integers(-9, 9) | TEXTS, max_size=3)
CALLS = st.lists(
    st.tuples(st.sampled_from([*TELLS.names.renamed.values(), "plain"]), INPUTS), max_size=3
)


@st.composite
def answers(draw):
    """Draw a whole message of a chat server, and the events of a stream that says the same."""
    thought, text, calls = draw(TEXTS), draw(TEXTS), draw(CALLS)
    rng = random.Random(draw(st.integers(0, 10**6)))
    message = {"role": "assistant", "content": text or None}
    if thought:
        message["reasoning_content"] = thought
    deltas = [{"role": "assistant", "content": ""}]
    deltas += [{"reasoning_content": each} for each in cut(thought, rng)]
    deltas += [{"content": each} for each in cut(text, rng)]
    queues = []
    for i, (name, given_input) in enumerate(calls):
        written = json.dumps(given_input)
        function = {"name": name, "arguments": written}
        call = {"id": f"call_{i}", "type": "function", "function": function}
        message.setdefault("tool_calls", []).append(call)
        start = {**call, "index": i, "function": {"name": name, "arguments": ""}}
        pieces = [{"index": i, "function": {"arguments": each}} for each in cut(written, rng)]
        queues.append([start, *pieces])
    # Calls begin in their order, and may come mixed from then on.
    begun = 0
    while any(queues):
        chosen = rng.choice([i for i, queue in enumerate(queues) if queue and i <= begun])
        begun = max(begun, chosen + 1)
        deltas.append({"tool_calls": [queues[chosen].pop(0)]})
    reason = "tool_calls" if calls else "stop"
    whole = {"model": "m", "choices": [{"message": message, "finish_reason": reason}]}
    chunks = [{"model": "m", "choices": [{"index": 0, "delta": each}]} for each in deltas]
    chunks.append({"choices": [{"index": 0, "delta": {}, "finish_reason": reason}]})
    return whole, [b"data: %b\n\n" % msgspec.json.encode(each) for each in chunks]


def cut(text, rng):
    """Return a text in pieces, some of them empty."""
    at = sorted(rng.randint(0, len(text)) for _ in range(rng.randint(0, 3)))
    return [text[start:end] for start, end in zip([0, *at], [*at, len(text)], strict=True)]


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(answers())
def test_a_stream_says_what_the_whole_answer_says(answer):
    whole, chunks = answer
    expected = json.loads(to_message(json.dumps(whole).encode(), USAGE, TELLS, cost_usd=0.1))
    events = MessageEvents(TELLS, input_tokens=7)
    stream = b"".join([*events.begin(BEGIN), *map(events.feed, chunks)])
    stream += events.end(USAGE, cost_usd=0.1)
    told = accumulated(stream)
    expected["usage"].pop("cost_usd")
    assert told == expected
    assert told["usage"]["input_tokens"] + told["usage"]["cache_read_input_tokens"] == 50


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(answers())
def test_blocks_come_one_after_the_other_and_are_numbered_without_gaps(answer):
    _, chunks = answer
    events = MessageEvents(TELLS, input_tokens=0)
    stream = b"".join([*events.begin(BEGIN), *map(events.feed, chunks)])
    stream += events.end(USAGE, cost_usd=None)
    told = events_of(stream)
    assert told[0]["type"] == "message_start"
    assert told[0]["message"]["usage"]["input_tokens"] > 0
    assert [each["type"] for each in told[-2:]] == ["message_delta", "message_stop"]
    open_block, n_blocks = None, 0
    for each in told[1:-2]:
        match each["type"]:
            case "content_block_start":
                assert open_block is None
                assert each["index"] == n_blocks
                open_block = n_blocks
            case "content_block_delta":
                assert each["index"] == open_block
            case "content_block_stop":
                assert each["index"] == open_block
                open_block, n_blocks = None, n_blocks + 1
    assert open_block is None


def test_the_clients_own_library_reads_the_same():
    streaming = pytest.importorskip("anthropic.lib.streaming._messages", reason="no anthropic")
    anthropic = pytest.importorskip("anthropic")
    events = MessageEvents(TELLS, input_tokens=7)
    name = TELLS.names.to_chat("fs.read")
    call = {"index": 0, "id": "functions.x:0", "function": {"name": name, "arguments": '{"a": 1}'}}
    said = [
        {"reasoning": "hm"},
        {"content": "\n"},
        {"content": "Look:"},
        {"tool_calls": [call]},
        {"tool_calls": [{"index": 1, "id": "b", "function": {"name": "plain"}}]},
    ]
    stream = b"".join(events.begin(BEGIN))
    for delta in said:
        stream += events.feed(
            b"data: %b\n\n" % msgspec.json.encode({"choices": [{"delta": delta}]})
        )
    stream += events.feed(b'data: {"choices":[{"delta":{},"finish_reason":"stop"}]}\n\n')
    stream += events.end(USAGE, cost_usd=0.5)
    snapshot = None
    buffers = {}
    kinds = anthropic.types.RawMessageStreamEvent
    for each in events_of(stream):
        made = anthropic._models.construct_type(type_=kinds, value=each)
        snapshot = streaming.accumulate_event(
            event=made, current_snapshot=snapshot, json_bufs=buffers
        )
    told = snapshot.to_dict()
    assert told["stop_reason"] == "tool_use"
    thinking, text, first, second = told["content"]
    assert (thinking["thinking"], thinking["signature"]) == ("hm", "steelyard.reasoning")
    assert text["text"] == "\nLook:"
    assert (first["name"], first["input"]) == ("fs.read", {"a": 1})
    assert (second["name"], second["input"]) == ("plain", {})
    assert told["usage"]["input_tokens"] == 30
    assert told["usage"]["cache_read_input_tokens"] == 20
