"""The bodies of chat completions and of errors, for the OpenAPI document alone."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from app.api.knobs import MAX_MS, MAX_USD
from app.config import PRESETS
from app.config.best_effort import MAX_DEADLINE_MS
from routers.wishes import MAX_FLAGS_CHARS, MAX_WEIGHT, Security

KNOB_PRESETS = ", ".join(f"{name} ({t:g})" for name, t in PRESETS.items())


_TokenId = Annotated[int, Field(ge=0, lt=2**31)]


class ErrorObject(BaseModel):
    """OpenAI's error, all four keys always there; some errors carry more."""

    model_config = ConfigDict(extra="allow")

    message: str
    type: str
    param: str | None
    code: str | None


class ErrorBody(BaseModel):
    """The body of every answer that is not a success."""

    error: ErrorObject


class ContentPart(BaseModel):
    """One part of a message: text, image, audio or anything else OpenAI knows."""

    model_config = ConfigDict(extra="allow")

    type: str
    text: str | None = None
    refusal: str | None = None


class ChatMessage(BaseModel):
    """One message; fields beyond these pass through untouched."""

    model_config = ConfigDict(extra="allow")

    role: str = Field(description="system, developer, user, assistant, tool or function")
    content: str | list[ContentPart] | None = None
    refusal: str | None = None


_LICENCE = "[a-z][a-z0-9.+-]{0,60}"
_GOAL = (
    "(size|recency|licence|verbosity|readability)(=(10|[0-9]|[0-9]?[.][0-9]{1,6}))?"
    f"|licence={_LICENCE}"
)
_FLAG = f"({_GOAL}|security=({'|'.join(Security)}))"
_FLAGS_PATTERN = f"^{_FLAG}([,;] ?{_FLAG})*$"


class FlagsObject(BaseModel):
    """What is wanted of models besides quality and price: weights in units of quality, demands."""

    model_config = ConfigDict(extra="forbid")

    size: float | None = Field(None, ge=0, le=MAX_WEIGHT, description="few parameters")
    recency: float | None = Field(None, ge=0, le=MAX_WEIGHT, description="released lately")
    verbosity: float | None = Field(None, ge=0, le=MAX_WEIGHT, description="short answers")
    readability: float | None = Field(None, ge=0, le=MAX_WEIGHT, description="easy to read")
    licence: (
        Annotated[float, Field(ge=0, le=MAX_WEIGHT)]
        | Annotated[str, Field(pattern=rf"^{_LICENCE}$")]
        | None
    ) = Field(None, description="a weight; or open, permissive or the name of one, to demand it")
    security: Literal["basic", "standard", "high"] | None = Field(
        None, description="the least that will do"
    )


class Routing(BaseModel):
    """The routing headers as a body object, for clients that cannot set headers."""

    model_config = ConfigDict(extra="forbid")

    cost_quality: (
        Annotated[float, Field(ge=0, le=1)] | Literal["economy", "balanced", "quality"] | None
    ) = Field(None, description=f"0 to 1, or {KNOB_PRESETS}")
    max_quality_loss: float | None = Field(None, ge=0, le=1)
    min_quality: float | None = Field(None, ge=0, le=1)
    lambda_: float | None = Field(
        None, ge=0, le=MAX_USD, alias="lambda", description="USD per quality point"
    )
    mu: float | None = Field(
        None, ge=0, le=1, description="CARROT's trade-off: 0 is quality alone, 1 is cost alone"
    )
    max_cost: float | None = Field(
        None, ge=0, le=MAX_USD, description="US dollars for the whole request"
    )
    models: list[str] | None = Field(None, min_length=1)
    flags: (
        Annotated[str, Field(max_length=MAX_FLAGS_CHARS, pattern=_FLAGS_PATTERN)]
        | FlagsObject
        | None
    ) = Field(
        None, description="what is wanted besides quality and price: an object, or `size=1, ...`"
    )
    policy: str | None = None
    fallback: Literal["on", "off"] | bool | None = None
    explain: Literal["full", "off"] | None = None
    reference: (
        Annotated[str, Field(max_length=2_000)]
        | Annotated[
            list[Annotated[str, Field(min_length=1, max_length=2_000)]],
            Field(min_length=1, max_length=20),
        ]
        | None
    ) = Field(None, description="right answers, against which `explain: full` holds a whole answer")
    affinity: Literal["on", "off"] | bool | None = None
    cache: Literal["on", "off", "no-store"] | bool | None = None
    task: str | None = Field(
        None, description="one of the policy's tasks, or several as first>second; off for none"
    )
    detail: Literal["auto", "low", "high", "original", "as-sent"] | None = Field(
        None, description="how closely images are looked at, where the policy chooses it"
    )
    max_latency_ms: float | None = Field(
        None, ge=0, le=MAX_MS, description="until the answer is whole; nine of ten stay below"
    )
    max_ttft_ms: float | None = Field(
        None, ge=0, le=MAX_MS, description="until its first token; nine of ten stay below"
    )
    latency_weight: float | None = Field(
        None, ge=0, le=MAX_USD, description="US dollars that a second costs where models compare"
    )
    deadline_ms: float | None = Field(
        None,
        gt=0,
        le=MAX_DEADLINE_MS,
        description="within which the answer is to be whole, where the policy has tiers",
    )


class StreamOptions(BaseModel):
    """What a stream carries besides the answer."""

    model_config = ConfigDict(extra="allow")

    include_usage: bool | None = None


class ResponseFormat(BaseModel):
    """The form of the answer; `json_schema` needs a model that offers it."""

    model_config = ConfigDict(extra="allow")

    type: str | None = None


class ChatCompletionRequest(BaseModel):
    """OpenAI's chat-completions request; fields beyond these pass through untouched."""

    model_config = ConfigDict(
        extra="allow",
        json_schema_extra={
            "example": {
                "model": "auto",
                "messages": [{"role": "user", "content": "What is a steelyard?"}],
            }
        },
    )

    model: str = Field(
        min_length=1,
        description="auto, auto:<policy>, router-<name>-<threshold>, or a model id (no routing)",
    )
    messages: list[ChatMessage] = Field(min_length=1)
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: int | None = Field(None, ge=1, le=10_000_000)
    max_completion_tokens: int | None = Field(None, ge=1, le=10_000_000)
    n: int | None = Field(None, ge=1, le=10_000_000)
    tools: list[dict[str, Any]] | None = None
    functions: list[dict[str, Any]] | None = None
    response_format: ResponseFormat | None = None
    modalities: list[str] | None = None
    documents: list[str | dict[str, Any]] | None = Field(
        None,
        description="what the answer is to rest on, where the policy looks at documents: texts, or "
        "objects with a text (and perhaps a score); elsewhere the field passes through",
    )
    routing: Routing | None = None


class ChatCompletion(BaseModel):
    """The upstream's answer as it came."""

    model_config = ConfigDict(extra="allow")

    choices: list[dict[str, Any]]


class TextCompletionRequest(BaseModel):
    """A request for the completion of plain prompts; fields beyond these pass through."""

    model_config = ConfigDict(extra="allow")

    model: str = Field(min_length=1, description="auto, auto:<policy>, or the id of a model")
    prompt: (
        str
        | Annotated[list[str], Field(min_length=1)]
        | Annotated[list[_TokenId], Field(min_length=1)]
        | Annotated[list[list[_TokenId]], Field(min_length=1)]
    ) = Field(description="a text; others need an upstream that takes plain prompts")
    max_tokens: int | None = Field(None, ge=0, le=10_000_000, description="16 if left out")
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    n: int | None = Field(None, ge=1, le=10_000_000)
    best_of: int | None = Field(None, ge=1, le=10_000_000)
    suffix: str | None = None
    echo: bool | None = None
    logprobs: int | bool | None = None
    routing: Routing | None = None


class TextCompletion(BaseModel):
    """The answer to plain prompts."""

    model_config = ConfigDict(extra="allow")

    choices: list[dict[str, Any]]


class StreamEvent(BaseModel):
    """One event of a stream; the last one's data is `[DONE]`."""

    data: str = Field(description="A chunk as JSON")
