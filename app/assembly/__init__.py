"""From a validated configuration to the objects that serve it; everything is built at start."""

from app.assembly.artifacts import DEFAULT_ARTIFACT, load_artifacts
from app.assembly.policies import build_names, build_policies, config_version
from app.assembly.resources import (
    DAY_S,
    build_allowances,
    build_decision_log,
    build_keeps,
    build_ranks,
    build_shares,
    build_store,
    build_tracer,
    require_traces,
)
from app.assembly.upstreams import (
    build_deployments,
    build_pool,
    build_queues,
    providers_of,
    upstream_facts,
)

__all__ = [
    "DAY_S",
    "DEFAULT_ARTIFACT",
    "build_allowances",
    "build_decision_log",
    "build_deployments",
    "build_keeps",
    "build_names",
    "build_policies",
    "build_pool",
    "build_queues",
    "build_ranks",
    "build_shares",
    "build_store",
    "build_tracer",
    "config_version",
    "load_artifacts",
    "providers_of",
    "require_traces",
    "upstream_facts",
]
