"""Every request that is turned away leaves a line, and a flood of them not one each."""

import json
import logging

import httpx
import pytest

from app.api.refusals import LINES_AT_ONCE, RefusalLog
from app.errors import InvalidRequestError, UnauthenticatedError

TOKEN = "an-admin-token-of-the-tests"  # noqa: S105  (opens nothing else)
ASK = {"model": "auto", "messages": [{"role": "user", "content": "What is a steelyard?"}]}
CANARY = "steelyard-canary-41"


@pytest.fixture
def keyed(fresh_gateway):
    return fresh_gateway(
        {"auth.mode": "keys", "store.data_dir": "store"}, env={"STEELYARD_ADMIN_TOKEN": TOKEN}
    )


@pytest.fixture
def lines(caplog):
    caplog.set_level(logging.INFO, logger="app.requests")
    return lambda: [record.fields for record in caplog.records if record.getMessage() == "refused"]


def test_what_is_refused_leaves_a_line_with_its_reason_and_nothing_of_the_client(keyed, lines):
    admin = {"authorization": f"Bearer {TOKEN}"}
    key = httpx.post(
        f"{keyed.url}/admin/keys",
        json={"name": "of the tests", "models": ["sim-nano"]},
        headers=admin,
        trust_env=False,
    ).json()
    secret = {"authorization": f"Bearer {key['secret']}"}
    chat, json_type = "/v1/chat/completions", {"content-type": "application/json"}
    asked = [
        ("POST", chat, {}, ASK, 401),
        ("POST", chat, {"authorization": f"Bearer sk-sy-{CANARY}"}, ASK, 401),
        ("POST", chat, secret, {**ASK, "model": CANARY}, 404),
        ("POST", chat, secret, {**ASK, "model": "sim-large"}, 403),
        ("POST", chat, secret, {**ASK, "n": CANARY}, 400),
        ("POST", chat, {**secret, "content-type": f"text/{CANARY}"}, ASK, 415),
        ("POST", chat, secret, {**ASK, "x": "x" * 10_000_000}, 413),
        ("GET", chat, secret, None, 405),
        ("GET", f"/{CANARY}", {}, None, 404),
        ("GET", "/v1/models", {}, None, 401),
        ("GET", f"/v1/models/{CANARY}", secret, None, 404),
        ("GET", "/admin/keys", {}, None, 401),
        ("POST", "/v1/route", {}, ASK, 401),
    ]
    for method, path, headers, body, status in asked:
        content = None if body is None else json.dumps(body).encode()
        answer = httpx.request(
            method,
            keyed.url + path,
            headers={**json_type, **headers},
            content=content,
            trust_env=False,
            timeout=30,
        )
        assert answer.status_code == status
    found = lines()
    assert [each["status"] for each in found] == [status for *_, status in asked]
    assert CANARY not in json.dumps(found)
    by_key = [each["key_id"] for each in found[2:7]]
    assert by_key == [key["key_id"]] * 5
    assert found[3]["error"] == "model_not_allowed"
    assert [found[i]["path"] for i in (0, 8, 9, 10, 12)] == [
        *(chat, "other", "/v1/models", "/v1/models/{model:path}", "/v1/route")
    ]
    assert all(each["peer"] == "127.0.0.1" and each["request_id"] for each in found)


def test_a_key_that_was_revoked_is_named(keyed, lines):
    admin = {"authorization": f"Bearer {TOKEN}"}
    with httpx.Client(base_url=keyed.url, trust_env=False) as client:
        key = client.post("/admin/keys", json={"name": "gone"}, headers=admin).json()
        client.delete(f"/admin/keys/{key['key_id']}", headers=admin)
        headers = {"authorization": f"Bearer {key['secret']}"}
        assert client.post("/v1/route", json=ASK, headers=headers).status_code == 401
    assert [each["key_id"] for each in lines()] == [key["key_id"]]


def test_of_a_flood_most_are_counted_and_told_together(caplog):
    caplog.set_level(logging.INFO, logger="app.requests")
    now = 1_000.0
    log = RefusalLog(clock=lambda: now)
    scope = {"method": "POST", "path": "/v1/route", "client": ("10.0.0.1", 1)}
    for i in range(LINES_AT_ONCE + 50):
        error = UnauthenticatedError("no") if i % 2 else InvalidRequestError("no")
        log.tell(scope, error)
    assert len(caplog.records) == LINES_AT_ONCE
    caplog.clear()
    now += 1
    log.tell(scope, UnauthenticatedError("no"))
    told, one = caplog.records
    assert told.fields == {
        "requests": 50,
        "errors": {"invalid_api_key": 25, "invalid_request": 25},
    }
    assert one.getMessage() == "refused"
    log.tell_of_the_rest()
    assert len(caplog.records) == 2


def test_whose_limit_or_budget_it_was_is_told(fresh_gateway, caplog):
    caplog.set_level(logging.INFO, logger="app.requests")
    gateway = fresh_gateway(
        {
            "allowances.gateway.budgets": [{"usd": 1e-9, "period": "month"}],
            "allowances.key.limits": {"requests_per_minute": 2},
        }
    )
    statuses = []
    with httpx.Client(base_url=gateway.url, trust_env=False) as client:
        for body in (ASK, {**ASK, "n": "x"}, {**ASK, "n": "x"}, {**ASK, "n": "x"}):
            answer = client.post("/v1/chat/completions", json=body)
            statuses.append((answer.status_code, answer.json()["error"]["code"]))
        client.get("/metrics")  # what was recorded is told before anybody looks
    assert statuses[0] == (429, "gateway_budget_exceeded")
    assert statuses[-1] == (429, "key_requests_limit_exceeded")
    told = [record.fields for record in caplog.records if hasattr(record, "fields")]
    whose = {each["error"]: each["refused_by"] for each in told if each.get("refused_by")}
    assert whose["budget_exceeded"] == "gateway"
    assert whose["key_requests_limit_exceeded"] == "key:anonymous"


def test_only_the_paths_of_the_traffic_are_counted_by_name():
    counted = []
    log = RefusalLog(traffic=frozenset({"/v1/route"}), count=lambda path, _: counted.append(path))
    for path in ("/v1/route", "/made/up"):
        log.refused({"method": "POST", "path": path}, InvalidRequestError("no"), None)
    assert counted == ["/v1/route", "other"]
