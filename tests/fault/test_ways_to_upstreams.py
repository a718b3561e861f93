"""How upstreams are called: connections that are lost, certificates, addresses, headers, names."""

import logging
import ssl
import subprocess

import httpx
import pytest

from app import __version__
from app.processes.serve import warn_of_proxies
from tests.support.raw_server import raw_server, serve_forever
from tests.support.watching import metrics

MODEL = "sim-nano"
ASK = {"model": MODEL, "messages": [{"role": "user", "content": "What is a steelyard?"}]}


def ask(gateway, **fields):
    with httpx.Client(base_url=gateway.url, trust_env=False, timeout=20) as client:
        return client.post("/v1/chat/completions", json={**ASK, **fields})


def calls(gateway, error):
    lines = [line for line in metrics(gateway) if line.startswith("gateway_calls_total")]
    return sum(float(line.rpartition(" ")[2]) for line in lines if f'error="{error}"' in line)


@pytest.fixture
def start(odd_upstream, fresh_gateway):
    """Start a gateway on the odd upstream: ``start({"stream_usage": False})``."""

    def start(upstream=None, *, path="/v1"):
        changes = {f"upstreams.stub.{key}": value for key, value in (upstream or {}).items()}
        return fresh_gateway({**changes, "upstreams.stub.base_url": f"{odd_upstream.origin}{path}"})

    return start


@pytest.mark.parametrize("stream", [False, True])
def test_a_call_that_a_lost_connection_took_along_is_made_again_and_accounted_for(
    odd_upstream, start, stream
):
    gateway = start({"retries": 0})
    first = ask(gateway)
    odd_upstream.hangs_up.add(MODEL)
    second = ask(gateway, stream=stream)
    assert (first.status_code, second.status_code) == (200, 200)
    assert odd_upstream.models == [MODEL] * 3
    assert calls(gateway, "upstream_connection_lost") == 1
    assert calls(gateway, "") == 2
    if not stream:  # twice the prompt: the upstream had read it both times
        costs = [float(each.headers["x-route-cost-usd"]) for each in (first, second)]
        assert costs[1] > costs[0]


def test_where_no_connection_is_kept_none_can_be_lost(odd_upstream, start):
    gateway = start({"reuse_connections": False, "retries": 0})
    assert ask(gateway).status_code == 200
    odd_upstream.hangs_up.add(MODEL)
    assert ask(gateway).status_code == 502
    assert odd_upstream.models == [MODEL] * 2


def test_requests_say_who_sends_them_unless_the_operator_does(odd_upstream, start):
    ask(start())
    ask(start({"extra_headers": {"user-agent": "mine"}}))
    agents = [
        [line for line in head.split(b"\r\n") if line.lower().startswith(b"user-agent")]
        for head, _ in odd_upstream.asked
    ]
    assert agents == [[b"User-Agent: steelyard/" + __version__.encode()], [b"user-agent: mine"]]


@pytest.mark.parametrize(
    ("base", "path"),
    [
        ("/a%2Fb/v1", b"/a%2Fb/v1/chat/completions"),
        ("/v1/?api-version=1&x=%20", b"/v1/chat/completions?api-version=1&x=%20"),
        ("", b"/chat/completions"),
        ("/", b"/chat/completions"),
    ],
)
def test_an_address_is_called_as_it_is_written(odd_upstream, start, base, path):
    ask(start(path=base))
    assert odd_upstream.asked[0][0].split(b" ")[1] == path


def test_a_server_that_refuses_stream_options_gets_none(odd_upstream, start):
    answer = ask(
        start({"stream_usage": False}), stream=True, stream_options={"include_usage": True}
    )
    assert '"usage"' in answer.text
    assert "stream_options" not in odd_upstream.asked[0][1]


def test_servers_are_told_in_their_own_words(odd_upstream, start):
    gateway = start({"developer_role": "system", "max_tokens_field": "max_completion_tokens"})
    messages = [{"role": "developer", "content": "d", "name": "n"}, *ASK["messages"]]
    ask(gateway, messages=messages, max_tokens=7)
    sent = odd_upstream.asked[0][1]
    assert sent["messages"] == [{**messages[0], "role": "system"}, *ASK["messages"]]
    assert sent["max_completion_tokens"] == 7
    assert "max_tokens" not in sent


def self_signed(key, certificate):
    request = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1"]
    files = ["-keyout", str(key), "-out", str(certificate)]
    subprocess.run(
        [*request, *files, "-subj", "/CN=secret.example"], check=True, capture_output=True
    )


async def test_a_certificate_that_cannot_be_verified_is_told_apart(fresh_gateway, tmp_path):
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    self_signed(key, certificate)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    async with raw_server(serve_forever, ssl_context=context) as server:
        gateway = fresh_gateway({"upstreams.stub.base_url": server.origin})
        async with httpx.AsyncClient(base_url=gateway.url, trust_env=False, timeout=20) as client:
            answer = await client.post("/v1/chat/completions", json=ASK)
    error = answer.json()["error"]
    assert answer.status_code == 502
    assert error["attempts"][0]["error"] == "upstream_certificate_invalid"
    assert "certificate cannot be verified (self" in error["message"]
    assert "secret.example" not in answer.text


def test_a_proxy_that_is_not_used_is_told_of(caplog):
    with caplog.at_level(logging.WARNING):
        warn_of_proxies({"https_proxy": "http://user:secret@proxy", "HTTP_PROXY": "", "PATH": "x"})
    assert "https_proxy is set, and is not used" in caplog.text
    assert "secret" not in caplog.text
    caplog.clear()
    warn_of_proxies({"NO_PROXY": "x"})
    assert not caplog.records
