"""One upstream call: what it was for, how it ended, what it used and cost."""

from collections.abc import Iterable
from enum import StrEnum

import msgspec

from app.keys import to_nusd
from app.usage import Usage

HEDGE_LOST = "hedge_lost"
"""The error of a call that was given up because the one beside it was faster."""

DRAFT_REJECTED = "draft_rejected"
"""The error of a call whose answer was held back and not accepted."""

HOLD_BACK_EXCEEDED = "hold_back_exceeded"
"""The error of a call whose answer was given up because it could not be held back any longer."""


class CallRole(StrEnum):
    """What an upstream call is for."""

    ANSWER = "answer"
    """One of the models that the plan has answer, after whatever came before it."""
    DRAFT = "draft"
    """An answer that is held back until somebody accepts it."""
    JUDGE = "judge"
    """The question whether a model will do, or an answer does."""
    PLANNER = "planner"
    """The question how to go on."""
    HELPER = "helper"
    """The question for a part of the answer."""
    GUARD = "guard"
    """The question whether a request or an answer is harmless."""
    DESCRIBER = "describer"
    """The question what an application is for."""
    HEDGE = "hedge"
    """An answer asked for beside a call that was silent for too long."""
    CANARY = "canary"
    """A question of the gateway's own, whether a model is still what it was."""


ANSWERING = frozenset({CallRole.ANSWER, CallRole.DRAFT, CallRole.HEDGE})
"""The roles of calls whose answer the client may get."""
CONTRIBUTING = ANSWERING | {CallRole.PLANNER, CallRole.HELPER}
"""The roles of calls that an answer is made of; clients are told what these cost together."""
WATCHED = frozenset({CallRole.ANSWER, CallRole.DRAFT, CallRole.HELPER})
"""The roles of calls whose answers show whether a model is still what it was."""


class CanarySaid(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Which question of the gateway's own was asked, and whether the answer was right."""

    name: str
    right: bool


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """One upstream call, whatever it was for and however it ended.

    Attributes
    ----------
    call_id
        Unique.
    parent_id
        The id of the decision that it belongs to.
    upstream
        Empty where no call came about, because the model was left alone or has no price.
    began_s
        Seconds after the request came.
    duration_s
        Until the answer began, if it is the one that serves.
    error
        The error's code from the table of answers, None where the call served its purpose;
        `hedge_lost` where another one that ran beside it was faster, `draft_rejected` where its
        answer was held back and not accepted.
    usage
        What it is booked with; None where nothing was sent, or refused with an error status.
    cost_usd
        What that costs; None where the price is unknown.
    changes
        What of the request the model was told otherwise than the client said it.
    deployment
        Which of the model's took it; None where there is one.
    deployment_propensity
        How probable that was, where it was drawn.
    canary
        How it did, where it was the gateway's own question and answered.
    """

    call_id: str
    parent_id: str
    role: CallRole
    model_id: str
    upstream: str
    began_s: float
    duration_s: float
    status: int | None = None
    error: str | None = None
    usage: Usage | None = None
    cost_usd: float | None = 0.0
    changes: tuple[str, ...] = ()
    deployment: str | None = None
    deployment_propensity: float | None = None
    canary: CanarySaid | None = None


def cost_of_judges(calls: Iterable[Call]) -> float | None:
    """Return what judges cost; None where nothing was sent to any, or a price is unknown."""
    costs_usd: list[float | None] = []
    for call in calls:
        if call.role is CallRole.JUDGE and call.usage is not None:
            costs_usd.append(call.cost_usd)  # noqa: PERF401  (mostly there is none)
    return sum_known_usd(costs_usd) if costs_usd else None


def known_nusd(calls: Iterable[Call]) -> int:
    """Return what calls cost in billionths of a US dollar, as far as that is known.

    Each is rounded by itself, so that parts of it add up to the whole wherever they are summed.
    """
    return sum([to_nusd(call.cost_usd or 0.0) for call in calls])


def tokens_of(calls: Iterable[Call]) -> int:
    """Return what calls used, input and output."""
    n_tokens = 0
    for call in calls:
        usage = call.usage
        if usage is not None:
            n_tokens += usage.input_tokens + usage.output_tokens
    return n_tokens


def sum_known_usd(costs_usd: Iterable[float | None]) -> float | None:
    """Add up amounts; None when one of them is unknown."""
    total_usd = 0.0
    for cost_usd in costs_usd:
        if cost_usd is None:
            return None
        total_usd += cost_usd
    return total_usd
