"""How the calls of a model are spread over its deployments: the options of each way to do so."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from app.config.fields import ConflictError, Seconds, Share, Strict

BalanceName = Literal[
    "least-outstanding",
    "round-robin",
    "predicted-impact",
    "bandit",
    "prefix-affinity",
    "orchestration",
]
MAX_WINDOW = 20_000
"""Of calls that a sliding window remembers one by one."""

Slope = Annotated[float, Field(gt=0, le=60, allow_inf_nan=False)]


class BanditConfig(Strict):
    """How `balance: bandit` learns which deployment answers."""

    kind: Literal["discounted-thompson", "sw-thompson", "d-ucb", "sw-ucb"] = "discounted-thompson"
    """Thompson sampling or upper confidence bounds, over sums that fade or a window of calls."""
    memory: Annotated[int, Field(ge=10, le=1_000_000)] | Literal["adaptive"] = "adaptive"
    """About how many calls of the model count; at most 20,000 of a window (`sw-…`). `adaptive`: as
    many, of up to 10,000, as are not contradicted by how deployments answer of late."""
    explore: Share = 0.01
    """The share of the calls that go to any deployment, by weight."""
    context: tuple[Literal["model", "region", "size"], ...] = ("model", "region")
    """What is learned apart: of each variant of the model, of gateways in each `server.region`, of
    small, middle and large prompts (below 1,000 and 10,000 tokens)."""
    latency_s: Seconds | None = None
    """How soon an answer has to begin; one that takes twice as long counts as half of one. Left
    out, only whether there is an answer counts."""

    @model_validator(mode="after")
    def _fits_a_window(self) -> Self:
        longest = MAX_WINDOW if self.memory == "adaptive" else self.memory
        if self.kind.startswith("sw-") and longest > MAX_WINDOW:
            raise ConflictError(
                ("memory",),
                f"a window remembers {MAX_WINDOW} calls at most; `discounted-thompson` and `d-ucb` "
                "have no such bound",
            )
        if len(set(self.context)) < len(self.context):
            raise ConflictError(("context",), "names something twice")
        return self


class PredictedImpactConfig(Strict):
    """What `balance: predicted-impact` takes for granted until calls have taught it."""

    prefill_s_per_token: Slope
    """Seconds to read one token of a prompt."""
    decode_s_per_token: Slope
    """Seconds of one token of an answer, for each token in the batch."""


class PrefixAffinityConfig(Strict):
    """How `balance: prefix-affinity` keeps prompts that begin alike at one deployment."""

    max_load: Annotated[float, Field(gt=1, le=10, allow_inf_nan=False)] = 1.25
    """How many times the mean of calls outstanding one deployment may have, relative to its
    weight; beyond it calls go to the next one of the ring."""


class OrchestrationConfig(Strict):
    """When `balance: orchestration` goes by cost, and when by capacity."""

    threshold_rps: Annotated[float, Field(gt=0, le=1e6, allow_inf_nan=False)] | None = None
    """The capacity, in calls a second, that the cheap deployments must have beyond for cost to
    decide; left out, the part of the forecast load that would come to them."""
    poll_s: Seconds = 10.0
    """How often it is looked whether there is capacity: within that time the mode changes."""
    cycle_s: Seconds = 3600.0
    """How long a load cycle is. Cost decides again as one begins, after a whole one in which no
    capacity was lacking."""
    max_latency_ms: Annotated[float, Field(gt=0, le=3_600_000, allow_inf_nan=False)] = 900.0
    """The breaking point of a deployment: its answers take longer to begin, on the mean."""
    max_utilisation: Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)] = 0.8
    """Likewise: it gets more than this share of its `max_rps`."""

    @model_validator(mode="after")
    def _looks_within_a_cycle(self) -> Self:
        if self.poll_s >= self.cycle_s:
            raise ConflictError(("poll_s",), "must be shorter than `cycle_s`")
        return self
