"""Several models asked for one answer, behind a real gateway."""

import json
import threading

import pytest

from tests.support.requests import assert_openai_error
from tests.support.several import LARGE, MINI, NANO
from tests.support.watching import assert_no_task_is_left, metric


def text_of(response):
    if response.headers["content-type"].startswith("application/json"):
        return response.json()["choices"][0]["message"]["content"]
    events = [json.loads(each[6:]) for each in response.text.splitlines() if each[:7] == "data: {"]
    assert len({each["id"] for each in events}) == 1
    return "".join(each["choices"][0]["delta"].get("content") or "" for each in events)


@pytest.mark.parametrize("stream", [False, True])
def test_two_that_agree_answer_together_and_the_third_is_not_asked(ask, models, stream):
    response = ask("agree", stream=stream)
    assert sorted(models.asked) == [NANO, MINI]
    assert text_of(response) in {"The answer is (B).", "B"}
    assert response.headers["x-route-workflow"] == "agree"
    assert response.headers["x-route-attempts"] == f"{NANO},{MINI}"
    assert response.headers["x-route-calls"] == "2"
    assert response.headers["x-route-accepted-by"] == "agree"
    assert response.headers["x-route-reason"] == "workflow"
    assert "x-route-fallback-index" not in response.headers
    assert "x-route-ceiling" not in response.headers


def test_they_are_asked_at_the_same_time(ask, models):
    both = threading.Barrier(2, timeout=30)

    def wait(_body):
        both.wait()
        return "B"

    models.said[NANO] = models.said[MINI] = wait
    assert text_of(ask("agree")) == "B"


@pytest.mark.parametrize("stream", [False, True])
def test_where_they_differ_the_last_model_answers_directly(ask, models, stream):
    models.said |= {MINI: "C", LARGE: "The answer is (A)."}
    response = ask("agree", stream=stream)
    assert text_of(response) == "The answer is (A)."
    assert response.headers["x-route-model"] == LARGE
    assert response.headers["x-route-attempts"] == f"{NANO},{MINI};{LARGE}"
    assert response.headers["x-route-accepted-by"] == "last_stage"
    assert response.headers["x-route-reason"] == "workflow"


def test_every_call_is_paid_and_told(ask, several):
    response = ask("agree", headers={"x-route-explain": "full"})
    told = response.json()["steelyard"]
    assert [call["role"] for call in told["calls"]] == ["draft", "draft"]
    assert sum(call["error"] == "draft_rejected" for call in told["calls"]) == 1
    assert all(call["cost_usd"] > 0 for call in told["calls"] if call["error"])
    judged = told["workflow"]["judged"]
    assert [each["accepted"] for each in judged].count(True) == 1
    assert all(each["predicted_quality"] > 0 and each["chars"] for each in judged)
    assert told["workflow"]["rounds"] == [[NANO, MINI]]
    cost = float(response.headers["x-route-cost-usd"])
    assert cost > max(call["cost_usd"] or 0 for call in told["calls"])
    assert response.json()["usage"]["cost_usd"] == pytest.approx(cost, abs=1e-8)
    assert_no_task_is_left(several)


def test_a_model_that_fails_leaves_the_others(ask, models):
    models.said[NANO] = (500, {"error": {"message": "no", "type": "server_error"}})
    response = ask("vote")
    assert response.status_code == 200
    assert response.headers["x-route-accepted-by"] == "agree"
    assert response.headers["x-route-attempts"] == f"{NANO},{MINI};{LARGE}"


def test_where_all_fail_each_is_told(ask, models):
    models.said = dict.fromkeys(models.said, (503, {"error": {"message": "no", "type": "x"}}))
    error = assert_openai_error(ask("vote"), status=502)
    assert {each["model"] for each in error["attempts"]} >= {NANO, MINI, LARGE}


def test_a_request_that_is_at_fault_ends_at_once(ask, models, several):
    models.said[MINI] = (400, {"error": {"message": "top_k is bad", "type": "bad"}})
    models.said[NANO] = lambda _: models.release.wait(0.2) or "B"
    response = ask("agree")
    assert response.status_code == 400
    assert response.json()["error"]["message"] == "top_k is bad"
    assert_no_task_is_left(several)


def test_samples_of_one_model_are_asked_to_vary(ask, models):
    said = iter(["The answer is (C).", "B", "(B)"])
    lock = threading.Lock()

    def draw(_body):
        with lock:
            return next(said)

    models.said[NANO] = draw
    response = ask("samples", temperature=0, seed=7)
    assert text_of(response) in {"B", "(B)"}
    assert response.headers["x-route-attempts"] == f"{NANO},{NANO},{NANO}"
    assert response.headers["x-route-accepted-by"] == "vote"
    asked = sorted((body["temperature"], body["seed"]) for body in models.bodies)
    assert asked == [(0, 7), (1, 8), (1, 9)]


def test_a_judge_chooses_between_two(ask, models):
    def grade(body):
        return "5" if "\nThe better one\n" in body["messages"][1]["content"] else "2"

    models.said |= {NANO: "The better one", MINI: "The other one", "sim-medium": grade}
    response = ask("best")
    assert text_of(response) == "The better one"
    assert response.headers["x-route-accepted-by"] == "judge"
    assert response.headers["x-route-attempts"] == f"{NANO},{MINI};sim-medium,sim-medium"
    assert float(response.headers["x-route-scorer-cost-usd"]) > 0


# --- ceilings ---------------------------------------------------------------------------------


def test_a_ceiling_on_calls_leaves_the_best_answer_at_hand(ask, models):
    models.said[MINI] = "C"
    response = ask("capped")
    assert len(models.asked) == 2
    assert text_of(response) in {"C", "The answer is (B)."}
    assert response.headers["x-route-ceiling"] == "calls"
    assert response.headers["x-route-accepted-by"] == "most"


def test_a_ceiling_on_cost_holds_for_all_calls_together(ask, models):
    models.said |= {MINI: "C", LARGE: "A"}
    response = ask("frugal", max_tokens=200)
    assert LARGE not in models.asked
    assert response.headers["x-route-ceiling"] == "cost"
    assert float(response.headers["x-route-cost-usd"]) <= 1e-3


def test_what_a_request_may_cost_holds_beside_it(ask, models):
    response = ask("agree", routing={"max_cost": 1e-5}, max_tokens=200)
    if response.status_code == 200:
        assert response.headers["x-route-workflow"].startswith("skipped; ")
        assert float(response.headers["x-route-cost-usd"]) <= 1e-5
    else:
        assert response.json()["error"]["code"] == "no_eligible_model"


def test_a_ceiling_on_time_serves_what_is_at_hand(ask, models, several):
    models.said[MINI] = lambda _: models.release.wait(60) and "C"
    response = ask("hasty")
    assert text_of(response) == "The answer is (B)."
    assert response.headers["x-route-ceiling"] == "time"
    assert response.headers["x-route-accepted-by"] == "nothing_better"
    assert LARGE not in models.asked
    models.release.set()
    assert_no_task_is_left(several)
    models.release.clear()


# --- what a workflow cannot carry ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("why", "fields", "headers"),
    [
        ("n", {"n": 2}, {}),
        ("tools", {"tools": [{"type": "function", "function": {"name": "f"}}]}, {}),
        ("knob", {}, {"x-cost-quality": "0.9"}),
        ("no_fallback", {"routing": {"fallback": False}}, {}),
        ("too_few_models", {}, {"x-route-models": LARGE}),
    ],
)
def test_what_it_cannot_carry_is_one_choice_and_no_error(ask, models, why, fields, headers):
    response = ask("agree", headers=headers, **fields)
    assert response.status_code == 200, response.text
    assert response.headers["x-route-workflow"] == f"skipped; {why}"
    assert response.headers["x-route-reason"] != "workflow"
    assert len(models.asked) == 1


def test_a_conversation_stays_with_whom_it_came_to(ask, models):
    models.said |= {MINI: "C", LARGE: "The answer is (A)."}
    turns = [{"role": "user", "content": "Which one, (A), (B) or (C)?"}]
    headers = {"x-session-id": "a-talk"}
    first = ask("agree", messages=turns, headers=headers)
    assert first.headers["x-route-model"] == LARGE
    turns += [first.json()["choices"][0]["message"], {"role": "user", "content": "Why?"}]
    second = ask("agree", messages=turns, headers=headers)
    assert second.headers["x-route-model"] in {NANO, MINI, LARGE}
    assert second.headers["x-route-session"] in {"retain", "switch"}


def test_an_agreed_answer_is_kept_and_given_again(ask, models):
    cached = {"x-route-cache": "on"}
    prompt = "Which one is it, (A) or (B)? Say the letter."
    first = ask("agree", prompt, headers=cached)
    again = ask("agree", prompt, headers=cached)
    assert (first.headers["x-route-cache"], again.headers["x-route-cache"]) == ("miss", "hit")
    assert text_of(again) == text_of(first)
    assert len(models.asked) == 2


def test_what_was_said_of_answers_is_counted(ask, several):
    line = 'gateway_drafts_total{by="agree"'
    before = metric(several, line)
    ask("agree")
    assert_no_task_is_left(several)
    assert metric(several, line) == before + 2


def test_how_it_ended_is_counted(ask, models, several):
    ended = 'gateway_workflows_total{accepted_by="%s",kind="agree",policy="agree",skipped="%s"}'
    rounds = 'gateway_workflow_rounds_sum{kind="agree",policy="agree"}'
    names = [ended % ("last_stage", "none"), ended % ("none", "n"), rounds]
    before = [metric(several, name) for name in names]
    models.said[MINI] = "C"
    ask("agree")
    ask("agree", n=2)
    assert_no_task_is_left(several)
    assert [metric(several, name) for name in names] == [
        before[0] + 1,
        before[1] + 1,
        before[2] + 2,
    ]


def test_samples_are_no_retries(ask, several):
    before = metric(several, "gateway_retries_total{")
    ask("samples")
    assert_no_task_is_left(several)
    assert metric(several, "gateway_retries_total{") == before
