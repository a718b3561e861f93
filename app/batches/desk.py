"""Where batches are handed in, asked about and cancelled, each by whom it belongs to."""

from collections.abc import Callable
from dataclasses import dataclass

import msgspec

from app.access.guard import Caller
from app.batches.clock import StoreClock
from app.batches.files import Files, unavailable
from app.batches.records import BATCH, Batch, stored_batch
from app.errors import (
    BatchFileNotFoundError,
    BatchNotFoundError,
    BatchStateError,
    InvalidRequestError,
)
from app.ids import new_id
from app.lineage import SESSION_HEADER
from app.stores.base import StoreError
from app.stores.jobs import Jobs

_OF_ALL = (("x-route-affinity", "off"),)
"""Requests of a batch are no conversation, even where they begin alike. What a client says of it
follows, and wins."""

WINDOW_S = 86_400.0
"""How long a batch may take: `completion_window: 24h`."""


class BatchTerms(msgspec.Struct, frozen=True, kw_only=True):
    """What a client says of a batch.

    Attributes
    ----------
    headers
        Routing headers, names in lower case, that all of its requests get.
    """

    endpoint: str
    input_file_id: str
    metadata: dict[str, str] | None = None
    headers: tuple[tuple[str, str], ...] = ()
    budget_usd: float | None = None
    capacity: dict[str, int] = {}
    output_lifetime_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """Takes batches in; who works at them is told of each.

    Parameters
    ----------
    wake
        Called when there is something to do.
    """

    jobs: Jobs
    files: Files
    clock: StoreClock
    wake: Callable[[], None] = lambda: None

    async def create(self, caller: Caller, terms: BatchTerms) -> Batch:
        """Take a batch in.

        Raises
        ------
        InvalidRequestError
            If its file is none of requests.
        BatchFileNotFoundError
        StoreUnavailableError
        """
        try:
            file = await self.files.find(caller.key_id, terms.input_file_id)
        except BatchFileNotFoundError as error:
            raise BatchFileNotFoundError(error.message, param="input_file_id") from error
        if file.purpose != "batch":
            raise InvalidRequestError(
                f"the file {file.file_id} has the purpose {file.purpose!r}; a batch needs one that "
                "was handed in for the purpose 'batch'",
                param="input_file_id",
            )
        batch_id = new_id("batch_")
        try:
            now = await self.clock.set()
        except StoreError as error:
            raise unavailable("the batch cannot be taken in", error) from error
        batch = Batch(
            batch_id=batch_id,
            owner=caller.key_id,
            key_digest=None if caller.key is None else caller.key.digest,
            endpoint=terms.endpoint,
            input_file_id=file.file_id,
            completion_window="24h",
            metadata=terms.metadata,
            headers=(*_OF_ALL, *terms.headers, (SESSION_HEADER.decode(), batch_id)),
            budget_usd=terms.budget_usd,
            capacity=terms.capacity,
            output_lifetime_s=self.files.lifetime_s
            if terms.output_lifetime_s is None
            else terms.output_lifetime_s,
            created_at=now,
            expires_at=now + WINDOW_S,
            forget_at=now + WINDOW_S + self.files.lifetime_s,
        )
        try:
            await self.jobs.put(batch.record(), lifetime_s=batch.forget_at - now)
        except StoreError as error:
            raise unavailable("the batch cannot be taken in", error) from error
        self.wake()
        return batch

    async def find(self, caller: Caller, batch_id: str) -> Batch:
        """Return a batch of this caller.

        Raises
        ------
        BatchNotFoundError
            If there is none, or it belongs to somebody else.
        StoreUnavailableError
        """
        try:
            record = await self.jobs.get(BATCH, batch_id)
            if record is None or record.owner != caller.key_id:
                message = f"No batch found with id '{batch_id[:100]}'."
                raise BatchNotFoundError(message, param="id")
            return await self._as_it_is(stored_batch(record))
        except StoreError as error:
            raise unavailable("batches cannot be looked up", error) from error

    async def of(self, caller: Caller) -> tuple[Batch, ...]:
        """Return the batches of a caller, the latest first.

        Raises
        ------
        StoreUnavailableError
        """
        try:
            records = await self.jobs.of_owner(BATCH, caller.key_id)
        except StoreError as error:
            raise unavailable("batches cannot be listed", error) from error
        return tuple(map(stored_batch, records))

    async def current(self, batches: tuple[Batch, ...]) -> list[Batch]:
        """Return batches as they are, those too that are about to be cancelled.

        Raises
        ------
        StoreUnavailableError
        """
        try:
            return [await self._as_it_is(each) for each in batches]
        except StoreError as error:
            raise unavailable("batches cannot be listed", error) from error

    async def cancel(self, caller: Caller, batch_id: str) -> Batch:
        """Have nothing more of a batch be asked; what is on its way is answered.

        Raises
        ------
        BatchStateError
            If it is over.
        BatchNotFoundError, StoreUnavailableError
        """
        batch = await self.find(caller, batch_id)
        if batch.is_over:
            raise BatchStateError(f"Cannot cancel a batch with status '{batch.status}'.")
        try:
            now = await self.clock.set()
            await self.jobs.put_parts(
                cancel_box(batch_id),
                {0: msgspec.json.encode(batch.cancelling_at or now)},
                lifetime_s=max(1.0, batch.forget_at - now),
            )
        except StoreError as error:
            raise unavailable("the batch cannot be cancelled", error) from error
        self.wake()
        return batch.cancelling(batch.cancelling_at or now)

    async def reads(self, file_id: str, caller: Caller) -> Batch | None:
        """Return a batch that has yet to read a file.

        Raises
        ------
        StoreUnavailableError
        """
        for batch in await self.of(caller):
            if batch.input_file_id == file_id and not batch.is_over:
                return batch
        return None

    async def _as_it_is(self, batch: Batch) -> Batch:
        if batch.is_over:
            return batch
        at = await cancelled_at(self.jobs, batch.batch_id)
        return batch if at is None else batch.cancelling(at)


def cancel_box(batch_id: str) -> str:
    """Return where it stands that a batch is to be cancelled."""
    return f"{batch_id}:cancel"


async def cancelled_at(jobs: Jobs, batch_id: str) -> float | None:
    """Return when somebody wanted a batch cancelled, in seconds since the epoch.

    Raises
    ------
    StoreError
    """
    (value,) = await jobs.parts(cancel_box(batch_id), (0,))
    return None if value is None else msgspec.json.decode(value, type=float)
