"""A coroutine that is begun now and awaited later, by the same task.

What asks a store over the network has its question on the way while something else is done, and
questions that are begun in the same turn of the event loop leave together. A task would do that as
well, at the price of a task.
"""

import asyncio
from collections.abc import Coroutine, Generator, Sequence
from typing import Any, Generic, TypeVar

_T = TypeVar("_T")


class Eager(Generic[_T]):
    """Run a coroutine up to its first wait, and the rest when it is awaited; once.

    Awaiting anything else in between is fine. What it raises before its first wait is raised when
    it is awaited. One that will not be awaited has to be closed.
    """

    __slots__ = ("_coroutine", "_ended", "_error", "_result", "_waits_for")

    def __init__(self, coroutine: Coroutine[Any, Any, _T]) -> None:
        self._coroutine = coroutine
        self._ended = False
        self._error: BaseException | None = None
        self._result: Any = None
        self._waits_for: Any = None
        try:
            self._waits_for = coroutine.send(None)
        except StopIteration as stop:
            self._ended, self._result = True, stop.value
        except Exception as error:  # noqa: BLE001  (raised where it is awaited)
            self._ended, self._error = True, error

    @property
    def ended(self) -> bool:
        """Whether there was nothing to wait for."""
        return self._ended

    def close(self) -> None:
        """Give it up."""
        self._coroutine.close()

    def __await__(self) -> Generator[Any, Any, _T]:
        if self._ended:
            if self._error is not None:
                raise self._error
            return self._result  # type: ignore[no-any-return]
        awaited = self._waits_for
        while True:
            try:
                try:
                    sent = yield awaited
                except BaseException as error:  # noqa: BLE001  (a cancellation is its business)
                    awaited = self._coroutine.throw(error)
                else:
                    awaited = self._coroutine.send(sent)
            except StopIteration as stop:
                return stop.value  # type: ignore[no-any-return]


async def on_its_way(begun: Eager[Any]) -> None:
    """Let the event loop turn once, so that what was asked is sent before heavy work begins."""
    if not begun.ended:
        await asyncio.sleep(0)


async def all_of(begun: Sequence[Eager[Any]]) -> None:
    """Wait for all of them, also where one fails.

    Raises
    ------
    Exception
        What the first of them that fails raises. Whoever is cancelled gives the rest up.
    """
    failure: Exception | None = None
    for at, each in enumerate(begun):
        try:
            await each
        except Exception as error:  # noqa: BLE001  (raised below)
            failure = failure or error
        except BaseException:
            for other in begun[at + 1 :]:
                other.close()
            raise
    if failure is not None:
        raise failure
