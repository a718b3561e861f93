"""The typed configuration: one YAML file and the catalogue it names, validated at start."""

import datetime as dt
import os
import re
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar
from urllib.parse import urlsplit

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    HttpUrl,
    StringConstraints,
    ValidationError,
    model_validator,
)
from pydantic_core import ErrorDetails

from app.errors import ConfigError
from app.keys import Budget, Limits, OnLow, Period
from routers.stored_thresholds import StoredName
from routers.types import Capability, ModelSpec, Prices

PRESETS: Mapping[str, float] = {"economy": 0.2, "balanced": 0.5, "quality": 0.9}
"""Named positions of the cost-quality knob."""

MIN_ADMIN_TOKEN_CHARS = 16
"""Of a token that may make keys; sixteen random hexadecimal digits are 64 bits."""

Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._/-]{0,127}$")]
ShortName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_]{0,63}$")]
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Price = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Seconds = Annotated[float, Field(gt=0, le=86_400, allow_inf_nan=False)]
Preset = Literal["economy", "balanced", "quality"]
Count = Annotated[int, Field(ge=1, le=10**12)]


_Model = TypeVar("_Model", bound=BaseModel)


_SECRET_HEADER = re.compile("auth|key|token|secret|cookie", re.IGNORECASE)


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class PriceConfig(_Strict):
    """List price of a model; a price that is not known is written as null, never as 0."""

    input_usd_per_mtok: Price | None
    output_usd_per_mtok: Price | None
    cached_input_usd_per_mtok: Price | None = None
    reasoning_usd_per_mtok: Price | None = None
    source: str
    """Where the price was read."""
    date: dt.date
    """When it was valid."""

    def to_prices(self) -> Prices:
        """Drop the provenance."""
        return Prices(
            input_usd_per_mtok=self.input_usd_per_mtok,
            output_usd_per_mtok=self.output_usd_per_mtok,
            cached_input_usd_per_mtok=self.cached_input_usd_per_mtok,
            reasoning_usd_per_mtok=self.reasoning_usd_per_mtok,
        )


class CatalogueEntry(_Strict):
    """What is true of a model wherever it is served."""

    prices: PriceConfig
    context_window_tokens: Annotated[int, Field(ge=1)]
    max_output_tokens: Annotated[int, Field(ge=1)] | None = None
    capabilities: frozenset[Capability] = frozenset({Capability.STREAMING})


class Catalogue(_Strict):
    """Models by name: prices, windows, capabilities."""

    models: dict[Name, CatalogueEntry]


class TimeoutsConfig(_Strict):
    """How long each phase of an upstream call may take."""

    connect_s: Seconds = 5.0
    first_token_s: Seconds = 60.0
    """From the request to the first content of a stream."""
    idle_s: Seconds = 30.0
    """Between two reads of a stream."""
    whole_answer_s: Seconds = 300.0
    """From the request to the whole answer, when the client does not stream."""
    total_s: Seconds = 600.0
    """For one whole attempt, the stream to its last byte included."""


class UpstreamConfig(_Strict):
    """One provider endpoint; its secret is named, never written."""

    kind: str = "openai"
    base_url: HttpUrl
    api_key_env: str | None = None
    extra_headers: dict[str, str] = {}
    max_connections: Annotated[int, Field(ge=1, le=100_000)] = 1_000
    stream_usage: bool = True
    """Whether the upstream understands `stream_options.include_usage`."""
    drop_fields: tuple[Name, ...] = ()
    """Request fields that its models refuse and clients send all the same, such as `temperature`:
    they are left out, and the answer is given without them."""
    timeouts: TimeoutsConfig = TimeoutsConfig()
    retries: Annotated[int, Field(ge=0, le=10)] = 1
    """How often a model that failed here is asked once more before the next model is, where that
    cannot be paid twice: on another of its deployments, else here after a moment."""

    @model_validator(mode="after")
    def _keeps_what_a_request_is(self) -> Self:
        if kept := {"messages", "model", "stream"} & set(self.drop_fields):
            raise ValueError(f"drop_fields: {', '.join(sorted(kept))} cannot be left out")
        return self

    @model_validator(mode="after")
    def _has_no_secret_in_its_address(self) -> Self:
        if self.base_url.username or self.base_url.password:
            raise ValueError("base_url: name a variable in api_key_env instead of user:password@")
        return self


class DeploymentConfig(_Strict):
    """One of the places that serve the same model."""

    upstream: str
    upstream_model: str | None = None
    """The upstream's name for it; default: the id."""
    weight: Annotated[float, Field(gt=0, le=1e6, allow_inf_nan=False)] = 1.0
    """Its share of the calls, relative to the others."""


class LimitsConfig(_Strict):
    """How much may be asked for; what is left out is not limited."""

    requests_per_minute: Count | None = None
    tokens_per_minute: Count | None = None
    concurrent_requests: Count | None = None

    def to_limits(self) -> Limits:
        """Return it as the store counts it."""
        return Limits(**self.model_dump())


class ModelConfig(_Strict):
    """One model that clients can get: catalogue facts, where it is served, how it is predicted."""

    upstream: str | None = None
    """Where it is served, if that is one place; else `deployments` lists them."""
    upstream_model: str | None = None
    """The upstream's name for it; default: the id."""
    deployments: Annotated[tuple[DeploymentConfig, ...], Field(min_length=1)] | None = None
    spec: str | None = None
    """The catalogue entry that describes it; default: the id."""
    predicted_as: str | None = None
    """The model of the router artifact whose predictions stand for it; default: `spec`."""
    limits: LimitsConfig = LimitsConfig()
    """Of all requests that this model is decided for."""

    @model_validator(mode="after")
    def _is_served_somewhere(self) -> Self:
        if (self.upstream is None) == (self.deployments is None):
            raise ValueError("say where it is served: either `upstream` or `deployments`")
        if self.deployments is not None and self.upstream_model is not None:
            raise ValueError("`upstream_model` belongs into each of the `deployments`")
        places = [(each.upstream, each.upstream_model) for each in self.places]
        if len(set(places)) < len(places):
            raise ValueError("`deployments` names a place twice; give it more weight instead")
        return self

    @property
    def places(self) -> tuple[DeploymentConfig, ...]:
        """Where it is served, however that was written."""
        if self.deployments is not None:
            return self.deployments
        upstream = self.upstream or ""
        return (DeploymentConfig(upstream=upstream, upstream_model=self.upstream_model),)


class PairConfig(_Strict):
    """The two models of a RouteLLM-style threshold name `router-<name>-<threshold>`."""

    strong: str
    weak: str


class RouterConfig(_Strict):
    """One trained artifact."""

    artifact: str = "default"
    """A directory relative to this file, or `default` for the one that is shipped."""
    pair: PairConfig | None = None
    scorer: str | None = None
    """A model that is asked, before every decision by a threshold, whether the pair's weak model
    will do (RouteLLM's `causal_llm`). Other objectives go by the artifact alone."""

    @model_validator(mode="after")
    def _scores_a_pair(self) -> Self:
        if self.scorer is not None and self.pair is None:
            raise ValueError("a scorer is asked about a pair; name one")
        return self


class AffinityConfig(_Strict):
    """How a conversation keeps its model from turn to turn."""

    enabled: bool = True
    ttl_s: Seconds = 3600.0
    """How long after its last turn a conversation is remembered."""
    cache_lifetime_s: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 300.0
    """How long after its last use a provider's prefix cache may still be warm."""
    margin_usd: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    """What a switch has to gain on top of the prefix cache it loses."""


class CacheConfig(_Strict):
    """The exact response cache; only requests and keys that ask for it use it."""

    enabled: bool = True
    ttl_s: Seconds = 3600.0
    max_answer_bytes: Annotated[int, Field(ge=1)] = 262_144
    """Longer answers are not kept."""
    wait_s: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 20.0
    """How long a request waits for the answer to an identical one that already runs."""


class PolicyConfig(_Strict):
    """How `auto:<policy>` decides where the request leaves it open."""

    router: str
    candidates: Annotated[tuple[str, ...], Field(min_length=1)]
    default_model: str
    """Takes the request when the router fails or is too slow."""
    cost_quality: Share | Preset = "balanced"
    threshold: Share | StoredName | None = None
    """Decide between the router's pair instead of by the knob: a threshold, or the name of one
    that `steelyard calibrate` stored in the artifact."""
    fallback: bool = True
    max_attempts: Annotated[int, Field(ge=1, le=10)] = 3
    """Up to how many models are tried."""
    hedge_after_s: Seconds | None = None
    """Start the next model beside the first when that has not begun to answer for so long; the
    faster one serves, and the other's prompt is paid too. Off by default."""
    router_deadline_s: Seconds = 0.05
    affinity: AffinityConfig = AffinityConfig()

    @property
    def knob(self) -> float:
        """The default position of the knob as a number."""
        return (
            PRESETS[self.cost_quality]
            if isinstance(self.cost_quality, str)
            else (self.cost_quality)
        )


class ServerConfig(_Strict):
    """The listening side."""

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65_535)] = 8080
    metrics_port: Annotated[int, Field(ge=1, le=65_535)] | None = None
    """Serve `/metrics` there instead of on the main port."""
    metrics_token_env: str | None = None
    """Environment variable that holds the token which `/metrics` asks for; left out, it asks for
    the admin token where keys are needed, and for nothing where they are not."""
    max_body_bytes: Annotated[int, Field(ge=1024)] = 10_000_000
    max_connections: Annotated[int, Field(ge=1)] = 8_000
    """Of clients to each process, idle ones too; further ones are turned away with a 503."""
    head_timeout_s: Seconds = 10.0
    """How long a client may take to send the headers of a request."""
    body_timeout_s: Seconds = 60.0
    """How long it may take to send the body."""
    keep_alive_s: Seconds = 75.0
    """How long a connection stays open between requests; longer than a load balancer keeps it."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """`info` tells one line per request."""
    request_timeout_s: Seconds = 600.0
    """For one whole request, the stream included."""
    sse_ping_s: Annotated[float, Field(ge=0, le=3600)] = 15.0
    """A stream that has begun and is silent for so long gets a comment, which keeps load balancers
    from closing it; 0 for none. Before the first content nothing is sent, so that another model can
    still answer, or an error have its status code."""
    shutdown_grace_s: Seconds = 20.0
    """How long requests that run may take to end when the gateway is stopped."""
    drain_s: Annotated[float, Field(ge=0, le=600)] = 2.0
    """How long `/readyz` says no before the listening socket closes (on SIGTERM)."""
    max_concurrent_requests: Annotated[int, Field(ge=1)] = 2_000
    """Handled at once, streams included."""
    max_queued_requests: Annotated[int, Field(ge=0)] = 200
    """Waiting for a place; more are turned away at once."""
    queue_timeout_s: Seconds = 2.0
    max_lag_s: Seconds = 1.0
    """New requests are turned away while the event loop is this late."""
    max_rss_mb: Annotated[int, Field(ge=1)] | None = None
    """New requests are turned away while the process holds more memory."""
    console: bool | None = None
    """Serve the page `/console`. Left out, it is there where only this machine can ask: on
    loopback addresses. With `auth.mode: keys` what it shows needs the admin token."""


class AuthMode(StrEnum):
    """Who may ask."""

    KEYS = "keys"
    """Who sends a virtual key."""
    NONE = "none"
    """Everybody who reaches the port."""


class AuthConfig(_Strict):
    """Who may ask, and who may say so."""

    mode: AuthMode | None = None
    """Left out, nobody needs a key, and only loopback addresses are served."""
    admin_token_env: str = "STEELYARD_ADMIN_TOKEN"  # noqa: S105  (a name)
    """The variable that holds the token of `/admin`; where it is not set there is no `/admin`."""

    fresh_s: Annotated[float, Field(ge=0, le=3600, allow_inf_nan=False)] = 5.0
    """How long a key is believed before the store is asked again; a key that another process
    revokes works at most this much longer."""

    @property
    def keys_needed(self) -> bool:
        """Whether requests need a virtual key."""
        return self.mode is AuthMode.KEYS


class StoreConfig(_Strict):
    """Where keys, limits and what is spent are kept."""

    kind: Literal["memory", "redis"] = "memory"
    """`memory`: this one process, and what must survive it in SQLite under `data_dir`.
    `redis`: what several processes and replicas share."""
    data_dir: str | None = None
    """A directory relative to this file, also of the outcome log; without it nothing that is kept
    in memory survives a restart."""
    redis_url_env: str = "STEELYARD_REDIS_URL"
    """The variable that holds the address, `redis://`, `rediss://` or `unix://`."""
    prefix: Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_.-]{0,63}$")] = "steelyard"
    """What every name in Redis begins with; gateways of one prefix share limits and keys."""
    timeout_s: Annotated[float, Field(gt=0, le=10)] = 0.05
    """For one round trip to Redis."""
    keys_grace_s: Annotated[float, Field(ge=0, le=86_400)] = 300.0
    """How long keys that are known go on working while Redis cannot be asked."""


class ContentsConfig(_Strict):
    """Whether prompts and answers are kept beside the decision log; they are not by default."""

    enabled: bool = False
    keep_days: Annotated[float, Field(gt=0, le=3650, allow_inf_nan=False)] = 7.0
    redact: tuple[str, ...] = ()
    """Regular expressions; what they match is taken out of every text before it is written."""
    redact_hook: Annotated[str, StringConstraints(pattern=r"^[\w.]+:\w+$")] | None = None
    """`package.module:function`: takes each text and returns what may be kept of it."""


class OutcomesConfig(_Strict):
    """The decision log: what was predicted, chosen, used and paid, one row per request."""

    enabled: bool | None = None
    """Left out, there is one where `store.data_dir` is set, or the sink is Redis."""
    sink: Literal["sqlite", "redis"] = "sqlite"
    """`sqlite`: `outcomes.sqlite3` in the data folder. `redis`: a stream on the Redis of the store,
    which `steelyard collect` writes to Parquet files."""
    keep_days: Annotated[float, Field(gt=0, le=3650, allow_inf_nan=False)] = 90.0
    features: Literal["reference", "value"] = "reference"
    """`value` keeps the embedding of every prompt, which tells something of its text; `reference`
    the version of the artifact, with which it can be made anew where the text is known."""
    contents: ContentsConfig = ContentsConfig()
    feedback_per_minute: Count = 600
    """How many labels a key may send."""


class TracesConfig(_Strict):
    """Traces by OpenTelemetry; needs the extra `otel`."""

    enabled: bool = False
    endpoint: HttpUrl | None = None
    """Of OTLP over HTTP, with path (`http://collector:4318/v1/traces`); left out, the variables
    OTEL_EXPORTER_OTLP_* say where."""
    service_name: str = "steelyard"
    sample: Share = 1.0
    """The share of traces that begin here; a client that traces has chosen itself."""
    propagate: bool = True
    """Tell upstreams of the trace by the header `traceparent`."""
    content: bool = False
    """Tell prompts and answers too, redacted as `outcomes.contents` says."""


class BudgetConfig(_Strict):
    """How many US dollars may be spent in each period (days, ISO weeks, months; UTC)."""

    usd: Annotated[float, Field(gt=0, le=9e6)]
    period: Period
    on_low: OnLow = OnLow.REJECT
    """`degrade` lowers the knob step by step once `degrade_from` is spent."""
    degrade_from: Share = 0.8

    def to_budget(self) -> Budget:
        """Return it as the store counts it."""
        return Budget(**self.model_dump())


class AllowanceConfig(_Strict):
    """What one key, one team or all together may use."""

    limits: LimitsConfig = LimitsConfig()
    budgets: tuple[BudgetConfig, ...] = ()


class AllowancesConfig(_Strict):
    """Who may use how much; what a key may use can also be written into the key."""

    gateway: AllowanceConfig = AllowanceConfig()
    """All requests together."""
    key: AllowanceConfig = AllowanceConfig()
    """Every key without limits (or budgets) of its own; without keys, everybody together."""
    teams: dict[ShortName, AllowanceConfig] = {}
    """Keys name their team."""


class BreakerConfig(_Strict):
    """When a deployment counts as unhealthy, and with all of them its model."""

    failures: Annotated[int, Field(ge=1)] = 5
    """Consecutive provider faults that open the circuit."""
    cooldown_s: Seconds = 15.0


class StubConfig(_Strict):
    """The simulated upstream that `steelyard serve` starts beside the gateway."""

    port: Annotated[int, Field(ge=1, le=65_535)] = 8081
    speed: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 1.0
    """1 answers at realistic speed, 0 without any delay."""


class GatewayConfig(_Strict):
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
    routers: dict[ShortName, RouterConfig] = {}
    policies: dict[ShortName, PolicyConfig] = {}
    default_policy: str = "default"

    @model_validator(mode="after")
    def _names_resolve(self) -> Self:
        for model_id, model in self.models.items():
            _check_model(model_id, model, self.upstreams)
        for name, router in self.routers.items():
            if router.pair is not None:
                _known(router.pair.strong, self.models, f"routers.{name}.pair.strong")
                _known(router.pair.weak, self.models, f"routers.{name}.pair.weak")
            if router.scorer is not None:
                _known(router.scorer, self.models, f"routers.{name}.scorer")
        for name, policy in self.policies.items():
            _known(policy.router, self.routers, f"policies.{name}.router")
            _known(policy.default_model, self.models, f"policies.{name}.default_model")
            for candidate in policy.candidates:
                _known(candidate, self.models, f"policies.{name}.candidates")
            _check_policy(name, policy, self.routers[policy.router])
        if self.auth.keys_needed and self.store.kind == "memory" and self.store.data_dir is None:
            raise ValueError(
                "auth.mode: keys need a place that survives a restart; set store.data_dir"
            )
        _check_outcomes(self)
        if self.policies:
            _known(self.default_policy, self.policies, "default_policy")
        return self

    @property
    def logs_decisions(self) -> bool:
        """Whether there is a decision log."""
        outcomes = self.outcomes
        if outcomes.enabled is None:
            return outcomes.sink == "redis" or self.store.data_dir is not None
        return outcomes.enabled


class LoadedConfig(_Strict):
    """A validated configuration with its catalogue and the secrets it names."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    path: Path
    gateway: GatewayConfig
    specs: dict[str, ModelSpec]
    secrets: Annotated[dict[str, str], Field(exclude=True, repr=False)]
    """Upstream name → API key; kept out of `repr` and of every dump."""
    admin_token: Annotated[str | None, Field(exclude=True, repr=False)] = None
    """Opens `/admin`; None where there is none. Kept out likewise."""
    metrics_token: Annotated[str | None, Field(exclude=True, repr=False)] = None
    """Opens `/metrics`; kept out likewise."""
    redis_url: Annotated[str | None, Field(exclude=True, repr=False)] = None
    """The address of the shared store, password included. Kept out likewise."""
    semconv_opt_in: str = ""
    """The value of OTEL_SEMCONV_STABILITY_OPT_IN."""

    def __repr__(self) -> str:
        return f"LoadedConfig(path={str(self.path)!r})"

    @property
    def hidden(self) -> frozenset[str]:
        """Every secret that the configuration names: what no log may hold."""
        headers = (
            value
            for upstream in self.gateway.upstreams.values()
            for name, value in upstream.extra_headers.items()
            if _SECRET_HEADER.search(name)
        )
        named = (*self.secrets.values(), self.admin_token, self.metrics_token, *headers)
        password = None if self.redis_url is None else urlsplit(self.redis_url).password
        return frozenset(each for each in (*named, password) if each)

    @property
    def data_dir(self) -> Path | None:
        """Where this process keeps what must survive it, if anywhere."""
        name = self.gateway.store.data_dir
        return None if name is None else self.path.parent / name

    def artifact_path(self, router: str) -> Path | None:
        """Directory of a router's artifact; None for the shipped default."""
        artifact = self.gateway.routers[router].artifact
        return None if artifact == "default" else self.path.parent / artifact


def _check_model(
    model_id: str, model: ModelConfig, upstreams: Mapping[str, UpstreamConfig]
) -> None:
    where = "upstream" if model.deployments is None else "deployments"
    for place in model.places:
        _known(place.upstream, upstreams, f"models.{model_id}.{where}")
    if model_id == "auto" or model_id.startswith(("auto:", "router-")):
        raise ValueError(f"models.{model_id}: the name is reserved for routing")


def _check_outcomes(config: GatewayConfig) -> None:
    outcomes = config.outcomes
    if outcomes.sink == "redis" and config.store.kind != "redis":
        raise ValueError("outcomes.sink: redis is the Redis of the store; set store.kind: redis")
    if outcomes.enabled and outcomes.sink == "sqlite" and config.store.data_dir is None:
        raise ValueError("outcomes.enabled: the log needs a folder; set store.data_dir")
    if outcomes.contents.enabled and not config.logs_decisions:
        raise ValueError("outcomes.contents: there is no decision log to keep them beside")


def _check_policy(name: str, policy: PolicyConfig, router: RouterConfig) -> None:
    if policy.default_model not in policy.candidates:
        raise ValueError(f"policies.{name}.default_model is not among its candidates")
    if len(set(policy.candidates)) < len(policy.candidates):
        raise ValueError(f"policies.{name}.candidates names a model twice")
    if policy.hedge_after_s is not None and (
        not policy.fallback or min(policy.max_attempts, len(policy.candidates)) == 1
    ):
        raise ValueError(
            f"policies.{name}.hedge_after_s: there is no second model to start; that takes "
            "fallback, max_attempts and candidates of at least two"
        )
    if policy.threshold is not None:
        _check_threshold(f"policies.{name}.threshold", policy, router)
    if router.scorer is not None and "router_deadline_s" not in policy.model_fields_set:
        raise ValueError(
            f"policies.{name}.router_deadline_s: router {policy.router!r} asks a model before it "
            "decides; say how long that may take (2 is a start)"
        )


def _check_threshold(where: str, policy: PolicyConfig, router: RouterConfig) -> None:
    if "cost_quality" in policy.model_fields_set:
        raise ValueError(f"{where}: contradicts cost_quality; leave one of them out")
    if router.pair is None:
        raise ValueError(f"{where}: router {policy.router!r} has no pair to decide between")
    pair = {router.pair.strong, router.pair.weak}
    if not pair <= set(policy.candidates) or policy.default_model not in pair:
        raise ValueError(
            f"{where}: the pair of router {policy.router!r} must be among the candidates, and "
            "default_model must be one of the two"
        )


def _known(name: str, known: Mapping[str, object], where: str) -> None:
    if name not in known:
        raise ValueError(f"{where}: unknown name {name!r}; known: {', '.join(sorted(known))}")


def load_config(
    path: Path, *, env: Mapping[str, str] | None = None, secrets_needed: bool = True
) -> LoadedConfig:
    """Read and check a configuration file, its catalogue and the secrets it names.

    Parameters
    ----------
    path
        The YAML file; paths in it are relative to its folder.
    env
        Where secrets are looked up; default: the process environment.
    secrets_needed
        False where no upstream will be called: a secret that is not set is then no error.

    Raises
    ------
    ConfigError
        In one line: which file, which key, what is wrong, what would help.
    """
    environment = os.environ if env is None else env
    gateway = _parse(path, GatewayConfig)
    catalogue_path = path.parent / gateway.catalogue
    catalogue = _parse(catalogue_path, Catalogue)
    specs = {}
    for model_id, model in gateway.models.items():
        spec = model.spec or model_id
        if spec not in catalogue.models:
            raise ConfigError(
                f"{path}: models.{model_id}.spec: {spec!r} is not in {catalogue_path.name}; "
                f"it has: {', '.join(sorted(catalogue.models))}"
            )
        entry = catalogue.models[spec]
        specs[model_id] = ModelSpec(
            model_id=model_id,
            predicted_as=model.predicted_as or spec,
            prices=entry.prices.to_prices(),
            context_window_tokens=entry.context_window_tokens,
            max_output_tokens=entry.max_output_tokens,
            capabilities=entry.capabilities,
        )
    secrets = {
        name: secret
        for name, upstream in gateway.upstreams.items()
        if (secret := _secret(path, name, upstream, environment, needed=secrets_needed))
    }
    return LoadedConfig(
        path=path,
        gateway=gateway,
        specs=specs,
        secrets=secrets,
        admin_token=_admin_token(gateway.auth.admin_token_env, environment),
        metrics_token=_metrics_token(path, gateway.server, environment, needed=secrets_needed),
        redis_url=environment.get(gateway.store.redis_url_env) or None,
        semconv_opt_in=environment.get("OTEL_SEMCONV_STABILITY_OPT_IN", ""),
    )


def _secret(
    path: Path, name: str, upstream: UpstreamConfig, env: Mapping[str, str], *, needed: bool
) -> str:
    variable = upstream.api_key_env
    if variable is None:
        return ""
    secret = env.get(variable, "")
    if not secret and needed:
        raise ConfigError(
            f"{path}: upstreams.{name} takes its key from {variable}, which is not set; "
            "export it, or use configs/gateway.yaml, which needs no key"
        )
    _check_secret(variable, secret)
    return secret


def _metrics_token(
    path: Path, server: ServerConfig, env: Mapping[str, str], *, needed: bool
) -> str | None:
    variable = server.metrics_token_env
    if variable is None:
        return None
    token = env.get(variable, "")
    if not token and needed:
        raise ConfigError(
            f"{path}: server.metrics_token_env: {variable} is not set; export the token that "
            "/metrics is to ask for"
        )
    _check_secret(variable, token)
    return token or None


def _admin_token(variable: str, env: Mapping[str, str]) -> str | None:
    token = env.get(variable, "")
    if not token:
        return None
    _check_secret(variable, token)
    if len(token) < MIN_ADMIN_TOKEN_CHARS:
        raise ConfigError(
            f"{variable} must have at least {MIN_ADMIN_TOKEN_CHARS} characters, not {len(token)}; "
            "`openssl rand -hex 32` makes a good one"
        )
    return token


def _check_secret(variable: str, secret: str) -> None:
    if not secret.isascii() or any(character.isspace() for character in secret):
        raise ConfigError(f"{variable} contains blanks or non-ASCII characters")


class _UniqueKeyLoader(yaml.SafeLoader):
    """YAML lets a later key silently replace an earlier one; a configuration must not."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:  # noqa: FBT001, FBT002  (the signature of the parent)
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                raise yaml.YAMLError(f"key {key!r} stands twice, {node.start_mark}")
        return super().construct_mapping(node, deep)


def _parse(path: Path, model: type[_Model]) -> _Model:
    try:
        document = yaml.load(path.read_text(encoding="utf-8"), Loader=_UniqueKeyLoader)  # noqa: S506  (a SafeLoader)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror})") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from error
    try:
        return model.model_validate(document)
    except ValidationError as error:
        problems = "; ".join(_one_line(each) for each in error.errors()[:5])
        raise ConfigError(f"{path}: {problems}") from error


def _one_line(problem: ErrorDetails) -> str:
    where = ".".join(str(part) for part in problem["loc"])
    message = problem["msg"].removeprefix("Value error, ")
    return f"{where}: {message}" if where else message
