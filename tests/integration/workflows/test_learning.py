"""Policies that learn from verdicts on answers, behind a real gateway."""

import pytest

from tests.support.several import JUDGE, LARGE, MINI, NANO


def grades(**by_text):
    """Return a judge that grades by what stands in an answer."""

    def grade(body):
        answer = body["messages"][-1]["content"].split("<answer-")[1]
        return next(str(grade) for text, grade in by_text.items() if text in answer)

    return grade


def test_a_model_whose_answers_are_turned_down_is_no_longer_tried_first(ask, models):
    models.said |= {NANO: "WRONG", LARGE: "RIGHT", MINI: "RIGHT"}
    models.said[JUDGE] = grades(WRONG=1, RIGHT=5)
    firsts = []
    for _ in range(40):
        models.bodies.clear()
        response = ask("learning")
        assert response.json()["choices"][0]["message"]["content"] == "RIGHT"
        firsts.append(models.asked[0])
    assert firsts[0] == NANO
    assert firsts[-1] != NANO


@pytest.mark.parametrize(("knob", "served"), [("0", NANO), ("1", LARGE)])
def test_a_threshold_is_learned_from_both_of_its_sides(ask, models, knob, served):
    models.said |= {NANO: "WRONG", LARGE: "RIGHT", JUDGE: grades(WRONG=2, RIGHT=4)}
    response = ask("threshold", headers={"x-cost-quality": knob})
    assert response.headers["x-route-model"] == served
    assert response.headers["x-route-accepted-by"] == "threshold"
    others = [] if served == NANO else [NANO, JUDGE]
    assert sorted(models.asked) == sorted([served, JUDGE, *others])


def test_what_the_strong_model_gets_wrong_too_goes_to_the_cheap_one(ask, models):
    models.said |= {NANO: "RIGHT", LARGE: "WRONG", JUDGE: grades(WRONG=1, RIGHT=5)}
    prompt = "Which of the two is right, (A) or (B)?"
    served = [
        ask("moving", prompt, headers={"x-cost-quality": "1"}).headers["x-route-model"]
        for _ in range(30)
    ]
    assert served[0] == LARGE
    assert served[-1] == NANO
