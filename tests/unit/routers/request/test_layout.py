"""The columns of a described request."""

import numpy as np
import pytest

from routers.request.layout import DOMAINS, KINDS, LEVELS, N_COLUMNS, Description


def drawn(n: int) -> Description:
    rng = np.random.default_rng(0)
    levels, kinds, domains = (
        rng.dirichlet(np.ones(len(names)), n).astype(np.float32)
        for names in (LEVELS, KINDS, DOMAINS)
    )
    return Description(
        levels=levels,
        kinds=kinds,
        domains=domains,
        log_tokens=rng.uniform(0, 9, n).astype(np.float32),
    )


def test_what_is_written_is_read():
    described = drawn(20)
    x = described.columns()
    assert x.shape == (20, N_COLUMNS)
    assert x.dtype == np.float32
    again = Description.read(x)
    for name in ("levels", "kinds", "domains", "log_tokens"):
        np.testing.assert_allclose(getattr(again, name), getattr(described, name), atol=2e-5)


def test_further_columns_are_others():
    x = drawn(3).columns()
    wider = np.concatenate([x, np.full((3, 8), 7, np.float32)], axis=1)
    np.testing.assert_array_equal(Description.read(wider).columns(), Description.read(x).columns())


@pytest.mark.parametrize("width", [0, 3, len(LEVELS), N_COLUMNS - 1])
def test_missing_columns_count_as_nothing_known(width):
    read = Description.read(np.zeros((2, width), np.float32))
    np.testing.assert_allclose(read.levels, 1 / len(LEVELS), rtol=1e-6)
    np.testing.assert_allclose(read.domains, 1 / len(DOMAINS), rtol=1e-6)
    assert read.log_tokens.tolist() == [0, 0]


def test_whatever_stands_there_gives_chances():
    read = Description.read(np.random.default_rng(1).normal(0, 5, (50, N_COLUMNS)))
    for chances in (read.levels, read.kinds, read.domains):
        assert (chances > 0).all()
        np.testing.assert_allclose(chances.sum(axis=1), 1, rtol=1e-5)
    assert (read.log_tokens >= 0).all()


def test_demand_goes_from_trivial_to_very_demanding():
    n = len(LEVELS)
    x = np.zeros((n, N_COLUMNS), np.float32)
    x[:, :n] = np.eye(n)
    np.testing.assert_allclose(Description.read(x).demand, np.linspace(0, 1, n), atol=1e-4)


def test_no_requests_are_no_error():
    assert Description.read(np.zeros((0, N_COLUMNS), np.float32)).demand.shape == (0,)
