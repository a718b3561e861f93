import numpy as np
import pytest

from routers.base import DEFAULT_OUTPUT_TOKENS, Comparisons, Labels
from routers.strategies._comparison import comparisons_of, from_outcomes, win_share_error
from routers.strategies._lengths import Lengths

RNG = np.random.default_rng(0)
QUALITY = RNG.choice(np.asarray([0, 0.5, 1], np.float32), (200, 4))
QUALITY[RNG.random(QUALITY.shape) < 0.3] = np.nan


def made(quality=QUALITY, k=3):
    return from_outcomes(quality, pairs_per_query=k, rng=np.random.default_rng(0))


def test_the_higher_quality_wins_and_equal_quality_is_a_tie():
    comparisons = made()
    difference = QUALITY[comparisons.row, comparisons.a] - QUALITY[comparisons.row, comparisons.b]
    assert not np.isnan(difference).any()
    np.testing.assert_array_equal(np.sign(difference), comparisons.outcome * 2 - 1)
    assert set(comparisons.outcome.tolist()) == {0, 0.5, 1}


def test_every_query_lets_different_pairs_compete():
    comparisons = made()
    known = (~np.isnan(QUALITY)).sum(axis=1)
    expected = np.minimum(known * (known - 1) // 2, 3)
    np.testing.assert_array_equal(np.bincount(comparisons.row, minlength=200), expected)
    pairs = {
        (row, *sorted((a, b)))
        for row, a, b in zip(comparisons.row, comparisons.a, comparisons.b, strict=True)
    }
    assert len(pairs) == len(comparisons)


def test_which_model_stands_first_says_nothing():
    quality = np.tile(np.asarray([[0, 1]], np.float32), (2000, 1))
    assert made(quality).outcome.mean() == pytest.approx(0.5, abs=0.05)


def test_a_single_model_has_no_comparisons():
    assert len(made(np.ones((5, 1), np.float32))) == 0


def given(*rows):
    return Comparisons(
        row=np.asarray(rows),
        a=np.zeros(len(rows), int),
        b=np.ones(len(rows), int),
        outcome=np.ones(len(rows), np.float32),
    )


def test_given_comparisons_are_taken_as_they_are():
    everywhere = given(*range(len(QUALITY)))
    labels = Labels(models=tuple("abcd"), quality=QUALITY, comparisons=everywhere)
    rng = np.random.default_rng(1)
    assert comparisons_of(labels, pairs_per_query=3, rng=rng) is everywhere


def test_queries_without_given_comparisons_are_compared_by_their_outcomes():
    some = given(0, 0, 2)
    labels = Labels(models=tuple("abcd"), quality=QUALITY, comparisons=some)
    both = comparisons_of(
        labels, pairs_per_query=3, outcome_weight=0.25, rng=np.random.default_rng(1)
    )
    assert both.row[:3].tolist() == [0, 0, 2]
    assert not {0, 2} & set(both.row[3:].tolist())
    assert both.weights[:3].tolist() == [1, 1, 1]
    assert set(both.weights[3:].tolist()) == {0.25}
    better = QUALITY[both.row, both.a] > QUALITY[both.row, both.b]
    assert (both.outcome[3:][better[3:]] == 1).all()
    picked = both.of_rows(np.asarray([2, 1]))
    assert picked.row.tolist()[0] == 0
    assert picked.weights[0] == 1
    assert set(picked.weights[1:].tolist()) == {0.25}


def test_the_error_of_a_win_share_falls_with_the_number_of_comparisons():
    few, many = (win_share_error(made(np.tile(QUALITY, (times, 1))), 4) for times in (1, 16))
    np.testing.assert_allclose(few / many, 4, rtol=0.05)


def test_lengths_are_means_and_upper_quantiles_of_every_model():
    tokens = np.stack([np.arange(1, 100), np.full(99, np.nan), np.arange(1, 100) * 2], axis=1)
    lengths = Lengths.learn(
        Labels(
            models=tuple("abc"),
            quality=np.ones((99, 3), np.float32),
            output_tokens=tokens.astype(np.float32),
        )
    )
    assert lengths.mean.tolist() == [50, 75, 100]
    assert lengths.upper[[0, 2]].tolist() == [90, 180]
    assert lengths.note() == "the mean of every model, whatever the query"
    unknown = Lengths.learn(Labels(models=("a",), quality=np.ones((3, 1), np.float32)))
    assert unknown.mean.tolist() == [DEFAULT_OUTPUT_TOKENS]
    assert "256" in unknown.note()
