"""What every routing strategy promises, whatever its kind."""

import functools
import threading

import numpy as np
import pytest

from routers.base import ROUTERS, AuxiliarySet, Labels, Router
from routers.errors import DataError, NotFittedError, RoutingConfigError
from routers.options import build, options_of

RNG = np.random.default_rng(0)
X = RNG.normal(size=(150, 8)).astype(np.float32)
QUERIES = RNG.normal(size=(20, 8)).astype(np.float32)
MODELS = ("cheap", "middle", "dear")
QUALITY = (RNG.random((150, 3)) < [0.2, 0.5, 0.8]).astype(np.float32)
TOKENS = RNG.lognormal(np.log([50, 150, 450]), 0.5, (150, 3)).astype(np.float32)
HOLES = RNG.random(QUALITY.shape) < 0.3
LABELS = Labels(models=MODELS, quality=QUALITY, output_tokens=TOKENS)
PARTIAL = Labels(
    models=MODELS,
    quality=np.where(HOLES, np.nan, QUALITY).astype(np.float32),
    output_tokens=np.where(HOLES, np.nan, TOKENS).astype(np.float32),
)
SILENT = Labels(models=MODELS, quality=QUALITY, output_tokens=None)

every_kind = pytest.mark.parametrize("kind", ROUTERS.kinds())
KNOWN = {"full": LABELS, "partial": PARTIAL, "no-tokens": SILENT}
every_labels = pytest.mark.parametrize("known", KNOWN)


def new(kind: str) -> Router:
    return build(ROUTERS.get(kind), {}, noun=f"strategy {kind!r}")


def fit(kind: str, labels: Labels = LABELS) -> Router:
    return new(kind).fit(X, labels, rng=np.random.default_rng(1))


@functools.cache
def fitted(kind: str, known: str) -> Router:
    """Return a router that was fitted once, for tests that only ask it."""
    return fit(kind, KNOWN[known])


@functools.cache
def fitted_again(kind: str) -> tuple[Router, Router]:
    """Return a router that was fitted a second time, and what its `fit` returned."""
    router = new(kind)
    return router, router.fit(X, LABELS, rng=np.random.default_rng(1))


def arrays(predictions):
    return (
        predictions.quality,
        predictions.quality_std,
        predictions.output_tokens,
        predictions.output_tokens_upper,
    )


@every_kind
def test_fit_returns_the_router_itself(kind):
    router, returned = fitted_again(kind)
    assert returned is router
    assert router.models_ == MODELS
    assert router.kind == kind


@every_kind
def test_an_unfitted_router_refuses(kind):
    with pytest.raises(NotFittedError, match="fitted"):
        new(kind).predict(QUERIES)
    with pytest.raises(NotFittedError, match="fitted"):
        new(kind).state()


@every_kind
@every_labels
def test_predictions_are_sound(kind, known):
    predictions = fitted(kind, known).predict(QUERIES)
    for array in arrays(predictions):
        assert array.shape == (20, 3)
        assert array.dtype == np.float32
        assert np.isfinite(array).all()
        assert (array >= 0).all()
    assert (predictions.quality <= 1).all()
    assert (predictions.output_tokens_upper >= predictions.output_tokens).all()


@every_kind
def test_columns_are_in_the_order_of_the_models(kind):
    predictions = fitted(kind, "full").predict(X)
    assert predictions.quality.mean(axis=0).argsort().tolist() == [0, 1, 2]
    assert predictions.output_tokens.mean(axis=0).argsort().tolist() == [0, 1, 2]


@every_kind
@every_labels
def test_a_restored_router_predicts_the_same_to_the_last_bit(kind, known):
    router = fitted(kind, known)
    options = options_of(router)
    again = build(ROUTERS.get(kind), options, noun="it").restore(router.state(), MODELS)
    for before, after in zip(
        arrays(router.predict(QUERIES)), arrays(again.predict(QUERIES)), strict=True
    ):
        assert before.tobytes() == after.tobytes()
    assert again.models_ == MODELS
    assert again.state().keys() == router.state().keys()
    assert options_of(again) == options


@every_kind
def test_the_same_seed_gives_the_same_router(kind):
    again, _ = fitted_again(kind)
    first, second = fitted(kind, "full").predict(QUERIES), again.predict(QUERIES)
    assert all(
        a.tobytes() == b.tobytes() for a, b in zip(arrays(first), arrays(second), strict=True)
    )


@every_kind
def test_auxiliary_sets_are_accepted(kind):
    other = AuxiliarySet(x=X[:40], labels=Labels(models=("elsewhere",), quality=QUALITY[:40, :1]))
    router = new(kind).fit(X, LABELS, rng=np.random.default_rng(1), auxiliary=[other])
    assert router.predict(QUERIES).quality.shape == (20, 3)


@every_kind
def test_a_model_without_outcomes_is_refused_by_name(kind):
    quality = QUALITY.copy()
    quality[:, 1] = np.nan
    with pytest.raises(DataError, match="middle"):
        new(kind).fit(X, Labels(models=MODELS, quality=quality), rng=np.random.default_rng(0))


@every_kind
def test_unknown_options_are_refused_by_name(kind):
    with pytest.raises(RoutingConfigError, match="nonsense"):
        build(ROUTERS.get(kind), {"nonsense": 1}, noun="it")


def _remembering():
    """Return every way to build a router that grows while it is asked: (kind, options)."""
    found = {}
    for kind in ROUTERS.kinds():
        for options in ({}, {"quality_head": {"kind": "knn"}}):
            try:
                router = build(ROUTERS.get(kind), options, noun="it")
            except RoutingConfigError:
                continue
            if router.grows_while_asked:
                found.setdefault(kind, options)
    return sorted(found.items())


every_growing_kind = pytest.mark.parametrize(
    ("kind", "options"), _remembering(), ids=[kind for kind, _ in _remembering()]
)


def grown_from(kind, options):
    router = build(ROUTERS.get(kind), options, noun="it")
    return router.fit(X, LABELS, rng=np.random.default_rng(1))


def told_of(model, quality, n):
    """Return labels as feedback has them: of the model that answered, and of no other."""
    told = np.full((n, len(MODELS)), np.nan, np.float32)
    told[:, MODELS.index(model)] = quality
    return Labels(models=MODELS, quality=told)


def test_there_are_kinds_that_grow_while_they_are_asked():
    assert {"carrot", "guarded-knn"} <= dict(_remembering()).keys()


@every_growing_kind
@pytest.mark.parametrize("model", MODELS)
def test_ratings_of_one_model_alone_raise_and_lower_it_beside_the_others(kind, options, model):
    column = MODELS.index(model)
    near = np.repeat(QUERIES[:1], 200, axis=0) + 0.001 * RNG.normal(size=(200, 8))

    def lead(quality):
        router = grown_from(kind, options)
        router.insert(near.astype(np.float32), told_of(model, quality, 200))
        (predicted,) = router.predict(QUERIES[:1]).quality
        return predicted[column] - np.delete(predicted, column).mean()

    assert lead(1.0) > lead(0.0) + 0.3


@every_growing_kind
def test_what_was_told_survives_a_restart_and_can_be_forgotten(kind, options):
    router = grown_from(kind, options)
    before = arrays(router.predict(QUERIES))
    for at in range(0, 20, 8):
        rows = QUERIES[at : at + 8]
        router.insert(rows, told_of("cheap" if at else "dear", 1.0, len(rows)))
    again = build(ROUTERS.get(kind), options_of(router), noun="it")
    again.restore(router.state(), MODELS)
    for known, restored in zip(
        arrays(router.predict(QUERIES)), arrays(again.predict(QUERIES)), strict=True
    ):
        assert known.tobytes() == restored.tobytes()
    assert again.forget(QUERIES) == router.forget(QUERIES) == 20
    for known, restored in zip(before, arrays(again.predict(QUERIES)), strict=True):
        np.testing.assert_allclose(known, restored, atol=1e-6)


@every_growing_kind
def test_who_asks_while_it_grows_is_answered_of_one_state(kind, options):
    router = grown_from(kind, options)
    asked, stop, failures = QUERIES[:4], threading.Event(), []
    seen = set()

    def ask():
        try:
            while not stop.is_set():
                seen.add(router.predict(asked).quality.tobytes())
        except Exception as error:  # noqa: BLE001  (told by the test's own thread)
            failures.append(error)

    threads = [threading.Thread(target=ask) for _ in range(2)]
    states = [router.predict(asked).quality.tobytes()]
    for thread in threads:
        thread.start()
    try:
        for at in range(60):
            row = QUERIES[at % 20 : at % 20 + 1]
            router.insert(row, told_of(MODELS[at % 3], at % 2, 1))
            states.append(router.predict(asked).quality.tobytes())
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert not failures
    assert seen <= set(states)
