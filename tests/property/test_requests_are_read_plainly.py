"""Requests are taken apart in ways that are fast; they have to be those of the plain patterns."""

# ruff: noqa: RUF001  (punctuation of other scripts is meant as it stands)

import itertools
import re

from hypothesis import given, settings
from hypothesis import strategies as st

from routers.request.gloss import Glossary
from routers.request.split import cut_sentences, fenced


def texts_of(*parts: str, max_size: int = 14) -> st.SearchStrategy[str]:
    return st.lists(st.sampled_from(parts), max_size=max_size).map("".join)


@settings(max_examples=400, deadline=None)
@given(texts_of(*".!?…。！？ \n\ta", "  ", "é", "\u00a0"))
def test_sentences_end_where_the_plain_pattern_splits(text):
    plain = re.compile(r"(?<=[.!?…])\s+(?=\S)|(?<=[。！？])")
    assert cut_sentences(text) == plain.split(text)


@settings(max_examples=400, deadline=None)
@given(texts_of("`", "``", "```", "~~~", "~", "a", "\n"))
def test_fences_are_those_of_the_plain_pattern(text):
    plain = re.compile(r"```.*?(?:```|\Z)|~~~.*?(?:~~~|\Z)", re.DOTALL)
    assert fenced(text) == [found.span() for found in plain.finditer(text)]


_LEXICON = {
    "beweise": "prove", "dass": "that", "primzahl": "prime", "докажите": "prove",
    "证明": "prove", "证": "proof", "素数": "prime", "素": "plain", "素数表": "table",
    "โปรแกรม": "program", "증명": "prove", "सिद्ध": "prove", "أثبت": "prove", "l'eau": "water",
}  # fmt: skip


@settings(max_examples=400, deadline=None)
@given(
    st.lists(
        st.one_of(
            st.sampled_from([*_LEXICON, *"证明素数表แกรม ’'_7ßé\u0301\u0947", "en", "العا", " "]),
            st.text(max_size=3),
        ),
        max_size=12,
    ).map("".join)
)
def test_words_of_other_languages_are_found_as_plainly_described(text):
    unspaced = "\u0e00-\u0e7f\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
    marks = "\u0300-\u036f\u0591-\u05c7\u0610-\u061a\u064b-\u065f\u0900-\u0963\u0970-\u0dff"
    letter = rf"(?:(?![{unspaced}])[^\W_]|[{marks}])"
    pieces = re.findall(rf"[{unspaced}]+|{letter}+(?:['’]{letter}+)*", text.lower())
    glossary = Glossary(_LEXICON)

    def alone(piece: str) -> list[str]:
        if not re.match(rf"[{unspaced}]", piece):
            # What is not ASCII and unknown is dropped; a sign beside it makes no English of it.
            return glossary.gloss(f"{piece} 证").split()[:-1]
        found, at = [], 0
        while at < len(piece):
            known = [form for form in _LEXICON if piece.startswith(form, at)]
            longest = max(known, key=len, default=piece[at])
            found += [_LEXICON[longest]] if known else []
            at += len(longest)
        return found

    expected = " ".join(itertools.chain.from_iterable(map(alone, pieces)))
    if not text.lower().isascii():
        assert glossary.gloss(text) == expected
