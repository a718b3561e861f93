"""Batches: how many are worked at, how they end, and how their requests do."""

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

    def running(self, n: int) -> None:
        """Show how many batches this process works at."""
        self._running.set(n)

    def over(self, status: str) -> None:
        """Count a batch that is over."""
        self._over[(status,)].inc(1)

    def line(self, outcome: str) -> None:
        """Count one request."""
        self._lines[(outcome,)].inc(1)
