"""Deployments that are orchestrated: by what load is spread, and how much each gets."""

from collections.abc import Iterable

from app.telemetry._declare import ConfiguredNames, Declare

_MODES = ("cost", "capacity")


class OrchestrationMetrics:
    """Everything that is told of models with `balance: orchestration`."""

    def __init__(
        self, declare: Declare, *, models: ConfiguredNames, upstreams: ConfiguredNames
    ) -> None:
        self._models, self._upstreams = models, upstreams
        self._mode = declare.gauge(
            "gateway_orchestration_mode",
            "1 for what spreads a model's load at the moment: cost, or capacity.",
            *("model", "mode"),
            together="livemax",
        )
        self._weight = declare.gauge(
            "gateway_orchestration_weight",
            "A deployment's share of its model's calls, as its mode weighs it.",
            *("model", "upstream"),
            together="livemax",
        )

    def sampled(self, model_id: str, mode: str, weights: Iterable[tuple[str, float]]) -> None:
        """Show how a model stands; weights are by upstream."""
        model, by_upstream = self._models[model_id], dict[str, float]()
        for each in _MODES:
            self._mode[model, each].set(1 if each == mode else 0)
        for upstream, weight in weights:
            name = self._upstreams[upstream]
            by_upstream[name] = by_upstream.get(name, 0.0) + weight
        for name, weight in by_upstream.items():
            self._weight[model, name].set(weight)
