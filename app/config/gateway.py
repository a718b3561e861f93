"""The whole configuration file, and what its sections say of each other."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from app.config.aliases import Alias, resolved_aliases
from app.config.allowances import AllowancesConfig
from app.config.batches import BatchesConfig
from app.config.fields import ConflictError, Name, ShortName, Strict, Text, known_name
from app.config.keeping import (
    CacheConfig,
    OutcomesConfig,
    ResponsesConfig,
    StoreConfig,
    TracesConfig,
)
from app.config.models import ModelConfig, check_model, known_model
from app.config.routing import PolicyConfig, RouterConfig, check_policy
from app.config.server import AuthConfig, ServerConfig
from app.config.upstreams import BreakerConfig, StubConfig, UpstreamConfig
from app.config.watch import WatchConfig

_LOOPBACK = frozenset({"localhost", "127.0.0.1", "[::1]"})


class GatewayConfig(Strict):
    """Everything a running gateway is made from."""

    catalogue: Text = "models.yaml"
    """The file that describes the models, relative to this one."""
    server: ServerConfig = ServerConfig()
    """The listening side."""
    auth: AuthConfig = AuthConfig()
    """Who may ask."""
    store: StoreConfig = StoreConfig()
    """Where keys, limits and what is spent are kept."""
    allowances: AllowancesConfig = AllowancesConfig()
    """Who may use how much."""
    breaker: BreakerConfig = BreakerConfig()
    """When a deployment that fails is left alone."""
    watch: WatchConfig = WatchConfig()
    """Whether models are still those that they were."""
    cache: CacheConfig = CacheConfig()
    """Answers that are given again to identical requests that ask for it."""
    responses: ResponsesConfig = ResponsesConfig()
    """Responses that clients go on from by their id."""
    batches: BatchesConfig = BatchesConfig()
    """Files of requests that are worked through without anybody waiting."""
    outcomes: OutcomesConfig = OutcomesConfig()
    """The decision log."""
    traces: TracesConfig = TracesConfig()
    """Traces by OpenTelemetry."""
    stub: StubConfig | None = None
    """Start a simulated upstream beside the gateway; for trying out, without keys."""
    upstreams: Annotated[dict[ShortName, UpstreamConfig], Field(min_length=1)]
    """The provider endpoints, by a name of your choice."""
    models: Annotated[dict[Name, ModelConfig], Field(min_length=1)]
    """The models that clients can get, by the name that they ask for."""
    aliases: dict[Alias, Text] = Field(default_factory=dict)
    """Further names that clients may send, and what each stands for: one of `models`, `auto`,
    `auto:<policy>`, either with a knob (`auto:quality:0.5`), a threshold name, or another alias.
    `*` stands for anything; names that exist come before patterns, longer patterns before
    shorter."""
    routers: dict[ShortName, RouterConfig] = Field(default_factory=dict)
    """Trained artifacts, by a name of your choice."""
    policies: dict[ShortName, PolicyConfig] = Field(default_factory=dict)
    """Ways to decide, by name: `auto:<name>` asks for one, `auto` for `default_policy`."""
    default_policy: str = "default"
    """The policy of requests for `auto`; one of `policies`, where there are any."""

    @model_validator(mode="after")
    def _names_resolve(self) -> Self:
        for model_id, model in self.models.items():
            check_model(model_id, model, self.upstreams)
        for name, router in self.routers.items():
            place = ("routers", name)
            if router.pair is not None:
                known_model(router.pair.strong, self.models, (*place, "pair", "strong"))
                known_model(router.pair.weak, self.models, (*place, "pair", "weak"))
            if router.scorer is not None:
                known_model(router.scorer, self.models, (*place, "scorer"))
        for name, policy in self.policies.items():
            place = ("policies", name)
            known_name(policy.router, self.routers, (*place, "router"))
            known_model(policy.default_model, self.models, (*place, "default_model"))
            for position, candidate in enumerate(policy.candidates):
                known_model(candidate, self.models, (*place, "candidates", position))
            if policy.describe_apps is not None:
                known_model(
                    policy.describe_apps.model, self.models, (*place, "describe_apps", "model")
                )
            decision_model = policy.decision_model
            if decision_model is not None and decision_model.model is not None:
                known_model(decision_model.model, self.models, (*place, "decision_model", "model"))
            check_policy(name, policy, self.routers[policy.router])
        if self.policies:
            known_name(self.default_policy, self.policies, ("default_policy",))
        resolved_aliases(self.aliases, self.models, self.policies, self.routers)
        return self

    @model_validator(mode="after")
    def _sections_agree(self) -> Self:
        if self.auth.keys_needed and self.store.kind == "memory" and self.store.data_dir is None:
            raise ConflictError(
                ("auth", "mode"), "keys need a place that survives a restart; set store.data_dir"
            )
        for place, model_id in self.allowances.named_models():
            known_model(model_id, self.models, place)
        _check_outcomes(self)
        _check_feedback(self)
        _check_ports(self)
        _check_recursion(self)
        return self

    @property
    def logs_decisions(self) -> bool:
        """Whether there is a decision log."""
        outcomes = self.outcomes
        if outcomes.enabled is None:
            return outcomes.sink == "redis" or self.store.data_dir is not None
        return outcomes.enabled


def _check_outcomes(config: GatewayConfig) -> None:
    outcomes = config.outcomes
    if outcomes.sink == "redis" and config.store.kind != "redis":
        raise ConflictError(
            ("outcomes", "sink"), "redis is the Redis of the store; set store.kind: redis"
        )
    if outcomes.enabled and outcomes.sink == "sqlite" and config.store.data_dir is None:
        raise ConflictError(("outcomes", "enabled"), "the log needs a folder; set store.data_dir")
    if outcomes.contents.enabled and not config.logs_decisions:
        raise ConflictError(
            ("outcomes", "contents"), "there is no decision log to keep them beside"
        )


def _check_feedback(config: GatewayConfig) -> None:
    outcomes = config.outcomes
    kept = config.logs_decisions and outcomes.contents.enabled and outcomes.sink == "sqlite"
    for name, router in config.routers.items():
        if router.feedback is not None and not kept:
            raise ConflictError(
                ("routers", name, "feedback"),
                "rated prompts are read from the decision log; set outcomes.contents.enabled: true "
                "and outcomes.sink: sqlite (with Redis: steelyard collect, then insert)",
            )


def _check_recursion(config: GatewayConfig) -> None:
    for name, policy in config.policies.items():
        url = None if policy.decision_model is None else policy.decision_model.url
        if url is not None and url.host in _LOOPBACK and url.port == config.server.port:
            raise ConflictError(
                ("policies", name, "decision_model", "url"),
                "is this gateway itself; name a chat model of it under `model` instead",
            )


def _check_ports(config: GatewayConfig) -> None:
    server = config.server
    if server.metrics == "open" and server.metrics_token_env is not None:
        raise ConflictError(
            ("server", "metrics"),
            "open contradicts server.metrics_token_env; leave one of them out",
        )
    if "*" in server.cors_origins and not config.auth.keys_needed:
        raise ConflictError(
            ("server", "cors_origins"),
            "where no keys are needed every page of the web could ask; name the origins that may",
        )
    taken = {server.port: "server.port"}
    if server.metrics_port is not None:
        if server.metrics_port in taken:
            raise ConflictError(
                ("server", "metrics_port"),
                f"{server.metrics_port} is server.port already; leave metrics_port out to serve "
                "/metrics there",
            )
        taken[server.metrics_port] = "server.metrics_port"
    if config.stub is not None and config.stub.port in taken:
        raise ConflictError(
            ("stub", "port"), f"{config.stub.port} is {taken[config.stub.port]} already"
        )
