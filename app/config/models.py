"""The section `models`: what clients can get, and where it is served."""

from collections.abc import Mapping
from typing import Annotated, Self

from pydantic import Field, model_validator

from app.config.allowances import LimitsConfig
from app.config.balancing import (
    BalanceName,
    BanditConfig,
    OrchestrationConfig,
    PredictedImpactConfig,
    PrefixAffinityConfig,
)
from app.config.catalogue import TokensPerSecond, Ttft, VariantConfig
from app.config.fields import (
    BatchShare,
    ConflictError,
    Count,
    Name,
    Place,
    Price,
    Seconds,
    ShortName,
    Strict,
    Text,
    known_name,
)
from app.config.residency import Gigabytes
from app.config.upstreams import UpstreamConfig
from routers.media.arms import VARIANT_MARK
from routers.wishes import Security

MARK = VARIANT_MARK
"""Stands between a model and one of its variants."""


class DeploymentConfig(Strict):
    """One of the places that serve the same model."""

    upstream: str
    """One of `upstreams`."""
    upstream_model: Text | None = None
    """The upstream's name for it; default: the id."""
    weight: Annotated[float, Field(gt=0, le=1e6, allow_inf_nan=False)] = 1.0
    """Its share of the calls, relative to the others."""
    ttft_s: Ttft | None = None
    """What its first token usually takes, until the gateway has measured it; default: the
    model's."""
    tokens_per_s: TokensPerSecond | None = None
    """How fast it usually writes, likewise."""
    region: Name | None = None
    """Where it stands, for those who read what answers and decisions say of it."""
    usd_per_hour: Price | None = None
    """What it costs while it is there, besides its tokens."""
    max_outstanding: Count | None = None
    """Calls at once that it takes, in each process; others wait in the model's queue."""
    max_rps: Annotated[float, Field(gt=0, le=1e6, allow_inf_nan=False)] | None = None
    """Calls a second that it takes, with a burst of one second's worth."""
    requests_per_minute: Count | None = None
    """Calls in any minute that it takes, with a burst of one minute's worth."""
    tokens_per_minute: Count | None = None
    """Tokens of prompts and answers in any minute that it takes."""
    memory_gb: Gigabytes | None = None
    """What it takes of the machine's memory, where the upstream loads it on demand
    (`residency`)."""
    load_s: Seconds | None = None
    """How long it takes to load there."""


class QueueConfig(Strict):
    """Who waits while every deployment has as many calls as it takes at once."""

    max_waiting: Annotated[int, Field(ge=0, le=1_000_000)] = 1_000
    """Calls that wait, in each process; more are turned away, the next model is tried."""
    max_wait_s: Seconds = 30.0
    """How long a call waits before the next model is tried."""
    batch_max_wait_s: Seconds = 300.0
    """How long one of the priority `batch` does."""
    batch_share: BatchShare = 0.05
    """The share of the tokens that the priority `batch` gets while interactive calls wait too."""


class ModelConfig(Strict):
    """One model that clients can get: catalogue facts, where it is served, how it is predicted."""

    upstream: str | None = None
    """Where it is served, if that is one place; else `deployments` lists them."""
    upstream_model: Text | None = None
    """The upstream's name for it; default: the id."""
    memory_gb: Gigabytes | None = None
    """What it takes of the machine's memory, where its upstream loads it on demand
    (`residency`)."""
    load_s: Seconds | None = None
    """How long it takes to load there."""
    deployments: Annotated[tuple[DeploymentConfig, ...], Field(min_length=1)] | None = None
    """The places that serve it, where there are several."""
    balance: BalanceName = "least-outstanding"
    """Which of them takes a call: the one with the fewest calls outstanding, each in turn, the one
    where it is predicted to cost the least time, of its own and of the calls beside it, the one
    that answers most surely, the one that has seen the beginning of the prompt before, or the
    cheapest ones while they have capacity."""
    bandit: BanditConfig | None = None
    """How `balance: bandit` learns."""
    predicted_impact: PredictedImpactConfig | None = None
    """What `balance: predicted-impact` begins with; default: it learns from nothing."""
    prefix_affinity: PrefixAffinityConfig | None = None
    """How far `balance: prefix-affinity` goes."""
    orchestration: OrchestrationConfig | None = None
    """When `balance: orchestration` goes by cost, and when by capacity."""
    ttft_s: Ttft | None = None
    """What its first token usually takes, until the gateway has measured it; default: as its
    catalogue entry says."""
    tokens_per_s: TokensPerSecond | None = None
    """How fast it usually writes, likewise."""
    queue: QueueConfig | None = None
    """Who waits where `max_outstanding` limits its deployments; of several models at the same
    places, the first one's holds."""
    spec: Text | None = None
    """The catalogue entry that describes it; default: the id."""
    predicted_as: Text | None = None
    """The model of the router artifact whose predictions stand for it; default: `spec`."""
    security: Security | None = None
    """How well it is kept where it is served here; default: as its catalogue entry says."""
    answers_as: tuple[Text, ...] = ()
    """Other names by which upstreams may call the model that answered, with `*` and `?` as in
    names of files. The name that was asked for and its dated snapshots need not be listed; any
    other is told as a mismatch."""
    limits: LimitsConfig = LimitsConfig()
    """Of all requests that this model is decided for, its variants included."""
    variants: dict[ShortName, VariantConfig] = Field(default_factory=dict)
    """Ways to ask it besides those of its catalogue entry, each a model of its own:
    `<model>@<variant>`. Here is the place for system prompts."""

    @model_validator(mode="after")
    def _is_served_somewhere(self) -> Self:
        if (self.upstream is None) == (self.deployments is None):
            raise ConflictError((), "say where it is served: either `upstream` or `deployments`")
        for field in ("upstream_model", "memory_gb", "load_s"):
            if self.deployments is not None and getattr(self, field) is not None:
                raise ConflictError((field,), f"`{field}` belongs into each of the `deployments`")
        for name in ("bandit", "predicted_impact", "prefix_affinity", "orchestration"):
            balance = name.replace("_", "-")
            if getattr(self, name) is not None and self.balance != balance:
                raise ConflictError((name,), f"`{name}` is about `balance: {balance}` alone")
        if self.queue is not None and all(each.max_outstanding is None for each in self.places):
            raise ConflictError(
                ("queue",), "nobody waits in it: no deployment has a `max_outstanding`"
            )
        places = [(each.upstream, each.upstream_model) for each in self.places]
        if len(set(places)) < len(places):
            raise ConflictError(
                ("deployments",), "`deployments` names a place twice; give it more weight instead"
            )
        return self

    @model_validator(mode="after")
    def _says_what_capacity_costs(self) -> Self:
        if self.balance == "orchestration":
            for position, each in enumerate(self.deployments or self.places):
                if not each.usd_per_hour or each.max_rps is None:
                    raise ConflictError(
                        ("deployments", position),
                        "`balance: orchestration` weighs what capacity costs: say `usd_per_hour` "
                        "(above 0) and `max_rps`",
                    )
        return self

    @property
    def places(self) -> tuple[DeploymentConfig, ...]:
        """Where it is served, however that was written."""
        if self.deployments is not None:
            return self.deployments
        upstream = self.upstream or ""
        return (
            DeploymentConfig(
                upstream=upstream,
                upstream_model=self.upstream_model,
                memory_gb=self.memory_gb,
                load_s=self.load_s,
            ),
        )


def known_model(name: str, models: Mapping[str, ModelConfig], place: Place) -> None:
    """Refuse a name that is no model; whether one has a variant, the catalogue says later."""
    model_id, mark, _ = name.partition(MARK)
    known_name(model_id if mark else name, models, place)


def check_model(model_id: str, model: ModelConfig, upstreams: Mapping[str, UpstreamConfig]) -> None:
    """Refuse a model that is served nowhere, or takes a name of the routing."""
    for position, each in enumerate(model.places):
        where = ("upstream",) if model.deployments is None else ("deployments", position)
        known_name(each.upstream, upstreams, ("models", model_id, *where))
        at = () if model.deployments is None else ("deployments", position)
        _check_loading(each, upstreams[each.upstream], ("models", model_id, *at))
    if model_id == "auto" or model_id.startswith(("auto:", "router-")):
        raise ConflictError(("models", model_id), "the name is reserved for routing")


def _check_loading(place: DeploymentConfig, upstream: UpstreamConfig, at: Place) -> None:
    """Refuse a model whose machine loads it, and that does not say what that takes."""
    machine = upstream.residency
    if machine is None:
        for field in ("memory_gb", "load_s"):
            if getattr(place, field) is not None:
                raise ConflictError(
                    (*at, field),
                    f"is for machines that load models: {place.upstream} has no `residency`",
                )
        return
    if place.load_s is None:
        raise ConflictError(
            (*at, "load_s"),
            f"{place.upstream} loads models on demand (`residency`): say how long this one takes",
        )
    if machine.memory_gb is None:
        return
    if place.memory_gb is None:
        raise ConflictError(
            (*at, "memory_gb"),
            f"{place.upstream} has {machine.memory_gb:g} GB (`residency`): say "
            "how much of it this one takes",
        )
    if place.memory_gb > machine.memory_gb:
        raise ConflictError(
            (*at, "memory_gb"), f"does not fit: {place.upstream} has {machine.memory_gb:g} GB"
        )
