"""However a stream of Bedrock's is cut it says the same; whatever comes, nothing else is raised."""

import itertools
import json

from hypothesis import given
from hypothesis import strategies as st

from app.errors import UpstreamError, UpstreamInvalidResponseError, UpstreamUnsupportedError
from app.providers.converse.errors import error_of
from app.providers.converse.request import encode_converse_request
from app.providers.converse.stream import ConverseStream
from app.providers.converse.wire import whole_answer
from tests.support.event_streams import event, framed, recorded
from tests.support.fixtures import assembled

NAMES = (
    *("text", "tool_use", "thinking", "guardrail", "throttled", "failed_at_once", "malformed"),
    *("usage_never", "future"),
)
STREAMS = {name: b"".join(recorded(name)) for name in NAMES}


def one_of(words: str) -> st.SearchStrategy[str]:
    return st.sampled_from(words.split())


WORDS = one_of("end_turn tool_use malformed_tool_use user assistant tool text function a image_url")
SCALARS = st.none() | st.booleans() | st.integers(-5, 10**25) | st.floats() | st.text(max_size=5)
KEYS = one_of(
    "text toolUse toolUseId name input content role type message tool_calls function arguments "
    "tool_call_id image_url url id thinking_blocks cache_control"
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
TEXTS = st.text(max_size=5)
USAGE = shaped(inputTokens=COUNTS, outputTokens=COUNTS, cacheWriteInputTokens=COUNTS)
BLOCKS = shaped(
    text=TEXTS,
    toolUse=shaped(toolUseId=TEXTS, name=TEXTS, input=VALUES),
    reasoningContent=shaped(
        text=TEXTS,
        signature=TEXTS,
        redactedContent=TEXTS,
        reasoningText=shaped(text=TEXTS, signature=TEXTS),
    ),
)
EVENTS = shaped(
    contentBlockIndex=st.integers(0, 2), start=BLOCKS, delta=BLOCKS, stopReason=WORDS, usage=USAGE
)
KINDS = one_of(
    "messageStart contentBlockStart contentBlockDelta contentBlockStop messageStop metadata new "
    "!throttlingException !newException"
)
ANSWERS = shaped(
    output=shaped(message=shaped(content=st.lists(BLOCKS, max_size=3))),
    stopReason=WORDS,
    usage=USAGE,
)
FIELDS = st.dictionaries(
    one_of(
        "messages tools tool_choice stop temperature max_tokens n user response_format thinking "
        "reasoning_effort service_tier parallel_tool_calls seed top_k guardrailConfig"
    ),
    VALUES | st.lists(OBJECTS, max_size=3),
    max_size=6,
)


def read(reads: list[bytes]) -> dict:
    stream = ConverseStream(((b"x-upstream-request-id", b"r"),), model="m")
    told = [stream.feed(each) for each in reads if stream.error is None and not stream.done]
    chunks = [chunk for chunk in told if chunk is not None]
    stream.close()
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
def test_a_damaged_stream_never_passes_for_the_answer(name, data):
    stream = bytearray(STREAMS[name])
    at = data.draw(st.integers(0, len(stream) - 1))
    stream[at] ^= data.draw(st.integers(1, 255))
    parser = ConverseStream()
    parser.feed(bytes(stream))
    parser.close()
    assert parser.error is None or isinstance(parser.error, UpstreamError)
    assert not parser.done


@given(events=st.lists(st.tuples(KINDS, EVENTS), max_size=6))
def test_events_of_any_shape_end_in_nothing_but_an_upstream_error(events):
    parser = ConverseStream()
    for kind, fields in events:
        if parser.done or parser.error is not None:
            break
        chunk = parser.feed(event(kind, fields))
        if chunk is not None and chunk.data:
            assembled([chunk])
    parser.close()
    assert parser.error is None or isinstance(parser.error, UpstreamError)


@given(headers=st.dictionaries(TEXTS.filter(str.isascii), TEXTS.filter(str.isascii), max_size=3))
def test_messages_without_the_usual_headers_break_nothing(headers):
    parser = ConverseStream()
    parser.feed(framed(headers, b"{}"))
    assert parser.error is None or isinstance(parser.error, UpstreamError)


@given(body=st.binary(max_size=80) | ANSWERS.map(lambda each: json.dumps(each).encode()))
def test_whole_bodies_of_any_shape_raise_nothing_but_the_declared_error(body):
    try:
        chunk = whole_answer(body, (), model="m")
    except UpstreamInvalidResponseError:
        return
    assert json.loads(chunk.data)["choices"][0]["finish_reason"] == chunk.finish_reason


@given(
    status=st.integers(300, 599),
    kind=st.text(max_size=20),
    body=st.binary(max_size=80) | OBJECTS.map(lambda each: json.dumps(each).encode()),
)
def test_failures_of_any_shape_are_upstream_errors(status, kind, body):
    headers = ((b"x-amzn-errortype", kind.encode("utf-8", "replace")),)
    assert isinstance(error_of(status, headers, body, now_s=0.0), UpstreamError)


@given(fields=FIELDS, model=one_of("anthropic.claude amazon.nova-lite openai.gpt-oss meta.llama"))
def test_requests_of_any_shape_are_translated_or_refused(fields, model):
    encoded = {key: json.dumps(value).encode() for key, value in fields.items()}
    try:
        body = json.loads(encode_converse_request(encoded, model=model))
    except UpstreamUnsupportedError as error:
        assert error.param in fields or error.param == "messages"  # noqa: PT017
        return
    roles = [turn["role"] for turn in body["messages"]]
    assert all(a != b for a, b in itertools.pairwise(roles))
    assert all(turn["content"] for turn in body["messages"])
