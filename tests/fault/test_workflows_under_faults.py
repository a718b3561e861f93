"""What holds for every request that takes several calls, however these fail."""

import pytest

from loadtest.faulty_models import Fault
from loadtest.workflow_faults import run

N_REQUESTS = 150
"""`python -m loadtest.workflow_faults` sends ten thousand."""


@pytest.fixture(scope="module", params=["escalate", "serve"])
def findings(request, artifacts, tmp_path_factory):
    """Have half of the calls fail; what stalls everybody is for the long run."""
    longer = request.param
    return run(
        tmp_path_factory.mktemp("faults"),
        n_requests=N_REQUESTS,
        seed=20261130 if longer == "serve" else 3,
        share=0.5,
        at_once=8,
        artifacts=artifacts,
        longer=longer,
        without=frozenset({Fault.STALLED, Fault.STALLED_MIDWAY}),
    )


def test_no_invariant_is_broken(findings):
    assert dict(findings.broken) == {}, findings.told()


def test_there_was_something_to_tell_by(findings):
    assert findings.counts["requests"] >= N_REQUESTS
    assert findings.counts["of these with a fault"] > N_REQUESTS / 4
    assert findings.counts["ended in an answer"] > N_REQUESTS / 10
    assert findings.counts["ended in a stream"] > N_REQUESTS / 10
    least = {
        "headers and rows tell the same": 80,
        "what was told is booked": 80,
        "a request costs what its calls cost": 80,
        "keys paid what was booked": 3,
        "nothing is left reserved": 3,
    }
    assert {what: findings.checked[what] >= n for what, n in least.items()} == dict.fromkeys(
        least, True
    )
