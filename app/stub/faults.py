"""Failures on demand, so that whoever calls the stub can be tested against them."""

from collections.abc import Iterable
from enum import StrEnum

import msgspec


class FaultKind(StrEnum):
    """What goes wrong; see `app.stub.chat` for how each is played."""

    STATUS = "status"
    RESET_BEFORE_HEADERS = "reset_before_headers"
    STALL_BEFORE_HEADERS = "stall_before_headers"
    STALL_MID_STREAM = "stall_mid_stream"
    RESET_MID_STREAM = "reset_mid_stream"
    CLOSE_MID_STREAM = "close_mid_stream"
    END_WITHOUT_DONE = "end_without_done"
    GARBAGE_SSE = "garbage_sse"
    ERROR_EVENT = "error_event"
    NO_USAGE = "no_usage"
    BAD_JSON = "bad_json"
    SLOW_DRIP = "slow_drip"
    WRONG_CONTENT_LENGTH = "wrong_content_length"


class Fault(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One failure and whom it hits.

    Attributes
    ----------
    fault
        What goes wrong.
    model
        The simulated model that it hits; None hits every one.
    times
        How many requests it hits.
    status, retry_after_s, code
        Of the answer, for `status`; `code` also for `error_event`.
    after_chunks
        How many events (without streaming: how many bytes) are sent before it strikes.
    interval_s
        Between two bytes of `slow_drip`.
    """

    fault: FaultKind
    model: str | None = None
    times: int = 1
    status: int = 503
    retry_after_s: float | None = None
    code: str | None = None
    after_chunks: int = 3
    interval_s: float = 0.0


class FaultScript:
    """The failures that are still to come, in order."""

    def __init__(self, faults: Iterable[Fault] = ()) -> None:
        self._faults = [fault for fault in faults if fault.times > 0]

    def add(self, fault: Fault) -> None:
        """Append one failure."""
        if fault.times > 0:
            self._faults.append(fault)

    def clear(self) -> None:
        """Forget all of them."""
        self._faults.clear()

    def take(self, model: str) -> Fault | None:
        """Return the failure that the next request for `model` meets, if any."""
        for i, fault in enumerate(self._faults):
            if fault.model in (None, model):
                left = msgspec.structs.replace(fault, times=fault.times - 1)
                self._faults[i : i + 1] = [left] if left.times > 0 else []
                return fault
        return None
