"""Sizes of pictures, lengths of recordings, pages of files: by their heads, out of base64."""

import base64

import pytest

from routers.media.inline import InlineBytes
from routers.media.pictures import picture_size
from routers.media.recordings import pdf_pages, recording_seconds
from tests.support.media import flac, gif, jpeg, mp3, pdf, png, wav, webp


def inline(data):
    return InlineBytes(base64.b64encode(data))


@pytest.mark.parametrize("size", [(1, 1), (640, 480), (1920, 1080), (4032, 3024), (16_383, 5)])
@pytest.mark.parametrize(
    "make",
    [
        png,
        gif,
        jpeg,
        lambda *size: jpeg(*size, metadata_bytes=900_000),
        webp,
        lambda *size: webp(*size, kind=b"VP8L"),
        lambda *size: webp(*size, kind=b"VP8X"),
    ],
)
def test_the_head_of_a_picture_tells_its_size(make, size):
    assert picture_size(inline(make(*size))) == size


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x89PNG\r\n\x1a\n",
        png(0, 5),
        png(10, 2**31),
        png(7, 7)[:20],
        jpeg(9, 9)[:10],
        b"\xff\xd8" + b"\xff" * 5_000,
        b"\xff\xd8\xff\xe1\0\0" * 50,
        b"\xff\xd8\xff\xda\0\x0c" + jpeg(9, 9),
        b"GIF89a\5",
        webp(9, 9, kind=b"VP8X")[:26],
        b"RIFF\0\0\0\0WEBPVP8 " + b"\0" * 30,
        b"<svg width='9' height='9'/>",
        b"II*\0" + b"\0" * 60,
    ],
)
def test_what_tells_no_size_has_none(data):
    assert picture_size(inline(data)) is None


def test_base64_is_read_however_it_was_written():
    data = jpeg(1234, 567, metadata_bytes=3_000)
    plain = base64.b64encode(data)
    for text in (
        plain,
        memoryview(plain),
        plain.replace(b"/", rb"\/"),
        base64.urlsafe_b64encode(data),
        base64.encodebytes(data),
        base64.encodebytes(data).replace(b"\n", rb"\n"),
        base64.encodebytes(data).replace(b"\n", rb"\r\n"),
        plain + b'","detail":"low"}',
        plain.rstrip(b"="),
    ):
        assert picture_size(InlineBytes(text)) == (1234, 567)


def test_any_place_can_be_read():
    data = bytes(range(256)) * 4
    read = inline(data).read
    for offset, n_bytes in ((0, 1), (1, 5), (2, 3), (255, 300), (1_020, 40), (1_023, 1)):
        assert read(offset, n_bytes) == data[offset : offset + n_bytes]
    assert read(1_024 + 2, 9) == read(-1, 9) == read(10**9, 9) == b""


@pytest.mark.parametrize(
    ("data", "seconds"),
    [
        (wav(2.5), 2.5),
        (wav(2.5, told=False), 2.5),
        (wav(1, rate_hz=44_100), 1.0),
        (mp3(3), 3.0),
        (mp3(3, id3_bytes=40_000), 3.0),
        (mp3(90, xing=True), 90.0),
        (flac(61), 61.0),
    ],
)
def test_the_head_of_a_recording_tells_how_long_it_is(data, seconds):
    assert recording_seconds(inline(data)) == pytest.approx(seconds, rel=0.02)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"ID3",
        b"ID3\4\0\0\x7f\x7f\x7f\x7f" + b"\0" * 50,
        b"\xff" * 5_000,
        wav(1)[:40],
        wav(1).replace(b"\0\x7d\0\0", b"\0\0\0\0"),
        b"RIFF\0\0\0\0WAVE" + b"junk\0\0\0\0" * 500,
        b"fLaC\0\0\0\x22" + b"\0" * 40,
        b"OggS" + b"\0" * 60,
        flac(10**6),
    ],
)
def test_what_does_not_tell_is_of_no_known_length(data):
    assert recording_seconds(inline(data)) is None


@pytest.mark.parametrize(
    ("data", "n_pages"),
    [
        (pdf(12), 12),
        (pdf(345, linearized=True), 345),
        (pdf(0), 1),
        (b"%PDF-1.7 /Type /Pages /Count 99999999", None),
        (b"%PDF-1.7 " + b"\x9c" * 5_000, None),
        (b"/Type /Pages /Count 3", None),
    ],
)
def test_a_pdf_tells_its_pages_at_one_of_its_ends(data, n_pages):
    assert pdf_pages(inline(data)) == n_pages
