"""Server-sent events, parsed from bytes as they arrive.

References
----------
WHATWG HTML Living Standard, section 9.2.6, "Interpreting an event stream".
"""

from app.errors import UpstreamInvalidResponseError

DONE = b"[DONE]"
"""The data of the event that ends a stream of OpenAI's dialect."""

MAX_EVENT_BYTES = 64 * 1024 * 1024
"""As much as a whole answer may have: pictures come in one event."""

_BOM = b"\xef\xbb\xbf"


class Comment(bytes):
    """A comment line, colon included, without its line end."""

    __slots__ = ()


class ErrorEvent(bytes):
    """The data of an event that calls itself an error."""

    __slots__ = ()


class SseParser:
    """Split a byte stream into events, however it was cut on its way.

    `id` and `retry` fields are understood and ignored, and so is `event`, unless it says `error`.
    The blank line that some servers leave out between two events of JSON is put in. After each
    `feed`, `canonical` says whether the bytes fed were exactly `data: …` and a blank line for each
    event returned, so that they may be passed on as they are.

    Parameters
    ----------
    max_event_bytes
        The size at which an event is refused.
    """

    __slots__ = (
        "_at_start",
        "_data",
        "_data_bytes",
        "_is_error",
        "_max_event_bytes",
        "_partial",
        "_partial_bytes",
        "_skip_lf",
        "canonical",
    )

    def __init__(self, *, max_event_bytes: int = MAX_EVENT_BYTES) -> None:
        self._max_event_bytes = max_event_bytes
        self._partial: list[bytes] = []  # pieces of a line whose end has not come yet
        self._partial_bytes = 0
        self._data: list[bytes] = []  # the data lines of an event whose end has not come yet
        self._data_bytes = 0
        self._is_error = False
        self._skip_lf = False  # the last byte was a CR: an LF now belongs to the same line end
        self._at_start = True
        self.canonical = False

    @property
    def pending_bytes(self) -> int:
        """How much is kept of an event whose end has not come yet."""
        return self._partial_bytes + self._data_bytes

    def feed(self, data: bytes) -> list[bytes]:
        """Return what `data` completes: the data of events, and `Comment`s, in order.

        Raises
        ------
        UpstreamInvalidResponseError
            If an event is larger than allowed.
        """
        # Nearly every read of nearly every upstream is a run of whole events of one line each.
        if not self._partial and not self._data and data.endswith(b"\n\n"):
            if (
                data.count(b"\n") == 2
                and data.startswith(b"data: ")
                and b"\r" not in data
                and len(data) <= self._max_event_bytes
            ):
                self.canonical = True
                self._at_start = self._skip_lf = False
                return [data[6:-2]]
            events = data[:-2].split(b"\n\n")
            if (
                data.count(b"\n") == 2 * len(events)
                and b"\r" not in data
                and all(event.startswith(b"data: ") for event in events)
                and len(data) <= self._max_event_bytes
            ):
                self.canonical = True
                self._at_start = self._skip_lf = False
                return [event[6:] for event in events]
        self.canonical = False
        return self._feed_lines(data)

    def close(self, last_words: bytes | None = None) -> list[bytes]:
        """Say that the stream is over; an event without its blank line does not count.

        The end marker is the exception: servers that forget the last line end after it mean it,
        and what came before it.

        Parameters
        ----------
        last_words
            What stands in the last event of a dialect that has another one.
        """
        line = b"".join(self._partial)
        self._partial.clear()
        if self._at_start:
            line = line.removeprefix(_BOM)
        events: list[bytes] = []
        if line:
            self._take_line(line, events)
        self._end_event(events)
        if last_words is not None and events and last_words in events[-1]:
            return events
        return events if events[-1:] == [DONE] else []

    def _feed_lines(self, data: bytes) -> list[bytes]:
        if self._skip_lf and data:
            self._skip_lf = False
            if data.startswith(b"\n"):
                data = data[1:]
        if b"\n" not in data and b"\r" not in data:
            self._keep_partial(data)
            return []
        self._partial.append(data)
        lines = b"".join(self._partial).splitlines(keepends=True)
        self._partial.clear()
        self._partial_bytes = 0
        if self._at_start:
            self._at_start = False
            lines[0] = lines[0].removeprefix(_BOM)
        if lines[-1].endswith((b"\n", b"\r")):
            self._skip_lf = lines[-1].endswith(b"\r")
        else:
            self._keep_partial(lines.pop())
        events: list[bytes] = []
        for line in lines:
            self._take_line(line.rstrip(b"\r\n"), events)
        return events

    def _keep_partial(self, data: bytes) -> None:
        if data:
            self._partial.append(data)
            self._partial_bytes += len(data)
            self._check_size(self._partial_bytes)

    def _take_line(self, line: bytes, events: list[bytes]) -> None:
        """Interpret one line; add what it completes."""
        self._check_size(len(line))
        if not line:
            self._end_event(events)
            return
        if line.startswith(b":"):
            events.append(Comment(line))
            return
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"data":
            if (
                (value == DONE or value.startswith(b"{"))
                and self._data[-1:]
                and (self._data[-1].endswith(b"}"))
            ):
                self._end_event(events)
            self._data.append(value)
            self._data_bytes += len(line)
        elif name == b"event":
            self._is_error = value.strip().lower() == b"error"

    def _end_event(self, events: list[bytes]) -> None:
        if self._data:
            event = self._data[0] if len(self._data) == 1 else b"\n".join(self._data)
            events.append(ErrorEvent(event) if self._is_error else event)
            self._data.clear()
            self._data_bytes = 0
        self._is_error = False

    def _check_size(self, line_bytes: int) -> None:
        if line_bytes + self._data_bytes > self._max_event_bytes:
            raise UpstreamInvalidResponseError(
                f"the upstream sent an event of over {self._max_event_bytes} bytes"
            )
