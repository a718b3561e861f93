"""The data behind `/console` over real sockets: what it says, to whom, and where it is not."""

import json

import httpx
import pytest

from app.api.console import console_is_served
from app.config import load_config
from app.main import from_env
from tests.support.artifacts import with_outcomes
from tests.support.gateway import CONFIGS, GatewayThread, stub_config
from tests.support.requests import assert_openai_error

TOKEN = "an-admin-token-of-the-tests"  # noqa: S105  (opens nothing else)
ENV = {"STEELYARD_ADMIN_TOKEN": TOKEN}
KEYED = {"auth": {"mode": "keys"}, "store": {"data_dir": "data"}}
PROMPT = "canary-of-the-console: how much is 17 times 23?"


@pytest.fixture
def start(fresh_gateway):
    """Start a gateway and return a client of it."""
    clients = []

    def start(changes=None, **options):
        running = fresh_gateway(changes, **options)
        clients.append(httpx.Client(base_url=running.url, trust_env=False, timeout=30))
        return clients[-1]

    yield start
    for client in clients:
        client.close()


def chat(client, knob="0.5", model="auto", **headers):
    return client.post(
        "/v1/chat/completions",
        json={"model": model, "messages": [{"role": "user", "content": PROMPT}]},
        headers={"x-cost-quality": knob, **headers},
    )


def assert_refused(response, status, code):
    assert assert_openai_error(response, status=status)["code"] == code


def test_the_page_is_served_with_a_strict_policy_and_holds_no_data(start):
    client = start()
    response = client.get("/console")
    assert response.status_code == 307
    assert response.headers["location"] == "console/"
    page = client.get("/console/")
    assert page.status_code == 200
    assert page.headers["content-type"].startswith("text/html")
    policy = page.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; script-src 'self'")
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert page.headers["x-content-type-options"] == "nosniff"
    assert "sim-" not in page.text


def test_files_are_revalidated_by_their_digest(start):
    client = start()
    first = client.get("/console/")
    again = client.get("/console/", headers={"if-none-match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert "content-security-policy" in again.headers


@pytest.mark.parametrize(
    "path", ["nothing.js", "../app/main.py", "%2e%2e/curves.py", "static", "//etc/passwd"]
)
def test_nothing_but_the_page_is_served(start, path):
    response = start().get(f"/console/{path}")
    assert_refused(response, 404, "unknown_url")


def test_live_tells_what_became_of_requests_and_never_what_they_said(start):
    client = start()
    before = client.get("/console/api/live").json()
    assert (before["n_seen"], before["recent"], before["savings"]) == (0, [], None)
    for knob in ("0", "0.3", "0.6", "1"):
        assert chat(client, knob).status_code == 200
    assert chat(client, model="sim-small").status_code == 200
    response = client.get("/console/api/live")
    assert response.headers["cache-control"] == "no-store"
    assert "canary" not in response.text
    live = response.json()
    assert live["n_seen"] == live["window"]["n"] == 5
    assert sum(each["n"] for each in live["traffic"]) == 5
    pinned, *routed = live["recent"]
    assert (pinned["model"], pinned["reason"]) == ("sim-small", "pinned")
    assert {each["reason"] for each in routed} == {"knob"}
    assert live["window"]["cost_usd"] == pytest.approx(
        sum(each["cost_usd"] for each in live["recent"])
    )
    savings = live["savings"]
    assert savings["n"] == 4
    assert savings["actual_usd"] == pytest.approx(sum(each["cost_usd"] for each in routed))
    assert savings["share"] == pytest.approx(1 - savings["actual_usd"] / savings["strongest_usd"])
    assert (savings["low"], savings["high"]) == (None, None)


def test_live_tells_how_upstreams_are(start, stub):
    client = start({"breaker.failures": 2, "upstreams.stub.retries": 0})
    assert {each["state"] for each in client.get("/console/api/live").json()["upstreams"]} == {
        "closed"
    }
    stub.add_fault("status", status=500, model="sim-small", times=2)
    for _ in range(2):
        assert chat(client, model="sim-small").status_code == 502
    live = client.get("/console/api/live").json()
    states = {each["model"]: each["state"] for each in live["upstreams"]}
    assert states["sim-small"] == "open"
    assert states["sim-nano"] == "closed"
    assert live["window"]["errors"] == 2
    assert live["recent"][0]["error"] is not None


def test_curve_tells_what_each_policy_promises(start, artifacts):
    known = {name: with_outcomes(artifact) for name, artifact in artifacts.items()}
    answer = start(artifacts=known).get("/console/api/curve").json()
    assert answer["default_policy"] == "default"
    policies = {each["policy"]: each for each in answer["policies"]}
    assert set(policies) == {"default", "economy", "quality"}
    assert [policies[name]["cost_quality"] for name in ("default", "economy", "quality")] == [
        0.8,
        0.5,
        0.95,
    ]
    for each in policies.values():
        assert each["problem"] is None
        assert each["verified"]
        assert len(each["singles"]) == 5
        assert each["knob_error"] < 0.05
        positions = [point["cost_quality"] for point in each["knob"]]
        assert positions == sorted(positions)


def test_the_curve_of_the_shipped_router_promises_nothing_as_verified(start):
    for each in start().get("/console/api/curve").json()["policies"]:
        assert not each["verified"]
        assert (each["share_tried"], each["knob_error"], each["reliability"]) == (0, None, [])
        assert len(each["singles"]) == 5


def test_prices_move_the_curve(start):
    cheap = start().get("/console/api/curve").json()["policies"][0]
    specs = {"sim-frontier": {"upstream": "stub", "spec": "mistralai/mixtral-8x7b-chat"}}
    changed = {**specs["sim-frontier"], "predicted_as": "gpt-4-1106-preview"}
    dear = start({"models.sim-frontier": changed}).get("/console/api/curve").json()["policies"][0]
    cost = [
        next(x["usd_per_1000"] for x in each["singles"] if x["model"] == "sim-frontier")
        for each in (cheap, dear)
    ]
    assert cost[1] < cost[0] / 10


@pytest.mark.parametrize("path", ["live", "curve"])
def test_data_needs_the_admin_token_where_there_is_one(start, path):
    client = start(KEYED, env=ENV)
    assert client.get("/console/api/access").json() == {"admin_token": True, "key": True}
    for headers in ({}, {"authorization": "Bearer wrong"}, {"authorization": f"Basic {TOKEN}"}):
        response = client.get(f"/console/api/{path}", headers=headers)
        assert_refused(response, 401, "invalid_admin_token")
    response = client.get(f"/console/api/{path}", headers={"authorization": f"Bearer {TOKEN}"})
    assert response.status_code == 200
    assert TOKEN not in response.text
    assert client.get("/console/").status_code == 200


def test_a_virtual_key_does_not_open_the_console(start):
    client = start(KEYED, env=ENV)
    admin = {"authorization": f"Bearer {TOKEN}"}
    made = client.post("/admin/keys", json={"name": "test"}, headers=admin).json()
    headers = {"authorization": f"Bearer {made['secret']}"}
    assert_refused(client.get("/console/api/live", headers=headers), 401, "invalid_admin_token")


def test_without_keys_and_token_the_page_needs_nothing(start):
    assert start().get("/console/api/access").json() == {"admin_token": False, "key": False}


@pytest.mark.parametrize(
    ("host", "console", "served"),
    [
        ("127.0.0.1", None, True),
        ("::1", None, True),
        ("localhost", None, True),
        ("0.0.0.0", None, False),  # noqa: S104  (nothing listens)
        ("", None, False),
        ("10.0.0.1", None, False),
        ("10.0.0.1", True, True),
        ("127.0.0.1", False, False),
    ],
)
def test_other_machines_get_no_console_unless_somebody_wrote_so(tmp_path, host, console, served):
    config = stub_config(tmp_path, "http://127.0.0.1:9", changes={"server.console": console})
    assert console_is_served(config.gateway, host, admin_token=None) is served


def test_keys_without_an_admin_token_mean_no_console(tmp_path):
    config = stub_config(tmp_path, "http://127.0.0.1:9", changes=KEYED)
    assert not console_is_served(config.gateway, "127.0.0.1", admin_token=None)
    assert console_is_served(config.gateway, "127.0.0.1", admin_token=TOKEN)


@pytest.mark.parametrize("changes", [{"server.console": False}, {"server.host": "10.0.0.1"}])
def test_where_it_is_off_there_is_nothing_at_its_path(start, changes):
    client = start(changes)
    for path in ("/console", "/console/", "/console/api/live", "/console/api/access"):
        assert_refused(client.get(path), 404, "unknown_url")
    assert chat(client).status_code == 200


@pytest.mark.parametrize("name", ["gateway.example", "localhost.example", "192.0.2.7"])
def test_a_rebound_name_or_a_forgotten_proxy_sees_nothing(start, name):
    # Names that are written out are answered, but not by the console.
    client = start({"server.allowed_hosts": ["gateway.example", "localhost.example"]})
    for path in ("/console/", "/console/api/live"):
        assert client.get(path).status_code == 200
        response = client.get(path, headers={"host": name})
        assert_refused(response, 404, "unknown_url")


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1:8080", "[::1]:8080", "LOCALHOST"])
def test_names_of_this_machine_are_answered(start, name):
    assert start().get("/console/", headers={"host": name}).status_code == 200


def test_written_into_the_configuration_it_answers_to_any_name(start):
    names = ["gateway.example"]
    client = start({"server.console": True, "server.allowed_hosts": names})
    assert client.get("/console/", headers={"host": "gateway.example"}).status_code == 200


def test_it_is_no_part_of_the_documented_api(start):
    assert "/console" not in json.dumps(start().get("/openapi.json").json())


def test_on_and_off_are_what_yaml_takes_them_for(tmp_path):
    file = tmp_path / "gateway.yaml"
    text = (CONFIGS / "gateway.yaml").read_text(encoding="utf-8")
    text = text.replace("catalogue: models.yaml", f"catalogue: {CONFIGS / 'models.yaml'}")
    for word, meant in (("on", True), ("off", False)):
        file.write_text(text.replace("server:\n", f"server:\n  console: {word}\n"))
        assert load_config(file, env={}).gateway.server.console is meant


def test_the_newest_policies_are_drawn_after_a_reload(stub, artifacts, tmp_path):
    config = stub_config(tmp_path, stub.origin, changes={"server.port": 0}, env=ENV)
    with (
        GatewayThread(config, artifacts=artifacts) as gateway,
        httpx.Client(
            base_url=gateway.url,
            trust_env=False,
            timeout=30,
            headers={"authorization": f"Bearer {TOKEN}"},
        ) as client,
    ):
        before = client.get("/console/api/curve").json()["policies"]
        changes = {"server.port": 0, "policies.default.cost_quality": 0.75}
        stub_config(tmp_path, stub.origin, changes=changes)
        assert client.post("/admin/reload").status_code == 200
        after = client.get("/console/api/curve").json()["policies"]
    assert before[0]["version"] != after[0]["version"]
    assert (before[0]["cost_quality"], after[0]["cost_quality"]) == (0.8, 0.75)
    assert before[1] == after[1]


async def test_the_address_that_is_listened_on_wins_over_the_configured_one(tmp_path, monkeypatch):
    stub_config(tmp_path, "http://127.0.0.1:9")
    monkeypatch.setenv("STEELYARD_CONFIG", str(tmp_path / "gateway.yaml"))
    for host, status in (("127.0.0.1", 200), ("0.0.0.0", 404)):  # noqa: S104  (nothing listens)
        monkeypatch.setenv("STEELYARD_LISTEN_HOST", host)
        transport = httpx.ASGITransport(app=from_env())
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            assert (await client.get("/console/")).status_code == status
