"""Variants of models: from what the catalogue says of each to models like all others.

A variant `<model>@<variant>` has an entry of its own in the catalogue and in `models`, so that
nobody but who calls it has to know that it is one.
"""

from collections.abc import Iterator

from app.config.catalogue import Catalogue, CatalogueEntry
from app.config.document import Document
from app.config.fields import Place, choices
from app.config.gateway import GatewayConfig
from app.config.models import MARK, DeploymentConfig, ModelConfig


def with_variants(
    gateway: GatewayConfig, catalogue: Catalogue, document: Document
) -> tuple[GatewayConfig, Catalogue]:
    """Return both with every variant as a model and an entry of its own.

    Raises
    ------
    ConfigError
        If a variant is named that there is not.
    """
    models, entries = dict(gateway.models), dict(catalogue.models)
    for model_id, model in gateway.models.items():
        spec = model.spec or model_id
        entry = catalogue.models.get(spec)
        for name in () if entry is None else entry.variants:
            assert entry is not None  # noqa: S101  (else there is nothing to go through)
            entries[f"{spec}{MARK}{name}"] = _entry(entry, name)
            models[f"{model_id}{MARK}{name}"] = _model(model_id, model, spec, name)
    for place, name in _named(gateway):
        if MARK in name and name not in models:
            raise document.error(place, f"there is no variant {name!r}; {choices(name, models)}")
    if len(models) == len(gateway.models):
        return gateway, catalogue
    return (
        gateway.model_copy(update={"models": models}),
        catalogue.model_copy(update={"models": entries}),
    )


def _entry(entry: CatalogueEntry, name: str) -> CatalogueEntry:
    variant = entry.variants[name]
    return entry.model_copy(
        update={
            "prices": variant.prices or entry.prices,
            "max_output_tokens": variant.max_output_tokens or entry.max_output_tokens,
            "variants": {},
        }
    )


def _model(model_id: str, model: ModelConfig, spec: str, name: str) -> ModelConfig:
    places = tuple(
        DeploymentConfig(
            upstream=place.upstream,
            upstream_model=place.upstream_model or model_id,
            weight=place.weight,
        )
        for place in model.places
    )
    return ModelConfig(
        deployments=places,
        balance=model.balance,
        spec=f"{spec}{MARK}{name}",
        limits=model.limits,
    )


def _named(gateway: GatewayConfig) -> Iterator[tuple[Place, str]]:
    """Yield where a model is named, and how."""
    for name, router in gateway.routers.items():
        if router.pair is not None:
            yield ("routers", name, "pair", "strong"), router.pair.strong
            yield ("routers", name, "pair", "weak"), router.pair.weak
        if router.scorer is not None:
            yield ("routers", name, "scorer"), router.scorer
    for name, policy in gateway.policies.items():
        yield ("policies", name, "default_model"), policy.default_model
        for position, candidate in enumerate(policy.candidates):
            yield ("policies", name, "candidates", position), candidate
        if policy.describe_apps is not None:
            yield ("policies", name, "describe_apps", "model"), policy.describe_apps.model
    for alias, target in gateway.aliases.items():
        if target.partition(MARK)[0] in gateway.models:
            yield ("aliases", alias), target
