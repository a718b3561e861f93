"""From a served configuration to what the instruments must know of it."""

from collections.abc import Mapping

import numpy as np

from app import __version__
from app.config import LoadedConfig
from app.gateway.policy import Policy
from app.telemetry.baselines import N_SCORE_BINS, PolicyFacts
from app.telemetry.metrics import Metrics


def tell_metrics(
    metrics: Metrics, config: LoadedConfig, policies: Mapping[str, Policy], *, version: str
) -> None:
    """Tell the instruments which names there are and what policies are compared with."""
    metrics.configured(
        version=__version__,
        config_version=version,
        models=config.gateway.models,
        upstreams=config.gateway.upstreams,
        policies=[
            policy_facts(policy, router=config.gateway.policies[name].router)
            for name, policy in policies.items()
        ],
    )


def policy_facts(policy: Policy, *, router: str) -> PolicyFacts:
    """Return what is told of a policy, and what its requests are compared with."""
    quality = policy.artifact.calibration.quality_predicted[:, list(policy.columns)]
    strongest = int(quality.mean(axis=0).argmax()) if len(quality) else 0
    return PolicyFacts(
        name=policy.name,
        version=policy.version,
        router=router,
        artifact_version=policy.artifact.version,
        default_model_id=policy.default_model_id,
        strongest_model_id=policy.candidates[strongest].model_id,
        score_edges=_deciles(quality.mean(axis=1)) if len(quality) else (),
    )


def _deciles(scores: np.ndarray) -> tuple[float, ...]:
    """Return the inner deciles; nothing where they coincide, as for routers without a query."""
    edges = np.quantile(scores.astype(np.float64), np.arange(1, N_SCORE_BINS) / N_SCORE_BINS)
    if np.min(np.diff(edges)) <= 0:
        return ()
    return tuple(float(edge) for edge in edges)
