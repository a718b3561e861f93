import random
from collections import Counter
from dataclasses import replace

import pytest

from app.errors import UpstreamRejectedError, UpstreamThrottledError, UpstreamUnavailableError
from app.gateway.deployments.balance import News
from app.gateway.deployments.orchestration import Orchestration
from app.gateway.deployments.orchestrator import Mode, OrchestrationRule
from app.gateway.deployments.pool import DeploymentPool
from tests.support.providers import ScriptedProvider, deployment

PRICES = {"a": 1.0, "b": 2.0}


class Rack:
    """Two deployments, the second of twice the price, and a clock that a test moves."""

    def __init__(self, *, max_rps=10.0, **rule):
        self.now = 0.0
        self.balance = Orchestration(
            random.Random(0), OrchestrationRule(poll_s=10.0, cycle_s=100.0, **rule)
        )
        places = [
            replace(
                deployment("m", ScriptedProvider(), upstream=name, max_rps=max_rps),
                usd_per_hour=usd_per_hour,
            )
            for name, usd_per_hour in PRICES.items()
        ]
        self.pool = DeploymentPool(
            {"m": places},
            clock=lambda: self.now,
            rng=random.Random(1),
            balances={"m": self.balance},
        )

    def calls(self, n, *, each_s, takes_s=0.0, error=None):
        """Have so many calls begin one after the other; return who took them."""
        taken = Counter()
        for _ in range(n):
            lease = self.pool.lease("m")
            if error is None:
                self.now += takes_s
                lease.first_token()
                lease.succeeded()
            else:
                lease.failed(error)
            lease.release()
            taken[lease.deployment.upstream] += 1
            self.now += each_s
        return taken

    def stands(self):
        return self.pool.orchestrated()["m"]


def test_cost_gives_the_cheaper_one_the_published_square():
    assert Rack().calls(100, each_s=0.2) == {"a": 80, "b": 20}


def test_a_deployment_beyond_what_it_may_be_used_is_passed_over():
    rack = Rack(threshold_rps=1.0)
    rack.calls(100, each_s=0.1)
    # 9 calls a second, of which a would get 7.2: it takes 8 (80 % of 10) before b has more.
    taken = rack.calls(180, each_s=1 / 18)
    assert taken["a"] < 0.6 * 180 < 0.8 * 180


@pytest.mark.parametrize(
    ("error", "mode"),
    [
        (UpstreamThrottledError("full", status=429), Mode.CAPACITY),
        (UpstreamUnavailableError("insufficient capacity", status=503), Mode.CAPACITY),
        (UpstreamRejectedError("no such field", status=400), Mode.COST),
    ],
    ids=["429", "503", "400"],
)
def test_one_call_turned_away_changes_the_mode_at_the_next_look(error, mode):
    rack = Rack()
    rack.calls(1, each_s=0.0, error=error)
    assert rack.stands().mode is Mode.COST
    rack.now += 10.0
    rack.calls(1, each_s=0.0)
    assert rack.stands().mode is mode


def test_slow_answers_change_the_mode_and_are_forgotten_where_none_come():
    rack = Rack()
    rack.calls(10, each_s=0.0, takes_s=1.5)
    assert rack.stands().mode is Mode.CAPACITY
    assert rack.stands().units[0].broken
    for _ in range(2):
        rack.now += 10.0
        rack.stands()
    assert not rack.stands().units[0].broken


def test_where_capacity_decides_turns_are_even():
    rack = Rack()
    rack.balance.lacks_capacity()
    rack.now += 10.0
    assert rack.calls(100, each_s=0.2) == {"a": 50, "b": 50}
    assert [each.weight for each in rack.stands().units] == [0.5, 0.5]


def test_what_other_gateways_begin_counts_as_load():
    rack = Rack()
    rack.balance.heard(News(at=0.0, outstanding={}, begun_per_s=100.0))
    rack.now += 10.0
    assert rack.stands().mode is Mode.CAPACITY


def test_looking_at_it_needs_no_calls():
    rack = Rack()
    rack.balance.lacks_capacity()
    rack.now += 10.0
    assert rack.stands().mode is Mode.CAPACITY
    for _ in range(30):
        rack.now += 10.0
        rack.stands()
    assert rack.stands().mode is Mode.COST
    assert rack.stands().n_switches == 2
