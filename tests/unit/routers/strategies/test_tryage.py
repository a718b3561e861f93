"""A router of predicted losses, in a world in which the best model of every query is known."""

import numpy as np
import pytest

from routers.base import Labels
from routers.decision.choice import choose_each
from routers.decision.goals import goal_costs, penalties
from routers.heads.base import HeadConfig
from routers.strategies.tryage import TryageRouter
from routers.wishes import Goal, Traits, Wishes
from tests.support.worlds import draw, make_world

SIZES = [Traits(parameters_b=each) for each in (1, 8, 30, 70, 400)]


def fitted(world, *, seed, missing=0.0, **options):
    train = draw(world, 2000, seed=100 + seed)
    quality = train.quality.copy()
    quality[np.random.default_rng(seed).random(quality.shape) < missing] = np.nan
    labels = Labels(models=tuple("abcde"), quality=quality, output_tokens=train.output_tokens)
    router = TryageRouter(**options)
    router.fit(train.x, labels, rng=np.random.default_rng(seed))
    return router


def selection(world, router, *, seed):
    """Return how often the best model was chosen, and how often the commonest one is it."""
    test = draw(world, 2000, seed=200 + seed)
    best = test.chance.argmax(axis=1)
    picked = router.predict(test.x).quality.argmax(axis=1)
    return (picked == best).mean(), np.bincount(best).max() / len(best)


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("missing", [0.0, 0.5])
def test_the_best_model_is_chosen_far_more_often_than_the_commonest(seed, missing):
    world = make_world(seed)
    chosen, majority = selection(world, fitted(world, seed=seed, missing=missing), seed=seed)
    assert chosen >= majority + 0.15


def test_one_network_for_all_models_learns_it_too():
    world = make_world(1)
    head = HeadConfig(
        kind="mlp",
        options={"loss": "squared", "learning_rate": 3e-3, "n_epochs": 30, "n_networks": 1},
    )
    chosen, majority = selection(world, fitted(world, seed=1, loss_head=head), seed=1)
    assert chosen >= majority + 0.15


def test_weights_trade_the_predicted_loss_for_size():
    world = make_world(2)
    router, test = fitted(world, seed=2), draw(world, 500, seed=202)
    predictions = router.predict(test.x)
    cost = np.zeros(predictions.quality.shape)
    size = goal_costs(Goal.SIZE, SIZES, predictions.output_tokens)
    mean_size, loss = [], []
    for weight in (0.0, 0.1, 0.5, 2.0, 10.0):
        taken = penalties(Wishes(weights=((Goal.SIZE, weight),)), SIZES, predictions.output_tokens)
        worth = predictions.quality - taken
        picks = choose_each(worth, cost, [np.inf], weigh_all=True)[0]
        rows = np.arange(len(picks))
        mean_size.append(size[rows, picks].mean())
        loss.append(1 - predictions.quality[rows, picks].mean())
    np.testing.assert_allclose(loss[0], 1 - predictions.quality.max(axis=1).mean(), atol=1e-6)
    assert mean_size == sorted(mean_size, reverse=True)
    assert loss == sorted(loss)
    assert mean_size[-1] == pytest.approx(size.min())
