"""Several pieces of work at the same time, all of which are waited for."""

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any, TypeVar

_T = TypeVar("_T")


async def together(work: Sequence[Coroutine[Any, Any, _T]]) -> list[_T]:
    """Return what each piece of work brings, in order; one alone makes no task.

    Raises
    ------
    Exception
        What the first of them to fail raises; the others are cancelled, and waited for.
    """
    if len(work) == 1:
        return [await work[0]]
    tasks = [asyncio.create_task(each) for each in work]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
        for task in sorted(done, key=tasks.index):
            task.result()
        return [task.result() for task in tasks]
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
