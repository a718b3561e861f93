"""What upstreams really send: odd answers are repaired, failures of any shape are found."""

import gzip
import json
import zlib

import httpx
import msgspec
import pytest

from tests.support.odd_upstream import (
    DONE,
    END,
    HELLO,
    ROLE,
    USAGE,
    completion,
    data,
    event,
    stream,
    whole,
)
from tests.support.watching import metric

MESSAGES = [{"role": "user", "content": "What is a steelyard?"}]
FIRST, SECOND = "sim-nano", "sim-small"
COUNTS = data({"choices": [], "usage": USAGE})
GOOD = (ROLE, HELLO, END, COUNTS, DONE)
JSON = b"content-type: application/json\r\n"
SSE = b"content-type: text/event-stream\r\n"
TOO_LONG = {"error": {"message": "Input is too long for requested model."}}


@pytest.fixture
def upstream(odd_upstream):
    return odd_upstream


@pytest.fixture
def client(odd_client):
    return odd_client


def ask(client, *, model=FIRST, headers=None, **fields):
    body = {"model": model, "messages": MESSAGES, **fields}
    return client.post("/v1/chat/completions", json=body, headers=headers)


def routed(client, **fields):
    """Ask a policy whose first choice is `FIRST`, and whose second is `SECOND`."""
    headers = {"x-route-models": f"{FIRST},{SECOND}", "x-cost-quality": "0"}
    return ask(client, model="auto", headers=headers, **fields)


def text_of(answer):
    """Return what an answer says, whole or streamed, to a client that is strict about JSON."""
    assert answer.status_code == 200, answer.text
    if answer.headers["content-type"] == "application/json":
        return msgspec.json.decode(answer.content)["choices"][0]["message"]["content"]
    assert answer.text.endswith("data: [DONE]\n\n"), answer.text
    lines = [line[6:] for line in answer.content.split(b"\n") if line.startswith(b"data: {")]
    choices = [each for line in lines for each in msgspec.json.decode(line)["choices"]]
    return "".join((each.get("delta") or {}).get("content") or "" for each in choices)


# --- answers -----------------------------------------------------------------------------------


WHOLE = json.dumps(completion()).encode()
GZIP = b"content-encoding: gzip\r\n"


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize(
    "answer",
    [
        stream(*GOOD),
        stream(*GOOD, headers=JSON),
        stream(*GOOD, headers=b"content-type: text/html\r\n"),
        stream(b"\xef\xbb\xbf: hi\r\n\r\n", *(each.replace(b"\n", b"\r\n") for each in GOOD)),
        stream(b"".join(GOOD).replace(b"\n", b"\r")),
        stream(b"\n\n", b"event: message\n", *GOOD),
        stream(b"".join(GOOD).replace(b"\n\n", b"\n")),
        stream(b"".join(GOOD).removesuffix(b"\n\n")),
        whole(WHOLE),
        whole(WHOLE, headers=SSE),
        whole(b" \n\n " + WHOLE, headers=b""),
        whole(b"\xef\xbb\xbf" + WHOLE),
        whole(gzip.compress(WHOLE), headers=JSON + GZIP),
        whole(zlib.compress(WHOLE), headers=b"content-encoding: deflate\r\n"),
        whole(gzip.compress(b"".join(GOOD)), headers=SSE + b"Content-Encoding: x-gzip\r\n"),
    ],
)
def test_the_body_decides_and_the_client_gets_what_it_asked_for(
    client, upstream, answer, streaming
):
    upstream.answers[FIRST] = answer
    fields = {"stream": True, "stream_options": {"include_usage": True}} if streaming else {}
    got = ask(client, **fields)
    assert text_of(got) == "Hello"
    expected = "text/event-stream; charset=utf-8" if streaming else "application/json"
    assert got.headers["content-type"] == expected
    last = json.loads(got.text.split("data: ")[-2]) if streaming else got.json()
    counts = (last["usage"]["prompt_tokens"], last["usage"]["completion_tokens"])
    assert (counts, "estimated" in last["usage"]) == ((10, 5), False)


def said(content, rest=b""):
    """Return an event in which a content stands that need not be JSON."""
    return data(b'{"choices":[{"index":0,"delta":{"content":%b}%b}]}' % (content, rest))


def choice(**fields):
    return data({"choices": [fields]})


A = {"content": "a"}
ODD_EVENTS = {
    "numbers that are none": ([said(b'"Hi"', b',"logprobs":[-Infinity,NaN]')], "Hi"),
    "halves of an escape": ([said(b'"Hi \\ud83d"'), said(b'"\\ude00 ok"')], "Hi \U0001f600 ok"),
    "halves of bytes": ([said(b'"Hi \xf0\x9f"'), said(b'"\x98\x80 ok"')], "Hi \U0001f600 ok"),
    "bytes that are no text": ([said(b'"Hi \xff"')], "Hi \ufffd"),
    "odd indices": ([choice(index=each, delta=A) for each in (None, "0", -1, 0)], "aaaa"),
    "nulls": ([data({"choices": [{"delta": A}], "model": None, "error": None})], "a"),
    "null among choices": ([data({"choices": [None, {"delta": A, "logprobs": None}]})], "a"),
    "null delta": ([choice(index=0, delta=None), event(A, error="")], "a"),
    "no choices": ([data({"choices": None}), data({"choices": []}), event(A)], "a"),
    "a picture": ([event({**A, "images": ["x" * 9_000_000]})], "a"),
}


@pytest.mark.parametrize("cache", ["off", "on"])
@pytest.mark.parametrize("name", ODD_EVENTS)
def test_an_odd_event_does_not_cost_the_answer(client, upstream, name, cache):
    events, text = ODD_EVENTS[name]
    upstream.answers[FIRST] = stream(ROLE, *events, END, COUNTS, DONE)
    messages = [{"role": "user", "content": f"Tell me of {name}"}]
    options = {"messages": messages, "temperature": 0, "headers": {"x-route-cache": cache}}
    assert text_of(ask(client, stream=True, **options)) == text
    assert text_of(ask(client, stream=True, **options)) == text


def test_a_whole_answer_is_mended_as_well(client, upstream):
    body = json.dumps(completion("Hi \ud83d ok", x=[float("-inf"), float("nan"), 1.5]))
    upstream.answers[FIRST] = whole(body.encode())
    answer = ask(client)
    assert text_of(answer) == "Hi \ufffd ok"
    assert msgspec.json.decode(answer.content)["x"] == [None, None, 1.5]


def test_later_empty_ids_do_not_erase_the_first_in_the_cache(client, upstream):
    def call(**fields):
        return event({"tool_calls": [{"index": 0, **fields}]})

    calls = [
        call(id="call_1", type="function", function={"name": "weigh", "arguments": ""}),
        call(id="", type="", function={"name": None, "arguments": '{"kg":'}),
        call(id="", function={"name": "", "arguments": "2}"}),
    ]
    end = event(finish="tool_calls")
    upstream.answers[FIRST] = stream(ROLE, *calls, end, COUNTS, DONE)
    messages = [{"role": "user", "content": "Weigh this"}]
    options = {"headers": {"x-route-cache": "on"}, "temperature": 0, "messages": messages}
    assert ask(client, stream=True, **options).status_code == 200
    hit = ask(client, **options)
    assert hit.headers["x-route-cache"] == "hit"
    assert hit.json()["choices"][0]["message"]["tool_calls"] == [
        {
            "id": "call_1",
            "type": "function",
            "function": {"name": "weigh", "arguments": '{"kg":2}'},
        }
    ]


# --- failures ----------------------------------------------------------------------------------

NOTHING = [
    stream(DONE),
    stream(ROLE, DONE),
    stream(ROLE, COUNTS, DONE),
    stream(data({"choices": []}), data({"choices": None}), DONE),
    stream(b": hi\n\n", b"data:\n\n", DONE),
    whole(b""),
    whole(b"", status=204, headers=b""),
    whole(b"  \n"),
    whole({}),
    whole({"choices": []}),
    whole({"choices": None, "usage": USAGE}),
    whole({"choices": [{"index": 0, "message": {"role": "assistant", "content": ""}}]}),
    whole({"choices": [{"index": 0, "message": None}]}),
    whole(b"<html>welcome"),
    whole(b"null"),
]
BROKEN = [
    stream(b'event: error\ndata: {"message":"Internal failure","code":500}\n\n'),
    stream(b"event: error\ndata: Internal failure\n\n", DONE),
    stream(data(b'{"error":{"message":"overloaded","code":529}}'), DONE),
    stream(ROLE, data({"choices": [{"index": 0, "delta": {}, "finish_reason": "error"}]}), DONE),
    whole({"error": "broken"}),
    whole([{"error": {"message": "broken", "code": 500}}]),
    whole({"message": "broken", "code": 500}),
    whole({"base_resp": {"status_code": 1000, "status_msg": "broken"}, "choices": None}),
    whole({"choices": [{"index": 0, "message": {}, "error": {"message": "broken", "code": 502}}]}),
    whole(b"x", headers=b"content-encoding: br\r\n"),
]
ELSEWHERE = [
    whole(TOO_LONG, status=400),
    whole(TOO_LONG, status=500),
    whole(TOO_LONG),
    whole(gzip.compress(json.dumps(TOO_LONG).encode()), status=400, headers=GZIP),
    whole({"error": "phi3 does not support tools"}, status=400),
    whole({"error": {"message": "slow down", "code": 429}}),
    whole({"error": {"code": "rate_limit_exceeded", "message": "TPM"}}, status=413),
    stream(data(b'{"error":{"message":"prompt is too long","code":400}}'), DONE),
]


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("answer", [*NOTHING, *BROKEN, *ELSEWHERE])
def test_a_failure_of_any_shape_goes_to_the_next_model(client, upstream, answer, streaming):
    upstream.answers[FIRST] = answer
    got = routed(client, stream=streaming)
    assert upstream.models == [FIRST, SECOND]
    assert got.headers["x-route-model"] == SECOND
    assert text_of(got) == "Hello"


ODD = {"message": "content: should be a string", "code": 400}
TOLD = [
    (whole([{"error": {**ODD, "status": "INVALID_ARGUMENT"}}], status=400), 400),
    (whole({"id": "x", "message": ODD["message"]}, status=400), 400),
    (whole({"detail": [{"loc": ["content"], "msg": "should be a string"}]}, status=422), 422),
    (whole(b"content: should be a string", status=400, headers=b""), 400),
    (whole({"error": ODD, "user_id": "u"}), 400),
    (whole({"error": {**ODD, "code": "422"}}), 422),
    (whole({"error": {**ODD, "code": "content_policy_violation"}}, status=403), 403),
    (stream(data(json.dumps({"error": ODD}).encode())), 400),
    (stream(b"event: error\n", data(json.dumps(ODD).encode())), 400),
]


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize(("answer", "status"), TOLD)
def test_clients_are_told_what_is_wrong_with_their_request(
    client, upstream, answer, status, *, streaming
):
    upstream.answers[FIRST] = answer
    got = routed(client, stream=streaming)
    assert (got.status_code, got.json()["error"]["message"]) == (status, ODD["message"])
    assert upstream.models == [FIRST]


def test_faults_of_clients_open_no_circuit(upstream, fresh_gateway):
    gateway = fresh_gateway(
        {"upstreams.stub.base_url": f"{upstream.origin}/v1", "breaker.failures": 2}
    )
    with httpx.Client(base_url=gateway.url, trust_env=False, timeout=20) as client:
        for answer, status in TOLD:
            upstream.answers[FIRST] = answer
            assert ask(client).status_code == status
        assert client.get("/readyz").json()["unhealthy_models"] == []


@pytest.mark.parametrize(
    "wait", [b"1e308", b"1e300", b"99999999999", b"Sat, 21 Nov 9999 22:27:00 GMT"]
)
def test_no_wait_is_longer_than_a_day(client, upstream, wait):
    upstream.answers[FIRST] = whole({}, status=429, headers=b"retry-after: %b\r\n" % wait)
    answer = ask(client)
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "86400")


# --- floods ------------------------------------------------------------------------------------

MIB = 1024 * 1024


@pytest.mark.parametrize(
    "piece",
    [
        b": %b\n\n" % (b"x" * MIB),
        event({"role": "assistant", "content": ""}, x="x" * MIB),
        data(b'{"choices":[],"x":"%b"}' % (b"x" * MIB)),
        b"data:\n\n" * (MIB // 7),
        b"id: %b\n" % (b"x" * MIB),
        b"\n" * MIB,
    ],
)
def test_a_flood_before_the_first_content_is_given_up(client, upstream, piece):
    upstream.answers[FIRST] = stream(*[piece] * 6, *GOOD)
    got = routed(client, stream=True)
    assert got.headers["x-route-model"] == SECOND
    assert text_of(got) == "Hello"


def test_what_is_unpacked_is_bounded_too(client, upstream, odd_gateway):
    bomb = gzip.compress(b" " * (70 * MIB) + json.dumps(completion()).encode())
    upstream.answers[FIRST] = whole(bomb, headers=b"content-encoding: gzip\r\n")
    series = "gateway_upstream_errors_total"
    before = metric(odd_gateway, series)
    assert routed(client).headers["x-route-model"] == SECOND
    assert metric(odd_gateway, series) == before + 1
