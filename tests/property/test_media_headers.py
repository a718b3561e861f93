"""Whatever bytes claim to be a picture, a recording or a file: reading them never fails."""

import base64
import json

from hypothesis import given, settings
from hypothesis import strategies as st

from app.api.dialects.chat_completions import parse_chat_request
from routers.media.inline import InlineBytes
from routers.media.pictures import MAX_EDGE_PX, picture_size
from routers.media.recordings import MAX_PAGES, MAX_SECONDS, pdf_pages, recording_seconds
from tests.support.media import flac, gif, jpeg, mp3, pdf, png, wav, webp

SEEDS = (
    png(640, 480),
    gif(640, 480),
    jpeg(640, 480, metadata_bytes=300),
    webp(640, 480),
    webp(640, 480, kind=b"VP8L"),
    webp(640, 480, kind=b"VP8X"),
    wav(0.05),
    mp3(0.2, id3_bytes=50),
    mp3(5, xing=True),
    flac(3),
    pdf(7),
    pdf(7, linearized=True),
)
MANY = settings(max_examples=400, deadline=None, derandomize=True, database=None)


@st.composite
def mutated(draw):
    data = bytearray(draw(st.sampled_from(SEEDS)))
    for _ in range(draw(st.integers(0, 8))):
        at = draw(st.integers(0, min(len(data) - 1, 120)))
        data[at] = draw(st.integers(0, 255))
    end = draw(st.integers(0, len(data)) | st.just(len(data)))
    return bytes(data[:end]) + draw(st.binary(max_size=40))


@MANY
@given(mutated() | st.binary(max_size=200))
def test_mutated_bytes_tell_something_possible_or_nothing(data):
    inline = InlineBytes(base64.b64encode(data))
    size = picture_size(inline)
    assert size is None or all(0 < edge <= MAX_EDGE_PX for edge in size)
    seconds = recording_seconds(inline)
    assert seconds is None or 0 < seconds <= MAX_SECONDS
    pages = pdf_pages(inline)
    assert pages is None or 0 < pages <= MAX_PAGES


@MANY
@given(st.binary(max_size=120), st.integers(-5, 200), st.integers(0, 60))
def test_text_that_is_no_base64_reads_as_something_or_nothing(text, offset, n_bytes):
    assert len(InlineBytes(text).read(offset, n_bytes)) <= n_bytes


@settings(MANY, max_examples=150)
@given(
    st.lists(
        st.tuples(
            mutated().map(lambda data: base64.b64encode(data).decode()) | st.text(max_size=60),
            st.sampled_from(["image_url", "input_audio", "file", "input_image", "document"]),
            st.sampled_from(["low", "high", "auto", "original", "", "ultra", None, 7]),
        ),
        max_size=5,
    )
)
def test_any_media_are_counted(given_parts):
    parts = []
    for data, kind, detail in given_parts:
        url = f"data:image/png;base64,{data}"
        parts.append(
            {
                "type": kind,
                "detail": detail,
                "image_url": {"url": url, "detail": detail} if kind == "image_url" else url,
                "input_audio": {"data": data, "format": "wav"},
                "file": {"file_data": f"data:application/pdf;base64,{data}"},
                "source": {"type": "base64", "data": data},
            }
        )
    body = {"model": "auto", "messages": [{"role": "user", "content": parts or "none"}]}
    demand = parse_chat_request(json.dumps(body).encode()).demand
    assert demand.input_tokens <= demand.input_tokens_upper
    n_items = 0 if demand.media is None else len(demand.media.items)
    assert n_items == len(parts)
