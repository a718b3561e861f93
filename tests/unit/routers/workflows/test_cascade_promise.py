"""What a position of the knob promises of cascade routing holds on queries that it has not seen."""

from functools import partial

import numpy as np
import pytest

from routers.evaluation.scene import Position
from routers.training.workflow_rates import measure
from routers.workflows.cascade_routing import CascadeRouting
from tests.support.workflow_examples import context

SHOWN = np.linspace(0, 1, 21)


def positions(workflow, told, rates):
    quality = told.predictions.quality.astype(np.float64)
    found = workflow.rehearse(told.answers, quality, told.predicted_cost_usd, rates)
    nothing = np.full(len(told.labels), np.nan)
    return [
        Position(
            calls=calls,
            served=served,
            cost_usd=np.asarray(
                [told.cost_usd[row, list(each)].sum() for row, each in enumerate(calls)]
            ),
            latency_s=nothing,
            latency_sum_s=nothing,
            own_quality=nothing,
        )
        for calls, served in zip(found.calls, found.served, strict=True)
    ]


def realised(workflow, told, rates):
    """Return mean quality and cost at each rate."""
    each = positions(workflow, told, rates)
    worth = [position.quality(told.labels.quality).mean() for position in each]
    return np.asarray(worth), np.asarray([position.cost_usd.mean() for position in each])


@pytest.fixture(scope="module")
def told():
    """Return what was promised of positions, and what came of them, as quality and cost."""
    workflow = CascadeRouting().fit(context(400))
    known, fresh = context(2500, seed=1), context(2500, seed=3)
    dear_usd = float(np.median(known.predicted_cost_usd.max(axis=1)))
    measured = measure(partial(positions, workflow, known), known.labels.quality, dear_usd)
    rates = [measured.knob.usd_per_quality(t, dear_usd) for t in SHOWN]
    return realised(workflow, known, rates), realised(workflow, fresh, rates)


def test_a_position_recovers_its_share_of_the_gap(told):
    _, (quality, _) = told
    share = (quality - quality[0]) / (quality[-1] - quality[0])
    assert np.abs(share - SHOWN).max() < 0.05


def test_a_position_costs_what_it_did_where_it_was_calibrated(told):
    (_, promised), (_, cost) = told
    assert np.abs(cost / promised - 1).max() < 0.05
