from dataclasses import replace

import numpy as np
import pytest

from routers.artifact.calibration import CalibrationRows
from routers.artifact.onboarded_model import OnboardedModel, bounded_logit, join
from routers.base import Labels
from routers.errors import DataError
from routers.evaluation.metrics import area_under_hull, curve, single_models
from routers.heads.base import HeadConfig
from routers.strategies.carrot import CarrotRouter
from routers.training.onboarding.place import (
    AbilityPrior,
    AnchorOutcomes,
    bootstrap_means,
    mean_quality_interval,
    place_model,
)
from tests.support.worlds import draw, make_world

HIDDEN = 3
OTHERS = [0, 1, 2, 4]
MODELS = ("a", "b", "c", "d", "e")


def labels_of(sample, columns):
    return Labels(
        models=tuple(MODELS[i] for i in columns),
        quality=sample.quality[:, columns],
        output_tokens=sample.output_tokens[:, columns],
    )


class Trained:
    """A synthetic world, a router that knows all models and one that misses the fourth."""

    def __init__(self, seed):
        world = make_world(seed)
        self.train = draw(world, 2000, seed=100 + seed)
        self.test = draw(world, 2000, seed=200 + seed)
        self.without, self.full = (
            CarrotRouter(quality_head=HeadConfig(kind="linear")).fit(
                self.train.x, labels_of(self.train, columns), rng=np.random.default_rng(seed)
            )
            for columns in (OTHERS, list(range(5)))
        )
        self.prior = AbilityPrior.of(self.without.predict(self.train.x).quality)

    def outcomes(self, n, seed=0, *, peers=False):
        at = np.random.default_rng(seed).permutation(2000)[:n]
        return AnchorOutcomes(
            x=self.train.x[at],
            quality=self.train.quality[at, HIDDEN].astype(float),
            output_tokens=self.train.output_tokens[at, HIDDEN].astype(float),
            peer_quality=self.train.quality[at][:, OTHERS] if peers else None,
        )

    def place(self, outcomes):
        base = self.without.predict(outcomes.x)
        return place_model("new", outcomes, base=base, prior=self.prior)

    def area(self, quality, columns):
        cost = self.test.cost_usd
        low, high = cost.mean(axis=0).min(), cost.mean(axis=0).max()
        expected = np.broadcast_to(self.train.cost_usd.mean(axis=0), cost.shape)[:, columns]
        chance = self.test.chance[:, columns]
        return area_under_hull(
            *curve(quality, expected, chance, cost[:, columns]), low=low, high=high
        )

    def area_with(self, added):
        base = self.without.predict(self.test.x)
        joined = join(base, [added.predict(self.test.x, base)])
        return self.area(joined.quality, [*OTHERS, HIDDEN])


@pytest.fixture(scope="module")
def worlds():
    return [Trained(seed) for seed in range(3)]


def test_anchors_close_the_gap_to_full_training(worlds):
    """The unseen-model reference: area without, with 32, 100 and 400 labels, fully trained."""

    def mean_area(n):
        areas = [w.area_with(w.place(w.outcomes(n, s))) for w in worlds for s in range(4)]
        return float(np.mean(areas))

    without = np.mean([w.area(w.without.predict(w.test.x).quality, OTHERS) for w in worlds])
    full = np.mean([w.area(w.full.predict(w.test.x).quality, list(range(5))) for w in worlds])
    at_32, at_100, at_400 = (mean_area(n) for n in (32, 100, 400))
    assert full - without > 0.01
    assert at_32 < at_100 + 0.002 < at_400 + 0.004
    assert (at_400 - without) / (full - without) >= 0.6


def test_outcomes_of_the_peers_take_the_luck_of_the_draw_away(worlds):
    def error(peers):
        errors = []
        for world in worlds:
            base = world.without.predict(world.test.x)
            for seed in range(12):
                placed = world.place(world.outcomes(40, seed, peers=peers))
                found = placed.predict(world.test.x, base).quality[:, 0]
                errors.append(((found - world.test.chance[:, HIDDEN]) ** 2).mean())
        return np.mean(errors)

    assert error(True) < error(False) * 1.02


def test_peers_tell_that_the_anchors_are_easier_than_they_look(worlds):
    """Prompts unlike those of the training: every prediction is 0.25 too low."""

    def bias(peers):
        errors = []
        for world in worlds:
            outcomes = world.outcomes(100, peers=peers)
            base = world.without.predict(outcomes.x)
            base.quality[:] = np.clip(base.quality - 0.25, 0.02, 1)
            placed = place_model("new", outcomes, base=base, prior=world.prior)
            found = placed.predict(world.test.x, world.without.predict(world.test.x))
            errors.append((found.quality[:, 0] - world.test.chance[:, HIDDEN]).mean())
        return np.mean(errors)

    assert bias(False) > 0.1
    assert abs(bias(True)) < 0.06


def test_outcomes_of_no_peer_change_nothing(worlds):
    outcomes = worlds[0].outcomes(50)
    nobody = replace(outcomes, peer_quality=np.full((50, len(OTHERS)), np.nan))
    assert (worlds[0].place(nobody).ability == worlds[0].place(outcomes).ability).all()


def test_output_lengths_follow_the_anchors(worlds):
    world = worlds[0]
    outcomes = world.outcomes(200)
    longer = AnchorOutcomes(
        x=outcomes.x, quality=outcomes.quality, output_tokens=3 * outcomes.output_tokens
    )
    placed = world.place(longer)
    predictions = placed.predict(world.test.x, world.without.predict(world.test.x))
    tokens = 3 * world.test.output_tokens[:, HIDDEN]
    assert predictions.output_tokens.mean() == pytest.approx(tokens.mean(), rel=0.1)
    covered = (tokens <= predictions.output_tokens_upper[:, 0]).mean()
    assert 0.85 <= covered <= 0.96


def test_unknown_lengths_are_taken_from_the_others(worlds):
    world = worlds[0]
    outcomes = world.outcomes(50)
    silent = AnchorOutcomes(
        x=outcomes.x, quality=outcomes.quality, output_tokens=np.full(50, np.nan)
    )
    base = world.without.predict(world.test.x)
    predictions = world.place(silent).predict(world.test.x, base)
    assert predictions.output_tokens.mean() == pytest.approx(base.output_tokens.mean(), rel=0.02)
    assert (predictions.output_tokens_upper > predictions.output_tokens).all()


def test_the_interval_holds_the_true_mean_quality(worlds):
    held = 0
    for world in worlds:
        base = world.without.predict(world.train.x)
        calibration = CalibrationRows.collect(
            base,
            input_tokens=np.ones(2000),
            quality=world.train.quality[:, OTHERS],
            rng=np.random.default_rng(0),
        )
        outcomes = world.outcomes(100)
        mean, low, high = mean_quality_interval(
            outcomes,
            base=world.without.predict(outcomes.x),
            prior=world.prior,
            calibration=calibration,
            rng=np.random.default_rng(0),
            n_draws=100,
        )
        assert low < mean < high
        assert high - low < 0.25
        held += low <= world.train.chance[:, HIDDEN].mean() <= high
    assert held >= 2


def test_a_model_in_a_router_of_one_is_placed_too():
    world = make_world(0)
    train = draw(world, 300, seed=1)
    router = CarrotRouter(quality_head=HeadConfig(kind="linear")).fit(
        train.x, labels_of(train, [4]), rng=np.random.default_rng(0)
    )
    base = router.predict(train.x)
    placed = place_model(
        "new",
        AnchorOutcomes(x=train.x, quality=np.zeros(300), output_tokens=np.full(300, 10.0)),
        base=base,
        prior=AbilityPrior.of(base.quality),
    )
    assert placed.predict(train.x, base).quality.mean() < 0.05


def test_where_the_predictions_say_nothing_the_clusters_count(worlds):
    world = worlds[0]
    flat = world.without.predict(world.train.x)
    flat.quality[:] = 0.5 + np.random.default_rng(0).normal(0, 1e-3, flat.quality.shape)
    placed = place_model(
        "new",
        AnchorOutcomes(
            x=world.train.x[:400],
            quality=world.train.quality[:400, 0].astype(float),
            output_tokens=np.full(400, np.nan),
        ),
        base=flat.rows(np.arange(400)),
        prior=AbilityPrior.of(flat.quality),
    )
    assert placed.cluster_share > 0.3


def test_an_onboarded_model_survives_its_arrays(worlds):
    world = worlds[0]
    placed = world.place(world.outcomes(50))
    again = OnboardedModel.restore("new", placed.state())
    base = world.without.predict(world.test.x)
    one, two = placed.predict(world.test.x, base), again.predict(world.test.x, base)
    assert (one.quality == two.quality).all()
    assert (one.output_tokens_upper == two.output_tokens_upper).all()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ability", np.zeros(2)),
        ("covariance", np.eye(2)),
        ("cluster_quality", np.zeros(1)),
        ("scalars", np.zeros(2)),
        ("scalars", np.asarray([2.0, 0, 0])),
    ],
)
def test_arrays_that_do_not_fit_are_refused(worlds, name, value):
    state = worlds[0].place(worlds[0].outcomes(50)).state()
    with pytest.raises(ValueError, match="do not fit together"):
        OnboardedModel.restore("new", {**state, name: value})


def test_too_few_or_odd_qualities_are_refused(worlds):
    with pytest.raises(DataError, match="at least 10"):
        worlds[0].place(worlds[0].outcomes(5))
    outcomes = worlds[0].outcomes(20)
    outcomes.quality[0] = np.nan
    with pytest.raises(DataError, match="between 0 and 1"):
        worlds[0].place(outcomes)


def test_the_mean_of_a_group_comes_with_its_interval():
    values = np.asarray([1.0] * 15 + [0.0] * 5 + [1.0] * 4)
    found = bootstrap_means(values, ["x"] * 20 + ["y"] * 4, rng=np.random.default_rng(0))
    n, mean, low, high = found["x"]
    assert (n, mean) == (20, 0.75)
    assert 0.45 < low < 0.65
    assert 0.85 < high <= 1
    assert found["y"] == (4, 1.0, 1.0, 1.0)


def test_single_models_are_known_to_the_metrics(worlds):
    # The reference areas rest on these: the dearest model is the strongest of the world.
    _, quality = single_models(worlds[0].test.quality, worlds[0].test.cost_usd)
    assert quality.argmax() == 4


def test_an_onboarded_model_takes_part_in_comparisons(worlds):
    """Where strengths are known, an onboarded model stands where its quality puts it."""
    world = worlds[0]
    base = world.without.predict(world.test.x)
    compared = replace(base, strength=bounded_logit(base.quality).astype(np.float32) + 5)
    placed = world.place(world.outcomes(400)).predict(world.test.x, compared)
    joined = join(compared, [placed])
    assert joined.strength.shape == joined.quality.shape
    assert (joined.strength[:, :4] == compared.strength).all()
    expected = bounded_logit(joined.quality[:, 4:]) + 5
    assert joined.strength[:, 4:] == pytest.approx(expected, abs=1e-3)
