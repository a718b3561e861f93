"""However a stream is cut, it says the same; whatever comes, nothing breaks."""

import itertools

from hypothesis import example, given
from hypothesis import strategies as st

from app.errors import UpstreamInvalidResponseError
from app.providers.http.sse import SseParser

LINE_ENDS = st.sampled_from([b"\n", b"\r\n", b"\r"])
TEXT = st.binary(max_size=20).map(lambda raw: raw.replace(b"\n", b"").replace(b"\r", b""))
LINES = st.one_of(
    TEXT.map(lambda text: b"data: " + text),
    TEXT.map(lambda text: b"data:" + text),
    TEXT.map(lambda text: b":" + text),
    st.sampled_from([b"event: x", b"id: 7", b"retry: 10", b"data", b"", b"data: [DONE]"]),
    TEXT,
)
STREAMS = st.tuples(
    st.sampled_from([b"", b"\xef\xbb\xbf"]),
    st.lists(st.tuples(LINES, LINE_ENDS).map(b"".join), max_size=12),
    st.sampled_from([b"", b"data: [DONE]", b"dat", b"data: cut"]),
).map(lambda parts: parts[0] + b"".join(parts[1]) + parts[2])


def parse(reads: list[bytes]) -> list[bytes]:
    parser = SseParser()
    return [event for read in reads for event in parser.feed(read)] + parser.close()


def reference(stream: bytes) -> list[bytes]:
    """Follow the standard's text line by line, on the whole stream, but for what servers forget.

    Some leave out the empty lines between events: what begins anew after a closing brace does.
    """
    text = stream.removeprefix(b"\xef\xbb\xbf").replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    *lines, last = text.split(b"\n")
    found: list[bytes] = []
    data = b""
    for line in lines:
        if not line:
            if data:
                found.append(data[:-1])
            data = b""
        elif line.startswith(b":"):
            found.append(line)
        else:
            field, _, value = line.partition(b":")
            if field == b"data":
                data = added(data, value.removeprefix(b" "), found)
    field, _, value = last.partition(b":")
    if field == b"data" and last:
        data = added(data, value.removeprefix(b" "), found)
    return [*found, b"[DONE]"] if data == b"[DONE]\n" else found


def added(data: bytes, value: bytes, found: list[bytes]) -> bytes:
    """Return the data of an event with one line more; what that ends is found."""
    if data.endswith(b"}\n") and (value == b"[DONE]" or value.startswith(b"{")):
        found.append(data[:-1])
        data = b""
    return data + value + b"\n"


@given(stream=STREAMS)
@example(stream=b"data: }\ndata: [DONE]")
@example(stream=b"data: {}\ndata: {}\n\n")
@example(stream=b"data: a}\n\ndata: [DONE]\n\n")
def test_parser_agrees_with_the_standard(stream):
    assert parse([stream]) == reference(stream)


@given(stream=STREAMS, data=st.data())
def test_any_split_gives_the_same_events(stream, data):
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=10)))
    edges = [0, *cuts, len(stream)]
    reads = [stream[a:b] for a, b in itertools.pairwise(edges)]
    assert parse(reads) == parse([stream])


@given(stream=STREAMS)
def test_byte_by_byte_gives_the_same_events(stream):
    assert parse([stream[i : i + 1] for i in range(len(stream))]) == parse([stream])


@given(payloads=st.lists(TEXT, min_size=1, max_size=10))
def test_canonical_framing_is_recognised_and_reversible(payloads):
    parser = SseParser()
    stream = b"".join(b"data: %b\n\n" % payload for payload in payloads)
    assert parser.feed(stream) == payloads
    assert parser.canonical


@given(reads=st.lists(st.binary(max_size=60), max_size=8))
def test_arbitrary_bytes_raise_nothing_but_the_declared_error(reads):
    parser = SseParser(max_event_bytes=64)
    try:
        for read in reads:
            parser.feed(read)
        parser.close()
    except UpstreamInvalidResponseError:
        pass
