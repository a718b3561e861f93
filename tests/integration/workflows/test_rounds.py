"""Rounds of planning behind a real gateway."""

import pytest

from tests.integration.workflows.test_agreement import text_of
from tests.support.several import JUDGE, LARGE, MINI, NANO

ANSWER = "<think>Known</think><answer>Ada</answer>"


def call(model, query):
    return f"<think>Ask</think><call>{model}: {query}</call>"


def plan(*turns):
    left = iter(turns)
    return lambda _body: next(left)


@pytest.mark.parametrize("stream", [False, True])
def test_a_planner_asks_and_the_strongest_that_was_asked_answers(ask, models, stream):
    models.said |= {
        JUDGE: plan(call(NANO, "Where was she born?"), call(MINI, "Who is mayor of Ulm?"), ANSWER),
        NANO: "Ulm",
        MINI: "Her mayor is Ada.",
    }
    response = ask("rounds", "Who is mayor where she was born?", stream=stream)
    assert text_of(response) == "Her mayor is Ada."
    assert response.headers["x-route-workflow"] == "rounds"
    assert response.headers["x-route-accepted-by"] == "rounds"
    assert models.asked == [JUDGE, NANO, JUDGE, MINI, JUDGE, MINI]
    asked = models.bodies[1]
    assert [each["content"] for each in asked["messages"]] == ["Where was she born?"]
    assert asked["max_tokens"] == 512
    last = models.bodies[-1]["messages"][-1]["content"]
    assert last.startswith("Who is mayor where she was born?")
    assert "Replied: Ulm" in last


def test_every_call_is_told_with_its_role(ask, models):
    models.said |= {JUDGE: plan(call(NANO, "Where?"), ANSWER), NANO: "Ulm"}
    told = ask("rounds", headers={"x-route-explain": "full"}).json()["steelyard"]
    assert [each["role"] for each in told["calls"]] == ["planner", "helper", "planner", "answer"]
    assert all(each["cost_usd"] is not None for each in told["calls"][:3])


@pytest.mark.parametrize("name", ["auto", "auto:rounds", JUDGE, "gpt-9"])
def test_a_planner_calls_candidates_only_and_never_the_gateway(ask, models, name):
    models.said |= {JUDGE: lambda _: call(name, "What is it?"), LARGE: "A beam."}
    response = ask("rounds")
    assert response.status_code == 200
    assert models.asked[:2] == [JUDGE, JUDGE]  # it may repair its turn once
    assert len(models.asked) == 3


def test_where_the_planner_is_down_one_choice_answers(ask, models):
    models.said |= {JUDGE: (500, {"error": {"message": "no", "type": "server_error"}})}
    response = ask("rounds")
    assert response.status_code == 200
    assert len(models.asked) == 2
