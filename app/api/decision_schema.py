"""What `POST /v1/route` answers, as the API document describes it."""

from typing import Literal

from pydantic import BaseModel, Field

from app.outcome import DecisionModelResult
from routers.artifact.evidence import Evidence
from routers.request.layout import DOMAINS, KINDS, LEVELS


class Candidate(BaseModel):
    """What is predicted of one model on this request, and whether it may be chosen."""

    model: str
    predicted_quality: float | None = Field(description="0 to 1")
    quality_uncertainty: float | None = Field(description="one standard deviation")
    evidence: Evidence | None = Field(description="what the prediction rests on")
    input_tokens: int
    predicted_output_tokens: float | None
    upper_output_tokens: float | None = Field(description="the 0.9 quantile")
    predicted_cost_usd: float | None
    upper_cost_usd: float | None
    eligible: bool
    exclusion: str | None
    exclusion_detail: str | None
    goal_penalty: float | None = Field(
        description="what the goals of the request take off its quality; null without goals"
    )
    goal_costs: dict[str, float] | None = Field(description="of each goal, from 0 (best) to 1")
    surcharge_usd: float = Field(
        description="what the choice adds to the cost, such as the price of waiting; never billed"
    )
    predicted_ttft_ms: float | None = Field(
        description="until the first token, the median; null where latency was not predicted"
    )
    upper_ttft_ms: float | None = Field(description="the 0.9 quantile")
    predicted_latency_ms: float | None = Field(description="until the answer is whole")
    upper_latency_ms: float | None = Field(description="the 0.9 quantile")


class CategoryObject(BaseModel):
    """What a request is taken to be about, by a router that goes by that."""

    scheme: Literal["category", "domain"]
    name: str = Field(description="uncertain (of domains: other) where none was identified")


class DecisionObject(BaseModel):
    """The choice and the exchange rate it was made at."""

    model: str
    reason: str
    category: CategoryObject | None = Field(description="null where the router knows none")
    fallbacks: list[str]
    usd_per_quality: float | None
    propensity: float


class Threshold(BaseModel):
    """What a choice between two models is made by; `statement` where calibration stored it."""

    strong: str
    weak: str
    threshold: float
    statement: str | None


class TaskObject(BaseModel):
    """What a request is for, in the words of its policy's vocabulary."""

    names: list[str] = Field(description="in the order in which they are done")
    told: str = Field(description="the same as one text; uncertain where none was recognised")
    recognised: bool = Field(description="false where the client named them")


class ScorerAnswer(BaseModel):
    """What the policy's scorer said: 1 to 5, and the chance that the strong model is needed."""

    model: str
    score: int | None
    strong_chance: float | None
    cost_usd: float | None
    ms: float
    error: str | None


class DecisionModelTold(BaseModel):
    """What the policy's decision model said of how hard the request is, and of what kind."""

    result: DecisionModelResult
    level: dict[str, float] = Field(description="the chance of each level; empty where none came")
    kind: dict[str, float]


class DocumentsTold(BaseModel):
    """What the documents of a request come to: all that a router is told of them."""

    n: int
    coverage: float = Field(description="which share of the question's words they hold")
    signals: dict[str, float]


class NearLimitTold(BaseModel):
    """A model that costs more in the choice, since it nears what its deployments take."""

    model: str
    used: float = Field(description="which share of that all gateways use")
    price_quality: float = Field(description="what it costs more, in quality")
    surcharge_usd: float = Field(description="the same by the knob; never billed")
    why: str


class BestEffortTold(BaseModel):
    """Which of its policy's tiers answers a request, and what was expected of that."""

    tier: int = Field(description="from 1, the best, on")
    model: str
    tiers: list[str]
    by: Literal["rule", "learned"]
    deadline_ms: float
    expected_wait_ms: float = Field(description="before it is worked on, the mean")
    upper_wait_ms: float
    expected_service_ms: float
    late: bool = Field(description="whether no tier was expected to be in time")


class PlaceQueue(BaseModel):
    """Who waits for the gateway's own places, and how long a request would that came now.

    It is part of what is predicted of the candidates.
    """

    waiting: int
    before: int = Field(description="how many of them would go before it, by its key and class")
    expected_wait_ms: float | None = Field(
        description="the mean; null where it would not wait, or nobody was seen to get a place yet"
    )
    upper_wait_ms: float | None = Field(description="the 0.9 quantile")


class Step(BaseModel):
    """A range of the knob in which the choice stays the same."""

    from_cost_quality: float
    to_cost_quality: float
    model: str
    why: str = Field(description="why this model, in a sentence")


class Described(BaseModel):
    """What the router takes the prompt to ask for."""

    level: str = Field(description=f"one of {', '.join(LEVELS)}")
    kind: str | None = Field(description=f"one of {', '.join(KINDS)}")
    domain: str | None = Field(description=f"one of {', '.join(DOMAINS)}")


class RouteDecision(BaseModel):
    """A decision without a call."""

    object: Literal["route.decision"]
    id: str
    model: str
    policy: str
    policy_version: str
    cost_quality: float | None
    why: str = Field(description="why this model, in a sentence")
    request: Described | None = Field(description="null where the router describes no prompts")
    evidence: Evidence | None = Field(description="what the prediction of this model rests on")
    decision: DecisionObject
    flags: str | None = Field(description="the flags that count; null where there are none")
    task: TaskObject | None = Field(description="null where nobody asked for one")
    threshold: Threshold | None
    scorer: ScorerAnswer | None
    decision_model: DecisionModelTold | None = Field(description="null where the policy has none")
    documents: DocumentsTold | None = Field(
        description="null without documents, or where the policy looks at none"
    )
    load: list[NearLimitTold] = Field(description="models near their limits")
    best_effort: BestEffortTold | None = Field(description="null where the policy has no tiers")
    queue: PlaceQueue | None = Field(description="null where nobody waits")
    candidates: list[Candidate]
    counterfactual: list[Step]
