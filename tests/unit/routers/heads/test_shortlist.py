from dataclasses import replace

import numpy as np
import pytest

from routers.heads._shortlist import Shortlist, largest
from routers.heads.knn import KnnHead
from routers.numeric import unit_rows

N_ROWS, N_FEATURES, K = 12_000, 64, 20


def clustered(rng: np.random.Generator, n: int) -> np.ndarray:
    """Rows around 40 centres in eight directions, with noise in all."""
    centres = np.random.default_rng(7).normal(size=(40, 8))
    axes = np.linalg.qr(np.random.default_rng(8).normal(size=(N_FEATURES, 8)))[0]
    x = (centres[rng.integers(40, size=n)] + 0.3 * rng.normal(size=(n, 8))) @ axes.T
    return unit_rows((x + 0.02 * rng.normal(size=x.shape)).astype(np.float32))


def embedding_like(rng: np.random.Generator, n: int) -> np.ndarray:
    """Rows whose energy falls off over their directions, as those of embeddings do."""
    axes = np.linalg.qr(np.random.default_rng(9).normal(size=(N_FEATURES, N_FEATURES)))[0]
    x = rng.normal(size=(n, N_FEATURES)) / np.arange(1, N_FEATURES + 1) ** 0.7
    return unit_rows((x @ axes.T).astype(np.float32))


def noise(rng: np.random.Generator, n: int) -> np.ndarray:
    return unit_rows(rng.normal(size=(n, N_FEATURES)).astype(np.float32))


def labels(n: int) -> np.ndarray:
    return np.random.default_rng(2).random((n, 3)).astype(np.float32)


def fitted(x: np.ndarray, **options) -> KnnHead:
    options = {"n_neighbors": K, "storage": "float32"} | options
    return KnnHead(**options).fit(x, labels(len(x)), rng=np.random.default_rng(0))


def recall(shortlist: Shortlist, x: np.ndarray, queries: np.ndarray, k: int) -> float:
    """Return how many found rows are at least as similar as the k-th nearest one."""
    found = np.stack([shortlist.nearest(query, x, k) for query in queries])
    assert all(len(set(row)) == k for row in found.tolist())
    similarity = queries @ x.T
    bar = np.partition(similarity, -k, axis=1)[:, -k]
    return float((np.take_along_axis(similarity, found, 1) >= bar[:, None] - 1e-6).mean())


@pytest.mark.parametrize("make", [clustered, embedding_like])
@pytest.mark.parametrize("k", [1, 20, 100])
def test_at_least_98_of_100_neighbours_are_found_for_new_queries(make, k):
    rng = np.random.default_rng(1)
    x = make(rng, N_ROWS)
    shortlist = Shortlist.tuned(x, k)
    assert shortlist is not None
    assert recall(shortlist, x, make(rng, 200), k) >= 0.98


def test_queries_off_the_axes_get_more_candidates():
    rng = np.random.default_rng(1)
    x = embedding_like(rng, N_ROWS)
    shortlist = Shortlist.tuned(x, K)
    assert shortlist is not None
    unlike = noise(rng, 200)
    narrow = replace(shortlist, covered=0.0)
    assert recall(shortlist, x, unlike, K) > recall(narrow, x, unlike, K) + 0.1


@pytest.mark.parametrize("make", [clustered, embedding_like])
def test_predictions_stay_near_those_of_comparing_everything(make):
    rng = np.random.default_rng(1)
    x, queries = make(rng, N_ROWS), make(rng, 200)
    head, exact = fitted(x), fitted(x, search="exact")
    assert head.shortlist_ is not None
    assert exact.shortlist_ is None
    for ours, theirs in zip(head.predict(queries), exact.predict(queries), strict=True):
        assert np.abs(ours - theirs).mean() < 0.1 * theirs.std() + 1e-6


def test_rows_without_structure_are_compared_in_full():
    x = noise(np.random.default_rng(1), N_ROWS)
    assert Shortlist.tuned(x, K) is None
    assert fitted(x).shortlist_ is None


def test_few_rows_are_compared_in_full():
    rng = np.random.default_rng(1)
    x, queries = clustered(rng, 4095), clustered(rng, 50)
    head, exact = fitted(x), fitted(x, search="exact")
    assert head.shortlist_ is None
    for ours, theirs in zip(head.predict(queries), exact.predict(queries), strict=True):
        assert ours.tobytes() == theirs.tobytes()


def test_one_query_is_answered_as_it_is_among_many():
    rng = np.random.default_rng(1)
    head, queries = fitted(clustered(rng, N_ROWS)), clustered(rng, 30)
    assert head.shortlist_ is not None
    together = head.predict(queries)
    for i in range(30):
        for part, alone in zip(together, head.predict(queries[i : i + 1]), strict=True):
            np.testing.assert_allclose(part[i], alone[0], atol=1e-6)


@pytest.mark.parametrize("storage", ["float16", "float32"])
def test_a_saved_shortlist_answers_the_same_to_the_last_bit(storage, tmp_path):
    rng = np.random.default_rng(1)
    head, queries = fitted(clustered(rng, N_ROWS), storage=storage), clustered(rng, 50)
    np.savez(tmp_path / "head.npz", **head.state())
    with np.load(tmp_path / "head.npz", allow_pickle=False) as state:
        again = KnnHead(n_neighbors=K, storage=storage).restore(dict(state))
    assert again.shortlist_ is not None
    for before, after in zip(head.predict(queries), again.predict(queries), strict=True):
        assert before.tobytes() == after.tobytes()


def test_fitting_twice_gives_the_same_shortlist():
    first, second = (fitted(clustered(np.random.default_rng(1), N_ROWS)).state() for _ in range(2))
    assert {k: v.tobytes() for k, v in first.items()} == {k: v.tobytes() for k, v in second.items()}


def test_fitting_a_shortlist_draws_nothing_at_random():
    rng, untouched = np.random.default_rng(0), np.random.default_rng(0)
    x = clustered(np.random.default_rng(1), N_ROWS)
    head = KnnHead(n_neighbors=K).fit(x, labels(N_ROWS), rng=rng)
    assert head.shortlist_ is not None
    assert rng.random() == untouched.random()


@pytest.mark.parametrize("missing", ["a shortlist", "the wish for one"])
def test_a_head_without_a_shortlist_compares_everything(missing):
    rng = np.random.default_rng(1)
    x, queries = clustered(rng, N_ROWS), clustered(rng, 50)
    state = fitted(x).state()
    if missing == "a shortlist":  # as versions saved it that knew of none
        old = {name: state[name] for name in ("x", "y", "k")}
        head = KnnHead(n_neighbors=K, storage="float32").restore(old)
        assert head.state().keys() == old.keys()
    else:
        head = KnnHead(n_neighbors=K, storage="float32", search="exact").restore(state)
    exact = fitted(x, search="exact")
    for ours, theirs in zip(head.predict(queries), exact.predict(queries), strict=True):
        assert ours.tobytes() == theirs.tobytes()


@pytest.mark.parametrize(
    "wrong",
    [
        {"axes": np.zeros((16, N_FEATURES + 1), np.float32)},
        {"axes": np.zeros((0, N_FEATURES), np.float32)},
        {"axes": np.zeros(N_FEATURES, np.float32)},
        {"axes": None},
        {"n_candidates": np.asarray([2 * K - 1])},
        {"n_candidates": np.asarray([N_ROWS])},
        {"n_candidates": np.asarray([], int)},
        {"n_candidates": None},
    ],
    ids=repr,
)
def test_a_shortlist_that_does_not_match_is_refused(wrong):
    state = fitted(clustered(np.random.default_rng(1), N_ROWS)).state() | wrong
    with pytest.raises((KeyError, ValueError), match=r"shortlist|axes|candidates"):
        KnnHead(n_neighbors=K).restore({k: v for k, v in state.items() if v is not None})


def test_equal_rows_are_as_good_as_each_other():
    x = np.tile(clustered(np.random.default_rng(1), 3), (4_000, 1))
    shortlist = Shortlist.tuned(x, K)
    assert shortlist is not None
    assert recall(shortlist, x, x[:3], K) == 1
    head = fitted(np.tile(x[:1], (N_ROWS, 1)))
    assert np.isfinite(head.predict(x[:3])[0]).all()


def test_a_query_of_zeros_is_answered():
    head = fitted(clustered(np.random.default_rng(1), N_ROWS))
    mean, std = head.predict(np.zeros((1, N_FEATURES), np.float32))
    assert np.isfinite(mean).all()
    assert np.isfinite(std).all()


@pytest.mark.parametrize("sampled_are", ["near", "far"])
def test_an_order_of_rows_that_recurs_with_the_sampled_ones_misleads_nobody(sampled_are):
    rng = np.random.default_rng(1)
    # Of 36,000 rows every eighth is sampled for the threshold.
    x = clustered(rng, 3 * N_ROWS)
    x[np.isin(np.arange(len(x)) % 8, 0, invert=sampled_are == "near")] *= -1
    shortlist = Shortlist.tuned(x, 100)
    assert shortlist is not None
    assert recall(shortlist, x, clustered(rng, 50), 100) >= 0.98


@pytest.mark.parametrize("k", [N_ROWS - 1, N_ROWS, 10 * N_ROWS])
def test_nearly_all_rows_as_neighbours_need_no_shortlist(k):
    x = clustered(np.random.default_rng(1), N_ROWS)
    head = fitted(x, n_neighbors=k)
    assert head.shortlist_ is None
    np.testing.assert_allclose(
        head.predict(x[:2])[0], np.tile(labels(N_ROWS).mean(axis=0), (2, 1)), atol=1e-3
    )


@pytest.mark.parametrize("k", [1, 3, 6])
def test_the_largest_values_are_found_also_among_equal_ones(k):
    values = np.array([0, 5, 5, 1, 5, -1], np.float32)
    found = largest(values, k)
    assert len(set(found.tolist())) == k
    assert sorted(values[found]) == sorted(values)[-k:]
