"""From what is written of models to what a router decides among."""

from dataclasses import replace

from app.config.catalogue import Catalogue, CatalogueEntry, VariantConfig
from app.config.document import Document
from app.config.fields import choices
from app.config.gateway import GatewayConfig
from app.config.media import to_rules
from app.config.models import MARK, ModelConfig
from app.config.variants import Variants, counts_of
from routers.models import Capability, ModelSpec
from routers.text.token_estimate import TOKENS_PER_MESSAGE, estimate_tokens
from routers.wishes import Traits

_OF_OPENAI = "text-embedding-"
"""What OpenAI's embedding models are called, whose tokeniser is the one that clients count with."""


def model_specs(
    gateway: GatewayConfig, catalogue: Catalogue, variants: Variants, document: Document
) -> dict[str, ModelSpec]:
    """Return every model of a configuration, variants included.

    Raises
    ------
    ConfigError
        If one is described by an entry that there is not.
    """
    specs = {}
    for model_id, model in gateway.models.items():
        spec = model.spec or model_id
        if spec not in catalogue.models:
            raise document.error(
                ("models", model_id, "spec"),
                f"{spec!r} is not in {gateway.catalogue.rpartition('/')[2]}; "
                f"{choices(spec, catalogue.models)}",
            )
        specs[model_id] = _spec(
            model_id, model, catalogue.models[spec], gateway, variants.get(model_id)
        )
    return specs


def _spec(
    model_id: str,
    model: ModelConfig,
    entry: CatalogueEntry,
    gateway: GatewayConfig,
    variant: VariantConfig | None,
) -> ModelSpec:
    spec = model.spec or model_id
    counts = counts_of(entry, model_id, model)
    known = ModelSpec(
        model_id=model_id,
        predicted_as=model.predicted_as or spec,
        prices=entry.prices.to_prices(),
        context_window_tokens=entry.context_window_tokens,
        max_output_tokens=entry.max_output_tokens,
        capabilities=entry.offers | _of_upstreams(model, gateway),
        surcharges=entry.prices.to_surcharges(),
        kind=entry.kind,
        usual_latency_s=entry.usual_latency_s,
        takes_token_ids=spec.startswith(_OF_OPENAI) if entry.token_ids is None else entry.token_ids,
        media=to_rules(counts),
        max_images=counts.max_images,
        traits=_traits(model_id, entry, gateway),
    )
    return known if variant is None else _as_variant(known, variant, gateway)


def _as_variant(spec: ModelSpec, variant: VariantConfig, gateway: GatewayConfig) -> ModelSpec:
    base, _, name = spec.model_id.partition(MARK)
    of_base, prompt = gateway.models[base], variant.prompt
    return replace(
        spec,
        predicted_as=variant.predicted_as or spec.predicted_as,
        variant_of=base,
        base_predicted_as=of_base.predicted_as or of_base.spec or base,
        effort=variant.reasoning_effort,
        reasoning_tokens=variant.reasoning_tokens,
        detail=variant.image_detail,
        withholds_documents=variant.documents == "withheld",
        prompt=None if prompt is None else name,
        prompt_tokens=0 if prompt is None else estimate_tokens(prompt.system) + TOKENS_PER_MESSAGE,
    )


def _traits(model_id: str, entry: CatalogueEntry, gateway: GatewayConfig) -> Traits:
    """Return what is known of a model beside quality and price; safety is its operator's word."""
    security = gateway.models[model_id.partition(MARK)[0]].security
    return entry.traits if security is None else replace(entry.traits, security=security)


def _of_upstreams(model: ModelConfig, gateway: GatewayConfig) -> frozenset[Capability]:
    """Return what a model offers because one of its upstreams does, which then gets the request."""
    kinds = {gateway.upstreams[place.upstream].kind for place in model.places}
    return frozenset({Capability.MESSAGES_API} if "anthropic" in kinds else ())
