"""The seam of jobs: files, what is to be done with them, and what came of it so far.

Three things make it. *Records* say what there is of each owner. *Parts* are the contents of a box,
by number: pieces of a file, or answers by the line that they belong to. *Leases* say which process
works at what; what a process writes with a `Fence` is only written while it still holds the lease,
so that one that was thought dead undoes nothing.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

import msgspec


class Fence(NamedTuple):
    """The lease that a write needs, and who has to hold it."""

    lease: str
    holder: str


class JobRecord(msgspec.Struct, frozen=True, kw_only=True):
    """Something that an owner has.

    Attributes
    ----------
    created_at
        Seconds since the epoch.
    is_open
        Whether somebody has yet to work at it.
    """

    kind: str
    record_id: str
    owner: str
    created_at: float
    is_open: bool = False
    value: bytes = b""


class Jobs(Protocol):
    """Records, parts and leases that survive whoever made them."""

    async def now(self) -> float:
        """Return the time by which lifetimes and leases end, in seconds since the epoch.

        It is the same for all processes, however their own clocks are set.

        Raises
        ------
        StoreError
        """
        ...

    async def put(
        self, record: JobRecord, *, lifetime_s: float, fence: Fence | None = None
    ) -> bool:
        """Add a record or replace it; return whether the fence let that happen.

        Raises
        ------
        StoreError
        """
        ...

    async def get(self, kind: str, record_id: str) -> JobRecord | None:
        """Return a record.

        Raises
        ------
        StoreError
        """
        ...

    async def of_owner(self, kind: str, owner: str) -> tuple[JobRecord, ...]:
        """Return the records of an owner, the latest first.

        Raises
        ------
        StoreError
        """
        ...

    async def open_ids(self, kind: str) -> tuple[str, ...]:
        """Return the ids of all records that somebody has yet to work at, the oldest first.

        Raises
        ------
        StoreError
        """
        ...

    async def remove(self, kind: str, record_id: str) -> None:
        """Forget a record, if there is one.

        Raises
        ------
        StoreError
        """
        ...

    async def put_parts(
        self,
        box: str,
        parts: Mapping[int, bytes],
        *,
        lifetime_s: float,
        fence: Fence | None = None,
    ) -> bool:
        """Put parts into a box, in place of those of the same numbers; all of them or none.

        Returns whether the fence let that happen. The whole box is kept for `lifetime_s` from now.

        Raises
        ------
        StoreError
            It is then not known whether it happened.
        """
        ...

    async def parts(self, box: str, numbers: Sequence[int]) -> list[bytes | None]:
        """Return the parts of these numbers, None where there is none.

        Raises
        ------
        StoreError
        """
        ...

    async def numbers(self, box: str) -> tuple[int, ...]:
        """Return the numbers of all parts of a box, in order.

        Raises
        ------
        StoreError
        """
        ...

    async def drop(self, box: str) -> None:
        """Forget a box with all its parts.

        Raises
        ------
        StoreError
        """
        ...

    async def hold(self, name: str, holder: str, *, lease_s: float) -> bool:
        """Take a lease for `lease_s`, or renew it; return False where somebody else holds it.

        Raises
        ------
        StoreError
        """
        ...

    async def let_go(self, name: str, holder: str) -> None:
        """Give a lease back, where this holder has it.

        Raises
        ------
        StoreError
        """
        ...
