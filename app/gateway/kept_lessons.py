"""Lessons as a register of the store keeps them, and which writes made them so."""

from dataclasses import dataclass

import msgspec
import numpy as np

from app.gateway.deployments.bandit_memory import Taught

_MAX_VERSIONS = 64
"""Of how many writes a value says that they are in it; each takes seconds at most."""


class _Value(msgspec.Struct, array_like=True, gc=False):
    """What stands in a register: everything that was learned, and which writes made it so.

    Attributes
    ----------
    n_writes
        How many there were.
    versions
        Of the latest, the last one its own.
    """

    n_writes: int
    versions: list[str]
    arrays: dict[str, tuple[list[int], bytes]]


_encode = msgspec.msgpack.Encoder().encode
decode_value = msgspec.msgpack.Decoder(_Value).decode


@dataclass(frozen=True, slots=True)
class KeptLessons:
    """What a value of the store says; `n_writes` and `versions` as there."""

    n_writes: int = 0
    versions: tuple[str, ...] = ()
    lesson: Taught | None = None

    def with_(self, write: "LessonWrite") -> "KeptLessons":
        """Return what it says with one more write."""
        versions = (*self.versions, write.version)[-_MAX_VERSIONS:]
        return KeptLessons(self.n_writes + 1, versions, joined(self.lesson, write.lesson))

    def lacks(self, before: "KeptLessons", number: int, version: str) -> bool:
        """Return whether it does not have a write that was in a value from before.

        Values follow each other, unless a store lost the later ones.
        """
        first = self.n_writes - len(self.versions)
        if before.n_writes <= first or (before.versions and before.versions[-1] in self.versions):
            return False
        return number > first and version not in self.versions


NO_LESSONS = KeptLessons()


@dataclass(frozen=True, slots=True)
class LessonWrite:
    """Lessons that are on their way to the store, or were last seen there."""

    version: str
    lesson: Taught | None
    n_lessons: int
    number: int = 0


def joined(before: Taught | None, later: Taught | None) -> Taught | None:
    """Return what two lessons teach one after the other; None where neither is there."""
    if before is None or later is None:
        return later if before is None else before
    together: Taught = before.then(later)
    return together


def value_of(known: KeptLessons) -> bytes:
    """Return what of lessons is put into a register."""
    state = {} if known.lesson is None else known.lesson.state()
    arrays = {
        name: (list(array.shape), np.ascontiguousarray(array, "<f8").tobytes())
        for name, array in state.items()
    }
    return _encode(_Value(known.n_writes, list(known.versions), arrays))
