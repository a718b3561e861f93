"""Bounds in time: of a block, and of a whole stream rather than of each of its reads."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from types import TracebackType
from typing import Self, TypeVar

_T = TypeVar("_T")

_EARLY_S = 0.002
"""More than timers of uvloop go off too soon: it counts in whole milliseconds, and rounds."""


class Deadline:
    """`asyncio.timeout`, for less: every request enters it twice.

    That one can be moved while it runs, and is entered by a coroutine. This one is neither; what it
    raises, and what it makes of cancellations by others, is the same. Nor is it ever early, so that
    whoever asks the clock then finds no time left.

    Parameters
    ----------
    seconds
        How long the block may take; it then ends in TimeoutError.
    """

    __slots__ = ("_cancelling", "_expired", "_seconds", "_task", "_timer")

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._expired = False

    def __enter__(self) -> Self:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101  (always so within a coroutine)
        self._task = task
        self._cancelling = task.cancelling()
        self._timer = asyncio.get_running_loop().call_later(self._seconds + _EARLY_S, self._expire)
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._timer.cancel()
        if (
            self._expired
            and self._task.uncancel() <= self._cancelling
            and exc_type is asyncio.CancelledError
        ):
            # Where somebody else has cancelled as well, their cancellation goes on.
            raise TimeoutError from exc

    def _expire(self) -> None:
        self._expired = True
        self._task.cancel()


async def within(
    chunks: AsyncGenerator[_T, None], *, seconds: float, late: Callable[[], Exception]
) -> AsyncGenerator[_T, None]:
    """Go through `chunks`; raise `late()` where they take longer than `seconds` from now.

    One timer for the whole stream: `asyncio.timeout` around every chunk would cost more than
    passing the chunk on, and around the loop it would also cancel whoever consumes the chunks.
    Closes `chunks` in the end.
    """
    task = asyncio.current_task()
    assert task is not None  # noqa: S101  (always so within a coroutine)
    reading = expired = False

    def expire() -> None:
        nonlocal expired
        expired = True
        if reading:
            task.cancel()

    already_cancelling = task.cancelling()
    timer = asyncio.get_running_loop().call_later(seconds, expire)
    try:
        while not expired:
            reading = True
            try:
                chunk = await anext(chunks)
            except StopAsyncIteration:
                return
            except asyncio.CancelledError:
                # Somebody else's cancellation may have come in the same moment: it goes first.
                if expired and task.uncancel() <= already_cancelling:
                    break
                raise
            finally:
                reading = False
            yield chunk
        raise late()
    finally:
        timer.cancel()
        await chunks.aclose()
