"""Polite words ask for nothing."""

# ruff: noqa: RUF001  (punctuation of other scripts is meant as it stands)

import numpy as np
import pytest

from routers.request.courtesy import CourtesyModel
from routers.request.model import WEIGHTS_FILE


@pytest.fixture(scope="module")
def shipped() -> CourtesyModel:
    with np.load(WEIGHTS_FILE) as arrays:
        state = {
            name.removeprefix("courtesy."): arrays[name]
            for name in arrays.files
            if name.startswith("courtesy.")
        }
    return CourtesyModel.restore(state)


@pytest.mark.parametrize(
    ("text", "rest"),
    [
        (
            "Hi! Hope you are well. Could you please sort this list: 3, 1, 2? Thanks in advance!",
            "sort this list: 3, 1, 2?",
        ),
        ("Thanks! Now prove it", "Now prove it"),
        ("please translate the menu", "translate the menu"),
        ("Would you kindly list the primes below 20?", "list the primes below 20?"),
        ("Sort the list, please", "Sort the list"),
        ("你好！请证明根号2是无理数。谢谢！", "请证明根号2是无理数。"),
        (
            "Guten Tag, ich hoffe es geht Ihnen gut. Was ist die Hauptstadt von Peru? Vielen Dank!",
            "Was ist die Hauptstadt von Peru?",
        ),
        # The courtesy ends with a comma, a line, or nothing at all.
        (
            "Sorry if this is silly, but does cash count as an asset?",
            "does cash count as an asset?",
        ),
        ("Prove that sqrt(2) is irrational thanks", "Prove that sqrt(2) is irrational"),
        ("Sort these names thank you so much in advance", "Sort these names"),
        ("I was wondering if you could possibly sort this list", "sort this list"),
        (
            "Dear Mr. Smith,\nI hope this finds you well.\n\nWhat is a bond?\n\nKind regards,\nAnn",
            "What is a bond?",
        ),
        ("Démontre le théorème de Rolle. Merci d'avance", "Démontre le théorème de Rolle."),
        ("Извините за беспокойство, докажите теорему Ролля", "докажите теорему Ролля"),
        ("すみません、素数とは何ですか。よろしくお願いします。", "素数とは何ですか。"),
    ],
)
def test_courtesies_at_the_ends_are_left_out(shipped, text, rest):
    assert shipped.strip(text).strip() == rest


@pytest.mark.parametrize(
    "text",
    [
        "Yo, got a sec? Prove that sqrt(2) is irrational. Appreciate ya!",
        "Hey there, hope your week is going well! Prove that sqrt(2) is irrational. Cheers!",
        "I'm new here, so bear with me. Prove that sqrt(2) is irrational.",
    ],
)
def test_courtesies_that_nobody_listed_are_known_too(shipped, text):
    assert shipped.strip(text).strip() == "Prove that sqrt(2) is irrational."


@pytest.mark.parametrize(
    "text", ["hi", "Hello!", "thanks", "Please", "could you please", "Thank you so much!!", "?", ""]
)
def test_courtesy_alone_comes_back_as_it_is(shipped, text):
    assert shipped.strip(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "Sort this list.",
        "Write a thank-you note. Keep it short.",
        "Translate 'thank you' into French.",
        "What is the capital of France?",
        "Prove that sqrt(2) is irrational.",
        "Beweise den Satz von Bayes.",
        "证明根号2是无理数。",
        "Why do we say please?",
        "SELECT name FROM people WHERE thanks > 3;",
        "why does sweating cool you down",
        "explain public key encryption like I'm 12",
        "Does Landauer's bound really exorcise Maxwell's demon? Argue rigorously.",
        "how do i take a screenshot on windows",
        "Does Gödel's argument suffer modal collapse? Show it",
    ],
)
def test_the_words_of_a_request_stay(shipped, text):
    assert shipped.strip(text) == text


def test_only_the_ends_are_touched(shipped):
    text = f"Count the words. {'Thanks for the tea, she said. ' * 40}How many are there?"
    rest = shipped.strip(text)
    assert rest.endswith("How many are there?")
    assert len(rest) > len(text) - 160


@pytest.mark.parametrize("unit", [",", "! ", "please ", "hi. ", "\n", "\ud800", "a"])
def test_a_huge_text_is_no_error(shipped, unit):
    text = unit * 200_000
    rest = shipped.strip(text)
    assert rest in text
    assert rest or not text.strip()


def test_it_learns_from_few_examples():
    asked = "Sort the lemma."
    padded = (f"Good day to you! {asked}", f"{asked} Many good thanks.", asked)
    assert [learned().strip(each) for each in padded] == [asked] * 3


def learned() -> CourtesyModel:
    return CourtesyModel.fit(
        ["Good day to you!", "Good morning to you!"],
        ["Many good thanks.", "Very many thanks."],
        ["Sort the numbers. Show steps.", "Prove the lemma. Show steps.", "Sort the files."],
    )


def test_it_is_restored_as_it_was():
    model = learned()
    again = CourtesyModel.restore(model.state())
    for name, array in model.state().items():
        assert again.state()[name].tobytes() == array.tobytes()
    text, asked = "Good day to you! Sort the lemma.", "Sort the lemma."
    assert (again.strip(text), model.strip(text)) == (asked, asked)


def test_arrays_that_do_not_fit_are_refused():
    state = learned().state()
    for name, cut in (("weights", state["weights"][:-1]), ("bias", state["bias"][:0])):
        with pytest.raises(ValueError, match="courtesies do not fit"):
            CourtesyModel.restore({**state, name: cut})
