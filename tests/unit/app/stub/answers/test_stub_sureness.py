"""Simulated models are the surer the abler they are, and the easier the prompt."""

import math
import statistics

import pytest

from app.stub.answers.compose import compose
from app.stub.answers.sureness import difficulty, logprobs, openai_logprobs
from app.stub.tiers import TIERS

EASY = ["Hi!", "What is the capital of France?", "Translate 'good morning' into Spanish."]
HARD = [
    "Refactor this distributed consensus algorithm and prove that it has no deadlock.",
    "Derive the integral of x^2 step by step and prove the theorem rigorously.",
]


def ask(prompt, **fields):
    return {"messages": [{"role": "user", "content": prompt}], **fields}


def means(prompt):
    answers = {name: compose(name, tier, ask(prompt)) for name, tier in TIERS.items()}
    return [statistics.fmean(logprobs(answer, name)) for name, answer in answers.items()]


@pytest.mark.parametrize("prompt", HARD)
def test_a_hard_prompt_tells_the_tiers_apart(prompt):
    told = means(prompt)
    assert told == sorted(told)
    assert told[0] < -0.9
    assert told[-1] > -0.35


@pytest.mark.parametrize("prompt", EASY)
def test_an_easy_prompt_is_easy_for_all(prompt):
    assert min(means(prompt)) > -0.3
    assert difficulty(prompt) < min(map(difficulty, HARD))


def test_logprobs_are_those_of_chances_and_the_said_token_is_first():
    answer = compose("sim-nano", TIERS["sim-nano"], ask(HARD[0]))
    told = openai_logprobs(answer, "k", 5)
    assert [each["token"] for each in told] == answer.pieces
    for each in told:
        top = [alternative["logprob"] for alternative in each["top_logprobs"]]
        assert len(top) == 5
        assert each["top_logprobs"][0]["logprob"] == each["logprob"] <= 0
        assert top == sorted(top, reverse=True)
        assert sum(map(math.exp, top)) < 1.0001
        assert bytes(each["bytes"]).decode() == each["token"]


CHOICE = "Which is a fruit?\nA) stone\nB) apple\nC) iron\nAnswer with the letter only."


@pytest.mark.parametrize(
    ("prompt", "options"),
    [
        (CHOICE, {"A", "B", "C"}),
        ("Is water wet? Answer yes or no.", {"yes", "no"}),
        ("Classify as one of: red, green or blue", {"red", "green", "blue"}),
    ],
)
def test_of_closed_questions_one_of_the_answers_is_given_and_all_agree_when_it_is_easy(
    prompt, options
):
    said = {compose(name, tier, ask(prompt)).text for name, tier in TIERS.items()}
    assert said < options
    assert len(said) == 1


def test_on_hard_closed_questions_weak_tiers_err_now_and_then():
    weak = strong = 0
    for i in range(60):
        prompt = f"Case {i}: {HARD[0]} Answer yes or no."
        best = compose("m", TIERS["sim-frontier"], ask(prompt)).text
        weak += compose("m", TIERS["sim-nano"], ask(prompt)).text != best
        strong += compose("m", TIERS["sim-large"], ask(prompt)).text != best
    assert 10 < weak < 45
    assert strong < weak


def test_a_judge_grades_the_answer_by_who_gave_it():
    system = {
        "role": "system",
        "content": "Grade the answer. Reply with one digit and nothing else.",
    }
    grades = {}
    for name, tier in TIERS.items():
        text = compose(name, tier, ask(HARD[0])).text
        content = f"<request-9>\n{HARD[0]}\n</request-9>\n\n<answer-9>\n{text}\n</answer-9>"
        body = {"messages": [system, {"role": "user", "content": content}]}
        answer = compose("sim-large", TIERS["sim-large"], body)
        grades[name] = int(answer.text)
        (told,) = openai_logprobs(answer, "k", 5)
        assert {each["token"] for each in told["top_logprobs"]} == set("12345")
    assert list(grades.values()) == sorted(grades.values())
    assert grades["sim-nano"] < 3 < grades["sim-frontier"]


def test_sums_are_right_until_they_are_too_large_for_the_model():
    easy, hard = "What is 12 + 30?", "What is 48219 * 7321?"
    for name, tier in TIERS.items():
        assert "12 + 30 = 42" in compose(name, tier, ask(easy)).text
    frontier = compose("sim-frontier", TIERS["sim-frontier"], ask(hard)).text
    assert f"= {48219 * 7321}." in frontier
    assert f"= {48219 * 7321}." not in compose("sim-nano", TIERS["sim-nano"], ask(hard)).text


@pytest.mark.parametrize("prompt", ["1/0", "9**99999", "(((((1+", "2026-01-02", "1-1-1", "%+%3"])
def test_odd_sums_are_answered_all_the_same(prompt):
    assert "simulated answer" in compose("sim-nano", TIERS["sim-nano"], ask(prompt)).text
