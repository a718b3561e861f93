"""What outlives configurations: store, decision log, tracer; and who may use how much."""

import importlib
from collections.abc import Callable

from app.config import (
    AllowanceConfig,
    GatewayConfig,
    KeyAllowanceConfig,
    LoadedConfig,
    ShareConfig,
    StoreConfig,
)
from app.errors import ConfigError
from app.gateway.heard import NOTHING, Keeps
from app.gateway.kept_responses import KeptResponses
from app.gateway.money.allowances import Allowance, Allowances
from app.gateway.money.shares import ShareCap, Shares
from app.gateway.queues.ranks import QueueTerms, Ranks
from app.keys import NO_LIMITS
from app.outcomes.decision_log import DecisionLog, KeepContents
from app.outcomes.log import Sink
from app.outcomes.redaction import Redactor
from app.outcomes.sqlite import SqliteOutcomes
from app.stores.base import Lifecycle, Store
from app.stores.bounds import AnswerBounds
from app.stores.memory import MemoryStore
from app.stores.watch import NO_EVENTS, StoreEvents
from app.telemetry.tracing import Tracer

DAY_S = 86_400.0


def build_store(
    config: LoadedConfig, *, events: StoreEvents = NO_EVENTS, owner: str | None = None
) -> Lifecycle:
    """Build the store that the configuration names; it is not opened yet.

    Parameters
    ----------
    events
        Notified of what goes wrong.
    owner
        The name of this process, which serves; None for a tool beside it, which claims nothing.

    Raises
    ------
    ConfigError
        If its address cannot be used.
    """
    store = config.gateway.store
    if store.kind == "memory":
        return MemoryStore(
            config.data_dir,
            exclusive=owner is not None,
            answer_bounds=_answer_bounds(store),
            response_bounds=_response_bounds(config),
            jobs=config.gateway.batches.enabled,
            events=events,
        )
    from app.stores.fallback import FallbackStore  # noqa: PLC0415  (redis-py takes its time)
    from app.stores.key_cache import KeyTimes  # noqa: PLC0415
    from app.stores.redis import RedisStore  # noqa: PLC0415

    if config.redis_url is None:
        raise config.error(
            ("store", "kind"),
            f"redis takes its address from {store.redis_url_env}, which is not set; export it "
            "(redis://host:6379/0)",
        )
    shared = RedisStore(
        config.redis_url,
        prefix=store.prefix,
        timeout_s=store.timeout_s,
        owner=owner or "",
        cache_url=config.cache_url,
        answer_bounds=_answer_bounds(store),
        response_bounds=_response_bounds(config),
        jobs=config.gateway.batches.enabled,
        events=events,
    )
    # The guard in front remembers keys for `auth.fresh_s`; here only the grace is of use.
    times = KeyTimes(fresh_s=0.0, grace_s=store.keys_grace_s)
    return FallbackStore(shared, key_times=times, events=events)


def _answer_bounds(store: StoreConfig) -> AnswerBounds:
    return AnswerBounds(bytes=store.cache_max_bytes, bytes_per_key=store.cache_max_bytes_per_key)


def _response_bounds(config: LoadedConfig) -> AnswerBounds | None:
    responses = config.gateway.responses
    if not responses.store:
        return None
    return AnswerBounds(bytes=responses.max_bytes, bytes_per_key=responses.max_bytes_per_key)


def kept_responses(config: GatewayConfig, store: Store) -> KeptResponses | None:
    """Return where responses are kept; None where none are."""
    if store.responses is None:
        return None
    return KeptResponses(
        answers=store.responses,
        lifetime_s=config.responses.keep_days * DAY_S,
        max_bytes=config.responses.max_response_bytes,
    )


def build_decision_log(
    config: LoadedConfig,
    *,
    on_drop: Callable[[int], None] = lambda _n: None,
    on_restart: Callable[[str], None] = lambda _name: None,
) -> DecisionLog | None:
    """Build the decision log; it is not opened yet. None where there is none.

    Parameters
    ----------
    on_drop
        Notified of rows that are lost.
    on_restart
        Notified of the thread that writes, should it die and be followed by another one.

    Raises
    ------
    ConfigError
        If a pattern or a function that redacts cannot be used, or Redis has no address.
    """
    if not config.gateway.logs_decisions:
        return None
    outcomes = config.gateway.outcomes
    contents = None
    if outcomes.contents.enabled:
        contents = KeepContents(
            seconds=outcomes.contents.keep_days * DAY_S,
            redactor=_redactor(config),
        )
    return DecisionLog(_sink(config), contents=contents, on_drop=on_drop, on_restart=on_restart)


def _redactor(config: LoadedConfig) -> Redactor:
    contents = config.gateway.outcomes.contents
    try:
        return Redactor(contents.redact, contents.redact_hook)
    except ConfigError as error:
        raise ConfigError(f"{config.path}: {error.message}") from error


def _sink(config: LoadedConfig) -> Sink:
    outcomes, store = config.gateway.outcomes, config.gateway.store
    keep_s = outcomes.keep_days * DAY_S
    if outcomes.sink == "redis":
        from app.outcomes.redis import RedisOutcomes  # noqa: PLC0415

        if config.redis_url is None:
            raise config.error(
                ("outcomes", "sink"),
                f"redis takes its address from {store.redis_url_env}, which is not set",
            )
        return RedisOutcomes(
            config.redis_url,
            prefix=store.prefix,
            keep_s=keep_s,
            contents_keep_s=outcomes.contents.keep_days * DAY_S,
        )
    assert config.data_dir is not None  # noqa: S101  (the configuration was checked)
    return SqliteOutcomes(config.data_dir, keep_s=keep_s)


def require_traces(config: LoadedConfig) -> None:
    """Refuse traces that this installation cannot make.

    Raises
    ------
    ConfigError
        If the extra is not installed, or texts are traced and cannot be redacted.
    """
    traces = config.gateway.traces
    if not traces.enabled:
        return
    if traces.content:
        _redactor(config)
    try:
        importlib.import_module("app.telemetry.traces")
    except ImportError as error:
        raise config.error(
            ("traces", "enabled"), f"needs an extra: pip install 'steelyard[otel]' ({error})"
        ) from error


def build_tracer(config: LoadedConfig) -> Tracer | None:
    """Build what makes traces; None, and nothing is imported, where there are none.

    Raises
    ------
    ConfigError
        If the extra is not installed, or texts are traced and cannot be redacted.
    """
    traces = config.gateway.traces
    if not traces.enabled:
        return None
    require_traces(config)
    from app.telemetry.traces import OtelTracer  # noqa: PLC0415

    return OtelTracer(
        endpoint=None if traces.endpoint is None else str(traces.endpoint),
        service_name=traces.service_name,
        sample=traces.sample,
        opt_in=config.semconv_opt_in,
        propagate=traces.propagate,
        redact=_redactor(config).text if traces.content else None,
    )


def build_keeps(config: LoadedConfig) -> Keeps:
    """Return what of the texts the decision log, or traces, want to see."""
    outcomes, traces = config.gateway.outcomes, config.gateway.traces
    keeps = Keeps(
        features=config.gateway.logs_decisions and outcomes.features == "value",
        answers=outcomes.contents.enabled or (traces.enabled and traces.content),
    )
    return NOTHING if keeps == NOTHING else keeps


def build_allowances(config: LoadedConfig) -> Allowances:
    """Collect who may use how much."""

    def allowance(each: AllowanceConfig) -> Allowance:
        return Allowance(each.limits.to_limits(), tuple(b.to_budget() for b in each.budgets))

    configured = config.gateway.allowances
    models = {name: each.limits.to_limits() for name, each in config.gateway.models.items()}
    return Allowances(
        gateway=allowance(configured.gateway),
        key=allowance(configured.key),
        teams={name: allowance(each) for name, each in configured.teams.items()},
        models={name: limits for name, limits in models.items() if limits != NO_LIMITS},
    )


def build_ranks(config: LoadedConfig) -> Ranks:
    """Collect how urgent whose requests may be, and the shares of keys."""

    def terms(each: KeyAllowanceConfig) -> QueueTerms:
        priorities = None if each.priorities is None else frozenset(each.priorities)
        return QueueTerms(priorities, each.weight)

    configured = config.gateway.allowances
    return Ranks(
        key=terms(configured.key),
        teams={name: terms(each) for name, each in configured.teams.items()},
    )


def build_shares(config: LoadedConfig, *, n_processes: int = 1) -> Shares:
    """Collect how many of whose requests may go where; a model's variants count as it does."""

    def models(cap: ShareConfig) -> frozenset[str]:
        specs = config.specs.values()
        return frozenset(cap.models) | {s.model_id for s in specs if s.variant_of in cap.models}

    def caps(each: AllowanceConfig) -> tuple[ShareCap, ...]:
        return tuple(
            ShareCap(models=models(cap), share=cap.share, burst=cap.burst) for cap in each.shares
        )

    configured = config.gateway.allowances
    return Shares(
        gateway=caps(configured.gateway),
        key=caps(configured.key),
        teams={name: caps(each) for name, each in configured.teams.items()},
        n_processes=n_processes,
    )
