import numpy as np
import pytest

from routers.errors import DataError
from routers.estimators.item_response import chance_correct, fit_item_response
from routers.evaluation.metrics import expected_calibration_error

N_MODELS, N_ABILITIES, D = 12, 4, 16


def ability_world(seed=0):
    rng = np.random.default_rng(seed)
    return {
        "slope": rng.normal(0, 1.0, (D, N_ABILITIES)) / np.sqrt(D),
        "weight": rng.normal(0, 1.0, D) / np.sqrt(D),
        "ability": rng.normal(0.4, 0.8, (N_MODELS, N_ABILITIES))
        + np.linspace(-0.5, 0.8, N_MODELS)[:, None],
    }


def sample(world, n, seed):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, D))
    a = np.logaddexp(0, x @ world["slope"])
    p = chance_correct(a, world["ability"], x @ world["weight"])
    return x.astype(np.float32), p, (rng.random(p.shape) < p).astype(np.float32)


@pytest.fixture(scope="module")
def fitted():
    world = ability_world()
    x, _, y = sample(world, 3000, 1)
    hidden = np.random.default_rng(2).random(y.shape) > 0.3
    model = fit_item_response(
        x, np.where(hidden, np.nan, y).astype(np.float32), rng=np.random.default_rng(3)
    )
    return world, model


def ranks(values):
    return np.argsort(np.argsort(values)).astype(float)


def test_the_golden_item():
    p = chance_correct(np.asarray([[1.2, 0.5]]), np.asarray([0.8, -0.2]), np.asarray([0.4]))
    assert p[0] == pytest.approx(0.6130, abs=5e-5)


def test_a_third_of_the_matrix_tells_the_chances_on_new_queries(fitted):
    world, model = fitted
    x, p, y = sample(world, 3000, 4)
    found = model.predict(x)
    assert np.sqrt(((found - p) ** 2).mean()) <= 0.10
    assert np.corrcoef(ranks(found.mean(axis=0)), ranks(p.mean(axis=0)))[0, 1] >= 0.9
    assert expected_calibration_error(found, y) <= 0.03


def test_discriminations_are_positive(fitted):
    world, model = fitted
    assert (model.items(sample(world, 200, 5)[0])[0] > 0).all()


def test_fifty_labels_place_a_new_model_nearly_as_well_as_all():
    # The strongest model is hidden from the fit: the prior alone would be far off.
    hidden = N_MODELS - 1
    world = ability_world()
    x, _, y = sample(world, 3000, 1)
    others = [m for m in range(N_MODELS) if m != hidden]
    model = fit_item_response(x, y[:, others], rng=np.random.default_rng(3))
    new_x, p, _ = sample(world, 2000, 6)
    a, b = model.items(new_x)

    def error(n, seed):
        at = np.random.default_rng(seed).permutation(len(x))[:n]
        found = chance_correct(a, model.place(x[at], y[at, hidden]), b)
        return ((found - p[:, hidden]) ** 2).mean()

    few = np.mean([error(50, seed) for seed in range(10)])
    assert few - error(len(x), 0) < 0.02
    unknown = chance_correct(a, model.ability.mean(axis=0), b)
    assert few < 0.7 * ((unknown - p[:, hidden]) ** 2).mean()


def test_the_same_seed_gives_the_same_model():
    x, _, y = sample(ability_world(), 200, 1)
    one, two = (
        fit_item_response(x, y, rng=np.random.default_rng(0), n_steps=20).predict(x)
        for _ in range(2)
    )
    assert (one == two).all()


def test_an_empty_matrix_is_refused():
    with pytest.raises(DataError, match="at least one outcome"):
        fit_item_response(
            np.zeros((3, 2), np.float32),
            np.full((3, 2), np.nan, np.float32),
            rng=np.random.default_rng(0),
        )
