"""Odd answers of upstreams that speak the client's own dialect, other than chat completions."""

import json

import httpx
import pytest

from tests.support.gateway import GatewayThread, stub_config
from tests.support.messages import events_of
from tests.support.odd_upstream import DONE, USAGE, data, stream, whole

MODEL, CLAUDE = "sim-nano", "sim-small"


@pytest.fixture(scope="module")
def gateway_thread(odd_upstream_thread, artifacts, tmp_path_factory):
    url = f"{odd_upstream_thread.origin}/v1"
    changes = {
        "upstreams.stub.also_serves": ["completions", "responses"],
        "upstreams.stub.retries": 0,
        "upstreams.claude": {"kind": "anthropic", "base_url": url, "retries": 0},
        f"models.{CLAUDE}.upstream": "claude",
        "responses.store": True,
        "breaker.failures": 1_000_000,
    }
    config = stub_config(
        tmp_path_factory.mktemp("odd"), odd_upstream_thread.origin, changes=changes
    )
    with GatewayThread(config, artifacts=artifacts) as running:
        yield running


@pytest.fixture
def upstream(odd_upstream_thread):
    odd_upstream_thread.reset()
    return odd_upstream_thread


@pytest.fixture
def client(gateway_thread, upstream):
    with httpx.Client(base_url=gateway_thread.url, trust_env=False, timeout=20) as client:
        yield client


def ask(client, path, **fields):
    answer = client.post(path, json={"model": MODEL, **fields})
    assert answer.status_code == 200, answer.text
    return answer


# --- completions --------------------------------------------------------------------------------


def text_event(*choices, **fields):
    return data({"object": "text_completion", "choices": list(choices), **fields})


def texts_of(answer):
    """Return what each choice of a completion says, whole or streamed."""
    if answer.headers["content-type"] == "application/json":
        return {each["index"]: each["text"] for each in answer.json()["choices"]}
    assert answer.text.endswith("data: [DONE]\n\n")
    said = {}
    for line in answer.content.split(b"\n"):
        for each in json.loads(line[6:])["choices"] if line.startswith(b"data: {") else ():
            said[each["index"]] = said.get(each["index"], "") + (each["text"] or "")
    return said


END = text_event({"index": 0, "text": "", "finish_reason": "stop"})
COUNTS = text_event(usage=USAGE)
ODD_TEXTS = {
    "half a character": (
        [
            data(b'{"choices":[{"index":0,"text":"Hi \\ud83d"}]}'),
            data(b'{"choices":[{"index":0,"text":"\\ude00"}]}'),
        ],
        "Hi \U0001f600",
    ),
    "half of its bytes": (
        [
            data(b'{"choices":[{"index":0,"text":"Hi \xf0\x9f"}]}'),
            data(b'{"choices":[{"index":0,"text":"\x98\x80"}]}'),
        ],
        "Hi \U0001f600",
    ),
    "bytes that are no text": ([data(b'{"choices":[{"index":0,"text":"Hi \xff"}]}')], "Hi \ufffd"),
    "no number": ([data(b'{"choices":[{"index":0,"text":"Hi","logprobs":NaN}]}')], "Hi"),
    "null among choices": ([text_event(None, {"index": 0, "text": "Hi"})], "Hi"),
    "null": (
        [text_event({"index": 0, "text": None}), text_event({"index": 0, "text": "Hi"})],
        "Hi",
    ),
}


@pytest.mark.parametrize("name", sorted(ODD_TEXTS))
def test_an_odd_event_does_not_cost_the_text(client, upstream, name):
    events, expected = ODD_TEXTS[name]
    upstream.answers[MODEL] = stream(*events, END, COUNTS, DONE)
    assert texts_of(ask(client, "/v1/completions", prompt="a", stream=True)) == {0: expected}


def test_an_odd_whole_answer_does_not_cost_the_text(client, upstream):
    body = b'\xef\xbb\xbf{"choices":[null,{"index":0,"text":"Hi \xff","x":NaN}]}'
    upstream.answers[MODEL] = whole(body)
    assert texts_of(ask(client, "/v1/completions", prompt="a")) == {0: "Hi \ufffd"}


def test_texts_that_are_streamed_unasked_are_put_together(client, upstream):
    events = [
        text_event(
            {"index": 0, "text": "A ", "logprobs": {"tokens": ["A "]}}, {"index": 1, "text": "B"}
        ),
        text_event({"index": 0, "text": "steelyard", "logprobs": {"tokens": ["steelyard"]}}),
        text_event(*({"index": i, "text": "", "finish_reason": "stop"} for i in (0, 1))),
    ]
    upstream.answers[MODEL] = stream(*events, COUNTS, DONE)
    answer = ask(client, "/v1/completions", prompt="a", n=2)
    told = answer.json()
    assert texts_of(answer) == {0: "A steelyard", 1: "B"}
    assert told["choices"][0]["logprobs"] == {"tokens": ["A ", "steelyard"]}
    assert {each["finish_reason"] for each in told["choices"]} == {"stop"}
    assert (told["object"], told["usage"]["completion_tokens"]) == ("text_completion", 5)


@pytest.mark.parametrize("reason", [{"finish_reason": "stop"}, {}])
def test_texts_that_are_not_streamed_are_told_in_events(client, upstream, reason):
    choice = {"index": 0, "text": "A steelyard", **reason}
    upstream.answers[MODEL] = whole(
        {"id": "c", "object": "text_completion", "choices": [choice], "usage": USAGE}
    )
    options = {"stream": True, "stream_options": {"include_usage": True}}
    answer = ask(client, "/v1/completions", prompt="a", **options)
    assert texts_of(answer) == {0: "A steelyard"}
    assert json.loads(answer.text.split("data: ")[-2])["usage"]["completion_tokens"] == 5


# --- responses ----------------------------------------------------------------------------------


def response(text="Hello", **fields):
    part = {"type": "output_text", "text": text, "annotations": []}
    message = {"id": "m", "type": "message", "role": "assistant", "status": "completed"}
    return {
        "id": "resp_up",
        "created_at": 1,
        "instructions": None,
        "model": "up",
        "object": "response",
        "status": "completed",
        "error": None,
        "output": [{**message, "content": [part]}],
        "usage": {"input_tokens": 12, "output_tokens": 5, "total_tokens": 17},
        **fields,
    }


def response_event(kind, number, **fields):
    told = json.dumps({"type": kind, "sequence_number": number, **fields}, ensure_ascii=False)
    return f"event: {kind}\ndata: {told}\n\n".encode()


def response_stream(answer):
    begun = {**answer, "status": "in_progress", "output": []}
    return [
        response_event("response.created", 0, response=begun),
        response_event("response.output_text.delta", 1, output_index=0, delta="Hello"),
        response_event("response.completed", 2, response=answer),
    ]


@pytest.mark.parametrize("text", ["Hello", "an image: data:image/png;base64,AAAA", "a\ndata: b"])
@pytest.mark.parametrize("streaming", [True, False])
def test_a_response_is_kept_whatever_stands_in_it(client, upstream, text, streaming):
    answer = response(text, instructions="Be brief. " * 1000)
    all_at_once = b"".join([*response_stream(answer), b": bye\n\n", DONE])
    upstream.answers[MODEL] = stream(all_at_once) if streaming else whole(answer)
    first = ask(client, "/v1/responses", input="Hi", stream=streaming)
    assert first.content == (all_at_once if streaming else json.dumps(answer).encode())
    upstream.answers[MODEL] = whole(response(id="resp_2"))
    ask(client, "/v1/responses", input="And?", previous_response_id="resp_up")
    _, body = upstream.asked[-1]
    assert [item["content"] for item in body["input"]] == [
        "Hi",
        answer["output"][0]["content"],
        "And?",
    ]


def test_a_response_that_is_streamed_unasked_is_told_whole(client, upstream):
    upstream.answers[MODEL] = stream(*response_stream(response()))
    assert ask(client, "/v1/responses", input="Hi").json() == response()


@pytest.mark.parametrize("end", ["completed", "incomplete"])
def test_a_response_that_is_not_streamed_is_told_in_events(client, upstream, end):
    call = {"id": "f", "type": "function_call", "call_id": "c", "name": "x", "arguments": "{}"}
    answer = response(status=end)
    answer["output"].append(call)
    upstream.answers[MODEL] = whole(answer)
    events = events_of(ask(client, "/v1/responses", input="Hi", stream=True).content)
    assert [each["sequence_number"] for each in events] == list(range(len(events)))
    assert events[0]["type"] == "response.created"
    assert events[-1] == {
        "type": f"response.{end}",
        "sequence_number": len(events) - 1,
        "response": answer,
    }
    deltas = [each["delta"] for each in events if each["type"].endswith("text.delta")]
    assert deltas == ["Hello"]
    done = [each["item"] for each in events if each["type"] == "response.output_item.done"]
    assert done == answer["output"]


@pytest.mark.parametrize(
    "output",
    [["x"], [None], [{"type": "message", "content": 5}], [{"type": "message", "content": ["x"]}]],
)
def test_a_response_of_no_shape_that_is_not_streamed_goes_to_nobody(client, upstream, output):
    upstream.answers[MODEL] = whole(response(output=output))
    answer = client.post("/v1/responses", json={"model": MODEL, "input": "Hi", "stream": True})
    assert answer.status_code == 502
    assert answer.json()["error"]["code"] == "all_attempts_failed"


@pytest.mark.parametrize("raw", [b"\xef\xbb\xbf%b", b"%b"])
def test_a_response_that_is_not_quite_json_is_mended(client, upstream, raw):
    body = raw % json.dumps(response("Hi !")).encode().replace(b"!", b"\xff").replace(
        b"1,", b"NaN,"
    )
    upstream.answers[MODEL] = whole(body)
    told = ask(client, "/v1/responses", input="Hi").json()
    assert told["output"][0]["content"][0]["text"] == "Hi \ufffd"


def test_the_end_of_a_response_that_is_cut_is_numbered_on(client, upstream):
    upstream.answers[MODEL] = stream(*response_stream(response())[:2])
    answer = ask(client, "/v1/responses", input="Hi", stream=True)
    last = events_of(answer.content)[-1]
    assert (last["type"], last["sequence_number"]) == ("error", 2)
    assert "before its response was complete" in last["message"]


@pytest.mark.parametrize("streaming", [True, False])
def test_the_decision_is_told_in_a_response_that_is_passed_on(client, upstream, streaming):
    upstream.answers[MODEL] = (
        stream(*response_stream(response())) if streaming else whole(response())
    )
    answer = client.post(
        "/v1/responses",
        json={"model": MODEL, "input": "Hi", "stream": streaming},
        headers={"x-route-explain": "full"},
    )
    told = events_of(answer.content)[0] if streaming else answer.json()
    assert told["steelyard"]["decision"]["model"] == MODEL


def test_what_an_upstream_got_is_not_told_as_left_out(client, upstream):
    upstream.answers[MODEL] = whole(response())
    fields = {
        "input": "Hi",
        "tools": [{"type": "web_search"}],
        "truncation": "auto",
        "prompt": {"id": "pmpt_1"},
    }
    answer = ask(client, "/v1/responses", **fields)
    assert "x-route-left-out" not in answer.headers
    assert upstream.asked[-1][1].items() >= fields.items()


# --- messages, told in other dialects -----------------------------------------------------------

BEGUN = [
    {"type": "message_start", "message": {"id": "m", "usage": {"input_tokens": 9}}},
    {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hello"}},
]
CALL = {"type": "tool_use", "id": "t", "name": "weigh", "input": {}}
CALLED = {"type": "content_block_start", "index": 1, "content_block": CALL}
STOPPED = {"type": "message_delta", "delta": {"stop_reason": "max_tokens"}, "usage": {}}


@pytest.mark.parametrize(
    ("events", "reason"), [([], "stop"), ([CALLED], "tool_calls"), ([STOPPED], "length")]
)
@pytest.mark.parametrize("end", [b"", b"\n", b"\n\n"])
def test_a_message_that_stops_has_stopped(client, upstream, events, reason, end):
    sent = [
        f"event: {each['type']}\ndata: {json.dumps(each)}\n\n".encode() for each in BEGUN + events
    ]
    upstream.answers[CLAUDE] = stream(
        *sent, b'event: message_stop\ndata: {"type":"message_stop"}' + end
    )
    messages = [{"role": "user", "content": "Hi"}]
    answer = ask(client, "/v1/chat/completions", model=CLAUDE, messages=messages, stream=True)
    assert answer.text.endswith("data: [DONE]\n\n")
    lines = [line[6:] for line in answer.text.split("\n") if line.startswith("data: {")]
    choices = [choice for line in lines for choice in json.loads(line)["choices"]]
    assert [each["finish_reason"] for each in choices if each["finish_reason"]] == [reason]
