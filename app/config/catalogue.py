"""The catalogue: what is true of a model wherever it is served."""

import datetime as dt
from typing import Annotated

from pydantic import Field

from app.config.fields import Name, Price, Strict
from routers.types import Capability, Prices


class PriceConfig(Strict):
    """List price of a model; a price that is not known is written as null, never as 0."""

    input_usd_per_mtok: Price | None
    output_usd_per_mtok: Price | None
    cached_input_usd_per_mtok: Price | None = None
    reasoning_usd_per_mtok: Price | None = None
    source: str
    """Where the price was read."""
    date: dt.date
    """When it was valid."""

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
    context_window_tokens: Annotated[int, Field(ge=1)]
    max_output_tokens: Annotated[int, Field(ge=1)] | None = None
    capabilities: frozenset[Capability] = frozenset({Capability.STREAMING})


class Catalogue(Strict):
    """Models by name: prices, windows, capabilities."""

    models: dict[Name, CatalogueEntry]
