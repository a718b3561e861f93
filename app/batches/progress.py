"""How far a batch is: what of it is kept, so that whoever takes it up goes on from there."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field

import msgspec

from app.batches.door import BatchLine
from app.batches.files import Files
from app.batches.lease import Lease, LostLeaseError
from app.batches.lines import Result, decode_result, is_blank, read_line
from app.batches.patience import patiently
from app.batches.records import Batch, Counts, StoredFile
from app.stores.base import StoreError
from app.stores.jobs import Fence, Jobs

_log = logging.getLogger(__name__)

BLOCK = 200
"""Lines that are looked at together."""
_SAVE_EVERY_S = 1.0
_LATE_S = 3600.0
"""So long an answer is kept that came to a process which does not work at the batch any more."""


@dataclass(slots=True, kw_only=True)
class Progress:
    """Keeps what comes of a batch, within the lease that this process holds.

    Parameters
    ----------
    on_line
        Told how each request ended: `completed`, `failed` or `left_out`.
    now
        Seconds since the epoch, by the clock of the store.

    Attributes
    ----------
    done
        Lines whose result is kept.
    begun
        Those that were on their way when a process died: how often, and to which model, if it was
        assigned one.
    answered_before
        Lines of a planned batch that were answered before it was taken up, without what was said.
    """

    batch: Batch
    jobs: Jobs
    files: Files
    lease: Lease
    now: Callable[[], float]
    on_line: Callable[[str], None] = lambda _: None
    done: set[int] = field(default_factory=set)
    begun: dict[int, tuple[int, str | None]] = field(default_factory=dict)
    answered_before: list[tuple[int, Result]] = field(default_factory=list)
    _file: StoredFile | None = None
    _saved_at: float = 0.0
    _saved: Batch | None = None
    _saving: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def open(self) -> StoredFile:
        """Return the file of requests.

        Raises
        ------
        BatchFileNotFoundError, StoreUnavailableError
        """
        self._file = await self.files.find(self.batch.owner, self.batch.input_file_id)
        return self._file

    async def lines(self) -> AsyncIterator[BatchLine]:
        """Yield the requests of a file that was checked."""
        assert self._file is not None  # noqa: S101  (it was opened)
        number = -1
        async for raw in self.files.lines(self._file, read=self._parts):
            number += 1
            if not is_blank(raw, number):
                yield read_line(raw, number, endpoint=self.batch.endpoint)

    async def take_up(self) -> None:
        """Find out what is done already, and what was on its way when a process died.

        Raises
        ------
        StoreError, LostLeaseError
        """
        counts = Counts(total=self.batch.counts.total, retried=self.batch.counts.retried)
        numbers = await self.answered()
        for start in range(0, len(numbers), BLOCK):
            block = numbers[start : start + BLOCK]
            for number, value in zip(block, await self._parts(self._out, block), strict=True):
                if value is None:
                    continue
                result = decode_result(value)
                self.done.add(number)
                counts = counted(counts, result)
                if self.batch.is_planned:
                    light = msgspec.structs.replace(result, line=msgspec.Raw(b"null"))
                    self.answered_before.append((number, light))
        begun = [each for each in await self.jobs.numbers(self._begin) if each not in self.done]
        for number, value in zip(begun, await self.jobs.parts(self._begin, begun), strict=True):
            if value is not None:
                self.begun[number] = msgspec.json.decode(value, type=tuple[int, str | None])
        if self.begun:
            _log.warning(
                "batch %s: %d requests were on their way when their process ended; asking again",
                *(self.batch.batch_id, len(self.begun)),
            )
        retried = counts.retried + len(self.begun)
        await self.save(counts=msgspec.structs.replace(counts, retried=retried))

    async def begin(self, line: BatchLine, *, times: int, model: str | None) -> None:
        """Keep that a request is about to be asked.

        Raises
        ------
        LostLeaseError
        """
        await self._put(self._begin, line.number, msgspec.json.encode((times, model)))

    async def late_answer(self, line: BatchLine) -> Result | None:
        """Return what came of a request in a process that was thought dead, if it told so."""
        (value,) = await self._parts(self._late, (line.number,))
        if value is None:
            return None
        counts = self.batch.counts
        fewer = msgspec.structs.replace(counts, retried=counts.retried - 1)
        self.batch = msgspec.structs.replace(self.batch, counts=fewer)
        return decode_result(value)

    async def record(self, line: BatchLine, result: Result) -> None:
        """Keep what came of a request; only then it counts.

        Raises
        ------
        LostLeaseError
            It is kept for whoever works at the batch by now, see `late_answer`.
        """
        try:
            await self._put(self._out, line.number, result.encoded())
        except LostLeaseError:
            await self._hand_over(line, result)
            raise
        self.done.add(line.number)
        self.batch = msgspec.structs.replace(self.batch, counts=counted(self.batch.counts, result))
        self.on_line("left_out" if result.left_out else "completed" if result.ok else "failed")
        if time.monotonic() >= self._saved_at + _SAVE_EVERY_S:
            try:
                await self.save()
            except StoreError as error:
                # The next one tells it, too; what else is on its way must not end for this.
                _log.warning("batch %s: %s", self.batch.batch_id, error)

    async def answered(self) -> tuple[int, ...]:
        """Return the numbers of the requests of which something came, in order.

        Raises
        ------
        StoreError
        """
        return await self.jobs.numbers(self._out)

    async def results(self, numbers: Sequence[int]) -> list[Result | None]:
        """Return what came of requests, None of those that were not asked."""
        values = await self._parts(self._out, numbers)
        return [None if value is None else decode_result(value) for value in values]

    async def save(self, **changes: object) -> None:
        """Change the batch, and keep it.

        Raises
        ------
        LostLeaseError, StoreError
        """
        self.batch = msgspec.structs.replace(self.batch, **changes)
        async with self._saving:  # what is older must not come later
            self._saved_at, batch = time.monotonic(), self.batch
            if not await self._save(batch):
                await self.lease.renew()
                if not await self._save(batch):
                    raise LostLeaseError
            self._saved = batch

    async def _save(self, batch: Batch) -> bool:
        return await self.jobs.put(
            batch.record(), lifetime_s=self._lifetime_s, fence=self.lease.fence
        )

    async def save_changes(self) -> None:
        """Keep the batch where it has changed since it was kept last.

        Raises
        ------
        LostLeaseError, StoreError
        """
        if self.batch is not self._saved:
            await self.save()

    async def forget_results(self) -> None:
        """Forget what stands in the files of answers and errors by now.

        Raises
        ------
        StoreError
        """
        for box in (self._out, self._begin, self._late):
            await self.jobs.drop(box)

    async def _put(self, box: str, number: int, value: bytes) -> None:
        """Write, as often as it takes: what was answered is paid for."""

        async def put(fence: Fence) -> bool:
            return await self.jobs.put_parts(
                box, {number: value}, lifetime_s=self._lifetime_s, fence=fence
            )

        await self.lease.write(put)

    async def _parts(self, box: str, numbers: Sequence[int]) -> list[bytes | None]:
        """Read, as often as it takes: a batch that ends here takes along what is on its way."""
        return await patiently(
            f"batch {self.batch.batch_id}", lambda: self.jobs.parts(box, numbers)
        )

    async def _hand_over(self, line: BatchLine, result: Result) -> None:
        late = {line.number: result.encoded()}
        await patiently(
            f"batch {self.batch.batch_id}",
            lambda: self.jobs.put_parts(self._late, late, lifetime_s=_LATE_S),
        )

    @property
    def _lifetime_s(self) -> float:
        return max(1.0, self.batch.forget_at - self.now())

    @property
    def _out(self) -> str:
        return f"{self.batch.batch_id}:out"

    @property
    def _begin(self) -> str:
        return f"{self.batch.batch_id}:begun"

    @property
    def _late(self) -> str:
        return f"{self.batch.batch_id}:late"


def counted(counts: Counts, result: Result) -> Counts:
    """Return counts with one more result among them."""
    models = counts.models
    if result.model is not None and result.ok:
        models = {**models, result.model: models.get(result.model, 0) + 1}
    return Counts(
        total=counts.total,
        completed=counts.completed + result.ok,
        failed=counts.failed + (not result.ok),
        retried=counts.retried,
        left_out=counts.left_out + result.left_out,
        input_tokens=counts.input_tokens + result.input_tokens,
        output_tokens=counts.output_tokens + result.output_tokens,
        cached_tokens=counts.cached_tokens + result.cached_tokens,
        reasoning_tokens=counts.reasoning_tokens + result.reasoning_tokens,
        cost_usd=counts.cost_usd + result.cost_usd,
        models=models,
    )
