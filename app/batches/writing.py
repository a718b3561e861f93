"""The files that a batch leaves: answers, and errors."""

from app.batches.asking import Stop
from app.batches.door import BatchLine
from app.batches.files import FileWriter
from app.batches.lines import Result, failure
from app.batches.progress import BLOCK, Progress, counted
from app.batches.records import Counts, Fault, StoredFile
from app.ids import new_id

_ENDS = {
    None: ("completed", "completed_at"),
    Stop.CANCELLED: ("cancelled", "cancelled_at"),
    Stop.EXPIRED: ("expired", "expired_at"),
}
_UNASKED = {
    Stop.CANCELLED: (
        "batch_cancelled",
        "This request was not executed: the batch was cancelled.",
    ),
    Stop.EXPIRED: (
        "batch_expired",
        "This request could not be executed before the completion window expired.",
    ),
}


async def finish(progress: Progress, stopped: Stop | None) -> None:
    """Write the files, in the order of the requests, and say that the batch is over.

    Of a batch that was stopped nothing is kept before: whoever takes it up in the middle of this
    finds again that it is to be stopped, and asks nothing.

    Raises
    ------
    BatchFileNotFoundError, LostLeaseError, StoreError
    """
    if stopped is None:
        await progress.save(status="finalizing", finalizing_at=progress.now())
    files = _Files(progress)
    block: list[BatchLine] = []

    async def write() -> None:
        numbers = [line.number for line in block]
        for line, found in zip(block, await progress.results(numbers), strict=True):
            await files.write(_unasked(line, stopped) if found is None else found)
        block.clear()

    async for line in progress.lines():
        block.append(line)
        if len(block) >= BLOCK:
            await write()
    await write()
    status, at = _ENDS[stopped]
    await progress.save(**await files.close(), status=status, **{at: progress.now()})
    await progress.forget_results()


async def fail(progress: Progress, *faults: Fault) -> None:
    """Say that a batch failed, and why; what was answered before was paid for, and is kept.

    Raises
    ------
    LostLeaseError, StoreError
    """
    files = _Files(progress)
    known = progress.batch.counts
    counts = Counts(total=known.total, retried=known.retried)
    numbers = await progress.answered()
    for start in range(0, len(numbers), BLOCK):
        for found in await progress.results(numbers[start : start + BLOCK]):
            if found is not None:
                await files.write(found)
                counts = counted(counts, found)
    told = await files.close()
    await progress.save(
        **told, counts=counts, status="failed", failed_at=progress.now(), faults=faults
    )
    await progress.forget_results()


class _Files:
    """The file of answers and that of errors."""

    def __init__(self, progress: Progress) -> None:
        self._answers, self._errors = (
            FileWriter(progress.files, _new_file(progress, kind), progress.lease)
            for kind in ("output", "error")
        )

    async def write(self, result: Result) -> None:
        await (self._answers if result.ok else self._errors).write([bytes(result.line)])

    async def close(self) -> dict[str, str | None]:
        """Return what the batch tells of them."""
        answers, errors = await self._answers.close(), await self._errors.close()
        return {
            "output_file_id": None if answers is None else answers.file_id,
            "error_file_id": None if errors is None else errors.file_id,
        }


def _unasked(line: BatchLine, stopped: Stop | None) -> Result:
    error = _UNASKED[Stop.EXPIRED if stopped is None else stopped]
    return failure(line, new_id("batch_req_"), error)


def _new_file(progress: Progress, kind: str) -> StoredFile:
    batch = progress.batch
    return progress.files.new(
        batch.owner,
        # Whoever writes it once more, after a crash or with a full disk, writes over it.
        file_id=f"file-{batch.batch_id.removeprefix('batch_')}-{kind}",
        filename=f"{batch.batch_id}_{kind}.jsonl",
        purpose="batch_output",
        lifetime_s=batch.output_lifetime_s,
    )
