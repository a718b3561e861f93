"""Virtual keys over real sockets: the admin API makes them, the official client uses them."""

import json
import logging
import time

import httpx
import openai
import pytest

from app.telemetry.logs import JsonFormatter
from tests.support.gateway import STUB_MODELS, GatewayThread, stub_config
from tests.support.requests import assert_openai_error

ASK = [{"role": "user", "content": "What is a steelyard?"}]
TOKEN = "an-admin-token-of-the-tests"  # noqa: S105  (opens nothing else)
ENV = {"STEELYARD_ADMIN_TOKEN": TOKEN}
CHANGES = {"auth": {"mode": "keys"}, "store": {"data_dir": "data"}}


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    return tmp_path_factory.mktemp("keyed")


@pytest.fixture(scope="module")
def keyed(stub_thread, artifacts, directory):
    """Run a gateway that asks for keys and has an admin token."""
    changes = {**CHANGES, "breaker.failures": 1_000_000}
    config = stub_config(directory, stub_thread.origin, changes=changes, env=ENV)
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
def ask(keyed):
    """Ask as the holder of a secret would."""
    with httpx.Client(base_url=keyed.url, trust_env=False) as client:

        def ask(secret, *, path="/v1/chat/completions", headers=None, model="auto", **body):
            return client.post(
                path,
                headers={**bearer_of(secret), **(headers or {})},
                json={"model": model, "messages": ASK, **body},
            )

        yield ask


def test_counting_tokens_is_held_to_the_key_too(make, ask):
    path = "/v1/messages/count_tokens"
    secret = make(models=["sim-nano"], limits={"requests_per_minute": 3})["secret"]
    assert ask(secret, path=path, model="sim-nano").json()["input_tokens"] > 0
    assert ask(secret, path=path, model="auto").status_code == 200
    refused = ask(secret, path=path, model="sim-large")
    assert refused.status_code == 403
    assert refused.json()["error"]["type"] == "permission_error"
    for _ in range(2):
        throttled = ask(secret, path=path, model="sim-nano")
        assert throttled.status_code == 429
        assert throttled.json()["error"]["type"] == "rate_limit_error"
        assert int(throttled.headers["retry-after"]) > 0
    assert ask(secret, max_tokens=5).status_code == 429
    other = make(policies=["economy"])["secret"]
    assert ask(other, path=path, model="auto:quality").status_code == 403


def bearer_of(secret):
    return {} if secret is None else {"authorization": f"Bearer {secret}"}


@pytest.fixture
def sdk(keyed, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    clients = []

    def sdk(secret):
        client = openai.OpenAI(base_url=keyed.openai_url, api_key=secret, max_retries=0)
        clients.append(client)
        return client

    yield sdk
    for client in clients:
        client.close()


def test_the_official_client_is_served_with_a_key_streaming_and_not(sdk, make):
    client = sdk(make()["secret"])
    answer = client.chat.completions.create(model="auto", messages=ASK)
    assert answer.choices[0].message.content
    stream = client.chat.completions.create(model="auto", messages=ASK, stream=True)
    assert any(chunk.choices and chunk.choices[0].delta.content for chunk in stream)


@pytest.mark.parametrize("secret", ["none", "sk-sy-" + "A" * 43, TOKEN])
def test_the_official_client_raises_authentication_error_for_a_wrong_key(sdk, secret):
    with pytest.raises(openai.AuthenticationError) as caught:
        sdk(secret).chat.completions.create(model="auto", messages=ASK)
    assert caught.value.code == "invalid_api_key"
    assert secret not in caught.value.message


def test_the_official_client_raises_permission_denied_for_a_model_of_others(sdk, make):
    client = sdk(make(models=["sim-nano", "sim-small"])["secret"])
    with pytest.raises(openai.PermissionDeniedError) as caught:
        client.chat.completions.create(model="sim-frontier", messages=ASK)
    assert caught.value.code == "model_not_allowed"
    assert "sim-nano, sim-small" in caught.value.message
    assert {model.id for model in client.models.list()} & set(STUB_MODELS) == {
        "sim-nano",
        "sim-small",
    }


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/route"])
def test_without_a_key_nothing_of_a_request_is_looked_at(ask, path):
    response = ask(None, path=path, model=17, headers={"x-route-nonsense": "1"})
    told = assert_openai_error(response, status=401)
    assert told["code"] == "invalid_api_key"
    assert told["type"] == "invalid_request_error"
    assert response.headers["www-authenticate"] == 'Bearer realm="steelyard"'


def test_models_need_a_key_and_health_does_not(keyed):
    with httpx.Client(base_url=keyed.url, trust_env=False) as client:
        for path in ("/v1/models", "/v1/models/auto"):
            assert_openai_error(client.get(path), status=401)
        for path in ("/healthz", "/readyz"):
            assert client.get(path).status_code == 200


def test_the_header_x_api_key_is_taken_too(ask, make):
    assert ask(None, headers={"x-api-key": make()["secret"]}).status_code == 200


def test_a_key_of_few_models_routes_among_them_alone(ask, make):
    secret = make(models=["sim-nano", "sim-small"])["secret"]
    for knob in ("0", "0.5", "1"):
        answer = ask(secret, path="/v1/route", headers={"x-cost-quality": knob}).json()
        eligible = {each["model"] for each in answer["candidates"] if each["eligible"]}
        assert eligible == {"sim-nano", "sim-small"}
        assert answer["model"] in eligible
        assert set(answer["decision"]["fallbacks"]) <= eligible


def test_a_revoked_key_stops_at_once_in_the_gateway_that_revoked_it(admin, ask, make):
    key = make()
    assert ask(key["secret"], path="/v1/route").status_code == 200
    revoked = admin.delete(f"/admin/keys/{key['key_id']}").json()
    assert revoked["status"] == "revoked"
    assert "revoked" in assert_openai_error(ask(key["secret"]), status=401)["message"]
    again = admin.delete(f"/admin/keys/{key['key_id']}").json()
    assert again["revoked_at"] == revoked["revoked_at"]
    told = assert_openai_error(admin.post(f"/admin/keys/{key['key_id']}/rotate"), status=400)
    assert "revoked" in told["message"]


def test_a_rotated_key_has_two_secrets_until_the_grace_is_over(admin, ask, make):
    key = make(limits={"requests_per_minute": 100}, team=None)
    rotated = admin.post(f"/admin/keys/{key['key_id']}/rotate", json={"grace_s": 3600}).json()
    assert rotated["key_id"] == key["key_id"]
    assert rotated["created_at"] == key["created_at"]
    assert rotated["old_secret_until"] == pytest.approx(time.time() + 3600, abs=60)
    assert rotated["limits"] == key["limits"]
    assert rotated["secret"] != key["secret"]
    for secret in (key["secret"], rotated["secret"]):
        assert ask(secret, path="/v1/route").status_code == 200
    last = admin.post(f"/admin/keys/{key['key_id']}/rotate", json={"grace_s": 0}).json()
    for secret in (key["secret"], rotated["secret"]):
        assert "replaced" in assert_openai_error(ask(secret), status=401)["message"]
    assert ask(last["secret"], path="/v1/route").status_code == 200
    admin.delete(f"/admin/keys/{key['key_id']}")
    assert_openai_error(ask(last["secret"]), status=401)


def test_revoking_ends_the_old_secret_of_a_rotation_too(admin, ask, make):
    key = make()
    new = admin.post(f"/admin/keys/{key['key_id']}/rotate").json()
    admin.delete(f"/admin/keys/{key['key_id']}")
    for secret in (key["secret"], new["secret"]):
        assert_openai_error(ask(secret), status=401)


def test_an_expired_key_is_refused(ask, make):
    key = make(expires_in_s=0.001)
    deadline = time.monotonic() + 60
    while ask(key["secret"], path="/v1/route").status_code != 401:
        assert time.monotonic() < deadline


def test_the_secret_is_told_once_and_its_digest_never(admin, make):
    key = make(name="told once", owner="ops", metadata={"cost-centre": "7"})
    one = admin.get(f"/admin/keys/{key['key_id']}").json()
    assert one == {name: value for name, value in key.items() if name != "secret"}
    listed = admin.get("/admin/keys")
    assert one in listed.json()["data"]
    for text in (listed.text, admin.get(f"/admin/keys/{key['key_id']}").text):
        assert "secret" not in json.loads(text)
        assert "digest" not in text
        assert key["secret"] not in text


@pytest.mark.parametrize(
    "field",
    ["digest", "key_id", "created_at", "revoked_at", "replaced_by", "secret", "role", "expires_at"],
)
def test_fields_that_are_not_the_issuers_to_set_are_refused(admin, field):
    response = admin.post("/admin/keys", json={"name": "mass assignment", field: "x"})
    assert assert_openai_error(response, status=400)["param"] == field


@pytest.mark.parametrize(
    ("terms", "param"),
    [
        ({}, "name"),
        ({"name": ""}, "name"),
        ({"name": "\x1b[31m"}, "name"),
        ({"name": " padded"}, "name"),
        ({"name": "x", "models": ["gpt-9"]}, "models"),
        ({"name": "x", "models": []}, "models"),
        ({"name": "x", "policies": ["none-such"]}, "policies"),
        ({"name": "x", "team": "none-such"}, "team"),
        ({"name": "x", "expires_in_s": 0}, "expires_in_s"),
        ({"name": "x", "cost_quality": 1.5}, "cost_quality"),
        ({"name": "x", "least_cost_quality": 0.8, "most_cost_quality": 0.2}, "least_cost_quality"),
        ({"name": "x", "cost_quality": 0.1, "least_cost_quality": 0.2}, "cost_quality"),
        ({"name": "x", "limits": {"requests_per_minute": 0}}, "limits.requests_per_minute"),
        ({"name": "x", "limits": {"rpm": 1}}, "limits.rpm"),
        ({"name": "x", "budgets": [{"usd": -1, "period": "day"}]}, "budgets.0.usd"),
        ({"name": "x", "budgets": [{"usd": 1, "period": "day"}] * 2}, "budgets"),
        ({"name": "x", "metadata": {"a": 1}}, "metadata.a"),
    ],
)
def test_terms_that_make_no_sense_are_refused(admin, terms, param):
    told = assert_openai_error(admin.post("/admin/keys", json=terms), status=400)
    assert told["param"] == param


def test_everything_that_may_be_said_of_a_key_is_kept(admin, make):
    terms = {
        "name": "all of it",
        "owner": "ops@example.com",
        "models": ["sim-nano", "sim-small"],
        "policies": ["economy"],
        "cost_quality": 0.3,
        "least_cost_quality": 0.1,
        "most_cost_quality": 0.6,
        "limits": {
            "requests_per_minute": 60,
            "tokens_per_minute": 10_000,
            "concurrent_requests": 4,
        },
        "budgets": [
            {"usd": 1.5, "period": "day", "on_low": "degrade", "degrade_from": 0.5},
            {"usd": 20.0, "period": "month", "on_low": "reject", "degrade_from": 0.8},
        ],
        "cache": True,
        "metadata": {"cost-centre": "7"},
    }
    key = make(**terms, expires_in_s=86_400)
    assert {name: key[name] for name in terms} == terms
    assert key["expires_at"] == key["created_at"] + 86_400
    assert admin.get(f"/admin/keys/{key['key_id']}").json()["status"] == "active"


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"authorization": "Bearer wrong-wrong-wrong-wrong"},
        {"authorization": f"Basic {TOKEN}"},
        {"authorization": f"Bearer {TOKEN}x"},
        {"authorization": TOKEN},
        {"x-api-key": TOKEN},
    ],
)
def test_every_admin_route_asks_for_the_token_before_all_else(keyed, headers):
    with httpx.Client(base_url=keyed.url, trust_env=False) as client:
        paths = client.get("/openapi.json").json()["paths"]
        routes = [
            (method, path.replace("{key_id}", "key-000000000000"))
            for path, operations in paths.items()
            if path.startswith("/admin")
            for method in operations
        ]
        assert len(routes) >= 6
        for method, path in routes:
            content = b"{" if method == "post" else None
            response = client.request(method, path, headers=headers, content=content)
            told = assert_openai_error(response, status=401)
            assert told["code"] == "invalid_admin_token"
            assert TOKEN not in response.text


def test_a_virtual_key_is_no_admin(keyed, make):
    headers = {"authorization": f"Bearer {make()['secret']}"}
    with httpx.Client(base_url=keyed.url, headers=headers, trust_env=False) as client:
        assert_openai_error(client.get("/admin/keys"), status=401)
        assert_openai_error(client.post("/admin/keys", json={"name": "x"}), status=401)


def test_the_host_header_opens_nothing(keyed):
    with httpx.Client(base_url=keyed.url, trust_env=False) as client:
        for host in ("x/healthz?", "127.0.0.1/healthz", "healthz"):
            response = client.get("/admin/keys", headers={"host": host})
            assert response.status_code in (400, 401)
            assert client.get("/v1/models", headers={"host": host}).status_code in (400, 401)


def test_an_admin_body_is_bounded(admin):
    response = admin.post("/admin/keys", json={"name": "x" * 100_000})
    assert_openai_error(response, status=413)


def test_what_a_key_has_used_is_told(admin, ask, make):
    key = make(
        limits={"requests_per_minute": 5},
        budgets=[{"usd": 1, "period": "day"}],
        models=["sim-nano"],
    )
    path = f"/admin/keys/{key['key_id']}/standing"
    (scope,) = admin.get(path).json()["scopes"]
    assert scope["scope"] == f"key:{key['key_id']}"
    assert scope["requests"]["remaining"] == 5
    assert scope["budgets"][0]["spent_usd"] == 0
    answer = ask(key["secret"])
    cost_usd = float(answer.headers["x-route-cost-usd"])
    assert cost_usd > 0
    deadline = time.monotonic() + 60
    while (scope := admin.get(path).json()["scopes"][0])["in_flight"]:
        assert time.monotonic() < deadline  # settled after the answer
    assert scope["requests"]["remaining"] == 4
    (budget,) = scope["budgets"]
    assert budget["limit_usd"] == 1
    assert budget["spent_usd"] == pytest.approx(cost_usd, abs=1e-8)
    assert budget["reserved_usd"] == 0


def test_an_unknown_key_is_not_found(admin):
    for response in (
        admin.get("/admin/keys/key-000000000000"),
        admin.delete("/admin/keys/key-000000000000"),
        admin.post("/admin/keys/key-000000000000/rotate"),
    ):
        assert assert_openai_error(response, status=404)["code"] == "key_not_found"


def test_answers_of_the_admin_api_are_not_stored_by_anybody(admin):
    assert admin.get("/admin/keys").headers["cache-control"] == "no-store"


def test_the_admin_api_is_documented_with_its_own_token(keyed):
    with httpx.Client(base_url=keyed.url, trust_env=False) as client:
        document = client.get("/openapi.json").json()
    operation = document["paths"]["/admin/keys"]["post"]
    assert operation["tags"] == ["admin"]
    assert operation["security"] == [{"admin token": []}]


def test_without_a_token_there_is_no_admin_api(gateway):
    with httpx.Client(base_url=gateway.url, trust_env=False) as client:
        assert assert_openai_error(client.get("/admin/keys"), status=404)["code"] == "unknown_url"


def test_without_keys_asked_for_any_key_is_served(gateway):
    with httpx.Client(base_url=gateway.url, trust_env=False) as client:
        response = client.get("/v1/models", headers={"authorization": "Bearer whatever"})
    assert response.status_code == 200


def test_a_secret_shows_nowhere_but_in_its_one_answer(keyed, admin, ask, make, caplog):
    with caplog.at_level(logging.DEBUG):
        key = make(name="canary")
        secret = key["secret"]
        answers = [
            ask(secret),
            ask(secret, stream=True),
            ask(secret, path="/v1/route", headers={"x-route-explain": "full"}),
            ask(secret, model="gpt-9"),
            ask(secret + "x"),
            ask(None, headers={"x-api-key": secret + "x"}),
            admin.get(f"/admin/keys/{secret}"),
            admin.get("/admin/keys", headers={"authorization": f"Bearer {secret}"}),
            admin.get("/metrics"),
        ]
        rotated = admin.post(f"/admin/keys/{key['key_id']}/rotate").json()
    formatter = JsonFormatter()
    # Clients of the tests log too, and may say what they like.
    ours = [each for each in caplog.records if each.name.startswith(("app", "routers", "asyncio"))]
    logs = [formatter.format(record) for record in ours]
    assert any("key created" in line for line in logs)
    texts = [f"{each.headers}{each.text}" for each in answers]
    directory = keyed.app.state.steelyard.config.path.parent
    for canary in (secret, rotated["secret"], TOKEN):
        tail = canary.removeprefix("sk-sy-")
        assert not [line for line in logs if tail in line]
        assert not [text for text in texts if tail in text]
        for file in directory.rglob("*"):
            if file.is_file():
                assert tail.encode() not in file.read_bytes()
        assert tail not in repr(keyed.app.state.steelyard)
    assert any(key["key_id"].encode() in file.read_bytes() for file in directory.rglob("data/*"))


def test_a_key_survives_a_restart(stub_thread, artifacts, tmp_path):
    config = stub_config(tmp_path, stub_thread.origin, changes=CHANGES, env=ENV)
    token = {"authorization": f"Bearer {TOKEN}"}
    with GatewayThread(config, artifacts=artifacts) as gateway:
        made = httpx.post(
            f"{gateway.url}/admin/keys", headers=token, json={"name": "x"}, trust_env=False
        )
        secret = made.json()["secret"]
    with GatewayThread(config, artifacts=artifacts) as gateway:
        response = httpx.get(
            f"{gateway.openai_url}/models",
            headers={"authorization": f"Bearer {secret}"},
            trust_env=False,
        )
    assert response.status_code == 200
