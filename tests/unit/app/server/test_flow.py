"""How long a client may take nothing of its answer, on a clock of the test's own."""

import asyncio
import heapq
from itertools import count

import pytest

from app.server.flow import Flow

STALLED_S = 30.0


class Loop:
    """What `Flow` asks of an event loop; time passes when it is told to."""

    def __init__(self):
        self.now, self._due, self._order = 0.0, [], count()

    def time(self):
        return self.now

    def call_later(self, seconds, callback):
        handle = asyncio.Handle(callback, (), self)
        heapq.heappush(self._due, (self.now + seconds, next(self._order), handle))
        return handle

    def get_debug(self):
        return False

    def pass_time(self, seconds):
        until = self.now + seconds
        while self._due and self._due[0][0] <= until:
            self.now, _, handle = heapq.heappop(self._due)
            if not handle.cancelled():
                handle._run()
        self.now = until


class Transport:
    """A connection to a client that takes as much as the test says."""

    def __init__(self):
        self.waiting, self.aborted, self.reading = 0, False, True

    def get_write_buffer_size(self):
        return self.waiting

    def get_extra_info(self, _name):
        return None

    def abort(self):
        self.aborted = True

    def pause_reading(self):
        self.reading = False

    def resume_reading(self):
        self.reading = True


@pytest.fixture
def transport():
    return Transport()


@pytest.fixture
def loop():
    return Loop()


@pytest.fixture
def flow(transport, loop):
    return Flow(transport, loop=loop, stalled_s=STALLED_S)


def test_who_takes_nothing_is_dropped_when_the_time_is_up_and_not_before(flow, transport, loop):
    transport.waiting = 100_000
    flow.pause_writing()
    loop.pass_time(STALLED_S - 0.1)
    assert not transport.aborted
    loop.pass_time(STALLED_S / 6 + 0.2)
    assert transport.aborted


def test_who_takes_a_byte_now_and_then_is_not(flow, transport, loop):
    transport.waiting = 100_000
    flow.pause_writing()
    for _ in range(50):
        loop.pass_time(STALLED_S * 0.8)
        transport.waiting -= 1
    assert not transport.aborted


def test_what_was_taken_before_more_was_written_counts(flow, transport, loop):
    transport.waiting = 100_000
    flow.pause_writing()
    for size in (90_000, 120_000) * 10:
        loop.pass_time(STALLED_S * 0.8)
        flow.resume_writing()
        transport.waiting = size
        flow.pause_writing()
    assert not transport.aborted


def test_nobody_is_watched_who_has_taken_everything(flow, transport, loop):
    transport.waiting = 100_000
    flow.pause_writing()
    transport.waiting = 0
    flow.resume_writing()
    loop.pass_time(10 * STALLED_S)
    assert not transport.aborted


def test_reading_goes_on_only_when_nobody_holds_it(flow, transport):
    flow.pause_reading()
    flow.hold_reading()
    flow.resume_reading()
    assert not transport.reading
    flow.release_reading()
    assert transport.reading
    flow.hold_reading()
    flow.pause_reading()
    flow.release_reading()
    assert not transport.reading
    flow.resume_reading()
    assert transport.reading
