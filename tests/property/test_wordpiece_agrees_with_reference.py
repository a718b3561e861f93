"""The tokeniser gives the ids of the reference implementation, whatever the text."""

import re
import unicodedata
from functools import cache
from importlib import resources
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tokenizers import BertWordPieceTokenizer

from routers.text.wordpiece import WordPiece

VOCABULARY = Path(str(resources.files("routers"))) / "pretrained/static/vocab.txt"

# The reference reads its own markers out of a text; to us they are text like any other.
MARKERS = re.compile(r"\[(?:UNK|PAD|CLS|SEP|MASK)\]")

# Where the reference's Unicode data say something else than Python's own, and no word of the
# vocabulary is concerned: a punctuation mark and a vowel sign of two historic scripts, and a
# compatibility form that was composed differently.
EXCEPTIONS = {"\u166d", "\u1734", "\U00011938", "\U000111c9"}


def _comparable(character: str) -> bool:
    # Unassigned code points can gain a lower case in a newer Unicode than Python's.
    return character not in EXCEPTIONS and unicodedata.category(character) not in ("Cn", "Cs")


@cache
def reference() -> BertWordPieceTokenizer:
    return BertWordPieceTokenizer(str(VOCABULARY), lowercase=True)


@cache
def ours() -> WordPiece:
    return WordPiece(VOCABULARY.read_text(encoding="utf-8").split("\n"))


def assert_same_ids(text: str) -> None:
    text = MARKERS.sub("", text)
    assert ours().ids(text) == reference().encode(text, add_special_tokens=False).ids


plain = st.characters(exclude_categories=("Cn", "Cs"), exclude_characters="".join(EXCEPTIONS))
ascii_heavy = st.text(st.characters(max_codepoint=0x7F), max_size=200)
anything = st.text(plain, max_size=60)
latin = st.text(st.characters(max_codepoint=0x17F, exclude_categories=("Cn", "Cs")), max_size=80)
cjk = st.text(st.characters(min_codepoint=0x2E80, max_codepoint=0x9FFF), max_size=40).map(
    lambda text: "".join(filter(_comparable, text))
)


@settings(max_examples=400, deadline=None)
@given(st.one_of(ascii_heavy, anything, latin, cjk))
@example("")
@example("İstanbul ΣΊΣΥΦΟΣ ẞtraße ﬁne Å ǅ K")
@example("naïve café résumé coöperate Ñandú e\u0301")
def test_ids_are_those_of_the_reference(text):
    assert_same_ids(text)


@settings(max_examples=100, deadline=None)
@given(st.text("abcdefghijklmnopqrstuvwxyz", min_size=1, max_size=130))
def test_invented_words_split_into_the_same_pieces(word):
    assert_same_ids(word)


@pytest.mark.parametrize(
    "text",
    [
        " \t\r\n\x0b\x0c\x1c\x85\xa0\u2003\u2028\u3000 ",
        "null\x00byte and \x07bell and \x7fdelete",
        "soft\u00adhyphen zero\u200bwidth joiner\u200d bom\ufeff replaced\ufffd",
        "don't “quote” — dash… §5 ¿qué? ¡olé! $9.99 €5 a+b=c x^2 <tag> `code` ~ |",
        "中文字符mixed with English漢字 かな カナ 한국어 豈",
        "𠀀𪜀\U0002b920\U0002b820 🎉👩‍👩‍👧 🇫🇷 ☃ \U0001d518\U0001d52b\U0001d526",
        "مرحبا بالعالم שלום Привет Ελλάδα हिन्दी ไทย",
        "a" * 100,
        "a" * 101,
        "é" * 100,
        "e\u0301" * 101,
        "##ing [UNK ] unaffable supercalifragilisticexpialidocious",
        "١٢٣ ½ ² Ⅷ ﷽ ㎏ ℃",
        "combining \u0338 a\u0323\u0307 \u302e\u1b44\u302f \U0001d165\U0001d16d",
    ],
)
def test_nasty_texts_give_the_same_ids(text):
    assert_same_ids(text)


def test_every_single_character_is_treated_alike():
    characters = (chr(code) for code in range(0x110000))
    chosen = [
        character
        for character in characters
        # Half of Unicode is reserved for private use and all alike.
        if _comparable(character)
        and (unicodedata.category(character) != "Co" or ord(character) % 997 == 0)
    ]
    for start in range(0, len(chosen), 4_096):
        # Between two letters, so that dropping, spacing and keeping all look different.
        assert_same_ids(" ".join(f"a{character}b" for character in chosen[start : start + 4_096]))
