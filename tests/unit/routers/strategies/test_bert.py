import numpy as np
import pytest

from routers.base import Comparisons, Labels
from routers.decision.pairwise import strong_scores
from routers.errors import DataError, RoutingConfigError
from routers.heads.base import HeadConfig
from routers.numeric import sigmoid
from routers.strategies.bert import BertRouter
from tests.support.comparisons import MODELS, STRONG, WEAK, apgr
from tests.support.worlds import draw, make_world


def fitted(train, **options):
    router = BertRouter(**{"strong": "e", "weak": "b"} | options)
    labels = Labels(models=MODELS, quality=train.quality)
    return router.fit(train.x, labels, rng=np.random.default_rng(0))


@pytest.fixture(scope="module")
def data():
    world = make_world(0)
    return draw(world, 2000, seed=100), draw(world, 2000, seed=200)


def test_the_score_is_the_chance_of_a_win_with_ties_counted_against(data):
    train, fresh = data
    score = strong_scores(fitted(train).predict(fresh.x), strong=STRONG, weak=WEAK)
    true = fresh.chance[:, STRONG] * (1 - fresh.chance[:, WEAK])
    assert score.mean() == pytest.approx(true.mean(), abs=0.03)
    assert np.corrcoef(score, true)[0, 1] > 0.5


@pytest.mark.parametrize("kind", ["logistic", "mlp", "knn", "cluster"])
def test_any_head_beats_a_coin(data, kind):
    train, fresh = data
    router = fitted(train, head=HeadConfig(kind=kind))
    score = strong_scores(router.predict(fresh.x), strong=STRONG, weak=WEAK)
    assert apgr(score, fresh.chance[:, WEAK], fresh.chance[:, STRONG]) > 0.58


def test_qualities_differ_by_the_expected_gap(data):
    train, fresh = data
    quality = fitted(train).predict(fresh.x).quality
    gap = quality[:, STRONG] - quality[:, WEAK]
    true = fresh.chance[:, STRONG] - fresh.chance[:, WEAK]
    assert gap.mean() == pytest.approx(true.mean(), abs=0.03)
    assert np.corrcoef(gap, true)[0, 1] > 0.5


def test_the_pair_is_best_and_worst_unless_it_is_named(data):
    train, _ = data
    means = train.quality.mean(axis=0)
    notes = fitted(train, strong=None, weak=None).notes()
    assert notes["strong"] == MODELS[means.argmax()]
    assert notes["weak"] == MODELS[means.argmin()]


def arena(seed, *, n_models=40, n_comparisons=1200):
    """Return comparisons of many models on four levels, who differ where x is positive."""
    rng = np.random.default_rng(seed)
    level = np.repeat(np.linspace(2, -2, 4), n_models // 4)
    x = rng.normal(size=(n_comparisons, 4)).astype(np.float32)
    a = rng.integers(0, n_models, n_comparisons)
    b = (a + rng.integers(1, n_models, n_comparisons)) % n_models
    chance = sigmoid(np.where(x[:, 0] > 0, 1.5, 0.2) * (level[a] - level[b]))
    outcome = (rng.random(n_comparisons) < chance).astype(np.float32)
    quality = np.full((n_comparisons, n_models), np.nan, np.float32)
    rows = np.arange(n_comparisons)
    quality[rows, a], quality[rows, b] = outcome, 1 - outcome
    models = tuple(f"m{i:02}" for i in range(n_models))
    comparisons = Comparisons(row=rows, a=a, b=b, outcome=outcome)
    return x, Labels(models=models, quality=quality, comparisons=comparisons)


def test_tiers_make_a_pair_of_an_arena_in_which_no_pair_met():
    x, labels = arena(0)
    met = {*zip(labels.comparisons.a.tolist(), labels.comparisons.b.tolist(), strict=True)}
    strangers = next(
        (labels.models[a], labels.models[b])
        for a in range(10)
        for b in range(20, 30)
        if not {(a, b), (b, a)} & met
    )
    with pytest.raises(DataError, match="no query was answered by both"):
        BertRouter(strong=strangers[0], weak=strangers[1]).fit(
            x, labels, rng=np.random.default_rng(0)
        )
    router = BertRouter(n_tiers=4).fit(x, labels, rng=np.random.default_rng(0))
    strong, weak = (router.notes()[side].split(", ") for side in ("strong", "weak"))
    assert len(strong) + len(weak) > 20
    fresh, _ = arena(1)
    columns = {side: labels.models.index(each[0]) for side, each in (("s", strong), ("w", weak))}
    score = strong_scores(router.predict(fresh), strong=columns["s"], weak=columns["w"])
    assert score[fresh[:, 0] > 0.5].mean() > score[fresh[:, 0] < -0.5].mean() + 0.15


def test_a_comparison_of_two_tiers_is_one_of_the_pair_whoever_stands_first():
    """Three tiers of a chain: a beats b beats c, ties and upsets between a and c."""
    a, b = np.asarray([0, 1] * 6 + [0, 2, 0, 2]), np.asarray([1, 2] * 6 + [2, 0, 2, 0])
    outcome = np.asarray([1, 1] * 5 + [0, 0] + [1, 0, 0.5, 1], np.float32)
    comparisons = Comparisons(row=np.arange(16), a=a, b=b, outcome=outcome)
    labels = Labels(
        models=("a", "b", "c"), quality=np.full((16, 3), 0.5, np.float32), comparisons=comparisons
    )
    router = BertRouter(n_tiers=3, head=HeadConfig(kind="linear"))
    sides = router._sides(labels, np.full(3, 0.5), rng=np.random.default_rng(0))
    assert (sides.strong.tolist(), sides.weak.tolist()) == ([0, 1], [2])
    assert sides.row.tolist() == [1, 3, 5, 7, 9, 11, 12, 13, 14, 15]
    assert sides.outcomes.strong.tolist() == [1, 1, 1, 1, 1, 0, 1, 1, 0.5, 0]


@pytest.mark.parametrize(
    ("models", "options", "message", "error"),
    [
        (2, {}, "2 models make 2 tiers", DataError),
        (5, {"strong": "e"}, "leave strong and weak out", RoutingConfigError),
    ],
)
def test_what_makes_no_three_tiers_is_refused(data, models, options, message, error):
    train, _ = data
    labels = Labels(models=MODELS[:models], quality=train.quality[:, :models])
    with pytest.raises(error, match=message):
        BertRouter(n_tiers=5, **options).fit(train.x, labels, rng=np.random.default_rng(0))
