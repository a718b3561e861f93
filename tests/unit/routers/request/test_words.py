"""A linear model of the words of a request."""

import numpy as np
import pytest

from routers.request.words import MAX_CHARS, WordModel, terms_of

TEXTS = [
    "prove the theorem", "prove the lemma", "design a scheduler", "design a compiler",
    "what time is it", "what day is it", "hi there", "hi again",
    "证明定理", "证明引理", "你好吗", "你好呀",
]  # fmt: skip
LEVELS = [5, 5, 4, 5, 1, 1, 1, 1, 5, 5, 1, 1]


@pytest.fixture(scope="module")
def model() -> WordModel:
    return WordModel.fit(TEXTS, LEVELS)


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        ("Prove it!", ["prove", "it", "!", "prove it", "it !"]),
        ("theorems", ["theorems", "^theo"]),
        ("证明它", ["证", "明", "它", "证 明", "明 它"]),
        ("증명", ["증", "명", "증 명"]),
        ("सिद्ध करें", ["सिद्ध", "करें", "सिद्ध करें"]),
        ("кот и пёс", ["кот", "и", "пёс", "кот и", "и пёс"]),
        ("API设计", ["api", "设", "计", "api 设", "设 计"]),
        ("", []),
        (" \n", []),
    ],
)
def test_terms(text, terms):
    assert [term for term in terms_of(text) if term in terms] == terms
    stems = {term for term in terms_of(text) if term.startswith("^")}
    assert set(terms_of(text)) - stems == {term for term in terms if not term.startswith("^")}


def test_only_the_beginning_of_a_long_text_is_read():
    assert terms_of("a" * MAX_CHARS + " tail") == terms_of("a" * MAX_CHARS)


def test_it_tells_what_it_was_taught(model):
    high, low = model.score("prove that lemma"), model.score("what time is it there")
    assert high > 3.5
    assert low < 2.5
    assert model.score("证明它") > model.score("你好")


def test_unknown_words_and_nothing_score_the_same(model):
    assert model.score("xyzzy") == model.score("") == model.score("\ud800")


def test_terms_of_a_single_text_are_not_learned():
    with_once = WordModel.fit([*TEXTS, "quux"], [*LEVELS, 5])
    assert with_once.score("quux") == with_once.score("")


def test_restoring_is_exact(model):
    again = WordModel.restore(model.state())
    for text in [*TEXTS, "prove a new theorem", "你", "\udc80 prove"]:
        assert again.score(text) == model.score(text)
    for name, array in model.state().items():
        np.testing.assert_array_equal(again.state()[name], array)


def test_half_a_surrogate_pair_survives_restoring():
    model = WordModel.fit(["\ud800a b", "\ud800a c", "d e", "d f"], [5, 5, 1, 1])
    assert WordModel.restore(model.state()).score("\ud800a") == model.score("\ud800a")


def test_fitting_twice_gives_the_same(model):
    again = WordModel.fit(TEXTS, LEVELS)
    assert [again.score(text) for text in TEXTS] == [model.score(text) for text in TEXTS]


@pytest.mark.parametrize("name", ["terms", "weights", "bias"])
def test_damaged_arrays_are_refused(model, name):
    state = model.state()
    with pytest.raises((ValueError, KeyError)):
        WordModel.restore({key: array for key, array in state.items() if key != name})
    with pytest.raises(ValueError, match=r"word model|decode"):
        WordModel.restore({**state, name: state[name][:-5] if name != "bias" else np.zeros(2)})
