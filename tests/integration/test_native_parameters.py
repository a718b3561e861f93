"""What the model that was chosen refuses, of requests that reach it in their client's dialect."""

import json

import httpx
import pytest

from app.outcomes.sqlite import read_outcomes
from tests.support.gateway import CONFIGS, GatewayThread, read_yaml, stub_config, write_yaml
from tests.support.odd_upstream import OddUpstream, whole

LIKE = {
    "claude-opus-5-5": "claude-opus-4.7",  # sim-frontier
    "claude-sonnet-4-5": "claude-haiku-4.5",  # sim-large
    "gpt-4.1-mini": "gpt-5.1",  # sim-medium
    "gpt-4.1-nano": "gpt-4.1",  # sim-small
}
OPUS, HAIKU, REASONER, CHATTER = "sim-frontier", "sim-large", "sim-medium", "sim-small"
HI = [{"role": "user", "content": "Hi"}]
MESSAGE = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "claude-x",
    "content": [{"type": "text", "text": "Hello"}],
    "stop_reason": "end_turn",
    "usage": {"input_tokens": 3, "output_tokens": 1},
}
RESPONSE = {
    "id": "resp_1",
    "object": "response",
    "status": "completed",
    "model": "gpt-x",
    "output": [{"type": "message", "content": [{"type": "output_text", "text": "Hello"}]}],
    "usage": {"input_tokens": 3, "output_tokens": 1, "total_tokens": 4},
}
ADAPTIVE = {"type": "adaptive"}
BUDGET = {"type": "enabled", "budget_tokens": 2000}
CLEAR = {"type": "clear_thinking_20251015", "keep": "all"}
CLEAR_TOOLS = {"type": "clear_tool_uses_20250919"}


@pytest.fixture(scope="module")
def upstream_thread():
    with OddUpstream() as upstream:
        yield upstream


@pytest.fixture(scope="module")
def config(upstream_thread, stub_thread, tmp_path_factory):
    directory = tmp_path_factory.mktemp("gateway")
    document = read_yaml(CONFIGS / "models.yaml")
    for name, like in LIKE.items():
        document["models"][name]["parameters"] = {"like": like}
    document["models"]["claude-sonnet-4-5"]["variants"] = {
        "deep": {"thinking_budget_tokens": 4096, "max_output_tokens": 9000},
        "none": {"reasoning_effort": "none"},
    }
    catalogue = directory / "catalogue.yaml"
    write_yaml(catalogue, document)
    changes = {
        "catalogue": str(catalogue),
        "aliases": {"house": OPUS},
        "store": {"data_dir": "data"},
        "upstreams.claude": {
            "kind": "anthropic",
            "base_url": f"{upstream_thread.origin}/v1",
            "api_key_env": "ANTHROPIC_API_KEY",
        },
        "upstreams.stub.base_url": f"{upstream_thread.origin}/v1",
        "upstreams.stub.also_serves": ["responses"],
        f"models.{OPUS}.upstream": "claude",
        f"models.{HAIKU}.upstream": "claude",
        "breaker.failures": 1_000_000,
    }
    env = {"ANTHROPIC_API_KEY": "sk-ant-canary"}
    return stub_config(directory, stub_thread.origin, changes=changes, env=env)


@pytest.fixture(scope="module")
def gateway_thread(config, artifacts):
    with GatewayThread(config, artifacts=artifacts) as running:
        yield running


@pytest.fixture
def ask(gateway_thread, upstream_thread):
    """Return a way to ask that gives the answer and what the upstream got, besides the obvious."""
    upstream = upstream_thread
    upstream.reset()
    with httpx.Client(base_url=gateway_thread.url, trust_env=False, timeout=30) as client:

        def ask(model, dialect, *, only=None, **fields):
            for each in (OPUS, HAIKU, REASONER, CHATTER):
                upstream.answers[each] = whole(MESSAGE if dialect == "messages" else RESPONSE)
            own = {"messages": HI, "max_tokens": 5000} if dialect == "messages" else {"input": "Hi"}
            body = {"model": model, **own, **fields}
            if only is not None:
                body["routing"] = {"models": [only], "affinity": False}
            answer = client.post(f"/v1/{dialect}", json=body)
            assert answer.status_code == 200, answer.text
            _, sent = upstream.asked[-1]
            assert ("messages" in sent) is (dialect == "messages"), "it was not told natively"
            obvious = {"model", "messages", "input", "store"}
            return answer, {name: sent[name] for name in sent if name not in obvious}

        yield ask


@pytest.mark.parametrize(
    ("model", "fields", "sent", "told"),
    [
        (
            OPUS,
            {"temperature": 0.2, "top_p": 0.9, "top_k": 3, "stop_sequences": ["x"]},
            {"stop_sequences": ["x"]},
            "temperature=dropped; top_p=dropped; top_k=dropped",
        ),
        (OPUS, {"thinking": BUDGET}, {"thinking": ADAPTIVE}, "thinking=enabled->adaptive"),
        (OPUS, {"thinking": ADAPTIVE}, {"thinking": ADAPTIVE}, None),
        (
            OPUS,
            {"output_config": {"effort": "minimal", "format": {"type": "json_schema"}}},
            {"output_config": {"effort": "low", "format": {"type": "json_schema"}}},
            "output_config.effort=minimal->low",
        ),
        (
            HAIKU,
            {"thinking": ADAPTIVE, "output_config": {"effort": "high"}, "temperature": 1},
            {"temperature": 1},
            "output_config.effort=dropped; thinking=dropped",
        ),
        (
            HAIKU,
            {"thinking": ADAPTIVE, "context_management": {"edits": [CLEAR, CLEAR_TOOLS]}},
            {"context_management": {"edits": [CLEAR_TOOLS]}},
            "thinking=dropped; context_management clear_thinking=dropped",
        ),
        (
            HAIKU,
            {"thinking": BUDGET, "temperature": 0.5, "top_k": 3, "top_p": 1},
            {"thinking": BUDGET, "top_p": 1},
            "temperature=dropped; top_k=dropped",
        ),
        (HAIKU, {"temperature": 0.5, "top_k": 3}, {"temperature": 0.5, "top_k": 3}, None),
        (HAIKU, {"temperature": 0.5, "top_p": 0.9}, {"temperature": 0.5}, "top_p=dropped"),
        (
            HAIKU,
            {"thinking": None, "temperature": None, "future": {"a": [1.5]}},
            {"thinking": None, "temperature": None, "future": {"a": [1.5]}},
            None,
        ),
    ],
)
def test_a_routed_request_of_messages_is_told_as_the_model_takes_it(ask, model, fields, sent, told):
    answer, got = ask("auto", "messages", only=model, **fields)
    assert got == {"max_tokens": 5000, **sent}
    assert answer.headers.get("x-route-params") == told


@pytest.mark.parametrize(
    ("model", "fields", "sent", "told"),
    [
        (
            REASONER,
            {"reasoning": {"effort": "max", "summary": "auto"}, "temperature": 0.2, "top_p": 0.1},
            {"reasoning": {"effort": "high", "summary": "auto"}},
            "reasoning.effort=max->high; temperature=dropped; top_p=dropped",
        ),
        (REASONER, {"temperature": 0.2}, {"temperature": 0.2}, None),
        (
            REASONER,
            {
                "reasoning": {"effort": "low"},
                "include": ["message.output_text.logprobs", "reasoning.encrypted_content"],
                "top_logprobs": 2,
                "max_output_tokens": 50,
            },
            {
                "reasoning": {"effort": "low"},
                "include": ["reasoning.encrypted_content"],
                "max_output_tokens": 50,
            },
            "include message.output_text.logprobs=dropped; top_logprobs=dropped",
        ),
        (
            CHATTER,
            {
                "reasoning": {"effort": "low", "summary": "auto"},
                "include": ["reasoning.encrypted_content"],
                "text": {"verbosity": "low", "format": {"type": "text"}},
            },
            {"include": [], "text": {"format": {"type": "text"}}},
            (
                "reasoning=dropped; include reasoning.encrypted_content=dropped; "
                "text.verbosity=dropped"
            ),
        ),
        (CHATTER, {"text": {"verbosity": "medium"}}, {"text": {"verbosity": "medium"}}, None),
        (CHATTER, {"reasoning": None, "include": None}, {"reasoning": None, "include": None}, None),
    ],
)
def test_a_routed_request_of_responses_is_told_as_the_model_takes_it(
    ask, model, fields, sent, told
):
    answer, got = ask("auto", "responses", only=model, **fields)
    assert got == sent
    assert answer.headers.get("x-route-params") == told


REFUSED = {"temperature": 0.2, "top_p": 0.9, "thinking": BUDGET}
CHANGES = ["thinking=enabled->adaptive", "temperature=dropped", "top_p=dropped"]


def test_an_alias_is_the_operators_word_and_told_as_its_model_takes_it(ask):
    answer, got = ask("house", "messages", **REFUSED)
    assert got == {"max_tokens": 5000, "thinking": ADAPTIVE}
    assert answer.headers["x-route-params"] == "; ".join(CHANGES)


def test_what_was_changed_stands_in_the_decision_log(config, artifacts, upstream_thread):
    upstream_thread.answers[OPUS] = whole(MESSAGE)
    body = {"model": "house", "messages": HI, "max_tokens": 5000, **REFUSED}
    with GatewayThread(config, artifacts=artifacts) as gateway:
        answer = httpx.post(f"{gateway.url}/v1/messages", json=body, trust_env=False)
    rows = [row for _, row in read_outcomes(config.data_dir)]
    (row,) = [row for row in rows if row.request_id == answer.headers["x-request-id"]]
    (call,) = json.loads(row.calls)
    assert call["changes"] == CHANGES


def test_what_a_client_writes_to_a_model_by_its_name_is_not_touched(ask):
    for model, dialect, fields in (
        (OPUS, "messages", REFUSED),
        (HAIKU, "messages", {"thinking": ADAPTIVE, "output_config": {"effort": "high"}}),
        (REASONER, "responses", {"reasoning": {"effort": "max"}, "temperature": 0.5}),
        (CHATTER, "responses", {"reasoning": {"effort": "low"}, "text": {"verbosity": "low"}}),
    ):
        answer, got = ask(model, dialect, **fields)
        limit = {"max_tokens": 5000} if dialect == "messages" else {}
        assert got == {**limit, **fields}
        assert "x-route-params" not in answer.headers


def test_models_tell_what_anthropics_servers_do_for_them(gateway_thread):
    listed = httpx.get(f"{gateway_thread.url}/v1/models", trust_env=False).json()["data"]
    told = {each["id"]: each["capabilities"] for each in listed}
    for model, thinks in (
        (OPUS, {"adaptive", "disabled"}),
        (HAIKU, {"enabled", "disabled"}),
        (CHATTER, {"disabled"}),
    ):
        table = told[model]
        native = model != CHATTER
        kinds = table["thinking"]["types"].items()
        assert {kind for kind, each in kinds if each["supported"]} == thinks
        assert table["thinking"]["supported"] is native
        assert table["server_tools"]["supported"] is native
        assert table["server_tools"]["web_search"]["supported"] is native
        assert table["code_execution"]["supported"] is native
        assert table["batch"]["supported"] is False
    assert told["auto"]["server_tools"]["supported"] is True


SIGNED = {"type": "thinking", "thinking": "a", "signature": "EqQB"}
CALL = {"type": "tool_use", "id": "toolu_1", "name": "read", "input": {}}


def test_what_another_model_thought_is_left_out_before_it_is_refused(
    gateway_thread, upstream_thread
):
    upstream_thread.reset()
    said = {"role": "assistant", "content": [SIGNED, {"type": "text", "text": "Hello"}]}
    calls = {"role": "assistant", "content": [SIGNED, CALL]}
    result = {"type": "tool_result", "tool_use_id": "toolu_1", "content": "x"}
    told = [*HI, said, *HI]
    looped = [*HI, calls, {"role": "user", "content": [result]}]
    with httpx.Client(base_url=gateway_thread.url, trust_env=False, timeout=30) as client:

        def turn(session, model, messages):
            for each in (OPUS, HAIKU):
                upstream_thread.answers[each] = whole(MESSAGE)
            body = {"model": "auto", "max_tokens": 50, "messages": messages}
            answer = client.post(
                "/v1/messages",
                json={**body, "routing": {"models": [model]}},
                headers={"x-session-id": session},
            )
            assert answer.status_code == 200, answer.text
            assert answer.headers["x-route-model"] == model
            _, sent = upstream_thread.asked[-1]
            kept = [
                block["type"]
                for message in sent["messages"]
                if message["role"] == "assistant"
                for block in message["content"]
            ]
            return kept, answer.headers.get("x-route-params")

        turn("moves", OPUS, HI)
        assert turn("moves", OPUS, told) == (["thinking", "text"], None)
        moved = (["text"], "thinking of another model=dropped")
        assert turn("moves", HAIKU, told) == moved
        # From here on it is the new model's.
        assert turn("moves", HAIKU, told) == (["thinking", "text"], None)
        turn("loops", OPUS, HI)
        # What a model thought before its call may have to be there with the result.
        assert turn("loops", HAIKU, looped)[0] == ["thinking", "tool_use"]
        # Nobody knows who it is of.
        assert turn("new", OPUS, told) == (["thinking", "text"], None)


def test_what_a_variant_sets_fits_into_the_request(ask):
    answer, got = ask(f"{HAIKU}@deep", "messages", temperature=0.5, max_tokens=3000)
    thinking = {"type": "enabled", "budget_tokens": 2999}
    assert got == {"max_tokens": 3000, "thinking": thinking}
    assert answer.headers["x-route-params"] == (
        "thinking=set; temperature=dropped; thinking=bounded"
    )
    _, got = ask(f"{HAIKU}@none", "messages", output_config={"effort": "high"}, thinking=BUDGET)
    assert got == {"max_tokens": 5000, "thinking": {"type": "disabled"}}
