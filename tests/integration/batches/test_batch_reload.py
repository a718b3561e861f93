"""The configuration is read anew in the middle of a batch, with changes that its lines meet."""

from collections import Counter

import pytest

from tests.support.batches import beyond, handed_in, line, lines_of, over, waited_for, when
from tests.support.gateway import read_yaml, write_yaml
from tests.support.stub import StubThread

PROMPTS = [f"Explain step {n} of the proof that primes never end" for n in range(12)]
HELD = "sim-frontier"
"""Whose upstream refuses everything, so that its lines wait until the configuration changes."""


@pytest.fixture
def reloaded(keyed, stub, tmp_path):
    """Start a gateway one of whose models takes nothing; return it, and how to change it."""
    batches = keyed()
    stub.add_fault("status", model=HELD, status=429, retry_after_s=0.2, times=100_000)

    def reload(change):
        file = tmp_path / "gateway.yaml"
        document = read_yaml(file)
        change(document)
        write_yaml(file, document)
        batches.post("/admin/reload")

    return batches, reload


def without(*models):
    """Return a change of the configuration: these models are gone."""

    def change(document):
        for model in models:
            del document["models"][model]
        document["routers"]["carrot"].pop("pair", None)
        for policy in document["policies"].values():
            kept = [each for each in policy["candidates"] if each not in models]
            policy["candidates"] = kept
            if policy.get("default_model") in models:
                policy["default_model"] = kept[0]

    return change


LINES = [line(str(n), prompt, max_tokens=60) for n, prompt in enumerate(PROMPTS)]
MIXED = [
    line(str(n), prompt, model=HELD if n % 2 else "sim-small") for n, prompt in enumerate(PROMPTS)
]


def refusals(client, batch):
    """Return what the lines without an answer were told, by how many of them."""
    told = [each["response"]["body"]["error"] for each in lines_of(client, batch.error_file_id)]
    return Counter((each["code"], each["param"]) for each in told)


def test_a_model_that_is_gone_is_stood_in_for_in_a_planned_batch(reloaded, stub):
    batches, reload = reloaded
    client = batches.client()
    terms = {"budget_usd": 5, "capacity": {"sim-large": 7}}
    batch = handed_in(client, LINES, extra_body=terms)
    waited_for(lambda: len(stub.log()) >= len(LINES))
    reload(without(HELD))
    batch = over(client, batch.id)
    told = beyond(batch)
    assert told["plan"]["models"] == {HELD: 12}
    assert (batch.request_counts.completed, batch.request_counts.failed) == (12, 0)
    assert told["models"]["sim-large"] == 7
    assert HELD not in told["models"]


def test_where_nobody_may_stand_in_lines_are_told_of_the_model(reloaded, stub):
    batches, reload = reloaded
    client = batches.client(models=[HELD, "sim-nano"])
    terms = {"budget_usd": 5, "capacity": {"sim-nano": 2}}
    batch = handed_in(client, LINES, extra_body=terms)
    waited_for(lambda: len(stub.log()) >= len(LINES))
    reload(without(HELD))
    batch = over(client, batch.id)
    assert beyond(batch)["models"] == {"sim-nano": 2}
    assert refusals(client, batch) == {(None, "x-route-models"): 10}


def test_lines_that_name_a_model_that_is_gone_say_so_and_others_go_on(reloaded):
    batches, reload = reloaded
    client = batches.client()
    batch = handed_in(client, MIXED)
    when(client, batch.id, lambda each: each.request_counts.completed == 6)
    reload(without(HELD))
    batch = over(client, batch.id)
    assert (batch.request_counts.completed, batch.request_counts.failed) == (6, 6)
    assert refusals(client, batch) == {("model_not_found", "model"): 6}


def test_an_upstream_that_has_moved_gets_what_is_left(reloaded):
    batches, reload = reloaded
    client = batches.client()
    batch = handed_in(client, MIXED)
    when(client, batch.id, lambda each: each.request_counts.completed == 6)
    with StubThread() as moved:
        url = f"{moved.origin}/v1"
        reload(lambda document: document["upstreams"]["stub"].update(base_url=url))
        batch = over(client, batch.id)
        assert batch.request_counts.completed == 12
        assert Counter(each.model for each in moved.log()) == {HELD: 6}


@pytest.mark.parametrize("terms", [{}, {"budget_usd": 5}], ids=["asked", "planned"])
def test_a_policy_that_is_renamed_is_told_of(reloaded, stub, terms):
    batches, reload = reloaded
    client = batches.client()
    headers = {"x-route-policy": "default", "x-route-models": HELD}
    batch = handed_in(client, LINES, extra_headers=headers, extra_body=terms)
    waited_for(lambda: len(stub.log()) >= len(LINES))

    def renamed(document):
        document["policies"]["other"] = document["policies"].pop("default")
        document["default_policy"] = "other"

    reload(renamed)
    batch = over(client, batch.id)
    assert batch.request_counts.failed == 12
    assert refusals(client, batch) == {(None, "x-route-policy"): 12}


def test_batches_that_are_turned_off_go_on_until_the_restart(reloaded, stub):
    batches, reload = reloaded
    client = batches.client()
    batch = handed_in(client, MIXED)
    when(client, batch.id, lambda each: each.request_counts.completed == 6)
    with pytest.raises(AssertionError, match="batches changed, which needs a restart"):
        reload(lambda document: document["batches"].update(enabled=False))
    stub.reset()
    assert over(client, batch.id).request_counts.completed == 12
