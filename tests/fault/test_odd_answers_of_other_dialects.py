"""Odd answers of chat servers, told to clients that speak another dialect: nothing is lost."""

import json

import pytest

from tests.support.messages import accumulated, events_of
from tests.support.odd_upstream import DONE, HELLO, ROLE, USAGE, data, event, stream, whole

MODEL = "sim-nano"
ASK = {
    "messages": {"max_tokens": 50, "messages": [{"role": "user", "content": "Weigh this"}]},
    "responses": {"input": "Weigh this"},
    "completions": {"max_tokens": 50, "prompt": "Weigh this"},
}
COUNTS = data({"choices": [], "usage": USAGE})
END = event(finish="stop")
TEXTS = {
    "a list": [event({"content": [{"type": "text", "text": "Hello"}]})],
    "an index in a string": [data({"choices": [{"index": "0", "delta": {"content": "Hello"}}]})],
    "numbers for texts": [
        data({"id": 5, "model": 7, "choices": [{"delta": {"content": "Hello"}}]})
    ],
    "no time": [data({"created": "now", "choices": [{"delta": {"content": "Hello"}}]})],
    "no number": [data(b'{"created":1e400,"choices":[{"delta":{"content":"Hello"}}]}')],
    "odd fields": [event({"content": "Hello", "refusal": {}, "tool_calls": {}, "reasoning": 1})],
    "odd lists": [event({"content": "Hello", "tool_calls": [None], "thinking_blocks": [5]})],
    "odd logprobs": [
        data({"choices": [{"delta": {"content": "Hello"}, "logprobs": {"content": 1}}]})
    ],
    "no delta": [data({"choices": [{"delta": None}]}), HELLO],
    "a message": [data({"choices": [{"message": {"content": "Hello"}}]})],
    "an odd reason": [HELLO, data({"choices": [{"delta": {}, "finish_reason": 5}]})],
}
ONE = [("weigh", {"kg": 2})]
TWO = [*ONE, ("read", {})]
WEIGH = {"id": "a", "function": {"name": "weigh", "arguments": '{"kg":2}'}}
READ = {"id": "b", "function": {"name": "read", "arguments": "{}"}}


def calls(*pieces):
    return event({"tool_calls": pieces})


CALLS = {
    "one index": ([calls({"index": 0, **WEIGH}), calls({"index": 0, **READ})], TWO),
    "no index": ([calls(WEIGH, READ)], TWO),
    "null index": ([calls({"index": None, **WEIGH})], ONE),
    "string index": ([calls({"index": "0", **WEIGH})], ONE),
    "an object": ([calls({**WEIGH, "function": {"name": "weigh", "arguments": {"kg": 2}}})], ONE),
    "the older field": ([event({"function_call": WEIGH["function"]})], ONE),
    "name later": ([calls({"index": 0, "id": "a"}), calls({"index": 0, **WEIGH})], ONE),
    "id later": (
        [calls({"index": 0, "function": {"name": "weigh"}}), calls({"index": 0, **WEIGH})],
        ONE,
    ),
    "id in a number": ([calls({"index": 0, **WEIGH, "id": 5})], ONE),
}


def ask(client, dialect, **fields):
    answer = client.post(f"/v1/{dialect}", json={"model": MODEL, **ASK[dialect], **fields})
    assert answer.status_code == 200, answer.text
    return answer


def final(answer, dialect):
    """Return what a stream amounts to, or a whole answer."""
    if answer.headers["content-type"] == "application/json":
        return answer.json()
    if dialect == "messages":
        return accumulated(answer.content)
    if dialect == "responses":
        events = events_of(answer.content)
        assert [each["sequence_number"] for each in events] == list(range(len(events)))
        return events[-1]["response"]
    assert answer.text.endswith("data: [DONE]\n\n")
    lines = [line[6:] for line in answer.text.split("\n") if line.startswith("data: {")]
    return {"choices": [each for line in lines for each in json.loads(line)["choices"]]}


def text_of(told, dialect):
    if dialect == "messages":
        return "".join(block.get("text", "") for block in told["content"])
    if dialect == "completions":
        return "".join(choice["text"] for choice in told["choices"])
    assert told["status"] == "completed"
    parts = [part for item in told["output"] for part in item.get("content") or ()]
    return "".join(part.get("text", "") for part in parts)


def calls_of(told, dialect):
    if dialect == "messages":
        blocks = told["content"]
        return [(each["name"], each["input"]) for each in blocks if each["type"] == "tool_use"]
    items = [each for each in told["output"] if each["type"] == "function_call"]
    return [(each["name"], json.loads(each["arguments"])) for each in items]


def as_whole(events):
    """Return the last event that says something, as a whole answer."""
    said = json.loads(events[0].removeprefix(b"data: "))
    for choice in said["choices"]:
        if "delta" in choice:
            choice["message"] = choice.pop("delta")
        choice["finish_reason"] = "stop"
    return whole({**said, "usage": USAGE})


@pytest.mark.parametrize("dialect", sorted(ASK))
@pytest.mark.parametrize("name", sorted(TEXTS))
def test_an_odd_event_does_not_cost_the_text(odd_client, odd_upstream, dialect, name):
    odd_upstream.answers[MODEL] = stream(ROLE, *TEXTS[name], END, COUNTS, DONE)
    assert text_of(final(ask(odd_client, dialect, stream=True), dialect), dialect) == "Hello"


@pytest.mark.parametrize("dialect", sorted(ASK))
@pytest.mark.parametrize("name", sorted(set(TEXTS) - {"no delta", "no number"}))
def test_an_odd_whole_answer_does_not_cost_the_text(odd_client, odd_upstream, dialect, name):
    odd_upstream.answers[MODEL] = as_whole(TEXTS[name])
    assert text_of(final(ask(odd_client, dialect), dialect), dialect) == "Hello"


@pytest.mark.parametrize("dialect", ["messages", "responses"])
@pytest.mark.parametrize("name", sorted(CALLS))
def test_odd_calls_are_told_apart_and_whole(odd_client, odd_upstream, dialect, name):
    events, expected = CALLS[name]
    odd_upstream.answers[MODEL] = stream(ROLE, *events, event(finish="tool_calls"), COUNTS, DONE)
    assert calls_of(final(ask(odd_client, dialect, stream=True), dialect), dialect) == expected


def chat_calls(answer):
    (choice,) = answer.json()["choices"]
    assert choice["finish_reason"] == "tool_calls"
    calls = choice["message"]["tool_calls"]
    assert all(call["type"] == "function" and call["id"] for call in calls)
    assert len({call["id"] for call in calls}) == len(calls)
    functions = [call["function"] for call in calls]
    return [(each["name"], json.loads(each["arguments"])) for each in functions]


@pytest.mark.parametrize("dialect", ["chat/completions", "messages", "responses"])
@pytest.mark.parametrize("name", sorted(CALLS))
def test_odd_calls_that_are_streamed_unasked_are_put_together(
    odd_client, odd_upstream, dialect, name
):
    events, expected = CALLS[name]
    odd_upstream.answers[MODEL] = stream(ROLE, *events, event(finish="tool_calls"), COUNTS, DONE)
    if dialect == "chat/completions":
        fields = {"model": MODEL, "messages": ASK["messages"]["messages"]}
        answer = odd_client.post("/v1/chat/completions", json=fields)
        assert answer.status_code == 200, answer.text
        assert chat_calls(answer) == expected
    else:
        assert calls_of(final(ask(odd_client, dialect), dialect), dialect) == expected


@pytest.mark.parametrize("dialect", sorted(ASK))
@pytest.mark.parametrize("name", sorted(TEXTS))
def test_odd_events_that_are_streamed_unasked_are_put_together(
    odd_client, odd_upstream, dialect, name
):
    more = event({"reasoning_details": [{"type": "reasoning.text", "text": "x"}], "x_new": 1})
    odd_upstream.answers[MODEL] = stream(ROLE, more, *TEXTS[name], END, COUNTS, DONE)
    assert text_of(final(ask(odd_client, dialect), dialect), dialect) == "Hello"


@pytest.mark.parametrize("prompt", ["", "x", " ", "\n"])
def test_the_shortest_prompt_has_a_token_where_nobody_counts(odd_client, odd_upstream, prompt):
    native = {"object": "text_completion", "choices": [{"text": "Hello", "finish_reason": "stop"}]}
    odd_upstream.answers[MODEL] = whole(native)
    body = {"model": MODEL, "prompt": prompt}
    usage = odd_client.post("/v1/completions", json=body).json()["usage"]
    assert usage["prompt_tokens"] > 0
    assert usage["estimated"] is True


def test_of_several_answers_a_response_tells_the_first(odd_client, odd_upstream):
    both = [{"index": i, "delta": {"content": text}} for i, text in ((1, "B"), (0, "A"))]
    odd_upstream.answers[MODEL] = stream(ROLE, data({"choices": both}), END, COUNTS, DONE)
    told = final(ask(odd_client, "responses", stream=True), "responses")
    assert text_of(told, "responses") == "A"


def test_a_response_that_fails_has_begun_and_is_numbered_without_a_gap(odd_client, odd_upstream):
    nameless = calls({"index": 0, "id": "a", "function": {"arguments": "{}"}})
    odd_upstream.answers[MODEL] = stream(nameless, END, COUNTS, DONE)
    answer = ask(odd_client, "responses", stream=True)
    events = events_of(answer.content)
    assert [each["sequence_number"] for each in events] == list(range(len(events)))
    kinds = [each["type"] for each in events]
    assert (kinds[0], kinds[-1]) == ("response.created", "response.failed")
