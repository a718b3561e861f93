"""Cascades: hold the answers of cheap models back, and serve the first one that is accepted.

Nobody has seen anything of an answer that is held back. So one that breaks off, is turned down or
grows too long is followed by the next stage's, whereas the answer of the last stage streams like
any other.
"""

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

import msgspec

from app.concurrency.deadline import Deadline
from app.errors import (
    AllAttemptsFailedError,
    UpstreamError,
    UpstreamRejectedError,
    UpstreamTimeoutError,
)
from app.gateway.acceptors.base import HeldAnswer, Verdict
from app.gateway.dispatch import Afford, Dispatcher, Failures, OpenAnswer
from app.gateway.drafting import LAST_STAGE, NOTHING_BETTER, TOO_LONG, UNREAD, Drafting
from app.gateway.ledger import LedgerEntry, code_of
from app.gateway.plan import Cascade, FirstOf
from app.gateway.questions import Questions, question_of, unsent
from app.gateway.request import RouteRequest
from app.gateway.steps import adopt, draft_of
from app.providers.base import Chunk
from app.types import DRAFT_REJECTED, HOLD_BACK_EXCEEDED, DraftVerdict
from app.wire.body import Body, Fields
from app.wire.held import read_held, without_logprobs
from routers.decision.causal_llm import ScorerReply
from routers.types import Message

_LOGPROBS = "logprobs"


@dataclass(frozen=True, slots=True, kw_only=True)
class HoldBack:
    """How much of an answer is held back, and for how long.

    Attributes
    ----------
    serves_longer
        Whether an answer that exceeds either serves from there on; else it is given up for the
        next stage's.
    """

    max_bytes: int = 1_000_000
    max_s: float = 120.0
    serves_longer: bool = False


class _Draft(NamedTuple):
    """An answer that was held back, and its account."""

    opened: OpenAnswer
    stage: LedgerEntry
    held: list[Chunk]
    """As the client would get it."""


class _TooLongError(Exception):
    """An answer cannot be held back any longer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cascades:
    """Carries cascades out."""

    dispatcher: Dispatcher
    questions: Questions
    hold: HoldBack
    without_logprobs: set[str] = field(default_factory=set)
    """Models that refused a request for log-probabilities and took the same without."""

    async def open(
        self, request: RouteRequest, plan: Cascade, entry: LedgerEntry, *, afford: Afford
    ) -> OpenAnswer:
        """Return the first answer that is accepted, or the last stage's as soon as it begins.

        Raises
        ------
        UpstreamRejectedError
            If an upstream finds the request itself at fault.
        AllAttemptsFailedError
            If no stage brought an answer; its attempts say what each did.
        """
        run = _Run(self, request, plan, entry, afford)
        began, waited_s = entry.clock(), entry.upstream_wait_s
        run.drafting.held_since = began
        try:
            try:
                served = await run.drafts()
            finally:
                # Nothing of all this time was the gateway's own.
                entry.upstream_wait_s = waited_s + entry.clock() - began
            return await run.last() if served is None else served
        finally:
            run.drafting.held_since = None


class _Run:
    """One cascade that is being carried out."""

    def __init__(
        self,
        cascades: Cascades,
        request: RouteRequest,
        plan: Cascade,
        entry: LedgerEntry,
        afford: Afford,
    ) -> None:
        assert entry.drafting is not None  # noqa: S101  (a cascade was decided)
        self.drafting: Drafting = entry.drafting
        self._cascades, self._request, self._plan, self._entry = cascades, request, plan, entry
        self._afford = afford
        self._failures: Failures = []
        self._turned_down: _Draft | None = None

    async def drafts(self) -> OpenAnswer | None:
        """Return the first answer that is accepted; None where none is."""
        for model_id in self._plan.drafts:
            draft = await self._draft(model_id)
            if draft is None:
                self.drafting.failed = True
            elif self.drafting.accepted_by is not None:
                return self._serve(draft)
            else:
                self._turned_down, self.drafting.failed = draft, False
        return None

    async def last(self) -> OpenAnswer:
        """Return the last stage's answer as soon as it begins.

        Where it cannot be had, the latest draft is better than none.
        """
        try:
            opened = await self._cascades.dispatcher.open(
                self._request,
                self._plan.last,
                self._entry,
                afford=self._afford,
                failures=self._failures,
            )
        except AllAttemptsFailedError:
            if self._turned_down is None:
                raise
            self.drafting.accepted_by = NOTHING_BETTER
            return self._serve(self._turned_down)
        self.drafting.accepted_by = LAST_STAGE
        return opened

    async def _draft(self, model_id: str) -> _Draft | None:
        """Return one stage's answer; None where it cannot be had.

        Whether it serves is noted in the account.
        """
        stage = draft_of(self._entry, self._request)
        opened: OpenAnswer | None = None
        hold = self._cascades.hold
        try:
            with contextlib.nullcontext() if hold.serves_longer else Deadline(hold.max_s):
                opened, strips = await self._begin(model_id, stage)
                held, is_whole = await self._hold(opened, stage)
            if is_whole:
                self.drafting.accepted_by = await self._judge(model_id, held)
            else:
                self.drafting.accepted_by = TOO_LONG
            if self.drafting.accepted_by is None:
                stage.end_stage(DRAFT_REJECTED)
            return self._ready(opened, stage, held, strips=strips)
        except (UpstreamError, AllAttemptsFailedError, _TooLongError, TimeoutError) as error:
            if opened is None and isinstance(error, UpstreamError) and not error.retryable:
                raise
            self._failed(stage, error)
            return None
        except BaseException as error:
            stage.end_stage(code_of(error))
            raise
        finally:
            if self.drafting.accepted_by is None:
                self._entry.running_nusd.pop(model_id, None)
                if opened is not None:
                    await opened.aclose()

    def _failed(self, stage: LedgerEntry, error: Exception) -> None:
        """Note that a stage's answer cannot be had; what did not begin is noted already."""
        calls, failure = self._entry.calls, error
        if isinstance(error, _TooLongError | TimeoutError):
            failure = UpstreamTimeoutError("the answer could not be held back any longer")
            stage.end_stage(HOLD_BACK_EXCEEDED)
            if stage.served is None and calls:
                self._failures.append((self._entry.overdue(), failure))
        else:
            stage.end_stage(code_of(error))
        if stage.served is not None and isinstance(failure, UpstreamError):
            self._failures.append((calls[stage.served_at], failure))

    async def _begin(self, model_id: str, stage: LedgerEntry) -> tuple[OpenAnswer, bool]:
        """Return an answer that has begun, and whether it has more in it than was asked for."""
        cascades, fields = self._cascades, self._request.body.chat()
        refused = cascades.without_logprobs
        if (
            not self._plan.acceptor.wants_logprobs
            or fields.get(_LOGPROBS, b"").strip() == b"true"
            or model_id in refused
        ):
            return await self._call(model_id, fields, stage), False
        try:
            opened = await self._call(model_id, {**fields, _LOGPROBS: b"true"}, stage)
        except UpstreamRejectedError:
            # Perhaps for the log-probabilities, which not every endpoint knows.
            opened = await self._call(model_id, fields, stage)
            refused.add(model_id)
            return opened, False
        return opened, True

    async def _call(self, model_id: str, fields: Fields, stage: LedgerEntry) -> OpenAnswer:
        """Ask for a chat completion, whatever the client speaks: acceptors read nothing else."""

        async def afford(request: RouteRequest, model_id: str, _stage: LedgerEntry) -> bool:
            return await self._afford(request, model_id, self._entry)

        return await self._cascades.dispatcher.open(
            msgspec.structs.replace(self._request, body=Body(fields)),
            FirstOf((model_id,)),
            stage,
            afford=afford,
            failures=self._failures,
        )

    async def _hold(self, opened: OpenAnswer, stage: LedgerEntry) -> tuple[list[Chunk], bool]:
        """Read an answer to its end, or to where it exceeds what is held back."""
        hold, clock = self._cascades.hold, self._cascades.dispatcher.clock
        late = opened.lease.began + hold.max_s
        held = list(opened.prelude)
        n_bytes = sum([len(chunk.data) for chunk in held])
        reading = self._cascades.dispatcher.hold(opened, stage)
        while n_bytes <= hold.max_bytes and clock() < late:
            chunk = await anext(reading, None)
            if chunk is None:
                return held, True
            stage.saw(chunk)
            held.append(chunk)
            n_bytes += len(chunk.data)
        if not hold.serves_longer:
            raise _TooLongError
        return held, False

    async def _judge(self, model_id: str, held: list[Chunk]) -> str | None:
        """Return who accepts an answer; None where it is turned down."""
        verdict = await self._verdict(model_id, held)
        self.drafting.judged.append(
            DraftVerdict(
                model_id=model_id,
                accepted=verdict.accepted,
                by=verdict.by,
                score=verdict.score,
                why=verdict.why,
            )
        )
        return verdict.by if verdict.accepted else None

    async def _verdict(self, model_id: str, held: list[Chunk]) -> Verdict:
        read = read_held(held, stream=self._request.stream)
        if read is None or not read.text.strip():
            return Verdict(accepted=False, by=UNREAD, why="no text" if read else "unreadable")
        if read.finish_reason == "content_filter":
            return Verdict(accepted=False, by=UNREAD, why="content_filter")
        return await self._plan.acceptor.accept(
            self._request.conversation,
            HeldAnswer(
                model_id=model_id,
                text=read.text,
                finish_reason=read.finish_reason,
                logprobs=read.logprobs,
            ),
            self._ask,
        )

    async def _ask(
        self, model_id: str, messages: Sequence[Message], max_tokens: int, deadline_s: float
    ) -> ScorerReply | None:
        entry = self._entry
        question = question_of(self._request, messages, max_tokens=max_tokens)
        if entry.reserved_nusd is not None and not await self._afford(question, model_id, entry):
            unsent(model_id, entry, "budget")
            return None
        try:
            reply = await self._cascades.questions.ask(
                question, model_id, entry, deadline_s=deadline_s
            )
        finally:
            entry.running_nusd.pop(model_id, None)
        return reply.said

    def _ready(
        self, opened: OpenAnswer, stage: LedgerEntry, held: list[Chunk], *, strips: bool
    ) -> _Draft:
        if not strips:
            return _Draft(opened, stage, held)
        opened.rewrite = partial(without_logprobs, stream=self._request.stream)
        return _Draft(opened, stage, [opened.rewrite(chunk) for chunk in held])

    def _serve(self, draft: _Draft) -> OpenAnswer:
        opened, n_begun = draft.opened, len(draft.opened.prelude)
        opened.prelude, opened.held = tuple(draft.held[:n_begun]), draft.held[n_begun:]
        adopt(self._entry, draft.stage, draft.held)
        return opened
