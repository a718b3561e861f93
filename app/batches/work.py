"""The life of one batch, read downward."""

from dataclasses import dataclass

from app.batches.asking import Asking, Stop
from app.batches.checking import check_file
from app.batches.progress import Progress
from app.batches.records import Batch, Counts, Fault
from app.batches.writing import fail, finish
from app.errors import BatchFileNotFoundError, UnauthenticatedError


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """Works at one batch, from wherever it stands.

    Parameters
    ----------
    max_line_bytes, max_lines
        Of a file of requests.
    """

    progress: Progress
    asking: Asking
    max_lines: int
    max_line_bytes: int

    @property
    def batch(self) -> Batch:
        """The batch as it is."""
        return self.progress.batch

    def stop(self, why: Stop) -> None:
        """Ask nothing more; what is on its way is waited for."""
        self.asking.stop(why)

    async def run(self) -> None:
        """Work until the batch is over, or this is stopped for another process to go on.

        Raises
        ------
        LostLeaseError, StoreError, StoreUnavailableError
            Another process may go on, or this one once more.
        """
        try:
            if not await self._is_sound():
                return
            await self.progress.take_up()
            await self.asking.run()
            if self.asking.stopped is Stop.PAUSED:
                await self.progress.save()
                return
            await finish(self.progress, self.asking.stopped)
        except BatchFileNotFoundError as error:
            await fail(self.progress, Fault(code="file_not_found", message=error.message))
        except UnauthenticatedError as error:
            await fail(self.progress, Fault(code="invalid_api_key", message=error.message))

    async def _is_sound(self) -> bool:
        progress = self.progress
        file = await progress.open()
        if progress.batch.status != "validating":
            return True
        n_lines, faults = await check_file(
            progress.files.lines(file),
            endpoint=progress.batch.endpoint,
            max_lines=self.max_lines,
            max_line_bytes=self.max_line_bytes,
        )
        if faults:
            await fail(progress, *faults)
            return False
        await progress.save(
            status="in_progress", in_progress_at=progress.now(), counts=Counts(total=n_lines)
        )
        return True
