"""How the batches stand that are not over, whoever works at them; for the metrics."""

import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from app.batches.records import BATCH, Batch, stored_batch
from app.stores.jobs import Jobs

LOOK_EVERY_S = 5.0
MOST = 100
"""So many are looked at, the oldest."""
OPEN = ("validating", "in_progress", "finalizing", "cancelling")


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How they stand.

    Attributes
    ----------
    by_status
        How many are in each state of `OPEN`.
    oldest_s
        The age of the oldest; 0 where there is none.
    idle_s
        Of those that were begun: for how long nothing came of the one that has had to wait the
        longest for anything, as far as this process has looked on; 0 where there is none.
    spent_usd, budget_usd
        Of those with a budget, together.
    """

    by_status: Mapping[str, int]
    oldest_s: float
    idle_s: float
    spent_usd: float
    budget_usd: float


@dataclass(slots=True, kw_only=True)
class Standings:
    """Looks at what is stored, and remembers when anything last came of each batch.

    Parameters
    ----------
    now
        Seconds since the epoch, by the clock of the store.
    clock
        Seconds that no change of the time of day moves.
    """

    jobs: Jobs
    now: Callable[[], float]
    clock: Callable[[], float] = time.monotonic
    _moved: dict[str, tuple[tuple[str, int], float]] = field(default_factory=dict)
    """By id: how far it was, and since when."""
    _looked_at: float | None = None

    async def look(self) -> Standing | None:
        """Return how batches stand; None where that was told a moment ago.

        Raises
        ------
        StoreError
        """
        at = self.clock()
        if self._looked_at is not None and at < self._looked_at + LOOK_EVERY_S:
            return None
        self._looked_at = at
        found: list[Batch] = []
        for batch_id in (await self.jobs.open_ids(BATCH))[:MOST]:
            record = await self.jobs.get(BATCH, batch_id)
            if record is not None and record.is_open:
                found.append(stored_batch(record))
        counted = Counter(_state(each) for each in found)
        paid = [each for each in found if each.budget_usd is not None]
        return Standing(
            by_status={status: counted[status] for status in OPEN},
            oldest_s=max((max(0.0, self.now() - each.created_at) for each in found), default=0.0),
            idle_s=self._idle_s(found, at),
            spent_usd=sum(each.counts.cost_usd for each in paid),
            budget_usd=sum(each.budget_usd or 0.0 for each in paid),
        )

    def _idle_s(self, found: list[Batch], at: float) -> float:
        moved, longest_s = {}, 0.0
        for each in found:
            far = _state(each), each.counts.completed + each.counts.failed
            before = self._moved.get(each.batch_id)
            moved[each.batch_id] = before if before is not None and before[0] == far else (far, at)
            if far[0] != "validating":
                longest_s = max(longest_s, at - moved[each.batch_id][1])
        self._moved = moved
        return longest_s


def _state(batch: Batch) -> str:
    at = batch.cancelling_at
    return batch.status if at is None else batch.cancelling(at).status
