"""Files that clients hand in, and those that batches leave: each of one key, for a while."""

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass

import msgspec

from app.batches.clock import StoreClock
from app.batches.lease import Lease
from app.batches.records import FILE, StoredFile, stored_file
from app.errors import (
    BatchFileNotFoundError,
    GatewayError,
    StorageFullError,
    StoreOutOfSpaceError,
    StoreUnavailableError,
)
from app.ids import new_id
from app.stores.base import StoreError, StoreFullError
from app.stores.jobs import Fence, Jobs

PART_BYTES = 262_144
_PARTS_AT_ONCE = 8
_RETRY_AFTER_S = 1.0
_UNFINISHED_S = 600.0
"""So long contents are kept that are still handed in: they may never come to their end."""

ReadParts = Callable[[str, Sequence[int]], Awaitable[list[bytes | None]]]
"""Returns parts of a box by their numbers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Files:
    """Keep files, and find them again.

    Parameters
    ----------
    lifetime_s
        How long a file is kept where nobody says for how long.
    max_stored_bytes
        What the files of one owner may take together.
    """

    jobs: Jobs
    clock: StoreClock
    lifetime_s: float
    max_stored_bytes: int

    async def add(
        self,
        owner: str,
        content: bytes | bytearray | memoryview,
        *,
        filename: str,
        purpose: str,
        lifetime_s: float | None = None,
    ) -> StoredFile:
        """Keep a file.

        Raises
        ------
        StorageFullError
            If the owner's files would take more than they may.
        StoreUnavailableError
        """
        taken = sum(each.n_bytes for each in await self.of(owner))
        if taken + len(content) > self.max_stored_bytes:
            raise StorageFullError(
                f"the files of this key take {taken:,} bytes of {self.max_stored_bytes:,}; delete "
                "some of them (DELETE /v1/files/{id}), or hand in a smaller one"
            )
        try:
            await self.clock.set()
            file = self.new(owner, filename=filename, purpose=purpose, lifetime_s=lifetime_s)
            n_parts = await self._add_parts(file, memoryview(content))
            whole = msgspec.structs.replace(file, n_bytes=len(content), n_parts=n_parts)
            await self.show(whole)
        except StoreError as error:
            raise unavailable("the file cannot be kept", error) from error
        return whole

    async def _add_parts(self, file: StoredFile, content: memoryview) -> int:
        """Put a file's contents where nobody sees them yet; return how many parts they are.

        Where that comes to no end, they are gone soon.

        Raises
        ------
        StoreError
        """
        starts = range(0, len(content), PART_BYTES)
        try:
            for number, start in enumerate(starts):
                part = {number: bytes(content[start : start + PART_BYTES])}
                await self.jobs.put_parts(file.file_id, part, lifetime_s=_UNFINISHED_S)
        except StoreError:
            with contextlib.suppress(StoreError):
                await self.jobs.drop(file.file_id)
            raise
        return len(starts)

    def new(
        self,
        owner: str,
        *,
        filename: str,
        purpose: str,
        lifetime_s: float | None = None,
        file_id: str | None = None,
    ) -> StoredFile:
        """Return a file that has no contents yet, and that nobody sees."""
        now = self.clock()
        return StoredFile(
            file_id=new_id("file-") if file_id is None else file_id,
            owner=owner,
            filename=filename,
            purpose=purpose,
            n_bytes=0,
            n_parts=0,
            created_at=now,
            expires_at=now + (self.lifetime_s if lifetime_s is None else lifetime_s),
        )

    async def put_part(
        self, file: StoredFile, number: int, part: bytes, *, fence: Fence | None = None
    ) -> bool:
        """Add contents to a file; return whether the fence let that happen.

        Raises
        ------
        StoreError
        """
        lifetime_s = max(1.0, file.expires_at - self.clock())
        return await self.jobs.put_parts(
            file.file_id, {number: part}, lifetime_s=lifetime_s, fence=fence
        )

    async def show(self, file: StoredFile, *, fence: Fence | None = None) -> bool:
        """Show a file whose contents are all there, and keep them for as long as it.

        Returns whether the fence let that happen.

        Raises
        ------
        StoreError
        """
        lifetime_s = max(1.0, file.expires_at - self.clock())
        await self.jobs.put_parts(file.file_id, {}, lifetime_s=lifetime_s, fence=fence)
        return await self.jobs.put(file.record(), lifetime_s=lifetime_s, fence=fence)

    async def find(self, owner: str, file_id: str) -> StoredFile:
        """Return a file of this owner.

        Raises
        ------
        BatchFileNotFoundError
            If there is none, or it belongs to somebody else.
        StoreUnavailableError
        """
        try:
            record = await self.jobs.get(FILE, file_id)
        except StoreError as error:
            raise unavailable("files cannot be looked up", error) from error
        if record is None or record.owner != owner:
            raise BatchFileNotFoundError(f"No such File object: {file_id[:100]}", param="id")
        return stored_file(record)

    async def of(self, owner: str) -> tuple[StoredFile, ...]:
        """Return the files of an owner, the latest first.

        Raises
        ------
        StoreUnavailableError
        """
        try:
            records = await self.jobs.of_owner(FILE, owner)
        except StoreError as error:
            raise unavailable("files cannot be listed", error) from error
        return tuple(map(stored_file, records))

    async def delete(self, file: StoredFile) -> None:
        """Forget a file.

        Raises
        ------
        StoreUnavailableError
        """
        try:
            await self.jobs.remove(FILE, file.file_id)
            await self.jobs.drop(file.file_id)
        except StoreError as error:
            raise unavailable("the file cannot be deleted", error) from error

    async def content(
        self, file: StoredFile, *, read: ReadParts | None = None
    ) -> AsyncIterator[bytes]:
        """Yield the contents, piece by piece.

        Parameters
        ----------
        read
            Reads parts in place of the store itself.

        Raises
        ------
        BatchFileNotFoundError
            If they are gone meanwhile.
        StoreError
        """
        parts = self.jobs.parts if read is None else read
        for start in range(0, file.n_parts, _PARTS_AT_ONCE):
            numbers = range(start, min(start + _PARTS_AT_ONCE, file.n_parts))
            for part in await parts(file.file_id, numbers):
                if part is None:
                    raise BatchFileNotFoundError(f"No such File object: {file.file_id}", param="id")
                yield part

    async def lines(
        self, file: StoredFile, *, read: ReadParts | None = None
    ) -> AsyncIterator[bytes]:
        """Yield the lines of a file, without their ends.

        Parameters
        ----------
        read
            As of `content`.

        Raises
        ------
        BatchFileNotFoundError
        StoreError
        """
        pieces: list[bytes] = []
        async for part in self.content(file, read=read):
            first, *rest = part.split(b"\n")
            pieces.append(first)
            for line in rest:
                yield b"".join(pieces).removesuffix(b"\r")
                pieces = [line]
        yield b"".join(pieces).removesuffix(b"\r")


class FileWriter:
    """Writes a file piece by piece, within the lease of whoever makes it.

    Where the store is gone, or full, each piece waits until it is not.
    """

    def __init__(self, files: Files, file: StoredFile, lease: Lease) -> None:
        self._files, self._file, self._lease = files, file, lease
        self._waiting: list[bytes] = []
        self._n_waiting = self._n_bytes = self._n_parts = 0

    async def write(self, lines: Iterable[bytes]) -> None:
        """Add lines.

        Raises
        ------
        LostLeaseError
        """
        for line in lines:
            self._waiting += (line, b"\n")
            self._n_waiting += len(line) + 1
            if self._n_waiting >= PART_BYTES:
                await self._flush()

    async def close(self) -> StoredFile | None:
        """Finish the file and return it; None where nothing was written.

        Raises
        ------
        LostLeaseError
        """
        await self._flush()
        if not self._n_parts:
            return None
        whole = msgspec.structs.replace(self._file, n_bytes=self._n_bytes, n_parts=self._n_parts)
        await self._lease.write(lambda fence: self._files.show(whole, fence=fence))
        return whole

    async def _flush(self) -> None:
        if not self._waiting:
            return
        part = b"".join(self._waiting)
        await self._lease.write(
            lambda fence: self._files.put_part(self._file, self._n_parts, part, fence=fence)
        )
        self._n_parts, self._n_bytes = self._n_parts + 1, self._n_bytes + len(part)
        self._waiting, self._n_waiting = [], 0


def unavailable(what: str, error: StoreError) -> GatewayError:
    """Return the error for a store that does not answer, or is full."""
    if isinstance(error, StoreFullError):
        return StoreOutOfSpaceError(
            f"{what}: the storage of the gateway is full, and its operator has to make room"
        )
    return StoreUnavailableError(f"{what} at the moment; try again", retry_after_s=_RETRY_AFTER_S)
