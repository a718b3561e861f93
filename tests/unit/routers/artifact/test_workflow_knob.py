import json

import numpy as np
import pytest

from routers.artifact.save import save_with_workflow
from routers.artifact.workflow_knob import MULTIPLES, WorkflowKnob
from routers.errors import ArtifactError
from tests.support.workflow_examples import example

DEAR_USD = 0.02
SHARE = np.append(MULTIPLES[:-1] / (0.5 + MULTIPLES[:-1]), 1.0)


def test_a_position_promises_its_share_of_the_gap():
    knob = WorkflowKnob.fit(MULTIPLES, 0.5 + 0.3 * SHARE)
    for t in np.linspace(0, 1, 21):
        multiple = knob.usd_per_quality(t, DEAR_USD) / DEAR_USD
        assert multiple / (0.5 + multiple) == pytest.approx(t, abs=0.05)


def test_the_ends_are_the_cheapest_and_the_least_rate_that_gains_everything():
    knob = WorkflowKnob.fit(MULTIPLES, 0.5 + 0.3 * np.minimum(MULTIPLES, 1.0))
    assert knob.usd_per_quality(0.0, DEAR_USD) == 0
    assert 0.7 * DEAR_USD < knob.usd_per_quality(1.0, DEAR_USD) < 1.5 * DEAR_USD


def test_rates_follow_prices():
    knob = WorkflowKnob.fit(MULTIPLES, 0.5 + 0.3 * SHARE)
    assert knob.usd_per_quality(0.5, 2 * DEAR_USD) == 2 * knob.usd_per_quality(0.5, DEAR_USD)


def test_noise_never_turns_the_knob_back():
    rng = np.random.default_rng(0)
    knob = WorkflowKnob.fit(MULTIPLES, 0.5 + 0.2 * SHARE + rng.normal(0, 0.05, len(SHARE)))
    found = [knob.usd_per_quality(t, DEAR_USD) for t in np.linspace(0, 1, 101)]
    assert found == sorted(found)
    assert np.isfinite(found).all()


def test_without_a_gap_the_knob_still_leads_from_cheap_to_dear():
    knob = WorkflowKnob.fit(MULTIPLES, np.full(len(SHARE), 0.7))
    found = [knob.usd_per_quality(t, DEAR_USD) for t in (0.1, 0.5, 0.9)]
    assert found[0] < found[1] < found[2]


def test_it_is_read_as_it_was_written():
    knob = WorkflowKnob.fit(MULTIPLES, SHARE)
    assert WorkflowKnob.from_table(knob.to_table()) == knob


@pytest.mark.parametrize(
    "table",
    [[], [[0, 1]], [[0, 1], [1]], [[0, 1], [0.5, 0.6], [1, 0.5]], [[0, 0], [1, 1]], [[0, "x"]]],
)
def test_what_is_no_knob_is_refused(table):
    with pytest.raises(ArtifactError, match="the knob of its workflow"):
        WorkflowKnob.from_table(table)


def test_the_manifest_says_what_is_to_be_known_of_a_fitted_workflow(trained_artifact, tmp_path):
    workflow = example("automix")
    save_with_workflow(
        tmp_path / "new", trained_artifact, workflow, name="automix", record={}, created_at=""
    )
    noted = json.loads((tmp_path / "new/manifest.json").read_text())["workflow"]["notes"]
    assert noted == workflow.notes()
    assert noted["small"] == "nano"
