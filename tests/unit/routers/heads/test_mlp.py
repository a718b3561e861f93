import numpy as np
import pytest
from sklearn.neural_network import MLPClassifier

from routers.heads.mlp import MlpHead, _Batch

RNG = np.random.default_rng(0)


def loss_of(head, weights, data, mask):
    w1, b1, w2, b2 = weights
    z, t, known, lift = data
    out = (np.maximum(z @ w1 + b1, 0) * mask) @ w2 + b2 + lift
    cross_entropy = np.logaddexp(0, out) - t * out
    each = (out - t) ** 2 / 2 if head.loss == "squared" else cross_entropy
    return (each * known).sum() / len(z)


@pytest.mark.parametrize("loss", ["logistic", "squared"])
def test_gradients_equal_finite_differences(loss):
    rng = np.random.default_rng(1)
    head = MlpHead(loss=loss)
    shapes = [(4, 5), (5,), (5, 3), (3,)]
    weights = [rng.normal(size=shape) for shape in shapes]
    z, t = rng.normal(size=(7, 4)), rng.random((7, 3))
    known = (rng.random((7, 3)) < 0.7).astype(float)
    mask = (rng.random((7, 5)) < 0.7) / 0.7
    data = _Batch(z, t, known, rng.normal(size=(7, 3)))
    gradients = head._gradients(weights, data, mask)
    step = 1e-6
    for weight, gradient in zip(weights, gradients, strict=True):
        for index in np.ndindex(weight.shape):
            weight[index] += step
            above = loss_of(head, weights, data, mask)
            weight[index] -= 2 * step
            below = loss_of(head, weights, data, mask)
            weight[index] += step
            assert gradient[index] == pytest.approx((above - below) / (2 * step), abs=1e-7)


def test_prediction_is_the_forward_pass_that_scikit_learn_makes():
    rng = np.random.default_rng(1)
    x = rng.normal(size=(200, 6)).astype(np.float32)
    y = (x[:, 0] + rng.normal(size=200) > 0).astype(np.float32)
    head = MlpHead(n_networks=1, n_hidden=16).fit(x, y[:, None], rng=np.random.default_rng(0))
    reference = MLPClassifier(hidden_layer_sizes=(16,), max_iter=1, random_state=0)
    with pytest.warns(match="Maximum iterations"):
        reference.fit(x, y)
    reference.coefs_ = [head.hidden_.astype(float), head.output_[0].astype(float)]
    reference.intercepts_ = [head.hidden_bias_.astype(float), head.output_bias_[0].astype(float)]
    z = np.clip((x - head.center_) / head.scale_, -5, 5).astype(float)
    expected = reference.predict_proba(z)[:, 1]
    np.testing.assert_allclose(head.predict(x)[0][:, 0], expected, atol=1e-6)


def test_chances_stay_chances_far_from_the_data():
    rng = np.random.default_rng(1)
    x = rng.normal(size=(300, 4)).astype(np.float32)
    y = (x[:, :2] > 0).astype(np.float32)
    mean, _ = MlpHead().fit(x, y, rng=np.random.default_rng(0)).predict(x * 1000)
    assert ((mean >= 0) & (mean <= 1)).all()


def test_squared_loss_predicts_values_beyond_one():
    rng = np.random.default_rng(1)
    x = rng.normal(size=(400, 3)).astype(np.float32)
    y = (20 + 5 * x[:, :1]).astype(np.float32)
    head = MlpHead(loss="squared", n_epochs=100).fit(x, y, rng=np.random.default_rng(0))
    assert np.corrcoef(head.predict(x)[0][:, 0], y[:, 0])[0, 1] > 0.95
    assert head.predict(x)[0].mean() == pytest.approx(20, abs=1)


def test_soft_labels_are_learned_as_shares():
    x = np.ones((200, 1), np.float32)
    y = np.full((200, 1), 0.37, np.float32)
    mean, _ = MlpHead().fit(x, y, rng=np.random.default_rng(0)).predict(x[:1])
    assert mean[0, 0] == pytest.approx(0.37, abs=0.01)


def test_unknown_outcomes_teach_nothing():
    rng = np.random.default_rng(1)
    head = MlpHead()
    weights = [rng.normal(size=shape) for shape in [(4, 5), (5,), (5, 3), (3,)]]
    z, t, known = rng.normal(size=(7, 4)), rng.random((7, 3)), np.zeros((7, 3))
    known[:, 0] = 1
    data = _Batch(z, t, known, np.zeros((7, 3)))
    gradients = head._gradients(weights, data, np.ones((7, 5)))
    assert not gradients[2][:, 1:].any()
    assert not gradients[3][1:].any()
    assert gradients[2][:, 0].any()


def test_a_head_that_starts_from_an_expectation_learns_what_differs():
    rng = np.random.default_rng(5)
    x = rng.normal(size=(1500, 6)).astype(np.float32)
    prior = rng.choice([0.2, 0.8], size=(1500, 2)).astype(np.float32)
    chance = np.clip(prior + 0.15 * np.sign(x[:, :1]), 0, 1)
    y = (rng.random((1500, 2)) < chance).astype(np.float32)
    head = MlpHead().fit(x[:1000], y[:1000], rng=np.random.default_rng(0), start=prior[:1000])
    plain = MlpHead().fit(x[:1000], y[:1000], rng=np.random.default_rng(0))
    with_start, _ = head.predict_residual(x[1000:], prior[1000:])
    without, _ = plain.predict(x[1000:])
    truth = chance[1000:]
    assert ((with_start - truth) ** 2).mean() < 0.5 * ((prior[1000:] - truth) ** 2).mean()
    assert ((with_start - truth) ** 2).mean() < 0.2 * ((without - truth) ** 2).mean()
    again = MlpHead().restore(head.state())
    np.testing.assert_array_equal(again.predict_residual(x[1000:], prior[1000:])[0], with_start)


def test_only_the_logistic_loss_learns_residuals():
    assert MlpHead().learns_residuals
    assert not MlpHead(loss="squared").learns_residuals


def test_few_rows_are_not_learned_by_heart():
    # With 600 steps on 100 rows of coin flips the error on fresh ones is above 0.27.
    rng = np.random.default_rng(0)
    x, queries = (rng.normal(size=(n, 60)).astype(np.float32) for n in (100, 1000))
    coins, fresh = ((rng.random((n, 4)) < 0.5).astype(np.float32) for n in (100, 1000))
    head = MlpHead().fit(x, coins, rng=np.random.default_rng(0))
    assert ((head.predict(queries)[0] - fresh) ** 2).mean() < 0.26
