import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from routers.base import Comparisons, Labels
from routers.decision.pairwise import strong_scores
from routers.numeric import sigmoid
from routers.strategies._bradley_terry import bradley_terry
from routers.strategies.sw_ranking import SimilarityWeightedRouter, similarity_weights
from tests.support.comparisons import MODELS, STRONG, WEAK, apgr, world_with_comparisons

RNG = np.random.default_rng(0)


def fitted(x, labels, **options):
    router = SimilarityWeightedRouter(**options)
    return router.fit(x, labels, rng=np.random.default_rng(0))


def test_golden_weights():
    weights = similarity_weights(np.asarray([0.8, 0.4, 0.0]), best=0.8, gamma=10)
    np.testing.assert_allclose(weights, [100, 31.62, 10], atol=5e-3)


def test_queries_that_resemble_nothing_weigh_all_comparisons_alike():
    assert similarity_weights(np.asarray([-0.2, -0.9]), best=-0.2, gamma=10).tolist() == [10, 10]


def test_the_ranking_is_weighted_logistic_regression():
    rng = np.random.default_rng(1)
    n = 400
    winner = rng.integers(0, 4, n)
    loser = (winner + rng.integers(1, 4, n)) % 4
    weight = rng.uniform(1, 100, n)
    wins = np.bincount(winner * 4 + loser, weight, minlength=16).reshape(1, 4, 4)
    ours = bradley_terry(wins, np.zeros(4), prior=1e-6)[0]
    onehot = np.eye(4)
    sign = np.where(np.arange(n) % 2, 1, -1)
    theirs = LogisticRegression(C=1e6, fit_intercept=False, tol=1e-10, max_iter=1000)
    theirs.fit((onehot[winner] - onehot[loser]) * sign[:, None], sign, sample_weight=weight)
    np.testing.assert_allclose(ours - ours.mean(), theirs.coef_[0] - theirs.coef_.mean(), atol=1e-4)


def test_one_win_in_three_is_a_known_difference():
    wins = np.asarray([[[0, 1.0], [2.0, 0]]])
    strength = bradley_terry(wins, np.zeros(2), prior=1e-9)[0]
    assert float(sigmoid(strength[1] - strength[0])) == pytest.approx(2 / 3, abs=1e-6)


def test_one_sided_comparisons_still_give_finite_strengths():
    wins = np.asarray([[[0, 1e4], [0, 0]]])
    strength = bradley_terry(wins, np.zeros(2), prior=1.0)[0]
    assert np.isfinite(strength).all()
    assert sigmoid(strength[0] - strength[1]) > 0.99


@pytest.mark.parametrize("n_nearest", [500, None])
def test_comparisons_alone_reach_the_reference(n_nearest):
    areas = []
    for seed in range(5):
        x, labels, fresh = world_with_comparisons(seed)
        predicted = fitted(x, labels, n_nearest=n_nearest).predict(fresh.x)
        score = strong_scores(predicted, strong=STRONG, weak=WEAK)
        areas.append(apgr(score, fresh.chance[:, WEAK], fresh.chance[:, STRONG]))
    assert np.mean(areas) > 0.615 - 0.01


def test_ties_either_way_leave_the_chance_unchanged():
    rng = np.random.default_rng(1)
    x = rng.normal(size=(50, 4)).astype(np.float32)
    row = np.arange(50)
    a, b = np.zeros(50, int), np.ones(50, int)
    even = Comparisons(row=row, a=a, b=b, outcome=np.tile([1, 0], 25).astype(np.float32))
    ties = Comparisons(row=row, a=a, b=b, outcome=np.full(50, 0.5, np.float32))
    turned = Comparisons(row=row, a=b, b=a, outcome=np.full(50, 0.5, np.float32))
    quality = np.full((50, 2), 0.5, np.float32)
    for comparisons in (ties, turned):
        labels = Labels(models=("a", "b"), quality=quality, comparisons=comparisons)
        scores = strong_scores(fitted(x, labels).predict(x), strong=0, weak=1)
        np.testing.assert_allclose(scores, 0.5, atol=1e-6)
    labels = Labels(models=("a", "b"), quality=quality, comparisons=even)
    overall = fitted(x, labels).overall_
    assert overall[0] == pytest.approx(overall[1], abs=1e-9)


def test_similar_comparisons_count_most():
    # "a" wins along the first axis, "b" along the second.
    x = np.repeat(np.eye(2, dtype=np.float32), 50, axis=0)
    outcome = np.repeat([1, 0], 50).astype(np.float32)
    comparisons = Comparisons(
        row=np.arange(100), a=np.zeros(100, int), b=np.ones(100, int), outcome=outcome
    )
    labels = Labels(
        models=("a", "b"), quality=np.stack([outcome, 1 - outcome], axis=1), comparisons=comparisons
    )
    everything = fitted(x, labels, n_nearest=None).predict(np.eye(2, dtype=np.float32))
    # Odds of 100 to 10: the weights of S = 1 and S = 0.
    scores = strong_scores(everything, strong=0, weak=1)
    np.testing.assert_allclose(scores, [10 / 11, 1 / 11], atol=1e-3)


def test_models_that_never_met_nearby_keep_their_overall_order():
    x = np.repeat(np.eye(2, dtype=np.float32), [50, 50], axis=0)
    a, b = np.repeat([0, 0], 50), np.repeat([1, 2], 50)
    outcome = np.concatenate([np.tile([1, 0], 25), np.tile([0, 0, 0, 0, 1], 10)])
    comparisons = Comparisons(row=np.arange(100), a=a, b=b, outcome=outcome.astype(np.float32))
    quality = np.full((100, 3), 0.5, np.float32)
    labels = Labels(models=("a", "b", "c"), quality=quality, comparisons=comparisons)
    predicted = fitted(x, labels, n_nearest=50).predict(np.eye(2, dtype=np.float32)[:1])
    assert strong_scores(predicted, strong=2, weak=0)[0] > 0.7


PUBLISHED = {
    "n_tiers": 3,
    "within_tiers": False,
    "n_nearest": None,
    "max_battles": None,
    "prior": 0,
    "storage": "float32",
}


def elo(tier_of, comparisons, weight):
    """Return ratings of tiers as published: every battle twice, a tie once for either side."""
    a, b = tier_of[comparisons.a], tier_of[comparisons.b]
    apart = a != b
    a, b, outcome, weight = a[apart], b[apart], comparisons.outcome[apart], weight[apart]
    rows = np.log(10) * (np.eye(tier_of.max() + 1)[a] - np.eye(tier_of.max() + 1)[b])
    first, second = np.where(outcome == 0.5, 1, outcome), np.where(outcome == 0.5, 0, outcome)
    ranking = LogisticRegression(fit_intercept=False, C=np.inf, tol=1e-10, max_iter=5000)
    ranking.fit(
        np.vstack([rows, rows]),
        np.concatenate([first, second]),
        sample_weight=np.concatenate([weight, weight]),
    )
    return 400 * ranking.coef_[0] + 1000


def test_the_published_form_is_the_published_ranking():
    x, labels, fresh = world_with_comparisons(0)
    router = fitted(x, labels, **PUBLISHED)
    comparisons, tier = labels.comparisons, router.tier_
    overall = elo(np.arange(5), comparisons, np.ones(len(comparisons)))
    assert tier.tolist() == [2, 1, 1, 0, 0]
    assert overall[tier == 0].min() > overall[tier == 1].max()
    assert overall[tier == 1].min() > overall[tier == 2].max()
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    for query in fresh.x[:5]:
        similarity = (unit @ (query / np.linalg.norm(query)))[comparisons.row]
        rating = elo(tier, comparisons, 10 * 10 ** (similarity / similarity.max()))
        strong, weak = rating[tier[STRONG]], rating[tier[WEAK]]
        expected = 1 - 1 / (1 + 10 ** ((strong - weak) / 400))
        predicted = router.predict(query[None])
        assert strong_scores(predicted, strong=STRONG, weak=WEAK)[0] == pytest.approx(
            expected, abs=1e-5
        )
        assert strong_scores(predicted, strong=2, weak=1)[0] == 0.5, "of one tier"


def test_who_never_lost_is_finitely_strong_without_a_prior():
    comparisons = Comparisons(
        row=np.arange(6),
        a=np.asarray([0, 0, 0, 0, 1, 1]),
        b=np.asarray([1, 1, 2, 2, 2, 2]),
        outcome=np.ones(6, np.float32),
    )
    labels = Labels(
        models=("a", "b", "c"), quality=np.full((6, 3), 0.5, np.float32), comparisons=comparisons
    )
    router = fitted(np.eye(6, dtype=np.float32), labels, **PUBLISHED)
    predicted = router.predict(np.eye(6, dtype=np.float32))
    assert np.isfinite(predicted.strength).all()
    assert (strong_scores(predicted, strong=0, weak=2) > 0.999).all()


def test_the_number_of_comparisons_is_capped():
    x, labels, fresh = world_with_comparisons(0)
    router = fitted(x, labels, max_battles=100)
    ties = (router.share_ == 0.5).sum() // 2
    assert len(router.row_) == 100 + ties
    assert np.isfinite(router.predict(fresh.x).strength).all()


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("row", lambda a: a + 10**6),
        ("pair", lambda a: a - 10**6),
        ("share", lambda a: a[:-1]),
        ("error", lambda a: a[:-1]),
    ],
)
def test_comparisons_of_nobody_are_refused(name, change):
    x, labels, _ = world_with_comparisons(0)
    state = fitted(x, labels, max_battles=50).state()
    with pytest.raises(ValueError, match=r"ranking|comparisons"):
        SimilarityWeightedRouter().restore(state | {name: change(state[name])}, MODELS)
