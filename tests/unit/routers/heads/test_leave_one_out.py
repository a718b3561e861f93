import numpy as np
import pytest
from sklearn.linear_model import RidgeCV

from routers.heads._leave_one_out import LeaveOneOut

ALPHAS = (1.0, 10.0, 100.0, 1000.0)


@pytest.mark.parametrize("alone", [False, True])
@pytest.mark.parametrize("shape", [(80, 6), (12, 30)])
def test_penalties_and_coefficients_equal_scikit_learns(shape, alone):
    rng = np.random.default_rng(0)
    x = rng.normal(size=shape) + 1
    y = x[:, :3] @ rng.normal(size=(3, 4)) + rng.normal(0, [0.1, 1, 5, 20], (shape[0], 4))
    found = LeaveOneOut(x, ALPHAS).fit(y, alone=alone)
    expected = RidgeCV(alphas=ALPHAS, alpha_per_target=alone).fit(x, y)
    np.testing.assert_allclose(found.coef.T, expected.coef_, rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(found.intercept, expected.intercept_, rtol=1e-8)
    np.testing.assert_array_equal(found.alpha, np.broadcast_to(expected.alpha_, 4))
    error = np.broadcast_to(-np.asarray(expected.best_score_), 4)
    np.testing.assert_allclose(found.error, error, rtol=1e-8)
