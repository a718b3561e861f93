import gzip
import zlib

import pytest

from app.errors import UpstreamInvalidResponseError
from app.providers.http.inflate import PIECE_BYTES, inflated

TEXT = b"".join(b"%d beams, one weight\n" % i for i in range(50_000))


def raw_deflate(data):
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(data) + packer.flush()


async def unpacked(data, encodings, *, step=1000):
    async def body():
        for i in range(0, len(data), step):
            yield data[i : i + step]

    return [piece async for piece in inflated(body(), encodings)]


@pytest.mark.parametrize("step", [1, 1000, 10_000_000])
@pytest.mark.parametrize(
    ("pack", "encodings"),
    [
        (gzip.compress, "gzip"),
        (gzip.compress, "X-GZIP"),
        (zlib.compress, "deflate"),
        (raw_deflate, "deflate"),
        (lambda data: gzip.compress(zlib.compress(data)), "deflate, gzip"),
        (lambda data: data, "identity"),
        (lambda data: data, ""),
    ],
)
async def test_what_was_compressed_is_unpacked_piece_by_piece(pack, encodings, step):
    text = TEXT[: 2000 if step == 1 else None]
    pieces = await unpacked(pack(text), encodings, step=step)
    assert b"".join(pieces) == text
    if encodings not in ("identity", ""):
        assert max(map(len, pieces)) <= PIECE_BYTES


@pytest.mark.parametrize("encodings", ["br", "zstd", "gzip, br", "no such thing!"])
async def test_what_cannot_be_unpacked_is_named(encodings):
    with pytest.raises(UpstreamInvalidResponseError, match=r"br|zstd|unknown"):
        await unpacked(TEXT, encodings)


@pytest.mark.parametrize(
    "data",
    [gzip.compress(TEXT)[:-20], gzip.compress(TEXT)[:40_000] + b"x" * 9000, b"no zip at all"],
)
async def test_what_is_damaged_or_cut_is_no_answer(data):
    with pytest.raises(UpstreamInvalidResponseError):
        await unpacked(data, "gzip")


async def test_nothing_is_nothing():
    assert await unpacked(b"", "gzip") == []
