import pytest

from routers.text.document_signals import (
    DOCUMENT_SIGNALS,
    MAX_READ,
    content_words,
    measure_documents,
)
from routers.types import Document

ASK = "When did Galileo climb the tower of Pisa?"
GOOD = Document("Galileo climbed the tower of Pisa in 1590; climb records name him.")
POOR = Document("Bread is made of flour, water and salt.")


def signals(*documents, prompt=ASK):
    values = measure_documents(prompt, documents).signals
    assert len(values) == len(DOCUMENT_SIGNALS)
    assert all(0 <= each <= 1 for each in values)
    return dict(zip(DOCUMENT_SIGNALS, values, strict=True))


def test_without_documents_only_the_question_is_told():
    told = signals()
    assert told.pop("log_question_words") > 0
    assert set(told.values()) == {0.0}


def test_documents_that_tell_what_is_asked_cover_it():
    good, poor = signals(GOOD), signals(POOR)
    assert good["any"] == poor["any"] == 1
    assert good["coverage"] == good["best_coverage"] == 1
    assert poor["coverage"] == 0
    assert good["name_coverage"] == 1
    assert (good["answer_type"], poor["answer_type"]) == (1, 0)


def test_two_halves_cover_together_what_neither_does():
    both = signals(Document("Galileo, Pisa"), Document("They climb a tower."))
    assert both["coverage"] == 1
    assert both["best_coverage"] == both["mean_coverage"] == 0.5


def test_more_and_longer_documents_count_for_more():
    one, three = signals(GOOD), signals(GOOD, GOOD, GOOD)
    assert three["log_documents"] > one["log_documents"] > 0
    assert three["log_characters"] > one["log_characters"]
    assert three["mean_log_characters"] == one["mean_log_characters"]
    assert (three["agreement"], one["agreement"]) == (1, 0)
    assert signals(GOOD, POOR)["agreement"] == 0


def test_scores_of_any_scale_keep_their_order():
    told = signals(*(Document("a", score=each) for each in (-3.0, 41.0, 0.5, 0.9)))
    assert told["scored"] == 1
    assert told["best_score"] > told["mean_score"] > 0
    assert told["score_gap"] > 0
    assert signals(Document("a", score=41.0), POOR)["scored"] == 0.5


def test_what_cannot_be_read_is_counted_as_such():
    assert signals(Document(""), POOR)["unread_share"] == 0.5


def test_many_documents_and_long_ones_are_read_in_part():
    told = signals(*[POOR] * MAX_READ, GOOD)
    assert told["coverage"] == 0
    assert told["log_documents"] > signals(GOOD)["log_documents"]
    assert signals(Document("x " * 50_000 + "Galileo"))["coverage"] > 0


def test_scripts_without_blanks_are_compared_by_pairs_of_signs():
    assert signals(Document("比萨斜塔建于1173年。"), prompt="比萨斜塔何时建造?")["coverage"] > 0.4


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("The towers of Pisa's", {"tower", "pisa"}),
        ("glass", {"glass"}),
        ("7 a x", {"7"}),
        ("", set()),
    ],
)
def test_words_that_say_something(text, words):
    assert content_words(text) == words


def test_how_many_and_how_well_they_cover_is_told_in_words_of_its_own():
    numbers = measure_documents(ASK, (GOOD, POOR))
    assert (numbers.n, numbers.coverage) == (2, 1.0)
    assert measure_documents(ASK, ()).n == 0
