"""What one connection may read, and whether the client takes what is written to it."""

import array
import asyncio
import contextlib
import fcntl
import socket
import struct
import termios

from uvicorn.protocols.http.flow_control import FlowControl

_LOOKS = 6
"""How often in `stalled_s` a client that does not read is looked at."""


class Flow(FlowControl):
    """Both directions of a connection.

    Reading stops while anybody wants it to: the request, whose body is not taken, or the
    connection, which has had its turn. A client that takes nothing of what is written to it is
    dropped, since both the end of its request and closing the connection would wait for it.

    Parameters
    ----------
    stalled_s
        How long a client may take not a single byte while its answer waits.
    """

    def __init__(
        self,
        transport: asyncio.Transport,
        *,
        loop: asyncio.AbstractEventLoop,
        stalled_s: float,
    ) -> None:
        super().__init__(transport)
        self._loop = loop
        self._stalled_s = stalled_s
        self._held = False
        self._left_bytes = 0
        self._taken_at = 0.0
        self._timer: asyncio.TimerHandle | None = None

    # --- what comes -------------------------------------------------------------------------------

    def resume_reading(self) -> None:
        """Read on, unless the connection has had its turn."""
        if self.read_paused:
            self.read_paused = False
            if not self._held:
                self._transport.resume_reading()

    def hold_reading(self) -> None:
        """Read nothing more until `release_reading`."""
        self._held = True
        self._transport.pause_reading()

    def release_reading(self) -> None:
        """Read on, unless the request has enough."""
        if self._held:
            self._held = False
            if not self.read_paused:
                self._transport.resume_reading()

    # --- what goes --------------------------------------------------------------------------------

    def pause_writing(self) -> None:
        """Note that more waits than should."""
        super().pause_writing()
        self.watch()

    def watch(self) -> None:
        """Drop the client if it takes nothing of what waits for it."""
        if self._timer is None:
            self._left_bytes, self._taken_at = self._waiting_bytes(), self._loop.time()
            self._look_later()

    def stop(self) -> None:
        """Watch no longer."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look_later(self) -> None:
        self._timer = self._loop.call_later(self._stalled_s / _LOOKS, self._look)

    def _look(self) -> None:
        self._timer = None
        left_bytes, now = self._waiting_bytes(), self._loop.time()
        if not left_bytes:
            return
        # More can wait than before only if what waited then was taken in between.
        if left_bytes != self._left_bytes:
            self._left_bytes, self._taken_at = left_bytes, now
        elif now - self._taken_at >= self._stalled_s:
            reset(self._transport)
            return
        self._look_later()

    def _waiting_bytes(self) -> int:
        """Return what the client's system has not acknowledged, here and in our system's buffer.

        Our system makes room only once a good part of its buffer is free, which a client that
        reads slowly can take minutes for; it knows of every byte that is acknowledged.
        """
        ours = self._transport.get_write_buffer_size()
        sock = self._transport.get_extra_info("socket")
        sent = array.array("i", [0])
        try:
            fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, sent)
        except (OSError, ValueError, AttributeError):  # closed, or a system that does not tell
            return ours
        return ours + sent[0]


def reset(transport: asyncio.Transport) -> None:
    """Drop a connection so that nobody takes it for a good end and no system keeps it."""
    sock = transport.get_extra_info("socket")
    with contextlib.suppress(OSError, AttributeError):  # closed already, or no socket at all
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()
