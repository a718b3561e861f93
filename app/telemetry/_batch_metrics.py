"""Batches: how many are worked at, how they end, and how their requests do."""

from collections.abc import Mapping

from app.telemetry._declare import Declare


class BatchMetrics:
    """Everything that is told of batches beside what their requests leave like all others."""

    def __init__(self, declare: Declare) -> None:
        self._running = declare.gauge(
            "gateway_batches_running",
            "Batches that are worked at.",
            together="livesum",
        )[()]
        self._over = declare.counter(
            "gateway_batches",
            "Batches that are over, by how they ended: completed, failed, cancelled or expired.",
            "status",
        )
        self._lines = declare.counter(
            "gateway_batch_requests",
            "Requests of batches by their outcome: completed, failed, or left_out where no budget"
            " or capacity was left.",
            "outcome",
        )

        # Each process looks at all batches of the store.
        self._open = declare.gauge(
            "gateway_batches_open",
            "Batches that are not over, by their state (of the oldest 100).",
            "status",
            together="livemax",
        )
        self._oldest = declare.gauge(
            "gateway_batches_oldest_seconds",
            "Age of the oldest batch that is not over; 0: there is none.",
            together="livemax",
        )[()]
        self._idle = declare.gauge(
            "gateway_batches_idle_seconds",
            "For how long nothing came of the batch in progress that has waited the longest.",
            together="livemax",
        )[()]
        self._money = declare.gauge(
            "gateway_batches_budget_usd",
            "Of batches with a budget that are not over: what they may spend (budget), and what"
            " they have spent.",
            "of",
            together="livemax",
        )

    def running(self, n: int) -> None:
        """Show how many batches this process works at."""
        self._running.set(n)

    def stand(
        self,
        by_status: Mapping[str, int],
        *,
        oldest_s: float,
        idle_s: float,
        spent_usd: float,
        budget_usd: float,
    ) -> None:
        """Show how the batches of the store stand that are not over."""
        for status, n in by_status.items():
            self._open[(status,)].set(n)
        self._oldest.set(oldest_s)
        self._idle.set(idle_s)
        self._money["spent",].set(spent_usd)
        self._money["budget",].set(budget_usd)

    def over(self, status: str) -> None:
        """Count a batch that is over."""
        self._over[(status,)].inc(1)

    def line(self, outcome: str) -> None:
        """Count one request."""
        self._lines[(outcome,)].inc(1)
