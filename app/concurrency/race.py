"""Hedging: a second try beside a slow first one; the first that begins to answer wins."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, TypeVar

_T = TypeVar("_T")


async def race(
    tries: Sequence[Callable[[], Coroutine[Any, Any, _T | None]]],
    *,
    hedge_after_s: float,
    won: Callable[[_T], None],
    lost: Callable[[_T], Awaitable[None]],
) -> _T | None:
    """Make the tries in order until one brings a result; at most two run at the same time.

    A try that fails (returns None) is followed by the next as soon as nothing else runs. Once,
    when nothing has come for `hedge_after_s`, the next is started beside the one that is running.

    Parameters
    ----------
    won
        Notified of the result that is returned, before the other try is cancelled.
    lost
        Disposes of a result that came in the same moment as the winner, and of the winner's own
        where the race is cancelled before that can be returned.

    Raises
    ------
    Exception
        What a try raises ends the race.
    """
    waiting = iter(tries)
    started: list[asyncio.Task[_T | None]] = []
    running: set[asyncio.Task[_T | None]] = set()
    winner: asyncio.Task[_T | None] | None = None
    hedged = False

    def start_next() -> None:
        work = next(waiting, None)
        if work is not None:
            task = asyncio.create_task(work())
            started.append(task)
            running.add(task)

    try:
        start_next()
        while running:
            done, _ = await asyncio.wait(
                running,
                timeout=None if hedged else hedge_after_s,
                return_when=asyncio.FIRST_COMPLETED,
            )
            if not done:
                hedged = True
                start_next()
                continue
            running -= done
            for task in sorted(done, key=started.index):
                result = task.result()
                if result is not None:
                    winner = task
                    won(result)
                    return result
            if not running:
                start_next()
        return None
    finally:
        try:
            await _settle([task for task in started if task is not winner], lost)
        except BaseException:
            if winner is not None and (result := winner.result()) is not None:
                await lost(result)
            raise


async def _settle(
    losers: Sequence[asyncio.Task[_T | None]], lost: Callable[[_T], Awaitable[None]]
) -> None:
    for task in losers:
        task.cancel()
    for came in await asyncio.gather(*losers, return_exceptions=True):
        if came is not None and not isinstance(came, BaseException):
            await lost(came)
