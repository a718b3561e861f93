"""Model instances of known speed that answer any number of requests side by side."""

import math
from collections.abc import Sequence
from heapq import heappop, heappush

from loadtest.sim.servers import Account

_NOTHING: Sequence[int] = ()


class StubServer:
    """Answers every request as if it were alone: after so long its first token, then its last.

    Parameters
    ----------
    first_s, whole_s
        Of every request, from its beginning on.
    """

    __slots__ = (
        "_factor", "_first_s", "_heap", "_since", "_whole_s", "account", "due", "first_s",
        "inside", "just_read",
    )  # fmt: skip

    def __init__(self, first_s: Sequence[float], whole_s: Sequence[float]) -> None:
        self._first_s, self._whole_s = first_s, whole_s
        self._heap: list[tuple[float, int, bool]] = []
        self._since, self._factor = 0.0, 1.0
        self.due, self.inside, self.account = math.inf, 0, Account()
        self.first_s: dict[int, float] = {}
        self.just_read = -1

    def submit(self, now: float, request: int) -> None:
        """Begin with a request."""
        self._passed(now)
        self.inside += 1
        factor = self._factor
        self.account.busy_s += factor * self._whole_s[request]
        heappush(self._heap, (now + factor * self._first_s[request], request, False))
        heappush(self._heap, (now + factor * self._whole_s[request], request, True))
        self.due = self._heap[0][0]

    def fire(self, now: float) -> Sequence[int]:
        """Begin or end the answer that is due."""
        self._passed(now)
        _, request, is_whole = heappop(self._heap)
        self.due = self._heap[0][0] if self._heap else math.inf
        if not is_whole:
            self.first_s[request] = now
            self.just_read = request
            return _NOTHING
        self.just_read = -1
        self.inside -= 1
        return (request,)

    def slow_down(self, now: float, factor: float) -> None:  # noqa: ARG002  (of the seam)
        """Take longer for what begins from now on."""
        self._factor = factor

    def _passed(self, now: float) -> None:
        self.account.request_s += self.inside * (now - self._since)
        self._since = now
