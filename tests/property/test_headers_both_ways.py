"""Which headers pass: of a client's hardly any, of an upstream's hardly any, whatever they hold."""

import asyncio
import json
import threading

import httpx
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from app.api.knobs import HEADER_KEYS
from app.main import create_app
from tests.support.gateway import GatewayThread, stub_config
from tests.support.raw_client import RawClient
from tests.support.raw_server import Peer, raw_server

FEW = settings(
    max_examples=120,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)

TO_UPSTREAM = {
    *("host", "content-type", "accept-encoding", "content-length", "accept", "user-agent"),
    *("authorization", "openai-beta", "idempotency-key"),
}
"""All that an upstream of OpenAI's dialect may ever see; the credential is the operator's."""

TO_CLIENT = {
    *("content-type", "content-length", "cache-control", "x-accel-buffering", "connection"),
    *("x-request-id", "x-upstream-request-id", "openai-processing-ms", "openai-version"),
    *("retry-after", "retry-after-ms", "x-should-retry", "date", "server", "transfer-encoding"),
}
ROUTE_PREFIXES = ("x-route-", "x-ratelimit-")


def words(text: str) -> st.SearchStrategy[str]:
    return st.sampled_from(text.split())


NAME_CHARACTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789!#$%&'*+-.^_`|~"
NAMES = st.one_of(
    st.text(NAME_CHARACTERS, min_size=1, max_size=30),
    st.sampled_from(
        [
            "authorization",
            "x-api-key",
            "api-key",
            "cookie",
            "proxy-authorization",
            "forwarded",
            "x-forwarded-for",
            "x-forwarded-host",
            "x-forwarded-proto",
            "x-real-ip",
            "via",
            "host-override",
            "x-original-url",
            "x-rewrite-url",
            "x-http-method-override",
            "openai-organization",
            "openai-project",
            "openai-beta",
            "anthropic-version",
            "anthropic-beta",
            "idempotency-key",
            "x-request-id",
            "user-agent",
            "referer",
            "te",
            "x-steelyard-key",
            "x-key-id",
            "x-upstream",
            "x-upstream-request-id",
            "keep-alive",
            "proxy-connection",
            "x-stainless-lang",
            "x-envoy-original-path",
            "traceparent",
            "accept",
            "accept-encoding",
            "range",
            "if-none-match",
            "x-session-id",
        ]
    ),
).filter(lambda name: not name.lower().startswith(("x-route-", "x-cost-quality")))
NOT_OURS = NAMES.filter(
    lambda name: (
        name.lower()
        not in ("host", "content-length", "transfer-encoding", "content-type", "content-encoding")
    )
)
VALUES = st.text(st.characters(min_codepoint=0x20, max_codepoint=0xFF), max_size=40).map(
    lambda text: text.strip().replace("\x7f", "")
)
CANARY = "canary-of-the-client"


@pytest.fixture(scope="module")
def runner():
    with asyncio.Runner() as runner:
        yield runner


@pytest.fixture(scope="module")
def ask(stub_thread, artifacts, tmp_path_factory, runner):
    """Send one request through the application; return the answer and what the stub saw."""
    stub_thread.reset()
    changes = {
        "upstreams.stub.api_key_env": "KEY",
        "breaker.failures": 1_000_000,
        "server.max_lag_s": 3600,  # the event loop stands still between two requests
    }
    directory = tmp_path_factory.mktemp("app")
    config = stub_config(directory, stub_thread.origin, changes=changes, env={"KEY": "sk-operator"})
    app = create_app(config, artifacts=artifacts)

    async def send(headers, fields):
        body = {"model": "sim-nano", "messages": [{"role": "user", "content": "hi"}], **fields}
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(app), base_url="http://gateway", headers={}
        ) as client:
            return await client.post("/v1/chat/completions", json=body, headers=headers)

    def ask(headers, /, **fields):
        stub_thread.reset()
        return runner.run(send(headers, fields)), stub_thread.log()

    lifespan = app.router.lifespan_context(app)
    runner.run(lifespan.__aenter__())
    yield ask
    runner.run(lifespan.__aexit__(None, None, None))


@FEW
@given(headers=st.lists(st.tuples(NOT_OURS, VALUES), max_size=8), stream=st.booleans())
@example(headers=[("authorization", f"Bearer {CANARY}"), ("x-api-key", CANARY)], stream=True)
@example(headers=[("openai-beta", "assistants=v2"), ("idempotency-key", "a")], stream=False)
def test_of_a_clients_headers_only_the_listed_ones_reach_an_upstream(ask, headers, stream):
    marked = [(name, f"{CANARY} {value}".encode("latin-1")) for name, value in headers]
    answer, log = ask(marked, stream=stream)
    if answer.status_code == 400:
        # What the gateway reads itself may be refused, and then nobody is asked.
        assert log == []
        return
    assert answer.status_code == 200, answer.text
    (entry,) = log
    seen = dict(entry.headers)
    assert set(seen) <= TO_UPSTREAM
    assert seen["authorization"] == "Bearer sk-operator"
    carriers = {name for name, value in entry.headers if CANARY in value}
    assert carriers <= {"openai-beta"}


@FEW
@given(
    name=st.sampled_from(["x-request-id", "openai-beta", "idempotency-key", "x-session-id"]),
    value=st.binary(max_size=60),
)
@example(name="x-request-id", value=b"a\r\nset-cookie: x=y")
@example(name="openai-beta", value=b"a\r\nauthorization: Bearer other\r\n\r\n{}")
@example(name="openai-beta", value=b"a\nx: y")
def test_no_header_value_ends_its_line(ask, name, value):
    """Even if a server handed one on: the application is given the raw value here."""
    answer, log = ask([(name.encode(), value)])
    for told in answer.headers.raw:
        assert not set(b"\r\n\0") & set(told[1])
    assert "set-cookie" not in answer.headers
    for entry in log:
        assert set(dict(entry.headers)) <= TO_UPSTREAM
        assert dict(entry.headers)["authorization"] == "Bearer sk-operator"


REDIRECTS = words(
    "api_base base_url baseURL api_key apiKey endpoint host url proxy custom_host upstream "
    "azure_endpoint organization extra_headers headers extra_body deployment_id"
)


@FEW
@given(
    fields=st.dictionaries(
        REDIRECTS,
        st.sampled_from(["http://127.0.0.1:9/v1", "http://169.254.169.254/", {"host": "x"}])
        | st.text(max_size=20),
        min_size=1,
    )
)
def test_nothing_in_a_body_moves_the_upstream_or_its_credential(ask, fields):
    answer, log = ask([], **fields)
    assert answer.status_code == 200, answer.text
    (entry,) = log  # on the operator's upstream, and nowhere else
    assert dict(entry.headers)["authorization"] == "Bearer sk-operator"
    assert set(dict(entry.headers)) <= TO_UPSTREAM


@FEW
@given(
    name=st.sampled_from(
        [
            "x-route-model",
            "x-route-reason",
            "x-route-decision-id",
            "x-route-upstream",
            "x-route-key-id",
            "x-route-policy-version",
            "x-route-team",
            "x-route-tenant",
            "x-route-cost-usd",
        ]
    ),
    value=VALUES,
)
def test_what_the_gateway_says_in_headers_cannot_be_said_to_it(ask, name, value):
    assert name.encode() not in HEADER_KEYS
    answer, log = ask([(name, value.encode("latin-1"))])
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == name
    assert log == []


UPSTREAM_VALUES = st.binary(max_size=30).map(lambda raw: raw.translate(None, b"\r\n\0"))
UPSTREAM_NAMES = NAMES.filter(
    lambda name: name.lower() not in ("content-length", "transfer-encoding", "connection")
)


@settings(FEW, max_examples=60)
@given(
    headers=st.lists(
        st.tuples(
            UPSTREAM_NAMES
            | st.sampled_from(["set-cookie", "openai-version", "x-request-id", "location"]),
            UPSTREAM_VALUES,
        ),
        max_size=6,
    ),
    status=st.sampled_from([200, 200, 400, 401, 429, 500]),
)
@example(headers=[("openai-version", b"a\x01b"), ("x-request-id", b"\x7f")], status=200)
@example(headers=[("set-cookie", b"a=b"), ("x-route-model", b"forged")], status=200)
def test_of_an_upstreams_headers_only_the_listed_ones_reach_a_client(
    gateway_of_raw_upstream, headers, status
):
    lines = b"".join(b"%b: %b\r\n" % (name.encode(), value) for name, value in headers)
    head, body = gateway_of_raw_upstream(status, lines)
    names = {line.partition(":")[0].lower() for line in head.split("\r\n")[1:] if line}
    others = {name for name in names - TO_CLIENT if not name.startswith(ROUTE_PREFIXES)}
    assert others == set()
    assert "forged" not in head
    assert json.loads(body)  # whole, and JSON


@pytest.fixture(scope="module")
def gateway_of_raw_upstream(artifacts, tmp_path_factory):
    """Serve on a real socket, from an upstream that sends the header lines that it is given."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    said = {}

    async def script(peer: Peer) -> None:
        while True:
            await peer.request()
            choice = {"index": 0, "message": {"role": "assistant", "content": "a"}}
            body = json.dumps({"choices": [choice]}).encode()
            if said["status"] != 200:
                body = b'{"error":{"message":"no","type":"x","param":null,"code":null}}'
            await peer.send(
                b"HTTP/1.1 %d X\r\ncontent-length: %d\r\n" % (said["status"], len(body))
                + said["lines"]
                + b"\r\n"
                + body
            )

    server = raw_server(script)
    raw = asyncio.run_coroutine_threadsafe(server.__aenter__(), loop).result(60)
    changes = {
        "upstreams.stub.base_url": f"{raw.origin}/v1",
        "upstreams.stub.retries": 0,
        "breaker.failures": 1_000_000,
    }
    config = stub_config(tmp_path_factory.mktemp("raw"), raw.origin, changes=changes)
    with GatewayThread(config, artifacts=artifacts) as gateway:

        def ask(status, lines):
            said.update(status=status, lines=lines)
            client = RawClient(gateway.url)
            client.send_request('{"model":"sim-nano","messages":[{"role":"user","content":"a"}]}')
            data = client.read_until(b"\r\n\r\n")
            head, _, body = data.partition(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
            while len(body) < length:
                body += client.socket.recv(65536)
            client.close()
            return head.decode("latin-1"), body

        yield ask
    asyncio.run_coroutine_threadsafe(server.__aexit__(None, None, None), loop).result(60)
    loop.call_soon_threadsafe(loop.stop)
    thread.join(60)
    loop.close()
