"""No spelling of a path, and nothing else that a client writes, leads past the check of a route."""

import socket
from urllib.parse import urlsplit

import pytest

from tests.support.gateway import GatewayThread, stub_config

TOKEN = "an-admin-token-of-the-tests"  # noqa: S105  (opens nothing else)
ASK = '{"model":"auto","messages":[{"role":"user","content":"hi"}]}'
OPEN = {"/healthz", "/readyz", "/docs", "/openapi.json", "/"}
"""What may answer everybody."""

SPELLINGS = (
    "//v1/chat/completions",
    "/v1//chat/completions",
    "/v1/chat/completions/",
    "/V1/Chat/Completions",
    "/v1/chat/completions%2f",
    "/v1%2fchat%2fcompletions",
    "/%761/chat/completions",
    "/v1/./chat/completions",
    "/v1/../v1/chat/completions",
    "/healthz/../v1/chat/completions",
    "/healthz/%2e%2e/v1/chat/completions",
    "/healthz%2f..%2fv1/chat/completions",
    "/v1/chat/completions;x=y",
    "/v1/chat/completions?/healthz",
    "/v1/chat/completions%00",
    "/v1/chat/completions%20",
    "/v1/chat/completions#/healthz",
    "\\v1\\chat\\completions",
    "http://x/v1/chat/completions",
    "http://x//v1/chat/completions",
    "/v1/route/",
    "//v1/route",
    "/v1/models",
    "/v1/models/",
    "/v1/models/auto",
    "/v1/models/../../admin/keys",
    "/admin/keys",
    "/admin/keys/",
    "//admin/keys",
    "/admin//keys",
    "/Admin/Keys",
    "/admin/keys/key-000000000000",
    "/admin/keys/..%2fkeys",
    "/%61dmin/keys",
    "/admin%2fkeys",
    "/healthz/../admin/keys",
    "/healthz/%2e%2e/admin/keys",
    "/admin/keys;x",
    "/admin/keys%00",
    "/admin/reload",
    "/admin/reload/",
    "http://x/admin/keys",
    "/docs/../admin/keys",
)
FORGED = (
    "",
    "host: healthz/?",
    "host: x/healthz#",
    "host: x@127.0.0.1/healthz?",
    "x-original-url: /healthz",
    "x-rewrite-url: /healthz",
    "x-forwarded-prefix: /healthz",
    "x-http-method-override: GET",
    "x-forwarded-for: 127.0.0.1",
    "forwarded: for=127.0.0.1",
    "x-real-ip: 127.0.0.1",
    "authorization: Bearer",
    "authorization: Bearer null",
    "authorization: Bearer sk-sy-" + "A" * 43,
    "x-key-id: key-000000000000",
    "x-admin-token: " + TOKEN,
    "cookie: authorization=Bearer " + TOKEN,
)


@pytest.fixture(scope="module")
def gateway(stub_thread, artifacts, tmp_path_factory):
    changes = {"auth": {"mode": "keys"}, "store": {"data_dir": "data"}}
    env = {"STEELYARD_ADMIN_TOKEN": TOKEN}
    config = stub_config(
        tmp_path_factory.mktemp("guarded"), stub_thread.origin, changes=changes, env=env
    )
    with GatewayThread(config, artifacts=artifacts) as gateway:
        yield gateway


def raw(gateway, method, target, *lines):
    """Send exactly this; return the status."""
    parts = urlsplit(gateway.url)
    host = () if any(line.startswith("host:") for line in lines) else ("host: x",)
    head = "\r\n".join([f"{method} {target} HTTP/1.1", *host, *filter(None, lines)])
    with socket.create_connection((parts.hostname, parts.port), timeout=10) as sock:
        sock.sendall(
            f"{head}\r\nconnection: close\r\ncontent-type: application/json\r\n"
            f"content-length: {len(ASK)}\r\n\r\n{ASK}".encode()
        )
        data = b""
        while got := sock.recv(65536):
            data += got
    assert data.count(b"HTTP/1.1 ") == 1
    assert b"location:" not in data.lower()
    return int(data.split(b" ", 2)[1])


@pytest.mark.parametrize("target", SPELLINGS)
def test_no_spelling_of_a_path_is_answered_without_its_key(gateway, stub, target):
    for method in ("GET", "POST", "DELETE"):
        assert raw(gateway, method, target) in {400, 401, 404, 405}
    assert stub.log() == []


@pytest.mark.parametrize("forged", FORGED)
@pytest.mark.parametrize(
    ("method", "target"),
    [("POST", "/v1/chat/completions"), ("GET", "/admin/keys"), ("POST", "/admin/reload")],
)
def test_no_header_stands_for_a_key(gateway, stub, forged, method, target):
    assert raw(gateway, method, target, forged) == 401
    assert stub.log() == []


@pytest.mark.parametrize("path", sorted(OPEN - {"/"}))
def test_an_admin_token_in_the_wrong_place_opens_nothing_and_breaks_nothing(gateway, path):
    assert raw(gateway, "GET", path, f"authorization: Bearer {TOKEN}") == 200
    assert raw(gateway, "POST", "/v1/route", f"authorization: Bearer {TOKEN}") == 401


def test_every_documented_route_asks_for_a_key_or_is_known_to_be_open(gateway):
    """A route that somebody adds is asked here without their help."""
    documented = gateway.app.openapi()["paths"]
    assert {"/v1/chat/completions", "/v1/models", "/admin/keys", "/admin/reload"} <= set(documented)
    for path, methods in documented.items():
        target = "/".join("x" if part.startswith("{") else part for part in path.split("/"))
        for method in methods:
            status = raw(gateway, method.upper(), target)
            assert status == (200 if path in OPEN else 401), (method, path)
