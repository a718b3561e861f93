"""What signals mean to a serving process.

SIGHUP reads the configuration anew, unless it says that the terminal is gone; SIGTERM drains.
"""

import asyncio
import contextlib
import logging
import os
import signal
from collections.abc import Callable, Iterator
from types import FrameType

_log = logging.getLogger(__name__)


class Terminal:
    """The terminal that a process was started from, if it was.

    A service has none, and whoever has the hang-up ignored (`nohup`) wants the gateway to stay.
    """

    def __init__(self) -> None:
        ignored = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
        self._attached = not ignored and _has_terminal()

    def is_gone(self) -> bool:
        """Whether it was there, and somebody closed it."""
        return self._attached and not _has_terminal()


def _has_terminal() -> bool:
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
    except OSError:
        return False
    return True


@contextlib.contextmanager
def on_hangup(reload: Callable[[], None]) -> Iterator[None]:
    """Call `reload` at every SIGHUP while the block runs, where signals can be had.

    When the terminal was closed that the process runs in, it is told to stop instead.
    """
    loop, terminal = asyncio.get_running_loop(), Terminal()

    def hung_up() -> None:
        if terminal.is_gone():
            os.kill(os.getpid(), signal.SIGTERM)
        else:
            reload()

    try:
        loop.add_signal_handler(signal.SIGHUP, hung_up)
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
