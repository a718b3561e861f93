"""Virtual keys with what they have spent, for the admin API and the command line."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence

from app.access.guard import Caller
from app.access.issuing import IssuedKey
from app.access.view import KeyView, NewKeyView
from app.errors import StoreUnavailableError
from app.stores.claims import Standing

OwnStandings = Callable[[Iterable[Caller]], Awaitable[Sequence[Standing]]]
"""Return where the limits of each caller's own key stand."""

_AT_ONCE = 100
"""So many keys are asked about in one call, so that others get their turn in between."""


class KeyViews:
    """Tell keys with what they have spent.

    Parameters
    ----------
    own
        Where their limits stand; without it nothing is told of that.
    now
        Seconds since the epoch.
    """

    def __init__(self, own: OwnStandings | None, *, now: Callable[[], float] = time.time) -> None:
        self._own = own
        self._now = now

    async def of(self, keys: Sequence[IssuedKey]) -> list[KeyView]:
        """Return what is told of keys."""
        standings = await self._standings(keys)
        return await asyncio.to_thread(_views, keys, standings, self._now())

    async def one(self, key: IssuedKey) -> KeyView:
        """Return what is told of one key."""
        (view,) = _views([key], await self._standings([key]), self._now())
        return view

    async def new(self, key: IssuedKey, secret: str) -> NewKeyView:
        """Return what is told of a key when its secret is made."""
        (standing,) = await self._standings([key])
        return NewKeyView.with_secret(key, secret, now=self._now(), standing=standing)

    async def _standings(self, keys: Sequence[IssuedKey]) -> Sequence[Standing | None]:
        if self._own is None:
            return [None] * len(keys)
        found: list[Standing] = []
        try:
            for start in range(0, len(keys), _AT_ONCE):
                found += await self._own(map(caller_of, keys[start : start + _AT_ONCE]))
        except StoreUnavailableError:
            return [None] * len(keys)  # keys can be managed without it
        return found


def _views(
    keys: Sequence[IssuedKey], standings: Sequence[Standing | None], now: float
) -> list[KeyView]:
    found = zip(keys, standings, strict=True)
    return [KeyView.of(key, now=now, standing=standing) for key, standing in found]


def caller_of(key: IssuedKey) -> Caller:
    """Return who asks with a key."""
    return Caller(key.record, key.record.key_id, key.record.team)
