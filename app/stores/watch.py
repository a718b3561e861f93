"""What failed lately, told once per change and counted each time."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from app.stores.base import StoreError

_log = logging.getLogger(__name__)


class Feature(StrEnum):
    """What suffers."""

    LIMITS = "limits"
    BUDGETS = "budgets"
    KEYS = "keys"
    BLOBS = "blobs"
    LESSONS = "lessons"


OnError = Callable[[str, Feature], None]
"""Notified of every failed operation, and of the feature that it failed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreEvents:
    """Whom a store tells of what goes wrong in it; each may be called from any thread.

    Attributes
    ----------
    failed
        Notified of every failed operation of a shared store.
    bounded
        Notified of every value that no store can hold and that was cut: `tokens`, `cost`, `period`.
    lost
        Notified of how much could not be kept of `spending`, `settlements` or `answers`.
    restarted
        Told the name of a thread that died and was followed by another one.
    """

    failed: OnError = lambda _operation, _feature: None
    bounded: Callable[[str], None] = lambda _what: None
    lost: Callable[[str, int], None] = lambda _what, _n: None
    restarted: Callable[[str], None] = lambda _name: None


NO_EVENTS = StoreEvents()


class Watch:
    """Counts every failure; logs only when an operation starts to fail, or to work again."""

    def __init__(self, on_error: OnError | None) -> None:
        self._on_error = on_error
        self._down: set[str] = set()

    def failed(self, operation: str, feature: Feature, error: StoreError) -> None:
        """Note that an operation failed, and what suffers."""
        if self._on_error is not None:
            self._on_error(operation, feature)
        if operation not in self._down:
            self._down.add(operation)
            _log.warning("store: %s fails (%s): %s", operation, feature, error)

    def worked(self, operation: str) -> None:
        """Note that an operation worked."""
        if operation in self._down:
            self._down.discard(operation)
            _log.warning("store: %s works again", operation)
