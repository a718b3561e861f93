"""Answers that are held back: asked for, read to their end, and kept until one of them serves."""

import contextlib
from dataclasses import dataclass
from functools import partial

import msgspec

from app.calls import HOLD_BACK_EXCEEDED
from app.concurrency.deadline import Deadline
from app.errors import (
    AllAttemptsFailedError,
    UpstreamError,
    UpstreamRejectedError,
    UpstreamTimeoutError,
)
from app.gateway.course import Course
from app.gateway.dispatch import Afford, Dispatcher
from app.gateway.failed_attempts import Failures
from app.gateway.ledger import LedgerEntry, code_of
from app.gateway.open_answer import OpenAnswer
from app.gateway.plan import FirstOf
from app.gateway.request import RouteRequest
from app.gateway.steps import adopt, draft_of
from app.providers.base import Chunk
from app.wire.body import Body, Fields
from app.wire.held import read_held, without_logprobs
from routers.steps import Answer, Draft

_LOGPROBS = "logprobs"
_GREEDY = frozenset({b"0", b"0.0", b"null"})
"""Temperatures at which a model would say the same again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HoldBack:
    """How much is held back for one request, and for how long.

    Attributes
    ----------
    max_bytes
        Of all answers together that are held at the same time.
    max_s
        Of each.
    serves_longer
        Whether an answer that exceeds either serves from there on; else it is given up. Of
        answers that are asked for at the same time none does.
    """

    max_bytes: int = 1_000_000
    max_s: float = 120.0
    serves_longer: bool = False


class HeldAnswer(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """An answer that is held back, and its account.

    Attributes
    ----------
    chunks
        As the client would get them.
    strips
        Whether it has more in it than the client asked for.
    is_whole
        Whether it was read to its end.
    """

    opened: OpenAnswer
    stage: LedgerEntry
    chunks: list[Chunk]
    strips: bool
    is_whole: bool
    took_s: float
    answer: Answer


class _TooLongError(Exception):
    """An answer cannot be held back any longer."""


class Holder(msgspec.Struct, kw_only=True, eq=False):
    """Holds the answers to one request back.

    Attributes
    ----------
    without_logprobs
        Models that refused a request for log-probabilities and took the same without.
    failures
        What was tried without an answer.
    held
        The answers by their numbers.
    """

    dispatcher: Dispatcher
    hold: HoldBack
    without_logprobs: set[str]
    request: RouteRequest
    entry: LedgerEntry
    course: Course
    afford: Afford
    wants_logprobs: bool
    failures: Failures = msgspec.field(default_factory=list)
    held: dict[int, HeldAnswer] = msgspec.field(default_factory=dict)
    _n_bytes: dict[int, int] = msgspec.field(default_factory=dict)

    async def draft(
        self, step: Draft, *, number: int, left_s: float, alone: bool, needed: bool
    ) -> HeldAnswer | None:
        """Return an answer; None where it cannot be had.

        Parameters
        ----------
        number
            What the answer is known by.
        left_s
            What is left of the workflow's time.
        alone
            Whether no other answer is asked for at the same time.
        needed
            Whether there is no answer from before. Where there is one, an upstream that finds the
            request at fault is one that cannot answer it, as another could.

        Raises
        ------
        UpstreamRejectedError
            If an upstream finds the request itself at fault.
        """
        entry, model_id, hold = self.entry, step.model_id, self.hold
        stage, longer = draft_of(entry, self.request), hold.serves_longer and alone
        began = entry.clock()
        opened: OpenAnswer | None = None
        held: HeldAnswer | None = None
        try:
            # What serves longer has to begin in time, and can be left at no other place.
            with Deadline(min(hold.max_s, left_s)) if not longer else contextlib.nullcontext():
                with Deadline(left_s) if longer else contextlib.nullcontext():
                    opened, strips = await self._begin(step, stage)
                late = opened.lease.began + min(hold.max_s, left_s)
                chunks, is_whole = await self._read(opened, stage, late=late, longer=longer)
            held = self._kept(
                number,
                opened,
                stage,
                chunks,
                strips=strips,
                is_whole=is_whole,
                took_s=entry.clock() - began,
            )
        except (UpstreamError, AllAttemptsFailedError, _TooLongError, TimeoutError) as error:
            if (
                needed
                and opened is None
                and isinstance(error, UpstreamError)
                and not error.retryable
            ):
                raise
            self._n_bytes.pop(id(stage), None)
            self._failed(model_id, stage, error)
            return None
        except BaseException as error:
            stage.end_stage(code_of(error))
            raise
        finally:
            # What did not begin, the dispatcher has ended.
            if opened is not None and (held is None or held.is_whole):
                entry.running.end(model_id)
            if opened is not None and held is None:
                await opened.aclose()
        return held

    def serve(self, number: int) -> OpenAnswer:
        """Have an answer serve after all."""
        held = self.held[number]
        opened, chunks, n_begun = held.opened, held.chunks, len(held.opened.prelude)
        if held.strips:
            opened.rewrite = partial(without_logprobs, stream=self.request.stream)
            chunks = [opened.rewrite(chunk) for chunk in chunks]
        opened.prelude, opened.held = tuple(chunks[:n_begun]), chunks[n_begun:]
        adopt(self.entry, held.stage, chunks)
        self.course.served_model_id = held.answer.model_id
        self.course.served_draft = number
        return opened

    def best(self, instead: Answer | None) -> int | None:
        """Return the number of what to serve where nothing better can be had.

        Parameters
        ----------
        instead
            What the workflow would rather have than the latest answer with a text.
        """
        if instead is not None and instead.number in self.held:
            return instead.number
        with_text = [each for each in self.held.values() if each.answer.text.strip()]
        latest = next(reversed(with_text or list(self.held.values())), None)
        return None if latest is None else latest.answer.number

    async def close(self, served: OpenAnswer | None, *, error: str | None) -> None:
        """End those that do not serve.

        Parameters
        ----------
        error
            The code of what they end in.
        """
        others = [held for held in self.held.values() if held.opened is not served]
        for held in others:
            held.stage.end_stage(error)
        for held in others:
            await held.opened.aclose()

    def _failed(self, model_id: str, stage: LedgerEntry, error: Exception) -> None:
        """Note that an answer cannot be had; what did not begin is noted already."""
        self.course.failed = True
        calls, failure = self.entry.calls, error
        if isinstance(error, _TooLongError | TimeoutError):
            self.course.ceiling = "bytes" if isinstance(error, _TooLongError) else "time"
            failure = UpstreamTimeoutError("the answer could not be held back any longer")
            stage.end_stage(HOLD_BACK_EXCEEDED)
            if stage.served is None and any(call.model_id == model_id for call in calls):
                self.failures.append((self.entry.overdue(model_id), failure))
        else:
            stage.end_stage(code_of(error))
        if stage.served is not None and isinstance(failure, UpstreamError):
            self.failures.append((calls[stage.served_at], failure))

    async def _begin(self, step: Draft, stage: LedgerEntry) -> tuple[OpenAnswer, bool]:
        """Return an answer that has begun, and whether it has more in it than was asked for."""
        model_id, fields = step.model_id, self.request.body.chat()
        if step.sample:
            fields = _varied(fields, step.sample)
        if (
            not self.wants_logprobs
            or fields.get(_LOGPROBS, b"").strip() == b"true"
            or model_id in self.without_logprobs
        ):
            return await self._call(model_id, fields, stage), False
        try:
            opened = await self._call(model_id, {**fields, _LOGPROBS: b"true"}, stage)
        except UpstreamRejectedError:
            # Perhaps for the log-probabilities, which not every endpoint knows.
            opened = await self._call(model_id, fields, stage)
            self.without_logprobs.add(model_id)
            return opened, False
        return opened, True

    async def _call(self, model_id: str, fields: Fields, stage: LedgerEntry) -> OpenAnswer:
        """Ask for a chat completion, whatever the client speaks: workflows read nothing else.

        What a chat completion cannot say is no draft's, but for an upstream of the client's
        dialect in the end.
        """
        body = Body(fields, untold=self.request.body.untold)
        return await self.dispatcher.open(
            msgspec.structs.replace(self.request, body=body),
            FirstOf((model_id,)),
            stage,
            afford=self.afford,
            failures=self.failures,
        )

    async def _read(
        self, opened: OpenAnswer, stage: LedgerEntry, *, late: float, longer: bool
    ) -> tuple[list[Chunk], bool]:
        """Read an answer to its end, or to where it exceeds what is held back."""
        hold, clock = self.hold, self.dispatcher.clock
        chunks = list(opened.prelude)
        n_bytes = sum([len(chunk.data) for chunk in chunks])
        reading = self.dispatcher.hold(opened, stage)
        too_late = False
        while not (too_late := clock() >= late):
            self._n_bytes[id(stage)] = n_bytes
            if sum(self._n_bytes.values()) > hold.max_bytes:
                break
            chunk = await anext(reading, None)
            if chunk is None:
                return chunks, True
            stage.saw(chunk)
            chunks.append(chunk)
            n_bytes += len(chunk.data)
        if not longer:
            raise TimeoutError if too_late else _TooLongError
        return chunks, False

    def _kept(
        self,
        number: int,
        opened: OpenAnswer,
        stage: LedgerEntry,
        chunks: list[Chunk],
        *,
        strips: bool,
        is_whole: bool,
        took_s: float,
    ) -> HeldAnswer:
        stage.whole()
        read = read_held(chunks, stream=self.request.stream)
        call = self.entry.calls[stage.served_at]
        answer = Answer(
            number=number,
            model_id=call.model_id,
            text="" if read is None else read.text,
            output_tokens=None if call.usage is None else call.usage.output_tokens,
            cost_usd=call.cost_usd,
            latency_s=took_s,
            finish_reason=None if read is None else read.finish_reason,
            logprobs=None if read is None else read.logprobs,
        )
        if self.entry.keeps.answers:
            self.course.drafts[number] = answer
        self.held[number] = held = HeldAnswer(
            opened=opened,
            stage=stage,
            chunks=chunks,
            strips=strips,
            is_whole=is_whole,
            took_s=took_s,
            answer=answer,
        )
        return held


def _varied(fields: Fields, sample: int) -> Fields:
    """Return a request that is asked once more, for another answer."""
    varied = {**fields}
    if varied.get("temperature", b"null").strip() in _GREEDY:
        varied["temperature"] = b"1"
    seed = varied.get("seed", b"").strip()
    if seed.removeprefix(b"-").isdigit():
        varied["seed"] = b"%d" % (int(seed) + sample)
    return varied
