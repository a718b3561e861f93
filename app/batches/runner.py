"""What of all batches this process works at; a lease says so to the others."""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import msgspec

from app.access.guard import Caller
from app.batches.asking import Asking, Stop
from app.batches.clock import StoreClock
from app.batches.desk import cancelled_at
from app.batches.door import Door
from app.batches.files import Files
from app.batches.lease import Lease, LostLeaseError
from app.batches.patience import RETRY_S
from app.batches.progress import Progress
from app.batches.records import BATCH, Batch, Fault, stored_batch
from app.batches.standing import Standing, Standings
from app.batches.work import Work
from app.batches.writing import fail
from app.errors import StoreUnavailableError
from app.ids import new_id
from app.stores.base import StoreError
from app.stores.jobs import Jobs

_log = logging.getLogger(__name__)

_POLL_S = 2.0
_OTHERS_FIRST_S = 10 * RETRY_S
"""So long after the store was gone nobody else's batch is taken: who works at it renews its lease
within `RETRY_S` or so of its return."""
_RENEWALS = 4
"""So often within its time a lease is renewed, and looked at whether a batch was cancelled."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """Whom the runner tells, for the metrics."""

    running: Callable[[int], None] = lambda _: None
    line: Callable[[str], None] = lambda _: None
    over: Callable[[str], None] = lambda _: None
    standing: Callable[[Standing], None] = lambda _: None


@dataclass(slots=True, kw_only=True)
class Runner:
    """Works at batches until it is closed.

    Parameters
    ----------
    caller_of
        Returns who a key stands for, by its digest.
    max_running, concurrency
        Batches at once, and requests of each.
    lease_s
        How long after this process died another one takes over.
    grace_s
        How long requests that are on their way may take when this process ends.
    """

    jobs: Jobs
    clock: StoreClock
    files: Files
    door: Door
    caller_of: Callable[[str | None], Awaitable[Caller]]
    max_running: int
    concurrency: int
    max_lines: int
    max_line_bytes: int
    lease_s: float
    grace_s: float
    told: Told = field(default_factory=Told)
    holder: str = field(default_factory=lambda: new_id("runner-"))
    _tasks: dict[str, asyncio.Task[None]] = field(default_factory=dict)
    _works: dict[str, Work] = field(default_factory=dict)
    _owners: dict[str, str] = field(default_factory=dict)
    _woken: asyncio.Event = field(default_factory=asyncio.Event)
    _standings: Standings = field(init=False)
    _others_first_until: float = 0.0
    """Until then whoever works at a batch may show that it lives; of `time.monotonic`."""
    _closing: bool = False

    def __post_init__(self) -> None:
        self._standings = Standings(jobs=self.jobs, now=self.clock)

    def wake(self) -> None:
        """Look at once whether there is something to do."""
        self._woken.set()

    async def run(self) -> None:
        """Look for batches until cancelled."""
        while True:
            self._woken.clear()
            try:
                await self.clock.set()
                await self._look()
                standing = await self._standings.look()
                if standing is not None:
                    self.told.standing(standing)
            except StoreError as error:
                _log.warning("batches cannot be looked for: %s", error)
                self._others_first_until = time.monotonic() + _OTHERS_FIRST_S
            except Exception:  # noqa: BLE001  (the next look may go better)
                _log.exception("batches cannot be looked for")
            try:
                async with asyncio.timeout(_POLL_S):
                    await self._woken.wait()
            except TimeoutError:
                continue

    async def aclose(self) -> None:
        """Have others go on, once what is on its way is answered, or did not come in time."""
        self._closing = True
        for work in self._works.values():
            work.stop(Stop.PAUSED)
        tasks = tuple(self._tasks.values())
        if tasks:
            await asyncio.wait(tasks, timeout=self.grace_s)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _look(self) -> None:
        for work in tuple(self._works.values()):
            await self._heed(work)
        if len(self._tasks) >= self.max_running or self._closing:
            return
        waiting: list[Batch] = []
        for batch_id in await self.jobs.open_ids(BATCH):
            if batch_id in self._tasks:
                continue
            record = await self.jobs.get(BATCH, batch_id)
            if record is None:
                await self.jobs.remove(BATCH, batch_id)  # it outlived its time
            elif record.is_open and self._may_take(batch := stored_batch(record)):
                waiting.append(batch)
        while waiting and len(self._tasks) < self.max_running:
            # Nobody's many batches keep those of others waiting for all of them.
            running = Counter(self._owners.values())
            batch = min(waiting, key=lambda each: (running[each.owner], each.created_at))
            waiting.remove(batch)
            if await self.jobs.hold(batch.batch_id, self.holder, lease_s=self.lease_s):
                self._begin(batch.batch_id, batch.owner)

    def _may_take(self, batch: Batch) -> bool:
        """Return whether a batch may be taken up of which nobody has the lease.

        Where the store was gone nobody could renew one: those that live go first.
        """
        return batch.status == "validating" or time.monotonic() >= self._others_first_until

    def _begin(self, batch_id: str, owner: str) -> None:
        self._owners[batch_id] = owner
        task = asyncio.create_task(self._work_at(batch_id), name=f"batch {batch_id}")
        self._tasks[batch_id] = task
        task.add_done_callback(lambda _: self._ended(batch_id))
        self.told.running(len(self._tasks))

    def _ended(self, batch_id: str) -> None:
        self._tasks.pop(batch_id, None)
        self._works.pop(batch_id, None)
        self._owners.pop(batch_id, None)
        self.told.running(len(self._tasks))
        self._woken.set()

    async def _work_at(self, batch_id: str) -> None:
        try:
            # As it is now that nobody else works at it.
            record = await self.jobs.get(BATCH, batch_id)
            if record is None or not record.is_open:
                return
            work = self._works[batch_id] = self._work(stored_batch(record))
            await self._heed(work)
            if self._closing:
                return
            await self._keep_hold(work)
            if work.batch.is_over:
                self.told.over(work.batch.status)
        except LostLeaseError:
            _log.warning("batch %s: another process works at it by now", batch_id)
        except (StoreError, StoreUnavailableError) as error:
            _log.warning("batch %s: %s; going on later", batch_id, error)
            await asyncio.sleep(RETRY_S)
        except Exception:  # noqa: BLE001  (one batch must not end all others)
            _log.exception("batch %s failed", batch_id)
            await self._give_up(batch_id)
        finally:
            try:
                await self.jobs.let_go(batch_id, self.holder)
            except StoreError as error:
                _log.warning("batch %s: its lease ends by itself: %s", batch_id, error)

    def _work(self, batch: Batch) -> Work:
        lease = Lease(
            jobs=self.jobs, batch_id=batch.batch_id, holder=self.holder, lease_s=self.lease_s
        )
        progress = Progress(
            batch=msgspec.structs.replace(batch, worker=self.holder),
            jobs=self.jobs,
            files=self.files,
            lease=lease,
            on_line=self.told.line,
            now=self.clock,
        )
        asking = Asking(
            progress=progress,
            door=self.door,
            caller_of=self.caller_of,
            concurrency=self.concurrency,
        )
        return Work(
            progress=progress,
            asking=asking,
            max_lines=self.max_lines,
            max_line_bytes=self.max_line_bytes,
        )

    async def _keep_hold(self, work: Work) -> None:
        """Work, renewing the lease.

        Where the store cannot be asked for longer than the lease, others may take over or not: who
        has the lease then goes on. What is on its way is answered in either case.
        """
        task = asyncio.create_task(work.run())
        renew_s = wait_s = self.lease_s / _RENEWALS
        try:
            while True:
                await asyncio.wait({task}, timeout=wait_s)
                if task.done():
                    break
                try:
                    await self._renew(work)
                    wait_s = renew_s
                except StoreError:
                    wait_s = min(renew_s, RETRY_S)
                except LostLeaseError:
                    work.stop(Stop.PAUSED)
                    await asyncio.wait({task})
                    break
            task.result()
        finally:
            if not task.done():
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)

    async def _renew(self, work: Work) -> None:
        await work.progress.lease.renew()
        await self._heed(work)
        await work.progress.save_changes()

    async def _heed(self, work: Work) -> None:
        """Stop a batch whose client wants that, or whose time is over."""
        batch = work.batch
        if batch.status == "finalizing" or batch.is_over:
            return
        at = await cancelled_at(self.jobs, batch.batch_id)
        if at is not None:
            # Requests may have been answered meanwhile: the batch as it is now.
            work.progress.batch = msgspec.structs.replace(work.batch, cancelling_at=at)
            work.stop(Stop.CANCELLED)
        elif self.clock() >= batch.expires_at:
            work.stop(Stop.EXPIRED)

    async def _give_up(self, batch_id: str) -> None:
        work = self._works.get(batch_id)
        if work is None:
            return
        fault = Fault(code="internal_error", message="The gateway failed to work at this batch.")
        try:
            await fail(work.progress, fault)
            self.told.over("failed")
        except LostLeaseError:
            _log.warning("batch %s: another process works at it by now", batch_id)
        except StoreError as error:
            _log.warning("batch %s: %s", batch_id, error)
