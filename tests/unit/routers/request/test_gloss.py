"""Other languages word by word in English."""

# ruff: noqa: RUF001  (punctuation of other scripts is meant as it stands)

import numpy as np
import pytest

from routers.data.graded import read_lexicon
from routers.request.gloss import Glossary
from routers.request.model import lexicon_bytes
from tests.support.gateway import CONFIGS

LEXICON = {
    "beweise": "prove",
    "hauptstadt": "capital",
    "primzahl": "prime",
    "dass": "that",
    "证明": "prove",
    "素数": "prime",
    "首都": "capital",
    "首": "first",
    "증명": "prove",
    "소수": "prime",
    "सिद्ध": "prove",
    "राजधानी": "capital",
    "أثبت": "prove",
    "عاصمة": "capital",
    "докажите": "prove",
    "โปรแกรม": "program",
}


@pytest.fixture(scope="module")
def glossary():
    return Glossary(LEXICON)


@pytest.mark.parametrize(
    "text",
    [
        "Prove that there are infinitely many primes.",
        "What is the capital of France?",
        "  Keep\tthe   layout of this, please\n",
        "x = 1",
        "",
    ],
)
def test_english_comes_back_as_it_is(glossary, text):
    assert glossary.gloss(text) == text


@pytest.mark.parametrize(
    ("text", "english"),
    [
        ("Beweise, dass jede Primzahl größer ist", "prove that jede prime ist"),
        ("Nenne mir alle Hauptstädte", "nenne mir alle"),
        ("证明有无穷多个素数", "prove prime"),
        ("中国的首都", "capital"),
        ("소수가 무한히 많음을 증명하시오", "prime prove"),
        ("सिद्ध कीजिए", "prove"),
        ("फ्रांस की राजधानी", "capital"),
        ("أثبت ذلك", "prove"),
        ("ما العاصمة وعاصمة وبالعاصمة", "capital capital capital"),
        ("Докажите теорему", "prove"),
        ("เขียนโปรแกรมให้หน่อย", "program"),
    ],
)
def test_known_words_are_told_in_order(glossary, text, english):
    assert glossary.gloss(text) == english


@pytest.mark.parametrize(
    ("text", "english"),
    [
        ("hauptstadt der schweiz", "capital der schweiz"),
        ("hauptstadts der schweiz", "capital der schweiz"),
        ("primzahlen zuerst, primzahl danach", "prime zuerst prime danach"),
        ("증명하라 증명을", "prove prove"),
        ("राजधानियों", "capital"),
        ("العاصمة", "capital"),
        ("للعاصمة", "capital"),
    ],
)
def test_endings_and_articles_do_not_hide_a_word(glossary, text, english):
    assert glossary.gloss(text) == english


def test_short_beginnings_stand_for_nothing(glossary):
    assert glossary.gloss("dasselbe prim beweis") == "dasselbe prim prove"
    assert glossary.gloss("소리 증언") == ""


def test_the_longest_known_word_is_taken_in_scripts_without_spaces(glossary):
    assert glossary.gloss("首都首") == "capital first"


def test_unknown_words_stay_in_ascii_and_go_elsewhere(glossary):
    assert glossary.gloss("Докажите Docker привет x2") == "prove docker x2"
    assert glossary.gloss("zzyzx qwrtz") == "zzyzx qwrtz"
    assert glossary.gloss("привет") == ""


@pytest.mark.parametrize(
    "text", ["\ud800", "\u0000", "🙂🙂", "ﷺ", "İ", "'’'", "a\u0301\u0301", "१२३"]
)
def test_odd_characters_are_no_error(glossary, text):
    assert isinstance(glossary.gloss(text), str)


def test_bytes_and_entries_agree(glossary):
    again = Glossary.from_bytes(lexicon_bytes(LEXICON))
    for text in ("Beweise, dass", "证明有无穷多个素数", "राजधानी", "Привет"):
        assert again.gloss(text) == glossary.gloss(text)


def test_an_empty_lexicon_knows_nothing():
    empty = Glossary.from_bytes(np.zeros(0, np.uint8))
    assert empty.gloss("Beweise das") == "Beweise das"
    assert empty.gloss("证明 Docker") == "docker"


@pytest.mark.parametrize("raw", [b"no tab", b"a\tb\n", b"a\tb\tc", b"\xff\xfe\tx"])
def test_damaged_bytes_are_refused(raw):
    with pytest.raises(ValueError, match=r"lexicon|decode"):
        Glossary.from_bytes(np.frombuffer(raw, np.uint8))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Beweise, dass es unendlich viele Primzahlen gibt", {"proof", "prime"}),
        ("证明有无穷多个素数", {"proof", "prime"}),
        ("소수가 무한히 많음을 증명하시오", {"prove", "prime"}),
        ("ما هي عاصمة فرنسا؟", {"what", "capital"}),
        ("फ्रांस की राजधानी क्या है?", {"what", "capital"}),
        ("Докажите, что простых чисел бесконечно много", {"prove"}),
    ],
)
def test_the_shipped_lexicon_knows_what_requests_turn_on(text, words):
    shipped = Glossary(read_lexicon(CONFIGS / "graded_prompts" / "lexicon.tsv"))
    assert words <= set(shipped.gloss(text).split())
