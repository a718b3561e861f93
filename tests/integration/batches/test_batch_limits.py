"""Batches keep budgets, capacities and the limits of their key, and stop where they are told to."""

import openai
import pytest

from tests.support.batches import beyond, handed_in, line, lines_of, over, waited_for, when

PROMPTS = [f"Explain step {n} of the proof that primes never end" for n in range(12)]
LINES = [line(f"task-{n}", prompt, max_tokens=200) for n, prompt in enumerate(PROMPTS)]
MODELS = ("sim-nano", "sim-small", "sim-medium", "sim-large", "sim-frontier")


@pytest.fixture
def client(batches):
    return batches.client()


def codes(client, batch):
    """Return why requests of a batch have no answer."""
    return [each["error"]["code"] for each in lines_of(client, batch.error_file_id)]


def test_a_budget_buys_the_best_that_it_pays_for(client):
    best = beyond(over(client, handed_in(client, LINES, extra_body={"budget_usd": 10}).id))
    assert best["left_out"] == 0
    for share in (0.5, 0.2):
        budget = best["cost_usd"] * share
        batch = over(client, handed_in(client, LINES, extra_body={"budget_usd": budget}).id)
        told = beyond(batch)
        assert batch.status == "completed"
        assert 0 < told["cost_usd"] <= budget
        assert told["plan"]["cost_usd"] <= budget
        assert told["plan"]["quality"] <= best["plan"]["quality"]
        assert batch.request_counts.completed == 12
        assert told["plan"]["quality_per_usd"] > 0


def test_what_a_budget_does_not_pay_for_is_left_out_and_told(client, batches):
    all_of_it = beyond(
        over(client, handed_in(client, LINES, extra_headers={"x-route-models": "sim-nano"}).id)
    )["cost_usd"]
    terms = {"metadata": {"budget_usd": str(all_of_it / 2)}}
    batch = over(client, handed_in(client, LINES, **terms).id)
    told = beyond(batch)
    assert told["cost_usd"] <= all_of_it / 2
    assert 0 < told["left_out"] == batch.request_counts.failed < 12
    assert set(codes(client, batch)) == {"batch_budget_exceeded"}
    assert batch.request_counts.completed + batch.request_counts.failed == 12


def test_a_budget_too_small_for_anything_buys_nothing(client, stub):
    batch = over(client, handed_in(client, LINES, extra_body={"budget_usd": 1e-9}).id)
    assert (batch.request_counts.completed, batch.request_counts.failed) == (0, 12)
    assert beyond(batch)["cost_usd"] == 0
    assert stub.log() == []


def test_a_batch_that_nobody_may_answer_says_why(client):
    asked = [line("a", "Hello", model="nobody"), line("b", "Hello", n=-1)]
    batch = over(client, handed_in(client, asked, extra_body={"budget_usd": 1}).id)
    assert (batch.status, batch.request_counts.failed) == ("completed", 2)
    told = [each["response"]["body"]["error"] for each in lines_of(client, batch.error_file_id)]
    assert [each["code"] for each in told] == ["model_not_found", None]


def test_long_answers_are_cut_to_what_the_budget_pays_for(client):
    asked = [line(str(n), prompt, model="sim-large") for n, prompt in enumerate(PROMPTS[:4])]
    whole = beyond(over(client, handed_in(client, asked).id))["cost_usd"]
    budget = whole * 0.7
    told = beyond(over(client, handed_in(client, asked, extra_body={"budget_usd": budget}).id))
    assert told["cost_usd"] <= budget


def test_capacities_are_kept(client):
    capacity = {"sim-frontier": 3, "sim-large": 2}
    batch = over(client, handed_in(client, LINES, extra_body={"capacity": capacity}).id)
    models = beyond(batch)["models"]
    assert batch.request_counts.completed == 12
    assert all(models.get(model, 0) <= limit for model, limit in capacity.items())
    assert sum(models.get(model, 0) for model in capacity) > 0


def test_whom_no_capacity_is_left_for_is_told(client):
    capacity = "sim-nano=5," + ",".join(f"{model}=0" for model in MODELS[1:])
    batch = over(client, handed_in(client, LINES, metadata={"capacity": capacity}).id)
    assert beyond(batch)["models"] == {"sim-nano": 5}
    assert codes(client, batch) == ["batch_capacity_exceeded"] * 7


def test_a_model_that_fails_is_stood_in_for_within_budget_and_capacity(client, stub):
    stub.add_fault("status", model="sim-frontier", status=500, times=100_000)
    terms = {"budget_usd": 5, "capacity": {"sim-large": 4, "sim-frontier": 12}}
    batch = over(client, handed_in(client, LINES, extra_body=terms).id)
    told = beyond(batch)
    assert batch.request_counts.completed == 12
    assert "sim-frontier" not in told["models"]
    assert told["models"].get("sim-large", 0) <= 4


def test_requests_wait_where_a_key_may_have_few_at_once(batches):
    client = batches.client(limits={"concurrent_requests": 2})
    batch = over(client, handed_in(client, LINES).id)
    assert (batch.request_counts.completed, batch.request_counts.failed) == (12, 0)


def test_a_batch_ends_with_the_budget_of_its_key(batches):
    client = batches.client(budgets=[{"usd": 0.0002, "period": "month"}])
    batch = over(client, handed_in(client, LINES).id)
    assert batch.status == "completed"
    told = beyond(batch)
    assert told["cost_usd"] <= 0.0002
    assert batch.request_counts.failed > 0
    bodies = [each["response"]["body"] for each in lines_of(client, batch.error_file_id)]
    assert {each["error"]["code"] for each in bodies} == {"key_budget_exceeded"}


def throttled(stub, *, retry_after_s=30):
    """Have one model refuse for a while, so that what is for it waits."""
    stub.add_fault(
        "status", model="sim-nano", status=429, retry_after_s=retry_after_s, times=100_000
    )


MIXED = [
    line(str(n), prompt, model="sim-nano" if n % 3 == 0 else "sim-small")
    for n, prompt in enumerate(PROMPTS)
]


def test_a_batch_that_is_cancelled_keeps_what_was_answered(client, stub):
    throttled(stub)
    batch = handed_in(client, MIXED)
    when(client, batch.id, lambda each: each.request_counts.completed == 8)
    cancelled = client.batches.cancel(batch.id)
    assert (cancelled.status, cancelled.cancelling_at is not None) == ("cancelling", True)
    batch = over(client, batch.id)
    assert batch.status == "cancelled"
    assert batch.cancelled_at >= batch.cancelling_at
    assert len(lines_of(client, batch.output_file_id)) == 8
    assert codes(client, batch) == ["batch_cancelled"] * 4
    with pytest.raises(openai.ConflictError, match="'cancelled'"):
        client.batches.cancel(batch.id)


def test_a_batch_whose_key_is_revoked_pays_for_nothing_more(keyed, stub):
    batches = keyed()
    client, other = batches.client(), batches.client()
    throttled(stub, retry_after_s=0.2)
    batch = handed_in(other, MIXED)
    when(other, batch.id, lambda each: each.request_counts.completed == 8)
    batches.revoke(batches.key["key_id"])
    failed = 'gateway_batch_requests_total{outcome="failed"} 4.0'
    waited_for(lambda: failed in batches.get("/metrics"))
    stub.reset()
    second = over(client, handed_in(client, MIXED[1:2]).id)  # others go on
    assert second.request_counts.completed == 1
    assert len(stub.log()) == 1


def test_what_is_told_of_batches_is_counted(keyed):
    batches = keyed()
    client = batches.client()
    over(client, handed_in(client, LINES[:3]).id)
    ended = 'gateway_batches_total{status="completed"} 1.0'
    text = waited_for(lambda: (text := batches.get("/metrics")) and ended in text and text)
    assert 'gateway_batch_requests_total{outcome="completed"} 3.0' in text
    assert "gateway_batches_running" in text
