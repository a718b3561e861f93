import numpy as np
import pytest
from sklearn.neighbors import KNeighborsRegressor

from routers.base import DEFAULT_OUTPUT_TOKENS, Labels
from routers.heads.base import HeadConfig
from routers.strategies.carrot import CarrotRouter
from routers.types import UPPER_QUANTILE


def sample(seed, n=3000):
    """Token counts that scatter by a factor around what the query says."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 6)).astype(np.float32)
    log_tokens = 4 + 0.5 * x[:, :1] + rng.normal(0, [0.3, 0.8], (n, 2))
    quality = (rng.random((n, 2)) < 0.5).astype(np.float32)
    return x, Labels(
        models=("a", "b"), quality=quality, output_tokens=np.exp(log_tokens).astype(np.float32)
    )


@pytest.fixture(scope="module", params=["knn", "linear"])
def router(request):
    head = HeadConfig(kind=request.param)
    x, labels = sample(0)
    return CarrotRouter(quality_head=head, tokens_head=head).fit(
        x, labels, rng=np.random.default_rng(0)
    )


def test_the_upper_estimate_covers_its_share_of_fresh_answers(router):
    x, labels = sample(1)
    upper = router.predict(x).output_tokens_upper
    covered = (labels.output_tokens <= upper).mean(axis=0)
    np.testing.assert_allclose(covered, UPPER_QUANTILE, atol=0.02)


def test_expected_tokens_are_right_on_average(router):
    # Costs add up, so the mean counts: a regression of logarithms alone would fall short by 27 %.
    x, labels = sample(1)
    expected = router.predict(x).output_tokens.mean(axis=0)
    np.testing.assert_allclose(expected, labels.output_tokens.mean(axis=0), rtol=0.05)


def test_without_token_data_a_documented_length_is_assumed():
    x, labels = sample(0, n=200)
    silent = Labels(models=labels.models, quality=labels.quality)
    router = CarrotRouter().fit(x, silent, rng=np.random.default_rng(0))
    predictions = router.predict(x)
    np.testing.assert_allclose(predictions.output_tokens, DEFAULT_OUTPUT_TOKENS, rtol=1e-4)
    assert (predictions.output_tokens_upper > 2 * DEFAULT_OUTPUT_TOKENS).all()
    assert "256" in router.notes()["output_tokens"]


def test_a_model_without_token_data_is_given_the_mean_of_the_others():
    x, labels = sample(0, n=500)
    tokens = labels.output_tokens.copy()
    tokens[:, 1] = np.nan
    partial = Labels(models=labels.models, quality=labels.quality, output_tokens=tokens)
    router = CarrotRouter().fit(x, partial, rng=np.random.default_rng(0))
    predictions = router.predict(x)
    np.testing.assert_allclose(predictions.output_tokens[:, 0], predictions.output_tokens[:, 1])


def test_quality_stays_within_its_range_where_the_regression_does_not():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(300, 3)).astype(np.float32)
    quality = (x[:, :1] > 0).astype(np.float32)
    linear = HeadConfig(kind="linear")
    router = CarrotRouter(quality_head=linear).fit(
        x, Labels(models=("a",), quality=quality), rng=rng
    )
    assert router.quality_.predict(x * 50)[0].max() > 1
    predicted = router.predict(x * 50).quality
    assert (predicted.min(), predicted.max()) == (0, 1)


def test_expected_tokens_are_the_regression_times_one_factor_per_model():
    # Scatter that depends on the query is predicted for the upper estimate; in the mean it would
    # be noise in every cost.
    rng = np.random.default_rng(0)
    x = rng.normal(size=(1500, 6)).astype(np.float32)
    wide = np.where(x[:, 1:2] > 0, 1.0, 0.1)
    log_tokens = 5 + 0.5 * x[:, :1] + rng.normal(0, 1, (len(x), 2)) * wide
    router = CarrotRouter(quality_head=HeadConfig(kind="linear")).fit(
        x,
        Labels(
            models=("a", "b"),
            quality=np.full((len(x), 2), 0.5, np.float32),
            output_tokens=np.exp(log_tokens).astype(np.float32),
        ),
        rng=np.random.default_rng(0),
    )
    predictions = router.predict(x)
    log_mean = router.lengths_.tokens.predict_mean(x)
    ratio = (predictions.output_tokens + 1) / np.exp(log_mean)
    np.testing.assert_allclose(ratio, np.broadcast_to(ratio[:1], ratio.shape), rtol=1e-3)
    assert (ratio[0] > 1.1).all()
    beyond = predictions.output_tokens_upper / predictions.output_tokens
    assert beyond[wide[:, 0] > 0.5].mean() > 1.5 * beyond[wide[:, 0] < 0.5].mean()


def test_lengths_of_few_rows_are_learned_of_all_models_together():
    # A request for an essay makes every model write; ten models alone would each learn it anew.
    rng = np.random.default_rng(0)
    x = rng.normal(size=(500, 40)).astype(np.float32)
    long = x @ rng.normal(0, 0.15, 40)
    log_tokens = 5 + long[:, None] + 0.2 * rng.normal(size=10) * x[:, :1]
    labels = Labels(
        models=tuple("abcdefghij"),
        quality=np.full(log_tokens.shape, 0.5, np.float32),
        output_tokens=np.exp(log_tokens + rng.normal(0, 0.7, log_tokens.shape)).astype(np.float32),
    )
    few, rest = np.arange(60), np.arange(60, 500)
    errors = []
    for options in ({}, {"tokens_head": HeadConfig(kind="linear")}):
        router = CarrotRouter(quality_head=HeadConfig(kind="linear"), **options).fit(
            x[few], labels.rows(few), rng=np.random.default_rng(0)
        )
        expected = np.log(router.predict(x[rest]).output_tokens + 1)
        off = expected - log_tokens[rest]
        errors.append(float((off - off.mean(axis=0)).std()))
    assert errors[0] < 0.8 * errors[1]


def test_a_router_of_earlier_builds_predicts_what_it_did(router):
    # They stored `smear`, beside which the mean of a log-normal length was taken.
    state = dict(router.state())
    x, _ = sample(1)
    state["smear"] = state.pop("factor")
    head = HeadConfig(kind=router.lengths_.tokens.kind)
    earlier = CarrotRouter(quality_head=head, tokens_head=head).restore(state, router.models_)
    scatter = np.exp(router.lengths_.spread.predict_mean(x).clip(*np.log([0.05, 2.0])))
    np.testing.assert_allclose(
        earlier.predict(x).output_tokens + 1,
        (router.predict(x).output_tokens + 1) * np.exp(scatter**2 / 2),
        rtol=1e-4,
    )
    assert "smear" in earlier.state()


def lucky(n=40):
    """Return few outcomes of eight models of equal quality, of which the cheapest was lucky."""
    rng = np.random.default_rng(3)
    quality = (rng.random((n, 8)) < 0.5).astype(np.float32)
    quality[:, 0] = rng.random(n) < 0.7
    x = rng.normal(size=(n, 6)).astype(np.float32)
    return x, quality


def test_of_few_outcomes_the_lucky_model_is_believed_less_than_its_mean():
    x, quality = lucky()
    costs = np.geomspace(1e-5, 1e-3, 8)
    names = tuple("abcdefgh")
    router = CarrotRouter(quality_head=HeadConfig(kind="linear")).fit(
        x,
        Labels(models=names, quality=quality, mean_cost_usd=costs),
        rng=np.random.default_rng(0),
    )
    above = [each.mean(axis=0) - each.mean() for each in (router.predict(x).quality, quality)]
    assert 0 < above[0][0] < 0.8 * above[1][0]
    again = CarrotRouter(quality_head=HeadConfig(kind="linear")).restore(router.state(), names)
    np.testing.assert_array_equal(again.predict(x).quality, router.predict(x).quality)


def test_a_router_without_corrections_of_means_is_read_as_having_none():
    x, quality = lucky()
    names = tuple("abcdefgh")
    head = HeadConfig(kind="linear")
    router = CarrotRouter(quality_head=head, shrink_unfamiliar=False).fit(
        x, Labels(models=names, quality=quality), rng=np.random.default_rng(0)
    )
    state = router.state()
    luck = state.pop("luck")
    assert luck.any()
    again = CarrotRouter(quality_head=head, shrink_unfamiliar=False).restore(state, names)
    np.testing.assert_allclose(
        again.predict(x).quality + luck, router.predict(x).quality, atol=1e-6
    )
    with pytest.raises(ValueError, match="corrections"):
        CarrotRouter(quality_head=head).restore({**state, "luck": luck[:-1]}, names)


PUBLISHED = {
    "quality_head": HeadConfig(kind="knn", options={"n_neighbors": "r2", "storage": "float32"}),
    "tokens_head": HeadConfig(kind="knn", options={"n_neighbors": "r2", "storage": "float32"}),
    "plain_tokens": True,
    "domains": False,
    "shrink_unfamiliar": False,
    "correct_luck": False,
}


def test_the_published_estimators_are_averages_over_neighbours():
    x, labels = sample(0, n=600)
    router = CarrotRouter(**PUBLISHED).fit(x, labels, rng=np.random.default_rng(0))
    predicted = router.predict(x[:40] + 0.1)
    for found, truth, k in (
        (predicted.quality, labels.quality, router.quality_.k_),
        (predicted.output_tokens, labels.output_tokens, router.lengths_.plain.k_),
    ):
        reference = KNeighborsRegressor(n_neighbors=k, metric="cosine").fit(x, truth)
        np.testing.assert_allclose(found, reference.predict(x[:40] + 0.1), rtol=1e-4)
    again = CarrotRouter(**PUBLISHED).restore(router.state(), labels.models)
    for name in ("quality", "output_tokens", "output_tokens_upper"):
        np.testing.assert_array_equal(
            getattr(again.predict(x), name), getattr(router.predict(x), name)
        )
    upper = router.predict(sample(1)[0]).output_tokens_upper
    assert (sample(1)[1].output_tokens <= upper).mean() == pytest.approx(UPPER_QUANTILE, abs=0.03)
