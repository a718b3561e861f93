"""The watch over models: what it tells, and what a configuration says of it."""

from collections.abc import Callable

from app.config import LoadedConfig
from app.gateway.watch.canaries import Canaries, CanaryRule
from app.gateway.watch.provider_watch import ProviderWatch
from app.gateway.watch.watched_answers import Place
from app.outcome import Outcome
from app.state import Readiness
from app.stores.base import Registers
from app.telemetry.metrics import Metrics
from routers.watch.watched import Change, Rule


def build_watch(
    registers: Registers,
    metrics: Metrics,
    record: Callable[[Outcome], None],
    *,
    clock: Callable[[], float],
    readiness: Readiness,
) -> tuple[ProviderWatch, Canaries]:
    """Build what watches, for process life; it watches nothing until it is told to."""

    def changed(place: Place, change: Change) -> None:
        level = "snapshot" if change.level is None else change.level.value
        metrics.watch.changed(place, level=level)

    watch = ProviderWatch(registers, on_change=changed, on_mismatch=metrics.watch.mismatched)
    return watch, Canaries(
        watch=watch,
        record=record,
        clock=clock,
        on_answer=metrics.watch.canary,
        is_stopping=lambda: readiness.draining,
    )


def watch_rule(config: LoadedConfig) -> Rule | None:
    """Return how a watch is kept; None where none is."""
    return None if config.gateway.watch.mode == "off" else configured_rule(config)


def configured_rule(config: LoadedConfig) -> Rule:
    """Return how a watch would be kept, were it on."""
    watch = config.gateway.watch
    return Rule(
        alarm=watch.requests_per_false_alarm,
        demotes=watch.mode == "demote",
        learn_from=watch.learn_from,
        return_after_s=watch.return_after_s,
    )


def canary_rule(config: LoadedConfig) -> CanaryRule:
    """Return how canaries are asked."""
    canaries = config.gateway.watch.canaries
    return CanaryRule(
        usd_per_day=canaries.usd_per_day,
        every_s=canaries.every_s,
        max_tokens=canaries.max_tokens,
        timeout_s=canaries.timeout_s,
    )


def other_names(config: LoadedConfig) -> dict[str, tuple[str, ...]]:
    """Return by what other names each model may answer, those of variants with their model's."""
    models = config.gateway.models
    return {model_id: models[model_id.partition("@")[0]].answers_as for model_id in config.specs}
