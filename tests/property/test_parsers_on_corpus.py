"""Every parser on a corpus of what has broken parsers, and on what becomes of it when damaged.

A new crasher is a new file in tests/fixtures/corpus: `sse` for what upstreams send, `json` for what
clients send.
"""

import contextlib
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.api.dialects.chat_completions import parse_chat_request
from app.api.knobs import Knobs
from app.errors import InvalidRequestError, UpstreamError
from app.providers.chat.stream import ChatStream
from app.providers.generate_content.stream import GenerateStream
from app.providers.http.error_body import error_detail
from app.providers.http.errors import error_from_status
from app.providers.messages.stream import MessageStream
from app.providers.messages.wire import whole_answer
from app.providers.translation.errors import openai_error_body

CORPUS = Path(__file__).parents[1] / "fixtures" / "corpus"
SSE = sorted(CORPUS.glob("sse/*.sse"))
JSON = sorted(CORPUS.glob("json/*.json"))
STREAMS = (ChatStream, MessageStream, GenerateStream)
FEW = settings(max_examples=300, deadline=None)


def damaged(files):
    """Draw a file of the corpus with a piece cut out and another put in."""
    contents = [file.read_bytes() for file in files]

    @st.composite
    def draw(draw):
        text, other = draw(st.sampled_from(contents)), draw(st.sampled_from(contents))
        cut = sorted(draw(st.tuples(st.integers(0, len(text)), st.integers(0, len(text)))))
        take = sorted(draw(st.tuples(st.integers(0, len(other)), st.integers(0, len(other)))))
        put = draw(st.binary(max_size=3)) + other[take[0] : take[1]]
        return text[: cut[0]] + put + text[cut[1] :]

    return draw()


def read_stream(kind, data, *, step):
    """Return what came out; whatever went in, nothing but an UpstreamError goes wrong."""
    stream = kind()
    out = b""
    for at in range(0, len(data), step):
        chunk = stream.feed(data[at : at + step])
        out += b"" if chunk is None else chunk.data
        if stream.done or stream.error is not None:
            break
    else:
        with contextlib.suppress(UpstreamError):
            stream.close()
    assert stream.error is None or isinstance(stream.error, UpstreamError)
    return out


def read_request(body):
    with contextlib.suppress(InvalidRequestError):
        chat = parse_chat_request(body)
        assert isinstance(chat.knobs, Knobs)
        assert chat.demand.input_tokens >= 0
        assert chat.demand.n_answers >= 1


def read_answer(body):
    detail = error_detail(body)
    assert detail is None or isinstance(detail.message, str)
    assert isinstance(error_from_status(400, (), body, now_s=0.0), UpstreamError)
    openai_error_body(body)
    with contextlib.suppress(UpstreamError):
        whole_answer(body, ())


@pytest.mark.parametrize("kind", STREAMS)
@pytest.mark.parametrize("file", SSE, ids=lambda file: file.stem)
def test_a_stream_of_the_corpus_says_the_same_however_it_is_cut(kind, file):
    data = file.read_bytes()
    whole, by_bytes, by_sevens = (
        re.sub(rb'"created":\d+', b"", read_stream(kind, data, step=step))  # by the clock
        for step in (len(data), 1, 7)
    )
    assert by_bytes == whole
    assert by_sevens == whole


@pytest.mark.parametrize("file", JSON, ids=lambda file: file.stem)
def test_a_request_of_the_corpus_is_read_or_refused(file):
    read_request(file.read_bytes())


@pytest.mark.parametrize("file", [*SSE, *JSON], ids=lambda file: file.stem)
def test_an_answer_of_the_corpus_is_read_or_refused(file):
    read_answer(file.read_bytes().removeprefix(b"data: "))


@FEW
@given(data=damaged(SSE), kind=st.sampled_from(STREAMS), step=st.integers(1, 50))
def test_a_damaged_stream_raises_nothing_else(data, kind, step):
    read_stream(kind, data, step=step)


@FEW
@given(body=damaged([*JSON, *SSE]))
def test_a_damaged_body_raises_nothing_else(body):
    read_request(body)
    read_answer(body)
