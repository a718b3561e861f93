"""Keys changed over HTTP: what a change reaches, whom it refuses, and what it leaves alone."""

import time

import httpx
import pytest

from tests.support.gateway import GatewayThread, stub_config
from tests.support.requests import assert_openai_error

ASK = [{"role": "user", "content": "What is a steelyard?"}]
TOKEN = "an-admin-token-of-the-tests"  # noqa: S105  (opens nothing else)
ENV = {"STEELYARD_ADMIN_TOKEN": TOKEN}
CHANGES = {
    "auth": {"mode": "keys"},
    "store": {"data_dir": "data"},
    "allowances.teams": {"search": {}, "ads": {}},
    "breaker.failures": 1_000_000,
}


@pytest.fixture(scope="module")
def keyed(stub_thread, artifacts, tmp_path_factory):
    config = stub_config(
        tmp_path_factory.mktemp("changed"), stub_thread.origin, changes=CHANGES, env=ENV
    )
    with GatewayThread(config, artifacts=artifacts) as gateway:
        yield gateway


@pytest.fixture
def admin(keyed):
    with httpx.Client(
        base_url=keyed.url, headers={"authorization": f"Bearer {TOKEN}"}, trust_env=False
    ) as client:
        yield client


@pytest.fixture
def make(admin):
    def make(**terms):
        response = admin.post("/admin/keys", json={"name": "test", **terms})
        assert response.status_code == 201, response.text
        return response.json()

    return make


@pytest.fixture
def change(admin):
    def change(key, body, **headers):
        return admin.patch(f"/admin/keys/{key['key_id']}", json=body, headers=headers)

    return change


@pytest.fixture
def ask(keyed):
    with httpx.Client(base_url=keyed.url, trust_env=False) as client:

        def ask(key, model="auto"):
            return client.post(
                "/v1/chat/completions",
                headers={"authorization": f"Bearer {key['secret']}"},
                json={"model": model, "messages": ASK},
            )

        yield ask


def test_a_raised_budget_lets_a_key_go_on_with_what_it_spent(admin, ask, make, change):
    key = make(budgets=[{"usd": 1e-9, "period": "month"}])
    refused = assert_openai_error(ask(key, model="sim-nano"), status=429)
    assert refused["code"] == "key_budget_exceeded"
    response = change(key, {"budgets": [{"usd": 50, "period": "month"}]})
    assert response.status_code == 200
    answer = ask(key, model="sim-nano")
    assert answer.status_code == 200
    first_usd = float(answer.headers["x-route-cost-usd"])
    deadline = time.monotonic() + 60
    while not (spent := told(admin, key)["spending"][0])["spent_usd"]:
        assert time.monotonic() < deadline  # settled after the answer
    assert spent["spent_usd"] == pytest.approx(first_usd, abs=1e-8)
    change(key, {"budgets": [{"usd": 60, "period": "month"}]})
    assert told(admin, key)["spending"] == [
        {
            **spent,
            "limit_usd": 60.0,
            "left_usd": pytest.approx(60 - spent["spent_usd"]),
        }
    ]


def told(admin, key):
    return admin.get(f"/admin/keys/{key['key_id']}").json()


def test_every_term_is_changed_and_told_again(admin, make, change):
    key = make(models=["sim-nano"], metadata={"a": "1"}, limits={"concurrent_requests": 3})
    secret = key.pop("secret")
    body = {
        "name": "renamed",
        "owner": "ops",
        "team": "search",
        "models": ["sim-small"],
        "policies": ["economy"],
        "cost_quality": 0.3,
        "least_cost_quality": 0.1,
        "most_cost_quality": 0.6,
        "limits": {"requests_per_minute": 60},
        "budgets": [{"usd": 1.5, "period": "day", "on_low": "degrade", "degrade_from": 0.5}],
        "cache": True,
        "disabled": True,
        "metadata": {"b": "2"},
        "expires_in_s": 3600,
    }
    after = change(key, body).json()
    assert after["expires_at"] == pytest.approx(time.time() + 3600, abs=60)
    assert after == {
        **key,
        **{name: value for name, value in body.items() if name != "expires_in_s"},
        "expires_at": after["expires_at"],
        "limits": {
            "requests_per_minute": 60,
            "tokens_per_minute": None,
            "concurrent_requests": 3,
        },
        "metadata": {"a": "1", "b": "2"},
        "status": "disabled",
        "version": 2,
        "spending": after["spending"],
    }
    assert told(admin, key) == after
    assert after in admin.get("/admin/keys", params={"limit": 1000}).json()["data"]
    assert secret not in change(key, {"cache": False}).text
    nulls = dict.fromkeys(
        ("owner", "team", "models", "policies", "limits", "budgets", "expires_at", "metadata")
    )
    cleared = change(key, nulls).json()
    assert {name: cleared[name] for name in nulls} == {
        **nulls,
        "owner": "",
        "budgets": [],
        "limits": dict.fromkeys(key["limits"]),
        "metadata": {},
    }


def test_a_disabled_key_is_refused_at_once_and_serves_again_when_enabled(ask, make, change):
    key = make()
    assert ask(key).status_code == 200
    change(key, {"disabled": True})
    error = assert_openai_error(ask(key), status=401)
    assert "disabled" in error["message"]
    assert key["key_id"] in error["message"]
    change(key, {"disabled": False})
    assert ask(key).status_code == 200


def test_models_that_are_taken_away_are_refused_at_once(ask, make, change):
    key = make(models=["sim-nano", "sim-small"])
    assert ask(key, model="sim-small").status_code == 200
    change(key, {"models": ["sim-nano"]})
    assert ask(key, model="sim-small").status_code == 403
    assert ask(key, model="sim-nano").status_code == 200


def test_a_change_reaches_an_old_secret_in_its_grace(admin, ask, make, change):
    key = make()
    admin.post(f"/admin/keys/{key['key_id']}/rotate", json={"grace_s": 600})
    assert ask(key).status_code == 200
    change(key, {"disabled": True})
    assert "disabled" in assert_openai_error(ask(key), status=401)["message"]


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"models": ["gpt-9"]}, "models"),
        ({"models": []}, "models"),
        ({"policies": ["none-such"]}, "policies"),
        ({"team": "none-such"}, "team"),
        ({"name": None}, "name"),
        ({"name": " x"}, "name"),
        ({"limits": {"requests_per_minute": 0}}, "limits.requests_per_minute"),
        ({"limits": {"rpm": 1}}, "limits.rpm"),
        ({"limits": 5}, "limits"),
        ({"budgets": [{"usd": 0, "period": "day"}]}, "budgets.0.usd"),
        ({"budgets": [{"usd": 1, "period": "day"}] * 2}, "budgets"),
        ({"budgets": {"usd": 1, "period": "day"}}, "budgets"),
        ({"cost_quality": 2}, "cost_quality"),
        ({"cost_quality": 0.9, "most_cost_quality": 0.5}, "cost_quality"),
        ({"expires_in_s": 0}, "expires_in_s"),
        ({"expires_at": 1}, "expires_at"),
        ({"expires_at": 4e9, "expires_in_s": 1}, "expires_at"),
        ({"metadata": {"a": 1}}, "metadata.a"),
        ({"key_id": "key-000000000000"}, "key_id"),
        ({"digest": "00"}, "digest"),
        ({"version": 9}, "version"),
        ({"secret": "x"}, "secret"),
        ({"status": "active"}, "status"),
        ({"nonsense": 1}, "nonsense"),
    ],
)
def test_a_change_that_makes_no_sense_is_refused_whole_and_names_the_field(
    admin, make, change, body, param
):
    key = make()
    error = assert_openai_error(change(key, {"owner": "somebody", **body}), status=400)
    assert error["param"] == param
    assert error["type"] == "invalid_request_error"
    assert told(admin, key)["owner"] == ""


@pytest.mark.parametrize("body", [b"", b"[]", b"null", b"{", b'"x"'])
def test_what_is_no_object_is_refused(admin, make, body):
    path = f"/admin/keys/{make()['key_id']}"
    headers = {"content-type": "application/merge-patch+json"}
    assert_openai_error(admin.patch(path, content=body, headers=headers), status=400)


def test_a_merge_patch_is_taken_by_its_own_name(admin, make):
    path = f"/admin/keys/{make()['key_id']}"
    headers = {"content-type": "application/merge-patch+json"}
    assert admin.patch(path, content=b'{"cache": true}', headers=headers).json()["cache"] is True


def test_the_version_is_an_entity_tag_that_changes_may_depend_on(admin, make, change):
    key = make()
    path = f"/admin/keys/{key['key_id']}"
    tag = admin.get(path).headers["etag"]
    assert tag == '"1"'
    assert change(key, {"owner": "a"}, **{"if-match": tag}).headers["etag"] == '"2"'
    for stale in (tag, f"W/{tag}", '"7", "8"', "nonsense", "2", '"x"'):
        error = assert_openai_error(change(key, {"owner": "b"}, **{"if-match": stale}), status=412)
        assert error["code"] == "key_version_mismatch"
        assert_openai_error(admin.delete(path, headers={"if-match": stale}), status=412)
        assert_openai_error(admin.post(f"{path}/rotate", headers={"if-match": stale}), status=412)
    assert told(admin, key)["owner"] == "a"
    assert change(key, {"owner": "c"}, **{"if-match": '"1", "2"'}).status_code == 200
    assert change(key, {"owner": "d"}, **{"if-match": "*"}).status_code == 200
    assert admin.delete(path, headers={"if-match": '"4"'}).json()["status"] == "revoked"


def test_a_change_that_changes_nothing_makes_no_version(make, change):
    key = make(owner="ops")
    for body in ({}, {"owner": "ops"}, {"team": None}):
        assert change(key, body).json()["version"] == 1


def test_a_revoked_or_unknown_key_is_not_changed(admin, make, change):
    key = make()
    admin.delete(f"/admin/keys/{key['key_id']}")
    assert "revoked" in assert_openai_error(change(key, {"owner": "x"}), status=400)["message"]
    unknown = change({"key_id": "key-000000000000"}, {"owner": "x"})
    assert assert_openai_error(unknown, status=404)["code"] == "key_not_found"


def test_an_expired_key_can_be_given_more_time(ask, make, change):
    key = make(expires_in_s=0.000001)
    assert ask(key).status_code == 401
    assert change(key, {"expires_in_s": 60}).json()["status"] == "active"
    assert ask(key).status_code == 200


def test_changes_ask_for_the_admin_token(keyed, make):
    key = make()
    path = f"{keyed.url}/admin/keys/{key['key_id']}"
    for token in (None, key["secret"]):
        headers = {} if token is None else {"authorization": f"Bearer {token}"}
        response = httpx.patch(path, json={"cache": True}, headers=headers, trust_env=False)
        assert_openai_error(response, status=401)


@pytest.mark.parametrize(
    ("path", "allow"),
    [
        ("/admin/keys", "GET, POST, HEAD"),
        ("/admin/keys/key-000000000000", "DELETE, GET, PATCH, HEAD"),
        ("/admin/keys/key-000000000000/rotate", "POST"),
        ("/admin/audit", "GET, HEAD"),
    ],
)
def test_a_wrong_method_is_told_every_right_one(admin, path, allow):
    response = admin.put(path, json={})
    assert_openai_error(response, status=405)
    assert response.headers["allow"] == allow


def test_the_list_comes_in_pages_and_can_be_narrowed(admin, make, change):
    keys = [make(name=f"page-{i}", owner="pages", team="ads") for i in range(5)]
    change(keys[3], {"disabled": True})
    admin.delete(f"/admin/keys/{keys[4]['key_id']}")
    seen, after = [], None
    while True:
        params = {"limit": 2, "owner": "pages", **({} if after is None else {"after": after})}
        page = admin.get("/admin/keys", params=params).json()
        assert len(page["data"]) <= 2
        seen += [each["key_id"] for each in page["data"]]
        if not page["has_more"]:
            break
        after = page["last_id"]
    assert seen == [key["key_id"] for key in keys]

    def found(**params):
        listed = admin.get("/admin/keys", params={"owner": "pages", **params}).json()["data"]
        return [each["name"] for each in listed]

    assert found(status="disabled") == ["page-3"]
    assert found(status="revoked") == ["page-4"]
    assert found(name="page-1", team="ads") == ["page-1"]
    assert found(team="search") == []


@pytest.mark.parametrize(
    ("params", "param"),
    [
        ({"limit": 0}, "limit"),
        ({"limit": 1001}, "limit"),
        ({"limit": "many"}, "limit"),
        ({"status": "sleeping"}, "status"),
        ({"after": "key-000000000000"}, "after"),
        ({"teem": "search"}, "teem"),
    ],
)
def test_a_question_that_makes_no_sense_names_the_parameter(admin, params, param):
    response = admin.get("/admin/keys", params=params)
    assert assert_openai_error(response, status=400)["param"] == param


def test_who_changed_a_key_and_how_is_kept(admin, make, change):
    key = make(owner="before")
    path = f"/admin/keys/{key['key_id']}"
    change(key, {"owner": "after", "budgets": [{"usd": 5, "period": "day"}]})
    rotated = admin.post(f"{path}/rotate").json()
    admin.delete(path)
    response = admin.get("/admin/audit", params={"key_id": key["key_id"]})
    entries = response.json()["data"]
    assert [each["done"] for each in entries] == ["revoked", "rotated", "updated", "created"]
    assert [each["version"] for each in entries] == [4, 3, 2, 1]
    assert {each["by"] for each in entries} == {"admin token (127.0.0.1)"}
    update = entries[2]["changes"]
    assert update["owner"] == ["before", "after"]
    assert update["budgets"][1][0]["usd"] == 5
    for secret in (key["secret"], rotated["secret"]):
        assert secret not in response.text
    assert len(admin.get("/admin/audit", params={"limit": 2}).json()["data"]) == 2
    assert_openai_error(admin.get("/admin/audit", params={"limit": 0}), status=400)


def test_changes_are_documented(keyed):
    document = httpx.get(f"{keyed.url}/openapi.json", trust_env=False).json()
    operation = document["paths"]["/admin/keys/{key_id}"]["patch"]
    assert operation["security"] == [{"admin token": []}]
    schema = document["components"]["schemas"]["KeyChanges"]
    assert "budgets" in schema["properties"]
    assert not schema.get("required")
