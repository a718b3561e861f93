import numpy as np
import pytest
from sklearn.neural_network import MLPClassifier

from routers.heads.mlp import MlpHead

RNG = np.random.default_rng(0)


def loss_of(head, weights, *, z, t, known, mask):
    w1, b1, w2, b2 = weights
    out = (np.maximum(z @ w1 + b1, 0) * mask) @ w2 + b2
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
    gradients = head._gradients(weights, z, t, known, mask)
    step = 1e-6
    for weight, gradient in zip(weights, gradients, strict=True):
        for index in np.ndindex(weight.shape):
            weight[index] += step
            above = loss_of(head, weights, z=z, t=t, known=known, mask=mask)
            weight[index] -= 2 * step
            below = loss_of(head, weights, z=z, t=t, known=known, mask=mask)
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
    gradients = head._gradients(weights, z, t, known, np.ones((7, 5)))
    assert not gradients[2][:, 1:].any()
    assert not gradients[3][1:].any()
    assert gradients[2][:, 0].any()
