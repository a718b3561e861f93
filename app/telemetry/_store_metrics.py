"""How the store is, and what goes wrong in it; counted from any thread."""

from app.stores.watch import Feature, StoreEvents
from app.telemetry._declare import Declare


class StoreMetrics:
    """Everything that is told of the store and of the threads that write."""

    def __init__(self, declare: Declare) -> None:
        self._errors = declare.counter(
            "gateway_store_errors",
            "Operations that the shared store did not answer, and the feature that suffered.",
            *("operation", "feature"),
        )
        self._bounded = declare.counter(
            "gateway_store_bounded",
            "Values that no store can hold, cut: tokens, cost or period.",
            "what",
        )
        self._lost = declare.counter(
            "gateway_store_lost",
            "What a store could not keep: spending, settlements or answers.",
            "what",
        )
        self._restarts = declare.counter(
            "gateway_thread_restarts",
            "Threads that died and were followed by another one.",
            "thread",
        )
        self._up = declare.gauge(
            "gateway_store_up",
            "Whether the store answers and everything is written; /readyz says what is not.",
            together="livemin",
        )[()]
        self._owed = declare.gauge(
            "gateway_store_owed_requests",
            "Requests whose use has still to be booked in the store.",
            together="livesum",
        )[()]

    @property
    def events(self) -> StoreEvents:
        """Whom a store has to tell."""
        return StoreEvents(
            failed=self.failed,
            bounded=lambda what: self._bounded[(what,)].inc(1),
            lost=lambda what, n: self._lost[(what,)].inc(n),
            restarted=self.restarted,
        )

    def failed(self, operation: str, feature: Feature) -> None:
        """Count one operation that the shared store did not answer."""
        self._errors[operation, feature.value].inc(1)

    def restarted(self, thread: str) -> None:
        """Count one thread that died."""
        self._restarts[(thread,)].inc(1)

    def checked(self, *, up: bool, owed: int) -> None:
        """Show whether the store answers, and what it has still to be told."""
        self._up.set(up)
        self._owed.set(owed)
