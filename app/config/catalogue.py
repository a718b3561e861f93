"""The catalogue: what is true of a model wherever it is served."""

import datetime as dt
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from app.config.fields import ConflictError, Count, Name, Price, ShortName, Strict, Text
from app.config.media import Detail, MediaConfig
from app.config.parameters import Effort, ParametersConfig
from routers.models import CHAT, Capability, Prices, Surcharge
from routers.wishes import Security, Traits

Ttft = Annotated[float, Field(gt=0, le=3600, allow_inf_nan=False)]
"""Seconds that an answer, or its first token, usually takes."""

TokensPerSecond = Annotated[float, Field(gt=0, le=1e6, allow_inf_nan=False)]


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
    cache_write_usd_per_mtok: Price | None = None
    """For prompt tokens that the provider wrote to its cache; left out, as other prompt tokens."""
    cache_write_1h_usd_per_mtok: Price | None = None
    """For those that it keeps for an hour; left out, as others that it wrote."""
    audio_input_usd_per_mtok: Price | None = None
    """For prompt tokens that are sound; left out, as other prompt tokens."""
    audio_output_usd_per_mtok: Price | None = None
    """For tokens of spoken answers; left out, requests for them (`audio`) have no known price."""
    reasoning_usd_per_mtok: Price | None = None
    """For tokens of hidden reasoning; left out, as other tokens of the answer."""
    usd_per_answer: Price = 0.0
    """Added for each answer that a request asks for (`n`), such as a picture or a recording."""
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
            cache_write_usd_per_mtok=self.cache_write_usd_per_mtok,
            cache_write_1h_usd_per_mtok=self.cache_write_1h_usd_per_mtok,
            audio_input_usd_per_mtok=self.audio_input_usd_per_mtok,
            audio_output_usd_per_mtok=self.audio_output_usd_per_mtok,
            usd_per_answer=self.usd_per_answer,
        )


class PromptConfig(Strict):
    """A system prompt that a model is asked with besides the client's own, which is never lost."""

    system: Annotated[str, Field(min_length=1, max_length=32_768)]
    """What the model is told."""
    position: Literal["append", "prepend", "if_none"] = "append"
    """After what the client says, before it, or only where the client has no system prompt."""

    @model_validator(mode="before")
    @classmethod
    def _keeps_the_clients(cls, given: Any) -> Any:
        if isinstance(given, dict) and given.get("position") == "replace":
            raise ConflictError(
                ("position",),
                "what a client says is never replaced: append, prepend, or if_none (where the "
                "client says nothing)",
            )
        return given


class VariantConfig(Strict):
    """A way to ask a model, which is a candidate of its own."""

    prompt: PromptConfig | None = None
    """A system prompt besides the client's own."""
    image_detail: Detail | None = None
    """How closely it looks at images whose `detail` the client leaves open."""

    reasoning_effort: Effort | None = None
    """How hard it reasons."""
    thinking_budget_tokens: Annotated[int, Field(ge=1024, le=10**9)] | None = None
    """How many tokens it may think, for models that are told so (`thinking` of Anthropic's)."""
    max_output_tokens: Count | None = None
    """How long an answer may be, reasoning included: sent where a client names no limit."""
    reasoning_tokens: Annotated[int, Field(ge=0, le=10**9)] = 0
    """How many tokens of reasoning an answer takes, by estimate: added to the predicted length
    where nothing is known of the variant itself."""
    prices: PriceConfig | None = None
    """Its list price, where that is another one."""
    documents: Literal["withheld"] | None = None
    """`withheld` asks it without the documents that a request declares in `documents`."""
    predicted_as: Text | None = None
    """The model of the router artifact whose predictions stand for it; left out,
    `<model>@<variant>` where the artifact knows that, else the model."""

    @model_validator(mode="after")
    def _differs(self) -> Self:
        said = (
            *(self.reasoning_effort, self.thinking_budget_tokens, self.max_output_tokens),
            *(self.prompt, self.image_detail, self.documents),
        )
        if all(each is None for each in said):
            raise ConflictError(
                (),
                "says nothing of its own: a reasoning_effort, a thinking_budget_tokens, a limit, a "
                "prompt, an image_detail or documents",
            )
        return self


_OfAModel = Literal[
    Capability.VISION,
    Capability.AUDIO,
    Capability.VIDEO,
    Capability.FILE,
    Capability.TOOLS,
    Capability.JSON_SCHEMA,
    Capability.STREAMING,
]
"""What is true of a model wherever it is served; what upstreams offer, their kind says."""


class CatalogueEntry(Strict):
    """What is true of a model wherever it is served."""

    prices: PriceConfig
    """Its list price, and where and when that was read."""
    context_window_tokens: Count
    """How much prompt and answer may have together."""
    max_output_tokens: Count | None = None
    """How long an answer may be; left out, as long as the window allows."""
    kind: Literal["chat", "embeddings", "moderations", "images", "audio", "rerank"] = "chat"
    """What it is asked for. Conversations are routed to `chat` alone; any other kind is asked by
    name, at its own endpoints (`/v1/embeddings`, `/v1/images/generations`, …)."""
    token_ids: bool | None = None
    """Whether an embedding model takes token numbers in place of texts, as LangChain sends them;
    left out, those named `text-embedding-…` do."""
    capabilities: frozenset[_OfAModel] = frozenset({Capability.STREAMING})
    """What requests may need: one that needs more is not sent here."""
    usual_latency_s: Ttft | None = None
    """What a whole answer usually takes, for planners to be told (`workflow: {kind: rounds}`) and
    for limits on it, until the gateway has measured it."""
    ttft_s: Ttft | None = None
    """What its first token usually takes, until the gateway has measured it; left out, 0.7 s, or
    a share of `usual_latency_s`."""
    tokens_per_s: TokensPerSecond | None = None
    """How many tokens of an answer it usually writes in a second; left out, 50, likewise."""
    parameters_b: Annotated[float, Field(gt=0, le=1e6, allow_inf_nan=False)] | None = None
    """How many billions of parameters it has, where that is known; `steelyard map` finds experts
    under a budget of them."""
    active_parameters_b: Annotated[float, Field(gt=0, le=1e6, allow_inf_nan=False)] | None = None
    """How many billions of them work on a token, of a mixture of experts; left out, all."""
    released: dt.date | None = None
    """When it was released; the flag `recency` goes by it."""
    licence: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9.+-]{0,60}$")] | None = None
    """Under which its weights can be had: an SPDX name in small letters (`apache-2.0`), the
    licence's own (`llama3.1`), or `proprietary` where nobody gets them."""
    facts_source: Text | None = None
    """Where sizes, release and licence were read."""
    readability: Annotated[float, Field(ge=-1000, le=206.835, allow_inf_nan=False)] | None = None
    """Mean Flesch reading ease of its answers, from about 100 (easy) to 0 and below, as
    `steelyard readability` measures it."""
    security: Security | None = None
    """How well it is kept where you have it served, in your own judgement: `basic`, `standard` or
    `high`. Requests that demand more are not sent here."""
    description: Annotated[str, Field(max_length=10_000)] | None = None
    """What it is good at, in words: `steelyard fit --descriptions` reads it."""
    parameters: ParametersConfig | None = None
    """What it refuses of a request or calls otherwise, besides what the shipped table knows."""
    media: MediaConfig | None = None
    """What it counts pictures, sound and pages for, over what the shipped table knows."""
    variants: dict[ShortName, VariantConfig] = Field(default_factory=dict)
    """Ways to ask it, each a model of its own: `<model>@<variant>`."""

    @model_validator(mode="after")
    def _is_of_one_kind(self) -> Self:
        if self.kind != CHAT and self.variants:
            raise ConflictError(("variants",), f"are for models that chat, not for {self.kind}")
        active, all_of_them = self.active_parameters_b, self.parameters_b
        if active is not None and (all_of_them is None or active > all_of_them):
            raise ConflictError(
                ("active_parameters_b",), "are some of `parameters_b`, which has to say how many"
            )
        if self.kind != "embeddings" and self.token_ids is not None:
            raise ConflictError(("token_ids",), "is said of embedding models (kind: embeddings)")
        return self

    @property
    def traits(self) -> Traits:
        """What is known of it for wishes."""
        return Traits(
            parameters_b=self.parameters_b,
            released=self.released,
            licence=self.licence,
            readability=self.readability,
            security=self.security,
        )

    @property
    def offers(self) -> frozenset[Capability]:
        """What requests may ask of it: a model that sees pictures is taken to read files too."""
        sees = Capability.VISION in self.capabilities
        return self.capabilities | {Capability.FILE} if sees else self.capabilities


class Catalogue(Strict):
    """Models by name: prices, windows, capabilities."""

    models: dict[Name, CatalogueEntry]
    """The entries by name; `models.<id>.spec` of a configuration names one."""
