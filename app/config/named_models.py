"""Where in a configuration models are named."""

from collections.abc import Iterator

from app.config.fields import Place
from app.config.gateway import GatewayConfig
from app.config.models import MARK


def conversed_with(gateway: GatewayConfig) -> Iterator[tuple[Place, str]]:
    """Yield where a router or policy names a model that conversations may go to, and its name."""
    for name, router in gateway.routers.items():
        if router.pair is not None:
            yield ("routers", name, "pair", "strong"), router.pair.strong
            yield ("routers", name, "pair", "weak"), router.pair.weak
        if router.scorer is not None:
            yield ("routers", name, "scorer"), router.scorer
    for name, policy in gateway.policies.items():
        for position, candidate in enumerate(policy.candidates):
            yield ("policies", name, "candidates", position), candidate
        if policy.describe_apps is not None:
            yield ("policies", name, "describe_apps", "model"), policy.describe_apps.model
        if policy.decision_model is not None and policy.decision_model.model is not None:
            yield ("policies", name, "decision_model", "model"), policy.decision_model.model


def named_models(gateway: GatewayConfig) -> Iterator[tuple[Place, str]]:
    """Yield every place where a model is named, and how."""
    yield from conversed_with(gateway)
    for name, policy in gateway.policies.items():
        yield ("policies", name, "default_model"), policy.default_model
    for alias, target in gateway.aliases.items():
        if target.partition(MARK)[0] in gateway.models:
            yield ("aliases", alias), target
