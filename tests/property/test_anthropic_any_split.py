"""However a message stream is cut it says the same; whatever comes, nothing else is raised."""

import itertools
import json

from hypothesis import given
from hypothesis import strategies as st

from app.errors import UpstreamError, UpstreamInvalidResponseError, UpstreamUnsupportedError
from app.providers.messages.request import encode_messages_request
from app.providers.messages.stream import MessageStream
from app.providers.messages.wire import whole_answer
from app.providers.translation.errors import openai_error_body
from tests.support.fixtures import assembled, fixture

NAMES = ("text", "tool_use", "thinking", "refusal", "server_tool", "usage_late", "overloaded")
STREAMS = {name: fixture(f"anthropic/{name}.sse") for name in NAMES}


def one_of(words: str) -> st.SearchStrategy[str]:
    return st.sampled_from(words.split())


SCALARS = st.none() | st.booleans() | st.integers(-5, 10**25) | st.floats() | st.text(max_size=5)
KINDS = one_of(
    "message_start content_block_start content_block_delta content_block_stop message_delta "
    "message_stop ping error text tool_use thinking redacted_thinking text_delta "
    "input_json_delta thinking_delta signature_delta user assistant tool function"
)
KEYS = one_of(
    "type error text input content role id tool_calls function arguments name image_url url "
    "schema parameters tool_call_id json_schema effort"
)
VALUES = st.recursive(
    SCALARS | KINDS,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=6,
)
OBJECTS = st.dictionaries(KEYS, VALUES, max_size=4)


def shaped(required: dict, **optional: st.SearchStrategy) -> st.SearchStrategy[dict]:
    """Draw objects of the right keys whose values are now and then of the wrong kind."""
    return st.fixed_dictionaries(
        required, optional={key: value | SCALARS for key, value in optional.items()}
    )


TEXTS = st.text(max_size=5)
COUNTS = st.integers(-1, 50)
USAGE = shaped(
    {},
    input_tokens=COUNTS,
    output_tokens=COUNTS,
    cache_read_input_tokens=COUNTS,
    output_tokens_details=shaped({}, thinking_tokens=COUNTS),
)
BLOCKS = shaped({"type": KINDS}, text=TEXTS, thinking=TEXTS, id=TEXTS, name=TEXTS, input=VALUES)
DELTAS = shaped(
    {"type": KINDS},
    text=TEXTS,
    thinking=TEXTS,
    signature=TEXTS,
    partial_json=TEXTS,
    stop_reason=KINDS,
    stop_details=shaped({}, explanation=TEXTS),
)
MESSAGES = shaped(
    {}, id=TEXTS, model=TEXTS, content=st.lists(BLOCKS, max_size=3), stop_reason=KINDS, usage=USAGE
)
EVENTS = shaped(
    {"type": KINDS},
    index=st.integers(0, 1),
    message=MESSAGES,
    content_block=BLOCKS,
    delta=DELTAS,
    usage=USAGE,
    error=OBJECTS,
)
FIELDS = st.dictionaries(
    one_of(
        "messages tools tool_choice stop temperature max_tokens n user response_format "
        "reasoning_effort service_tier parallel_tool_calls thinking seed modalities"
    ),
    VALUES | st.lists(OBJECTS, max_size=3),
    max_size=6,
)


def read(reads: list[bytes]) -> dict:
    stream = MessageStream()
    chunks = [chunk for each in reads if (chunk := stream.feed(each)) is not None]
    stream.close()
    return {
        "said": assembled(chunks) if chunks else None,
        "usage": [chunk.usage for chunk in chunks if chunk.usage][-1:],
        "finish": [chunk.finish_reason for chunk in chunks if chunk.finish_reason],
        "chars": sum(chunk.content_chars for chunk in chunks),
        "events": sum(chunk.content_events for chunk in chunks),
        "done": stream.done,
        "error": type(stream.error),
    }


@given(name=st.sampled_from(NAMES), data=st.data())
def test_any_split_gives_the_same_answer(name, data):
    stream = STREAMS[name]
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=12)))
    edges = [0, *cuts, len(stream)]
    assert read([stream[a:b] for a, b in itertools.pairwise(edges)]) == read([stream])


def test_byte_by_byte_gives_the_same_answer():
    for stream in STREAMS.values():
        assert read([stream[i : i + 1] for i in range(len(stream))]) == read([stream])


@given(name=st.sampled_from(NAMES), data=st.data())
def test_damaged_streams_end_in_nothing_but_an_upstream_error(name, data):
    stream = bytearray(STREAMS[name])
    for _ in range(data.draw(st.integers(1, 5))):
        stream[data.draw(st.integers(0, len(stream) - 1))] = data.draw(st.integers(0, 255))
    parser = MessageStream()
    parser.feed(bytes(stream))
    parser.close()
    assert parser.error is None or isinstance(parser.error, UpstreamError)


@given(events=st.lists(EVENTS, max_size=6))
def test_events_of_any_shape_end_in_nothing_but_an_upstream_error(events):
    parser = MessageStream()
    parser.feed(STREAMS["text"][: STREAMS["text"].index(b"event: content_block_start")])
    for event in events:
        if parser.done or parser.error is not None:
            break
        chunk = parser.feed(b"data: %b\n\n" % json.dumps(event).encode("utf-8", "replace"))
        if chunk is not None and chunk.data:
            assembled([chunk])
    assert parser.error is None or isinstance(parser.error, UpstreamError)


@given(body=st.binary(max_size=80) | MESSAGES.map(lambda each: json.dumps(each).encode()))
def test_whole_bodies_of_any_shape_raise_nothing_but_the_declared_error(body):
    try:
        chunk = whole_answer(body, ())
    except UpstreamInvalidResponseError:
        return
    assert json.loads(chunk.data)["choices"][0]["finish_reason"] == chunk.finish_reason


@given(body=st.binary(max_size=80) | OBJECTS.map(lambda each: json.dumps(each).encode()))
def test_error_bodies_of_any_shape_stay_what_they_are_or_become_openais(body):
    told = openai_error_body(body)
    assert told == body or json.loads(told)["error"].keys() == {"message", "type", "param", "code"}


@given(fields=FIELDS)
def test_requests_of_any_shape_are_translated_or_refused(fields):
    encoded = {key: json.dumps(value).encode() for key, value in fields.items()}
    try:
        body = json.loads(encode_messages_request(encoded, model="m", stream=False))
    except UpstreamUnsupportedError as error:
        assert error.param in fields or error.param == "messages"  # noqa: PT017
        return
    roles = [turn["role"] for turn in body["messages"]]
    assert all(a != b for a, b in itertools.pairwise(roles))
    assert all(turn["content"] for turn in body["messages"])
