import pytest

from app.errors import UpstreamInvalidResponseError
from app.providers.http.sse import DONE, Comment, ErrorEvent, SseParser


def parse(*reads: bytes) -> list[bytes]:
    parser = SseParser()
    return [event for read in reads for event in parser.feed(read)] + parser.close()


@pytest.mark.parametrize(
    ("stream", "events"),
    [
        (b"data: a\n\n", [b"a"]),
        (b"data:a\n\ndata:  b\n\n", [b"a", b" b"]),
        (b"data: a\r\n\r\ndata: b\r\rdata: c\n\n", [b"a", b"b", b"c"]),
        (b"data: a\ndata: b\n\n", [b"a\nb"]),
        (b"data\n\n", [b""]),
        (b"data:\n\n", [b""]),
        (b"\xef\xbb\xbfdata: a\n\n", [b"a"]),
        (b"event: x\nid: 1\nretry: 5\ndata: a\n\n", [b"a"]),
        (b"event: x\n\n", []),
        (b": ping\n\ndata: a\n\n", [b": ping", b"a"]),
        (b":\n\n", [b":"]),
        (b"data: a\n: in between\ndata: b\n\n", [b": in between", b"a\nb"]),
        (b"database: a\n\n", []),
        (b"\n\n\ndata: a\n\n\n\n", [b"a"]),
        (b"data: a", []),
        (b"data: a\n", []),
        (b"data: a\n\ndata: b", [b"a"]),
        (b"data: {}\ndata: {}\n\n", [b"{}", b"{}"]),
        (b'data: {\ndata: "a":1}\n\n', [b'{\n"a":1}']),
        (b"data: {}\ndata: [DONE]\n\n", [b"{}", DONE]),
        (b"event: error\ndata: a\n\ndata: b\n\n", [b"a", b"b"]),
    ],
)
def test_streams_are_read_as_the_standard_says(stream, events):
    assert parse(stream) == events
    assert parse(*(stream[i : i + 1] for i in range(len(stream)))) == events


def test_comments_are_told_from_data():
    comment, event = parse(b": x\n\ndata: : x\n\n")
    assert type(comment) is Comment
    assert type(event) is bytes


@pytest.mark.parametrize("end", [b"data: [DONE]", b"data:[DONE]\n", b"data: [DONE]\r"])
def test_end_marker_counts_without_its_blank_line(end):
    assert parse(b"data: a\n\n", end) == [b"a", DONE]


def test_errors_are_told_from_other_events():
    error, event = parse(b"event: Error\ndata: a\n\n", b"data: b\n\n")
    assert type(error) is ErrorEvent
    assert type(event) is bytes


def test_second_line_spoils_an_unterminated_end_marker():
    assert parse(b"data: a\ndata: [DONE]") == []


@pytest.mark.parametrize(
    ("read", "canonical"),
    [
        (b"data: a\n\n", True),
        (b"data: a\n\ndata: b\n\n", True),
        (b"data:a\n\n", False),
        (b"data: a\r\n\r\n", False),
        (b"data: a\ndata: b\n\n", False),
        (b"data: a\n\n\n", False),
        (b": c\n\n", False),
        (b"data: a\n\ndata: b", False),
        (b"id: 1\ndata: a\n\n", False),
        (b"data: a\rdata: b\n\n", False),
        (b"\xef\xbb\xbfdata: a\n\n", False),
        (b"", False),
        (b"\n\n", False),
    ],
)
def test_only_plain_events_are_called_canonical(read, canonical):
    parser = SseParser()
    parser.feed(read)
    assert parser.canonical is canonical


def test_rest_of_an_event_is_not_canonical():
    parser = SseParser()
    parser.feed(b"data: a")
    assert parser.feed(b"data: b\n\n") == [b"adata: b"]
    assert not parser.canonical
    assert parser.feed(b"data: c\n\n") == [b"c"]
    assert parser.canonical


@pytest.mark.parametrize(
    "stream",
    [
        b"data: " + b"x" * 200 + b"\n\n",
        b"data: " + b"x" * 200,
        b"data: xxxxxxxxxx\n" * 20,
        b": " + b"x" * 200 + b"\n",
        b"x" * 200,
    ],
)
@pytest.mark.parametrize("size", [1, 7, 1000])
def test_events_over_the_limit_are_refused(stream, size):
    parser = SseParser(max_event_bytes=100)
    reads = [stream[i : i + size] for i in range(0, len(stream), size)]
    with pytest.raises(UpstreamInvalidResponseError, match="100 bytes"):
        list(map(parser.feed, reads))


def test_many_small_events_are_no_large_one():
    parser = SseParser(max_event_bytes=100)
    assert len(parser.feed(b"data: xxxx\n\n" * 1000)) == 1000
