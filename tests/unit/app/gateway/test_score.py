"""Answers of chat endpoints, as they came or as their reference shows them, read as scores."""

import json
import random

import pytest

from app.calls import CallRole
from app.gateway.bill import settled_tokens
from app.gateway.closing import closed
from app.gateway.deployments.pool import DeploymentPool
from app.gateway.dispatch import Dispatcher
from app.gateway.ledger import LedgerEntry
from app.gateway.questions import Questions, read_reply
from app.gateway.request import RouteRequest
from app.gateway.score import Scorer
from app.providers.base import Chunk
from app.usage import ToldUsage
from app.wire.body import Body
from routers.decision.causal_llm import judge
from routers.models import Demand
from routers.types import Conversation
from tests.support.policies import policy
from tests.support.providers import ScriptedProvider, deployment

OPENAI = b"""{
  "id": "chatcmpl-123", "object": "chat.completion", "created": 1741570283,
  "model": "gpt-4o-mini-2024-07-18",
  "choices": [{
    "index": 0,
    "message": {"role": "assistant", "content": "4", "refusal": null, "annotations": []},
    "logprobs": {
      "content": [{
        "token": "4", "logprob": -0.3566749, "bytes": [52],
        "top_logprobs": [
          {"token": "4", "logprob": -0.3566749, "bytes": [52]},
          {"token": "3", "logprob": -1.6094379, "bytes": [51]},
          {"token": "5", "logprob": -2.3025851, "bytes": [53]},
          {"token": "**", "logprob": -9999.0, "bytes": [42, 42]}
        ]
      }],
      "refusal": null
    },
    "finish_reason": "stop"
  }],
  "usage": {"prompt_tokens": 180, "completion_tokens": 1, "total_tokens": 181},
  "service_tier": "default", "system_fingerprint": "fp_06737a9306"
}"""


def changed(**choice):
    answer = json.loads(OPENAI)
    answer["choices"][0] |= choice
    return json.dumps(answer).encode()


def test_the_digits_chances_are_read_from_openais_form():
    verdict = judge(read_reply(OPENAI))
    assert verdict.score == 4
    assert verdict.strong_chance == pytest.approx(0.2)


@pytest.mark.parametrize(
    "logprobs",
    [
        None,
        {},
        {"content": None},
        {"content": []},
        {"tokens": ["4"], "token_logprobs": [-0.36], "top_logprobs": [{"4": -0.36}]},
        {"content": [{"token": "4", "logprob": -0.36}]},
        {"content": [{"token": "4", "top_logprobs": [{"token": "4", "logprob": None}]}]},
        "none",
    ],
)
def test_chances_of_another_shape_leave_the_digit(logprobs):
    verdict = judge(read_reply(changed(logprobs=logprobs)))
    assert (verdict.score, verdict.strong_chance) == (4, 0)


@pytest.mark.parametrize(
    "data",
    [
        b'{"choices": []}',
        b'{"object": "error"}',
        b"[]",
        b"4",
        b"\xff",
        changed(message={"content": None}),
        changed(message={"content": [{"type": "text", "text": "4"}]}),
        changed(message={}),
        changed(message=None),
    ],
)
def test_what_is_no_text_is_no_score(data):
    assert judge(read_reply(data)).score is None


class Traced:
    """The trace of a request and of its calls, in one."""

    headers = ()

    def __init__(self):
        self.roles, self.ended_calls = [], []

    def call(self, _model_id, *, role, **_):
        self.roles.append(role)
        return self

    def ended(self, call):
        self.ended_calls.append(call)

    def end(self, outcome, texts):
        pass


async def test_the_time_of_the_scorer_is_the_upstreams_and_not_overhead():
    now = 100.0
    request = RouteRequest(
        request_id="r",
        decision_id="d",
        requested_model="auto",
        pinned_model_id=None,
        policy=None,
        objective=None,
        allowed_model_ids=None,
        max_cost_usd=None,
        fallback=True,
        explain=False,
        conversation=Conversation.of("hi"),
        demand=Demand(input_tokens=7, input_tokens_upper=9),
        body=Body({}),
        stream=False,
        include_usage=False,
        headers=(),
    )
    entry = LedgerEntry(clock=lambda: now, request=request, policy_version="v", started=now)
    now += 0.25

    class Slow(ScriptedProvider):
        async def send(self, call):
            nonlocal now
            now += 2.0
            async for chunk in super().send(call):
                yield chunk

    usage = ToldUsage(input_tokens=80, output_tokens=1)
    place = deployment("scorer", Slow(Chunk(data=OPENAI, usage=usage)))
    dispatcher = Dispatcher(
        pool=DeploymentPool({"scorer": [place]}, clock=lambda: now, rng=random.Random(0)),
        clock=lambda: now,
        rng=random.Random(0),
        on_failure=lambda _deployment, _error: None,
    )
    scorer = Scorer(questions=Questions(dispatcher=dispatcher), specs={"scorer": place.spec})
    entry.trace = trace = Traced()
    judgement = await scorer.ask(request, policy(scorer_model_id="scorer"), entry)
    assert judgement.score == 4
    entry.answering()
    assert entry.overhead_s == pytest.approx(0.25)
    outcome = closed(entry, status=200, error=None)
    (call,) = outcome.calls
    assert (trace.roles, trace.ended_calls) == ([CallRole.JUDGE], [call])
    assert call is judgement.call
    assert (call.role, call.model_id, call.upstream) == (CallRole.JUDGE, "scorer", "scripted")
    assert (call.call_id, call.parent_id) == ("d.0", "d")
    assert (call.began_s, call.duration_s) == pytest.approx((0.25, 2.0))
    assert outcome.cost_usd == pytest.approx(80e-6 + 10e-6)
    assert settled_tokens(entry) == outcome.tokens == 81
    assert (outcome.answer_cost_usd, outcome.serving) == (None, None)
