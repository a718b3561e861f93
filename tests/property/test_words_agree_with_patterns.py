"""Words are split in ways that are fast; they have to be those of the plain patterns."""

import itertools
import re

from hypothesis import given, settings
from hypothesis import strategies as st

from routers.embedders.hashing import HashingEmbedder
from routers.features.blocks.terms import TermsBlock
from routers.request.words import MAX_CHARS, terms_of
from routers.text.conversation import ConversationText
from routers.text.lexical import LEXICAL_SIGNALS, lexical_signals
from routers.text.words import ascii_identifiers, ascii_words

_KNOWN = ["def", "What", "how", "solve", "return", "prove", "null"]
_CODE_WORDS = [
    "def",
    "class",
    "return",
    "import",
    "function",
    "const",
    "void",
    "public",
    "static",
    "assert",
    "print",
    "lambda",
    "elif",
    "SELECT",
    "FROM",
    "WHERE",
    "struct",
    "namespace",
    "int",
    "bool",
    "null",
    "None",
]
_pieces = st.one_of(
    st.sampled_from([*_KNOWN, *"_ \n\t.,?7", "\x1c", "\x00", "ß", "ﬁ", "é"]), st.text()
)
texts = st.lists(_pieces, max_size=30).map("".join)
ascii_texts = st.lists(
    st.one_of(_pieces.filter(str.isascii), st.text(st.characters(max_codepoint=127)))
).map("".join)


@settings(deadline=None)
@given(ascii_texts)
def test_words_and_marks_are_those_of_the_pattern(text):
    assert ascii_words(text) == re.findall(r"[a-z0-9]+|[^a-z0-9\s]", text.lower())


@settings(deadline=None)
@given(ascii_texts)
def test_identifiers_keep_their_underscores(text):
    assert ascii_identifiers(text) == re.findall(r"[a-z0-9_]+|[^a-z0-9_\s]", text.lower())


_SIGNS = "\u0e00-\u0e7f\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af"
_MARKS = "\u0300-\u036f\u0591-\u05c7\u0610-\u061a\u064b-\u065f\u0900-\u0963\u0970-\u0dff"
# One character of many scripts more often than `text` draws them.
scripts = st.lists(
    st.one_of(
        _pieces,
        st.sampled_from(
            "añçéø кот ждёт证明它。ไทย日本語カナ한국어सिद्ध करें أثبت שלום \u0301\u0947_7"
        ),
    ),
    max_size=60,
).map("".join)


@settings(deadline=None)
@given(scripts)
def test_terms_of_a_request_are_those_of_the_plain_pattern(text):
    plain = rf"[{_SIGNS}]|(?:(?![{_SIGNS}])[\w{_MARKS}])+|[^\w\s]"
    tokens = re.findall(plain, text[:MAX_CHARS].lower())
    pairs = [f"{first} {second}" for first, second in itertools.pairwise(tokens)]
    stems = [f"^{token[:4]}" for token in tokens if len(token) > 5]
    assert terms_of(text) == tokens + pairs + stems


@settings(max_examples=200, deadline=None)
@given(texts)
def test_terms_are_words_of_any_script_marks_and_pairs(text):
    tokens = re.findall(r"\w+|[^\w\s]", text.lower())
    block = TermsBlock(HashingEmbedder())
    block.fit([ConversationText(prompt=text)] * 2, seed=0)
    learned = bytes(block.state()["terms"]).decode("utf-8", "surrogatepass")
    pairs = map(" ".join, itertools.pairwise(tokens))
    assert set(learned.split("\n")) - {""} == {*tokens, *pairs}


@settings(max_examples=200, deadline=None)
@given(texts)
def test_known_words_are_counted_where_no_letter_stands_beside_them(text):
    values = dict(zip(LEXICAL_SIGNALS, lexical_signals(ConversationText(prompt=text)), strict=True))
    found = sum(word in _CODE_WORDS for word in re.findall(r"[A-Za-z]+", text))
    assert values["code_words"] == min(found / 8, 1)
