"""Pages of the web may not ask a gateway that asks for no keys; those that may can."""

import httpx
import pytest

from app.errors import ConfigError
from tests.support.gateway import GatewayThread, stub_config
from tests.support.requests import assert_openai_error

ASK = {"model": "auto", "messages": [{"role": "user", "content": "What is a steelyard?"}]}
KEYS = {"auth.mode": "keys", "store.data_dir": "store"}
ORIGIN = "https://app.example.com"
PATHS = [
    *(("POST", "/v1/chat/completions"), ("POST", "/v1/route"), ("GET", "/v1/models")),
    *(("GET", "/metrics"), ("GET", "/docs"), ("GET", "/openapi.json"), ("GET", "/console/")),
    ("GET", "/admin/keys"),
]


def request(gateway, method, path, **headers):
    return httpx.request(
        method,
        gateway.url + path,
        headers=headers,
        json=ASK if method == "POST" else None,
        trust_env=False,
    )


@pytest.mark.parametrize(("method", "path"), PATHS)
@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:8080", "127.0.0.1.evil.example", "localhost.evil.example"],
)
def test_a_name_that_somebody_points_here_is_not_answered(gateway, stub, method, path, host):
    error = assert_openai_error(request(gateway, method, path, host=host), status=403)
    assert error["code"] == "host_not_allowed"
    assert "server.allowed_hosts" in error["message"]
    assert stub.log() == []


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "127.0.0.1:1",
        "[::1]:8080",
        "10.1.2.3",
        "localhost",
        "LOCALHOST:80",
        "a.localhost",
    ],
)
def test_addresses_and_names_of_this_machine_are(gateway, host):
    assert request(gateway, "POST", "/v1/route", host=host).status_code == 200


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
def test_a_probe_may_use_whatever_name(gateway, path):
    assert request(gateway, "GET", path, host="gateway.example.com").status_code == 200


@pytest.mark.parametrize(("method", "path"), PATHS)
@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": "http://localhost:1"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"origin": "https://evil.example", "sec-fetch-site": "cross-site"},
    ],
)
def test_pages_of_other_origins_are_not_answered(gateway, stub, method, path, headers):
    error = assert_openai_error(request(gateway, method, path, **headers), status=403)
    assert error["code"] == "origin_not_allowed"
    assert "server.cors_origins" in error["message"]
    assert stub.log() == []


def test_pages_of_the_gateway_itself_are(gateway):
    headers = {"origin": gateway.url, "sec-fetch-site": "same-origin"}
    assert request(gateway, "POST", "/v1/route", **headers).status_code == 200
    assert request(gateway, "GET", "/docs", **{"sec-fetch-site": "none"}).status_code == 200


@pytest.mark.parametrize(
    "headers", [{"sec-fetch-site": "same-origin"}, {"sec-fetch-mode": "no-cors"}, {"referer": "x"}]
)
def test_a_browser_has_to_say_that_it_sends_json(gateway, headers):
    for path in ("/v1/chat/completions", "/v1/route"):
        answer = httpx.post(gateway.url + path, content=b"{}", headers=headers, trust_env=False)
        assert "application/json" in assert_openai_error(answer, status=415)["message"]


@pytest.fixture(scope="module")
def cors_gateway(stub_thread, artifacts, tmp_path_factory):
    directory = tmp_path_factory.mktemp("cors")
    changes = {**KEYS, "server.cors_origins": [ORIGIN]}
    config = stub_config(directory, stub_thread.origin, changes=changes)
    with GatewayThread(config, artifacts=artifacts) as gateway:
        yield gateway


def preflight(gateway, origin, **headers):
    return request(
        gateway,
        "OPTIONS",
        "/v1/chat/completions",
        **{
            "origin": origin,
            "access-control-request-method": "POST",
            "access-control-request-headers": "authorization,content-type,x-cost-quality",
            **headers,
        },
    )


@pytest.mark.parametrize(
    "path", ["/v1/messages", "/responses", "/openai/deployments/a/images/edits", "/v1/nothing"]
)
def test_a_preflight_asks_for_whatever_path_and_headers(cors_gateway, path):
    asked = "anthropic-version,anthropic-beta,x-api-key,api-key,x-stainless-os"
    headers = {"origin": ORIGIN, "access-control-request-method": "POST"}
    answer = request(
        cors_gateway, "OPTIONS", path, **{**headers, "access-control-request-headers": asked}
    )
    assert answer.status_code == 204
    assert answer.headers["access-control-allow-headers"] == asked


@pytest.mark.parametrize("changes", [{}, KEYS])
def test_a_preflight_is_answered_to_configured_origins_alone(fresh_gateway, changes):
    gateway = fresh_gateway({**changes, "server.cors_origins": [ORIGIN]})
    answer = preflight(gateway, ORIGIN, **{"access-control-request-private-network": "true"})
    assert (answer.status_code, answer.content) == (204, b"")
    assert answer.headers["access-control-allow-origin"] == ORIGIN
    assert "POST" in answer.headers["access-control-allow-methods"]
    assert answer.headers["access-control-allow-headers"] == (
        "authorization,content-type,x-cost-quality"
    )
    assert answer.headers["access-control-allow-private-network"] == "true"
    assert answer.headers["vary"] == "origin"
    assert answer.headers["x-request-id"]
    for origin in ("https://evil.example", "https://app.example.com.evil.example", "null"):
        refused = preflight(gateway, origin)
        assert refused.status_code in {403, 405}
        assert "access-control-allow-origin" not in refused.headers


def test_pages_of_configured_origins_may_ask_and_read(fresh_gateway):
    gateway = fresh_gateway({"server.cors_origins": [ORIGIN]})
    headers = {"origin": ORIGIN, "sec-fetch-site": "cross-site"}
    for stream in (False, True):
        answer = httpx.post(
            f"{gateway.url}/v1/chat/completions",
            json={**ASK, "stream": stream},
            headers=headers,
            trust_env=False,
        )
        assert answer.status_code == 200
        assert answer.headers["access-control-allow-origin"] == ORIGIN
        exposed = answer.headers["access-control-expose-headers"].split(", ")
        assert {"x-route-model", "x-route-reason", "x-request-id"} <= set(exposed)
    asked = {**ASK, "max_tokens": 9}
    answer = httpx.post(
        f"{gateway.url}/v1/messages", json=asked, headers=headers, trust_env=False, timeout=30
    )
    exposed = answer.headers["access-control-expose-headers"].split(", ")
    assert "request-id" in exposed  # where Anthropic's own libraries look for it
    bad = httpx.post(f"{gateway.url}/v1/route", json={}, headers=headers, trust_env=False)
    assert bad.status_code == 400
    assert bad.headers["access-control-allow-origin"] == ORIGIN
    assert request(gateway, "GET", "/v1/models", **headers).headers["vary"] == "origin"


def test_with_keys_every_origin_may_be_let_in_and_none_is_turned_away(fresh_gateway):
    gateway = fresh_gateway({**KEYS, "server.cors_origins": ["*"]})
    answer = request(gateway, "GET", "/v1/models", origin="https://any.example")
    assert answer.status_code == 401
    assert answer.headers["access-control-allow-origin"] == "https://any.example"


def test_with_keys_any_name_will_do_until_names_are_written_out(fresh_gateway):
    gateway = fresh_gateway(KEYS)
    assert request(gateway, "GET", "/docs", host="a.example", origin="https://b").status_code == 200


@pytest.mark.parametrize("changes", [{}, KEYS])
def test_names_that_are_written_out_are_ours(fresh_gateway, changes):
    names = ["Gateway.example.com", "*.internal.example"]
    gateway = fresh_gateway({**changes, "server.allowed_hosts": names})
    for host in (
        "gateway.example.com:443",
        "GATEWAY.example.com",
        "a.b.internal.example",
        "10.0.0.1",
    ):
        assert request(gateway, "GET", "/docs", host=host).status_code == 200
    for host in (
        "example.com",
        "internal.example",
        "xinternal.example",
        "gateway.example.com.evil",
    ):
        assert request(gateway, "GET", "/docs", host=host).status_code == 403


def test_where_other_machines_are_served_names_are_not_looked_at(stub, artifacts, tmp_path):
    config = stub_config(tmp_path, stub.origin, changes={"auth.mode": "none"})
    with GatewayThread(config, artifacts=artifacts, host="0.0.0.0") as gateway:  # noqa: S104
        assert request(gateway, "GET", "/v1/models", host="gateway.example.com").status_code == 200
        headers = {"host": "gateway.example.com", "origin": "https://evil.example"}
        assert request(gateway, "GET", "/v1/models", **headers).status_code == 403


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"server.cors_origins": ["*"]}, "no keys are needed"),
        ({"server.cors_origins": ["app.example.com"]}, "cors_origins"),
        ({"server.cors_origins": ["https://app.example.com/path"]}, "cors_origins"),
        ({"server.allowed_hosts": ["https://gateway.example.com"]}, "allowed_hosts"),
        ({"server.allowed_hosts": ["*"]}, "allowed_hosts"),
    ],
)
def test_what_is_no_origin_or_name_is_refused_at_start(stub, tmp_path, changes, why):
    with pytest.raises(ConfigError, match=why):
        stub_config(tmp_path, stub.origin, changes=changes)
