import numpy as np
import pytest

from routers.base import Labels
from routers.decision.pairwise import strong_scores
from routers.heads.base import HeadConfig
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
