"""The store seam: what is shared between requests, processes and restarts.

Six narrow seams make one store. `Counters` count what is limited, `Keys` keep virtual keys,
`Blobs` keep small values that may be lost (sessions), `Answers` larger ones within bounds (cached
answers), `Registers` values that several processes add to (what requests taught), `Jobs` (see
`jobs.py`) what is to be done without anybody waiting for it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from app.stores.claims import Claim, Refusal, Settlement, Standing
from app.stores.jobs import Jobs
from app.stores.keys import Keys


class StoreError(Exception):
    """The store cannot be asked at the moment: unreachable, too slow, full or read-only."""


class StoreAnsweredError(StoreError):
    """The store answered, and said that it cannot do this; other things it may do."""


class StoreFullError(StoreAnsweredError):
    """The store has no room left: its disk, its quota, or its memory."""


class StoreNotAskedError(StoreError):
    """The store was not even asked, so that nothing happened there."""


class UnusableValueError(StoreNotAskedError):
    """What was to be said cannot be said to this store, now or later."""


class Counters(Protocol):
    """Rates (GCRA), concurrency and money; every call is atomic per scope."""

    async def admit(
        self, request_id: str, claims: Sequence[Claim], *, lifetime_s: float
    ) -> tuple[Standing, ...] | Refusal:
        """Take what a request claims from all scopes, or nothing.

        Rates follow GCRA with a burst of one whole window. What is claimed counts as in flight
        and reserved until it is settled, or for `lifetime_s`: a claim whose process died comes
        back by itself. A budget refuses when spent + reserved + `least_nusd` exceeds it, or
        when it is already spent; where it has less left than `reserve_nusd`, that is what is
        reserved, in every scope. The first claim that is refused is told, its limits in the
        order requests, tokens, concurrency, budgets.

        Parameters
        ----------
        request_id
            Made by the gateway, never by a client: one that is still held is a ValueError, since
            whoever could choose it could hide requests behind each other.
        claims
            Of scopes that differ. A claim without any limit is not counted.

        Raises
        ------
        StoreError
            The claims may have been taken; settling the request gives them back.
        StoreNotAskedError
            Nothing was taken.
        """
        ...

    async def settle(self, request_id: str, settlements: Sequence[Settlement]) -> None:
        """Replace what a request claimed by what it used; a second call changes nothing.

        A claim that outlived its `lifetime_s` has been given back, but is remembered for `LATE_S`:
        settled in that time, what it used is booked, once. After that, and for a request that
        claimed nothing, settling changes nothing.

        Raises
        ------
        StoreError
            It is then not known whether it happened; calling again is safe.
        """
        ...

    async def release_owner(self, owner: str) -> None:
        """Give back at once what the requests of a dead process claim; a second call does nothing.

        Nothing is booked for them. One that is settled after all, because its process lives, is
        booked once.

        Parameters
        ----------
        owner
            A process, or a run: all processes whose names begin with its name and a dot.

        Raises
        ------
        StoreError
            Some claims may have been given back; calling again is safe.
        """
        ...

    async def standing(self, claims: Sequence[Claim]) -> tuple[Standing, ...]:
        """Return where the limits stand, claiming nothing.

        Raises
        ------
        StoreError
        """
        ...


class Blobs(Protocol):
    """Small values that may be lost at any time; names are made of hashes by the caller."""

    async def get(self, name: str) -> bytes | None:
        """Return what was put under a name, or None.

        Raises
        ------
        StoreError
        """
        ...

    async def put(self, name: str, value: bytes, *, lifetime_s: float) -> None:
        """Keep a value for at most `lifetime_s`.

        Raises
        ------
        StoreError
        """
        ...


class Answers(Protocol):
    """Values of any size that may be lost at any time, bounded in all and for each owner."""

    async def get(self, name: str) -> bytes | None:
        """Return what was put under a name, or None.

        Raises
        ------
        StoreError
        """
        ...

    async def put(self, name: str, value: bytes, *, lifetime_s: float, owner: str) -> None:
        """Keep a value for at most `lifetime_s`; older ones, its owner's first, make room for it.

        Parameters
        ----------
        owner
            Whose bound it counts for; empty where it counts only for that of all.

        Raises
        ------
        StoreError
        """
        ...

    async def delete(self, name: str) -> None:
        """Forget a value, if there is one.

        Raises
        ------
        StoreError
        """
        ...


class Registers(Protocol):
    """Values that several processes change in turn, none of them over a change of another's.

    Every value has a version, a text that whoever puts it makes up and no other ever has.
    """

    async def version(self, name: str) -> str | None:
        """Return the version of the value that is there, or None.

        Raises
        ------
        StoreError
        """
        ...

    async def read(self, name: str) -> tuple[str, bytes] | None:
        """Return the version and the value that are there, or None.

        Raises
        ------
        StoreError
        """
        ...

    async def replace(
        self, name: str, value: bytes, *, version: str, after: str | None, lifetime_s: float
    ) -> bool:
        """Put a value where the one that is there is still of the version `after` (None: none is).

        Returns whether it was put; it is kept for at most `lifetime_s`.

        Raises
        ------
        StoreError
            It is then not known whether it was put, or will yet be.
        """
        ...


class Board(Protocol):
    """Notes that processes put up for each other, each its own."""

    async def exchange(
        self, owner: str, note: bytes, *, gone: Sequence[str] = ()
    ) -> Mapping[str, bytes]:
        """Put up a note in place of the one before, and return everybody's, by its owner.

        Parameters
        ----------
        gone
            Owners whose notes are taken down.

        Raises
        ------
        StoreError
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Store:
    """One store of one kind."""

    kind: str
    shared: bool
    """Whether several processes see the same counters."""
    counters: Counters
    keys: Keys
    blobs: Blobs
    answers: Answers
    registers: Registers
    jobs: Jobs | None = None
    """Files and batches; None where there are none."""
    responses: Answers | None = None
    """Responses that clients come back to by their id; None where none are kept."""
    board: Board | None = None
    """None where no other process can be told anything."""


@runtime_checkable
class Owes(Protocol):
    """A store that may have something to be told later."""

    @property
    def owed(self) -> int:
        """How many requests have still to be settled in it."""
        ...


@runtime_checkable
class Troubled(Protocol):
    """A store that knows what of it does not work."""

    @property
    def problems(self) -> Mapping[str, str]:
        """What does not work at the moment → why; without names of hosts or files."""
        ...


class Lifecycle(Protocol):
    """What the application starts and stops around its store."""

    @property
    def store(self) -> Store:
        """The store."""
        ...

    async def open(self) -> None:
        """Connect, create what is missing.

        Raises
        ------
        ConfigError
            If the configured place can never work (a folder that cannot be written).
        """
        ...

    async def healthy(self) -> bool:
        """Return whether the store answers."""
        ...

    async def aclose(self) -> None:
        """Write what is pending and let go."""
        ...
