"""Metrics name keys and what they spend: who asks for keys does not show them to everybody."""

import socket
import urllib.error
import urllib.request

import httpx
import pytest

from app.errors import ConfigError
from tests.support.gateway import GatewayThread, stub_config
from tests.support.redis_server import free_port
from tests.support.requests import assert_openai_error

ADMIN = "an-admin-token-of-the-tests"
OWN = "a-metrics-token-of-the-tests"
KEYS = {"auth.mode": "keys", "store.data_dir": "store"}
ENV = {"STEELYARD_ADMIN_TOKEN": ADMIN, "METRICS_TOKEN": OWN}


def read(url, token=None):
    headers = {} if token is None else {"authorization": f"Bearer {token}"}
    return httpx.get(f"{url}/metrics", headers=headers, trust_env=False)


def test_without_any_token_they_are_closed_and_the_refusal_says_what_opens_them(fresh_gateway):
    gateway = fresh_gateway(KEYS)
    for token in (None, ADMIN):
        error = assert_openai_error(read(gateway.url, token), status=403)
        assert error["code"] == "metrics_closed"
        for setting in ("server.metrics_token_env", "server.metrics_port", "server.metrics: open"):
            assert setting in error["message"]


@pytest.mark.parametrize(
    ("changes", "env", "opens"),
    [
        (KEYS, {"STEELYARD_ADMIN_TOKEN": ADMIN}, {ADMIN}),
        ({**KEYS, "server.metrics_token_env": "METRICS_TOKEN"}, ENV, {OWN}),
        ({**KEYS, "server.metrics": "open"}, ENV, {ADMIN, OWN, None}),
        ({"auth.mode": "none"}, ENV, {ADMIN, OWN, None}),
        ({"server.metrics_token_env": "METRICS_TOKEN"}, ENV, {OWN}),
    ],
)
def test_who_may_read_them(fresh_gateway, changes, env, opens):
    gateway = fresh_gateway(changes, env=env)
    for token in (None, ADMIN, OWN):
        answer = read(gateway.url, token)
        if token in opens:
            assert "gateway_requests" in answer.text
        else:
            assert_openai_error(answer, status=401)


def test_a_port_of_their_own_on_a_loopback_address_is_open_to_this_machine(
    stub, artifacts, tmp_path
):
    port = free_port()
    config = stub_config(tmp_path, stub.origin, changes={**KEYS, "server.metrics_port": port})
    with GatewayThread(config, artifacts=artifacts) as gateway:
        url = f"http://127.0.0.1:{port}"
        assert "gateway_requests" in read(url).text
        head = httpx.head(f"{url}/metrics", trust_env=False)
        assert (head.status_code, head.content) == (200, b"")
        assert read(gateway.url).status_code == 404


def test_a_port_of_their_own_listens_where_the_gateway_does(stub, artifacts, tmp_path):
    port = free_port()
    changes = {"server.metrics_port": port, "server.host": "127.0.0.2"}
    config = stub_config(tmp_path, stub.origin, changes=changes)
    with GatewayThread(config, artifacts=artifacts, host="127.0.0.1"):
        assert read(f"http://127.0.0.1:{port}").is_success
        with socket.socket() as elsewhere:
            assert elsewhere.connect_ex(("127.0.0.2", port)) != 0


def test_on_an_address_that_others_reach_they_are_closed_too(stub, artifacts, tmp_path):
    port = free_port()
    config = stub_config(tmp_path, stub.origin, changes={**KEYS, "server.metrics_port": port})
    with GatewayThread(config, artifacts=artifacts, host="0.0.0.0"):  # noqa: S104
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with pytest.raises(urllib.error.HTTPError, match="403") as told:
            opener.open(f"http://127.0.0.1:{port}/metrics", timeout=10)
        with told.value:
            assert b"server.metrics: open" in told.value.read()


def test_opening_what_has_a_token_is_a_contradiction(stub, tmp_path):
    changes = {"server.metrics": "open", "server.metrics_token_env": "METRICS_TOKEN"}
    with pytest.raises(ConfigError, match="contradicts"):
        stub_config(tmp_path, stub.origin, changes=changes, env=ENV)
