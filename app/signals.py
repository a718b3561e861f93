"""What signals mean to a serving process: SIGHUP reads the configuration anew, SIGTERM drains."""

import asyncio
import contextlib
import logging
import signal
from collections.abc import Callable, Iterator
from types import FrameType

_log = logging.getLogger(__name__)


@contextlib.contextmanager
def on_hangup(reload: Callable[[], None]) -> Iterator[None]:
    """Call `reload` at every SIGHUP while the block runs, where signals can be had."""
    loop = asyncio.get_running_loop()
    try:
        loop.add_signal_handler(signal.SIGHUP, reload)
    except (ValueError, RuntimeError, NotImplementedError):  # not the main thread
        yield
        return
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGHUP)


@contextlib.contextmanager
def drain_before_exit(drain: Callable[[], None], *, seconds: float) -> Iterator[None]:
    """Let `seconds` pass between the first SIGTERM and what the server makes of it.

    A load balancer needs that time to learn from `/readyz` that nothing more should come here; new
    requests are served until then. A second SIGTERM is obeyed at once.

    Parameters
    ----------
    drain
        Called at the first SIGTERM.
    """
    loop = asyncio.get_running_loop()
    server = signal.getsignal(signal.SIGTERM)
    if not callable(server):
        yield
        return
    draining = False

    def on_term(number: int, frame: FrameType | None) -> None:
        nonlocal draining
        if draining:
            server(number, frame)
            return
        draining = True
        loop.call_soon_threadsafe(begin, number)

    def begin(number: int) -> None:
        drain()
        _log.info("draining: /readyz says no, and for %g s requests are served", seconds)
        loop.call_later(seconds, server, number, None)

    try:
        signal.signal(signal.SIGTERM, on_term)
    except ValueError:  # not the main thread
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, server)
