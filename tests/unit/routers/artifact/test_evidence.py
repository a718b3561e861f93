import numpy as np
import pytest

from routers.artifact.evidence import FEWEST_OUTCOMES, Evidence, evidence_of_models

PRIOR = {"training": {"evidence": "prior"}}
TRAINED = {"training": {}}


def realised(*known, n_rows=FEWEST_OUTCOMES):
    """One column per number: so many outcomes are known of it."""
    columns = [np.where(np.arange(n_rows) < n, 1.0, np.nan) for n in known]
    return np.stack(columns, axis=1).astype(np.float32)


def test_a_router_that_was_trained_rests_on_outcomes():
    found = evidence_of_models(TRAINED, realised=realised(30, 0), n_onboarded=0)
    assert found == (Evidence.OUTCOMES, Evidence.OUTCOMES)


def test_a_router_from_published_results_says_so_of_every_model():
    found = evidence_of_models(PRIOR, realised=realised(0, 0), n_onboarded=0)
    assert found == (Evidence.PRIOR, Evidence.PRIOR)


@pytest.mark.parametrize(
    ("manifest", "base"), [(PRIOR, Evidence.PRIOR), (TRAINED, Evidence.OUTCOMES)]
)
def test_onboarded_models_are_known_by_their_anchors(manifest, base):
    found = evidence_of_models(manifest, realised=realised(0, 0, 0), n_onboarded=1)
    assert found == (base, base, Evidence.ANCHORS)


def test_recalibration_makes_outcomes_of_what_it_has_seen_enough_of():
    recalibrated = PRIOR | {"recalibrated": {}}
    known = realised(FEWEST_OUTCOMES, FEWEST_OUTCOMES - 1, 0, FEWEST_OUTCOMES)
    found = evidence_of_models(recalibrated, realised=known, n_onboarded=2)
    assert found == (Evidence.OUTCOMES, Evidence.PRIOR, Evidence.ANCHORS, Evidence.OUTCOMES)
