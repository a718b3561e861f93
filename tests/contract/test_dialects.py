"""What every inbound dialect promises, whichever dialects there are."""

import contextlib
import json
import time

import httpx
import msgspec
import pytest

from app.api.boundary import BoundaryMiddleware
from app.api.dialects.base import dialects
from app.errors import InvalidRequestError
from app.head import NO_HEAD
from app.paths import CHAT_COMPLETIONS
from tests.support.policies import routed
from tests.support.raw_client import RawClient
from tests.support.stub import StubThread
from tests.support.watching import assert_no_task_is_left, until

pytestmark = pytest.mark.parametrize("dialect", dialects().all, ids=lambda each: each.name)

_TEXTS = {"content", "text", "delta"}
"""Keys under which dialects write pieces of a text."""


def ask(gateway, dialect, *, path=None, method="POST", headers=None, content=None, **changes):
    body = {**dialect.documented.example, **changes}
    if content is None and method == "POST":
        content = json.dumps(body).encode()
    return httpx.request(
        method,
        gateway.url + (path or dialect.path),
        content=content,
        headers={"content-type": "application/json", **(headers or {})},
        trust_env=False,
        timeout=30,
    )


def stream(gateway, dialect, **changes):
    """Return the frames of a stream."""
    answer = ask(gateway, dialect, **{**dialect.documented.streamed, **changes})
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    *frames, rest = answer.text.split("\n\n")
    assert rest == ""
    return answer, frames


def payloads(frames):
    """Return the JSON of the frames that hold any."""
    lines = [line for frame in frames for line in frame.split("\n")]
    return [json.loads(line[6:]) for line in lines if line.startswith("data: {")]


def kind(frame):
    """Return what tells one frame from another, whatever its contents: its event, or its data."""
    return frame.partition("\n")[0] if frame.startswith("event: ") else frame


def walk(value, key=""):
    """Yield every key with its value, however deep."""
    yield key, value
    if isinstance(value, dict):
        for name, each in value.items():
            yield from walk(each, name)
    elif isinstance(value, list):
        for each in value:
            yield from walk(each, key)


def texts(value):
    return [each for key, each in walk(value) if key in _TEXTS and isinstance(each, str)]


def usages(value):
    return [each for key, each in walk(value) if key == "usage" and isinstance(each, dict)]


def assert_error(dialect, answer, status):
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-request-id"]
    dialect.documented.error.model_validate(answer.json())
    messages = [each for key, each in walk(answer.json()) if key == "message"]
    assert all(messages), answer.text
    return messages[0]


def request_of(dialect):
    body = json.dumps(dialect.documented.example).encode()
    parsed = dialect.parse(body, NO_HEAD, max_messages=10)
    return msgspec.structs.replace(routed({}), body=parsed.body)


@pytest.fixture
def own_stub():
    """Start a stub that nobody else is connected to."""
    with StubThread() as stub:
        yield stub


def test_its_name_is_its_modules(dialect):
    assert type(dialect).__module__.rpartition(".")[2] == dialect.name
    assert dialects().named(dialect.name) is dialect


def test_a_path_and_all_below_it_is_its_own(dialect):
    for path in (dialect.path, f"{dialect.path}/", f"{dialect.path}/some/thing"):
        assert dialects().at(path) is dialect
    assert dialects().at("/elsewhere").name == CHAT_COMPLETIONS


def test_its_example_is_read_as_a_request(dialect):
    body = json.dumps(dialect.documented.example).encode()
    parsed = dialect.parse(body, NO_HEAD, max_messages=10)
    assert parsed.model == "auto"
    assert not parsed.stream
    assert parsed.conversation.messages
    assert parsed.demand.input_tokens > 0
    assert parsed.body.dialect == dialect.name
    assert parsed.body.native(dialect.name) is not None
    assert "messages" in parsed.body.chat()
    assert {"model", "routing"}.isdisjoint(parsed.body.chat())
    dialect.documented.request.model_validate(dialect.documented.example)


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"{}", b"\xff", b'{"model":1}', b"[" * 100_000], ids=repr
)
def test_what_is_no_request_is_refused_with_its_fault(dialect, body):
    with pytest.raises(InvalidRequestError):
        dialect.parse(body[:100_000], NO_HEAD, max_messages=10)


def test_a_whole_answer_is_complete_and_billed(gateway, dialect):
    answer = ask(gateway, dialect, routing={"cost_quality": 1})
    assert answer.status_code == 200, answer.text
    body = answer.json()
    dialect.documented.answer.model_validate(body)
    assert any(texts(body))
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-route-model"]
    assert answer.headers["x-route-decision-id"]
    assert answer.headers["x-request-id"]
    (usage,) = usages(body)
    assert usage["cost_usd"] == float(answer.headers["x-route-cost-usd"]) > 0


def test_a_stream_says_the_same_as_a_whole_answer_and_is_billed_alike(gateway, dialect):
    whole = ask(gateway, dialect, model="sim-nano").json()
    answer, frames = stream(gateway, dialect, model="sim-nano")
    events = payloads(frames)
    longest = max(texts(whole), key=len)
    assert longest in "".join(text for event in events for text in texts(event))
    assert answer.headers["x-route-model"] == "sim-nano"
    (billed,) = usages(whole)
    assert usages(events)[-1] == billed


def test_a_request_with_a_client_id_is_answered_with_it(gateway, dialect):
    headers = {"x-request-id": "mine-1"}
    assert ask(gateway, dialect, headers=headers).headers["x-request-id"] == "mine-1"
    assert ask(gateway, dialect, headers=headers, model="no").headers["x-request-id"] == "mine-1"


@pytest.mark.parametrize("streamed", [False, True])
def test_an_explained_answer_holds_the_candidates(gateway, dialect, streamed):
    changes = dialect.documented.streamed if streamed else {}
    answer = ask(gateway, dialect, headers={"x-route-explain": "full"}, **changes)
    body = payloads(answer.text.split("\n\n")) if streamed else answer.json()
    (told,) = [each for key, each in walk(body) if key == "steelyard"]
    assert told["decision_id"] == answer.headers["x-route-decision-id"]
    assert told["candidates"]


def test_every_error_before_an_answer_is_in_its_shape(gateway, dialect, stub):
    assert_error(dialect, ask(gateway, dialect, content=b"{"), 400)
    assert "no-such" in assert_error(dialect, ask(gateway, dialect, model="no-such"), 404)
    headers = {"content-type": "text/plain"}
    assert_error(dialect, ask(gateway, dialect, headers=headers), 415)
    assert_error(dialect, ask(gateway, dialect, content=b" " * 10_500_000), 413)
    assert_error(dialect, ask(gateway, dialect, method="PUT"), 405)
    assert_error(dialect, ask(gateway, dialect, path=f"{dialect.path}/no/such"), 404)
    bad = {"x-cost-quality": "much"}
    assert_error(dialect, ask(gateway, dialect, headers=bad), 400)
    assert not stub.log()


def test_an_upstreams_failure_is_in_its_shape_with_the_decision(gateway, dialect, stub):
    stub.add_fault("status", status=500, times=100)
    answer = ask(gateway, dialect)
    assert_error(dialect, answer, 502)
    assert answer.headers["x-route-decision-id"]
    stub.reset()
    stub.add_fault("status", status=400, times=1)
    assert_error(dialect, ask(gateway, dialect, model="sim-nano"), 400)


def test_whoever_has_no_key_is_told_in_its_shape(fresh_gateway, dialect):
    keyed = fresh_gateway({"auth.mode": "keys", "store.data_dir": "store"})
    assert_error(dialect, ask(keyed, dialect, content=b"{"), 401)


async def test_a_failure_of_the_gateway_itself_is_in_its_shape(dialect):
    async def fails(_scope, _receive, _send):
        raise ZeroDivisionError

    sent = []

    async def send(message):
        sent.append(message)

    scope = {"type": "http", "path": dialect.path, "method": "POST", "headers": []}
    await BoundaryMiddleware(fails)(scope, None, send)
    start, body = sent
    assert start["status"] == 500
    dialect.documented.error.model_validate_json(body["body"])


@pytest.mark.parametrize("fault", ["reset_mid_stream", "close_mid_stream", "error_event"])
def test_a_stream_that_breaks_never_looks_complete(gateway, dialect, stub, fault):
    _, complete = stream(gateway, dialect, model="sim-nano")
    stub.add_fault(fault, after_chunks=3)
    _, broken = stream(gateway, dialect, model="sim-nano")
    assert kind(complete[-1]) not in map(kind, broken)
    last = payloads(broken)[-1]
    assert any(key == "error" and each for key, each in walk(last)), last
    assert any(key == "message" and each for key, each in walk(last)), last


def test_a_silent_stream_is_kept_alive(fresh_gateway, dialect, stub):
    pinging = fresh_gateway({"server.sse_ping_s": 0.05})
    ping = dialect.writer(request_of(dialect)).ping.decode()
    stub.add_fault("stall_mid_stream", after_chunks=3)
    asked = {**dialect.documented.example, **dialect.documented.streamed, "model": "sim-nano"}
    with httpx.stream("POST", pinging.url + dialect.path, json=asked, trust_env=False) as answer:
        seen, pieces = "", answer.iter_text()
        while not texts(payloads(seen.split("\n\n")[:-1])):
            seen += next(pieces)
        # It has begun to say something, and says nothing more.
        while ping not in seen[-len(ping) :]:
            seen += next(pieces)


@pytest.mark.parametrize("streamed", [False, True])
def test_a_client_that_leaves_takes_its_call_with_it(own_stub, fresh_gateway, dialect, streamed):
    gateway = fresh_gateway({"upstreams.stub.base_url": f"{own_stub.origin}/v1"})
    own_stub.add_fault("stall_before_headers" if not streamed else "stall_mid_stream")
    changes = dialect.documented.streamed if streamed else {}
    with contextlib.closing(RawClient(gateway.url)) as client:
        client.send_request(
            json.dumps({**dialect.documented.example, **changes}), path=dialect.path
        )
        own_stub.log(wait_for="running")
        if streamed:
            client.read_until(b"\n\n")
    own_stub.log(wait_for="client_gone")
    line = until(gateway, 'gateway_requests_total{error="client_disconnected"', 1)
    assert f'route="{dialect.path}"' in line
    assert_no_task_is_left(gateway)


def test_it_is_counted_and_documented_by_its_path(gateway, dialect):
    counted = f'route="{dialect.path}"'

    def count():
        lines = httpx.get(f"{gateway.url}/metrics", trust_env=False).text.splitlines()
        found = [each for each in lines if each.startswith("gateway_requests_total{")]
        return sum(float(each.rpartition(" ")[2]) for each in found if counted in each)

    before = count()
    ask(gateway, dialect)
    ask(gateway, dialect, content=b"{")
    deadline = time.monotonic() + 60
    while count() < before + 2:
        assert time.monotonic() < deadline
    document = httpx.get(f"{gateway.url}/openapi.json", trust_env=False).json()
    operation = document["paths"][dialect.path]["post"]
    sent = operation["requestBody"]["content"]["application/json"]
    assert sent["example"] == dialect.documented.example
