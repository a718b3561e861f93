"""Between a client and an upstream that both speak the Responses API, not a byte is changed."""

import json
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.providers.responses.native import NativeStream
from tests.support.gateway import GatewayThread, stub_config
from tests.support.odd_upstream import OddUpstream, stream, whole

MODEL = "sim-frontier"
USAGE = {
    "input_tokens": 12,
    "input_tokens_details": {"cached_tokens": 2},
    "output_tokens": 5,
    "output_tokens_details": {"reasoning_tokens": 1},
    "total_tokens": 17,
}
RESPONSE: dict[str, Any] = {
    "id": "resp_up",
    "object": "response",
    "created_at": 1,
    "status": "completed",
    "model": "gpt-x",
    "output": [
        {"type": "of_the_future", "content": "odd", "x": [1.0]},
        {
            "id": "msg_up",
            "type": "message",
            "role": "assistant",
            "status": "completed",
            "content": [{"type": "output_text", "text": "Hello", "annotations": []}],
        },
    ],
    "usage": USAGE,
    "future_field": {"kept": True},
}
FAILED = {
    **RESPONSE,
    "status": "failed",
    "output": [],
    "error": {"code": "server_error", "message": "Broken."},
}


def event(kind: str, **fields: Any) -> bytes:
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **fields})}\n\n".encode()


BEGUN = (
    event("response.created", response={**RESPONSE, "status": "in_progress", "output": []})
    + event("response.of_the_future", x=[None])
    + b": a comment\n\n"
    + event("response.output_text.delta", item_id="msg_up", output_index=0, delta="Hello")
)
STREAM = BEGUN + event("response.completed", response=RESPONSE)


@pytest.fixture(scope="module")
def upstream_thread():
    with OddUpstream() as upstream:
        yield upstream


@pytest.fixture(scope="module")
def gateway_thread(upstream_thread, stub_thread, artifacts, tmp_path_factory):
    changes = {
        "upstreams.stub.base_url": f"{upstream_thread.origin}/v1",
        "upstreams.stub.also_serves": ["responses"],
        "responses.store": True,
        "breaker.failures": 1_000_000,
    }
    config = stub_config(tmp_path_factory.mktemp("gateway"), stub_thread.origin, changes=changes)
    with GatewayThread(config, artifacts=artifacts) as running:
        yield running


@pytest.fixture
def upstream(upstream_thread):
    upstream_thread.reset()
    return upstream_thread


@pytest.fixture
def ask(gateway_thread, upstream):
    with httpx.Client(base_url=gateway_thread.url, trust_env=False, timeout=30) as client:

        def post(**body):
            return client.post("/v1/responses", json={"model": MODEL, "input": "Hi", **body})

        yield post


def in_pieces(data: bytes, n: int) -> list[bytes]:
    size = max(len(data) // n, 1)
    return stream(*[data[i : i + size] for i in range(0, len(data), size)])


@pytest.mark.parametrize("pieces", [1, 7, 50])
@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_a_stream_comes_byte_for_byte(ask, upstream, end, pieces):
    sent = STREAM.replace(b"\n", end)
    upstream.answers[MODEL] = in_pieces(sent, pieces)
    answer = ask(stream=True, store=False)
    assert answer.status_code == 200
    assert answer.content == sent


def test_a_whole_answer_comes_byte_for_byte_and_its_cost_is_told(ask, upstream):
    raw = json.dumps(RESPONSE, indent=1).encode()
    upstream.answers[MODEL] = whole(raw)
    answer = ask(store=False)
    assert answer.content == raw
    assert float(answer.headers["x-route-cost-usd"]) > 0
    ((head, _),) = upstream.asked
    assert head.startswith(b"POST /v1/responses HTTP/1.1\r\n")


def test_the_request_arrives_as_it_was_written(ask, upstream):
    upstream.answers[MODEL] = whole(RESPONSE)
    sent = {
        "tools": [{"type": "web_search"}, {"type": "of_the_future", "x": 1.50}],
        "include": ["reasoning.encrypted_content"],
        "future_field": {"a": [1.50, None]},
        "truncation": "auto",
        "max_output_tokens": 64,
        "store": False,
    }
    assert ask(**sent, routing={"fallback": False}).status_code == 200
    ((_, body),) = upstream.asked
    assert body == {"model": MODEL, "input": "Hi", **sent}


def test_a_limit_that_is_cut_is_told_in_its_words(ask, upstream):
    upstream.answers[MODEL] = whole(RESPONSE)
    answer = ask(max_output_tokens=9_000_000)
    limit = int(answer.headers["x-route-max-tokens"])
    ((_, body),) = upstream.asked
    assert body["max_output_tokens"] == limit < 9_000_000
    assert "max_tokens" not in body


def test_an_error_comes_byte_for_byte(ask, upstream):
    raw = b'{"error": {"message":"odd \\u00e9", "type":"invalid_request_error", "code": null}}'
    upstream.answers[MODEL] = whole(raw, status=400)
    answer = ask()
    assert (answer.status_code, answer.content) == (400, raw)


def test_a_failure_in_the_middle_of_a_stream_is_the_upstreams_own(ask, upstream):
    failed = BEGUN + event("response.failed", response=FAILED)
    upstream.answers[MODEL] = in_pieces(failed, 5)
    assert ask(stream=True).content == failed


def test_a_failure_before_anything_is_said_is_an_answer_of_its_own(ask, upstream):
    upstream.answers[MODEL] = whole(FAILED)
    answer = ask()
    assert answer.status_code >= 500
    assert answer.json()["error"]["message"]


@pytest.mark.parametrize("sent", [BEGUN, STREAM[:-30]])
def test_a_stream_that_is_cut_never_looks_complete(ask, upstream, sent):
    upstream.answers[MODEL] = in_pieces(sent, 3)
    answer = ask(stream=True)
    assert b"response.completed" not in answer.content
    last = answer.text.rstrip().rpartition("\n\n")[2]
    assert last.startswith(("event: error", "event: response.failed"))


def test_a_conversation_that_is_kept_goes_on_with_all_that_was_said(ask, upstream):
    for streamed in (False, True):
        upstream.reset()
        upstream.answers[MODEL] = in_pieces(STREAM, 4) if streamed else whole(RESPONSE)
        assert ask(stream=streamed).status_code == 200
        upstream.answers[MODEL] = whole({**RESPONSE, "id": "resp_2"})
        assert ask(input="And?", previous_response_id="resp_up").status_code == 200
        first, second = [body for _, body in upstream.asked]
        assert first["store"] is second["store"] is False
        assert "previous_response_id" not in second
        assert [item.get("content") for item in second["input"]] == [
            "Hi",
            "odd",
            RESPONSE["output"][1]["content"],
            "And?",
        ]


def test_an_answer_that_is_kept_comes_again_byte_for_byte(ask, upstream):
    raw = json.dumps(RESPONSE, indent=1).encode()
    seen = []
    for streaming in (True, True, False, False):
        upstream.answers[MODEL] = in_pieces(STREAM, 3) if streaming else whole(raw)
        answer = ask(input="Keep this.", stream=streaming, routing={"cache": "on"})
        assert answer.content == (STREAM if streaming else raw)
        seen.append(answer.headers["x-route-cache"])
    assert seen == ["miss", "hit", "miss", "hit"]
    assert len(upstream.asked) == 2


@given(st.data())
def test_however_a_stream_is_cut_it_is_read_and_passed_on_alike(data):
    cuts = sorted(data.draw(st.sets(st.integers(1, len(STREAM) - 1), max_size=9)))
    reader = NativeStream((), max_event_bytes=1_000_000)
    chunks = []
    for start, end in zip([0, *cuts], [*cuts, len(STREAM)], strict=True):
        chunk = reader.feed(STREAM[start:end])
        if chunk is not None:
            chunks.append(chunk)
    assert b"".join(chunk.data for chunk in chunks) == STREAM
    assert reader.done
    assert sum(chunk.content_chars for chunk in chunks) == len("Hello")
    (usage,) = [chunk.usage for chunk in chunks if chunk.usage is not None]
    assert (usage.input_tokens, usage.output_tokens, usage.cached_input_tokens) == (12, 5, 2)


@given(st.binary(max_size=60).map(lambda raw: b"data: " + raw.replace(b"\n", b" ") + b"\n\n"))
def test_no_bytes_raise_anything_else(data):
    reader = NativeStream((), max_event_bytes=1_000)
    reader.feed(data)
    reader.close()
