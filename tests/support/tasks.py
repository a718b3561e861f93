"""Requests for workflows, and models whose answers are told beforehand."""

import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from routers.decisions import CandidateEstimate
from routers.evaluation.course import Course, drive
from routers.steps import Answer, Draft, Question, Step
from routers.task import Room, Task
from routers.types import Conversation
from routers.workflows.base import Workflow

Said = str | None | Callable[[Step], str | None]
"""What a model answers: a text, nothing, or what a function makes of the step."""


def candidate(
    model_id: str,
    *,
    quality: float | None = 0.5,
    cost_usd: float | None = 1e-3,
    output_tokens: float | None = 100.0,
) -> CandidateEstimate:
    """Return what is predicted of a model."""
    return CandidateEstimate(
        model_id=model_id,
        quality=quality,
        quality_std=None if quality is None else 0.1,
        input_tokens=100,
        output_tokens=output_tokens,
        output_tokens_upper=None if output_tokens is None else 2 * output_tokens,
        cost_usd=cost_usd,
        cost_usd_upper=None if cost_usd is None else 2 * cost_usd,
    )


def task(
    candidates: Mapping[str, float] | Sequence[CandidateEstimate],
    *,
    prompt: str = "What is a steelyard?",
    room: Room | None = None,
    model_id: str | None = None,
    seed: int = 0,
    **fields: Any,
) -> Task:
    """Return a request.

    Parameters
    ----------
    candidates
        Estimates, or expected costs in USD by model, dearer ones better by .1 each.
    """
    estimates = (
        tuple(
            candidate(each, quality=0.5 + 0.1 * i, cost_usd=cost_usd)
            for i, (each, cost_usd) in enumerate(candidates.items())
        )
        if isinstance(candidates, Mapping)
        else tuple(candidates)
    )
    return Task(
        conversation=Conversation.of(prompt),
        candidates=estimates,
        usd_per_quality=fields.pop("usd_per_quality", 1e-3),
        model_id=model_id or estimates[-1].model_id,
        room=room or Room(calls=16),
        rng=random.Random(seed),
        **fields,
    )


def run(workflow: Workflow, request: Task, said: Mapping[str, Said], **known: Any) -> Course:
    """Drive a workflow over models that say what they are told to.

    Parameters
    ----------
    known
        Further fields of each answer.
    """

    def respond(step: Step, number: int) -> Answer | None:
        text = said.get(step.model_id)
        if callable(text):
            text = text(step)
        if text is None:
            return None
        estimate = request.candidate(step.model_id)
        cost_usd = None if estimate is None else estimate.cost_usd
        return Answer(
            number=number, model_id=step.model_id, text=text, **{"cost_usd": cost_usd, **known}
        )

    return drive(workflow, request, respond)


def sample_of(step: Step) -> int:
    """Return which of several answers of a model a step asks for."""
    assert isinstance(step, Draft)
    return step.sample


def question_text(step: Step) -> str:
    """Return what a question says, all of it."""
    assert isinstance(step, Question)
    return "\n".join(message.text for message in step.messages)
