"""Input that is wrong in every way, over sockets: always OpenAI's error, never a 500."""

import json
import socket
from urllib.parse import urlsplit

import httpx
import pytest

from tests.support.requests import assert_openai_error

GOOD = {"model": "auto", "messages": [{"role": "user", "content": "Hello"}]}
PATHS = ["/v1/chat/completions", "/v1/route"]


@pytest.fixture
def client(gateway):
    with httpx.Client(base_url=gateway.url, trust_env=False) as client:
        yield client


def good(**fields):
    return json.dumps({**GOOD, **fields}).encode()


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    "content",
    [
        b"",
        b" \n",
        b"not json",
        b"{",
        b"null",
        b"[]",
        b'"text"',
        b"1e999",
        b"{}",
        b'{"model": "auto", "messages": [',
        b'{"model": "auto"} {}',
        b"\xff\xfe",
        b'{"model": "\xc3\x28"}',
        b'{"model": "\\ud800", "messages": [{"role": "user", "content": "x"}]}',
        b'{"model": "auto", "messages": [{"role": "user", "content": "\xed\xa0\x80"}]}',
        b"\xef\xbb\xbf{}",
        b"{'model': 'auto'}",
        b'{"model": NaN, "messages": []}',
        b'{"model": "auto", "messages": [{"role": "user", "content": "x"}], "n": Infinity}',
        b"[" * 100_000,
        b'{"a":' * 50_000 + b"1" + b"}" * 50_000,
        b'{"model": "auto", "messages": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    ],
)
def test_a_body_that_is_no_request_is_a_400(client, stub, path, content):
    assert_openai_error(client.post(path, content=content), status=400)
    assert stub.log() == []


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"model": None}, "model"),
        ({"model": ""}, "model"),
        ({"model": 7}, "model"),
        ({"model": ["auto"]}, "model"),
        ({"messages": None}, "messages"),
        ({"messages": []}, "messages"),
        ({"messages": {}}, "messages"),
        ({"messages": "hello"}, "messages"),
        ({"messages": [None]}, "messages"),
        ({"messages": [{}]}, "messages"),
        ({"messages": [{"role": "user", "content": 3}]}, "messages"),
        ({"messages": [{"role": "user", "content": [{"text": "x"}]}]}, "messages"),
        ({"stream": "true"}, "stream"),
        ({"stream": 1}, "stream"),
        ({"stream_options": 1}, "stream_options"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": -(10**40)}, "max_tokens"),
        ({"max_tokens": 10**400}, "max_tokens"),
        ({"max_tokens": 1.5}, "max_tokens"),
        ({"max_completion_tokens": True}, "max_completion_tokens"),
        ({"n": 0}, "n"),
        ({"n": "2"}, "n"),
        ({"tools": "hammer"}, "tools"),
        ({"response_format": []}, "response_format"),
        ({"modalities": [1]}, "modalities"),
        ({"routing": []}, "routing"),
        ({"routing": {"cost_quality": "dear"}}, "routing.cost_quality"),
        ({"routing": {"cost_quality": 10**400}}, "routing.cost_quality"),
        ({"routing": {"max_cost": -1}}, "routing.max_cost"),
        ({"routing": {"unknown": 1}}, "routing.unknown"),
        ({"routing": {"": 1}}, "routing."),
    ],
)
def test_a_field_of_the_wrong_kind_is_a_400_that_names_it(client, stub, path, fields, param):
    error = assert_openai_error(client.post(path, content=good(**fields)), status=400)
    assert error["type"] == "invalid_request_error"
    assert error["param"] == param or error["param"].startswith(f"{param}[")
    assert stub.log() == []


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    ("header", "value"),
    [
        ("x-cost-quality", ""),
        ("x-cost-quality", "NaN"),
        ("x-cost-quality", "inf"),
        ("x-cost-quality", "2"),
        ("x-cost-quality", "9" * 5000),
        ("x-cost-quality", b"\xff"),
        ("x-route-max-quality-loss", "-0.1"),
        ("x-route-min-quality", "high"),
        ("x-route-max-cost", "1e400"),
        ("x-route-lambda", "-1"),
        ("x-route-models", ","),
        ("x-route-models", "sim-nano,gpt-9"),
        ("x-route-policy", "\u00fc".encode()),
        ("x-route-fallback", "sometimes"),
        ("x-route-explain", "please"),
        ("x-route-typo", "1"),
        ("x-cost-quality-typo", "1"),
    ],
)
def test_a_bad_routing_header_is_a_400_that_names_it(client, path, header, value):
    response = client.post(path, content=good(), headers={header: value})
    error = assert_openai_error(response, status=400)
    assert error["param"] == header


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    "content_type",
    [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/json; charset=latin-1",
        "application/json; profile=x; charset=utf-16",
        'application/json; charset="latin-1"; charset=utf-8',
        "nonsense",
        "\u00fc/json",
    ],
)
def test_another_content_type_is_a_415(client, path, content_type):
    headers = {"content-type": content_type.encode()}
    response = client.post(path, content=good(), headers=headers)
    error = assert_openai_error(response, status=415)
    assert error["code"] == "unsupported_media_type"


@pytest.mark.parametrize(
    "content_type",
    [
        "application/json",
        "application/json; charset=utf-8",
        'Application/JSON; charset="UTF-8"',
        "application/json; charset=utf-8;",
        "application/json;charset=utf-8 ; profile=x",
        'application/json; profile="a; charset=latin-1"; charset=utf-8',
        "application/json; ; boundary",
        "application/vnd.api+json",
        None,
    ],
)
def test_json_by_any_name_is_taken(client, content_type):
    headers = {} if content_type is None else {"content-type": content_type}
    assert client.post("/v1/route", content=good(), headers=headers).status_code == 200


@pytest.mark.parametrize("path", PATHS)
def test_a_body_over_the_limit_is_a_413_whether_or_not_its_length_is_told(fresh_gateway, path):
    gateway = fresh_gateway({"server.max_body_bytes": 4096})
    content = good(messages=[{"role": "user", "content": "x" * 5000}])
    with httpx.Client(base_url=gateway.url, trust_env=False) as client:
        told = client.post(path, content=content)
        chunked = client.post(path, content=(content[i : i + 500] for i in range(0, 5000, 500)))
        fits = client.post(path, content=good() + b" " * (4096 - len(good())))
    for response in (told, chunked):
        error = assert_openai_error(response, status=413)
        assert error["code"] == "request_too_large"
        assert "4096" in error["message"]
    assert fits.status_code == 200


def test_a_huge_announced_body_is_refused_before_it_is_sent(gateway):
    parts = urlsplit(gateway.url)
    with socket.create_connection((parts.hostname, parts.port), timeout=10) as sock:
        sock.sendall(
            b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 99999999999\r\n\r\n{"
        )
        answer = sock.recv(65536)
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b'"code":"request_too_large"' in answer


def test_ten_megabytes_are_the_default_limit(client):
    content = good(messages=[{"role": "user", "content": "x" * 10_000_000}])
    assert_openai_error(client.post("/v1/chat/completions", content=content), status=413)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1"),
        ("GET", "/v1/nothing"),
        ("POST", "/v1/chat/completions/x"),
        ("GET", "/%00"),
        ("GET", "/%ff%fe"),
        ("GET", "/../etc/passwd"),
        ("GET", "/\u00fc"),
        ("OPTIONS", "/v1/nothing"),
    ],
)
def test_an_unknown_path_is_a_404_in_the_same_shape(client, method, path):
    error = assert_openai_error(client.request(method, path), status=404)
    assert error["code"] == "unknown_url"


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("GET", "/v1/chat/completions", {"POST"}),
        ("PUT", "/v1/chat/completions", {"POST"}),
        ("TRACE", "/v1/route", {"POST"}),
        ("POST", "/v1/models", {"GET", "HEAD"}),
        ("DELETE", "/v1/models/auto", {"GET", "HEAD"}),
        ("POST", "/healthz", {"GET", "HEAD"}),
        ("PATCH", "/metrics", {"GET", "HEAD"}),
    ],
)
def test_a_wrong_method_is_a_405_that_lists_the_right_ones(client, method, path, allow):
    response = client.request(method, path)
    error = assert_openai_error(response, status=405)
    assert error["code"] == "method_not_allowed"
    assert set(response.headers["allow"].split(", ")) == allow


@pytest.mark.parametrize(
    ("path", "allow"),
    [
        ("/v1/chat/completions", {"POST"}),
        ("/v1/messages", {"POST"}),
        ("/v1/models", {"GET", "HEAD"}),
        ("/", {"GET", "HEAD"}),
    ],
)
def test_whoever_asks_for_the_methods_of_a_path_is_told_them(client, path, allow):
    response = client.options(path)
    assert (response.status_code, response.content) == (204, b"")
    assert set(response.headers["allow"].split(", ")) == allow


@pytest.mark.parametrize("path", ["/", "/api/hello"])
def test_a_probe_is_answered(client, path):
    response = client.head(path)
    assert (response.status_code, response.content) == (200, b"")
    assert response.headers["x-request-id"]


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/v1/models", "/v1/models/auto", "/docs"])
def test_head_is_answered_like_get_without_its_body(client, path):
    get, head = client.get(path), client.head(path)
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == get.headers["content-length"]


def test_no_host_gets_into_a_redirect_or_a_page(client):
    headers = {"host": "127.0.0.9:1"}
    redirect = client.get("/", headers=headers)
    assert redirect.status_code == 307
    assert redirect.headers["location"] == "docs"
    assert "127.0.0.9" not in client.get("/docs", headers=headers).text


def test_a_wrong_method_with_head_has_no_body(client):
    response = client.head("/v1/chat/completions")
    assert (response.status_code, response.content) == (405, b"")


@pytest.mark.parametrize("name", ["gpt-9", "a/b/c", "%20", "%ff", "x" * 5000, "auto%3Anope"])
def test_an_unknown_model_cannot_be_looked_up(client, name):
    error = assert_openai_error(client.get(f"/v1/models/{name}"), status=404)
    assert error["code"] == "model_not_found"
    assert len(error["message"]) < 1000


@pytest.mark.parametrize(
    "lines",
    [
        b"BREW /coffee HTTP/1.1\r\nhost: x\r\n\r\n",
        b"GET /\xff\xfe HTTP/1.1\r\nhost: x\r\n\r\n",
        b"POST /v1/route HTTP/1.1\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\n{}",
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: -1\r\n\r\n",
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: x\r\n\r\n",
        b"POST /v1/route HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        b"nonsense\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
    ],
)
def test_what_is_no_http_ends_that_connection_and_nothing_else(gateway, client, lines):
    parts = urlsplit(gateway.url)
    with socket.create_connection((parts.hostname, parts.port), timeout=10) as sock:
        sock.sendall(lines)
        sock.shutdown(socket.SHUT_WR)
        answer = b""
        while got := sock.recv(65536):
            answer += got
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ")
    assert b"\r\nx-request-id: req-" in head
    assert set(json.loads(body)["error"]) == {"message", "type", "param", "code"}
    assert client.get("/healthz").status_code == 200
