"""What every acceptor promises, whatever its kind."""

import dataclasses
from typing import get_type_hints

import pytest

from app.gateway.acceptors.base import ACCEPTORS, HeldAnswer, Verdict
from routers.decision.causal_llm import ScorerReply
from routers.options import build
from routers.types import Conversation

TALK = Conversation.of("What is a steelyard?")
FILLING = {str: "some-model", float: -0.5}
"""A value for each option that has no default, by its type."""

every_kind = pytest.mark.parametrize("kind", ACCEPTORS.kinds())


def new(kind, **options):
    cls = ACCEPTORS.get(kind)
    hints = get_type_hints(cls)
    needed = {
        field.name: FILLING[hints[field.name]]
        for field in dataclasses.fields(cls)
        if field.default is dataclasses.MISSING
    }
    return build(cls, {**needed, **options}, noun=kind)


class Asked:
    """A judge that says the same whatever it is asked."""

    def __init__(self, reply=None):
        self.reply = reply
        self.questions = []

    async def __call__(self, model_id, messages, max_tokens, deadline_s):
        assert max_tokens > 0
        assert deadline_s > 0
        self.questions.append((model_id, messages))
        return self.reply


def held(**changes):
    values = {"model_id": "small", "text": "A balance.", "finish_reason": "stop"}
    return HeldAnswer(**{**values, **changes})


@every_kind
async def test_a_verdict_names_who_spoke_and_why(kind):
    for logprobs in (None, (), (-0.1, -0.2), (float("nan"),), (float("-inf"),)):
        for reply in (None, ScorerReply(text="5"), ScorerReply(text="what?")):
            verdict = await new(kind).accept(TALK, held(logprobs=logprobs), Asked(reply))
            assert isinstance(verdict, Verdict)
            assert verdict.by == kind
            assert verdict.why


@every_kind
async def test_nothing_to_go_by_is_no_acceptance(kind):
    assert not (await new(kind).accept(TALK, held(), Asked(None))).accepted


@every_kind
async def test_only_the_models_it_names_are_asked(kind):
    acceptor, asked = new(kind), Asked(ScorerReply(text="4"))
    await acceptor.accept(TALK, held(logprobs=(-0.1,)), asked)
    assert {model_id for model_id, _ in asked.questions} == set(acceptor.model_ids)


@every_kind
def test_it_is_a_value_that_nothing_changes(kind):
    assert new(kind) == new(kind)
    assert hash(new(kind)) == hash(new(kind))
