"""From a validated configuration to the objects that serve it; everything is built at start."""

import hashlib
import importlib
import random
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import routers
from app.api.resolve import Names, Pair
from app.config import (
    AffinityConfig,
    AllowanceConfig,
    LoadedConfig,
    PolicyConfig,
    RouterConfig,
    TimeoutsConfig,
    UpstreamConfig,
)
from app.config.fields import choices
from app.errors import ConfigError
from app.gateway.admission import Allowance, Allowances
from app.gateway.breaker import CircuitState
from app.gateway.decision_log import DecisionLog, KeepContents
from app.gateway.ledger import NOTHING, Keeps
from app.gateway.pool import DeploymentPool
from app.gateway.redaction import Redactor
from app.gateway.request import AffinityRule, Deployment, KnobCurves, Policy
from app.keys import NO_LIMITS
from app.providers._base import PROVIDERS, Provider, Timeouts
from app.providers._transport import HttptoolsTransport
from app.stores._base import Lifecycle
from app.stores._watch import NO_EVENTS, StoreEvents
from app.stores.memory import MemoryStore
from app.stores.outcomes import Sink
from app.stores.outcomes_sqlite import SqliteOutcomes
from app.telemetry.tracing import Tracer, UpstreamFacts
from routers.artifact import RouterArtifact
from routers.artifact_load import load_artifact
from routers.errors import RoutingError
from routers.stored_thresholds import StoredName, stored_thresholds
from routers.switching import SwitchRule
from routers.types import Conversation, CostQuality, ModelSpec, Objective, StrongThreshold

DEFAULT_ARTIFACT = Path(routers.__file__).parent / "pretrained" / "default"
"""The artifact that is shipped in the package."""

DAY_S = 86_400.0

_INLINE_S = 0.001
"""A decision that takes longer on a short prompt does not run on the event loop."""


def build_store(
    config: LoadedConfig, *, events: StoreEvents = NO_EVENTS, owner: str | None = None
) -> Lifecycle:
    """Build the store that the configuration names; it is not opened yet.

    Parameters
    ----------
    events
        Told of what goes wrong.
    owner
        The name of this process, which serves; None for a tool beside it, which claims nothing.

    Raises
    ------
    ConfigError
        If its address cannot be used.
    """
    store = config.gateway.store
    if store.kind == "memory":
        return MemoryStore(config.data_dir, exclusive=owner is not None, events=events)
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
        events=events,
    )
    # The guard in front remembers keys for `auth.fresh_s`; here only the grace is of use.
    times = KeyTimes(fresh_s=0.0, grace_s=store.keys_grace_s)
    return FallbackStore(shared, key_times=times, events=events)


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
        Told of rows that are lost.
    on_restart
        Told of the thread that writes, should it die and be followed by another one.

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
        from app.stores.outcomes_redis import RedisOutcomes  # noqa: PLC0415

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


def upstream_facts(config: LoadedConfig) -> dict[str, UpstreamFacts]:
    """Return what traces tell of each upstream."""
    return {
        name: UpstreamFacts(
            kind=upstream.kind,
            address=upstream.base_url.host or "",
            port=upstream.base_url.port or 0,
        )
        for name, upstream in config.gateway.upstreams.items()
    }


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


def config_version(config: LoadedConfig) -> str:
    """Return twelve hexadecimal digits that change whenever the configuration does."""
    parts = (config.gateway.model_dump_json(), *map(_told, config.specs.values()))
    return _fingerprint(parts)


def load_artifacts(config: LoadedConfig) -> dict[str, RouterArtifact]:
    """Load the artifact of every configured router, each file once.

    Raises
    ------
    ConfigError
        If an artifact is missing, damaged, or does not fit this installation.
    """
    loaded: dict[tuple[Path, frozenset[str]], RouterArtifact] = {}
    artifacts = {}
    for name, router in config.gateway.routers.items():
        path, trusted = config.artifact_path(name) or DEFAULT_ARTIFACT, frozenset(router.encoders)
        if (path, trusted) not in loaded:
            try:
                loaded[path, trusted] = load_artifact(path, trusted=trusted)
            except RoutingError as error:
                raise config.error(("routers", name), str(error)) from error
        artifacts[name] = loaded[path, trusted]
    return artifacts


def build_policies(
    config: LoadedConfig, artifacts: Mapping[str, RouterArtifact]
) -> dict[str, Policy]:
    """Join each policy with its artifact and its candidates.

    Raises
    ------
    ConfigError
        If a candidate is predicted as a model that the artifact does not know.
    """
    return {
        name: _policy(name, policy, config, artifacts[policy.router])
        for name, policy in config.gateway.policies.items()
    }


def _policy(
    name: str, policy: PolicyConfig, config: LoadedConfig, artifact: RouterArtifact
) -> Policy:
    candidates = tuple(
        _predicted(config.specs[model_id], artifact) for model_id in policy.candidates
    )
    for spec in candidates:
        if spec.predicted_as not in artifact.models:
            raise config.error(
                ("policies", name),
                f"{spec.model_id} is predicted as {spec.predicted_as!r}, which the artifact of "
                f"router {policy.router!r} does not know; set predicted_as to one of: "
                f"{', '.join(artifact.models)}",
            )
    parts = (name, policy.model_dump_json(), artifact.version, *map(_told, candidates))
    return Policy(
        name=name,
        version=_fingerprint(parts),
        artifact=artifact,
        candidates=candidates,
        columns=tuple(artifact.column(spec.predicted_as) for spec in candidates),
        knobs=KnobCurves(artifact, candidates),
        default_model_id=policy.default_model,
        objective=_objective(name, policy, config, artifact),
        scorer_model_id=config.gateway.routers[policy.router].scorer,
        fallback=policy.fallback,
        max_attempts=policy.max_attempts,
        hedge_after_s=policy.hedge_after_s,
        router_deadline_s=policy.router_deadline_s,
        inline_chars=_inline_chars(artifact),
        affinity=_affinity(policy.affinity),
    )


def _predicted(spec: ModelSpec, artifact: RouterArtifact) -> ModelSpec:
    """Have a model predicted as itself where the artifact knows it, but nothing it is likened to.

    `predicted_as` likens a model to one of the shipped artifact's. An artifact that was fitted on
    the gateway's own outcomes calls models what the gateway calls them.
    """
    if spec.predicted_as in artifact.models or spec.model_id not in artifact.models:
        return spec
    return replace(spec, predicted_as=spec.model_id)


def _affinity(config: AffinityConfig) -> AffinityRule | None:
    if not config.enabled:
        return None
    return AffinityRule(
        rule=SwitchRule(cache_lifetime_s=config.cache_lifetime_s, margin_usd=config.margin_usd),
        lifetime_s=config.ttl_s,
    )


def _objective(
    name: str, policy: PolicyConfig, config: LoadedConfig, artifact: RouterArtifact
) -> Objective:
    """Return what the policy decides by where a request does not say."""
    threshold, router = policy.threshold, config.gateway.routers[policy.router]
    if threshold is None or router.pair is None:
        return CostQuality(policy.knob)
    strong, weak = router.pair.strong, router.pair.weak
    if isinstance(threshold, int | float):
        return StrongThreshold(strong=strong, weak=weak, threshold=threshold)
    stored = _stored_thresholds(router, config, artifact)
    if threshold not in stored:
        wanted = {"calibrated": "--strong-share", "guaranteed": "--max-quality-drop"}[threshold]
        names = " and ".join(
            _predicted(config.specs[each], artifact).predicted_as for each in (strong, weak)
        )
        raise config.error(
            ("policies", name, "threshold"),
            f"router {policy.router!r} has no {threshold} threshold between {names}; `steelyard "
            f"calibrate --strong … --weak … {wanted} …` stores one in the artifact (scores of a "
            "scorer cannot be calibrated)",
        )
    return stored[threshold]


def _stored_thresholds(
    router: RouterConfig, config: LoadedConfig, artifact: RouterArtifact
) -> dict[StoredName, StrongThreshold]:
    """Return what calibration stored of the router's pair; what it says of others is not told."""
    if router.pair is None or router.scorer is not None:
        return {}
    strong, weak = router.pair.strong, router.pair.weak
    predicted_as = [
        _predicted(config.specs[each], artifact).predicted_as for each in (strong, weak)
    ]
    return {
        name: StrongThreshold(
            strong=strong, weak=weak, threshold=each.threshold, statement=each.statement
        )
        for name, each in stored_thresholds(artifact.manifest).items()
        if [each.strong, each.weak] == predicted_as
    }


def _told(spec: ModelSpec) -> str:
    """Return everything of a model as text, the same in every process: sets have no order."""
    return f"{replace(spec, capabilities=frozenset())!r} {sorted(spec.capabilities)}"


def _fingerprint(parts: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:12]


def _inline_chars(artifact: RouterArtifact) -> int:
    """Measure whether a decision is quick enough for the event loop, and warm everything up."""
    prompt = [Conversation.of("What is the capital of France, and why did it become one? " * 3)]
    fastest_s = min(_time(lambda: artifact.predict_conversations(prompt)) for _ in range(10))
    return artifact.featurizer.inline_chars if fastest_s <= _INLINE_S else 0


def _time(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def build_names(config: LoadedConfig, policies: Mapping[str, Policy]) -> Names:
    """Collect every name that a client may send.

    Raises
    ------
    ConfigError
        If the pair of a router is not among the candidates of any policy that uses it.
    """
    pairs = {}
    for name, router in config.gateway.routers.items():
        if router.pair is None:
            continue
        wanted = {router.pair.strong, router.pair.weak}
        policy = next(
            (
                policies[policy_name]
                for policy_name, each in config.gateway.policies.items()
                if each.router == name and wanted <= set(each.candidates)
            ),
            None,
        )
        if policy is None:
            raise config.error(
                ("routers", name, "pair"),
                "no policy of this router has both models among its candidates",
            )
        policy.knobs.get(frozenset(wanted))  # no request should wait for its curve
        pairs[name] = Pair(
            policy=policy,
            strong=router.pair.strong,
            weak=router.pair.weak,
            stored=_stored_thresholds(router, config, policy.artifact),
        )
    return Names(
        model_ids=frozenset(config.gateway.models),
        policies=policies,
        default_policy=config.gateway.default_policy,
        pairs=pairs,
    )


def build_deployments(config: LoadedConfig) -> dict[str, tuple[Deployment, ...]]:
    """Make one provider per upstream, for process life, and place every model on its own ones.

    Raises
    ------
    ConfigError
        If an upstream is of an unknown kind.
    """
    upstreams = config.gateway.upstreams
    providers = {name: _provider(name, upstream, config) for name, upstream in upstreams.items()}
    deployments = {}
    for model_id, model in config.gateway.models.items():
        places = []
        for place in model.places:
            upstream = upstreams[place.upstream]
            timeouts = upstream.timeouts
            places.append(
                Deployment(
                    spec=config.specs[model_id],
                    upstream=place.upstream,
                    upstream_model=place.upstream_model or model_id,
                    provider=providers[place.upstream],
                    stream_timeouts=_timeouts(timeouts, first_token_s=timeouts.first_token_s),
                    whole_timeouts=_timeouts(timeouts, first_token_s=timeouts.whole_answer_s),
                    weight=place.weight,
                    retries=upstream.retries,
                )
            )
        deployments[model_id] = tuple(places)
    return deployments


def build_pool(
    config: LoadedConfig,
    deployments: Mapping[str, Sequence[Deployment]],
    *,
    clock: Callable[[], float],
    rng: random.Random,
    on_breaker_change: Callable[[Deployment, CircuitState], None],
) -> DeploymentPool:
    """Put the deployments under the configured circuits."""
    breaker = config.gateway.breaker
    return DeploymentPool(
        deployments,
        clock=clock,
        failures=breaker.failures,
        cooldown_s=breaker.cooldown_s,
        rng=rng,
        on_breaker_change=on_breaker_change,
    )


def providers_of(deployments: Mapping[str, Sequence[Deployment]]) -> list[Provider]:
    """Return every provider once; whoever built the deployments closes them."""
    found = {id(each.provider): each.provider for places in deployments.values() for each in places}
    return list(found.values())


def _provider(name: str, upstream: UpstreamConfig, config: LoadedConfig) -> Provider:
    kinds = PROVIDERS.kinds()
    if upstream.kind not in kinds:
        raise config.error(
            ("upstreams", name, "kind"),
            f"unknown kind {upstream.kind!r}; {choices(upstream.kind, kinds)}",
        )
    try:
        return PROVIDERS.get(upstream.kind)(
            base_url=str(upstream.base_url),
            api_key=config.secrets.get(name),
            transport=HttptoolsTransport(max_connections=upstream.max_connections),
            extra_headers=tuple(upstream.extra_headers.items()),
            stream_usage=upstream.stream_usage,
            drop_fields=upstream.drop_fields,
        )
    except ConfigError as error:
        raise config.error(("upstreams", name), error.message) from error


def _timeouts(timeouts: TimeoutsConfig, *, first_token_s: float) -> Timeouts:
    return Timeouts(
        connect_s=timeouts.connect_s,
        first_token_s=min(first_token_s, timeouts.total_s),
        idle_s=timeouts.idle_s,
        total_s=timeouts.total_s,
    )
