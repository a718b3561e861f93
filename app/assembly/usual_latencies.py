"""What models usually take, as far as a configuration says, where no gateway has measured it."""

from collections.abc import Iterable

from app.assembly.upstreams import pace_at
from app.config import LoadedConfig
from app.gateway.forecasts import Latencies
from app.gateway.latency import Speed, size_of
from app.gateway.latency_terms import TimeLeft
from app.gateway.queues.virtual_counters import NO_RANK, Rank
from routers.decisions import CandidateEstimate, Latency


def usual_latencies(config: LoadedConfig) -> Latencies:
    """Return what predicts how long a model takes before any call of it was seen."""
    speeds = {
        model_id: [
            Speed(pace_at(place, model, config.catalogue.models[model.spec or model_id]))
            for place in model.places
        ]
        for model_id, model in config.gateway.models.items()
    }

    def latencies(
        estimates: Iterable[CandidateEstimate],
        *,
        streams: bool,
        left: TimeLeft | None = None,
        rank: Rank = NO_RANK,  # noqa: ARG001  (nobody waits here)
    ) -> dict[str, Latency]:
        told = {}
        for each in estimates:
            size = size_of(each.input_tokens)
            lengths = each.output_tokens, each.output_tokens_upper
            found = [
                speed.latency(size, *lengths, streams, now=0.0) for speed in speeds[each.model_id]
            ]
            told[each.model_id] = found[0] if left is None else min(found, key=left.late_s)
        return told

    return latencies
