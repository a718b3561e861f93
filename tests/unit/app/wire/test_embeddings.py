"""Inputs to embed, and vectors in the order and the form that were asked for."""

import base64
import json
import math
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.api.pinned import Pinned
from app.errors import InvalidRequestError, UpstreamInvalidResponseError
from app.head import NO_HEAD
from app.wire.pinned.embeddings import read_vectors

EMBEDDINGS = Pinned("embeddings")
FIELDS = {"input": b'["a", "b"]'}


def parse(**fields):
    body = json.dumps({"model": "m", **fields}).encode()
    return EMBEDDINGS.parse(body, NO_HEAD, max_messages=10)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({}, "input"),
        ({"input": ""}, "input"),
        ({"input": []}, "input"),
        ({"input": ["a", ""]}, "input[1]"),
        ({"input": [[1], []]}, "input[1]"),
        ({"input": [[]]}, "input[0]"),
        ({"input": [1.5]}, "input"),
        ({"input": [-1]}, "input[0]"),
        ({"input": ["a", 1]}, "input[1]"),
        ({"input": [1, "a"]}, "input[1]"),
        ({"input": None}, "input"),
        ({"input": {"text": "a"}}, "input"),
        ({"input": ["a"] * 2049}, "input"),
        ({"input": [[]] * 2049}, "input"),
        ({"input": "a", "encoding_format": "hex"}, "encoding_format"),
        ({"input": "a", "encoding_format": 1}, "encoding_format"),
        ({"input": "a", "model": 1}, "model"),
    ],
    ids=lambda each: repr(each)[:60],
)
def test_what_cannot_be_embedded_is_refused_with_its_place(fields, param):
    with pytest.raises(InvalidRequestError) as refused:
        parse(**fields)
    assert refused.value.param == param


@pytest.mark.parametrize(
    ("sent", "least"), [([1, 2, 3], 3), ([[1], [2, 3]], 3), (["a"] * 2048, 2048), ("a", 1)]
)
def test_what_is_read_is_counted(sent, least):
    asked = parse(input=sent)
    assert least <= asked.demand.input_tokens <= asked.demand.input_tokens_upper < 3 * least + 10
    assert asked.demand.max_output_tokens == 0
    assert asked.token_ids is (not isinstance(sent, str) and not isinstance(sent[0], str))


def vector(index, embedding):
    return {"object": "embedding", "index": index, "embedding": embedding}


def answer(*data):
    return json.dumps({"object": "list", "data": data, "model": "up", "usage": {}}).encode()


def packed(*values):
    return base64.b64encode(struct.pack(f"<{len(values)}f", *values)).decode()


@given(
    st.lists(
        st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1),
        min_size=2,
        max_size=2,
    ),
    st.booleans(),
    st.sampled_from([None, "float", "base64"]),
    st.permutations([0, 1]),
)
def test_both_forms_say_the_same_in_any_order(values, upstream_packs, wanted, order):
    data = [vector(i, packed(*values[i]) if upstream_packs else values[i]) for i in order]
    fields = {**FIELDS, "encoding_format": json.dumps(wanted).encode()}
    read = json.loads(read_vectors(answer(*data), fields))
    assert read["model"] == "up"
    assert [each["index"] for each in read["data"]] == [0, 1]
    for each, expected in zip(read["data"], values, strict=True):
        got = each["embedding"]
        if wanted == "base64":
            raw = base64.b64decode(got)
            got = list(struct.unpack(f"<{len(raw) // 4}f", raw))
        assert all(map(math.isfinite, got))
        assert got == expected


def test_what_is_as_asked_is_the_very_same():
    body = answer(vector(0, [0.1]), vector(1, [1e-7])).replace(b" ", b"")
    assert read_vectors(body, FIELDS) is body


@pytest.mark.parametrize("form", [b'"float"', b'"base64"'])
@pytest.mark.parametrize(
    "body",
    [
        answer(),
        answer(vector(0, [1.0])),
        answer(vector(0, [1.0]), vector(0, [1.0])),
        answer(vector(0, [1.0]), vector(1, [])),
        answer(vector(0, [1.0]), vector(1, "")),
        answer(vector(0, [1.0]), vector(1, "&")),
        answer(vector(0, packed(1.0)), vector(1, "AAA=")),
        answer(vector(0, [1.0]), vector(1, {})),
        answer(vector(0, [1.0]), vector(1, None)),
        answer(vector(0, [1.0]), vector(1, ["x"])),
        answer(vector(0, [1.0]), vector(5, [1.0])),
        answer(vector(0, [1.0]), vector(-1, [1.0])),
        b'{"object": "list", "data": null}',
        b"{}",
        b"[]",
        b"\xff",
    ],
    ids=repr,
)
def test_an_answer_without_a_vector_for_each_input_is_a_failure(body, form):
    with pytest.raises(UpstreamInvalidResponseError):
        read_vectors(body, {**FIELDS, "encoding_format": form})
