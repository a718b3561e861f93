"""Every stage of a cascade is reserved for before it is called, and booked after it."""

import asyncio
import json
import threading

import pytest

from app.access.guard import ANONYMOUS
from tests.support.cascading import (
    CHEAP,
    DEAR,
    DEAREST,
    JUDGE,
    JUDGED,
    UNSURE,
    ask,
    drafted,
    wait_for,
)
from tests.support.gateway import CONFIGS, read_yaml
from tests.support.raw_client import RawClient
from tests.support.scoring_server import completion

PRICES = {
    CHEAP: {"input_usd_per_mtok": 1.0, "output_usd_per_mtok": 2.0},
    DEAR: {"input_usd_per_mtok": 10.0, "output_usd_per_mtok": 20.0},
    DEAREST: {"input_usd_per_mtok": 100.0, "output_usd_per_mtok": 200.0},
    JUDGE: {"input_usd_per_mtok": 3.0, "output_usd_per_mtok": 6.0},
}
SPECS = {
    CHEAP: "llama-3.1-8b-instruct",
    DEAR: "claude-sonnet-4-5",
    DEAREST: "claude-opus-5-5",
    JUDGE: "gpt-4.1-mini",
}
DRAFT_USD = 10 * 1e-6 + 4 * 2e-6
JUDGE_USD = 120 * 3e-6 + 2 * 6e-6


@pytest.fixture
def limited(start_gateway, tmp_path):
    """Start a gateway that limits everybody together."""

    def limited(acceptor, *, unpriced=(), **allowance):
        catalogue = read_yaml(CONFIGS / "models.yaml")
        for name, prices in PRICES.items():
            known = dict.fromkeys(prices) if name in unpriced else prices
            priced = {**known, "source": "x", "date": "2026-01-01"}
            catalogue["models"][SPECS[name]]["prices"] = priced
        (tmp_path / "models.json").write_text(json.dumps(catalogue, default=str))
        return start_gateway(
            acceptor,
            **{"catalogue": str(tmp_path / "models.json"), "allowances.key": allowance},
        )

    return limited


def spent_usd(gateway):
    """Return what was spent, once nothing is on its way any more."""

    def standing():
        standings = asyncio.run_coroutine_threadsafe(
            gateway.app.state.steelyard.standings(ANONYMOUS), gateway.loop
        )
        return standings.result(60)[0]

    wait_for(lambda: standing().in_flight == 0)
    (budget,) = standing().budgets
    assert budget.reserved_nusd == 0
    return budget.spent_nusd / 1e9


def dear_usd(usage):
    return usage["prompt_tokens"] * 10e-6 + usage["completion_tokens"] * 20e-6


def test_a_key_without_money_calls_nobody(limited, drafter, judge):
    started = limited(JUDGED, budgets=[{"usd": 1e-6, "period": "month"}])
    for stream in (False, True):
        refused = ask(started.client, stream=stream)
        assert refused.json()["error"]["code"] == "key_budget_exceeded"
    assert not drafter.bodies
    assert not judge.bodies
    assert spent_usd(started.gateway) == 0


def test_a_rate_counts_one_request_however_many_stages_it_has(limited, drafter):
    started = limited({"kind": "logprobs", "least_mean": 0.0}, limits={"requests_per_minute": 3})
    assert [ask(started.client).status_code for _ in range(5)] == [200, 200, 200, 429, 429]
    assert len(drafter.bodies) == 3


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("grade", ["5", "1"])
def test_what_is_booked_is_the_sum_of_all_stages(limited, judge, stream, grade):
    started = limited(JUDGED, budgets=[{"usd": 1, "period": "month"}])
    judge.answer = lambda _: (200, completion(grade))
    options = {"include_usage": True}
    response = ask(started.client, stream=stream, **({"stream_options": options} if stream else {}))
    if stream:
        usage = json.loads(response.text.split("\n\n")[-3].removeprefix("data: "))["usage"]
    else:
        usage = response.json()["usage"]
    answer_usd = DRAFT_USD if grade == "5" else DRAFT_USD + dear_usd(usage)
    assert usage["cost_usd"] == pytest.approx(answer_usd, abs=1e-8)
    assert spent_usd(started.gateway) == pytest.approx(answer_usd + JUDGE_USD, abs=2e-9)


def test_what_is_left_of_a_budget_bounds_every_stage(limited, drafter):
    started = limited(
        {"kind": "logprobs", "least_mean": -0.5}, budgets=[{"usd": 0.004, "period": "month"}]
    )
    drafter.answer = drafted("Unsure.", UNSURE)
    # Enough for the draft of 100 tokens, and for no answer of that length of the dear model.
    response = ask(started.client, max_tokens=300)
    assert response.status_code == 200
    assert response.headers["x-route-model"] == CHEAP
    assert response.headers["x-route-accepted-by"] == "nothing_better"
    assert float(response.headers["x-route-cost-usd"]) == pytest.approx(DRAFT_USD, abs=1e-8)
    assert spent_usd(started.gateway) == pytest.approx(DRAFT_USD, abs=2e-9)


@pytest.mark.parametrize("unpriced", [(), (JUDGE,)])
def test_a_judge_that_no_budget_pays_for_is_not_asked(limited, judge, unpriced):
    usd = 1 if unpriced else 0.0004
    started = limited(
        {**JUDGED, "without": "accept"},
        unpriced=unpriced,
        budgets=[{"usd": usd, "period": "month"}],
    )
    response = ask(started.client, max_tokens=16)
    assert response.headers["x-route-model"] == CHEAP
    assert not judge.bodies
    assert spent_usd(started.gateway) == pytest.approx(DRAFT_USD, abs=2e-9)


def test_a_client_that_left_has_had_the_draft_and_the_question_read(limited, judge):
    started = limited(JUDGED, budgets=[{"usd": 1, "period": "month"}])
    asked = threading.Event()

    def wait(_):
        asked.set()
        judge.release.wait(60)
        return 200, completion("5")

    judge.answer = wait
    leaver = RawClient(started.gateway.url)
    message = {"role": "user", "content": "What is it?"}
    leaver.send_request(json.dumps({"model": "auto", "messages": [message]}))
    assert asked.wait(60)
    leaver.close()
    assert DRAFT_USD < spent_usd(started.gateway) < DRAFT_USD + 0.01
