"""Whether models are still those that they were."""

from app.telemetry._declare import ConfiguredNames, Declare

_LEVELS = ("ok", "returning", "warning", "demoted")


class WatchMetrics:
    """Everything that is told of the watch over models."""

    def __init__(
        self, declare: Declare, *, models: ConfiguredNames, upstreams: ConfiguredNames
    ) -> None:
        self._models, self._upstreams = models, upstreams
        where = ("model", "upstream", "upstream_model")
        self._level = declare.gauge(
            "gateway_watch_level",
            "How far a model is trusted where it is served: 0 ok, 1 returning, 2 warning, "
            "3 demoted.",
            *where,
            together="livemostrecent",
        )
        self._evidence = declare.gauge(
            "gateway_watch_evidence",
            "How strongly its answers speak for a change, in powers of ten.",
            *where,
            together="livemostrecent",
        )
        self._changes = declare.counter(
            "gateway_watch_changes",
            "Changes of that level, by the new one; `snapshot` where another state of the model "
            "began to answer.",
            *("model", "upstream", "level"),
        )
        self._mismatches = declare.counter(
            "gateway_watch_mismatches",
            "Answers by another model than was asked for, as the upstream names it.",
            *("model", "upstream"),
        )
        self._canaries = declare.counter(
            "gateway_canaries",
            "Questions of the gateway's own by how they were answered: right, wrong or failed.",
            *("model", "upstream", "result"),
        )

    def sampled(self, place: tuple[str, str, str], *, level: str, log10_evidence: float) -> None:
        """Show where one place stands."""
        model_id, upstream, upstream_model = place
        labels = self._models[model_id], self._upstreams[upstream], upstream_model
        self._level[labels].set(_LEVELS.index(level))
        self._evidence[labels].set(log10_evidence)
        self._mismatches[labels[:2]].inc(0)  # an increase needs something to start at

    def changed(self, place: tuple[str, str, str], *, level: str) -> None:
        """Count one change; `level` is the new one, or `snapshot`."""
        self._changes[self._models[place[0]], self._upstreams[place[1]], level].inc(1)

    def mismatched(self, place: tuple[str, str, str]) -> None:
        """Count one answer by another model than was asked for."""
        self._mismatches[self._models[place[0]], self._upstreams[place[1]]].inc(1)

    def canary(self, place: tuple[str, str, str], result: str) -> None:
        """Count one canary."""
        self._canaries[self._models[place[0]], self._upstreams[place[1]], result].inc(1)
