"""What traces of rounds are worth, and which setting is chosen by it."""

import random

import pytest

from routers.answers.references import exact_match, f1
from routers.workflows._round_rewards import (
    CostWindow,
    Setting,
    choose,
    format_reward,
    reward,
)


def window(costs):
    made = CostWindow()
    for cost in costs:
        made.add(cost)
    return made


def test_form_comes_first_and_voids_all_else():
    assert format_reward("<think>a</think><answer>b</answer>", ("m",)) == 0
    assert format_reward("<answer>b</answer>", ("m",)) == -1
    assert reward(-1.0, 1.0, 1.0, alpha=0.5) == -1
    assert reward(0.0, 1.0, 0.5, alpha=0.6) == pytest.approx(0.4 + 0.3)
    assert reward(0.0, 0.0, 1.0, alpha=0.6) == 0


def test_outcomes():
    assert exact_match("The  Eiffel Tower.", ["eiffel tower"]) == 1
    assert exact_match("Paris", ["Rome", "Oslo"]) == 0
    assert f1("in Paris, France", ["Paris"]) == pytest.approx(0.5)


def test_cost_stands_between_the_percentiles_of_the_window_by_its_root():
    made = window(float(i * i) for i in range(101))  # roots 0 to 100: 5 and 95
    assert made.reward(0.0) == 1
    assert made.reward(1e9) == 0
    assert made.reward(50.0**2) == pytest.approx(0.5)
    assert made.reward(27.5**2) == pytest.approx(0.75)
    rewards = [made.reward(cost) for cost in range(0, 12_000, 100)]
    assert rewards == sorted(rewards, reverse=True)


def test_where_there_is_nothing_to_go_by_it_is_a_half():
    assert CostWindow().reward(1.0) == 0.5
    assert window([2.0] * 10).reward(2.0) == 0.5


def test_the_window_forgets():
    made = CostWindow(size=10)
    for cost in [1e6] * 50 + [float(i) for i in range(10)]:
        made.add(cost)
    assert made.reward(9.0) == 0


def test_a_larger_alpha_never_chooses_a_dearer_setting():
    rng = random.Random(1)
    for _ in range(200):
        settings = {
            str(i): Setting(outcome=rng.random(), cost=rng.choice([0.0, rng.random(), 5.0]))
            for i in range(rng.randrange(1, 8))
        }
        made = window(rng.random() * 2 for _ in range(50))
        costs = [settings[choose(settings, made, alpha=a / 10)].cost for a in range(11)]
        assert costs == sorted(costs, reverse=True)
