"""Polite words ask for nothing."""

# ruff: noqa: RUF001  (punctuation of other scripts is meant as it stands)

import numpy as np
import pytest

from routers.request.courtesy import CourtesyModel
from routers.request.model import WEIGHTS_FILE
from routers.request.words import WordModel


@pytest.fixture(scope="module")
def shipped() -> CourtesyModel:
    with np.load(WEIGHTS_FILE) as arrays:
        state = {
            name.removeprefix("courtesy."): arrays[name]
            for name in arrays.files
            if name.startswith("courtesy.")
        }
    return CourtesyModel(WordModel.restore(state))


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
    model = CourtesyModel.fit(
        ["Good day to you!", "Good morning to you!", "Many good thanks."],
        ["Sort the numbers. Show steps.", "Prove the lemma. Show steps.", "Sort the files."],
    )
    asked = "Sort the lemma."
    padded = f"Good day to you! {asked}"
    assert [model.strip(each) for each in (padded, asked)] == [asked, asked]
