import numpy as np
import pytest

from routers.decision.decide import choose
from routers.evaluation.baselines import oracle
from routers.evaluation.frame import Frame, Rows, sweep
from routers.evaluation.metrics import sweep_rates
from routers.types import Conversation
from tests.support.worlds import draw, make_world

MODELS = tuple("abcde")


def rows_of(sample) -> Rows:
    n = len(sample.quality)
    return Rows(
        models=MODELS,
        conversations=tuple(Conversation.of(f"query {i}") for i in range(n)),
        groups=("",) * n,
        input_tokens=np.ones(n),
        quality=sample.quality.astype(float),
        output_tokens=sample.output_tokens.astype(float),
        cost_usd=sample.cost_usd,
    )


@pytest.fixture(scope="module")
def frame():
    return Frame(rows=rows_of(draw(make_world(0), 800, seed=200)), n_draws=200, seed=0)


def every(frame):
    return np.tile(np.arange(5)[:, None], (1, len(frame.rows)))


def test_a_sweep_keeps_every_different_choice_once(frame):
    quality, cost = frame.rows.quality, frame.rows.cost_usd
    picks = sweep(quality, cost)
    assert (picks[1:] != picks[:-1]).any(axis=1).all()
    full = {tuple(choose(quality, cost, float(rate))) for rate in sweep_rates(quality, cost)}
    assert full == {tuple(row) for row in picks}


def test_the_fair_area_of_noise_is_not_above_mixing(frame):
    zero, _ = frame.fair_area(every(frame))
    noise, flattered = [], []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        predicted = frame.rows.quality[rng.permutation(len(frame.rows))]
        predicted = 0.05 * predicted + frame.rows.quality.mean(axis=0)
        # Knowing what single answers cost would be worth something, labels or not.
        cost = np.broadcast_to(frame.rows.cost_usd.mean(axis=0), predicted.shape)
        picks = sweep(predicted, cost)
        noise.append(frame.fair_area(picks)[0] - zero)
        flattered.append(frame.aiq(picks) - frame.aiq(every(frame)))
    assert np.mean(noise) < 0.002
    # Without the halves the same noise looks better than it is.
    assert np.mean(flattered) > np.mean(noise) + 0.002


def test_the_fair_area_finds_what_is_there(frame):
    zero = frame.fair_area(every(frame))
    best = frame.fair_area(oracle(frame.rows).picks)
    assert (best[1] - zero[1]).min() > 0.1
    assert best[0] == pytest.approx(frame.aiq(oracle(frame.rows).picks), abs=0.01)


def test_rows_of_one_prompt_are_drawn_together():
    sample = draw(make_world(0), 90, seed=1)
    rows = rows_of(sample)
    asked = tuple(Conversation.of(f"query {i // 3}" + "!" * (i % 3)) for i in range(90))
    thrice = Rows(**{name: getattr(rows, name) for name in Rows.__slots__} | {
        "conversations": asked
    })  # fmt: skip
    weights = Frame(rows=thrice, n_draws=200).weights
    assert np.array_equal(weights[:, ::3], weights[:, 1::3])
    assert np.array_equal(weights[:, ::3], weights[:, 2::3])
    assert (weights.sum(axis=1) == 90).all()
    # Thirty prompts tell less than ninety.
    alone = Frame(rows=rows, n_draws=200).weights
    value = np.repeat(np.random.default_rng(0).normal(0, 1, 30), 3)
    assert (weights @ value).std() > 1.3 * (alone @ value).std()


def test_memory_of_draws_is_bounded():
    sample = draw(make_world(0), 200, seed=1)
    assert len(Frame(rows=rows_of(sample), n_draws=1000).weights) == 1000


def test_equal_costs_leave_the_dearest_quality():
    sample = draw(make_world(0), 60, seed=1)
    rows = rows_of(sample)
    flat = Rows(**{name: getattr(rows, name) for name in Rows.__slots__} | {
        "cost_usd": np.ones_like(rows.cost_usd)
    })  # fmt: skip
    frame = Frame(rows=flat, n_draws=100)
    value, draws = frame.fair_area(every(frame)[:1])
    assert value == pytest.approx(rows.quality[:, 0].mean(), abs=0.05)
    assert np.isfinite(draws).all()
