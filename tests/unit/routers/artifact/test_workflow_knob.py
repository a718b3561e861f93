import numpy as np
import pytest

from routers.artifact.workflow_knob import WorkflowKnob
from routers.errors import ArtifactError

AT = np.linspace(0, 1, 11)


def test_a_share_is_had_at_the_least_position_that_recovers_it():
    # All of the gap is recovered at the first half of single choice's knob.
    knob = WorkflowKnob.fit(AT, 0.6 + 0.2 * np.minimum(2 * AT, 1))
    assert [knob.position(t) for t in (0, 0.5, 1)] == pytest.approx([0, 0.25, 1])
    assert knob.position(0.999) == pytest.approx(0.5, abs=0.01)


def test_what_a_position_promises_is_kept():
    quality = 0.5 + 0.3 * AT**3
    knob = WorkflowKnob.fit(AT, quality)
    for t in np.linspace(0, 1, 21):
        kept = (np.interp(knob.position(t), AT, quality) - 0.5) / 0.3
        assert kept == pytest.approx(t, abs=1e-9)


def test_noise_never_turns_the_knob_back():
    rng = np.random.default_rng(0)
    knob = WorkflowKnob.fit(AT, 0.5 + 0.2 * AT + rng.normal(0, 0.05, len(AT)))
    found = [knob.position(t) for t in np.linspace(0, 1, 101)]
    assert found == sorted(found)


def test_without_a_gap_the_knob_stays_as_it_is():
    knob = WorkflowKnob.fit(AT, np.full(len(AT), 0.7))
    assert [knob.position(t) for t in (0, 0.3, 1)] == [0, 0.3, 1]


def test_it_is_read_as_it_was_written():
    knob = WorkflowKnob.fit(AT, AT**2)
    assert WorkflowKnob.from_table(knob.to_table()) == knob


@pytest.mark.parametrize(
    "table",
    [
        [],
        [[0, 0]],
        [[0, 0], [1]],
        [[0, 0], [0.5, 0.6], [1, 0.5]],
        [[0, 0], [0, 0.5], [1, 1]],
        [[0, -0.1], [1, 1]],
        [[0, 0], [1, 1.1]],
        [[0.1, 0], [1, 1]],
        [[0, "x"], [1, 1]],
    ],
)
def test_what_is_no_knob_is_refused(table):
    with pytest.raises(ArtifactError, match="knob of a workflow"):
        WorkflowKnob.from_table(table)
