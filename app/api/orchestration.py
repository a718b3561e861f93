"""`/admin/orchestration`: how load is spread where capacity is, and what for."""

from collections.abc import Callable, Mapping
from typing import Literal

from fastapi import APIRouter
from pydantic import BaseModel, Field

from app.gateway.deployments.orchestration import OrchestrationState
from app.gateway.deployments.orchestrator import Mode

Orchestrations = Callable[[], Mapping[str, OrchestrationState]]
"""Returns how each model stands that is balanced so."""


class UnitObject(BaseModel):
    """One deployment."""

    upstream: str
    upstream_model: str
    weight: float = Field(description="its share of the calls; all sum to 1")
    limit_rps: float = Field(description="calls a second beyond which others are preferred")
    usd_per_hour: float
    max_rps: float
    available: bool
    broken: bool = Field(description="beyond its breaking point: too slow, or used too much")
    latency_ms: float | None = Field(description="until answers begin; null where none did lately")
    rps: float = Field(description="calls a second that it got before the last look")


class OrchestrationObject(BaseModel):
    """One model, in this process."""

    model: str
    mode: Mode
    since_s: float
    switches: int = Field(description="of the mode, since this configuration is served")
    expected_rps: float = Field(description="what is forecast until the next look")
    deployments: list[UnitObject]


class OrchestrationList(BaseModel):
    """Every model with `balance: orchestration`."""

    object: Literal["list"] = "list"
    data: list[OrchestrationObject]


def add_orchestration_route(router: APIRouter, orchestrations: Orchestrations) -> None:
    """Add the route that tells how models are orchestrated."""

    @router.get("/orchestration", summary="Modes and weights of deployments")
    async def orchestration() -> OrchestrationList:
        """Tell by what load is spread over the deployments of models, and how much each gets.

        Of the process that answers; with several workers each has its own.
        """
        return OrchestrationList(
            data=[
                OrchestrationObject(
                    model=model_id,
                    mode=state.mode,
                    since_s=round(state.since_s, 3),
                    switches=state.n_switches,
                    expected_rps=round(state.expected_rps, 6),
                    deployments=[
                        UnitObject(
                            upstream=each.upstream,
                            upstream_model=each.upstream_model,
                            weight=each.weight,
                            limit_rps=each.limit_rps,
                            usd_per_hour=each.usd_per_hour,
                            max_rps=each.max_rps,
                            available=each.available,
                            broken=each.broken,
                            latency_ms=None
                            if each.latency_s is None
                            else round(each.latency_s * 1e3, 1),
                            rps=round(each.rps, 6),
                        )
                        for each in state.units
                    ],
                )
                for model_id, state in orchestrations().items()
            ]
        )
