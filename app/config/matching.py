"""Families of models by their names, as the shipped tables list them."""

from collections.abc import Iterable
from typing import Protocol, TypeVar

from app.config.aliases import fits


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
