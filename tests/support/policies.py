"""Policies and decisions for what comes after the router: nothing here predicts."""

from collections.abc import Mapping
from typing import Any

from app.gateway.policy import AffinityRule, Policy
from app.gateway.request import RouteRequest
from app.wire.body import Body
from routers.artifact.evidence import Evidence
from routers.decision.switching import SwitchRule
from routers.decisions import CandidateEstimate, Decision, Reason
from routers.models import Demand, ModelSpec, Prices
from routers.objectives import UsdPerQuality
from routers.types import Conversation

QUALITY: Mapping[str, float] = {"small": 0.6, "large": 0.8}
COST_USD: Mapping[str, float] = {"small": 0.001, "large": 0.020}
PRICES = Prices(input_usd_per_mtok=10.0, output_usd_per_mtok=30.0, cached_input_usd_per_mtok=1.0)


def policy(**changes: Any) -> Policy:
    """Return a policy of the models `small` and `large`."""
    values: dict[str, Any] = {
        "name": "default",
        "version": "v1",
        "artifact": None,
        "candidates": tuple(
            ModelSpec(
                model_id=model_id,
                predicted_as=model_id,
                prices=PRICES,
                context_window_tokens=100_000,
            )
            for model_id in QUALITY
        ),
        "columns": (0, 1),
        "evidence": dict.fromkeys(QUALITY, Evidence.OUTCOMES),
        "knobs": None,
        "default_model_id": "small",
        "objective": UsdPerQuality(0.1),
        "fallback": True,
        "max_attempts": 3,
        "router_deadline_s": 1.0,
        "inline_chars": 1000,
        "affinity": AffinityRule(rule=SwitchRule(), lifetime_s=3600.0),
    }
    return Policy(**{**values, **changes})


def routed(fields: Mapping[str, bytes], **changes: Any) -> RouteRequest:
    """Return a request that `policy()` decides."""
    values: dict[str, Any] = {
        "request_id": "r",
        "decision_id": "d",
        "requested_model": "auto",
        "pinned_model_id": None,
        "policy": policy(),
        "objective": UsdPerQuality(0.1),
        "allowed_model_ids": None,
        "max_cost_usd": None,
        "fallback": True,
        "explain": False,
        "conversation": Conversation.of("hi"),
        "demand": Demand(input_tokens=100_000, input_tokens_upper=100_000),
        "body": Body(fields),
        "stream": False,
        "include_usage": False,
        "headers": (),
    }
    return RouteRequest(**{**values, **changes})


def decided(model_id: str) -> Decision:
    """Return a decision between `small` and `large`, at a rate that makes it worth $0.001."""
    return Decision(
        model_id=model_id,
        fallbacks=tuple(each for each in QUALITY if each != model_id),
        candidates=tuple(
            CandidateEstimate(
                model_id=each,
                quality=quality,
                quality_std=None,
                input_tokens=100_000,
                output_tokens=10.0,
                output_tokens_upper=20.0,
                cost_usd=COST_USD[each],
                cost_usd_upper=COST_USD[each],
            )
            for each, quality in QUALITY.items()
        ),
        reason=Reason.KNOB,
        usd_per_quality={"small": 0.09, "large": 0.1}[model_id],
    )
