"""What every acceptor promises, whatever its kind."""

import dataclasses
from typing import get_type_hints

import pytest

from routers.options import build
from routers.steps import Answer, Question
from routers.workflows.acceptors.base import ACCEPTORS
from tests.support.tasks import task

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

    def verdict(self, acceptor, answer):
        """Return what an acceptor says, and what it noted in the task."""
        request = task({"small": 1e-4})
        judging = acceptor.accept(request, answer)
        steps = None
        while True:
            answers = steps and [self._answer(step) for step in steps]
            try:
                steps = judging.send(answers)
            except StopIteration as stop:
                verdict = stop.value
                break
            self.questions += steps
        assert request.verdicts == [verdict]
        return verdict

    def _answer(self, step):
        assert isinstance(step, Question)
        assert step.max_tokens > 0
        if self.reply is None:
            return None
        return Answer(number=1, model_id=step.model_id, text=self.reply)


def held(**changes):
    values = {"number": 0, "model_id": "small", "text": "A balance.", "finish_reason": "stop"}
    return Answer(**{**values, **changes})


@every_kind
def test_a_verdict_names_who_spoke_and_why(kind):
    for logprobs in (None, (), (-0.1, -0.2), (float("nan"),), (float("-inf"),)):
        for reply in (None, "5", "what?"):
            verdict = Asked(reply).verdict(new(kind), held(logprobs=logprobs))
            assert verdict.by == kind
            assert verdict.why


@every_kind
def test_nothing_to_go_by_is_no_acceptance(kind):
    assert not Asked(None).verdict(new(kind), held()).accepted


@every_kind
def test_only_the_models_it_names_are_asked(kind):
    acceptor, asked = new(kind), Asked("4")
    asked.verdict(acceptor, held(logprobs=(-0.1,)))
    assert {each.model_id for each in asked.questions} == set(acceptor.model_ids)


@every_kind
def test_it_is_a_value_that_nothing_changes(kind):
    assert new(kind) == new(kind)
    assert hash(new(kind)) == hash(new(kind))
