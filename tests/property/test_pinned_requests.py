"""Requests for models that do not chat are read or refused, whatever is in them."""

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.api.pinned import pinned
from app.errors import InvalidRequestError
from app.head import RequestHead

JSON = RequestHead([(b"content-type", b"application/json")])
FORM = RequestHead([(b"content-type", b"multipart/form-data; boundary=cut")])
FIELDS = ("model", "input", "prompt", "query", "documents", "n", "stream", "encoding_format")
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["text", "a"]), inner),
    max_leaves=8,
)
PIECES = st.sampled_from(
    [
        *(b"--cut", b"--cut--", b"\r\n", b"\r\n\r\n", b"a", b"\x00", b"--"),
        b'Content-Disposition: form-data; name="model"',
        b"content-disposition: x; name=n",
        b'Content-Disposition: form-data; name="file"; filename="a"',
    ]
)


@given(endpoint=st.sampled_from(pinned()), fields=st.dictionaries(st.sampled_from(FIELDS), VALUES))
def test_any_json(endpoint, fields):
    with contextlib.suppress(InvalidRequestError):
        asked = endpoint.parse(json.dumps(fields).encode(), JSON, max_messages=10)
        assert asked.kind == endpoint.kind
        assert asked.demand.input_tokens <= asked.demand.input_tokens_upper


@pytest.mark.parametrize(
    "value", ['"\\ud800"', "[" * 600 + "]" * 600, '{"text":' * 600 + "1" + "}" * 600]
)
@pytest.mark.parametrize("field", ["input", "documents"])
def test_odd_values(value, field):
    for endpoint in pinned():
        with contextlib.suppress(InvalidRequestError):
            endpoint.parse(f'{{"model":"m","{field}":{value}}}'.encode(), JSON, max_messages=10)


@given(pieces=st.lists(PIECES, max_size=12))
def test_any_form(pieces):
    (endpoint,) = [each for each in pinned() if each.name == "audio/transcriptions"]
    body = b"".join(pieces)
    with contextlib.suppress(InvalidRequestError):
        asked = endpoint.parse(body, FORM, max_messages=10)
        _, before, after = asked.body.sent.values()
        if asked.model:
            assert before + asked.model.encode() + after == body
        else:
            assert after.endswith(body[body.find(b"--cut") :])
