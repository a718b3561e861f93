"""The decision log over real sockets: what is kept of a request, and what is not."""

import json
import logging
import math

import httpx
import numpy as np
import pytest

from app.outcomes.sqlite import ContentReader, read_outcomes
from routers.types import Conversation
from tests.support.gateway import GatewayThread, stub_config

DATA = {"store.data_dir": "data"}
CANARY = "canary-prompt-6d1f"


@pytest.fixture
def run(stub, artifacts, tmp_path):
    """Serve a configuration while requests are made, and return their answers and all rows."""

    def run(*bodies, changes=None, headers=None):
        config = stub_config(tmp_path, stub.origin, changes={**DATA, **(changes or {})})
        with (
            GatewayThread(config, artifacts=artifacts) as gateway,
            httpx.Client(base_url=gateway.url, trust_env=False, headers=headers) as client,
        ):
            answers = [client.post("/v1/chat/completions", json=body(each)) for each in bodies]
        rows = [row for _, row in read_outcomes(tmp_path / "data")]
        return answers, rows

    return run


RUN = {
    "x-claude-code-session-id": "5f1e-session",
    "x-claude-code-agent-id": "a77-agent",
    "x-claude-code-parent-agent-id": "a76-parent",
    "x-openai-subagent": "review",
}


def body(changes):
    messages = [{"role": "user", "content": f"What is a {CANARY}?"}]
    return {"model": "auto", "messages": messages, **changes}


def content_of(directory, decision_id):
    reader = ContentReader(directory)
    try:
        found = reader.get(decision_id)
    finally:
        reader.close()
    return None if found is None else json.loads(found)


def files(directory):
    return b"".join(path.read_bytes() for path in sorted(directory.rglob("*")) if path.is_file())


def test_a_row_tells_all_that_was_predicted_chosen_used_and_paid(run, artifacts):
    (answer,), (row,) = run({}, headers={"x-cost-quality": "0.7"})
    headers = answer.headers
    assert row.request_id == headers["x-request-id"]
    assert row.decision_id == headers["x-route-decision-id"]
    assert row.model == row.decided_model == headers["x-route-model"]
    assert (row.policy, row.reason, row.status, row.error) == ("default", "knob", 200, None)
    assert (row.key_id, row.team) == ("anonymous", None)
    assert json.loads(row.objective) == {"cost_quality": 0.7}
    assert row.usd_per_quality > 0
    assert row.artifact_version == next(iter(artifacts.values())).version
    assert row.propensity == 1.0
    usage = answer.json()["usage"]
    assert (row.input_tokens, row.output_tokens) == (
        usage["prompt_tokens"],
        usage["completion_tokens"],
    )
    assert row.cost_nusd / 1e9 == pytest.approx(float(headers["x-route-cost-usd"]), abs=1e-9)
    assert row.predicted_quality == pytest.approx(
        float(headers["x-route-predicted-quality"]), abs=1e-3
    )
    candidates = json.loads(row.candidates)
    assert len(candidates["model"]) == 5
    assert {len(values) for values in candidates.values()} == {5}
    assert candidates["exclusion"] == [None] * 5
    served = candidates["model"].index(row.model)
    assert candidates["cost_nusd"][served] == row.predicted_cost_nusd
    assert set(json.loads(row.fallbacks)) | {row.model} == set(candidates["model"])
    (call,) = json.loads(row.calls)
    assert (call["model"], call["status"], call["error"]) == (row.model, 200, None)
    counted = ("input_tokens", "output_tokens", "reasoning_tokens", "cost_nusd")
    assert [call[each] for each in counted] == [getattr(row, each) for each in counted]
    assert (call["role"], call["parent"]) == ("answer", row.decision_id)
    assert 0 < row.decide_s <= row.overhead_s < row.duration_s
    assert row.features is None


def test_what_excluded_a_candidate_is_told(run):
    _, (row,) = run({"routing": {"models": ["sim-nano", "sim-small"]}})
    exclusions = json.loads(row.candidates)["exclusion"]
    assert exclusions == [None, None, "not_allowed", "not_allowed", "not_allowed"]


def test_pinned_refused_and_streamed_requests_have_rows_too(run, stub):
    answers, rows = run(
        {"model": "sim-large"},
        {"routing": {"max_cost": 1e-12}},
        {"stream": True},
    )
    assert [answer.status_code for answer in answers] == [200, 400, 200]
    pinned, refused, streamed = rows
    assert (pinned.policy, pinned.model, pinned.artifact_version) == ("pinned", "sim-large", None)
    assert (refused.status, refused.error, refused.model) == (400, "no_eligible_model", None)
    assert streamed.stream
    assert streamed.time_to_first_token_s <= streamed.duration_s


def test_nothing_that_was_said_is_stored_unless_asked_for(run, tmp_path):
    answers, rows = run({}, {"stream": True})
    assert len(rows) == 2
    text = answers[0].json()["choices"][0]["message"]["content"]
    stored = files(tmp_path / "data")
    assert CANARY.encode() not in stored
    assert text[:40].encode() not in stored


def test_the_embedding_is_kept_where_features_are_kept_by_value(run, artifacts, tmp_path):
    _, rows = run({}, {"model": "sim-nano"}, changes={"outcomes.features": "value"})
    artifact = next(iter(artifacts.values()))
    prompt = Conversation.of(body({})["messages"][0]["content"])
    expected = artifact.featurizer.embed([prompt])[0]
    kept = np.frombuffer(rows[0].features, dtype="<f2")
    assert kept.shape == expected.shape
    assert kept == pytest.approx(expected, abs=1e-3)
    assert math.isclose(float(np.linalg.norm(kept.astype(np.float32))), 1.0, abs_tol=1e-2)
    assert rows[1].features is None  # nothing was decided, so there is no artifact
    assert CANARY.encode() not in files(tmp_path / "data")


CONTENTS = {"outcomes.contents": {"enabled": True, "keep_days": 2}}


def test_prompts_and_answers_are_kept_where_the_operator_opted_in(run, tmp_path):
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "What is this?"}]},
    ]
    (whole, streamed), rows = run(
        {"messages": messages}, {"messages": messages, "stream": True}, changes=CONTENTS
    )
    said = whole.json()["choices"][0]["message"]["content"]
    pieces = [
        json.loads(line[6:])["choices"]
        for line in streamed.text.splitlines()
        if line.startswith("data: {")
    ]
    told = "".join(each[0]["delta"].get("content") or "" for each in pieces if each)
    expected = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "What is this?"},
    ]
    for row, answer in zip(rows, (said, told), strict=True):
        content = content_of(tmp_path / "data", row.decision_id)
        assert content == {"messages": expected, "answer": answer}
        assert len(answer) > 20


def redact_for_test(text):
    """Stand for an operator's own function."""
    if "impossible" in text:
        raise ValueError(text)
    return text.replace("brief", "[short]")


def test_texts_are_redacted_before_they_are_written(run, tmp_path):
    secret = "sk-abcdefghijklmnop1234"  # noqa: S105  (opens nothing)
    contents = {
        **CONTENTS["outcomes.contents"],
        "redact": [r"sk-[A-Za-z0-9]+", CANARY],
        "redact_hook": f"{__name__}:redact_for_test",
    }
    prompts = (f"Be brief: {secret} of {CANARY}", "An impossible one")
    _, rows = run(
        *({"messages": [{"role": "user", "content": each}]} for each in prompts),
        changes={"outcomes.contents": contents},
    )
    first, second = (content_of(tmp_path / "data", row.decision_id) for row in rows)
    assert first["messages"][0]["content"] == "Be [short]: [redacted] of [redacted]"
    assert second is None  # what cannot be redacted is not kept
    stored = files(tmp_path / "data")
    for each in (secret, CANARY, "impossible"):
        assert each.encode() not in stored


@pytest.mark.parametrize("model", ["auto", "sim-nano"])
def test_a_row_and_a_log_line_tell_the_run_of_an_agent_by_hashes_alone(
    run, tmp_path, caplog, model
):
    caplog.set_level(logging.INFO, logger="app.requests")
    _, (row, twin) = run({"model": model}, {"model": model}, headers=RUN)
    told = {
        name: getattr(row, name)
        for name in ("session_id", "agent_id", "parent_agent_id", "agent_kind")
    }
    assert [value.partition("-")[0] for value in told.values()] == [
        *("session", "agent", "agent", "review")
    ]
    assert told["agent_id"] != told["parent_agent_id"]
    assert (twin.session_id, twin.agent_id) == (row.session_id, row.agent_id)
    for record in caplog.records:
        if record.getMessage() == "request":
            assert {name: record.fields[name] for name in told} == told
    kept = files(tmp_path / "data") + caplog.text.encode()
    for raw in ("5f1e-session", "a77-agent", "a76-parent"):
        assert raw.encode() not in kept


def test_of_a_client_that_says_nothing_no_run_is_told(run, caplog):
    caplog.set_level(logging.INFO, logger="app.requests")
    _, (row,) = run({"prompt_cache_key": "one for all"})
    assert (row.session_id, row.agent_id, row.parent_agent_id, row.agent_kind) == (None,) * 4
    (line,) = [each for each in caplog.records if each.getMessage() == "request"]
    assert "session_id" not in line.fields
