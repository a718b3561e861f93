"""Measure what recording one request costs, in processor time of the thread that does it.

    python -m loadtest.bench_metrics [--requests 20000] [--workers] [--json FILE]

The outcome is that of a streamed request that a router decided among five models, answered at the
first attempt. `--workers` counts as one of several worker processes does: into mapped files.
"""

import argparse
import json
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from app.outcome import Outcome
    from app.telemetry.metrics import Metrics

_ROUNDS = 10
_MODELS = ("sim-nano", "sim-small", "sim-medium", "sim-large", "sim-frontier")


def main(arguments: Sequence[str] | None = None) -> None:
    """Time `Metrics.record` and print microseconds per request."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--requests", type=int, default=20_000, help="per round")
    parser.add_argument("--workers", action="store_true", help="count into mapped files")
    parser.add_argument("--json", type=Path, help="also write the result there")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        if options.workers:  # before anything imports the metrics
            os.environ["PROMETHEUS_MULTIPROC_DIR"] = folder
        result = {
            "record_us": _microseconds(options.requests, _recorder()),
            "requests": options.requests,
            "workers": options.workers,
            "python": platform.python_version(),
            "processor": _processor(),
        }
    print(f"one request: {result['record_us']:.1f} µs")
    if options.json:
        options.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


def _recorder() -> Callable[[], None]:
    metrics, outcomes = configured_metrics(), [example_outcome(model) for model in _MODELS]

    def record() -> None:
        for outcome in outcomes:
            metrics.record(outcome)

    return record


def configured_metrics() -> "Metrics":
    """Return the instruments of a gateway that knows the models of the example."""
    from prometheus_client import CollectorRegistry  # noqa: PLC0415  (see `main`)

    from app.telemetry.baselines import PolicyFacts  # noqa: PLC0415
    from app.telemetry.metrics import Metrics  # noqa: PLC0415

    metrics = Metrics(CollectorRegistry())
    metrics.configured(
        version="0",
        config_version="0",
        models=_MODELS,
        upstreams=("stub",),
        policies=(
            PolicyFacts(
                name="default",
                version="0",
                router="carrot",
                artifact_version="0",
                default_model_id="sim-medium",
                strongest_model_id="sim-frontier",
                score_edges=tuple(i / 10 for i in range(1, 10)),
            ),
        ),
    )
    return metrics


def example_outcome(served: str) -> "Outcome":
    """Return what a routed, streamed request left behind."""
    from app.calls import Call, CallRole  # noqa: PLC0415
    from app.outcome import Outcome  # noqa: PLC0415
    from app.usage import Usage  # noqa: PLC0415
    from routers.decision.switching import SessionReason  # noqa: PLC0415
    from routers.decisions import CandidateEstimate, Decision, Reason  # noqa: PLC0415
    from routers.objectives import CostQuality  # noqa: PLC0415

    candidates = tuple(
        CandidateEstimate(
            model_id=model_id,
            quality=0.4 + 0.1 * i,
            quality_std=0.1,
            input_tokens=80,
            output_tokens=200.0,
            output_tokens_upper=600.0,
            cost_usd=1e-5 * 4**i,
            cost_usd_upper=3e-5 * 4**i,
        )
        for i, model_id in enumerate(_MODELS)
    )
    usage = Usage(input_tokens=80, output_tokens=190)
    return Outcome(
        request_id="req-1",
        decision_id="dec-1",
        policy="default",
        policy_version="0",
        stream=True,
        decision=Decision(
            model_id=served,
            fallbacks=tuple(each for each in _MODELS if each != served),
            candidates=candidates,
            reason=Reason.KNOB,
            usd_per_quality=1e-3,
        ),
        reason=Reason.KNOB,
        calls=(
            Call(
                call_id="dec-1.0",
                parent_id="dec-1",
                role=CallRole.ANSWER,
                began_s=0.001,
                model_id=served,
                upstream="stub",
                duration_s=0.4,
                status=200,
                usage=usage,
                cost_usd=1.5e-4,
            ),
        ),
        served_model_id=served,
        response_model=served,
        finish_reason="stop",
        usage=usage,
        decide_s=4e-4,
        overhead_s=9e-4,
        time_to_first_token_s=0.4,
        duration_s=2.5,
        status=200,
        error=None,
        session=SessionReason.INITIALIZE,
        served_upstream="stub",
        objective=CostQuality(0.5),
    )


def _microseconds(n_requests: int, record: Callable[[], None]) -> float:
    """Return the median of rounds; `record` records as many outcomes as there are models."""
    times = []
    for _ in range(_ROUNDS + 1):
        began = time.thread_time()
        for _ in range(n_requests // len(_MODELS)):
            record()
        times.append((time.thread_time() - began) / n_requests * 1e6)
    return statistics.median(times[1:])  # the first one fills caches


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    return next((line.split(": ")[1] for line in lines if "model name" in line), "unknown")


if __name__ == "__main__":
    main()
