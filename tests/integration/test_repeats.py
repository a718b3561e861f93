"""Clients repeat and the gateway repeats: what comes of both together, by the official library."""

import openai
import pytest

from tests.support.gateway import STUB_MODELS

ASK = [{"role": "user", "content": "What is a steelyard?"}]
SENT_BEFORE = {"x-stainless-retry-count": "1"}
PATIENT = {"breaker.failures": 1_000_000}


@pytest.fixture
def calls(fresh_gateway, stub, monkeypatch):
    """Return how many calls upstream one call of a client makes, where all of them fail."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")

    def calls(*, max_retries, model="auto", headers=None, changes=None, **fault):
        gateway = fresh_gateway(PATIENT | (changes or {}))
        stub.add_fault("status", times=100, **fault)
        with (
            openai.OpenAI(
                base_url=gateway.openai_url, api_key="x", max_retries=max_retries
            ) as client,
            pytest.raises(openai.APIStatusError) as caught,
        ):
            client.chat.completions.create(model=model, messages=ASK, extra_headers=headers)
        return len(stub.log()), caught.value

    return calls


def test_the_first_time_a_request_gets_every_attempt_there_is(calls):
    assert calls(max_retries=0, status=503)[0] == 6


@pytest.mark.parametrize("count", ["0", "", "-1", "one", "1.5"])
def test_what_counts_no_repeats_is_a_first_time(calls, count):
    headers = {"x-stainless-retry-count": count}
    assert calls(max_retries=0, status=503, headers=headers)[0] == 6


@pytest.mark.parametrize("count", ["1", "2", "00000000000000000000000007"])
def test_a_repeat_gets_two_calls_of_two_models(calls, stub, count):
    headers = {"x-stainless-retry-count": count}
    assert calls(max_retries=0, status=503, headers=headers)[0] == 2
    assert len({entry.model for entry in stub.log()}) == 2


def test_a_repeat_of_a_pinned_request_gets_one_call_for_each_place_up_to_two(calls):
    assert calls(max_retries=0, status=503, model="sim-nano", headers=SENT_BEFORE)[0] == 1
    places = [{"upstream": "stub", "upstream_model": name} for name in STUB_MODELS[:4]]
    changes = {
        "models.sim-nano": {"deployments": places, "spec": "llama-3.1-8b-instruct"},
        "upstreams.stub.retries": 3,
    }
    terms = {"model": "sim-nano", "changes": changes, "status": 503}
    assert calls(max_retries=0, headers=SENT_BEFORE, **terms)[0] == 1 + 2


@pytest.mark.parametrize(("status", "first"), [(500, 3), (503, 6)])
def test_with_the_repeats_of_the_official_library_ten_calls_are_the_most(calls, status, first):
    n_calls, error = calls(max_retries=2, status=status)
    assert n_calls == first + 2 + 2
    assert error.code == "all_attempts_failed"


@pytest.mark.parametrize("status", [401, 403, 404])
@pytest.mark.parametrize("model", ["auto", "sim-nano"])
def test_what_only_the_operator_can_mend_is_not_repeated(calls, status, model):
    n_calls, error = calls(max_retries=2, status=status, model=model)
    assert n_calls == (3 if model == "auto" else 1)
    assert error.response.headers["x-should-retry"] == "false"


def test_a_repeat_that_is_answered_is_a_whole_answer(fresh_gateway, stub, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    gateway = fresh_gateway(PATIENT)
    stub.add_fault("status", status=500, times=3)
    with openai.OpenAI(base_url=gateway.openai_url, api_key="x", max_retries=1) as client:
        answer = client.chat.completions.create(model="auto", messages=ASK)
    assert answer.choices[0].message.content
    assert [entry.status for entry in stub.log()] == [500, 500, 500, 200]
