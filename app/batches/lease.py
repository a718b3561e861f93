"""The lease of a batch: what says that this process works at it, and lets it write."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from app.batches.patience import patiently
from app.batches.records import BATCH, stored_batch
from app.stores.jobs import Fence, Jobs


class LostLeaseError(Exception):
    """Another process works at the batch by now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """The lease of one batch, held by one process.

    Parameters
    ----------
    lease_s
        For how long it is taken each time.
    """

    jobs: Jobs
    batch_id: str
    holder: str
    lease_s: float

    @property
    def fence(self) -> Fence:
        """What writes need."""
        return Fence(self.batch_id, self.holder)

    async def renew(self) -> None:
        """Hold it for longer; where it ran out, and nobody worked at the batch, take it again.

        Raises
        ------
        LostLeaseError, StoreError
        """
        if not await self.jobs.hold(self.batch_id, self.holder, lease_s=self.lease_s):
            raise LostLeaseError
        record = await self.jobs.get(BATCH, self.batch_id)
        if record is None or stored_batch(record).worker in (None, self.holder):
            return
        # Somebody else did, and is done with it, or dead: what this process knows is old.
        await self.jobs.let_go(self.batch_id, self.holder)
        raise LostLeaseError

    async def write(self, put: Callable[[Fence], Awaitable[bool]]) -> None:
        """Write something, as often as it takes while the store is gone, or full.

        Parameters
        ----------
        put
            Returns whether the fence let it happen.

        Raises
        ------
        LostLeaseError
        """
        what = f"batch {self.batch_id}"
        while not await patiently(what, lambda: put(self.fence)):
            await patiently(what, self.renew)
