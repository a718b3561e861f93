"""Agents that work together behind a real gateway."""

import pytest

from tests.integration.workflows.test_agreement import text_of
from tests.support.several import CANDIDATES, LARGE, MINI, NANO


@pytest.mark.parametrize("stream", [False, True])
def test_agents_debate_at_the_same_time_and_one_of_them_answers(ask, models, stream):
    models.said |= {NANO: "I say A", MINI: "I say B", LARGE: "I say C"}
    response = ask("debate", stream=stream)
    assert text_of(response).startswith("I say ")
    assert response.headers["x-route-workflow"] == "agents"
    assert response.headers["x-route-accepted-by"] == "debate"
    rounds = [each.split(",") for each in response.headers["x-route-attempts"].split(";")]
    assert [len(each) for each in rounds] == [2, 2, 1]
    assert set(models.asked) <= set(CANDIDATES)
    assert models.asked[-1] == response.headers["x-route-model"]
    last = models.bodies[-1]["messages"][-1]["content"]
    assert last.count("I say ") == 2


def test_every_agent_is_paid_and_the_chance_is_told(ask):
    told = ask("debate", headers={"x-route-explain": "full"}).json()["steelyard"]
    assert [each["role"] for each in told["calls"]] == ["helper"] * 4 + ["answer"]
    assert all(each["cost_usd"] > 0 for each in told["calls"][:4])
    assert 0 < told["decision"]["propensity"] < 1


def test_agents_that_fail_leave_one_choice(ask, models):
    down = (500, {"error": {"message": "no", "type": "server_error"}})

    def fails_agents(body):
        return down if "max_tokens" in body else "alone"

    models.said |= dict.fromkeys(CANDIDATES, fails_agents)
    response = ask("debate")
    assert text_of(response) == "alone"
