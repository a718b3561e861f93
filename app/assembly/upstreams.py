"""Providers, and where each model is served."""

import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from app.config import LoadedConfig, TimeoutsConfig, UpstreamConfig
from app.config.catalogue import CatalogueEntry, VariantConfig
from app.config.fields import choices
from app.config.models import MARK, DeploymentConfig, ModelConfig
from app.config.parameters import ParametersConfig, rules_for, shipped_table
from app.errors import ConfigError
from app.gateway.deployments.balances import balance_of
from app.gateway.deployments.bandit import Bandit
from app.gateway.deployments.breaker import CircuitState
from app.gateway.deployments.machines import Home
from app.gateway.deployments.pool import DeploymentPool
from app.gateway.deployments.rooms import Room
from app.gateway.deployments.tier_load import TierLoad
from app.gateway.latency import Pace, Speeds, pace_of
from app.gateway.model_queues import ModelQueues, QueueRule
from app.gateway.queues.places import OnWaited
from app.gateway.request import Deployment
from app.http_client.transport import HttptoolsTransport
from app.providers.base import PROVIDERS, Identity, Provider, Timeouts
from app.telemetry.tracing import UpstreamFacts
from app.wire.parameters import NO_RULES, Drop, ParameterRules
from app.wire.prompts import Position, SystemPrompt

_OTHER_LIMIT = {
    "max_tokens": "max_completion_tokens",
    "max_completion_tokens": "max_tokens",
}

_WITHOUT_ONE_CALL = frozenset({"gemini", "vertex", "bedrock"})
"""Kinds whose dialect cannot ask for one tool call at most."""

_NOT_LOOKED_AT = "not-looked-at"
"""In place of a key that is named, where a configuration is checked without the environment."""


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
                    parameters=_rules(
                        place.upstream_model or model_id,
                        upstream,
                        config.catalogue.models[model.spec or model_id].parameters,
                        model_id=model_id,
                        variant=config.variants.get(model_id),
                    ),
                    takes_documents=_takes_documents(
                        place.upstream_model or model_id,
                        upstream,
                        config.catalogue.models[model.spec or model_id].parameters,
                    ),
                    weight=place.weight,
                    region=place.region,
                    usd_per_hour=place.usd_per_hour,
                    max_outstanding=place.max_outstanding,
                    max_rps=place.max_rps,
                    requests_per_minute=place.requests_per_minute,
                    tokens_per_minute=place.tokens_per_minute,
                    pace=pace_at(place, model, config.catalogue.models[model.spec or model_id]),
                    label=_label(place, model),
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
    rooms: Mapping[tuple[str, str], Room],
    tier_loads: Mapping[str, TierLoad],
    homes: Mapping[tuple[str, str], Home],
    on_loading_call: Callable[[Deployment, bool], None],
    speeds: Speeds | None = None,
) -> DeploymentPool:
    """Put the deployments under the configured circuits."""
    breaker = config.gateway.breaker
    models = config.gateway.models
    balances = {
        model_id: balance_of(model, rng, region=config.gateway.server.region)
        for model_id, model in models.items()
        if model_id in deployments and model_id not in config.variants
    }
    for variant_id in config.variants:
        # It is served where its model is: what one learns of a place holds for the other.
        balances[variant_id] = balances[variant_id.partition(MARK)[0]]
    for model_id, balance in balances.items():
        if isinstance(balance, Bandit):
            balance.meet([model_id])
    return DeploymentPool(
        deployments,
        clock=clock,
        failures=breaker.failures,
        cooldown_s=breaker.cooldown_s,
        rng=rng,
        balances=balances,
        on_breaker_change=on_breaker_change,
        speeds=speeds,
        rooms=rooms,
        tier_loads=tier_loads,
        homes=homes,
        on_loading_call=on_loading_call,
    )


def build_queues(
    config: LoadedConfig, pool: DeploymentPool, *, on_waited: Callable[[str], OnWaited]
) -> ModelQueues:
    """Put queues before the models whose deployments take only so many calls at once."""
    rules = {}
    for model_id, _ in pool.by_model():
        queue = config.gateway.models[model_id.partition(MARK)[0]].queue
        if queue is not None:
            rules[model_id] = QueueRule(**queue.model_dump())
    return ModelQueues(pool, rules, on_waited=on_waited)


def providers_of(deployments: Mapping[str, Sequence[Deployment]]) -> list[Provider]:
    """Return every provider once; whoever built the deployments closes them."""
    found = {id(each.provider): each.provider for places in deployments.values() for each in places}
    return list(found.values())


def pace_at(place: DeploymentConfig, model: ModelConfig, entry: CatalogueEntry) -> Pace:
    """Return how fast a place answers as far as anybody says, the nearest word first."""
    ttfts = (place.ttft_s, model.ttft_s, entry.ttft_s)
    rates = (place.tokens_per_s, model.tokens_per_s, entry.tokens_per_s)
    return pace_of(
        ttft_s=next((each for each in ttfts if each is not None), None),
        tokens_per_s=next((each for each in rates if each is not None), None),
        latency_s=entry.usual_latency_s,
    )


def _label(place: DeploymentConfig, model: ModelConfig) -> bytes:
    """Return what answers call a place: nothing where there is no other."""
    if len(model.places) == 1:
        return b""
    alike = [each for each in model.places if each.upstream == place.upstream]
    told = place.upstream if len(alike) == 1 else f"{place.upstream}/{place.upstream_model or ''}"
    return told.encode("ascii", "replace")


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
            api_key=config.secrets.get(name, _NOT_LOOKED_AT if upstream.api_key_env else None),
            transport=HttptoolsTransport(
                max_connections=upstream.max_connections, reuse=upstream.reuse_connections
            ),
            extra_headers=tuple(upstream.extra_headers.items()),
            stream_usage=upstream.stream_usage,
            drop_fields=upstream.drop_fields,
            developer_role=upstream.developer_role,
            max_tokens_field=upstream.max_tokens_field,
            max_response_bytes=upstream.max_answer_bytes,
            identity=Identity(
                token_command=upstream.token_command,
                token_file=config.token_file(name),
                aws_region=upstream.aws_region,
                aws_profile=upstream.aws_profile,
            ),
            also_serves=upstream.also_serves,
        )
    except ConfigError as error:
        raise config.error(("upstreams", name), error.message) from error


def _takes_documents(
    upstream_model: str, upstream: UpstreamConfig, own: ParametersConfig | None
) -> bool:
    host = upstream.base_url.host or ""
    rules = rules_for(upstream_model, host=host, own=own, table=shipped_table())
    return rules.documents == "field"


def _rules(
    upstream_model: str,
    upstream: UpstreamConfig,
    own: ParametersConfig | None,
    *,
    model_id: str,
    variant: VariantConfig | None,
) -> ParameterRules:
    """Return what has to be done to a request for a model at an upstream.

    What the upstream does to all requests is part of it, so that clients are told; the provider
    does it once more to what does not come this way.
    """
    host = upstream.base_url.host or ""
    rules = rules_for(upstream_model, host=host, own=own, table=shipped_table())
    dropped = {
        name: Drop(keep=rule.keep, beside=rule.beside) for name, rule in rules.drop.items()
    } | dict.fromkeys(upstream.drop_fields, Drop())
    renamed = dict(rules.rename)
    roles: dict[str, str] = {old: new for old, new in rules.roles.items()}  # noqa: C416  (of str)
    limit = upstream.max_tokens_field
    if limit is not None:
        renamed.pop(limit, None)
        renamed[_OTHER_LIMIT[limit]] = limit
    if upstream.developer_role != "developer":
        roles["developer"] = upstream.developer_role
    # Anthropic's dialect has no such mode.
    in_words = rules.json_object == "words" or (
        upstream.kind == "anthropic" and rules.json_object is None
    )
    found = ParameterRules(
        fixed={} if variant is None else _fixed(variant),
        drop=dropped,
        rename=renamed,
        efforts=rules.efforts,
        thinking=rules.thinking,
        thinks_without_sampling=upstream.kind == "anthropic"
        or (upstream.kind == "bedrock" and "claude" in upstream_model),
        holds_to_one_call=upstream.kind in _WITHOUT_ONE_CALL,
        roles=roles,
        json_in_words=in_words,
        prompt=None if variant is None else _prompt(model_id, variant),
        detail=None if variant is None else variant.image_detail,
    )
    return found or NO_RULES  # which costs a request nothing


def _prompt(model_id: str, variant: VariantConfig) -> SystemPrompt | None:
    said = variant.prompt
    if said is None:
        return None
    name = model_id.partition(MARK)[2]
    return SystemPrompt(name=name, text=said.system, position=Position(said.position))


def _fixed(variant: VariantConfig) -> Mapping[str, bytes]:
    """Return the fields that a variant sets, whatever a client says."""
    budget = variant.thinking_budget_tokens
    fixed: dict[str, Any] = {
        "reasoning_effort": variant.reasoning_effort,
        "thinking": None if budget is None else {"type": "enabled", "budget_tokens": budget},
        "max_tokens": variant.max_output_tokens,
    }
    return {
        field: msgspec.json.encode(value) for field, value in fixed.items() if value is not None
    }


def _timeouts(timeouts: TimeoutsConfig, *, first_token_s: float) -> Timeouts:
    return Timeouts(
        connect_s=timeouts.connect_s,
        first_token_s=min(first_token_s, timeouts.total_s),
        idle_s=timeouts.idle_s,
        total_s=timeouts.total_s,
    )
