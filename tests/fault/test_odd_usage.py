"""Whatever upstreams write into `usage`: clients, ledger and cache come to the same counts."""

import json

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

NONE = {"prompt_tokens": 0, "completion_tokens": 0}
HALF = {"prompt_tokens": 100, "completion_tokens": 0}
ALL = {"prompt_tokens": 100, "completion_tokens": 50}
ASK = {"model": "sim-nano", "messages": [{"role": "user", "content": "What is a steelyard?"}]}
PROMPT_TOKENS = 9  # what we count ourselves
USD_PER_MTOK = 0.1


@pytest.fixture
def upstream(odd_upstream):
    return odd_upstream


@pytest.fixture
def gateway(odd_gateway):
    return odd_gateway


@pytest.fixture
def client(odd_client):
    return odd_client


def ask(client, *, headers=None, **fields):
    answer = client.post("/v1/chat/completions", json={**ASK, **fields}, headers=headers)
    assert answer.status_code == 200, answer.text
    return answer


def streamed(client, **options):
    """Return the events of a stream, which ends well."""
    fields = {"stream": True, "stream_options": {"include_usage": True}}
    text = ask(client, **fields, **options).text
    assert text.endswith("data: [DONE]\n\n"), text
    lines = [line for line in text.split("\n\n") if line.startswith("data: {")]
    return [json.loads(line.removeprefix("data: ")) for line in lines]


def told(events):
    """Return what the one usage event of a stream tells."""
    (last,) = (each for each in events if each["choices"] == [])
    assert last is events[-1]
    return last["usage"]


def cost_usd(prompt, completion):
    return pytest.approx((prompt + completion) * USD_PER_MTOK / 1e6)


@pytest.mark.parametrize(
    "records",
    [
        [HALF, ALL],
        [ALL, NONE],
        [{"prompt_tokens": 100}, {"completion_tokens": 50}, None, {}],
        [{"prompt_tokens": "100", "completion_tokens": 49.5}],
        [{"prompt_tokens": 100, "completion_tokens": 30, "total_tokens": 150}],
        [{"input_tokens": 100, "output_tokens": 50}],
    ],
)
def test_client_and_ledger_agree_on_the_usage_of_a_stream(client, upstream, records):
    events = (data({"choices": [], "usage": record}) for record in records)
    upstream.answers["sim-nano"] = stream(ROLE, HELLO, END, *events, DONE)
    usage = told(streamed(client))
    assert (usage["prompt_tokens"], usage["completion_tokens"]) == (100, 50)
    assert usage["cost_usd"] == cost_usd(100, 50)
    assert "estimated" not in usage


@pytest.mark.parametrize(
    "end",
    [
        event(finish="stop", x_groq={"usage": {"prompt_tokens": 100, "completion_tokens": 50}}),
        event(finish="stop", usageMetadata={"promptTokenCount": 100, "candidatesTokenCount": 50}),
        event(finish="stop", usage={"prompt_tokens": 100, "completion_tokens": 50}),
        data(
            {
                "choices": [
                    {
                        "index": 0,
                        "delta": {},
                        "finish_reason": "stop",
                        "usage": {"prompt_tokens": 100, "completion_tokens": 50},
                    }
                ]
            }
        ),
    ],
)
def test_usage_is_found_wherever_it_stands(client, upstream, end):
    upstream.answers["sim-nano"] = stream(ROLE, HELLO, end, DONE)
    usage = told(streamed(client))
    assert (usage["prompt_tokens"], usage["completion_tokens"]) == (100, 50)
    assert "estimated" not in usage


@pytest.mark.parametrize("odd", [5, "many", [], True, {}, 0, None, {"cost": 1}, [USAGE]])
def test_an_odd_usage_costs_a_stream_nothing_but_itself(client, upstream, odd):
    upstream.answers["sim-nano"] = stream(
        ROLE, HELLO, END, data({"choices": [], "usage": odd}), DONE
    )
    usage = told(streamed(client))
    assert (usage["prompt_tokens"], usage["completion_tokens"]) == (PROMPT_TOKENS, 1)
    assert usage["estimated"] is True
    assert usage["cost_usd"] == cost_usd(PROMPT_TOKENS, 1)


@pytest.mark.parametrize("odd", [5, "many", [], True, {}, None, {"prompt_tokens": -1}])
def test_an_odd_usage_of_a_whole_answer_is_repaired(client, upstream, odd):
    upstream.answers["sim-nano"] = whole(completion(usage=odd, service_tier="x"))
    answer = ask(client)
    body = answer.json()
    assert body["usage"]["prompt_tokens"] == PROMPT_TOKENS
    assert body["usage"]["estimated"] is True
    assert (body["service_tier"], body["choices"][0]["message"]["content"]) == ("x", "Hello")
    total = body["usage"]["total_tokens"]
    assert float(answer.headers["x-route-cost-usd"]) == pytest.approx(total * 1e-7, abs=1e-8)


def test_counts_that_cannot_be_are_replaced_one_by_one_and_counted(client, upstream, gateway):
    absurd = {"prompt_tokens": 18446744073709551615, "completion_tokens": 50}
    upstream.answers["sim-nano"] = whole(completion(usage=absurd))
    before = metric(gateway, "gateway_refused_usage_total")
    usage = ask(client).json()["usage"]
    assert (usage["prompt_tokens"], usage["completion_tokens"]) == (PROMPT_TOKENS, 50)
    assert usage["estimated"] is True
    series = 'gateway_refused_usage_total{part="input",upstream="stub"}'
    assert metric(gateway, series) == metric(gateway, "gateway_refused_usage_total") == before + 1


def test_reasoning_beside_the_answer_is_paid(client, upstream):
    grok = {"prompt_tokens": 32, "completion_tokens": 9, "total_tokens": 135}
    upstream.answers["sim-nano"] = whole(completion(usage=grok))
    answer = ask(client)
    usage = answer.json()["usage"]
    assert usage == {**grok, "completion_tokens": 103, "cost_usd": usage["cost_usd"]}
    assert float(answer.headers["x-route-cost-usd"]) == cost_usd(32, 103)


def test_a_cached_answer_tells_the_usage_that_was_booked(client, upstream):
    grok = {"prompt_tokens": 32, "completion_tokens": 9, "total_tokens": 135}
    usage = data({"choices": [], "usage": grok})
    upstream.answers["sim-nano"] = stream(ROLE, HELLO, END, usage, DONE)
    options = {"headers": {"x-route-cache": "on"}, "temperature": 0}
    first = told(streamed(client, **options))
    hit = ask(client, **options)
    assert hit.headers["x-route-cache"] == "hit"
    assert {**hit.json()["usage"], "cost_usd": 0} == {
        **grok,
        "completion_tokens": 103,
        "cost_usd": 0,
    }
    again = told(streamed(client, **options))
    assert {**again, "cost_usd": 0} == {**first, "cost_usd": 0}
    assert len(upstream.asked) == 1
