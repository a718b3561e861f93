"""Names of models and patterns that they fit, as the shipped tables and aliases have them."""

from collections.abc import Iterable
from typing import Protocol, TypeVar


class _Listed(Protocol):
    @property
    def match(self) -> tuple[str, ...]: ...


F = TypeVar("F", bound=_Listed)


def first_that_fits(model: str, families: Iterable[F]) -> F | None:
    """Return the first family that a model is of; without what stands before its last `/`."""
    name = model.rpartition("/")[2].lower().replace(".", "-")
    for family in families:
        if any(fits(name, pattern) for pattern in family.match):
            return family
    return None


def fits(name: str, pattern: str) -> bool:
    """Return whether a name fits a pattern; in linear time, since clients choose the name."""
    first, *rest = pattern.split("*")
    if not rest:
        return name == pattern
    *middle, last = rest
    if len(name) < len(first) + len(last) or not name.startswith(first) or not name.endswith(last):
        return False
    at, end = len(first), len(name) - len(last)
    for part in middle:
        at = name.find(part, at, end)
        if at < 0:
            return False
        at += len(part)
    return True
