"""What models usually take, as far as a configuration says, where no gateway has measured it."""

from collections.abc import Callable

from app.assembly.upstreams import pace_at
from app.config import LoadedConfig
from app.gateway.deployments.balance import CallSize
from app.gateway.forecasts import LatencyOf
from app.gateway.latency import Speed
from routers.types import Latency


def usual_latencies(config: LoadedConfig) -> LatencyOf:
    """Return what predicts how long a model takes before any call of it was seen."""
    speeds = {
        model_id: [
            Speed(pace_at(place, model, config.catalogue.models[model.spec or model_id]))
            for place in model.places
        ]
        for model_id, model in config.gateway.models.items()
    }

    def latency_of(
        model_id: str, size: CallSize, *, key: Callable[[Latency], float] | None = None
    ) -> Latency:
        found = [
            each.forecast(
                input_tokens=size.input_tokens,
                output_tokens=size.output_tokens,
                output_tokens_upper=size.output_tokens_upper,
                streams=size.streams,
                now=0.0,
            ).latency
            for each in speeds[model_id]
        ]
        return found[0] if key is None else min(found, key=key)

    return latency_of
