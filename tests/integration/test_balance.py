"""Which deployment takes a call, on real sockets, and what a client reads of it."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from tests.support.stub import StubThread

PLACES = [{"upstream": "stub", "upstream_model": name} for name in ("sim-nano", "sim-large")]
ENOUGH = 8
NANO, LARGE = "stub/sim-nano", "stub/sim-large"


@pytest.fixture
def ask(fresh_gateway):
    """Start a gateway with a model in two places; return what asks it and says who answered."""
    with httpx.Client(timeout=30) as client:

        def start(balance, *, origin=None, places=PLACES):
            changes = {
                "models.both": {
                    "deployments": places, "spec": "llama-3.1-8b-instruct", "balance": balance,
                },
            }  # fmt: skip
            if origin is not None:
                changes["upstreams.stub.base_url"] = f"{origin}/v1"
            gateway = fresh_gateway(changes)

            def ask(model="both", *, stream=False):
                answer = client.post(
                    f"{gateway.openai_url}/chat/completions",
                    json={
                        "model": model,
                        "messages": [{"role": "user", "content": "What is a steelyard?"}],
                        "stream": stream,
                    },
                )
                assert answer.status_code == 200, answer.text
                return answer.headers.get("x-route-deployment")

            return ask

        yield start


def test_round_robin_goes_by_turns_and_answers_say_whose(ask):
    both = ask("round-robin")
    taken = [both(stream=bool(number % 2)) for number in range(6)]
    assert set(taken[:2]) == {NANO, LARGE}
    assert taken == taken[:2] * 3


def test_an_answer_of_a_model_in_one_place_names_none(ask):
    assert ask("round-robin")("sim-small") is None


def test_by_predicted_impact_a_slow_place_loses_its_calls_once_it_is_known(ask):
    with StubThread(speed=5.0) as stub, ThreadPoolExecutor(32) as pool:
        both = ask("predicted-impact", origin=stub.origin)
        # At the same time, so that the least busy one is the one and the other in turn.
        taken = Counter(pool.map(lambda _: both(stream=True), range(32)))
        while min(taken[NANO], taken[LARGE]) < ENOUGH:
            taken[both(stream=True)] += 1
        assert [both(stream=True) for _ in range(4)] == [NANO] * 4
        assert [both() for _ in range(4)] == [NANO] * 4
