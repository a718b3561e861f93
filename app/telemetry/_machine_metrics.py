"""Machines that load models on demand: what they have loaded, and who had to wait for that."""

from collections.abc import Mapping

from app.telemetry._declare import ConfiguredNames, Declare


class MachineMetrics:
    """Everything that is told of models that are loaded on demand."""

    def __init__(
        self, declare: Declare, *, models: ConfiguredNames, upstreams: ConfiguredNames
    ) -> None:
        self._models, self._upstreams = models, upstreams
        self._loaded = declare.gauge(
            "gateway_model_loaded",
            "Whether a machine is taken to have a model loaded, or to be loading it: 0 or 1.",
            *("upstream", "model"),
            together="livemax",
        )
        self._calls = declare.counter(
            "gateway_loading_calls",
            "Calls of models that are loaded on demand, by whether theirs was loaded: yes or no.",
            *("upstream", "model", "loaded"),
        )
        self._unread = declare.counter(
            "gateway_loaded_unread",
            "Questions to a machine what it has loaded that it did not answer.",
            "upstream",
        )

    def called(self, upstream: str, model_id: str, *, loaded: bool) -> None:
        """Count a call, and whether its model was there."""
        said = "yes" if loaded else "no"
        self._calls[self._upstreams[upstream], self._models[model_id], said].inc(1)

    def unread(self, upstream: str) -> None:
        """Count a machine that did not say what it has loaded."""
        self._unread[(self._upstreams[upstream],)].inc(1)

    def sampled(self, upstream: str, loaded: Mapping[str, bool]) -> None:
        """Show which of a machine's models are loaded."""
        for model_id, is_loaded in loaded.items():
            child = self._loaded[self._upstreams[upstream], self._models[model_id]]
            child.set(1 if is_loaded else 0)
