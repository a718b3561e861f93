"""Policies that hold a cheap answer back until it is accepted, behind a real gateway."""

import json

import httpx
import openai
import pytest

from tests.support.scoring_server import ScoringServer, answer, completion, pieces

CHEAP, DEAR, JUDGE = "sim-nano", "sim-large", "sim-medium"
SURE, UNSURE = [0.9, 0.95, 0.9], [0.9, 0.2, 0.3]
LOGPROBS = {"kind": "logprobs", "least_mean": -0.5}


def drafted(text="The cheap answer.", chances=SURE):
    """Return what makes a server answer like a small model."""

    def reply(body):
        whole = answer(text, chances=chances if body.get("logprobs") else None)
        return 200, pieces(whole) if body.get("stream") else whole

    return reply


@pytest.fixture
def drafter():
    with ScoringServer() as server:
        server.answer = drafted()
        yield server


@pytest.fixture
def judge():
    with ScoringServer() as server:
        yield server


@pytest.fixture
def start(drafter, judge, fresh_gateway):
    """Start a gateway with one cascade and return an HTTP client for it."""
    clients = []

    def start(acceptor=LOGPROBS, *, stages=(CHEAP, DEAR), policy=None, **changes):
        cascade = {"stages": list(stages), "acceptor": acceptor}
        gateway = fresh_gateway(
            {
                "upstreams.drafter": {"base_url": f"{drafter.url}/v1"},
                "upstreams.judge": {"base_url": f"{judge.url}/v1"},
                f"models.{CHEAP}.upstream": "drafter",
                f"models.{JUDGE}.upstream": "judge",
                "routers": {"carrot": {"artifact": "default"}},
                "policies": {
                    "default": {
                        "router": "carrot",
                        "candidates": [CHEAP, DEAR, "sim-frontier"],
                        "default_model": DEAR,
                        "router_deadline_s": 20.0,
                        "cascade": cascade,
                        **(policy or {}),
                    }
                },
                **changes,
            }
        )
        clients.append(httpx.Client(base_url=gateway.url, trust_env=False, timeout=30))
        return clients[-1]

    yield start
    for client in clients:
        client.close()


def ask(client, prompt="What is a steelyard?", path="/v1/chat/completions", headers=None, **fields):
    body = {"model": "auto", "messages": [{"role": "user", "content": prompt}], **fields}
    return client.post(path, json=body, headers=headers)


def test_a_draft_that_is_accepted_is_the_answer(start, drafter):
    client = start()
    response = ask(client)
    assert response.json()["choices"][0]["message"]["content"] == "The cheap answer."
    assert response.headers["x-route-model"] == CHEAP
    assert response.headers["x-route-reason"] == "cascade"
    assert response.headers["x-route-accepted-by"] == "logprobs"
    assert response.headers["x-route-calls"] == "1"
    assert len(drafter.bodies) == 1


def test_a_draft_that_is_turned_down_is_followed_by_the_next_stage(start, drafter):
    client = start()
    drafter.answer = drafted(chances=UNSURE)
    response = ask(client)
    assert response.json()["model"] == DEAR
    assert "cheap" not in response.text
    assert response.headers["x-route-model"] == DEAR
    assert response.headers["x-route-reason"] == "cascade"
    assert response.headers["x-route-accepted-by"] == "last_stage"
    assert response.headers["x-route-calls"] == "2"
    assert "x-route-fallback-index" not in response.headers


@pytest.mark.parametrize(("chances", "model"), [(SURE, CHEAP), (UNSURE, DEAR)])
def test_a_stream_is_of_one_model_alone(start, drafter, monkeypatch, chances, model):
    client = start()
    drafter.answer = drafted("The cheap answer.", chances)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with openai.OpenAI(base_url=f"{client.base_url}/v1", api_key="x", max_retries=0) as sdk:
        stream = sdk.chat.completions.with_raw_response.create(
            model="auto",
            messages=[{"role": "user", "content": "What is a steelyard?"}],
            stream=True,
            stream_options={"include_usage": True},
        )
        assert stream.headers["x-route-model"] == model
        chunks = list(stream.parse())
    text = "".join(each.choices[0].delta.content or "" for each in chunks if each.choices)
    assert (text == "The cheap answer.") == (model == CHEAP)
    assert len({each.id for each in chunks}) == 1
    assert chunks[-1].usage.completion_tokens > 0


@pytest.mark.parametrize("stream", [False, True])
def test_log_probabilities_are_for_the_gateway_unless_the_client_asks_for_them(
    start, drafter, stream
):
    client = start()
    text = ask(client, stream=stream).text
    assert drafter.bodies[-1]["logprobs"] is True
    assert '"logprob"' not in text
    text = ask(client, stream=stream, logprobs=True).text
    assert '"logprob"' in text


@pytest.mark.parametrize(("grade", "model"), [("5", CHEAP), ("2", DEAR), ("Sure!", DEAR)])
def test_a_judge_reads_question_and_answer_and_decides(start, drafter, judge, grade, model):
    client = start({"kind": "judge", "model": JUDGE})
    judge.answer = lambda _: (200, completion(grade))
    response = ask(client)
    assert response.headers["x-route-model"] == model
    assert response.headers["x-route-calls"] == ("2" if model == CHEAP else "3")
    assert "logprobs" not in drafter.bodies[0]
    (question,) = judge.bodies
    said = json.dumps(question["messages"])
    assert "What is a steelyard?" in said
    assert "The cheap answer." in said
    assert float(response.headers["x-route-scorer-cost-usd"]) > 0
