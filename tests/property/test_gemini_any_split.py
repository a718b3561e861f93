"""However a stream of Gemini's is cut it says the same; whatever comes, nothing else is raised."""

import itertools
import json

from hypothesis import given
from hypothesis import strategies as st

from app.errors import UpstreamError, UpstreamInvalidResponseError, UpstreamUnsupportedError
from app.providers.generate_content.request import encode_generate_request
from app.providers.generate_content.stream import GenerateStream
from app.providers.generate_content.wire import whole_answer
from tests.support.fixtures import assembled, fixture

NAMES = (
    *("text", "thinking", "tool_calls", "stop_in_every_event", "blocked_prompt", "safety"),
    *("malformed_call", "max_tokens", "overloaded", "future"),
)
STREAMS = {name: fixture(f"gemini/{name}.sse") for name in NAMES}


def one_of(words: str) -> st.SearchStrategy[str]:
    return st.sampled_from(words.split())


WORDS = one_of("STOP SAFETY model user assistant tool text function a image_url")
SCALARS = st.none() | st.booleans() | st.integers(-5, 10**25) | st.floats() | st.text(max_size=5)
KEYS = one_of(
    "text thought thoughtSignature functionCall name args id content parts role type error "
    "tool_calls function arguments tool_call_id image_url url extra_content google"
)
VALUES = st.recursive(
    SCALARS | WORDS,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=6,
)
OBJECTS = st.dictionaries(KEYS, VALUES, max_size=4)


def shaped(**optional: st.SearchStrategy) -> st.SearchStrategy[dict]:
    """Draw objects of the right keys whose values are now and then of the wrong kind."""
    return st.fixed_dictionaries(
        {}, optional={key: value | SCALARS for key, value in optional.items()}
    )


COUNTS = st.integers(-1, 50)
PARTS = shaped(
    text=st.text(max_size=5),
    thought=st.booleans(),
    thoughtSignature=st.text(max_size=5),
    functionCall=shaped(id=st.text(max_size=5), name=st.text(max_size=5), args=VALUES),
    inlineData=shaped(mimeType=st.text(max_size=5), data=st.text(max_size=5)),
)
CANDIDATES = shaped(content=shaped(parts=st.lists(PARTS, max_size=3)), finishReason=WORDS)
ANSWERS = shaped(
    candidates=st.lists(CANDIDATES, max_size=2),
    promptFeedback=shaped(blockReason=WORDS),
    usageMetadata=shaped(promptTokenCount=COUNTS, candidatesTokenCount=COUNTS),
    modelVersion=st.text(max_size=5),
    responseId=st.text(max_size=5),
    error=OBJECTS,
)
FIELDS = st.dictionaries(
    one_of(
        "messages tools tool_choice stop temperature max_tokens n user response_format thinking "
        "reasoning_effort service_tier parallel_tool_calls seed extra_body"
    ),
    VALUES | st.lists(OBJECTS, max_size=3),
    max_size=6,
)


def read(reads: list[bytes]) -> dict:
    stream = GenerateStream()
    told = [stream.feed(each) for each in reads if stream.error is None]
    chunks = [chunk for chunk in (*told, stream.close()) if chunk is not None]
    return {
        "said": assembled(chunks) if chunks else None,
        "usage": [chunk.usage for chunk in chunks if chunk.usage][-1:],
        "finish": [chunk.finish_reason for chunk in chunks if chunk.finish_reason],
        "chars": sum(chunk.content_chars for chunk in chunks),
        "done": stream.done,
        "error": type(stream.error),
    }


@given(name=st.sampled_from(NAMES), data=st.data())
def test_any_split_gives_the_same_answer(name, data):
    stream = STREAMS[name]
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=12)))
    edges = [0, *cuts, len(stream)]
    assert read([stream[a:b] for a, b in itertools.pairwise(edges)]) == read([stream])


def test_every_cut_and_every_byte_give_the_same_answer():
    for stream in STREAMS.values():
        whole = read([stream])
        assert read([stream[i : i + 1] for i in range(len(stream))]) == whole
        for i in range(0, len(stream), 7):
            assert read([stream[:i], stream[i:]]) == whole


@given(name=st.sampled_from(NAMES), data=st.data())
def test_damaged_streams_end_in_nothing_but_an_upstream_error(name, data):
    stream = bytearray(STREAMS[name])
    for _ in range(data.draw(st.integers(1, 5))):
        stream[data.draw(st.integers(0, len(stream) - 1))] = data.draw(st.integers(0, 255))
    parser = GenerateStream()
    parser.feed(bytes(stream))
    parser.close()
    assert parser.error is None or isinstance(parser.error, UpstreamError)


@given(events=st.lists(ANSWERS, max_size=4))
def test_events_of_any_shape_end_in_nothing_but_an_upstream_error(events):
    parser = GenerateStream()
    for event in events:
        chunk = parser.feed(b"data: %b\n\n" % json.dumps(event).encode("utf-8", "replace"))
        if chunk is not None and chunk.data:
            assembled([chunk])
    parser.close()
    assert parser.error is None or isinstance(parser.error, UpstreamError)


@given(body=st.binary(max_size=80) | ANSWERS.map(lambda each: json.dumps(each).encode()))
def test_whole_bodies_of_any_shape_raise_nothing_but_the_declared_error(body):
    try:
        chunk = whole_answer(body, ())
    except UpstreamInvalidResponseError:
        return
    assert json.loads(chunk.data)["choices"][0]["finish_reason"] == chunk.finish_reason


@given(fields=FIELDS)
def test_requests_of_any_shape_are_translated_or_refused(fields):
    encoded = {key: json.dumps(value).encode() for key, value in fields.items()}
    try:
        body = json.loads(encode_generate_request(encoded, model="gemini-3-pro"))
    except UpstreamUnsupportedError as error:
        assert error.param in fields or error.param == "messages"  # noqa: PT017
        return
    roles = [turn["role"] for turn in body["contents"]]
    assert all(a != b for a, b in itertools.pairwise(roles))
    assert all(turn["parts"] for turn in body["contents"])
