"""Rounds of planning behind a real gateway."""

import threading

import pytest

from tests.integration.workflows.test_agreement import text_of
from tests.support.requests import assert_openai_error
from tests.support.scoring_server import answer
from tests.support.several import CANDIDATES, JUDGE, LARGE, MINI, NANO

DOWN = (500, {"error": {"message": "no", "type": "server_error"}})
EXPLAINED = {"x-route-explain": "full"}

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
    assert response.headers["x-route-rounds"] == "2"
    assert "x-route-ceiling" not in response.headers
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


def test_the_trace_is_told_with_its_rewards(ask, models):
    models.said |= {JUDGE: plan(call(NANO, "Where?"), ANSWER), NANO: "In Ulm."}
    response = ask("rounds", headers=EXPLAINED, routing={"reference": ["Bonn", "in ulm"]})
    told = response.json()["steelyard"]
    assert told["outcome"] == {"exact_match": 1.0, "f1": 1.0}
    notes, trace = told["workflow"]["notes"], told["workflow"]["trace"]
    assert notes["rounds"] == 1
    assert notes["r_format"] == 0
    assert 0 <= notes["r_cost"] <= 1
    assert [each["tag"] for each in trace] == [
        *("think", "call", "information", "think", "answer"),
    ]
    assert trace[2].pop("cost_usd") > 0
    assert trace[2] == {"tag": "information", "model": NANO, "chars": 7}
    assert "Ulm" not in str(trace)


def test_a_trace_that_breaks_the_form_is_worth_nothing_and_says_why(ask, models):
    models.said |= {JUDGE: plan("Let me see.", "I would ask somebody.")}
    told = ask("rounds", headers=EXPLAINED).json()["steelyard"]["workflow"]
    assert told["notes"]["r_format"] == -1
    assert [each["tag"] for each in told["trace"]] == ["fault", "fault"]
    assert "outside of the tags" in told["trace"][0]["why"]


@pytest.mark.parametrize("reference", [[], 5, [""], ["x"] * 21, "x" * 3_000])
def test_what_is_no_reference_is_refused(ask, reference):
    response = ask("rounds", routing={"reference": reference})
    assert assert_openai_error(response, status=400)["param"] == "routing.reference"


def test_prices_scores_and_measured_latencies_are_told_to_planners(ask, models):
    models.said |= {JUDGE: plan(call(NANO, "Where?"), ANSWER, ANSWER)}
    ask("rounds")
    ask("rounds")
    text = models.bodies[-2]["messages"][0]["content"]
    (line,) = [each for each in text.splitlines() if each.startswith(f"- {NANO} ")]
    for known in (" per million tokens", "usually takes ", "at sums ", "knows cities"):
        assert known in line


def fails_to_write(body):
    """Reply to questions, and fail at the answer."""
    asked = body["messages"][0]["content"].startswith("Other models were asked")
    return DOWN if asked else "Ulm"


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("last", "text"),
    [(ANSWER, "Ada"), ("broken", "Ulm"), (DOWN, "Ulm")],
    ids=["its answer", "broken", "down"],
)
def test_where_no_answer_can_be_written_the_best_at_hand_serves(ask, models, last, text, stream):
    models.said |= dict.fromkeys(CANDIDATES, fails_to_write)
    models.said[JUDGE] = plan(call(NANO, "Where?"), last, last)
    response = ask("rounds", stream=stream)
    assert response.status_code == 200, response.text
    assert text_of(response) == text
    assert response.headers["x-route-accepted-by"] == "nothing_better"
    assert response.headers["x-route-reason"] == "fallback"
    assert response.headers["x-route-model"] == (JUDGE if text == "Ada" else NANO)
    if stream:
        assert response.text.endswith("data: [DONE]\n\n")


def test_money_that_ends_before_the_answer_leaves_the_best_at_hand(ask, models):
    dear = answer("<think>I see</think><answer>Ada</answer>", tokens=(10, 1_300))
    models.said |= {JUDGE: plan(call(NANO, "Where?"), (200, dear)), NANO: "Ulm"}
    response = ask("rounds", headers={"x-route-max-cost": "0.002", **EXPLAINED})
    told = response.json()["steelyard"]["calls"]
    assert text_of(response) == "Ada"
    assert response.headers["x-route-ceiling"] == "cost"
    assert response.headers["x-route-accepted-by"] == "nothing_better"
    assert [each["role"] for each in told] == ["planner", "helper", "draft"]
    spent_usd = sum(each["cost_usd"] for each in told)
    assert float(response.headers["x-route-cost-usd"]) == pytest.approx(spent_usd, abs=2e-8)


def test_time_that_ends_before_the_answer_leaves_the_best_at_hand(ask, models):
    late, turns = threading.Event(), iter([call(NANO, "Where?")])
    models.said |= {JUDGE: lambda _: next(turns, None) or late.wait(120), NANO: "Ulm"}
    response = ask("hasty_rounds")
    late.set()
    assert text_of(response) == "Ulm"
    assert response.headers["x-route-ceiling"] == "time"
    assert response.headers["x-route-accepted-by"] == "nothing_better"


def test_calls_that_end_leave_room_for_the_answer_and_are_told(ask, models):
    models.said |= {JUDGE: lambda _: call(NANO, "Where?"), NANO: "Ulm"}
    response = ask("few_rounds")
    assert response.headers["x-route-calls"] == "3"
    assert response.headers["x-route-rounds"] == "1"
    assert response.headers["x-route-ceiling"] == "calls"
    assert response.headers["x-route-accepted-by"] == "rounds"
