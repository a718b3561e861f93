"""Asking a store until it answers, where what would be lost otherwise is paid for."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

from app.stores.base import StoreError

_log = logging.getLogger(__name__)

RETRY_S = 1.0

T = TypeVar("T")


async def patiently(what: str, call: Callable[[], Awaitable[T]]) -> T:
    """Return what a call gives, which is repeated while the store is gone, or full.

    Parameters
    ----------
    what
        Named in the log.
    """
    while True:
        try:
            return await call()
        except StoreError as error:
            _log.warning("%s: %s; trying again", what, error)
            await asyncio.sleep(RETRY_S)
