"""What was spent, told over HTTP to the operator and to the holders of keys."""

import csv
import io
import sqlite3
import time

import httpx
import pytest

from app.outcomes.sqlite import OUTCOMES_NAME
from tests.support.gateway import GatewayThread, stub_config
from tests.support.requests import assert_openai_error

ASK = [{"role": "user", "content": "What is a steelyard?"}]
TOKEN = "an-admin-token-of-the-tests"  # noqa: S105  (opens nothing else)
ENV = {"STEELYARD_ADMIN_TOKEN": TOKEN}
CHANGES = {
    "auth": {"mode": "keys"},
    "store": {"data_dir": "data"},
    "allowances.teams": {"search": {}},
    "breaker.failures": 1_000_000,
}
MONTH = [{"usd": 100, "period": "month"}]


@pytest.fixture(scope="module")
def keyed(stub_thread, artifacts, tmp_path_factory):
    config = stub_config(
        tmp_path_factory.mktemp("spend"), stub_thread.origin, changes=CHANGES, env=ENV
    )
    with GatewayThread(config, artifacts=artifacts) as gateway:
        yield gateway


@pytest.fixture
def client(keyed):
    with httpx.Client(base_url=keyed.url, trust_env=False) as client:
        yield client


@pytest.fixture
def spend(client):
    """Ask as the operator."""

    def spend(accept=None, **params):
        headers = bearer(TOKEN) | ({} if accept is None else {"accept": accept})
        return client.get("/admin/spend", headers=headers, params=params)

    return spend


@pytest.fixture
def make(client):
    def make(**terms):
        response = client.post("/admin/keys", headers=bearer(TOKEN), json={"name": "test", **terms})
        assert response.status_code == 201, response.text
        return response.json()

    return make


@pytest.fixture
def ask(client):
    def ask(key, model="sim-nano", **headers):
        return client.post(
            "/v1/chat/completions",
            headers=bearer(key["secret"]) | headers,
            json={"model": model, "messages": ASK},
        )

    return ask


def bearer(secret):
    return {"authorization": f"Bearer {secret}"}


def written(spend, key, n):
    """Wait until so many requests of a key are in the log; return what is told."""
    deadline = time.monotonic() + 60
    while True:
        told = spend(key=key["key_id"], group_by="key,model").json()
        if told["totals"]["requests"] >= n:
            return told
        assert time.monotonic() < deadline


def test_what_a_key_spent_is_told_by_model_with_its_name(ask, make, spend):
    key = make(name="=search", team="search")
    costs = {"sim-nano": 0.0, "sim-large": 0.0}
    for model in ("sim-nano", "sim-large", "sim-large"):
        costs[model] += float(ask(key, model).headers["x-route-cost-usd"])
    told = written(spend, key, 3)
    assert (told["object"], told["source"], told["time_zone"]) == ("spend", "sqlite", "UTC")
    assert [each["model"] for each in told["data"]] == ["sim-large", "sim-nano"]
    for each in told["data"]:
        assert (each["key"], each["key_name"]) == (key["key_id"], "=search")
        assert each["cost_usd"] == pytest.approx(costs[each["model"]], abs=2e-8)
        assert each["failed_requests"] == each["estimated_requests"] == 0
        assert each["output_tokens"] > 0
    assert told["totals"]["requests"] == 3
    assert spend(team="search", key=key["key_id"]).json()["totals"] == told["totals"]
    assert spend(team="other", key=key["key_id"]).json()["data"] == []


def test_what_one_run_of_an_agent_cost_is_told_to_both(client, ask, make, spend):
    key = make()
    session, cost = {"x-claude-code-session-id": "run-1"}, {}
    for agent in (None, "a1", "a1", "a2"):
        headers = session if agent is None else {**session, "x-claude-code-agent-id": agent}
        answer = ask(key, **headers)
        cost[agent] = cost.get(agent, 0.0) + float(answer.headers["x-route-cost-usd"])
    ask(key, **{"x-claude-code-session-id": "run-2"})
    ask(key)
    total = written(spend, key, 6)["totals"]
    by_session = spend(key=key["key_id"], group_by="session").json()["data"]
    assert sorted(each["requests"] for each in by_session) == [1, 1, 4]
    (run,) = [each["session"] for each in by_session if each["requests"] == 4]
    for told in (
        spend(session=run, group_by="agent").json(),
        client.get(
            "/v1/usage", headers=bearer(key["secret"]), params={"group_by": "session,agent"}
        ).json(),
    ):
        agents = [each for each in told["data"] if each.get("session", run) == run]
        assert sorted(each["cost_usd"] for each in agents) == pytest.approx(sorted(cost.values()))
        assert [each["requests"] for each in agents if each["agent"] is None] == [1]
    (agent,) = [each["agent"] for each in agents if each["requests"] == 2]
    assert spend(agent=agent).json()["totals"]["cost_usd"] == pytest.approx(cost["a1"])
    assert spend(key=key["key_id"]).json()["totals"] == total


def test_a_revoked_keys_name_is_still_told(client, ask, make, spend):
    key = make(name="gone")
    ask(key)
    client.delete(f"/admin/keys/{key['key_id']}", headers=bearer(TOKEN))
    assert written(spend, key, 1)["data"][0]["key_name"] == "gone"


def test_a_spreadsheet_gets_the_same_and_no_formula(ask, make, spend):
    key = make(name="=HYPERLINK(1)")
    ask(key)
    told = written(spend, key, 1)
    for params, accept in (({"format": "csv"}, None), ({}, "text/csv")):
        response = spend(accept, key=key["key_id"], group_by="key,model,day", **params)
        assert response.headers["content-type"].startswith("text/csv; charset=utf-8")
        assert "attachment" in response.headers["content-disposition"]
        assert response.headers["cache-control"] == "no-store"
        (row,) = csv.DictReader(io.StringIO(response.text))
        assert row["key_name"] == "'=HYPERLINK(1)"
        assert float(row["cost_usd"]) == told["totals"]["cost_usd"]
        assert row["requests"] == "1"
    for accept in ("application/json", "*/*", "text/csv;q=0.1, application/json", "text/html"):
        assert spend(accept).headers["content-type"] == "application/json"
    assert spend("text/csv", format="json").headers["content-type"] == "application/json"


@pytest.mark.parametrize(
    ("params", "param"),
    [
        ({"group_by": "colour"}, "group_by"),
        ({"group_by": "key,key"}, "group_by"),
        ({"from": "soon"}, "from"),
        ({"to": "2026-13-01"}, "to"),
        ({"from": "1d", "to": "2d"}, "from"),
        ({"format": "xml"}, "format"),
        ({"by": "key"}, "by"),
        ({"model": "x" * 300}, "model"),
    ],
)
def test_a_question_that_makes_no_sense_names_the_parameter(spend, params, param):
    assert assert_openai_error(spend(**params), status=400)["param"] == param


def test_spending_of_all_needs_the_admin_token(client, make):
    for headers in ({}, bearer(make()["secret"])):
        assert_openai_error(client.get("/admin/spend", headers=headers), status=401)


def test_the_holder_of_a_key_sees_its_own_use_and_nobody_elses(client, ask, make, spend):
    key, other = make(name="mine", budgets=MONTH, team="search"), make(name="other")
    ask(key)
    ask(key, "sim-large")
    ask(other)
    written(spend, other, 1)
    total = written(spend, key, 2)["totals"]

    def usage(**params):
        return client.get("/v1/usage", headers=bearer(key["secret"]), params=params)

    response = usage(group_by="model,day")
    told = response.json()
    assert (told["object"], told["key_id"], told["name"]) == ("usage", key["key_id"], "mine")
    assert told["totals"] == total
    assert {each["model"] for each in told["data"]} == {"sim-nano", "sim-large"}
    assert told["standing"]["scope"] == f"key:{key['key_id']}"
    (budget,) = told["standing"]["budgets"]
    assert budget["limit_usd"] == 100
    assert budget["spent_usd"] == total["cost_usd"]
    assert budget["left_usd"] == pytest.approx(100 - total["cost_usd"])
    assert "other" not in response.text
    assert other["key_id"] not in response.text
    assert "no-store" in response.headers["cache-control"]
    assert usage(**{"from": "2020-01-01", "to": "2020-02-01"}).json()["data"] == []
    for params in ({"key": other["key_id"]}, {"group_by": "key"}, {"group_by": "upstream"}):
        assert_openai_error(usage(**params), status=400)


def test_usage_asks_for_a_key_that_may_be_used(client, make):
    assert_openai_error(client.get("/v1/usage"), status=401)
    assert_openai_error(client.get("/v1/usage", headers=bearer(TOKEN)), status=401)
    key = make(disabled=True)
    error = assert_openai_error(client.get("/v1/usage", headers=bearer(key["secret"])), status=401)
    assert "disabled" in error["message"]


def test_a_log_that_cannot_be_read_is_unavailable_and_nothing_else_suffers(
    keyed, client, ask, make, spend
):
    key = make()
    file = keyed.app.state.steelyard.config.data_dir / OUTCOMES_NAME
    broken = sqlite3.connect(file)
    broken.execute("ALTER TABLE outcomes RENAME TO elsewhere")
    broken.commit()
    try:
        assert assert_openai_error(spend(), status=503)["code"] == "store_unavailable"
        usage = client.get("/v1/usage", headers=bearer(key["secret"]))
        assert_openai_error(usage, status=503)
        assert ask(key).status_code == 200
    finally:
        broken.execute("ALTER TABLE elsewhere RENAME TO outcomes")
        broken.commit()
        broken.close()
    assert spend().status_code == 200


def test_it_is_documented(client):
    document = client.get("/openapi.json").json()
    paths, schemas = document["paths"], document["components"]["schemas"]
    content = paths["/admin/spend"]["get"]["responses"]["200"]["content"]
    assert set(content) == {"application/json", "text/csv"}
    names = {each["name"] for each in paths["/v1/usage"]["get"]["parameters"]}
    assert names == {"from", "to", "group_by"}
    assert {"SpendReport", "UsageReport"} <= set(schemas)


def test_without_a_log_the_operator_is_told_what_makes_one_and_budgets_are_still_told(
    stub_thread, artifacts, tmp_path
):
    changes = {**CHANGES, "outcomes.enabled": False}
    config = stub_config(tmp_path, stub_thread.origin, changes=changes, env=ENV)
    with (
        GatewayThread(config, artifacts=artifacts) as gateway,
        httpx.Client(base_url=gateway.url, trust_env=False) as client,
    ):
        error = assert_openai_error(client.get("/admin/spend", headers=bearer(TOKEN)), status=404)
        assert error["code"] == "no_decision_log"
        assert "store.data_dir" in error["message"]
        key = client.post(
            "/admin/keys", headers=bearer(TOKEN), json={"name": "x", "budgets": MONTH}
        ).json()
        headers = bearer(key["secret"])
        body = {"model": "sim-nano", "messages": ASK}
        answer = client.post("/v1/chat/completions", headers=headers, json=body)
        cost_usd = float(answer.headers["x-route-cost-usd"])
        deadline = time.monotonic() + 60
        while True:
            told = client.get("/v1/usage", headers=headers).json()
            (budget,) = told["standing"]["budgets"]
            if budget["spent_usd"]:
                break
            assert time.monotonic() < deadline  # settled after the answer
        assert budget["spent_usd"] == pytest.approx(cost_usd, abs=1e-8)
        assert (told["data"], told["totals"], told["source"]) == ([], None, None)
        assert "no decision log" in told["covers"]


def test_where_nobody_has_a_key_there_is_no_usage_of_one(gateway):
    response = httpx.get(f"{gateway.url}/v1/usage", trust_env=False)
    assert_openai_error(response, status=404)
