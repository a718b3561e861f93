import struct

import pytest

from app.errors import UpstreamInvalidResponseError
from app.providers.converse.event_stream import EventStreamParser
from tests.support.event_streams import event, framed, recorded


def test_every_cut_gives_the_same_messages():
    data = b"".join(recorded("tool_use"))
    whole = list(EventStreamParser().feed(data))
    assert len(whole) == 11
    for at in range(len(data) + 1):
        parser = EventStreamParser()
        assert [*parser.feed(data[:at]), *parser.feed(data[at:])] == whole
        assert parser.pending_bytes == 0
    parser = EventStreamParser()
    assert [m for i in range(len(data)) for m in parser.feed(data[i : i + 1])] == whole


def test_botocore_reads_the_same():
    streams = pytest.importorskip("botocore.eventstream", reason="the extra bedrock is not there")
    data = b"".join(recorded("thinking"))
    buffer = streams.EventStreamBuffer()
    buffer.add_data(data)
    theirs = [(each.headers, each.payload) for each in buffer]
    assert [(m.headers, m.payload) for m in EventStreamParser().feed(data)] == theirs


def test_headers_of_every_type_are_read_over():
    def header(name: bytes, kind: int, value: bytes) -> bytes:
        return bytes([len(name)]) + name + bytes([kind]) + value

    headers = b"".join(
        [
            header(b"t", 0, b""),
            header(b"f", 1, b""),
            header(b"b", 2, b"1"),
            header(b"s", 3, b"12"),
            header(b"i", 4, b"1234"),
            header(b"l", 5, b"12345678"),
            header(b"a", 6, struct.pack(">H", 3) + b"abc"),
            header(b":event-type", 7, struct.pack(">H", 8) + b"metadata"),
            header(b"d", 8, b"12345678"),
            header(b"u", 9, b"1" * 16),
        ]
    )
    (message,) = EventStreamParser().feed(reframed(headers, b"{}"))
    assert message.headers == {":event-type": "metadata"}
    assert message.payload == b"{}"


def reframed(headers: bytes, payload: bytes) -> bytes:
    import zlib

    prelude = struct.pack(">II", 16 + len(headers) + len(payload), len(headers))
    data = prelude + struct.pack(">I", zlib.crc32(prelude)) + headers + payload
    return data + struct.pack(">I", zlib.crc32(data))


def test_a_changed_byte_is_found_wherever_it_is():
    data = event("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": "a"}})
    for at in range(len(data)):
        damaged = bytearray(data)
        damaged[at] ^= 0x10
        with pytest.raises(UpstreamInvalidResponseError, match=r"damaged|over"):
            list(EventStreamParser().feed(bytes(damaged) + data))


@pytest.mark.parametrize(
    "headers", [b"\x05ab", b"\x01a\x0a", b"\x01a\x07\xff\xff", b"\x01a\x07\x00\x01\xff", b"\x01a"]
)
def test_headers_that_cannot_be_read_are_refused(headers):
    with pytest.raises(UpstreamInvalidResponseError):
        list(EventStreamParser().feed(reframed(headers, b"")))


def test_a_message_that_is_too_large_is_refused_by_its_head():
    data = framed({}, b"x" * 5000)
    assert len(list(EventStreamParser(max_message_bytes=6000).feed(data))) == 1
    with pytest.raises(UpstreamInvalidResponseError, match="over 4000 bytes"):
        list(EventStreamParser(max_message_bytes=4000).feed(data[:12]))


def test_what_came_before_damage_is_given():
    first, second = recorded("text")[:2]
    found = []
    with pytest.raises(UpstreamInvalidResponseError):
        found.extend(EventStreamParser().feed(first + second[:-1] + b"?"))
    assert found == list(EventStreamParser().feed(first))
