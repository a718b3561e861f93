"""What a configuration makes: built as a whole, served as a whole, replaced as a whole."""

import random
import time
from collections.abc import Mapping

from app.assembly import (
    build_allowances,
    build_deployments,
    build_keeps,
    build_names,
    build_policies,
    build_pool,
    build_queues,
    build_ranks,
    build_shares,
    config_version,
    load_artifacts,
    providers_of,
    upstream_facts,
)
from app.assembly.machines import build_homes
from app.assembly.metric_baselines import tell_metrics
from app.assembly.provider_watch import canary_rule, other_names, watch_rule
from app.assembly.router_feedback import build_remembering
from app.config import LoadedConfig
from app.error_answers import answer_for
from app.errors import ConfigError, UpstreamError
from app.gateway.affinity import Affinity
from app.gateway.app_descriptions import AppDescriptions
from app.gateway.cache import ResponseCache
from app.gateway.ceilings import Paces
from app.gateway.choose import Chooser
from app.gateway.decide import Decider
from app.gateway.decision_models import DecisionModels
from app.gateway.deployments.breaker import CircuitState
from app.gateway.deployments.loading import Loading
from app.gateway.dispatch import Dispatcher
from app.gateway.handle import Gateway
from app.gateway.held_answers import HoldBack
from app.gateway.life import Books
from app.gateway.load.load_bias import LoadBiases
from app.gateway.load.tier_choice import TierChoices
from app.gateway.money.admission import Admission
from app.gateway.names import Names
from app.gateway.policy import Policy
from app.gateway.questions import Questions
from app.gateway.request import Deployment
from app.gateway.reservations import Reservations
from app.gateway.score import Scorer
from app.gateway.visible import VisibleNames
from app.gateway.workflows import Workflows
from app.state import ActiveConfig, Resources
from routers.artifact.artifact import RouterArtifact
from routers.probe import Probe

_CLAIM_MARGIN_S = 60.0
"""How much longer than a request may take its claims are held, at most; no longer than that again.

What a gateway claimed that was killed is free again after both.
"""


def prepare(
    config: LoadedConfig, artifacts: Mapping[str, RouterArtifact] | None = None
) -> tuple[Mapping[str, Policy], Names]:
    """Do the slow part of `build_active`: load artifacts, fit the knob's curves.

    Raises
    ------
    ConfigError
        If anything in the configuration does not fit together.
    """
    loaded = load_artifacts(config) if artifacts is None else artifacts
    policies = build_policies(config, loaded)
    return policies, build_names(config, policies)


def build_active(
    config: LoadedConfig, resources: Resources, policies: Mapping[str, Policy], names: Names
) -> ActiveConfig:
    """Build what serves requests.

    Raises
    ------
    ConfigError
        If an upstream is of an unknown kind.
    """
    metrics, clock = resources.metrics, resources.clock
    limits, server = config.gateway.breaker, config.gateway.server
    caching, store = config.gateway.cache, resources.store.store
    version = config_version(config)
    deployments = build_deployments(config)
    rng = random.Random()  # noqa: S311  (spreads load and retries, guards nothing)

    def breaker_changed(deployment: Deployment, state: CircuitState) -> None:
        metrics.upstreams.breaker_changed(
            deployment.spec.model_id,
            upstream=deployment.upstream,
            upstream_model=deployment.upstream_model,
            state=state.value,
        )

    def attempt_failed(deployment: Deployment, error: UpstreamError) -> None:
        metrics.upstreams.attempt_failed(
            deployment.spec.model_id,
            upstream=deployment.upstream,
            error=answer_for(error).code or "upstream_error",
        )

    def probed(policy: Policy, probe: Probe) -> None:
        metrics.routing.staged(probe.seconds)
        if probe.x is not None:
            resources.drift.hold(policy.name, policy.artifact, probe.x)

    resources.memories.follow(build_remembering(config, policies))
    tell_metrics(metrics, config, policies, version=version)
    tiers = TierChoices.of(policies.values(), metrics.best_effort.ended)
    metrics.best_effort.configured({name: each.tiers for name, each in tiers.policies.items()})
    homes, machines = build_homes(config, resources.machines)

    def called(deployment: Deployment, loaded: bool) -> None:  # noqa: FBT001  (a callback)
        metrics.machines.called(deployment.upstream, deployment.spec.model_id, loaded=loaded)

    pool = build_pool(
        config,
        deployments,
        clock=clock,
        rng=rng,
        on_breaker_change=breaker_changed,
        speeds=resources.speeds,
        tier_loads=tiers.loads,
        rooms=resources.rooms.of(deployments),
        homes=homes,
        on_loading_call=called,
    )
    queues = build_queues(config, pool, on_waited=metrics.queues.of)
    loads = LoadBiases.of_policies(policies.values(), deployments, pool)
    for slot in pool.slots():
        breaker_changed(slot.deployment, slot.circuit.state)
    watch = resources.watch
    watch.follow(watch_rule(config), deployments, pool, answers_as=other_names(config))
    resources.canaries.rule = canary_rule(config)
    admission = Admission(
        counters=resources.store.store.counters,
        allowances=build_allowances(config),
        specs=config.specs,
        lifetime_s=server.request_timeout_s + min(server.request_timeout_s, _CLAIM_MARGIN_S),
        on_refusal=metrics.process.refused,
    )
    dispatcher = Dispatcher(
        pool=pool,
        clock=clock,
        rng=rng,
        on_failure=attempt_failed,
        queues=queues if queues.all else None,
        request_timeout_s=server.request_timeout_s,
    )
    reservations = Reservations(admission=admission)
    questions = Questions(
        dispatcher=dispatcher, max_late=limits.failures, cooldown_s=limits.cooldown_s
    )
    held, usual = server.hold_back, Paces()
    gateway = Gateway(
        chooser=Chooser(
            decider=Decider(
                unhealthy=pool.unhealthy,
                demoted=watch.demoted,
                on_router_failure=lambda policy, reason: metrics.routing.router_failed(
                    policy.name, reason
                ),
                on_probe=probed,
            ),
            scorer=Scorer(questions=questions, specs=config.specs),
            apps=AppDescriptions(questions=questions, specs=config.specs),
            decision_models=DecisionModels(
                questions=questions,
                specs=config.specs,
                max_failures=limits.failures,
                cooldown_s=limits.cooldown_s,
                on_said=lambda policy, result: metrics.routing.decision_model_said(
                    policy.name, result.value
                ),
            ),
            reservations=reservations,
            affinity=Affinity(blobs=store.blobs, now=time.time),
            clock=clock,
            loads=loads.of,
            tiers=tiers,
            shares=build_shares(config, n_processes=resources.n_processes),
            request_timeout_s=server.request_timeout_s,
            usual=usual,
            latencies=pool.times.latencies,
            loading=Loading(to_load=pool.to_load) if pool.loads_models else None,
        ),
        books=Books(
            reservations=reservations,
            record=resources.record,
            request_timeout_s=server.request_timeout_s,
        ),
        dispatcher=dispatcher,
        workflows=Workflows(
            dispatcher=dispatcher,
            questions=questions,
            specs=config.specs,
            hold=HoldBack(
                max_bytes=held.max_bytes, max_s=held.max_s, serves_longer=held.longer == "serve"
            ),
            usual=usual,
            saw=watch.saw if watch.is_on else None,
        ),
        cache=ResponseCache(
            answers=store.answers,
            version=version,
            enabled=caching.enabled,
            lifetime_s=caching.ttl_s,
            max_answer_bytes=caching.max_answer_bytes,
            wait_s=caching.wait_s,
        ),
        clock=clock,
        config_version=version,
        pupils=resources.pupils.of(policies, bandits=pool.bandits()),
        watch=watch if watch.is_on else None,
        keeps=build_keeps(config),
        tracer=resources.tracer,
        upstreams=upstream_facts(config),
    )
    return ActiveConfig(
        config=config,
        gateway=gateway,
        admission=admission,
        pool=pool,
        queues=queues,
        loads=loads,
        deployments=deployments,
        policies=policies,
        providers=tuple(providers_of(deployments)),
        machines=machines,
        endpoints=tuple(
            policy.decision_model.endpoint
            for policy in policies.values()
            if policy.decision_model is not None and policy.decision_model.endpoint is not None
        ),
        names=names,
        visible=VisibleNames(names),
        ranks=build_ranks(config),
    )


_QUEUEING = (
    *("max_concurrent_requests", "max_queued_requests", "queue_timeout_s"),
    *("batch_queue_timeout_s", "batch_share"),
)
"""What of `server` a reload changes: who has a place, or waits for one, keeps it."""


def check_replaceable(old: LoadedConfig, new: LoadedConfig) -> None:
    """Refuse what only a restart can change.

    Raises
    ------
    ConfigError
        Naming it.
    """
    fixed = ("server", "store", "auth", "responses", "batches", "outcomes", "traces", "stub")
    for name in fixed:
        before, after = getattr(old.gateway, name), getattr(new.gateway, name)
        if name == "server":
            after = after.model_copy(update={each: getattr(before, each) for each in _QUEUEING})
        if before != after:
            raise ConfigError(
                f"{new.path}: {name} changed, which needs a restart; nothing was replaced"
            )
