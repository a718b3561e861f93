"""The files that a batch leaves: answers, and errors."""

from app.batches.asking import Stop
from app.batches.door import BatchLine
from app.batches.files import FileWriter
from app.batches.lines import Result, failure
from app.batches.progress import BLOCK, Progress
from app.batches.records import StoredFile
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

    Raises
    ------
    BatchFileNotFoundError, LostLeaseError, StoreError
    """
    await progress.save(status="finalizing", finalizing_at=progress.now())
    answers, errors = (
        FileWriter(progress.files, _new_file(progress, kind), progress.fence)
        for kind in ("output", "error")
    )
    block: list[BatchLine] = []

    async def write() -> None:
        for line, found in zip(block, await progress.results(block), strict=True):
            result = _unasked(line, stopped) if found is None else found
            await (answers if result.ok else errors).write([bytes(result.line)])
        block.clear()

    async for line in progress.lines():
        block.append(line)
        if len(block) >= BLOCK:
            await write()
    await write()
    output_file, error_file = await answers.close(), await errors.close()
    status, at = _ENDS[stopped]
    await progress.save(
        output_file_id=None if output_file is None else output_file.file_id,
        error_file_id=None if error_file is None else error_file.file_id,
        status=status,
        **{at: progress.now()},
    )
    await progress.forget_results()


def _unasked(line: BatchLine, stopped: Stop | None) -> Result:
    error = _UNASKED[Stop.EXPIRED if stopped is None else stopped]
    return failure(line, new_id("batch_req_"), error)


def _new_file(progress: Progress, kind: str) -> StoredFile:
    batch = progress.batch
    return progress.files.new(
        batch.owner,
        filename=f"{batch.batch_id}_{kind}.jsonl",
        purpose="batch_output",
        lifetime_s=batch.output_lifetime_s,
    )
