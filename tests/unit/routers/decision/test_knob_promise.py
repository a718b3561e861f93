"""The knob keeps its promise, and areas are as known, in the synthetic world."""

import functools
import itertools

import numpy as np
import pytest

from routers.artifact.calibration import CalibrationRows
from routers.base import Labels
from routers.decision.decide import choose
from routers.evaluation.crossfit import cross_fit
from routers.evaluation.metrics import area_under_hull, curve, single_models
from routers.heads.base import HeadConfig
from routers.models import Prices
from routers.strategies.carrot import CarrotRouter
from tests.support.worlds import USD_PER_MTOK, draw, make_world

MODELS = tuple("abcde")
PRICES = [Prices(input_usd_per_mtok=0.0, output_usd_per_mtok=usd) for usd in USD_PER_MTOK]
USD_PER_TOKEN = np.asarray(USD_PER_MTOK) / 1e6


class Trial:
    """A router and its knob from 2,000 queries, and 5,000 fresh ones to judge them by."""

    def __init__(self, kind, seed, **options):
        world = make_world(seed)
        train, self.fresh = draw(world, 2000, seed=100 + seed), draw(world, 5000, seed=200 + seed)
        labels = Labels(models=MODELS, quality=train.quality, output_tokens=train.output_tokens)
        quality_head = HeadConfig(kind=kind, options=options)

        def make():
            # No query tells how long its answer will be: neighbours would say no more of that.
            return CarrotRouter(quality_head=quality_head, tokens_head=HeadConfig(kind="linear"))

        folds = np.random.default_rng(seed).permutation(2000) % 5
        rng = np.random.default_rng(seed)
        held_out = cross_fit(
            make,
            lambda fitted, other: (train.x[fitted], train.x[other], ()),
            labels,
            folds=folds,
            rng=rng,
            progress=lambda _: None,
        )
        rows = CalibrationRows.collect(
            held_out, input_tokens=np.zeros(2000), quality=train.quality, rng=rng
        )
        self.knob = rows.curve(range(5), PRICES)
        predictions = make().fit(train.x, labels, rng=rng).predict(self.fresh.x)
        self.quality = predictions.quality
        self.cost = predictions.output_tokens * USD_PER_TOKEN

    def picks(self, t):
        return choose(self.quality, self.cost, self.knob.usd_per_quality_for(t))

    def realised(self, t):
        return self.fresh.quality[np.arange(5000), self.picks(t)].mean()

    def areas(self):
        """Of the ZeroRouter, the router, and an oracle on the true chances."""
        chance, cost = self.fresh.chance, self.fresh.cost_usd
        single = single_models(chance, cost)
        low, high = single[0].min(), single[0].max()
        routed = curve(self.quality, self.cost, chance, cost)
        oracle = curve(chance, self.cost, chance, cost)
        return [area_under_hull(*each, low=low, high=high) for each in (single, routed, oracle)]


@functools.cache
def trial_of(kind, seed, **options):
    """Return a trial that was made once; nothing about it changes."""
    return Trial(kind, seed, **options)


@pytest.mark.parametrize(
    ("kind", "seed"),
    [*itertools.product(["knn", "linear"], range(5)), ("mlp", 0), ("mlp", 4)],
)
def test_the_realised_share_is_within_a_twentieth_of_the_promise(kind, seed):
    trial = trial_of(kind, seed)
    low, high = trial.realised(0), trial.realised(1)
    assert high - low > 0.2
    for t in (0.2, 0.4, 0.6, 0.8):
        assert (trial.realised(t) - low) / (high - low) == pytest.approx(t, abs=0.05)


def test_predicted_quality_and_cost_never_fall_as_the_knob_rises():
    trial, rows = trial_of("knn", 0), np.arange(5000)
    picks = [trial.picks(t) for t in np.linspace(0, 1, 41)]
    for before, after in itertools.pairwise(picks):
        assert (trial.quality[rows, after] >= trial.quality[rows, before] - 1e-9).all()
        assert (trial.cost[rows, after] >= trial.cost[rows, before]).all()
    assert (picks[0] == 0).all()


def test_many_neighbours_beat_mixing_models_and_come_near_the_oracle():
    zero, routed, oracle = np.mean([trial_of("knn", seed).areas() for seed in range(5)], axis=0)
    assert routed > zero + 0.05
    assert routed > oracle - 0.02


def test_few_neighbours_are_worse_than_many():
    few = trial_of("knn", 0, n_neighbors=5).areas()[1]
    assert few < trial_of("knn", 0, n_neighbors=100).areas()[1] - 0.03
