"""From a configuration to the state of an application: what outlives it, and what it makes."""

from collections.abc import Callable, Mapping

from app.access.guard import Guard
from app.assembly import build_decision_log, build_tracer
from app.assembly.active_config import build_active
from app.assembly.provider_watch import build_watch
from app.assembly.router_feedback import build_memories
from app.config import LoadedConfig, ServerConfig
from app.gateway.lessons import Pupils
from app.gateway.names import Names
from app.gateway.policy import Policy
from app.gateway.queues.fair_line import FairLine
from app.gateway.queues.overload import LoadWatch
from app.gateway.queues.places import Places, WaitLimits
from app.outcomes.feedback import Feedback
from app.outcomes.metrics import LearningMetrics
from app.outcomes.recorder import Recorder
from app.state import AppState, Readiness, Resources
from app.stores.base import Lifecycle
from app.telemetry.metrics import Metrics
from app.telemetry.recent import Recent
from app.waits import GATEWAY_QUEUE


def build_state(
    config: LoadedConfig,
    policies: Mapping[str, Policy],
    names: Names,
    store: Lifecycle,
    *,
    metrics: Metrics,
    clock: Callable[[], float],
    recent: Recent | None,
    n_processes: int = 1,
) -> AppState:
    """Build what a running application owns, with what its first configuration makes.

    Parameters
    ----------
    recent
        The console's window on outcomes, if there is a console.

    n_processes
        How many workers serve beside each other.

    Raises
    ------
    ConfigError
        If anything in the configuration does not fit together.
    """
    learning = LearningMetrics(metrics.registry)
    decisions = build_decision_log(
        config, on_drop=learning.dropped, on_restart=metrics.store.restarted
    )

    recorder = Recorder(metrics=metrics, recent=recent, decisions=decisions)
    readiness = Readiness()
    watch, canaries = build_watch(
        store.store.registers, metrics, recorder.record, clock=clock, readiness=readiness
    )
    resources = Resources(
        metrics=metrics,
        store=store,
        record=recorder.record,
        drain=recorder.drain,
        clock=clock,
        n_processes=n_processes,
        pupils=Pupils(store.store.registers),
        memories=build_memories(config),
        watch=watch,
        canaries=canaries,
        decisions=decisions,
        tracer=build_tracer(config),
        feedback=None
        if decisions is None
        else Feedback(
            log=decisions.log,
            counters=store.store.counters,
            per_minute=config.gateway.outcomes.feedback_per_minute,
            on_label=learning.labelled,
        ),
    )
    auth, server = config.gateway.auth, config.gateway.server
    load_watch = LoadWatch(
        max_lag_s=server.max_lag_s,
        max_rss_bytes=None if server.max_rss_mb is None else server.max_rss_mb * 1_000_000,
        on_sample=metrics.process.sampled,
    )

    return AppState(
        serving=build_active(config, resources, policies, names),
        resources=resources,
        guard=Guard(store.store.keys if auth.keys_needed else None, fresh_s=auth.fresh_s),
        places=Places(
            max_running=server.max_concurrent_requests,
            line=FairLine(max_waiting=server.max_queued_requests, batch_share=server.batch_share),
            limits=wait_limits(server),
            clock=clock,
            overloaded=load_watch.overloaded,
            on_waited=metrics.queues.of(GATEWAY_QUEUE),
        ),
        watch=load_watch,
        readiness=readiness,
    )


def wait_limits(server: ServerConfig) -> WaitLimits:
    """Return how long requests may wait for a place."""
    return WaitLimits(
        max_wait_s=server.queue_timeout_s, batch_max_wait_s=server.batch_queue_timeout_s
    )


def resize_places(places: Places, server: ServerConfig) -> None:
    """Have places follow a configuration that was read anew."""
    places.line.batch_share = server.batch_share
    places.resize(
        max_running=server.max_concurrent_requests,
        max_waiting=server.max_queued_requests,
        limits=wait_limits(server),
    )
