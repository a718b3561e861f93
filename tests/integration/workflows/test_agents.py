"""Agents that work together behind a real gateway."""

import pytest

from tests.integration.workflows.test_agreement import text_of
from tests.support.several import CANDIDATES, LARGE, MINI, NANO

DOWN = (500, {"error": {"message": "no", "type": "server_error"}})


@pytest.mark.parametrize("stream", [False, True])
def test_agents_debate_at_the_same_time_and_one_of_them_answers(ask, models, stream):
    models.said |= {NANO: "I say A", MINI: "I say B", LARGE: "I say C"}
    response = ask("debate", stream=stream)
    assert text_of(response).startswith("I say ")
    assert response.headers["x-route-workflow"] == "agents"
    assert response.headers["x-route-accepted-by"] == "debate"
    assert response.headers["x-route-mode"] == "debate"
    assert response.headers["x-route-agents"] == "2"
    rounds = [each.split(",") for each in response.headers["x-route-attempts"].split(";")]
    assert [len(each) for each in rounds] == [2, 2, 1]
    assert set(models.asked) <= set(CANDIDATES)
    assert models.asked[-1] == response.headers["x-route-model"]
    last = models.bodies[-1]["messages"][-1]["content"]
    assert last.count("I say ") == 2


SAID = {NANO: "I say A", MINI: "I say B.", LARGE: "I say C.."}


def test_every_agent_is_paid_and_the_chance_is_told(ask, models):
    models.said |= SAID
    told = ask("debate", headers={"x-route-explain": "full"}).json()["steelyard"]
    assert [each["role"] for each in told["calls"]] == ["helper"] * 4 + ["answer"]
    assert all(each["cost_usd"] > 0 for each in told["calls"][:4])
    notes = told["workflow"]["notes"]
    assert notes["mode"] == "debate"
    assert len(notes["agents"]) == 2
    assert 0 < notes["propensity"] < notes["mode_chance"] == 1
    assert told["decision"]["propensity"] == notes["propensity"]
    assert [each["chars"] for each in told["workflow"]["trace"]] == [
        len(SAID[each["model"]]) for each in told["workflow"]["trace"]
    ]


def test_agents_that_fail_leave_one_choice(ask, models):
    def fails_agents(body):
        return DOWN if "max_tokens" in body else "alone"

    models.said |= dict.fromkeys(CANDIDATES, fails_agents)
    response = ask("debate")
    assert text_of(response) == "alone"


@pytest.mark.parametrize("mode", ["io", "cot"])
def test_one_agent_alone_is_told_as_a_mode_too(ask, models, mode):
    response = ask(f"alone_{mode}")
    assert response.status_code == 200
    assert response.headers["x-route-mode"] == mode
    assert response.headers["x-route-agents"] == "1"
    assert len(models.asked) == 1


@pytest.mark.parametrize("stream", [False, True])
def test_where_nobody_can_write_the_answer_the_best_agent_s_own_serves(ask, models, stream):
    def fails_to_write(body):
        return "I say B" if "max_tokens" in body else DOWN

    models.said |= dict.fromkeys(CANDIDATES, fails_to_write)
    response = ask("debate", stream=stream)
    assert text_of(response) == "I say B"
    assert response.headers["x-route-accepted-by"] == "nothing_better"
    assert response.headers["x-route-mode"] == "debate"


def test_a_review_is_no_answer(ask, models):
    def fails_to_write(body):
        if "max_tokens" not in body:
            return DOWN
        reviews = "You review" in body["messages"][0]["content"]
        return "It is wrong." if reviews else "I say B"

    models.said |= dict.fromkeys(CANDIDATES, fails_to_write)
    assert text_of(ask("reflection")) == "I say B"
