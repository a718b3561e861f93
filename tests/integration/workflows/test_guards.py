"""Requests that pass a guard behind a real gateway, and those that do not."""

import pytest

from tests.integration.workflows.test_agreement import text_of
from tests.support.requests import assert_openai_error
from tests.support.several import JUDGE, LARGE, MINI, NANO

TOOL = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}
IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}
SOUND = {"type": "input_audio", "input_audio": {"data": "UklGRg==", "format": "wav"}}
DOWN = (500, {"error": {"message": "no", "type": "server_error"}})


def assert_refused(response, guard):
    assert assert_openai_error(response, status=400)["code"] == "content_filter"
    assert response.headers["x-route-guard"] == guard


@pytest.mark.parametrize("stream", [False, True])
def test_what_is_harmless_is_answered_as_ever(ask, models, stream):
    models.said |= {JUDGE: "safe", LARGE: "A beam.", NANO: "A beam.", MINI: "A beam."}
    response = ask("guarded", stream=stream)
    assert text_of(response) == "A beam."
    assert response.headers["x-route-guard"] == "slow; harmless"
    assert models.asked[0] == JUDGE
    assert len(models.asked) == 2


def test_the_guard_is_paid_and_told(ask, models):
    models.said[JUDGE] = "safe"
    told = ask("guarded", headers={"x-route-explain": "full"}).json()["steelyard"]
    assert [call["role"] for call in told["calls"]] == ["guard", "answer"]
    guard = told["workflow"]["guard"]
    assert (guard["by"], guard["harmful"], guard["models"]) == ("slow", False, None)


@pytest.mark.parametrize(
    ("said", "guard"),
    [("unsafe", "slow; harmful"), ("perhaps", "none; unknown"), (DOWN, "none; unknown")],
)
@pytest.mark.parametrize("stream", [False, True])
def test_what_is_harmful_or_unknown_is_refused(ask, models, said, guard, stream):
    models.said[JUDGE] = said
    assert_refused(ask("guarded", stream=stream), guard)
    assert set(models.asked) == {JUDGE}


@pytest.mark.parametrize(
    "fields",
    [
        {"tools": [TOOL]},
        {"n": 2},
        {"routing": {"cost_quality": 1.0}},
        {"routing": {"fallback": False}},
        {"routing": {"models": [LARGE]}},
    ],
)
@pytest.mark.parametrize("policy", ["guarded", "restricted"])
def test_nothing_goes_around_it(ask, models, fields, policy):
    models.said[JUDGE] = "unsafe"
    response = ask(policy, **fields)
    if policy == "restricted" and fields.get("routing") != {"models": [LARGE]}:
        assert response.status_code == 200
        assert response.headers["x-route-model"] in {NANO, MINI}
        assert LARGE not in models.asked
    else:
        assert_refused(response, "slow; harmful")
    models.reset()
    models.said[JUDGE] = "safe"
    response = ask(policy, **fields)
    assert response.status_code == 200
    assert response.headers["x-route-guard"] == "slow; harmless"


@pytest.mark.parametrize("part", [IMAGE, SOUND])
def test_a_picture_cannot_be_judged(ask, models, part):
    models.said[JUDGE] = "safe"
    content = [{"type": "text", "text": "What is this?"}, part]
    response = ask("guarded", messages=[{"role": "user", "content": content}])
    assert response.status_code == 400
    assert LARGE not in models.asked


def test_a_conversation_that_stays_with_its_model_is_guarded_every_time(ask, models):
    session = {"x-session-id": "guarded-1"}
    models.said[JUDGE] = "safe"
    first = ask("restricted", headers=session)
    assert first.headers["x-route-guard"] == "slow; harmless"
    models.said |= {JUDGE: "unsafe", NANO: "B", MINI: "C"}
    turns = [
        {"role": "user", "content": "Which one is right, (A), (B) or (C)?"},
        {"role": "assistant", "content": text_of(first)},
        {"role": "user", "content": "And now?"},
    ]
    again = ask("restricted", headers=session, messages=turns)
    assert again.headers["x-route-guard"] == "slow; harmful"
    assert LARGE not in models.asked


def test_restricted_requests_fall_back_within_their_models_only(ask, models):
    models.said |= {JUDGE: "unsafe", NANO: DOWN, MINI: DOWN}
    response = ask("restricted")
    assert response.status_code >= 500
    assert LARGE not in models.asked


def test_the_guard_reads_what_the_model_reads_of_tools_and_schemas(ask, models):
    models.said[JUDGE] = lambda body: "unsafe" if "naphtha" in str(body["messages"]) else "safe"
    hidden = {
        "name": "look",
        "description": "of naphtha",
        "parameters": {"type": "object"},
    }
    assert_refused(
        ask("guarded", tools=[{"type": "function", "function": hidden}]), "slow; harmful"
    )
    assert ask("guarded", tools=[TOOL]).status_code == 200


def test_prompts_that_no_message_can_tell_cannot_be_judged(client, models):
    models.said[JUDGE] = "safe"
    body = {"model": "auto:guarded", "prompt": ["What is a steelyard?", "And a bomb?"]}
    response = client.post("/v1/completions", json=body)
    assert response.status_code == 400
    assert LARGE not in models.asked
