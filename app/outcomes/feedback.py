"""Labels that arrive later: who may give them, how often, and what they say.

A label belongs to one decision, and only the key that made the request (or the operator) may give
it, so that nobody can teach the router with answers of others. Which decision ids exist is told to
nobody else.
"""

import asyncio
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from app.errors import (
    DecisionNotFoundError,
    InvalidRequestError,
    LabelChangedError,
    RateLimitedError,
    StoreUnavailableError,
)
from app.outcomes.log import FLUSH_INTERVAL_S, OutcomeLog
from app.outcomes.rows import Decided, Label, LabelKind, Labelled
from app.stores.base import Counters, StoreError
from app.stores.claims import Claim, Refusal, Scope, ScopeKind, Settlement

ADMIN = "admin"
"""Whose labels they are that came with the admin token."""

_LIFETIME_S = 30.0

OnLabel = Callable[[LabelKind, Decided | None, float | None], None]
"""Notified of every label that is not there already; of the first one of an answer with its quality
and what is known of the decision."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Opinion:
    """What somebody says of one answer, or of two; `decision_ids` has one or two entries."""

    decision_ids: tuple[str, ...]
    kind: LabelKind
    quality: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Feedback:
    """Take labels.

    Parameters
    ----------
    per_minute
        How many labels a key may send.
    """

    log: OutcomeLog[Any]
    counters: Counters
    per_minute: int
    on_label: OnLabel
    now: Callable[[], float] = time.time
    second_look_s: float = 2 * FLUSH_INTERVAL_S
    """After how long a decision that is not known is looked for again: another process may have
    answered it a moment ago."""
    _errors: tuple[type[Exception], ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_errors", self.log.errors)

    async def take(self, opinion: Opinion, *, key_id: str, is_admin: bool = False) -> Label:
        """Keep a label and return it as it is kept.

        Parameters
        ----------
        key_id
            Who says so.
        is_admin
            Whether they may label whatever they want.

        Raises
        ------
        DecisionNotFoundError
            If one of the decisions is not theirs, or unknown: nobody can tell which.
        LabelChangedError, RateLimitedError, StoreUnavailableError
        """
        await self._claim(ADMIN if is_admin else key_id)
        decided = [
            await self._find(decision_id, key_id=None if is_admin else key_id)
            for decision_id in opinion.decision_ids
        ]
        if len(opinion.decision_ids) == 2 and decided[0].model == decided[1].model:
            raise InvalidRequestError(
                f"both decisions were answered by {decided[0].model}: nothing can be learned of "
                "models from that",
                param="decision_b",
            )
        label = _label(opinion, by=ADMIN if is_admin else key_id, time=self.now())
        try:
            became = await self.log.label(label)
        except self._errors as error:
            raise _unavailable() from error
        if became is Labelled.REFUSED:
            raise LabelChangedError(
                "this label was changed too often; it stays what it is", param="decision_id"
            )
        if became is not Labelled.SAME:
            first = became is Labelled.NEW and label.kind is not LabelKind.PREFERENCE
            self.on_label(
                label.kind, decided[0] if first else None, label.quality if first else None
            )
        return label

    async def _find(self, decision_id: str, *, key_id: str | None) -> Decided:
        for wait_s in (self.second_look_s, None):
            try:
                decided = await self.log.find(decision_id)
            except self._errors as error:
                raise _unavailable() from error
            if decided is not None and key_id in (None, decided.key_id):
                return decided
            if wait_s is not None:
                await asyncio.sleep(wait_s)
        raise DecisionNotFoundError(
            f"there is no decision {decision_id[:80]!r} of this key", param="decision_id"
        )

    async def _claim(self, key_id: str) -> None:
        """Count this label against its key's limit, which all processes share."""
        request_id = f"feedback-{os.urandom(12).hex()}"
        scope = Scope(ScopeKind.KEY, f"{key_id}/feedback")
        claim = Claim(scope=scope, requests_per_minute=self.per_minute)
        try:
            found = await self.counters.admit(request_id, [claim], lifetime_s=_LIFETIME_S)
            if isinstance(found, Refusal):
                raise RateLimitedError(
                    f"this key may send {self.per_minute} labels per minute",
                    scope="key",
                    resource="feedback",
                    limit=self.per_minute,
                    retry_after_s=found.retry_after_s,
                )
            await self.counters.settle(request_id, [Settlement(scope=scope, tokens=0, cost_nusd=0)])
        except StoreError as error:
            raise _unavailable() from error


def _label(opinion: Opinion, *, by: str, time: float) -> Label:
    first, *others = opinion.decision_ids
    other, quality = (others[0], opinion.quality) if others else ("", opinion.quality)
    if other and other < first:
        first, other, quality = other, first, 1.0 - quality
    return Label(
        decision_id=first,
        other_decision_id=other,
        kind=opinion.kind,
        quality=quality,
        labelled_by=by,
        time=time,
    )


def _unavailable() -> StoreUnavailableError:
    return StoreUnavailableError("the decision log cannot be asked at the moment; try again")
