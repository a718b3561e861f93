"""Rounds, agents and what follows guards, as clients of three dialects see them."""

import json
import threading

import anthropic
import httpx
import openai
import pytest

from tests.integration.workflows.test_agreement import text_of
from tests.support.cascading import wait_for
from tests.support.raw_client import RawClient
from tests.support.several import CANDIDATES, JUDGE, LARGE, MINI, NANO
from tests.support.watching import assert_no_task_is_left, metric

KINDS = ("rounds", "debate", "guarded_rounds", "guarded_debate")
PROMPT = "Who is mayor where she was born?"
TOOL = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}
IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}
SOUND = {"type": "input_audio", "input_audio": {"data": "UklGRg==", "format": "wav"}}
CANCELLED = 'gateway_calls_total{error="cancelled"'
DOWN = (500, {"error": {"message": "no", "type": "server_error"}})


def guards_and_plans(body):
    """Find everything harmless; ask one model, then have it answered."""
    asked = str(body["messages"])
    if "You guard" in asked:
        return "safe"
    if "<information-" in asked:
        return "<think>Known</think><answer>Ada</answer>"
    return f"<think>Ask</think><call>{NANO}: Where?</call>"


@pytest.fixture(autouse=True)
def said(models, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    models.said |= {JUDGE: guards_and_plans, **dict.fromkeys(CANDIDATES, "Ada of Ulm.")}


@pytest.fixture
def chat(several):
    with openai.OpenAI(base_url=f"{several.url}/v1", api_key="sk-client", max_retries=0) as client:
        yield client


@pytest.fixture
def messages(several):
    with anthropic.Anthropic(base_url=several.url, api_key="sk-client", max_retries=0) as client:
        yield client


def _client():
    return httpx.Client(trust_env=False, timeout=60)


@pytest.mark.parametrize("policy", KINDS)
def test_every_dialect_gets_one_answer(chat, messages, policy):
    model, user = f"auto:{policy}", [{"role": "user", "content": PROMPT}]
    whole = chat.chat.completions.create(model=model, messages=user)
    assert whole.choices[0].message.content == "Ada of Ulm."
    with chat.chat.completions.create(
        model=model, messages=user, stream=True, stream_options={"include_usage": True}
    ) as stream:
        events = list(stream)
    texts = [each.choices[0].delta.content or "" for each in events if each.choices]
    assert "".join(texts) == "Ada of Ulm."
    assert events[-1].usage.completion_tokens == 4
    assert chat.responses.create(model=model, input=PROMPT).output_text == "Ada of Ulm."
    with chat.responses.stream(model=model, input=PROMPT) as stream:
        assert stream.get_final_response().output_text == "Ada of Ulm."
    said = messages.messages.create(model=model, max_tokens=100, messages=user)
    assert said.content[0].text == "Ada of Ulm."
    with messages.messages.stream(model=model, max_tokens=100, messages=user) as stream:
        assert stream.get_final_text() == "Ada of Ulm."


@pytest.mark.parametrize("policy", ["rounds", "debate"])
def test_every_dialect_gets_the_best_at_hand(chat, messages, models, policy):
    def fails_to_write(body):
        return DOWN if "<findings-" in str(body["messages"]) else "Ulm"

    models.said |= dict.fromkeys(CANDIDATES, fails_to_write)
    expected = "Ada" if policy == "rounds" else "Ulm"
    if policy == "debate":  # in the second round agents read each other
        models.said |= dict.fromkeys(
            CANDIDATES,
            lambda body: "Ulm" if body["messages"][0]["content"].startswith("You ") else DOWN,
        )
    model, user = f"auto:{policy}", [{"role": "user", "content": PROMPT}]
    assert chat.responses.create(model=model, input=PROMPT).output_text == expected
    with chat.responses.stream(model=model, input=PROMPT) as stream:
        assert stream.get_final_response().output_text == expected
    said = messages.messages.create(model=model, max_tokens=100, messages=user)
    assert said.content[0].text == expected
    assert said.stop_reason == "end_turn"
    with messages.messages.stream(model=model, max_tokens=100, messages=user) as stream:
        assert stream.get_final_text() == expected
    with chat.chat.completions.create(
        model=model, messages=user, stream=True, stream_options={"include_usage": True}
    ) as stream:
        events = list(stream)
    assert events[-1].usage.completion_tokens == 4


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"tools": [TOOL]}, "tools"),
        ({"n": 2}, "n"),
        ({"messages": [{"role": "user", "content": [IMAGE]}]}, "media"),
        ({"messages": [{"role": "user", "content": [SOUND]}]}, "media"),
        ({"routing": {"fallback": False}}, "no_fallback"),
        ({"routing": {"cost_quality": 0.5}}, "knob"),
    ],
)
@pytest.mark.parametrize("policy", ["rounds", "debate"])
def test_what_they_cannot_carry_one_choice_answers(ask, models, policy, fields, why):
    response = ask(policy, PROMPT, **fields)
    if why != "media" or response.status_code == 200:
        assert response.status_code == 200, response.text
        assert response.headers["x-route-workflow"] == f"skipped; {why}"
        assert "x-route-rounds" not in response.headers
        assert "x-route-mode" not in response.headers
        assert len(models.asked) == 1
    else:
        error = response.json()["error"]  # no candidate hears
        assert (response.status_code, error["code"]) == (400, "no_eligible_model")
        assert "does not offer audio" in str(error["models"])


@pytest.mark.parametrize("policy", KINDS)
def test_the_last_call_is_asked_for_the_form_that_the_client_wants(ask, models, policy):
    form = {"type": "json_object"}
    response = ask(policy, PROMPT, response_format=form)
    assert response.status_code == 200
    assert models.bodies[-1]["response_format"] == form
    assert not any("response_format" in body for body in models.bodies[:-1])


@pytest.mark.parametrize("policy", ["guarded_rounds", "guarded_debate"])
def test_what_is_harmful_is_made_of_what_its_models_say_alone(ask, models, policy):
    models.said[JUDGE] = lambda body: (
        "unsafe" if "You guard" in str(body["messages"]) else guards_and_plans(body)
    )
    response = ask(policy, PROMPT)
    assert response.status_code == 200
    assert LARGE not in models.asked
    assert models.asked.count(JUDGE) == 1  # a planner that may not answer does not plan
    assert response.headers["x-route-model"] in {NANO, MINI}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("policy", "who"), [("rounds", JUDGE), ("debate", NANO), ("rounds", NANO)])
def test_a_client_that_leaves_ends_what_runs_and_pays_for_it(several, models, policy, who, stream):
    left = threading.Event()

    def hangs(_body):
        left.wait(60)
        return "late"

    models.said |= dict.fromkeys(CANDIDATES, hangs) if who == NANO else {JUDGE: hangs}
    before = metric(several, CANCELLED)
    body = {
        "model": f"auto:{policy}",
        "messages": [{"role": "user", "content": PROMPT}],
        "stream": stream,
    }

    n_asked = 1 if who == JUDGE else 2
    leaver = RawClient(several.url)
    leaver.send_request(json.dumps(body))
    wait_for(lambda: len(models.asked) == n_asked)
    leaver.close()
    pool = several.app.state.steelyard.gateway.dispatcher.pool
    wait_for(lambda: sum(slot.outstanding for slot in pool.slots()) == 0)
    left.set()
    assert_no_task_is_left(several)
    assert metric(several, CANCELLED) == before + (2 if policy == "debate" else 1)
    assert len(models.asked) == n_asked


def test_everything_else_stays_as_it_was_after_those_that_left(ask):
    assert text_of(ask("rounds", PROMPT)) == "Ada of Ulm."
