"""Values that travel between the routing library and whoever calls it.

Units: seconds, US dollars, prices per million tokens, quality in [0, 1].
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

import msgspec
import numpy as np
from numpy.typing import NDArray

from routers.media.tokens import MediaRules
from routers.media.values import Media
from routers.wishes import NO_TRAITS, Traits, Wishes

FloatMatrix = NDArray[np.float32]
FloatVector = NDArray[np.float32]

UPPER_QUANTILE = 0.9
"""The quantile that every "upper" estimate of output tokens aims at."""


class Role(StrEnum):
    """Who said a message; roles of the wire format are folded into these."""

    SYSTEM = "system"
    USER = "user"
    ASSISTANT = "assistant"
    TOOL = "tool"


ROLES: Mapping[str, Role] = {
    "system": Role.SYSTEM,
    "developer": Role.SYSTEM,
    "user": Role.USER,
    "assistant": Role.ASSISTANT,
    "tool": Role.TOOL,
    "function": Role.TOOL,
}
"""What roles are called in chat requests."""


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation, reduced to its role and its text."""

    role: Role
    text: str


@dataclass(frozen=True, slots=True)
class Document:
    """A text that a request brings for its answer to rest on.

    Attributes
    ----------
    text
        Empty where it cannot be read here, such as a scan.
    score
        How well whoever retrieved it says that it fits, on any scale; None where nobody says.
    declared
        Whether it came beside the messages, so that a model may be asked without it.
    """

    text: str
    score: float | None = None
    declared: bool = False


@dataclass(frozen=True, slots=True)
class DocumentNumbers:
    """What the documents of a request come to.

    Attributes
    ----------
    n
        How many there are.
    coverage
        Which share of the question's words they hold, in [0, 1].
    signals
        Everything that a router is told of them; `routers.text.document_signals` names them.
    """

    n: int
    coverage: float
    signals: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Conversation:
    """The text of a request, oldest message first, and what of it is no text.

    Attributes
    ----------
    media
        Its pictures, recordings and files; None where it has none.
    documents
        What it is to rest on, as far as that does not stand in the messages.
    numbers
        What all of them come to, once they were set apart: their text then stands nowhere here.
    task
        What the request is for, as somebody described it; empty where its system prompt says so.
    judged
        The chance of each of `routers.decision.judged.LEVELS`, where somebody said how hard it is.
    """

    messages: tuple[Message, ...]
    media: Media | None = None
    documents: tuple[Document, ...] = ()
    numbers: DocumentNumbers | None = None
    task: str = ""
    judged: tuple[float, ...] = ()

    @classmethod
    def of(cls, prompt: str) -> "Conversation":
        """Wrap one user prompt."""
        return cls((Message(Role.USER, prompt),))


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
        return (
            input_usd
            + (output_tokens - reasoning_tokens) * self.output_usd_per_mtok
            + reasoning_tokens * reasoning
        ) / 1e6 + self.usd_per_answer * n_answers


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


# --- the knob ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class CostQuality:
    """Recover the share t in [0, 1] of the quality gap, at the lowest cost."""

    t: float


@dataclass(frozen=True, slots=True)
class UsdPerQuality:
    """Pay up to this many US dollars for one more unit of quality (from 0 to 1)."""

    usd_per_quality: float


@dataclass(frozen=True, slots=True)
class MaxQualityLoss:
    """Take the cheapest model predicted within `loss` of the best."""

    loss: float


@dataclass(frozen=True, slots=True)
class MinQuality:
    """Take the cheapest model predicted to reach `quality`."""

    quality: float


@dataclass(frozen=True, slots=True, kw_only=True)
class StrongThreshold:
    """Take `strong` when the predicted chance that it beats `weak` is at least `threshold`.

    References
    ----------
    Ong et al. 2024, RouteLLM, arXiv:2406.18665.
    """

    strong: str
    weak: str
    threshold: float
    statement: str | None = None
    """What was found of a stored threshold, in words; None for one that somebody chose."""


Objective = CostQuality | UsdPerQuality | MaxQualityLoss | MinQuality | StrongThreshold


class OutputLimit(StrEnum):
    """What becomes of a model that gives a shorter answer than a request asks for."""

    PREFER = "prefer"
    """It is kept out where another one gives it all; where none does, it gives what it has."""
    CUT = "cut"
    """It takes part, and gives what it has."""
    REFUSE = "refuse"
    """It is kept out."""


class Constraints(msgspec.Struct, frozen=True, kw_only=True):
    """Hard limits that come before any score."""

    output_limit: OutputLimit = OutputLimit.PREFER
    allowed_model_ids: frozenset[str] | None = None
    max_cost_usd: float | None = None
    unhealthy_model_ids: frozenset[str] = frozenset()
    demoted_model_ids: frozenset[str] = frozenset()
    """Models that are not what they were, and are kept out while another one can serve."""
    unpayable: Mapping[str, str] = msgspec.field(default_factory=dict)
    """Models that the request's budget cannot pay for, and why."""
    over_share: Mapping[str, str] = msgspec.field(default_factory=dict)
    """Models that as many requests went to as may, and why."""
    wishes: Wishes | None = None
    """What the request wants of models besides quality and price: its demands keep models out, its
    goals are weighed."""
    surcharges_usd: Mapping[str, float] = msgspec.field(default_factory=dict)
    """What models cost at the moment beside their price, such as the time of who waits, in US
    dollars >= 0. Only the choice counts it: no limit, no account."""
    latencies: Mapping[str, "Latency"] = msgspec.field(default_factory=dict)
    """How long models are predicted to take for the request."""
    max_latency_s: float | None = None
    """What is left for a whole answer: models that may take longer are kept out, unless all may."""
    max_ttft_s: float | None = None
    """What is left until its first token."""

    @property
    def has_deadline(self) -> bool:
        """Whether an answer may be late."""
        return self.max_latency_s is not None or self.max_ttft_s is not None

    def with_surcharges(self, more_usd: Mapping[str, float]) -> "Constraints":
        """Return these constraints with further surcharges, added to those that there are."""
        total = dict(self.surcharges_usd)
        for model_id, usd in more_usd.items():
            total[model_id] = total.get(model_id, 0.0) + usd
        return msgspec.structs.replace(self, surcharges_usd=total)


# --- predictions and decisions ----------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Category:
    """What one query is taken to be about, by a router that goes by that."""

    scheme: str
    """What such a router calls it: `category` or `domain`."""
    name: str | None
    """None where none was identified, and the generalist answers."""

    @property
    def told(self) -> str:
        """The name, or what clients are told where there is none."""
        return self.name or ("other" if self.scheme == "domain" else "uncertain")


@dataclass(frozen=True, slots=True, kw_only=True)
class Categories:
    """What each query of a batch is taken to be about.

    Attributes
    ----------
    scheme
        As in `Category`.
    names
        Of the categories.
    first, second
        (n_queries,), positions in `names`; -1 for none. A query has a second one where two
        together are likely and neither is alone.
    """

    scheme: str
    names: tuple[str, ...]
    first: NDArray[np.intp]
    second: NDArray[np.intp]

    def rows(self, index: NDArray[np.intp]) -> "Categories":
        """Return those of some queries, in the order of `index`."""
        return Categories(
            scheme=self.scheme,
            names=self.names,
            first=self.first[index],
            second=self.second[index],
        )

    def of(self, row: int) -> Category:
        """Return that of one query."""
        both = [int(self.first[row]), int(self.second[row])]
        name = "+".join(self.names[each] for each in both if each >= 0)
        return Category(scheme=self.scheme, name=name or None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Predictions:
    """What a router expects of every model on every query; arrays are (n_queries, n_models).

    `quality` and `quality_std` are in quality units, the token arrays count output tokens;
    `output_tokens_upper` aims at the quantile `UPPER_QUANTILE`. All values are finite.

    `strength`, where a router learned from comparisons, says who wins one: the chance that
    model a beats model b is sigmoid(strength_a - strength_b).

    `categories`, where a router goes by them, tells what the queries are taken to be about.
    """

    quality: FloatMatrix
    quality_std: FloatMatrix
    output_tokens: FloatMatrix
    output_tokens_upper: FloatMatrix
    strength: FloatMatrix | None = None
    categories: Categories | None = None

    def __len__(self) -> int:
        return len(self.quality)

    def rows(self, index: NDArray[np.intp]) -> "Predictions":
        """Return the predictions of some queries, in the order of `index`."""
        return Predictions(
            quality=self.quality[index],
            quality_std=self.quality_std[index],
            output_tokens=self.output_tokens[index],
            output_tokens_upper=self.output_tokens_upper[index],
            strength=None if self.strength is None else self.strength[index],
            categories=None if self.categories is None else self.categories.rows(index),
        )

    def columns(self, index: Sequence[int]) -> "Predictions":
        """Return the predictions of some models, in the order of `index`."""
        if len(index) == self.quality.shape[1] and list(index) == list(range(len(index))):
            return self
        picked = np.array(index, np.intp)
        return Predictions(
            quality=self.quality.take(picked, axis=1),
            quality_std=self.quality_std.take(picked, axis=1),
            output_tokens=self.output_tokens.take(picked, axis=1),
            output_tokens_upper=self.output_tokens_upper.take(picked, axis=1),
            strength=None if self.strength is None else self.strength.take(picked, axis=1),
            categories=self.categories,
        )

    def joined(self, second: Sequence[bool]) -> "Predictions":
        """Return one row out of the first two, with the models of the second where it says so."""
        take = np.asarray(second)

        def one(both: FloatMatrix) -> FloatMatrix:
            return np.where(take, both[1:2], both[0:1])

        return Predictions(
            quality=one(self.quality),
            quality_std=one(self.quality_std),
            output_tokens=one(self.output_tokens),
            output_tokens_upper=one(self.output_tokens_upper),
            strength=None if self.strength is None else one(self.strength),
            categories=None if self.categories is None else self.categories.rows(np.array([0])),
        )


class Exclusion(StrEnum):
    """Why a candidate could not be chosen."""

    NOT_ALLOWED = "not_allowed"
    WISHES = "wishes"
    """Not as safe, or of another licence, than the request demands."""
    CONTEXT_WINDOW = "context_window"
    MAX_OUTPUT_TOKENS = "max_output_tokens"
    VISION = "vision_unsupported"
    AUDIO = "audio_unsupported"
    VIDEO = "video_unsupported"
    FILE = "file_unsupported"
    MAX_IMAGES = "max_images"
    TOOLS = "tools_unsupported"
    JSON_SCHEMA = "json_schema_unsupported"
    STREAMING = "streaming_unsupported"
    MESSAGES_API = "messages_api_unsupported"
    MAX_COST = "max_cost"
    UNKNOWN_PRICE = "unknown_price"
    SHARE = "share_exceeded"
    LATENCY = "latency"
    """It may take longer than the request allows, and another one does not."""
    UNHEALTHY = "unhealthy"
    DEMOTED = "demoted"
    """It has changed for the worse since it was learned."""


class Reason(StrEnum):
    """Why the served model was chosen; a header, a log field and a metric label."""

    KNOB = "knob"
    UNCERTAIN = "uncertain"
    """As `knob`, by a router of categories that recognised none: no specialist is asked for."""
    ONLY_ELIGIBLE = "only_eligible"
    MIN_QUALITY_UNMET = "min_quality_unmet"
    LATENCY_UNMET = "latency_unmet"
    """No candidate is predicted to be in time; the fastest one is taken."""
    THRESHOLD = "threshold"
    PINNED = "pinned"
    ROUTER_TIMEOUT = "router_timeout"
    ROUTER_ERROR = "router_error"
    FALLBACK = "fallback"
    BUDGET = "budget"
    """What is left of a budget did not pay for the model that was decided."""
    DECISION_MODEL = "decision_model"
    """The policy has a model for requests as hard as an outside model says that this one is."""
    BEST_EFFORT = "best_effort"
    """The best of some tiers that is expected to be in time at the present load."""
    STICKY = "sticky"
    """The conversation stayed on its model where the router alone would have moved."""
    WORKFLOW = "workflow"
    """A workflow says which models are called, in which order, and whose answer serves."""


class Latency(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """How long an answer is predicted to take, from the request on, in seconds.

    Attributes
    ----------
    ttft_s, total_s
        Until its first token, and until it is whole: the median.
    ttft_s_upper, total_s_upper
        What nine of ten stay below.
    """

    ttft_s: float
    ttft_s_upper: float
    total_s: float
    total_s_upper: float


class CandidateEstimate(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Everything that was known of one candidate when the decision was made."""

    model_id: str
    quality: float | None
    quality_std: float | None
    input_tokens: int
    output_tokens: float | None
    output_tokens_upper: float | None
    cost_usd: float | None
    cost_usd_upper: float | None
    exclusion: Exclusion | None = None
    exclusion_detail: str | None = None
    penalty: float = 0.0
    """What the goals of the request take off its quality, in the same unit."""
    goal_costs: Mapping[str, float] | None = None
    """By goal, from 0 (nothing better) to 1; None where there are none."""
    surcharge_usd: float = 0.0
    """What the choice adds to its cost."""
    latency: Latency | None = None
    """How long it is predicted to take; None where nobody asked or knows."""

    @property
    def weighed_usd(self) -> float | None:
        """What the choice takes it to cost, surcharge included; None where its price is unknown."""
        return None if self.cost_usd is None else self.cost_usd + self.surcharge_usd

    @property
    def eligible(self) -> bool:
        """Whether the candidate passed every hard constraint."""
        return self.exclusion is None


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """Which model takes a request, why, and what was predicted of all of them."""

    model_id: str
    fallbacks: tuple[str, ...]
    """Further eligible models, best first under the same objective."""
    candidates: tuple[CandidateEstimate, ...]
    reason: Reason
    usd_per_quality: float | None
    """The exchange rate that the knob came down to; None where none was used."""
    propensity: float = 1.0
    category: Category | None = None
    """What the request is taken to be about, where the router goes by that."""
    usd_per_goal: float | None = None
    """What a unit of `CandidateEstimate.penalty` was weighed with, where that is another rate."""

    def estimate(self, model_id: str) -> CandidateEstimate | None:
        """Return what was predicted of `model_id`, if it was a candidate."""
        for each in self.candidates:
            if each.model_id == model_id:
                return each
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class KnobStep:
    """One range of the knob in which the choice stays the same."""

    from_cost_quality: float
    to_cost_quality: float
    model_id: str


PriceTable = Mapping[str, Prices]
"""Prices by the model name an artifact knows."""
