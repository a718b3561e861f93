"""Variants of models: from what is said of each to models like all others.

A variant `<model>@<variant>` has an entry of its own in the catalogue and in `models`, so that
nobody but who calls it has to know that it is one. Most are written by operators, in the catalogue
or beside the model; those that differ in the detail of images alone are made for policies that
choose it.
"""

from collections.abc import Mapping

from app.config.catalogue import Catalogue, CatalogueEntry, VariantConfig
from app.config.document import Document
from app.config.fields import Place, choices
from app.config.gateway import GatewayConfig
from app.config.media import CountsConfig, Detail, MediaConfig, counts_for, shipped_media
from app.config.models import MARK, ModelConfig
from app.config.named_models import named_models
from routers.media.arms import detail_arm
from routers.models import CHAT, Capability

_TAKE_DETAIL = frozenset({"openai", "azure"})
"""Kinds of upstreams that can be told a detail of images."""

Variants = Mapping[str, VariantConfig]
"""By the id of the model that each is."""


def with_variants(
    gateway: GatewayConfig, catalogue: Catalogue, document: Document
) -> tuple[GatewayConfig, Catalogue, Variants]:
    """Return both with every variant as a model and an entry of its own, and what each says.

    Raises
    ------
    ConfigError
        If a variant is named that there is not, or one is said twice.
    """
    made = _Made(gateway, catalogue)
    for model_id in gateway.models:
        _add_written(made, model_id, document)
    for where, name in named_models(gateway):
        if MARK in name and name not in made.models:
            raise document.error(
                where, f"there is no variant {name!r}; {choices(name, made.models)}"
            )
    for name, policy in gateway.policies.items():
        if policy.images.chooses:
            _add_details(made, policy.candidates, ("policies", name, "images"), document)
    if not made.variants:
        return gateway, catalogue, {}
    return (
        gateway.model_copy(update={"models": made.models}),
        catalogue.model_copy(update={"models": made.entries}),
        made.variants,
    )


def counts_of(entry: CatalogueEntry, model_id: str, model: ModelConfig) -> CountsConfig:
    """Return what a model counts pictures and the like for."""
    upstreams = [place.upstream_model for place in model.places if place.upstream_model]
    names = [name.partition(MARK)[0] for name in (model.spec or model_id, model_id, *upstreams)]
    return counts_for(*names, own=entry.media, table=shipped_media())


class _Made:
    """Models and entries, those of variants included."""

    def __init__(self, gateway: GatewayConfig, catalogue: Catalogue) -> None:
        self.gateway = gateway
        self.models = dict(gateway.models)
        self.entries = dict(catalogue.models)
        self.variants: dict[str, VariantConfig] = {}
        self.arms: set[str] = set()

    def add(self, model_id: str, name: str, variant: VariantConfig, *, entry_id: str) -> None:
        model = self.gateway.models[model_id]
        entry = self.entries[model.spec or model_id]
        variant_id = f"{model_id}{MARK}{name}"
        counts = counts_of(entry, model_id, model)
        self.entries[entry_id] = entry.model_copy(
            update={
                "prices": variant.prices or entry.prices,
                "max_output_tokens": variant.max_output_tokens or entry.max_output_tokens,
                "variants": {},
                # By its own name the table would not know it.
                "media": MediaConfig(known=False, **dict(counts)),
            }
        )
        self.models[variant_id] = ModelConfig(
            deployments=tuple(
                place.model_copy(update={"upstream_model": place.upstream_model or model_id})
                for place in model.places
            ),
            balance=model.balance,
            bandit=model.bandit,
            predicted_impact=model.predicted_impact,
            prefix_affinity=model.prefix_affinity,
            spec=entry_id,
            limits=model.limits,
        )
        self.variants[variant_id] = variant


def _add_written(made: _Made, model_id: str, document: Document) -> None:
    """Have the variants of a model that the catalogue and the configuration write down."""
    model = made.gateway.models[model_id]
    spec = model.spec or model_id
    entry = made.entries.get(spec)
    if entry is None:
        return
    for name, variant in entry.variants.items():
        made.add(model_id, name, variant, entry_id=f"{spec}{MARK}{name}")
    for name, variant in model.variants.items():
        place: Place = ("models", model_id, "variants", name)
        if name in entry.variants:
            raise document.error(place, f"the catalogue has a variant {name!r} of {spec} too")
        if entry.kind != CHAT:
            raise document.error(place, f"{spec} does not chat, and has no variants")
        made.add(model_id, name, variant, entry_id=f"{model_id}{MARK}{name}")


def _add_details(
    made: _Made, candidates: tuple[str, ...], place: Place, document: Document
) -> None:
    """Have a variant of every candidate for each detail that it can be asked for."""
    n_levels = 0
    for candidate in candidates:
        said = made.variants.get(candidate)
        if said is not None and said.image_detail is not None:
            continue
        base = candidate.partition(MARK)[0]
        for level in _levels(made, candidate):
            n_levels += 1
            arm = detail_arm(candidate, level)
            if arm in made.models and arm not in made.arms:
                raise document.error(
                    place, f"makes a variant {arm!r}, and there is one of that name already"
                )
            if arm in made.arms:
                continue
            made.arms.add(arm)
            variant = VariantConfig(image_detail=level)
            if said is not None:
                variant = said.model_copy(update={"image_detail": level, "predicted_as": None})
            arm_name = arm.partition(MARK)[2]
            made.add(base, arm_name, variant, entry_id=f"{base}{MARK}{arm_name}")
    if not n_levels:
        raise document.error(
            place,
            "none of the candidates can be asked for a detail of images: that takes a model with "
            "vision and levels of `detail` (`media.detail` of its catalogue entry) at an upstream "
            f"of kind {' or '.join(sorted(_TAKE_DETAIL))}",
        )


def _levels(made: _Made, candidate: str) -> tuple[Detail, ...]:
    model = made.models.get(candidate)
    entry = None if model is None else made.entries.get(model.spec or candidate)
    if model is None or entry is None or Capability.VISION not in entry.capabilities:
        return ()
    kinds = {
        upstream.kind
        for each in model.places
        if (upstream := made.gateway.upstreams.get(each.upstream)) is not None
    }
    if not kinds <= _TAKE_DETAIL:
        return ()
    return counts_of(entry, candidate, model).detail or ()
