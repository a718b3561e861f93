"""Clocks that are set while the gateway serves, on real sockets: windows hold all the same."""

from collections import Counter

import httpx
import pytest

from app.stores.memory import MemoryStore
from tests.support.gateway import GatewayThread, stub_config
from tests.support.stub import StubThread

JUMPS_S = [3600.0, -3600.0, 86_400.0, -86_400.0 * 400, 1e9]


class Clock:
    """Stands still until it is set."""

    def __init__(self, now):
        self.now = now

    def __call__(self):
        return self.now


class Served:
    """A gateway whose clocks a test sets: the wall's, and those that nobody sets."""

    def __init__(self, client, running, wall, steady):
        self.client, self.url, self.app = client, running.url, running.app
        self.wall, self.steady = wall, steady

    def ask(self, model="both"):
        return self.client.post(
            f"{self.url}/v1/chat/completions",
            json={"model": model, "messages": [{"role": "user", "content": "Hi"}]},
        )

    def places(self, n):
        return Counter(self.ask().headers["x-route-deployment"] for _ in range(n))


@pytest.fixture
def serve(stub, artifacts, tmp_path):
    """Start a gateway on clocks of its own, with a model in two places.

    Calls that come one after the other are drawn by weight: `first` gets all that it takes.
    """
    opened = []

    def start(changes=None, *, first=None):
        wall, steady = Clock(1.7e9), Clock(1000.0)
        places = [
            {
                "upstream": "stub",
                "upstream_model": "sim-nano",
                **({"weight": 1e4, **first} if first else {}),
            },
            {"upstream": "stub", "upstream_model": "sim-small"},
        ]
        config = stub_config(
            tmp_path,
            stub.origin,
            changes={
                "models.both": {"deployments": places, "spec": "llama-3.1-8b-instruct"},
                **(changes or {}),
            },
        )
        thread = GatewayThread(
            config,
            artifacts=artifacts,
            clock=steady,
            store=MemoryStore(None, clock=wall, steady=steady),
        )
        client = httpx.Client(timeout=30, trust_env=False)
        opened.append((thread, client))
        return Served(client, thread.__enter__(), wall, steady)

    yield start
    for thread, client in opened:
        client.close()
        thread.__exit__(None, None, None)


@pytest.mark.parametrize("jump_s", JUMPS_S)
def test_a_wall_clock_that_is_set_neither_opens_a_window_nor_keeps_it_shut(serve, jump_s):
    served = serve({"allowances.gateway.limits": {"requests_per_minute": 3}})
    assert [served.ask().status_code for _ in range(4)] == [200, 200, 200, 429]
    served.wall.now += jump_s
    assert served.ask().status_code == 429
    served.steady.now += 20.5  # one third of a minute: one more
    assert [served.ask().status_code for _ in range(2)] == [200, 429]


@pytest.mark.parametrize("jump_s", JUMPS_S)
def test_what_a_deployment_takes_is_counted_by_a_clock_that_nobody_sets(serve, jump_s):
    served = serve(first={"requests_per_minute": 6})
    assert served.places(40)["stub/sim-nano"] == 6
    served.wall.now += jump_s
    assert served.places(10)["stub/sim-nano"] == 0
    served.steady.now += 10.0
    assert served.places(10)["stub/sim-nano"] == 1


def test_a_machine_that_slept_has_one_burst_and_not_all_that_it_slept_through(serve):
    served = serve(
        {"allowances.gateway.limits": {"requests_per_minute": 50}},
        first={"requests_per_minute": 6},
    )
    assert served.places(20)["stub/sim-nano"] == 6
    served.steady.now += 86_400.0
    assert served.places(50)["stub/sim-nano"] == 6
    assert served.ask().status_code == 429


@pytest.mark.parametrize("jump_s", JUMPS_S)
def test_a_circuit_stays_open_for_its_cooldown_whatever_the_wall_clock_says(serve, jump_s):
    with StubThread() as broken:
        served = serve(
            {
                "breaker": {"failures": 1, "cooldown_s": 30},
                "upstreams.broken": {
                    "kind": "openai", "base_url": f"{broken.origin}/v1", "retries": 0,
                },
                "models.fragile": {
                    "upstream": "broken", "upstream_model": "sim-nano",
                    "spec": "llama-3.1-8b-instruct",
                },
                "models.both": {
                    "deployments": [
                        {"upstream": "broken", "upstream_model": "sim-nano"},
                        {"upstream": "stub", "upstream_model": "sim-small"},
                    ],
                    "spec": "llama-3.1-8b-instruct",
                },
            }
        )  # fmt: skip
        broken.add_fault("status", status=500, times=1)
        for _ in range(40):
            if served.ask().status_code != 200:
                break
        else:
            raise AssertionError("the broken one was never asked")
        served.wall.now += jump_s
        assert set(served.places(20)) == {"stub"}
        served.steady.now += 30.5
        assert set(served.places(20)) == {"stub", "broken"}


def test_what_a_bandit_remembers_does_not_fade_with_time(serve):
    served = serve({"models.both.balance": "bandit"})
    assert sum(served.places(20).values()) == 20
    pool = served.app.state.steelyard.serving.pool
    before = [success for _, success in pool.believed()]
    counts = [context.memory.counts("stub\nsim-nano") for context in contexts(pool)]
    for clock in (served.wall, served.steady):
        clock.now += 86_400.0 * 30
    assert [success for _, success in pool.believed()] == before == [1.0] * len(before)
    assert [context.memory.counts("stub\nsim-nano") for context in contexts(pool)] == counts
    assert counts[0][0] > 0
    assert served.ask().status_code == 200


def contexts(pool):
    return [each for bandit in pool.bandits().values() for each in bandit.contexts()]
