import threading
import time

import pytest

from routers.text.wordpiece import WordPiece

PIECES = ["[UNK]", "un", "##aff", "##able", "the", "##s", "a", "##a", ",", "中"]


@pytest.fixture
def wordpiece() -> WordPiece:
    return WordPiece(PIECES)


def pieces(wordpiece: WordPiece, text: str) -> list[str]:
    return [PIECES[index] for index in wordpiece.ids(text)]


def test_longest_known_piece_comes_first(wordpiece):
    assert pieces(wordpiece, "Unaffable, the") == ["un", "##aff", "##able", ",", "the"]


def test_a_word_with_an_unknown_rest_is_wholly_unknown(wordpiece):
    assert pieces(wordpiece, "unaffablex the") == ["[UNK]", "the"]


def test_cjk_characters_stand_alone(wordpiece):
    assert pieces(wordpiece, "a中a") == ["a", "中", "a"]


def test_combining_characters_that_stay_are_put_in_order():
    # Of classes 216 and 224, and no accents: the reference keeps them, in the order of NFD.
    wordpiece = WordPiece(["[UNK]", "a\U0001d165\u302e"])
    assert wordpiece.ids("a\u302e\U0001d165") == wordpiece.ids("a\U0001d165\u302e") == [1]


def test_what_is_too_long_for_a_word_is_not_remembered(wordpiece):
    wordpiece.ids(" ".join(letter * 65 for letter in "abcdefgh"))
    assert not wordpiece._words


def test_lone_surrogates_are_dropped(wordpiece):
    assert pieces(wordpiece, "the\ud800s") == ["the", "##s"]


def test_words_over_a_hundred_characters_are_unknown(wordpiece):
    assert pieces(wordpiece, "a" * 101) == ["[UNK]"]
    assert pieces(wordpiece, "a" * 100) == ["a"] + ["##a"] * 99


def test_more_words_than_the_cache_holds_leave_it_bounded_and_right(wordpiece):
    text = " ".join(f"w{number}" for number in range(40_000))
    assert set(wordpiece.ids(text)) == {0}
    assert len(wordpiece._words) <= 32_768
    assert pieces(wordpiece, "thes") == ["the", "##s"]


def test_threads_that_overflow_the_cache_together_agree(wordpiece):
    results: dict[int, list[int]] = {}

    def work(number: int) -> None:
        text = " ".join(f"the{word}x a thes" for word in range(number, number + 15_000))
        results[number] = wordpiece.ids(text)

    threads = [threading.Thread(target=work, args=(number,)) for number in (0, 7_000, 14_000)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(ids == [0, 6, 4, 5] * 15_000 for ids in results.values())


def test_hostile_words_cost_little():
    vocabulary = ["[UNK]", *"qxzj", *(f"##{letter}" for letter in "qxzj"), "##" + "qxzj" * 10]
    wordpiece = WordPiece(vocabulary)
    words = [f"{'q' * (number % 7)}{'xzjq' * 24}"[:100] for number in range(50)]
    started = time.process_time()
    wordpiece.ids(" ".join(words))
    # A naive longest-match takes 5,000 lookups for each of these words.
    assert time.process_time() - started < 0.5
