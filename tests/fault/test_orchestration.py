"""A deployment that loses its capacity, on real sockets: the mode changes, no client sees it."""

import httpx
import pytest

from app.errors import ConfigError
from tests.support.model_machine import ModelMachine

TOKEN = "a-token-of-an-administrator"  # noqa: S105  (opens nothing else)
RULE = {"poll_s": 0.2, "cycle_s": 3600, "max_latency_ms": 30_000}
ENOUGH = 500


def configured(cheap, dear, **rule):
    return {
        "auth.admin_token_env": "ADMIN",
        "upstreams.cheap": {"base_url": cheap.url},
        "upstreams.dear": {"base_url": dear.url},
        "models.both": {
            "spec": "llama-3.1-8b-instruct",
            "balance": "orchestration",
            "orchestration": RULE | rule,
            "deployments": [
                {"upstream": "cheap", "usd_per_hour": 1, "max_rps": 1000},
                {"upstream": "dear", "usd_per_hour": 2, "max_rps": 1000},
            ],
        },
    }


@pytest.fixture
def places():
    with ModelMachine() as cheap, ModelMachine() as dear:
        yield cheap, dear


@pytest.fixture
def client():
    with httpx.Client(timeout=30) as client:
        yield client


class Gateway:
    """What a client and an operator see of a gateway."""

    def __init__(self, gateway, client):
        self.gateway, self.client = gateway, client

    def ask(self):
        answer = self.client.post(
            f"{self.gateway.openai_url}/chat/completions",
            json={"model": "both", "messages": [{"role": "user", "content": "Hello"}]},
        )
        assert answer.status_code == 200, answer.text
        return answer.headers["x-route-deployment"]

    def stands(self):
        told = self.client.get(
            f"{self.gateway.url}/admin/orchestration", headers={"authorization": f"Bearer {TOKEN}"}
        )
        assert told.status_code == 200, told.text
        (model,) = told.json()["data"]
        weights = {each["upstream"]: each["weight"] for each in model["deployments"]}
        return model, weights

    def ask_until(self, mode):
        for _ in range(ENOUGH):
            self.ask()
            model, weights = self.stands()
            if model["mode"] == mode:
                return model, weights
        raise AssertionError(f"the mode never was {mode}")


@pytest.mark.parametrize("status", [429, 503])
def test_the_cheapest_loses_its_capacity_and_no_client_sees_it(
    fresh_gateway, places, client, status
):
    cheap, dear = places
    it = Gateway(fresh_gateway(configured(cheap, dear), env={"ADMIN": TOKEN}), client)
    taken = [it.ask() for _ in range(20)]
    assert (taken.count("cheap"), taken.count("dear")) == (16, 4)
    model, weights = it.stands()
    assert (model["mode"], weights) == ("cost", {"cheap": 0.8, "dear": 0.2})

    cheap.status = status
    model, _ = it.ask_until("capacity")
    assert model["switches"] == 1
    metrics = client.get(f"{it.gateway.url}/metrics").text
    assert 'gateway_orchestration_mode{mode="capacity",model="both"}' in metrics

    cheap.status = 200
    for _ in range(20):
        it.ask()
    assert it.stands()[0]["mode"] == "capacity", "cost decides again as a load cycle begins"


def test_cost_decides_again_after_a_quiet_cycle(fresh_gateway, places, client):
    cheap, dear = places
    changes = configured(cheap, dear, cycle_s=0.5)
    it = Gateway(fresh_gateway(changes, env={"ADMIN": TOKEN}), client)
    cheap.status = 429
    before, _ = it.ask_until("capacity")
    cheap.status = 200
    model, weights = it.ask_until("cost")
    # On a machine that stood still for a cycle it may have come to this several times.
    assert before["switches"] % 2 == 1
    assert model["switches"] == before["switches"] + 1
    assert weights == {"cheap": 0.8, "dear": 0.2}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"deployments": [{"upstream": "cheap", "max_rps": 5}]}, "say `usd_per_hour`"),
        ({"deployments": [{"upstream": "cheap", "usd_per_hour": 1}]}, "and `max_rps`"),
        ({"balance": "round-robin"}, "is about `balance: orchestration` alone"),
        ({"orchestration": {"poll_s": 10, "cycle_s": 10}}, "must be shorter than `cycle_s`"),
    ],
    ids=["price", "rate", "balance", "cycle"],
)
def test_what_does_not_fit_together_is_refused(fresh_gateway, places, change, says):
    changes = configured(*places)
    changes["models.both"] |= change
    with pytest.raises(ConfigError, match=says):
        fresh_gateway(changes, env={"ADMIN": TOKEN})
