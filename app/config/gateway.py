"""The whole configuration file, and what its sections say of each other."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from app.config.allowances import AllowancesConfig
from app.config.fields import Name, ShortName, Strict, known_name
from app.config.keeping import CacheConfig, OutcomesConfig, StoreConfig, TracesConfig
from app.config.models import ModelConfig, check_model
from app.config.routing import PolicyConfig, RouterConfig, check_policy
from app.config.server import AuthConfig, ServerConfig
from app.config.upstreams import BreakerConfig, StubConfig, UpstreamConfig


class GatewayConfig(Strict):
    """Everything a running gateway is made from."""

    catalogue: str = "models.yaml"
    server: ServerConfig = ServerConfig()
    auth: AuthConfig = AuthConfig()
    store: StoreConfig = StoreConfig()
    allowances: AllowancesConfig = AllowancesConfig()
    breaker: BreakerConfig = BreakerConfig()
    cache: CacheConfig = CacheConfig()
    outcomes: OutcomesConfig = OutcomesConfig()
    traces: TracesConfig = TracesConfig()
    stub: StubConfig | None = None
    upstreams: Annotated[dict[ShortName, UpstreamConfig], Field(min_length=1)]
    models: Annotated[dict[Name, ModelConfig], Field(min_length=1)]
    routers: dict[ShortName, RouterConfig] = Field(default_factory=dict)
    policies: dict[ShortName, PolicyConfig] = Field(default_factory=dict)
    default_policy: str = "default"

    @model_validator(mode="after")
    def _names_resolve(self) -> Self:
        for model_id, model in self.models.items():
            check_model(model_id, model, self.upstreams)
        for name, router in self.routers.items():
            if router.pair is not None:
                known_name(router.pair.strong, self.models, f"routers.{name}.pair.strong")
                known_name(router.pair.weak, self.models, f"routers.{name}.pair.weak")
            if router.scorer is not None:
                known_name(router.scorer, self.models, f"routers.{name}.scorer")
        for name, policy in self.policies.items():
            known_name(policy.router, self.routers, f"policies.{name}.router")
            known_name(policy.default_model, self.models, f"policies.{name}.default_model")
            for candidate in policy.candidates:
                known_name(candidate, self.models, f"policies.{name}.candidates")
            check_policy(name, policy, self.routers[policy.router])
        if self.auth.keys_needed and self.store.kind == "memory" and self.store.data_dir is None:
            raise ValueError(
                "auth.mode: keys need a place that survives a restart; set store.data_dir"
            )
        _check_outcomes(self)
        if self.policies:
            known_name(self.default_policy, self.policies, "default_policy")
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
        raise ValueError("outcomes.sink: redis is the Redis of the store; set store.kind: redis")
    if outcomes.enabled and outcomes.sink == "sqlite" and config.store.data_dir is None:
        raise ValueError("outcomes.enabled: the log needs a folder; set store.data_dir")
    if outcomes.contents.enabled and not config.logs_decisions:
        raise ValueError("outcomes.contents: there is no decision log to keep them beside")
