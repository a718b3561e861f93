"""What docs/benchmarks/everyday.md promises of the default, measured on prompts held out."""

from collections import Counter

import numpy as np
import pytest

from routers.data.graded import read_graded
from scripts.everyday_benchmark import PROMPTS, Default, measure, table
from tests.support.gateway import CONFIGS

FEWEST = 10


@pytest.fixture(scope="module")
def prompts():
    return read_graded(PROMPTS)


@pytest.fixture(scope="module")
def default() -> Default:
    return Default(CONFIGS / "gateway.yaml")


@pytest.fixture(scope="module")
def result(default, prompts):
    return measure(default, prompts)


def test_there_are_enough_prompts_to_tell(result):
    assert result["prompts"] >= 500
    assert result["trivial"] >= 100
    assert result["demanding"] >= 100


def test_the_gap_tells_demanding_from_trivial(result):
    assert result["auc"] >= 0.95
    # The length of a prompt would not do.
    assert result["auc_of_length"] < 0.75


def test_short_and_demanding_is_told_from_long_and_trivial(result):
    assert result["auc_short_demanding_long_trivial"] >= 0.90


def test_every_language_is_read(result, prompts):
    trivial = Counter(each.language for each in prompts if each.grade <= 2)
    demanding = Counter(each.language for each in prompts if each.grade >= 4)
    enough = [each for each in trivial if min(trivial[each], demanding[each]) >= FEWEST]
    assert len(enough) >= 8
    worse = {each: auc for each in enough if (auc := result["auc_by_language"][each]) < 0.90}
    assert worse == {}


def test_the_gap_is_wider_where_it_matters(result):
    assert result["gap_demanding"] >= result["gap_trivial"] + 0.20


def test_with_length_held_fixed_the_gap_still_follows_the_grade(result):
    assert result["rank_correlation_length_fixed"] >= 0.25


def test_trivial_prompts_cost_a_quarter_at_most(result):
    assert result["cost_trivial_over_demanding_at_half"] <= 0.25


def test_at_the_preset_trivial_prompts_cost_a_quarter_at_most_too(result):
    assert result["cost_trivial_over_demanding_at_balanced"] <= 0.25
    served = result["served"]["0.8"]
    cheap = sum(served["trivial"][model] for model in ("sim-nano", "sim-small", "sim-medium"))
    good = sum(served["demanding"][model] for model in ("sim-large", "sim-frontier"))
    assert cheap > 0.5
    assert good > 0.95


def test_what_stands_around_a_prompt_seldom_changes_the_choice(result):
    for at_half, at_balanced in (
        result["invariance"][each] for each in ("padding", "typing errors")
    ):
        assert at_half >= 0.90
        assert at_balanced >= 0.90
    assert min(result["invariance"]["system prompts"]) >= 0.95
    assert min(result["invariance"]["wrappers"]) >= 0.95


def test_families_of_paddings_that_nobody_listed_are_told_apart(result):
    unseen = [name for name in result["invariance"] if name.startswith("unseen: ")]
    assert len(unseen) >= 3
    assert min(result["invariance"]["unseen padding"]) >= 0.65


def test_paraphrases_are_measured(result):
    assert result["paraphrases"] >= 150
    assert min(result["invariance"]["paraphrase"]) >= 0.60


def test_the_knob_moves_the_choice(result):
    assert result["knob_changes_choice"] >= 0.80


def test_the_more_it_may_cost_the_better_the_choice(default, prompts):
    quality, cost = default.predict([each.conversation for each in prompts[:200]])
    rows = np.arange(len(quality))
    chosen = [default.choices(quality, cost, t) for t in (0.0, 0.25, 0.5, 0.75, 1.0)]
    reached = [quality[rows, columns].mean() for columns in chosen]
    spent = [cost[rows, columns].mean() for columns in chosen]
    assert (np.diff(reached) >= 0).all()
    assert (np.diff(spent) >= 0).all()
    np.testing.assert_allclose(quality[rows, chosen[-1]], quality.max(axis=1), atol=1e-6)


def test_the_page_shows_every_aim(result):
    text = table(result)
    for aim in ("≥ .95", "≥ .90", ".20 wider", "≤ .25", "≥ 80 %", "≥ 90 %"):
        assert aim in text
