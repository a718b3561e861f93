"""What a provider writes to its prompt cache is counted, paid and told in every dialect."""

import json
import time

import httpx
import pytest

from app.outcomes.sqlite import read_outcomes
from app.spend.question import Dimension, Question
from app.spend.sqlite import SqliteSpend
from tests.support.gateway import CONFIGS, GatewayThread, read_yaml, stub_config, write_yaml
from tests.support.messages import accumulated
from tests.support.odd_upstream import (
    DONE,
    END,
    HELLO,
    OddUpstream,
    completion,
    data,
    stream,
    whole,
)
from tests.support.watching import until

CLAUDE, CHAT = "sim-frontier", "sim-nano"
PRICES = {
    "input_usd_per_mtok": 4.0,
    "cached_input_usd_per_mtok": 0.4,
    "cache_write_usd_per_mtok": 5.0,
    "cache_write_1h_usd_per_mtok": 8.0,
    "output_usd_per_mtok": 20.0,
}
WRITTEN = {
    "input_tokens": 10,
    "output_tokens": 20,
    "cache_read_input_tokens": 60,
    "cache_creation_input_tokens": 30,
    "cache_creation": {"ephemeral_5m_input_tokens": 18, "ephemeral_1h_input_tokens": 12},
}
COST_USD = (10 * 4 + 60 * 0.4 + 18 * 5 + 12 * 8 + 20 * 20) / 1e6
MESSAGE = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "claude-x",
    "content": [{"type": "text", "text": "Hello"}],
    "stop_reason": "end_turn",
    "usage": WRITTEN,
}
OPENAI = {
    "prompt_tokens": 100,
    "completion_tokens": 20,
    "total_tokens": 120,
    "prompt_tokens_details": {"cached_tokens": 60, "cache_write_tokens": 30},
}
HI = [{"role": "user", "content": "Hi"}]


@pytest.fixture
def upstream():
    with OddUpstream() as upstream:
        upstream.answers[CLAUDE] = whole(MESSAGE)
        upstream.answers[CHAT] = whole(completion(usage=OPENAI))
        yield upstream


@pytest.fixture
def config(upstream, stub_thread, tmp_path):
    document = read_yaml(CONFIGS / "models.yaml")
    for name in ("claude-opus-5-5", "llama-3.1-8b-instruct"):
        document["models"][name]["prices"] = {**PRICES, "source": "test", "date": "2026-11-30"}
    catalogue = tmp_path / "catalogue.yaml"
    write_yaml(catalogue, document)
    changes = {
        "catalogue": str(catalogue),
        "store": {"data_dir": "data"},
        "upstreams.claude": {
            "kind": "anthropic",
            "base_url": f"{upstream.origin}/v1",
            "api_key_env": "ANTHROPIC_API_KEY",
        },
        "upstreams.stub.base_url": f"{upstream.origin}/v1",
        f"models.{CLAUDE}.upstream": "claude",
    }
    env = {"ANTHROPIC_API_KEY": "sk-ant-canary"}
    return stub_config(tmp_path, stub_thread.origin, changes=changes, env=env)


def test_what_is_written_is_paid_told_and_recorded(config, artifacts, upstream):
    began_s = time.time()
    with (
        GatewayThread(config, artifacts=artifacts) as gateway,
        httpx.Client(base_url=f"{gateway.url}/v1", trust_env=False, timeout=30) as client,
    ):

        def ask(path, **body):
            answer = client.post(path, json=body)
            assert answer.status_code == 200, answer.text
            return answer

        # Of Anthropic's upstream, to clients of each dialect.
        answer = ask("/chat/completions", model=CLAUDE, messages=HI)
        usage = answer.json()["usage"]
        assert usage["prompt_tokens"] == 100
        assert usage["prompt_tokens_details"] == {"cached_tokens": 60, "cache_write_tokens": 30}
        assert usage["cost_usd"] == pytest.approx(COST_USD)
        usage = ask("/responses", model=CLAUDE, input="Hi").json()["usage"]
        assert usage["input_tokens"] == 100
        assert usage["input_tokens_details"] == {"cached_tokens": 60, "cache_write_tokens": 30}
        native = ask("/messages", model=CLAUDE, messages=HI, max_tokens=9)
        assert float(native.headers["x-route-cost-usd"]) == pytest.approx(COST_USD)
        # Of a chat upstream, which tells nothing of hours; to Anthropic's clients disjoint.
        upstream.answers[CHAT] = whole(completion(usage=OPENAI))
        usage = ask("/messages", model=CHAT, messages=HI, max_tokens=9).json()["usage"]
        assert (usage["input_tokens"], usage["cache_read_input_tokens"]) == (10, 60)
        assert usage["cache_creation_input_tokens"] == 30
        assert usage["cost_usd"] == pytest.approx((10 * 4 + 60 * 0.4 + 30 * 5 + 20 * 20) / 1e6)
        last = data({"choices": [], "usage": OPENAI})
        upstream.answers[CHAT] = stream(HELLO, END, last, DONE)
        streamed = ask("/messages", model=CHAT, messages=HI, max_tokens=9, stream=True)
        assert accumulated(streamed.content)["usage"]["cache_creation_input_tokens"] == 30
        for model, n_tokens in ((CLAUDE, 90), (CHAT, 60)):
            labels = f'class="cache_write",estimated="false",model="{model}",role="answer"'
            until(gateway, f"gateway_tokens_total{{{labels}}}", n_tokens)
        told = {each["id"]: each for each in client.get("/models").json()["data"]}
    assert float(told[CLAUDE]["pricing"]["input_cache_write"]) == pytest.approx(5e-6)
    rows = [row for _, row in read_outcomes(config.data_dir)]
    assert [row.cache_write_tokens for row in rows] == [30] * 5
    assert [json.loads(row.calls)[0]["cache_write_tokens"] for row in rows] == [30] * 5
    for by in ((Dimension.MODEL,), (Dimension.MODEL, Dimension.ROLE)):
        question = Question(since=began_s, until=time.time() + 60, by=by)
        found = SqliteSpend(config.data_dir).read(question, deadline=float("inf"))
        assert {group[0]: each.cache_write_tokens for group, each in found.items()} == {
            CLAUDE: 90,
            CHAT: 60,
        }
