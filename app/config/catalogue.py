"""The catalogue: what is true of a model wherever it is served."""

import datetime as dt
from typing import Annotated

from pydantic import Field

from app.config.fields import Count, Name, Price, Strict, Text
from app.config.parameters import ParametersConfig
from routers.types import Capability, Prices, Surcharge


class SurchargeConfig(Strict):
    """What a field of a request does to the price; without one, a budget does not pay for it."""

    field: Name
    """The field, such as `service_tier` or `web_search_options`; `tools` for hosted tools."""
    value: Text | None = None
    """Its value, such as `priority`, or the type of the tool; left out, any."""
    factor: Annotated[float, Field(gt=0, le=1000, allow_inf_nan=False)] = 1.0
    """By which the prices of all tokens are multiplied."""
    usd_per_request: Price = 0.0
    """Added to each request, such as the price of a search."""


class PriceConfig(Strict):
    """List price of a model; a price that is not known is written as null, never as 0."""

    input_usd_per_mtok: Price | None
    """For prompt tokens."""
    output_usd_per_mtok: Price | None
    """For tokens of the answer."""
    cached_input_usd_per_mtok: Price | None = None
    """For prompt tokens that the provider had in its cache; left out, as other prompt tokens."""
    reasoning_usd_per_mtok: Price | None = None
    """For tokens of hidden reasoning; left out, as other tokens of the answer."""
    surcharges: tuple[SurchargeConfig, ...] = ()
    """What fields of requests add to it; the first one that fits counts."""
    source: Text
    """Where the price was read."""
    date: dt.date
    """When it was valid."""

    def to_surcharges(self) -> tuple[Surcharge, ...]:
        """Return what fields of requests add."""
        return tuple(Surcharge(**each.model_dump()) for each in self.surcharges)

    def to_prices(self) -> Prices:
        """Drop the provenance."""
        return Prices(
            input_usd_per_mtok=self.input_usd_per_mtok,
            output_usd_per_mtok=self.output_usd_per_mtok,
            cached_input_usd_per_mtok=self.cached_input_usd_per_mtok,
            reasoning_usd_per_mtok=self.reasoning_usd_per_mtok,
        )


class CatalogueEntry(Strict):
    """What is true of a model wherever it is served."""

    prices: PriceConfig
    """Its list price, and where and when that was read."""
    context_window_tokens: Count
    """How much prompt and answer may have together."""
    max_output_tokens: Count | None = None
    """How long an answer may be; left out, as long as the window allows."""
    capabilities: frozenset[Capability] = frozenset({Capability.STREAMING})
    """What requests may need: one that needs more is not sent here."""
    parameters: ParametersConfig | None = None
    """What it refuses of a request or calls otherwise, besides what the shipped table knows."""

    @property
    def offers(self) -> frozenset[Capability]:
        """What requests may ask of it: a model that sees pictures is taken to read files too."""
        sees = Capability.VISION in self.capabilities
        return self.capabilities | {Capability.FILE} if sees else self.capabilities


class Catalogue(Strict):
    """Models by name: prices, windows, capabilities."""

    models: dict[Name, CatalogueEntry]
    """The entries by name; `models.<id>.spec` of a configuration names one."""
