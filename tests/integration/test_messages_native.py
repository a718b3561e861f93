"""Between a client and an upstream that both speak the Messages API, not a byte is changed."""

import json

import httpx
import pytest

from tests.support.fixtures import fixture
from tests.support.gateway import GatewayThread, stub_config
from tests.support.messages import accumulated
from tests.support.odd_upstream import END, HELLO, ROLE, OddUpstream, event, stream, whole

CLAUDE, CHAT = "sim-frontier", "sim-nano"
SSE = b"content-type: text/event-stream\r\nanthropic-ratelimit-requests-limit: 7\r\n"
BODY = {"max_tokens": 50, "messages": [{"role": "user", "content": "What is a steelyard?"}]}
USAGE = {"input_tokens": 11, "output_tokens": 3, "cache_read_input_tokens": 4}
MESSAGE = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "claude-x",
    "content": [{"type": "text", "text": "Hello"}, {"type": "of_the_future", "x": [1.0]}],
    "stop_reason": "end_turn",
    "stop_sequence": None,
    "usage": USAGE,
    "future_field": {"kept": True},
}
CALLS = [{"type": "tool_use", "id": "toolu_1", "name": "read", "input": {}}]
RESULT = {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_1"}]}


@pytest.fixture(scope="module")
def upstream_thread():
    with OddUpstream() as upstream:
        yield upstream


@pytest.fixture(scope="module")
def gateway_thread(upstream_thread, stub_thread, artifacts, tmp_path_factory):
    changes = {
        "upstreams.claude": {
            "kind": "anthropic",
            "base_url": f"{upstream_thread.origin}/v1",
            "api_key_env": "ANTHROPIC_API_KEY",
        },
        "upstreams.stub.base_url": f"{upstream_thread.origin}/v1",
        f"models.{CLAUDE}.upstream": "claude",
        "breaker.failures": 1_000_000,
    }
    config = stub_config(
        tmp_path_factory.mktemp("gateway"),
        stub_thread.origin,
        changes=changes,
        env={"ANTHROPIC_API_KEY": "sk-ant-canary"},
    )
    with GatewayThread(config, artifacts=artifacts) as running:
        yield running


@pytest.fixture
def upstream(upstream_thread):
    upstream_thread.reset()
    return upstream_thread


@pytest.fixture
def ask(gateway_thread, upstream):
    with httpx.Client(base_url=gateway_thread.url, trust_env=False, timeout=30) as client:

        def post(model=CLAUDE, *, headers=None, path="/v1/messages?beta=true", **changes):
            return client.post(path, json={"model": model, **BODY, **changes}, headers=headers)

        post.url = gateway_thread.url
        yield post


def native(data: bytes, *, pieces: int = 3) -> list[bytes]:
    size = max(len(data) // pieces, 1)
    cut = [data[i : i + size] for i in range(0, len(data), size)]
    return stream(*cut, headers=SSE)


@pytest.mark.parametrize("pieces", [1, 7, 50])
@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
@pytest.mark.parametrize(
    "name", ["text", "tool_use", "thinking", "refusal", "server_tool", "usage_late", "future"]
)
def test_a_stream_comes_byte_for_byte(ask, upstream, name, end, pieces):
    recorded = fixture(f"anthropic/{name}.sse").replace(b"\n", end)
    upstream.answers[CLAUDE] = native(recorded, pieces=pieces)
    answer = ask(stream=True)
    assert answer.status_code == 200
    assert answer.content == recorded
    assert "anthropic-ratelimit-requests-limit" not in answer.headers
    assert answer.headers["request-id"] == answer.headers["x-request-id"]


def test_a_whole_answer_comes_byte_for_byte_and_its_cost_is_told(ask, upstream):
    raw = json.dumps(MESSAGE, indent=1).encode()
    upstream.answers[CLAUDE] = whole(raw)
    answer = ask()
    assert answer.content == raw
    # Four of fifteen tokens were read from a cache.
    assert 0 < float(answer.headers["x-route-cost-usd"]) <= (15 * 4 + 3 * 20) / 1e6


def test_the_request_arrives_as_it_was_written(ask, upstream):
    upstream.answers[CLAUDE] = whole(MESSAGE)
    sent = {
        "system": [{"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}}],
        "tools": [{"name": "a.b:c", "input_schema": {"type": "object"}, "future": 1}],
        "future_field": {"a": [1.50, None]},
        "metadata": {"user_id": "u" * 300},
    }
    betas = [("anthropic-beta", "one-2025-01-01,two"), ("anthropic-beta", "three")]
    headers = [*betas, ("anthropic-version", "2026-10-21"), ("anthropic-new", "x")]
    headers += [("x-api-key", "sk-client"), ("x-claude-code-session-id", "s-1")]
    routing = {"fallback": False}
    assert ask(headers=headers, routing=routing, **sent).status_code == 200
    ((head, body),) = upstream.asked
    assert body == {"model": CLAUDE, **BODY, **sent}
    lines = head.decode().lower().split("\r\n")
    told = [line for line in lines if line.startswith("anthropic-")]
    assert sorted(told) == sorted(
        f"{name}: {value}" for name, value in headers if name.startswith("anthropic-")
    )
    assert told[0] == "anthropic-beta: one-2025-01-01,two"
    assert "x-api-key: sk-ant-canary" in lines
    assert not any("sk-client" in line or "claude-code" in line for line in lines)


def test_without_a_limit_of_the_answer_its_upstream_is_told_one(ask, upstream):
    upstream.answers[CLAUDE] = whole(MESSAGE)
    body = {"model": CLAUDE, "messages": BODY["messages"]}
    for model in (CLAUDE, CHAT):
        answer = httpx.post(
            f"{ask.url}/v1/messages", json={**body, "model": model}, trust_env=False
        )
        assert answer.status_code == 200, answer.text
    (_, native_body), (_, chat_body) = upstream.asked
    assert native_body["max_tokens"] > 1000
    assert "max_tokens" not in chat_body


def test_a_chat_upstream_sees_none_of_its_headers(ask, upstream):
    assert ask(CHAT, headers={"anthropic-beta": "one", "anthropic-version": "x"}).is_success
    ((head, _),) = upstream.asked
    assert b"anthropic" not in head.lower()


def test_an_error_comes_byte_for_byte(ask, upstream):
    raw = b'{"type": "error", "error": {"type":"invalid_request_error","message":"odd \\u00e9"}}'
    upstream.answers[CLAUDE] = whole(raw, status=400)
    answer = ask()
    assert (answer.status_code, answer.content) == (400, raw)


@pytest.mark.parametrize("kind", ["overloaded_error", "future_error"])
def test_an_error_in_the_middle_of_a_stream_ends_it(ask, upstream, kind):
    text = fixture("anthropic/text.sse")
    begun = text[: text.index(b"event: content_block_stop")]
    data = b'{"type": "error", "error": {"type": "%b", "message": "Over"}}' % kind.encode()
    failed = begun + b"event: error\ndata: " + data + b"\n\n"
    upstream.answers[CLAUDE] = native(failed)
    assert ask(stream=True).content == failed


def test_a_stream_that_is_cut_ends_in_an_error(ask, upstream):
    text = fixture("anthropic/text.sse")
    begun = text[: text.index(b"event: content_block_stop")]
    upstream.answers[CLAUDE] = native(begun)
    answer = ask(stream=True)
    assert answer.content.startswith(begun)
    last = answer.text.strip().split("\n\n")[-1].split("\n")
    assert last[0] == "event: error"
    assert json.loads(last[1][6:])["error"]["type"] == "api_error"


def test_before_its_first_content_another_model_is_tried(ask, upstream):
    recorded = fixture("anthropic/overloaded.sse")
    start, error = recorded.index(b"event: content_block_start"), recorded.index(b"event: error")
    upstream.answers[CLAUDE] = native(recorded[:start] + recorded[error:])
    routing = {"models": [CLAUDE, CHAT], "cost_quality": 1, "affinity": False}
    answer = ask("auto", stream=True, routing=routing)
    assert answer.headers["x-route-model"] == CHAT, answer.text
    assert accumulated(answer.content)["content"] == [{"type": "text", "text": "Hello"}]


@pytest.mark.parametrize(
    ("statuses", "told"),
    [((529, 503), 529), ((503,), 529), ((529, 500), 502), ((529, 429), 502)],
)
def test_upstreams_that_have_too_much_to_do_are_told_as_overloaded(ask, upstream, statuses, told):
    models = (CLAUDE, CHAT)[: len(statuses)]
    for model, status in zip(models, statuses, strict=True):
        upstream.answers[model] = whole({"error": {"message": "no"}}, status=status)
    routing = {"models": list(models), "cost_quality": 1, "affinity": False}
    answer = ask("auto", routing=routing)
    assert answer.status_code == told, answer.text
    kind = "overloaded_error" if told == 529 else "api_error"
    assert answer.json()["error"]["type"] == kind


def test_thinking_without_its_seal_is_taken_out(ask, upstream):
    upstream.answers[CLAUDE] = whole(MESSAGE)
    good = {"type": "thinking", "thinking": "b", "signature": "EqQB"}
    bad = [
        {"type": "thinking", "thinking": "a", "signature": ""},
        {"type": "thinking", "thinking": "c", "signature": "steelyard.reasoning_content"},
        {"type": "redacted_thinking", "data": ""},
    ]
    turn = {"role": "assistant", "content": [*bad, good, *CALLS]}
    assert ask(messages=[*BODY["messages"], turn, RESULT]).is_success
    ((_, body),) = upstream.asked
    assert body["messages"][1]["content"] == [good, *CALLS]


def test_refused_seals_are_left_out_once(ask, upstream, gateway_thread):
    message = "messages.1.content.0: Invalid `signature` in `thinking` block"
    error = {"type": "error", "error": {"type": "invalid_request_error", "message": message}}
    upstream.answers[CLAUDE] = whole(error, status=400)
    thinking = {"type": "thinking", "thinking": "b", "signature": "EqQB"}
    turns = [*BODY["messages"], {"role": "assistant", "content": [thinking, *CALLS]}, RESULT]
    answer = ask(messages=turns)
    assert (answer.status_code, answer.json()) == (400, error)
    assert [len(body["messages"][1]["content"]) for _, body in upstream.asked] == [2, 1]
    upstream.reset()
    upstream.answers[CLAUDE] = whole(error, status=400)
    assert ask().status_code == 400
    assert len(upstream.asked) == 1


CACHED = {"x-route-cache": "on"}


def test_an_answer_that_is_kept_comes_again_byte_for_byte(ask, upstream):
    recorded = fixture("anthropic/tool_use.sse")
    raw = json.dumps(MESSAGE, indent=1).encode()
    turns = [{"role": "user", "content": "Keep this."}]
    seen = []
    for streaming in (True, True, False, False):
        upstream.answers[CLAUDE] = native(recorded) if streaming else whole(raw)
        answer = ask(headers=CACHED, stream=streaming, messages=turns)
        assert answer.content == (recorded if streaming else raw)
        assert answer.headers["content-type"].startswith(
            "text/event-stream" if streaming else "application/json"
        )
        seen.append(answer.headers["x-route-cache"])
    assert seen == ["miss", "hit", "miss", "hit"]
    assert len(upstream.asked) == 2
    assert float(answer.headers["x-route-cost-usd"]) == 0
    # Another knob of the request is another answer.
    assert ask(headers=CACHED, messages=turns, top_k=1).headers["x-route-cache"] == "miss"
    assert ask("auto", headers=CACHED, messages=turns).headers["x-route-cache"] == "miss"


@pytest.mark.parametrize("name", ["refusal", "cut"])
def test_an_answer_that_is_none_in_full_is_not_kept(ask, upstream, name):
    text = fixture("anthropic/refusal.sse" if name == "refusal" else "anthropic/text.sse")
    sent = text if name == "refusal" else text[: text.index(b"event: content_block_stop")]
    turns = [{"role": "user", "content": f"Do not keep this: {name}."}]
    for _ in range(2):
        upstream.answers[CLAUDE] = native(sent)
        answer = ask(headers=CACHED, stream=True, messages=turns)
        assert answer.headers["x-route-cache"] == "miss"
    assert len(upstream.asked) == 2


def test_tokens_are_counted_by_the_upstream_of_a_pinned_model(ask, upstream):
    upstream.answers[CLAUDE] = whole({"input_tokens": 4711})
    answer = ask(path="/v1/messages/count_tokens")
    assert answer.json() == {"input_tokens": 4711}
    ((head, body),) = upstream.asked
    assert head.startswith(b"POST /v1/messages/count_tokens ")
    assert body == {"model": CLAUDE, "messages": BODY["messages"]}
    for odd in ({}, {"input_tokens": -1}, {"input_tokens": "9"}, b"<html>", b"[]"):
        upstream.answers[CLAUDE] = whole(odd)
        answer = ask(path="/v1/messages/count_tokens")
        assert 0 < answer.json()["input_tokens"] < 100
        assert answer.headers["x-route-tokens-counted-by"] == "estimate"
    upstream.reset()
    upstream.answers[CLAUDE] = whole({}, status=500)
    assert ask(path="/v1/messages/count_tokens").json()["input_tokens"] > 0
    answer = ask("auto", path="/v1/messages/count_tokens")
    assert answer.headers["x-route-tokens-counted-by"] == "estimate"
    assert len(upstream.asked) == 1


def test_a_relay_that_does_not_stream_is_told_in_events(ask, upstream):
    upstream.answers[CLAUDE] = whole(MESSAGE)
    told = accumulated(ask(stream=True).content)
    assert told["content"] == [{"type": "text", "text": "Hello"}]
    assert told["stop_reason"] == "end_turn"


TOO_LONG = (
    "This model's maximum context length is 8192 tokens. However, your messages resulted in 9000"
)
ROOM = (
    "This model's maximum context length is 8192 tokens. However, you requested 9000 tokens "
    "(5000 in the messages, 4000 in the completion). Please reduce the length."
)


@pytest.mark.parametrize(
    ("message", "words"),
    [
        (TOO_LONG, "prompt is too long (capability_rejected: prompt_too_long): "),
        (ROOM, "input length and `max_tokens` exceed context limit: 5000 + 4000 > 8192"),
    ],
)
@pytest.mark.parametrize("streaming", [False, True])
def test_an_openai_upstreams_overflow_makes_agents_compact(
    ask, upstream, message, words, streaming
):
    error = {"message": message, "type": "invalid_request_error", "code": "context_length_exceeded"}
    upstream.answers[CHAT] = whole({"error": error}, status=400)
    answer = ask(CHAT, stream=streaming)
    assert answer.status_code == 400
    told = answer.json()
    assert told["error"]["type"] == "invalid_request_error"
    assert told["error"]["message"].startswith(words)
    assert told["request_id"] == answer.headers["request-id"]


def test_no_window_that_holds_the_prompt_makes_agents_compact(ask):
    turns = [{"role": "user", "content": "many words " * 100_000}]
    answer = ask("auto", messages=turns, routing={"models": [CHAT]})
    assert answer.status_code == 400
    assert "prompt is too long (capability_rejected" in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    ("message", "finish", "expected"),
    [
        ({"content": "cut"}, "length", "max_tokens"),
        ({"content": ""}, "content_filter", "refusal"),
        ({"refusal": "No."}, "stop", "refusal"),
    ],
)
def test_why_a_translated_answer_ended(ask, upstream, message, finish, expected):
    upstream.answers[CHAT] = stream(ROLE, event(message), event(finish=finish), b"data: [DONE]\n\n")
    told = accumulated(ask(CHAT, stream=True).content)
    assert told["stop_reason"] == expected
    if "refusal" in message:
        assert told["stop_details"]["explanation"] == "No."
        assert told["content"] == [{"type": "text", "text": "No."}]


def test_comments_of_a_chat_server_become_pings(ask, upstream):
    upstream.answers[CHAT] = stream(ROLE, HELLO, b": keep-alive\n\n", END, b"data: [DONE]\n\n")
    assert b'event: ping\ndata: {"type":"ping"}\n\n' in ask(CHAT, stream=True).content


SEARCH = {"type": "web_search_20250305", "name": "web_search", "max_uses": 3}
BASH = {"type": "bash_20250124", "name": "bash"}
FOR_ITS_SERVERS = [
    {"tools": [SEARCH]},
    {"tools": [BASH, {"type": "code_execution_20250825", "name": "code_execution"}]},
    {"mcp_servers": [{"type": "url", "url": "https://mcp.example", "name": "files"}]},
    {"container": "container_1"},
    {"tools": [{"type": "memory_20250818", "name": "memory"}]},
    {"tools": [{"type": "computer_20251124", "name": "computer", "display_width_px": 800}]},
]


@pytest.mark.parametrize("changes", FOR_ITS_SERVERS)
@pytest.mark.parametrize("knob", ["0", "1"])
def test_what_anthropics_servers_do_goes_to_them_wherever_the_knob_stands(
    ask, upstream, changes, knob
):
    upstream.answers[CLAUDE] = whole(MESSAGE)
    answer = ask("auto", headers={"x-cost-quality": knob}, **changes)
    assert answer.status_code == 200, answer.text
    assert answer.headers["x-route-model"] == CLAUDE
    assert "x-route-left-out" not in answer.headers
    assert answer.json()["content"] == MESSAGE["content"]


def test_where_no_upstream_is_anthropics_a_request_for_its_servers_is_refused(fresh_gateway, stub):
    gateway = fresh_gateway()
    for changes in FOR_ITS_SERVERS:
        body = {"model": "auto", **BODY, **changes}
        answer = httpx.post(f"{gateway.url}/v1/messages", json=body, trust_env=False)
        assert answer.status_code == 400
        error = answer.json()["error"]
        assert error["type"] == "invalid_request_error"
        assert "messages_api" in error["message"]
        for words in ("Anthropic's servers", "computer use or memory", "upstream of kind"):
            assert words in error["message"]
    assert not stub.log()
    for changes in ({"tools": [BASH]}, {"mcp_servers": [], "container": None}):
        body = {"model": "auto", **BODY, **changes}
        answer = httpx.post(f"{gateway.url}/v1/messages", json=body, trust_env=False)
        assert answer.status_code == 200, answer.text


def test_of_a_model_in_several_places_anthropics_own_gets_what_is_for_its_servers(
    upstream, stub, artifacts, tmp_path
):
    changes = {
        "upstreams.claude": {
            "kind": "anthropic",
            "base_url": f"{upstream.origin}/v1",
            "api_key_env": "ANTHROPIC_API_KEY",
        },
        f"models.{CLAUDE}": {
            "spec": "claude-opus-5-5",
            "deployments": [
                {"upstream": "stub", "weight": 1e6},
                {"upstream": "claude", "upstream_model": "claude-x"},
            ],
        },
    }
    upstream.answers["claude-x"] = whole(MESSAGE)
    env = {"ANTHROPIC_API_KEY": "sk-ant-canary"}
    config = stub_config(tmp_path, stub.origin, changes=changes, env=env)
    with (
        GatewayThread(config, artifacts=artifacts) as running,
        httpx.Client(base_url=running.url, trust_env=False) as client,
    ):
        for model in ("auto", CLAUDE):
            body = {"model": model, **BODY, "tools": [SEARCH]}
            assert client.post("/v1/messages", json=body).json()["id"] == MESSAGE["id"]
    assert not stub.log()


def test_what_no_turn_of_this_dialect_has_is_no_concern_of_ours(ask):
    odd = {"refusal": 1.5, "name": [1], "tool_calls": {}, "role": "user", "content": "hi"}
    answer = ask(CHAT, messages=[odd])
    assert answer.is_success, answer.text
