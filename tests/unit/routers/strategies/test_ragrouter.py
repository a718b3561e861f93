import functools
from dataclasses import replace

import numpy as np
import pytest

from routers.base import ROUTERS, Labels
from routers.decision.decide import decide
from routers.decision.knob import KnobCurve
from routers.embedders.base import make_embedder
from routers.features.featurizer import Featurizer
from routers.models import Demand, ModelSpec, Prices
from routers.objectives import Constraints, MaxQualityLoss
from routers.strategies._document_net import Lessons, loss_gradients
from routers.strategies.ragrouter import N_SIGNALS, in_two_settings
from tests.support.document_worlds import MODELS, USD_PER_ANSWER, draw
from tests.support.gradients import assert_gradients_are_right

TRAIN, TEST = draw(400, seed=1), draw(400, seed=2)
ROWS = np.arange(400)
BLOCKS = ("documents", "embedding", "lexical")
KNOB = KnobCurve((0.0, 1.0), (1e-4, 1.0))


@functools.cache
def fitted(kind, blocks):
    """Fit on every question of the world with its documents and without."""
    featurizer = Featurizer(make_embedder("static"), blocks)
    conversations = TRAIN.with_documents() + TRAIN.bare()
    quality = np.concatenate([TRAIN.quality, TRAIN.bare_quality])
    x = featurizer.fit(conversations).transform(conversations)
    labels = Labels(models=MODELS, quality=quality)
    return featurizer, ROUTERS.get(kind)().fit(x, labels, rng=np.random.default_rng(0))


def predicted(conversations, kind="ragrouter", blocks=BLOCKS):
    featurizer, router = fitted(kind, blocks)
    return router.predict(featurizer.transform(conversations))


def realised(predictions):
    return float(TEST.chance[ROWS, predictions.quality.argmax(axis=1)].mean())


def shares(predictions):
    return np.bincount(predictions.quality.argmax(axis=1), minlength=3) / len(predictions)


def test_it_beats_a_router_that_is_blind_to_documents_and_the_best_single_model():
    aware = realised(predicted(TEST.with_documents()))
    blind = realised(predicted(TEST.with_documents(), blocks=BLOCKS[1:]))
    assert aware >= blind + 0.033
    assert aware >= TEST.chance.mean(axis=0).max() + 0.036
    assert aware >= TEST.chance.max(axis=1).mean() - 0.03


def test_any_other_strategy_may_read_the_documents_too():
    aware = realised(predicted(TEST.with_documents(), "carrot"))
    assert aware >= TEST.chance.mean(axis=0).max() + 0.036


def test_it_goes_back_where_the_documents_are_those_of_other_questions():
    assert shares(predicted(TEST.with_documents()))[1] > 0.4
    shuffled = predicted(TEST.shuffled(np.random.default_rng(3)))
    assert shares(shuffled)[1] < 0.05
    assert shares(predicted(TEST.bare()))[1] < 0.05


def test_one_model_has_a_quality_with_documents_and_another_without():
    with_good = predicted(TEST.with_documents()).quality[TEST.good]
    bare = predicted(TEST.bare()).quality[TEST.good]
    reader = MODELS.index("reader")
    assert with_good[:, reader].mean() > 0.75
    assert bare[:, reader].mean() == pytest.approx(0.45, abs=0.08)


def route(predictions, theta):
    """Return the chosen model of every row, and what all answers cost."""
    specs = [
        ModelSpec(
            model_id=model,
            predicted_as=model,
            prices=Prices(input_usd_per_mtok=0, output_usd_per_mtok=usd),
            context_window_tokens=8_000,
        )
        for model, usd in zip(MODELS, USD_PER_ANSWER, strict=True)
    ]
    chosen = [
        decide(
            candidates=specs,
            predictions=predictions.rows(np.array([row])),
            demand=Demand(input_tokens=50, input_tokens_upper=60),
            constraints=Constraints(),
            objective=MaxQualityLoss(theta),
            knob=KNOB,
        ).model_id
        for row in range(len(predictions))
    ]
    return chosen, sum(USD_PER_ANSWER[MODELS.index(each)] for each in chosen)


def test_theta_trades_quality_for_cost_and_without_one_the_best_is_taken():
    predictions = predicted(TEST.with_documents())
    routed = [route(predictions, theta) for theta in (0.0, 0.02, 0.05, 0.1, 0.2, 0.4)]
    costs = [cost for _, cost in routed]
    assert costs == sorted(costs, reverse=True)
    assert costs[0] > costs[-1]
    assert routed[0][0] == [MODELS[i] for i in predictions.quality.argmax(axis=1)]


def test_other_texts_with_the_same_numbers_change_nothing():
    requests = TEST.with_documents()[:50]
    told = {word for each in TEST.questions for word in each.lower().strip("?").split()}
    turn = str.maketrans("aeiou", "eioua")

    def other(text):
        """Replace every name that no question holds by another one of as many letters."""
        return " ".join(
            word if word in told or len(word) < 8 else word.translate(turn) for word in text.split()
        )

    changed = [
        replace(each, documents=tuple(replace(d, text=other(d.text)) for d in each.documents))
        for each in requests
    ]
    assert all(a != b for a, b in zip(changed, requests, strict=True))
    np.testing.assert_array_equal(predicted(changed).quality, predicted(requests).quality)


# --- the net -------------------------------------------------------------------------------------


def weights(rng, *, axes=4, signals=3, models=3, dim=3, heads=2):
    shapes = {
        "project": (axes, dim),
        "shift": (dim,),
        "knowledge": (models, dim),
        "capability": (models, heads),
        "read": (heads, signals, dim),
    }
    return {name: rng.normal(size=shape) for name, shape in shapes.items()}


def test_gradients_equal_finite_differences():
    rng = np.random.default_rng(0)
    bare, given = rng.random((2, 5, 3))
    bare[0, 1] = given[2, 0] = np.nan
    given[4] = np.nan  # one that never had documents
    documents = rng.normal(size=(5, 3))
    documents[4] = 0
    lessons = Lessons(z=rng.normal(size=(5, 4)), documents=documents, bare=bare, given=given)

    def loss(at):
        return loss_gradients(at, lessons, temperature=0.5, weight=2.0)

    assert_gradients_are_right(loss, weights(rng))


def test_rows_of_one_query_are_joined_whatever_came_with_it():
    z = np.zeros((4, N_SIGNALS + 1), np.float32)
    z[1, 0] = z[2, 0] = 1  # documents came with these
    z[:, -1] = [0.3, 0.3, 0.3, 0.7]
    quality = np.array([[0.2], [0.9], [0.8], [0.5]], np.float32)
    lessons = in_two_settings(z, quality, np.zeros(N_SIGNALS, np.float32))
    assert lessons.bare[:, 0].tolist() == pytest.approx([0.2, 0.2, 0.5])
    assert lessons.given[:2, 0].tolist() == pytest.approx([0.9, 0.8])
    assert np.isnan(lessons.given[2, 0])
    assert lessons.documents[:, 0].tolist() == [1, 1, 0]
