"""A bound on a whole stream, not only on each of its reads."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from typing import TypeVar

_T = TypeVar("_T")


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
