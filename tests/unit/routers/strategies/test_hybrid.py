import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from routers.base import Labels
from routers.data.dataset import read_outcomes
from routers.decision.pairwise import strong_scores
from routers.errors import DataError, RoutingConfigError
from routers.numeric import sigmoid
from routers.strategies._soft_labels import best_margin, good_enough, mean_difference
from routers.strategies.hybrid import HybridRouter
from routers.training.guarantee import conformal_threshold


def world(seed, n, *, gap=0.0, n_samples=10, scale=1.0):
    """Two models whose gap depends on the query; answers scatter around their mean."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 4)).astype(np.float32)
    base = rng.normal(size=(n, 1))
    apart = gap + 0.8 * x[:, :1]
    small = base - apart + 0.5 * rng.normal(size=(n, n_samples))
    large = base + 0.5 * rng.normal(size=(n, n_samples))
    return x, small * scale + 0.5, large * scale + 0.5


def labels_of(small, large, *, third=0.5):
    samples = np.clip(np.stack([small, large], axis=1), 0, 1).astype(np.float32)
    middle = np.full((len(small), 1, small.shape[1]), third, np.float32)
    samples = np.concatenate([samples, middle], axis=1)
    return Labels(models=("small", "large", "other"), quality=samples.mean(axis=2), samples=samples)


def fitted(x, outcomes, /, **options):
    router = HybridRouter(strong="large", weak="small", **options)
    return router.fit(x, outcomes, rng=np.random.default_rng(0))


@pytest.mark.parametrize(("margin", "share"), [(0, 0.25), (0.5, 0.75), (1.0, 0.75), (1.5, 1.0)])
def test_golden_soft_labels(margin, share):
    small, large = np.asarray([[-2, -3.0]]), np.asarray([[-2.5, -1.5]])
    assert good_enough(small, large, margin=margin).tolist() == [share]


def test_soft_labels_count_only_the_answers_there_are():
    small, large = np.asarray([[1, np.nan], [np.nan, np.nan]]), np.asarray([[0, 2.0], [1, 1]])
    assert good_enough(small, large, margin=0)[0] == 0.5
    assert np.isnan(good_enough(small, large, margin=0)[1])


def test_golden_mean_difference():
    y = np.asarray([0.1, 0.4, 0.4, 0.9])
    assert mean_difference(y) == pytest.approx(0.30)
    assert mean_difference(y) == pytest.approx(np.abs(y[:, None] - y).mean())
    more = np.random.default_rng(0).random(101)
    assert mean_difference(more) == pytest.approx(np.abs(more[:, None] - more).mean())


@pytest.mark.parametrize(("gap", "spread_without"), [(0, 0.324), (1, None), (2, 0.085), (3, 0.017)])
def test_the_margin_finds_the_gap_and_keeps_labels_apart(gap, spread_without):
    _, small, large = world(0, 3000, gap=gap)
    margin = best_margin(small, large)
    assert margin == pytest.approx(gap, abs=0.15)
    assert good_enough(small, large, margin=margin).std() == pytest.approx(0.324, abs=0.01)
    if spread_without is not None:
        without = good_enough(small, large, margin=0)
        assert without.std() == pytest.approx(spread_without, abs=0.01)


@pytest.mark.parametrize("labels", ["deterministic", "probabilistic", "transformed"])
def test_the_gap_that_is_predicted_is_right_on_average_and_in_order(labels):
    x, small, large = world(0, 2000, gap=0.5, scale=0.1)
    router = fitted(x, labels_of(small, large), labels=labels)
    x, small, large = world(1, 2000, gap=0.5, scale=0.1)
    predicted = router.predict(x)
    gap = predicted.quality[:, 1] - predicted.quality[:, 0]
    true = (large - small).mean(axis=1)
    assert gap.mean() == pytest.approx(true.mean(), abs=0.01)
    assert np.corrcoef(gap, true)[0, 1] > 0.8
    score = strong_scores(predicted, strong=1, weak=0)
    assert np.corrcoef(score, true)[0, 1] > 0.8


def test_several_answers_teach_more_than_one():
    x, small, large = world(0, 400, gap=1.0, scale=0.1)
    fresh_x, fresh_small, fresh_large = world(1, 3000, gap=1.0, scale=0.1)
    truth = good_enough(fresh_small, fresh_large, margin=0)
    errors = {}
    for kind in ("deterministic", "probabilistic"):
        router = fitted(x, labels_of(small, large), labels=kind)
        score = strong_scores(router.predict(fresh_x), strong=1, weak=0)
        errors[kind] = np.abs((1 - score) - truth).mean()
    assert errors["probabilistic"] < errors["deterministic"]


def test_soft_labels_lose_less_quality_and_a_margin_less_still():
    # The small model is nearly always worse: the order of the paper, at a share of 40 % for it.
    drops = {"deterministic": [], "probabilistic": [], "transformed": []}
    for seed in range(8):
        x, small, large = world(seed, 300, gap=3.0, scale=0.1)
        fresh_x, fresh_small, fresh_large = world(1000 + seed, 4000, gap=3.0, scale=0.1)
        gap = (fresh_large - fresh_small).mean(axis=1)
        for kind, drop in drops.items():
            router = fitted(x, labels_of(small, large), labels=kind)
            score = strong_scores(router.predict(fresh_x), strong=1, weak=0)
            kept = np.argsort(score, kind="stable")[: int(0.4 * len(score))]
            drop.append(gap[kept].sum() / gap.sum())
    deterministic, probabilistic, transformed = (np.mean(drop) for drop in drops.values())
    assert transformed < probabilistic - 0.001
    assert probabilistic < deterministic - 0.01


@pytest.mark.parametrize("suffix", ["jsonl", "parquet"])
def test_several_outcomes_in_a_file_become_soft_labels(tmp_path, suffix):
    x, small, large = world(0, 60, n_samples=3, gap=1.0, scale=0.1)
    data = tmp_path / f"repeated.{suffix}"
    rows = [(i, sample) for sample in range(3) for i in range(len(x))]
    if suffix == "jsonl":
        with data.open("w") as lines:
            for i, sample in rows:
                for model, quality in (("small", small), ("large", large)):
                    record = {"query_id": f"q{i}", "prompt": f"prompt {i}", "model": model}
                    record["quality"] = float(np.clip(quality[i, sample], 0, 1))
                    lines.write(json.dumps(record) + "\n")
    else:
        columns = {
            "query_id": [f"q{i}" for i, _ in rows],
            "prompt": [f"prompt {i}" for i, _ in rows],
        }
        for model, quality in (("small", small), ("large", large)):
            columns[f"q:{model}"] = [float(np.clip(quality[i, s], 0, 1)) for i, s in rows]
        pq.write_table(pa.table(columns), data)
    labels = read_outcomes([data]).labels
    order = [labels.models.index(model) for model in ("small", "large")]
    np.testing.assert_allclose(
        labels.samples[:, order], np.clip(np.stack([small, large], axis=1), 0, 1), atol=1e-6
    )
    router = fitted(x, labels)
    assert router.notes()["warnings"] == []
    soft = good_enough(small, large, margin=0)
    assert ((soft > 0) & (soft < 1)).any()
    score = strong_scores(router.predict(x), strong=order[1], weak=order[0])
    assert 1 - score.mean() == pytest.approx(soft.mean(), abs=0.03)
    assert fitted(x, labels, labels="transformed").notes()["margin"] > 0.05


def test_the_score_is_the_chance_that_the_small_model_is_not_good_enough():
    x, small, large = world(0, 4000, scale=0.1)
    labels = labels_of(small, large)
    score = strong_scores(fitted(x, labels).predict(x), strong=1, weak=0)
    y = good_enough(labels.samples[:, 0], labels.samples[:, 1], margin=0)
    assert score.mean() == pytest.approx(1 - y.mean(), abs=0.01)


def test_right_or_wrong_answers_leave_no_margin_and_the_notes_say_so():
    x, small, large = world(0, 300)
    labels = labels_of((small > 0.5).astype(float), (large > 0.5).astype(float))
    transformed = fitted(x, labels, labels="transformed")
    probabilistic = fitted(x, labels)
    assert "right or wrong" in transformed.notes()["warnings"][0]
    assert transformed.notes()["margin"] == 0
    np.testing.assert_array_equal(
        transformed.predict(x).strength, probabilistic.predict(x).strength
    )
    assert probabilistic.notes()["warnings"] == []


def test_single_answers_are_told_to_be_hard_labels():
    x, small, large = world(0, 300, n_samples=1, scale=0.1)
    assert "at most once" in fitted(x, labels_of(small, large)).notes()["warnings"][0]


def test_other_models_stand_where_their_mean_quality_puts_them():
    x, small, large = world(0, 1000, gap=2.0, scale=0.1)
    router = fitted(x, labels_of(small, large, third=0.4))
    predicted = router.predict(x)
    place = (0.4 - router.means_[0]) / (router.means_[1] - router.means_[0])
    assert 0 < place < 1
    np.testing.assert_allclose(
        predicted.strength[:, 2], place * predicted.strength[:, 1], atol=1e-5
    )
    np.testing.assert_allclose(predicted.quality.mean(axis=0), router.means_, atol=0.01)


def test_a_pair_that_is_no_pair_is_refused_by_name():
    x, small, large = world(0, 50)
    labels = labels_of(small, large)
    with pytest.raises(RoutingConfigError, match="gpt"):
        HybridRouter(strong="gpt").fit(x, labels, rng=np.random.default_rng(0))
    with pytest.raises(RoutingConfigError, match="both 'small'"):
        HybridRouter(strong="small", weak="small").fit(x, labels, rng=np.random.default_rng(0))
    apart = labels.quality.copy()
    apart[:25, 0], apart[25:, 1] = np.nan, np.nan
    with pytest.raises(DataError, match="both large and small"):
        fitted(x, Labels(models=labels.models, quality=apart))


def test_equal_means_still_tell_the_pair_apart():
    x = np.random.default_rng(0).normal(size=(200, 2)).astype(np.float32)
    up = (x[:, 0] > 0).astype(np.float32)
    up = np.concatenate([up[:100], 1 - up[:100]])
    x = np.concatenate([x[:100], x[:100]])
    quality = np.stack([up, 1 - up, np.full(200, 0.5)], axis=1).astype(np.float32)
    labels = Labels(models=("small", "large", "other"), quality=quality)
    place = fitted(x, labels).place_
    assert place.tolist() == [0, 1, 0.5]


@pytest.mark.parametrize("limit", [0.01, 0.03])
def test_a_calibrated_threshold_keeps_its_drop_on_fresh_queries(limit):
    x, small, large = world(0, 2000, gap=0.3, scale=0.1)
    router = fitted(x, labels_of(small, large))
    outcomes = {}
    for seed in (1, 2):
        x, small, large = world(seed, 2000, gap=0.3, scale=0.1)
        score = strong_scores(router.predict(x), strong=1, weak=0)
        outcomes[seed] = (score, large.mean(axis=1), small.mean(axis=1))
    score, strong, weak = outcomes[1]
    threshold = conformal_threshold(score, np.clip(strong - weak, 0, 1), limit=limit)
    assert (score >= threshold).mean() < 0.9
    score, strong, weak = outcomes[2]
    lost = np.where(score < threshold, strong - weak, 0)
    assert lost.mean() <= limit + 2 * lost.std() / np.sqrt(len(lost))


def test_strength_holds_the_chance_as_log_odds():
    x, small, large = world(0, 300, scale=0.1)
    router = fitted(x, labels_of(small, large))
    needed, _ = router._judge(x)
    strength = router.predict(x).strength
    np.testing.assert_allclose(sigmoid(strength[:, 1] - strength[:, 0]), needed, atol=1e-5)
