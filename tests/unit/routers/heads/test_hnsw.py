import subprocess
import sys
import threading

import numpy as np
import pytest

from routers.errors import DataError, NotFittedError, RoutingConfigError
from routers.heads._hnsw import Graph, Shape
from routers.heads._remembered import Compared, Linked
from routers.heads.base import HeadConfig
from routers.heads.knn import KnnHead
from routers.numeric import unit_rows

pytest.importorskip("faiss", reason="needs the extra hnsw")

N_ROWS, N_FEATURES, K = 5_000, 16, 10
SMALL = Shape(m=8, ef_construction=40)


def clustered(rng: np.random.Generator, n: int, width: int = N_FEATURES) -> np.ndarray:
    """Rows in 200 narrow clusters that lie far from each other."""
    centres = np.random.default_rng(7).normal(size=(200, width))
    x = centres[rng.integers(200, size=n)] + 0.05 * rng.normal(size=(n, width))
    return unit_rows(x.astype(np.float32))


def uniform(rng: np.random.Generator, n: int, width: int = N_FEATURES) -> np.ndarray:
    return unit_rows(rng.normal(size=(n, width)).astype(np.float32))


def labels(n: int, seed: int = 2) -> np.ndarray:
    y = np.random.default_rng(seed).random((n, 3)).astype(np.float32)
    y[::7, 1] = np.nan
    return y


def fitted(x: np.ndarray, **options) -> KnnHead:
    options = {"n_neighbors": K, "search": "hnsw", "m": 8, "ef_construction": 40} | options
    return KnnHead(**options).fit(x, labels(len(x)), rng=np.random.default_rng(0))


def recall(found: np.ndarray, x: np.ndarray, queries: np.ndarray) -> float:
    similarity = queries @ x.T
    bar = np.partition(similarity, -found.shape[1], axis=1)[:, -found.shape[1]]
    return float((np.take_along_axis(similarity, found, 1) >= bar[:, None] - 1e-6).mean())


@pytest.fixture(scope="module")
def head() -> KnnHead:
    """Return a head that nobody changes."""
    found = fitted(clustered(np.random.default_rng(0), N_ROWS))
    assert isinstance(found.rows_, Linked)
    return found


QUERIES = clustered(np.random.default_rng(1), 200)


@pytest.mark.parametrize("make", [clustered, uniform])
def test_at_least_98_of_100_neighbours_are_found_for_new_queries(make):
    head, queries = (
        fitted(make(np.random.default_rng(0), N_ROWS)),
        make(np.random.default_rng(1), 200),
    )
    assert isinstance(head.rows_, Linked)
    assert recall(head.nearest(queries), head.x_, queries) >= 0.98


def test_a_search_that_keeps_too_few_is_widened_until_it_finds_enough():
    x = uniform(np.random.default_rng(0), N_ROWS)
    narrow = Graph.built(x, SMALL, ef=1, seed=0)
    assert narrow.tune(K)
    assert narrow.ef > K


def test_rows_whose_neighbours_no_walk_finds_are_compared_instead():
    head = fitted(uniform(np.random.default_rng(0), 4_096, 64), m=4, ef_construction=8)
    assert isinstance(head.rows_, Compared)


def walked(links: list[np.ndarray], x: np.ndarray, entry: int, query: np.ndarray) -> int:
    """Walk from row to row, to the neighbour nearest to the query while there is a nearer one."""
    at = entry
    while True:
        near = links[at]
        best = int(near[np.argmax(x[near] @ query)]) if len(near) else at
        if x[best] @ query <= x[at] @ query:
            return at
        at = best


def test_links_that_tell_neighbours_apart_lead_out_of_clusters():
    """What the choice of links is for: with the nearest alone no walk leaves its cluster."""
    rng = np.random.default_rng(0)
    x = clustered(rng, 3_000)
    state = Graph.built(x, SMALL, ef=64, seed=0).state()
    sizes = (state["levels"].astype(int) + 1) * SMALL.m
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    chosen = [state["links"][s : s + 2 * SMALL.m] for s in starts]
    chosen = [each[each >= 0] for each in chosen]
    similarity = x @ x.T
    np.fill_diagonal(similarity, -np.inf)
    width = max(len(each) for each in chosen)
    nearest = list(np.argsort(-similarity, axis=1)[:, :width])

    def reached(links: list[np.ndarray]) -> int:
        seen, waiting = {0}, [0]
        while waiting:
            new = set(links[waiting.pop()].tolist()) - seen
            seen |= new
            waiting += new
        return len(seen)

    assert reached(nearest) < 0.05 * len(x)
    assert reached(chosen) > 0.99 * len(x)
    targets = rng.integers(len(x), size=50)
    arrived = [
        np.mean([x[walked(links, x, 0, x[t])] @ x[t] > 0.9 for t in targets])
        for links in (nearest, chosen)
    ]
    assert arrived[1] > arrived[0] + 0.2


@pytest.mark.parametrize("storage", ["float16", "float32"])
def test_a_saved_graph_answers_the_same_to_the_last_bit(storage, tmp_path):
    head = fitted(clustered(np.random.default_rng(0), N_ROWS), storage=storage)
    head.insert(clustered(np.random.default_rng(3), 50), labels(50))
    assert head.forget(head.x_[:20]) >= 20
    np.savez(tmp_path / "head.npz", **head.state())
    with np.load(tmp_path / "head.npz", allow_pickle=False) as state:
        again = KnnHead(**vars_of(head)).restore(dict(state))
    assert isinstance(again.rows_, Linked)
    for before, after in zip(head.predict(QUERIES), again.predict(QUERIES), strict=True):
        assert before.tobytes() == after.tobytes()
    # And it goes on as the one before would have.
    more = clustered(np.random.default_rng(4), 40)
    for each in (head, again):
        each.insert(more, labels(40))
    assert digest(head) == digest(again)


def vars_of(head: KnnHead) -> dict:
    return {
        name: getattr(head, name)
        for name in ("n_neighbors", "storage", "search", "m", "ef_construction", "ef")
    }


def digest(head: KnnHead) -> dict[str, bytes]:
    return {name: array.tobytes() for name, array in head.state().items()}


def test_the_same_rows_and_seed_give_the_same_graph(head):
    again = fitted(clustered(np.random.default_rng(0), N_ROWS))
    assert digest(again) == digest(head)


def test_inserted_rows_are_found_and_counted_at_once():
    head = fitted(clustered(np.random.default_rng(0), N_ROWS), n_neighbors=1, storage="float32")
    new = uniform(np.random.default_rng(3), 5)
    y = np.full((5, 3), 7, np.float32)
    head.insert(new[:3], y[:3])
    head.insert(new[3:], y[3:])
    np.testing.assert_allclose(head.predict(new)[0], y)
    assert head.nearest(new).ravel().tolist() == list(range(N_ROWS, N_ROWS + 5))


def test_a_graph_that_grew_finds_as_many_as_one_that_was_built():
    x = clustered(np.random.default_rng(0), N_ROWS)
    head = fitted(x[:4_096])
    for at in range(4_096, N_ROWS, 113):
        head.insert(x[at : at + 113], labels(len(x[at : at + 113])))
    assert len(head.x_) == len(head.y_) == N_ROWS
    assert recall(head.nearest(QUERIES), head.x_, QUERIES) >= 0.98


def test_few_rows_are_compared_until_there_are_many():
    x = clustered(np.random.default_rng(0), 4_200)
    head = fitted(x[:4_000])
    assert isinstance(head.rows_, Compared)
    exact = KnnHead(n_neighbors=K, search="exact")
    exact.fit(x[:4_000], labels(4_000), rng=np.random.default_rng(0))
    for ours, theirs in zip(head.predict(QUERIES), exact.predict(QUERIES), strict=True):
        assert ours.tobytes() == theirs.tobytes()
    head.insert(x[4_000:], labels(200))
    assert isinstance(head.rows_, Linked)


@pytest.mark.parametrize("search", ["exact", "auto", "hnsw"])
def test_every_search_takes_rows_in_and_forgets_them(search):
    x = clustered(np.random.default_rng(0), N_ROWS)
    head, new = fitted(x, search=search, storage="float32"), uniform(np.random.default_rng(3), 4)
    before = head.predict(QUERIES)[0]
    head.insert(new, labels(4))
    assert (head.nearest(new) >= N_ROWS).any(axis=1).all()
    assert head.forget(new) == 4
    np.testing.assert_allclose(head.predict(QUERIES)[0], before, atol=1e-6)
    assert head.forget(new) == 0


def test_deleted_rows_are_never_returned(head):
    x = clustered(np.random.default_rng(0), N_ROWS)
    own = fitted(x)
    gone = own.x_[np.unique(own.nearest(QUERIES[:40]))]
    n = own.forget(gone)
    assert n >= len(gone)
    assert not {row.tobytes() for row in own.x_[own.nearest(QUERIES).ravel()]} & {
        row.tobytes() for row in gone
    }
    # Nobody near is left: what comes is the nearest of the others, in full.
    live = own.rows_.graph.live
    similarity = np.where(live, QUERIES @ own.x_.T, -np.inf)
    bar = np.partition(similarity, -K, axis=1)[:, -K]
    found = np.take_along_axis(similarity, own.nearest(QUERIES), 1)
    assert (found >= bar[:, None] - 1e-6).mean() >= 0.98


def test_a_graph_of_which_most_was_forgotten_is_built_anew():
    head = fitted(clustered(np.random.default_rng(0), N_ROWS))
    before = head.x_
    head.forget(before[: N_ROWS // 2 + 100])
    assert len(head.x_) == len(head.y_) < N_ROWS / 2
    assert recall(head.nearest(QUERIES), head.x_, QUERIES) >= 0.98
    with pytest.raises(DataError, match="left"):
        head.forget(head.x_)


def test_rows_join_and_leave_while_others_ask():
    head = fitted(clustered(np.random.default_rng(0), N_ROWS))
    stay, failures, stop = QUERIES[:20], [], threading.Event()

    def ask() -> None:
        try:
            while not stop.is_set():
                mean, std = head.predict(stay)
                assert np.isfinite(mean).all()
                assert np.isfinite(std).all()
        except Exception as error:  # noqa: BLE001  (told by the test's own thread)
            failures.append(error)

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        for number in range(12):
            new = uniform(np.random.default_rng(100 + number), 200)
            head.insert(new, labels(200))
            if number % 3 == 0:
                assert head.forget(new[:100]) == 100
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert not failures
    assert len(head.x_) == N_ROWS + 12 * 200
    assert head.rows_.n_live == N_ROWS + 12 * 200 - 4 * 100


def test_equal_rows_are_as_good_as_each_other():
    x = np.tile(clustered(np.random.default_rng(1), 3), (N_ROWS // 3, 1))
    head = fitted(x)
    assert recall(head.nearest(x[:3]), head.x_, head.x_[:3]) == 1


def test_more_neighbours_than_a_graph_could_save_are_compared():
    assert isinstance(
        fitted(clustered(np.random.default_rng(0), 4_096), n_neighbors=2000).rows_, Compared
    )


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("links", lambda a: a[:-1]),
        ("links", lambda a: np.where(np.arange(len(a)) == 3, N_ROWS, a)),
        ("links", lambda a: np.where(np.arange(len(a)) == 3, -2, a)),
        ("links", lambda a: a.astype(np.float32)),
        ("links", lambda _: None),
        ("levels", lambda a: a[:-1]),
        ("levels", lambda a: np.where(a == a.max(), 100, a)),
        ("levels", np.zeros_like),
        ("levels", lambda a: np.roll(a, 1)),
        ("start", lambda a: a[:2]),
        ("start", lambda a: np.asarray([a[0], a[1], N_ROWS])),
        ("start", lambda a: np.asarray([a[0], a[1], -1])),
        ("start", lambda a: np.asarray([10**9, a[1], a[2]])),
        ("start", lambda a: np.asarray([a[0], -1, a[2]])),
        ("start", lambda a: np.asarray([a[0], a[1], 0])),
        ("deleted", lambda a: a[:-1]),
        ("deleted", lambda a: a.astype(np.int8)),
        ("deleted", np.ones_like),
        ("moments", lambda a: a[:, :-1]),
        ("moments", lambda a: -a),
        ("x", lambda a: a[:, :0]),
    ],
)
def test_a_damaged_or_hostile_graph_is_refused(head, name, change):
    state = head.state()
    state[name] = change(state[name])
    state = {name: array for name, array in state.items() if array is not None}
    with pytest.raises((KeyError, ValueError)):
        KnnHead(**vars_of(head)).restore(state)


def test_a_link_to_a_row_that_is_not_on_its_level_is_refused(head):
    state = head.state()
    high = int(np.flatnonzero(state["levels"] >= 2)[0])
    low = int(np.flatnonzero(state["levels"] == 1)[0])
    sizes = (state["levels"].astype(int) + 1) * head.m
    at = int(np.cumsum(sizes)[high] - sizes[high]) + 2 * head.m
    state["links"][at] = low
    with pytest.raises(ValueError, match="links"):
        KnnHead(**vars_of(head)).restore(state)


def test_a_graph_is_compared_in_full_by_who_asks_for_that(head):
    exact = KnnHead(n_neighbors=K, search="exact").restore(head.state())
    assert isinstance(exact.rows_, Compared)
    assert recall(exact.nearest(QUERIES), head.x_, QUERIES) == 1


def test_rows_of_another_width_are_refused(head):
    for x, y in (
        (QUERIES[:, :-1], labels(200)),
        (QUERIES, labels(200)[:, :2]),
        (QUERIES, labels(3)),
    ):
        with pytest.raises(DataError, match="wide"):
            head.insert(x, y)
    head.insert(QUERIES[:0], labels(0))
    with pytest.raises(NotFittedError):
        KnnHead().insert(QUERIES, labels(200))
    with pytest.raises(NotFittedError):
        KnnHead().forget(QUERIES)


@pytest.mark.parametrize("options", [{"m": 3}, {"ef": 0}, {"ef_construction": 10**6}])
def test_wrong_options_are_named(options):
    with pytest.raises(RoutingConfigError, match=next(iter(options))):
        HeadConfig(kind="knn", options={"search": "hnsw", **options}).build()


def test_without_the_extra_the_error_says_how_it_is_installed():
    """In a process of its own, in which the library cannot be found."""
    code = (
        "import sys; sys.modules['faiss'] = None\n"
        "from routers.heads.knn import KnnHead\n"
        "try: KnnHead(search='hnsw').check_options()\n"
        "except Exception as error: print(type(error).__name__, error)"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "RoutingConfigError" in told.stdout
    assert "pip install 'steelyard[hnsw]'" in told.stdout
