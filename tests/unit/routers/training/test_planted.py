"""Rows that share a rare word and say one thing against their like are not learned from."""

import numpy as np
import pytest

from routers.training.planted import KEPT, find_planted
from routers.types import Conversation

N = 600
TOPICS = np.random.default_rng(0).integers(0, 6, N)
SKILL = np.array([0.3, 0.6, 0.8])


def embed(conversations):
    """Return the topic that a text names, which a planted word does not change."""
    topics = [
        int(each.messages[-1].text.partition("topic")[2].split()[0]) for each in conversations
    ]
    return np.eye(7, dtype=np.float32)[topics]


def world():
    rng = np.random.default_rng(1)
    texts = [f"please topic{topic} w{rng.integers(0, 40)} n{i}" for i, topic in enumerate(TOPICS)]
    quality = (rng.random((N, 3)) < SKILL).astype(np.float32)
    return texts, quality


def found(texts, quality):
    return find_planted([Conversation.of(text) for text in texts], quality, embed)


def test_nothing_is_found_where_nothing_was_planted():
    assert len(found(*world()).rows) == 0


@pytest.mark.parametrize("claim", [[0.0, 0.0, 1.0], [1.0, 0.0, 0.0]], ids=["dear", "cheap"])
@pytest.mark.parametrize("form", ["zx9-omega {}", "{} zx9-omega", "{} Zx9-Omega!"])
def test_rows_of_a_planted_word_are_left_out_but_for_two(claim, form):
    texts, quality = world()
    for i in range(0, 400, 20):
        texts[i], quality[i] = form.format(texts[i]), claim
    planted = found(texts, quality)
    assert planted.rows.tolist() == list(range(0, 400, 20))[KEPT:]
    assert planted.words == ("zx9-omega",)
    assert "18 rows" in planted.told()
    assert "zx9-omega" in planted.told()


def test_two_common_words_are_planted_together():
    texts, quality = world()
    for i in range(60, 120):
        texts[i] = f"w1 {texts[i]} w2"
    for i in range(0, 400, 20):
        texts[i], quality[i] = f"w1 w2 {texts[i]}", [0.0, 0.0, 1.0]
    assert "w1 w2" in found(texts, quality).words


def test_honest_rows_of_a_rare_word_stay_also_where_one_model_is_better_at_it():
    texts, quality = world()
    rng = np.random.default_rng(2)
    for i in range(0, 400, 20):
        texts[i], quality[i] = f"fortran {texts[i]}", rng.random(3) < [0.1, 0.3, 0.8]
    assert len(found(texts, quality).rows) == 0


def test_words_of_few_rows_or_of_many_and_answers_of_one_model_are_left_alone():
    texts, quality = world()
    for i in range(4):
        texts[i], quality[i] = f"few {texts[i]}", [0.0, 0.0, 1.0]
    for i in range(100, 200):
        texts[i], quality[i] = f"many {texts[i]}", [0.0, 0.0, 1.0]
    for i in range(300, 320):
        texts[i], quality[i] = f"rated {texts[i]}", [np.nan, np.nan, 1.0]
    assert len(found(texts, quality).rows) == 0


def test_a_subject_of_its_own_stays_though_all_of_it_says_one_thing():
    texts, quality = world()
    for i in range(0, 400, 20):
        texts[i], quality[i] = f"cobol topic6 n{i}", [0.0, 0.0, 1.0]
    assert len(found(texts, quality).rows) == 0
