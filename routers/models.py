"""What a model is, what it costs, and what a request needs of it.

Units: seconds, US dollars, prices per million tokens.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from routers.media.tokens import MediaRules
from routers.media.values import Media
from routers.wishes import NO_TRAITS, Traits

CHAT = "chat"
"""The kind of models that conversations are routed to."""


class Capability(StrEnum):
    """What a request may need and a model may offer."""

    VISION = "vision"
    AUDIO = "audio"
    VIDEO = "video"
    FILE = "file"
    TOOLS = "tools"
    JSON_SCHEMA = "json_schema"
    STREAMING = "streaming"
    MESSAGES_API = "messages_api"
    """Of an upstream rather than a model: what only Anthropic's own API does, such as its tools."""


MEDIA = frozenset({Capability.VISION, Capability.AUDIO, Capability.VIDEO, Capability.FILE})
"""What a request brings beside text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prices:
    """US dollars per million tokens, by token class; None means unknown, never free."""

    input_usd_per_mtok: float | None
    output_usd_per_mtok: float | None
    cached_input_usd_per_mtok: float | None = None
    reasoning_usd_per_mtok: float | None = None
    cache_write_usd_per_mtok: float | None = None
    cache_write_1h_usd_per_mtok: float | None = None
    """Of what is kept for an hour instead of minutes."""
    audio_input_usd_per_mtok: float | None = None
    audio_output_usd_per_mtok: float | None = None
    """Of what is heard and said, which several vendors price apart from text."""
    usd_per_answer: float = 0.0
    """Added for each answer, such as a picture."""

    def cost_usd(
        self,
        *,
        input_tokens: float,
        output_tokens: float,
        cached_input_tokens: float = 0,
        reasoning_tokens: float = 0,
        cache_write_tokens: float = 0,
        cache_write_1h_tokens: float = 0,
        audio_input_tokens: float = 0,
        audio_output_tokens: float = 0,
        n_answers: int = 1,
    ) -> float | None:
        """Price what was asked for; None when a price that it needs is unknown.

        Parameters
        ----------
        input_tokens
            All prompt tokens, the cached and the written ones included.
        output_tokens
            All completion tokens, the reasoning ones included.
        cached_input_tokens, reasoning_tokens
            The parts of the two that are billed at their own price; where that price is
            unknown they are billed like the rest of their class.
        cache_write_tokens, cache_write_1h_tokens
            The prompt tokens that were written to a cache, and the part of them that is kept for
            an hour, likewise.
        audio_input_tokens, audio_output_tokens
            The parts of the two that are sound, likewise; none of them cached.
        n_answers
            How many answers have a price of their own each.
        """
        if self.input_usd_per_mtok is None or self.output_usd_per_mtok is None:
            return None
        cached = self.cached_input_usd_per_mtok
        cached = self.input_usd_per_mtok if cached is None else cached
        reasoning = self.reasoning_usd_per_mtok
        reasoning = self.output_usd_per_mtok if reasoning is None else reasoning
        input_usd = (
            input_tokens - cached_input_tokens
        ) * self.input_usd_per_mtok + cached_input_tokens * cached
        if cache_write_tokens:
            write = self.cache_write_usd_per_mtok
            write = self.input_usd_per_mtok if write is None else write
            hour = self.cache_write_1h_usd_per_mtok
            input_usd += cache_write_tokens * (write - self.input_usd_per_mtok)
            input_usd += cache_write_1h_tokens * (0.0 if hour is None else hour - write)
        usd = (
            input_usd
            + (output_tokens - reasoning_tokens) * self.output_usd_per_mtok
            + reasoning_tokens * reasoning
        )
        if audio_input_tokens and self.audio_input_usd_per_mtok is not None:
            usd += audio_input_tokens * (self.audio_input_usd_per_mtok - self.input_usd_per_mtok)
        if audio_output_tokens and self.audio_output_usd_per_mtok is not None:
            usd += audio_output_tokens * (self.audio_output_usd_per_mtok - self.output_usd_per_mtok)
        return usd / 1e6 + self.usd_per_answer * n_answers


@dataclass(frozen=True, slots=True, kw_only=True)
class Surcharge:
    """What a field of a request does to a model's price: a factor on all of it, and US dollars.

    `value` is the field's value; None stands for any.
    """

    field: str
    value: str | None = None
    factor: float = 1.0
    usd_per_request: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSpec:
    """One candidate, as the operator's catalogue describes it."""

    model_id: str
    predicted_as: str
    """The model of the artifact whose predictions stand for this one (usually itself)."""
    prices: Prices
    context_window_tokens: int
    max_output_tokens: int | None = None
    capabilities: frozenset[Capability] = frozenset()
    surcharges: tuple[Surcharge, ...] = ()
    variant_of: str | None = None
    """The model that this is a way to ask; None where it is one itself."""
    base_predicted_as: str | None = None
    """Whose predictions stand for a variant of which the artifact knows nothing."""
    effort: str | None = None
    """How hard it is asked to reason."""
    reasoning_tokens: int = 0
    """What it reasons beyond the answer's predicted length, in tokens."""
    media: MediaRules | None = None
    """What it counts pictures, recordings and pages for; None where nothing is known."""
    max_images: int | None = None
    """How many pictures a request may have."""
    detail: str | None = None
    """At which pictures are looked at whose detail a client leaves open; None: as they are sent."""
    prompt: str | None = None
    """What a system prompt is called that it is asked with besides the client's own."""
    prompt_tokens: int = 0
    """What that adds to a request."""
    withholds_documents: bool = False
    """Whether it is asked without the documents that a request declares."""
    kind: str = CHAT
    """What it is asked for; anything but chat by its name alone, at an endpoint of its own."""
    takes_token_ids: bool = False
    """Whether inputs to embed may be numbers of its tokeniser."""
    usual_latency_s: float | None = None
    """What a whole answer usually takes, as the operator knows it."""
    traits: Traits = NO_TRAITS
    """What is known of it for wishes, such as its size."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """What a request needs from any model that takes it."""

    input_tokens: int
    """Estimated prompt tokens of the whole conversation."""
    input_tokens_upper: int
    """A cautious estimate of the same, used for hard constraints."""
    max_output_tokens: int | None = None
    capabilities: frozenset[Capability] = frozenset()
    n_answers: int = 1
    is_spoken: bool = False
    """Whether the answer is to be heard, which has a price of its own."""
    media: Media | None = None
    """What of `input_tokens` is no text, counted as for a model of which nothing is known."""
    document_tokens: int = 0
    """What of them are documents that a model may be asked without."""
    document_tokens_upper: int = 0

    @property
    def differs_by_model(self) -> bool:
        """Whether one model may count more prompt tokens than another, whatever it adds itself."""
        return self.media is not None or self.document_tokens > 0

    def input_of(self, spec: ModelSpec) -> tuple[int, int]:
        """Return the prompt tokens that a model counts, and how many it counts at most."""
        tokens, upper = self.input_tokens + spec.prompt_tokens, self.input_tokens_upper
        upper += spec.prompt_tokens
        if spec.withholds_documents:
            tokens -= self.document_tokens
            upper -= self.document_tokens_upper
        media = self.media
        if media is None or spec.media is None:
            return tokens, upper
        counted, most = spec.media.tokens(media, detail=spec.detail)
        return tokens + counted - media.tokens, upper + most - media.tokens_upper

    def audio_of(self, spec: ModelSpec) -> tuple[int, int]:
        """Return what of `input_of` are recordings, and how many tokens those are at most."""
        media = self.media
        if media is None or not media.recordings:
            return 0, 0
        heard = Media(recordings=media.recordings)
        if spec.media is None:
            return heard.tokens, heard.tokens_upper
        return spec.media.tokens(heard)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFacts:
    """What a planner may be told of a model.

    Attributes
    ----------
    input_usd_per_mtok, output_usd_per_mtok
        List prices; None where they are not known.
    latency_s
        What a whole answer usually takes; None where nobody knows.
    scores
        How good it is expected to be, in [0, 1], by what is asked of it.
    """

    input_usd_per_mtok: float | None = None
    output_usd_per_mtok: float | None = None
    latency_s: float | None = None
    scores: Mapping[str, float] = field(default_factory=dict)


NO_FACTS = ModelFacts()
PriceTable = Mapping[str, Prices]
"""Prices by the model name an artifact knows."""
