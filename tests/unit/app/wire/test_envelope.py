"""Bodies that are no JSON, and what is said of them."""

import pytest

from app.errors import InvalidRequestError
from app.wire.envelope import read_envelope


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (rb'{"a": "\ud800"}', r"\ud800 is half of a surrogate pair"),
        (rb'{"a": "\\\uD83D x"}', r"\uD83D is half of a surrogate pair"),
        (rb'{"a": "\ud83d\ude00', "truncated"),
        (rb'{"a": "\udc00"}', "invalid utf-16 surrogate pair"),
        (b'{"a": ', "truncated"),
    ],
    ids=["the-first-half", "after-a-backslash", "a-pair-cut-off", "the-second-half", "cut-off"],
)
def test_it_is_said_what_is_wrong(body, words):
    with pytest.raises(InvalidRequestError) as refused:
        read_envelope(body)
    assert words in refused.value.message


def test_a_pair_and_an_escaped_backslash_are_no_halves():
    fields = read_envelope(rb'{"a": "\ud83d\ude00", "b": "\\ud800"}')
    assert set(fields) == {"a", "b"}
