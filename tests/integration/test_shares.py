"""A cap on the share of dear models, on the wire."""

import httpx
import pytest

from app.errors import ConfigError
from tests.support.gateway import CONFIGS, read_yaml, stub_config
from tests.support.processes import gateway_process, write_config
from tests.support.requests import assert_openai_error

CAP = {"models": ["sim-frontier", "sim-large"], "share": 0.2, "burst": 3}
BEST = {"x-cost-quality": "1", "x-route-affinity": "off"}


def ask(gateway, *, path="chat/completions", **routing):
    body = {"model": "auto", "messages": [{"role": "user", "content": "Prove it."}], **routing}
    return httpx.post(f"{gateway.openai_url}/{path}", json=body, headers=BEST, trust_env=False)


def test_however_requests_are_worded_no_more_than_the_share_goes_there(fresh_gateway, stub):
    gateway = fresh_gateway({"allowances.key.shares": [CAP]})
    asked = {"routing": {"models": ["sim-frontier", "sim-nano"], "cost_quality": 1}}
    went = [ask(gateway, **asked).headers["x-route-model"] for _ in range(30)]
    assert went[:3] == ["sim-frontier"] * 3
    assert 5 <= went.count("sim-frontier") <= 3 + 30 * 0.2
    assert [entry.body["model"] for entry in stub.log()].count("sim-frontier") == went.count(
        "sim-frontier"
    )
    while ask(gateway, **asked).headers["x-route-model"] != "sim-frontier":
        pass
    told = ask(gateway, path="route", **asked).json()
    (row,) = [each for each in told["candidates"] if each["model"] == "sim-frontier"]
    assert row["exclusion"] == "share_exceeded"
    # A look at a decision uses nothing up, and who names a model gets it.
    assert ask(gateway, path="route", **asked).json()["model"] == "sim-nano"
    assert ask(gateway, model="sim-frontier").headers["x-route-model"] == "sim-frontier"


def test_what_can_go_nowhere_else_is_refused_and_told_why(fresh_gateway):
    gateway = fresh_gateway({"allowances.gateway.shares": [{**CAP, "share": 0, "burst": 1}]})
    only = {"routing": {"models": ["sim-frontier"]}}
    assert ask(gateway, **only).status_code == 200
    refused = ask(gateway, **only)
    assert assert_openai_error(refused, status=400)["code"] == "no_eligible_model"
    assert "its share of all requests, 0% with a burst of 1, is used" in refused.text


def test_a_variant_is_no_way_around_the_cap_of_its_model(fresh_gateway):
    variant = {"sim-frontier": {"variants": {"terse": {"prompt": {"system": "Be brief."}}}}}
    config = read_yaml(CONFIGS / "gateway.yaml")
    frontier = config["models"]["sim-frontier"] | variant["sim-frontier"]
    gateway = fresh_gateway(
        {
            "models.sim-frontier": frontier,
            "policies.default.candidates": ["sim-nano", "sim-frontier@terse"],
            "policies.default.default_model": "sim-nano",
            "allowances.key.shares": [{**CAP, "share": 0, "burst": 1}],
        }
    )
    asked = {"routing": {"cost_quality": 1}}
    went = [ask(gateway, **asked).headers["x-route-model"] for _ in range(3)]
    assert went == ["sim-frontier@terse", "sim-nano", "sim-nano"]


def test_a_fallback_may_not_go_there_either(fresh_gateway, stub):
    gateway = fresh_gateway({"allowances.key.shares": [{**CAP, "share": 0, "burst": 1}]})
    stub.add_fault("status", status=503, model="sim-nano", times=100)
    cheapest = {"routing": {"models": ["sim-frontier", "sim-nano"], "cost_quality": 0}}
    went = ask(gateway, **cheapest)
    assert (went.headers["x-route-model"], went.status_code) == ("sim-frontier", 200)
    failed = ask(gateway, **cheapest)
    assert failed.status_code >= 500
    assert {entry.body["model"] for entry in stub.log()[2:]} == {"sim-nano"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"models": ["sim-none"]}, "sim-none"),
        ({"models": []}, "models"),
        ({"share": 1.5}, "share"),
        ({"burst": 0}, "burst"),
    ],
)
def test_a_cap_that_cannot_be_is_told_where_it_stands(tmp_path, change, message):
    changes = {"allowances.teams.red": {"shares": [{**CAP, **change}]}}
    with pytest.raises(ConfigError, match=message) as refused:
        stub_config(tmp_path, "http://127.0.0.1:1", changes=changes)
    assert "allowances.teams.red.shares" in str(refused.value)


async def test_two_workers_have_one_burst_together(stub_thread, redis_server, tmp_path):
    cap = {**CAP, "share": 0, "burst": 6}
    changes = {
        "store": {"kind": "redis", "prefix": f"shares-{tmp_path.name}"},
        "allowances": {"key": {"shares": [cap]}},
        "server.max_lag_s": 3600,
    }
    file = write_config(tmp_path / "gateway.yaml", stub_thread.origin, changes)
    env = {"STEELYARD_REDIS_URL": redis_server.url}
    body = {"model": "auto", "messages": [{"role": "user", "content": "Prove it."}]}
    body["routing"] = {"models": ["sim-frontier", "sim-nano"], "cost_quality": 1}
    went = []
    async with gateway_process(file, "--workers", "2", env=env) as gateway:
        for _ in range(24):  # each over a connection of its own, which either of them takes
            async with gateway.client() as client:
                answer = await client.post("/v1/chat/completions", json=body, headers=BEST)
            went.append(answer.headers["x-route-model"])
    assert 3 <= went.count("sim-frontier") <= 6
