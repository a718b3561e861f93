"""A gateway whose policy is a cascade: a server of one's own drafts, another one judges."""

import httpx
import pytest

from tests.support.cascading import CHEAP, DEAR, DEAREST, JUDGE, LOGPROBS, drafted
from tests.support.scoring_server import ScoringServer


@pytest.fixture
def drafter():
    with ScoringServer() as server:
        server.answer = drafted()
        yield server


@pytest.fixture
def judge():
    with ScoringServer() as server:
        yield server


def changes_for(drafter_url, judge_url, acceptor, *, stages, policy=None):
    return {
        "upstreams.drafter": {"base_url": f"{drafter_url}/v1", "retries": 0},
        "upstreams.judge": {"base_url": f"{judge_url}/v1", "retries": 0},
        "upstreams.stub.retries": 0,
        f"models.{CHEAP}.upstream": "drafter",
        f"models.{JUDGE}.upstream": "judge",
        "routers": {"carrot": {"artifact": "default"}},
        "policies": {
            "default": {
                "router": "carrot",
                "candidates": [CHEAP, DEAR, DEAREST],
                "default_model": DEAR,
                "router_deadline_s": 20.0,
                "workflow": {"kind": "cascade", "stages": list(stages), "acceptor": acceptor},
                **(policy or {}),
            }
        },
    }


class Started:
    """A gateway that runs, and an HTTP client for it."""

    def __init__(self, gateway):
        self.gateway = gateway
        self.client = httpx.Client(base_url=gateway.url, trust_env=False, timeout=30)


@pytest.fixture
def start_gateway(drafter, judge, fresh_gateway):
    """Start a gateway with one cascade; return it and a client."""
    started = []

    def start(acceptor=LOGPROBS, *, stages=(CHEAP, DEAR), policy=None, **changes):
        config = changes_for(drafter.url, judge.url, acceptor, stages=stages, policy=policy)
        started.append(Started(fresh_gateway({**config, **changes})))
        return started[-1]

    yield start
    for each in started:
        each.client.close()


@pytest.fixture
def start(start_gateway):
    """Start a gateway with one cascade and return an HTTP client for it."""
    return lambda *options, **changes: start_gateway(*options, **changes).client
