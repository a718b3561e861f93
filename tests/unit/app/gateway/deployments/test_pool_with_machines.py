import random

import pytest

from app.errors import UpstreamUnavailableError
from app.gateway.deployments.balance import CallSize
from app.gateway.deployments.machines import Home, HostedModel, Machine, MachineRule
from app.gateway.deployments.pool import DeploymentPool
from tests.support.providers import ScriptedProvider, deployment

LOAD_S = 10.0


class Rack:
    """Two machines with room for one of three models each, and one model that needs no loading."""

    def __init__(self, *, busy_at=2):
        self.now = 0.0
        models = {
            name: HostedModel(memory_gb=8.0, load_s=LOAD_S) for name in ("a", "b", "c", "both")
        }
        rule = MachineRule(memory_gb=8.0, busy_at=busy_at)
        machines = {name: Machine(rule, models) for name in ("one", "two")}
        places = {
            name: [deployment(name, ScriptedProvider(), upstream=each) for each in machines]
            for name in "abc"
        }
        places["api"] = [deployment("api", ScriptedProvider(), upstream="cloud")]
        places["both"] = [
            deployment("both", ScriptedProvider(), upstream=each) for each in ("one", "cloud")
        ]
        self.pool = DeploymentPool(
            places,
            clock=lambda: self.now,
            rng=random.Random(0),
            homes={
                (upstream, f"upstream-{name}"): Home(machine=machine, name=name, usd_per_hour=3.6)
                for upstream, machine in machines.items()
                for name in models
            },
        )

    def waits(self, *names):
        return {name: (each.seconds, each.usd) for name, each in self.pool.to_load(names).items()}

    def answer(self, name):
        """Have a call of a model wait and be answered; return where."""
        waits = self.waits(name)
        lease = self.pool.lease(name)
        self.now += waits.get(name, (0.0, 0.0))[0]
        lease.first_token()
        lease.succeeded()
        lease.release()
        return lease.deployment.upstream


def test_a_model_that_is_loaded_nowhere_is_waited_for_and_costs_its_machine():
    rack = Rack()
    assert rack.waits("a", "api", "unknown") == {"a": (LOAD_S, pytest.approx(0.01))}
    rack.pool.lease("a")
    rack.now += 4.0
    assert rack.waits("a") == {"a": (6.0, 0.0)}, "it is being loaded, and paid for"
    rack.now += 6.0
    assert rack.waits("a") == {}


def test_a_model_that_one_deployment_needs_not_load_is_not_waited_for():
    assert Rack().waits("both") == {}


def test_calls_go_to_the_machine_that_has_the_model_and_others_to_the_free_one():
    rack = Rack()
    first, second = rack.answer("a"), rack.answer("b")
    assert {first, second} == {"one", "two"}
    assert [rack.answer("a") for _ in range(5)] == [first] * 5
    assert [rack.answer("b") for _ in range(5)] == [second] * 5


def test_where_every_one_that_has_it_is_busy_another_machine_loads_it_too():
    rack = Rack()
    first = rack.answer("a")
    held = [rack.pool.lease("a") for _ in range(2)]
    assert {each.deployment.upstream for each in held} == {first}
    assert rack.pool.lease("a").deployment.upstream != first


def test_a_machine_that_fails_is_not_waited_for_and_not_asked():
    rack = Rack()
    first = rack.answer("a")
    for _ in range(5):
        lease = rack.pool.lease("a")
        lease.failed(UpstreamUnavailableError("down", status=503, sent=True))
        lease.release()
    assert rack.waits("a") == {"a": (LOAD_S, pytest.approx(0.01))}
    assert rack.pool.lease("a").deployment.upstream != first


SIZE = CallSize(input_tokens=100, output_tokens=50)


def test_latency_has_the_wait_and_learns_nothing_from_it():
    rack = Rack()
    before = rack.pool.times.latency("a", SIZE)
    assert before.ttft_s > LOAD_S
    lease = rack.pool.lease("a", size=SIZE)
    assert lease.forecast is None
    rack.now += 4.0
    assert rack.pool.times.latency("a", SIZE).ttft_s == pytest.approx(before.ttft_s - 4.0)
    rack.now += LOAD_S
    lease.first_token()
    lease.succeeded(output_tokens=50)
    lease.release()
    assert rack.pool.times.latency("a", SIZE).ttft_s == pytest.approx(before.ttft_s - LOAD_S)
    assert rack.pool.lease("a", size=SIZE).forecast is not None
