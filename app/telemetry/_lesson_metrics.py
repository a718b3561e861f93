"""What policies that learn while they serve have come to believe."""

from prometheus_client import Gauge

from app.telemetry._declare import Children, ConfiguredNames, Declare
from routers.workflows.learning.base import Beliefs, Estimate

_BOUNDS = ("estimate", "low", "high")


class LessonMetrics:
    """Everything that is told of what requests taught; the bounds hold nine times in ten."""

    def __init__(
        self, declare: Declare, *, models: ConfiguredNames, policies: ConfiguredNames
    ) -> None:
        self._models, self._policies = models, policies
        self._threshold = declare.gauge(
            "gateway_learned_threshold",
            "The predicted quality from which on a cheap answer will do, at the prices and the"
            " knob of late requests: estimate, low and high.",
            *("policy", "bound"),
            together="livemostrecent",
        )
        self._success = declare.gauge(
            "gateway_learned_success",
            "The chance that a model's answer is accepted, on requests as they came lately:"
            " estimate, low and high.",
            *("policy", "model", "bound"),
            together="livemostrecent",
        )
        self._waiting = declare.gauge(
            "gateway_lessons_waiting",
            "Lessons of requests that the store does not have yet.",
            "policy",
            together="livesum",
        )

        self._remembered = declare.gauge(
            "gateway_remembered_feedback",
            "Rated answers that a router remembers beside what it was fitted on; of several"
            " workers, of the one that has the fewest.",
            "router",
            together="livemin",
        )
        self._left_out = declare.gauge(
            "gateway_left_out_feedback",
            "Ratings that a router did not take in, since it was loaded: beyond the share of a"
            " key, or of texts that are not kept.",
            "router",
            together="livemax",
        )

    def remembered(self, router: str, n_rows: int, *, n_left_out: int) -> None:
        """Show what a router took in of feedback."""
        self._remembered[(router,)].set(n_rows)
        self._left_out[(router,)].set(n_left_out)

    def sampled(self, policy: str, beliefs: Beliefs, *, n_waiting: int) -> None:
        """Show what one policy believes."""
        policy = self._policies[policy]
        self._waiting[(policy,)].set(n_waiting)
        if beliefs.threshold is not None:
            _set(self._threshold, (policy,), beliefs.threshold)
        for model_id, estimate in beliefs.success.items():
            _set(self._success, (policy, self._models[model_id]), estimate)


def _set(gauge: Children[Gauge], labels: tuple[str, ...], estimate: Estimate) -> None:
    for bound, value in zip(_BOUNDS, estimate, strict=True):
        gauge[*labels, bound].set(value)
