"""Files that clients hand in, and those that batches leave: each of one key, for a while."""

import time
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass

from app.batches.records import FILE, StoredFile, stored_file
from app.errors import BatchFileNotFoundError, StorageFullError, StoreUnavailableError
from app.ids import new_id
from app.stores.base import StoreError
from app.stores.jobs import Fence, Jobs

PART_BYTES = 262_144
_PARTS_AT_ONCE = 8
_RETRY_AFTER_S = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Files:
    """Keep files, and find them again.

    Parameters
    ----------
    lifetime_s
        How long a file is kept where nobody says for how long.
    max_stored_bytes
        What the files of one owner may take together.
    now
        Seconds since the epoch.
    """

    jobs: Jobs
    lifetime_s: float
    max_stored_bytes: int
    now: Callable[[], float] = time.time

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
        file = self.new(owner, filename=filename, purpose=purpose, lifetime_s=lifetime_s)
        view, n_parts = memoryview(content), 0
        try:
            for start in range(0, len(content), PART_BYTES):
                part = bytes(view[start : start + PART_BYTES])
                await self.put_part(file, n_parts, part)
                n_parts += 1
            return await self.finish(file, n_bytes=len(content), n_parts=n_parts)
        except StoreError as error:
            raise unavailable("the file cannot be kept") from error

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
        now = self.now()
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
        lifetime_s = max(1.0, file.expires_at - self.now())
        return await self.jobs.put_parts(
            file.file_id, {number: part}, lifetime_s=lifetime_s, fence=fence
        )

    async def finish(
        self, file: StoredFile, *, n_bytes: int, n_parts: int, fence: Fence | None = None
    ) -> StoredFile:
        """Show a file whose contents are all there.

        Raises
        ------
        StoreError
        """
        whole = StoredFile(
            file_id=file.file_id,
            owner=file.owner,
            filename=file.filename,
            purpose=file.purpose,
            n_bytes=n_bytes,
            n_parts=n_parts,
            created_at=file.created_at,
            expires_at=file.expires_at,
        )
        lifetime_s = max(1.0, file.expires_at - self.now())
        await self.jobs.put(whole.record(), lifetime_s=lifetime_s, fence=fence)
        return whole

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
            raise unavailable("files cannot be looked up") from error
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
            raise unavailable("files cannot be listed") from error
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
            raise unavailable("the file cannot be deleted") from error

    async def content(self, file: StoredFile) -> AsyncIterator[bytes]:
        """Yield the contents, piece by piece.

        Raises
        ------
        BatchFileNotFoundError
            If they are gone meanwhile.
        StoreError
        """
        for start in range(0, file.n_parts, _PARTS_AT_ONCE):
            numbers = range(start, min(start + _PARTS_AT_ONCE, file.n_parts))
            for part in await self.jobs.parts(file.file_id, numbers):
                if part is None:
                    raise BatchFileNotFoundError(f"No such File object: {file.file_id}", param="id")
                yield part

    async def lines(self, file: StoredFile) -> AsyncIterator[bytes]:
        """Yield the lines of a file, without their ends.

        Raises
        ------
        BatchFileNotFoundError
        StoreError
        """
        pieces: list[bytes] = []
        async for part in self.content(file):
            first, *rest = part.split(b"\n")
            pieces.append(first)
            for line in rest:
                yield b"".join(pieces).removesuffix(b"\r")
                pieces = [line]
        yield b"".join(pieces).removesuffix(b"\r")


class FileWriter:
    """Writes a file piece by piece, within the lease of whoever makes it."""

    def __init__(self, files: Files, file: StoredFile, fence: Fence) -> None:
        self._files, self._file, self._fence = files, file, fence
        self._waiting: list[bytes] = []
        self._n_waiting = self._n_bytes = self._n_parts = 0

    async def write(self, lines: Iterable[bytes]) -> None:
        """Add lines.

        Raises
        ------
        StoreError
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
        StoreError
        """
        await self._flush()
        if not self._n_parts:
            return None
        return await self._files.finish(
            self._file, n_bytes=self._n_bytes, n_parts=self._n_parts, fence=self._fence
        )

    async def _flush(self) -> None:
        if not self._waiting:
            return
        part = b"".join(self._waiting)
        await self._files.put_part(self._file, self._n_parts, part, fence=self._fence)
        self._n_parts, self._n_bytes = self._n_parts + 1, self._n_bytes + len(part)
        self._waiting, self._n_waiting = [], 0


def unavailable(what: str) -> StoreUnavailableError:
    """Return the error for a store that does not answer."""
    return StoreUnavailableError(f"{what} at the moment; try again", retry_after_s=_RETRY_AFTER_S)
