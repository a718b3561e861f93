import random
from collections import Counter

import pytest

from app.errors import (
    UpstreamMisconfiguredError,
    UpstreamRejectedError,
    UpstreamThrottledError,
    UpstreamTimeoutError,
    UpstreamUnavailableError,
)
from app.gateway.deployments.pool import MAX_THROTTLE_S, DeploymentPool
from tests.support.providers import ScriptedProvider, deployment

DOWN = UpstreamUnavailableError("down", status=503)


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


class Pool(DeploymentPool):
    """Model `a` in three places of weight 1, 1 and 2, model `b` in one."""

    def __init__(self, *, failures=1, weights=(1.0, 1.0, 2.0)):
        self.time = Clock()
        self.changes = []
        places = [
            deployment("a", ScriptedProvider(), upstream=name, weight=weight)
            for name, weight in zip("xyz", weights, strict=True)
        ]
        super().__init__(
            {"a": places, "b": [deployment("b", ScriptedProvider())]},
            clock=self.time,
            failures=failures,
            cooldown_s=10,
            rng=random.Random(7),
            on_breaker_change=lambda each, state: self.changes.append((each.upstream, state.value)),
        )

    def slot(self, upstream):
        return next(slot for slot in self.slots() if slot.deployment.upstream == upstream)

    def break_(self, *upstreams):
        for upstream in upstreams:
            lease = self.lease("a", avoid=[s for s in self.slots() if s is not self.slot(upstream)])
            assert lease.deployment.upstream == upstream
            lease.failed(DOWN)
            lease.release()

    def taken(self, n):
        return Counter(self.lease("a").deployment.upstream for _ in range(n))


def test_calls_that_run_at_the_same_time_are_spread_by_weight():
    assert Pool().taken(40) == {"x": 10, "y": 10, "z": 20}


def test_calls_one_after_another_are_spread_by_weight_too():
    pool = Pool()
    taken = Counter()
    for _ in range(4000):
        lease = pool.lease("a")
        taken[lease.deployment.upstream] += 1
        lease.release()
    assert taken["x"] == pytest.approx(1000, rel=0.1)
    assert taken["y"] == pytest.approx(1000, rel=0.1)
    assert taken["z"] == pytest.approx(2000, rel=0.1)


def test_the_busier_one_waits_its_turn():
    pool = Pool(weights=(1, 1, 1))
    first = [pool.lease("a") for _ in range(3)]
    assert {lease.deployment.upstream for lease in first} == {"x", "y", "z"}
    first[1].release()
    assert pool.lease("a").deployment is first[1].deployment


def test_releasing_twice_counts_once():
    pool = Pool()
    lease = pool.lease("b")
    lease.release()
    lease.release()
    assert [slot.outstanding for slot in pool.slots()] == [0, 0, 0, 0]


def test_a_broken_deployment_is_passed_over_and_its_model_stays_healthy():
    pool = Pool()
    pool.break_("z")
    assert pool.taken(20) == {"x": 10, "y": 10}
    assert pool.unhealthy() == frozenset()


def test_a_model_is_unhealthy_when_all_its_deployments_are():
    pool = Pool()
    pool.break_("x", "y", "z")
    assert pool.unhealthy() == {"a"}
    assert list(pool.ordered(["a", "b"])) == ["b", "a"]
    pool.time.now += 10
    assert pool.unhealthy() == frozenset()


def test_the_last_candidate_is_never_kept_from_being_tried():
    pool = Pool()
    pool.break_("x", "y", "z")
    assert pool.lease("a").deployment.spec.model_id == "a"
    pool.lease("b").failed(DOWN)
    assert list(pool.ordered(["b"])) == ["b"]
    assert pool.lease("b").deployment.spec.model_id == "b"


def test_a_half_open_deployment_gets_exactly_one_probe_at_a_time():
    pool = Pool()
    pool.lease("b").failed(DOWN)
    pool.time.now += 10
    assert pool.unhealthy() == frozenset()
    probe = pool.lease("b")
    assert probe.is_probe
    assert pool.unhealthy() == {"b"}
    assert not pool.lease("b").is_probe
    probe.succeeded()
    assert pool.unhealthy() == frozenset()


def test_every_change_of_a_circuit_is_told():
    pool = Pool()
    pool.lease("b").failed(DOWN)
    pool.time.now += 10
    pool.lease("b").failed(DOWN)
    pool.time.now += 10
    pool.lease("b").succeeded()
    assert [state for _, state in pool.changes] == [
        "open",
        "half_open",
        "open",
        "half_open",
        "closed",
    ]


def test_a_probe_whose_client_leaves_makes_room_for_another():
    pool = Pool()
    pool.lease("b").failed(DOWN)
    pool.time.now += 10
    pool.lease("b").release()
    assert pool.unhealthy() == frozenset()
    assert pool.lease("b").is_probe


@pytest.mark.parametrize(
    ("error", "counts"),
    [
        (DOWN, True),
        (UpstreamTimeoutError("slow"), True),
        (UpstreamMisconfiguredError("401", status=401), True),
        (UpstreamThrottledError("429", status=429), False),
        (UpstreamRejectedError("400", status=400), False),
    ],
)
def test_only_faults_of_the_provider_count(error, counts):
    pool = Pool()
    pool.lease("b").failed(error)
    assert pool.unhealthy() == ({"b"} if counts else frozenset())


def test_a_throttled_deployment_is_left_alone_until_then_and_is_not_ill():
    pool = Pool()
    lease = pool.lease("b")
    lease.failed(UpstreamThrottledError("429", status=429, retry_after_s=7))
    assert lease.slot.circuit.state == "closed"
    assert pool.unhealthy() == {"b"}
    pool.time.now += 7
    assert pool.unhealthy() == frozenset()
    assert pool.changes == []


def test_a_deployment_that_asks_for_a_day_is_asked_again_sooner():
    pool = Pool()
    pool.lease("b").failed(UpstreamThrottledError("429", status=429, retry_after_s=86_400))
    pool.time.now += MAX_THROTTLE_S
    assert pool.unhealthy() == frozenset()


def test_those_that_were_tried_come_last_but_come():
    pool = Pool()
    tried = [pool.slot("x"), pool.slot("z")]
    assert pool.offers_another("a", avoid=tried)
    assert pool.lease("a", avoid=tried).deployment.upstream == "y"
    pool.break_("y")
    assert not pool.offers_another("a", avoid=tried)
    assert pool.lease("a", avoid=tried).deployment.upstream in "xz"
    assert not pool.offers_another("b", avoid=[])


def test_health_costs_nothing_while_all_is_well():
    pool = Pool(failures=2)
    pool.lease("b").failed(DOWN)
    pool.time = pool.clock = None  # nobody asks for the time
    assert pool.unhealthy() == frozenset()
