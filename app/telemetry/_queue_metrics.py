"""Who waits: for a place in the gateway, and for one at a model that takes only so many calls."""

from collections.abc import Callable
from functools import partial

from app.keys import Priority
from app.telemetry._declare import ConfiguredNames, Declare
from app.waits import WaitEnded

_WAITS = (0.005, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 300)


class QueueMetrics:
    """Everything that is told of queues; `queue` is `gateway`, or a model."""

    def __init__(self, declare: Declare, *, models: ConfiguredNames, gateway: str) -> None:
        self._gateway, self._models = gateway, models
        self._waiting = declare.gauge(
            "gateway_queue_waiting",
            "Requests that wait, by class.",
            *("queue", "priority"),
            together="livesum",
        )
        self._limit = declare.gauge(
            "gateway_queue_limit", "How many may wait.", "queue", together="livesum"
        )
        self._fairness = declare.gauge(
            "gateway_queue_fairness",
            "Jain's index of the tokens that waiting keys got for their weights; 1 is even.",
            "queue",
            together="livemin",
        )
        self._waits = declare.histogram(
            "gateway_queue_wait_seconds",
            "Of those that had to wait, by how that ended: served, timeout, displaced or left.",
            *("queue", "priority", "ended"),
            buckets=_WAITS,
        )

    def waited(self, queue: str, priority: Priority, seconds: float, ended: WaitEnded) -> None:
        """Take note of a wait that is over."""
        self._waits[self._name(queue), priority.value, ended.value].observe(seconds)

    def of(self, queue: str) -> Callable[[Priority, float, WaitEnded], None]:
        """Return what takes note of the waits in a queue."""
        return partial(self.waited, queue)

    def sampled(
        self, queue: str, *, interactive: int, batch: int, limit: int, fairness: float
    ) -> None:
        """Show how a queue stands."""
        name = self._name(queue)
        self._waiting[name, "interactive"].set(interactive)
        self._waiting[name, "batch"].set(batch)
        self._limit[(name,)].set(limit)
        self._fairness[(name,)].set(fairness)

    def _name(self, queue: str) -> str:
        return queue if queue == self._gateway else self._models[queue]
