"""The OpenAPI description of the endpoints that FastAPI does not see, and of every error."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel, ConfigDict, Field

from app.api.knobs import MAX_USD
from app.api.routing_headers import HEADER_KEYS
from app.config import PRESETS
from app.gateway.names import Names
from routers.artifact.evidence import Evidence
from routers.request.layout import DOMAINS, KINDS, LEVELS

_PRESETS = ", ".join(f"{name} ({t:g})" for name, t in PRESETS.items())
_REF = "#/components/schemas/{model}"


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


class Routing(BaseModel):
    """The routing headers as a body object, for clients that cannot set headers."""

    model_config = ConfigDict(extra="forbid")

    cost_quality: (
        Annotated[float, Field(ge=0, le=1)] | Literal["economy", "balanced", "quality"] | None
    ) = Field(None, description=f"0 to 1, or {_PRESETS}")
    max_quality_loss: float | None = Field(None, ge=0, le=1)
    min_quality: float | None = Field(None, ge=0, le=1)
    lambda_: float | None = Field(
        None, ge=0, le=MAX_USD, alias="lambda", description="USD per quality point"
    )
    max_cost: float | None = Field(
        None, ge=0, le=MAX_USD, description="US dollars for the whole request"
    )
    models: list[str] | None = Field(None, min_length=1)
    policy: str | None = None
    fallback: Literal["on", "off"] | bool | None = None
    explain: Literal["full", "off"] | None = None
    affinity: Literal["on", "off"] | bool | None = None
    cache: Literal["on", "off", "no-store"] | bool | None = None


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
    routing: Routing | None = None


class ChatCompletion(BaseModel):
    """The upstream's answer as it came."""

    model_config = ConfigDict(extra="allow")

    choices: list[dict[str, Any]]


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


class DecisionObject(BaseModel):
    """The choice and the exchange rate it was made at."""

    model: str
    reason: str
    fallbacks: list[str]
    usd_per_quality: float | None
    propensity: float


class Threshold(BaseModel):
    """What a choice between two models is made by; `statement` where calibration stored it."""

    strong: str
    weak: str
    threshold: float
    statement: str | None


class ScorerAnswer(BaseModel):
    """What the policy's scorer said: 1 to 5, and the chance that the strong model is needed."""

    model: str
    score: int | None
    strong_chance: float | None
    cost_usd: float | None
    ms: float
    error: str | None


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
    threshold: Threshold | None
    scorer: ScorerAnswer | None
    candidates: list[Candidate]
    counterfactual: list[Step]


class StreamEvent(BaseModel):
    """One event of a stream; the last one's data is `[DONE]`."""

    data: str = Field(description="A chunk as JSON")


_SCHEMAS = (ErrorBody, ChatCompletionRequest, ChatCompletion, StreamEvent, RouteDecision)

_KNOB_HELP = {
    "x-cost-quality": f"The knob: 0 (cheapest) to 1 (best), or {_PRESETS}.",
    "x-route-max-quality-loss": "Cheapest model predicted within this of the best.",
    "x-route-min-quality": "Cheapest model predicted to reach this quality.",
    "x-route-lambda": "US dollars that one more unit of quality (0 to 1) is worth.",
    "x-route-max-cost": "Hard limit in US dollars for the whole request.",
    "x-route-models": "Comma-separated list of the models that may be chosen.",
    "x-route-policy": "The policy to decide by.",
    "x-route-fallback": "on or off.",
    "x-route-explain": "full adds the candidate table to the body under `steelyard`.",
    "x-route-affinity": "on or off: whether the conversation keeps its model.",
    "x-route-cache": "on, off, or no-store (use what is there, keep nothing).",
}


def document_endpoints(app: FastAPI) -> None:
    """Make `app.openapi()` describe the plain ASGI endpoints and the errors of all of them."""
    document: dict[str, Any] = {}

    def openapi() -> dict[str, Any]:
        if not document:
            document.update(_document(app))
        return document

    app.openapi = openapi  # type: ignore[method-assign]  # (as FastAPI documents it)


def _document(app: FastAPI) -> dict[str, Any]:
    document = get_openapi(
        title=app.title, version=app.version, description=app.description, routes=app.routes
    )
    schemas = document.setdefault("components", {}).setdefault("schemas", {})
    for model in _SCHEMAS:
        schema = model.model_json_schema(ref_template=_REF)
        schemas |= schema.pop("$defs", {})
        schemas[model.__name__] = schema
    names: Names = app.state.steelyard.serving.names
    knobs = schemas["Routing"]["properties"]
    _branch(knobs["models"], "array")["items"]["enum"] = sorted(names.model_ids)
    _branch(knobs["policy"], "string")["enum"] = list(names.policies)
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    stream = {"text/event-stream": {"schema": _ref(StreamEvent)}}
    document["paths"]["/v1/chat/completions"] = {
        "post": _operation(
            "Route a chat completion",
            "Decide, call the chosen model, and return its answer as it came.",
            ChatCompletion,
            knobs=knobs,
            extra_content=stream,
        )
    }
    document["paths"]["/v1/route"] = {
        "post": _operation(
            "Decide without calling",
            "Return every candidate's predictions, the decision, and what other knob values "
            "would choose.",
            RouteDecision,
            knobs=knobs,
        )
    }
    _add_security(document, keys_needed=app.state.steelyard.config.gateway.auth.keys_needed)
    for path in document["paths"].values():
        for operation in path.values():
            operation["responses"].pop("422", None)
            for status in ("4XX", "5XX"):
                operation["responses"][status] = {
                    "description": "An error in OpenAI's shape",
                    "content": {"application/json": {"schema": _ref(ErrorBody)}},
                }
    return document


def _add_security(document: dict[str, Any], *, keys_needed: bool) -> None:
    """Say where a virtual key or a token is asked for, so that the page of the docs can send it."""
    schemes = document["components"].setdefault("securitySchemes", {})
    schemes["metrics_token"] = {
        "type": "http",
        "scheme": "bearer",
        "description": "The token of the metrics, or the admin token where they have none.",
    }
    if keys_needed:
        schemes["virtual_key"] = {
            "type": "http",
            "scheme": "bearer",
            "description": "A key of this gateway, sk-sy-…, as its operator gives them out.",
        }
    for path, operations in document["paths"].items():
        for operation in operations.values():
            if path.startswith("/v1/") and keys_needed:
                operation["security"] = [{"virtual_key": []}]
            elif path == "/metrics":
                operation["security"] = [{}, {"metrics_token": []}]


def _operation(
    summary: str,
    description: str,
    answer: type[BaseModel],
    *,
    knobs: Mapping[str, Any],
    extra_content: dict[str, Any] | None = None,
) -> dict[str, Any]:
    return {
        "tags": ["chat"],
        "summary": summary,
        "description": description,
        "parameters": [
            {
                "name": header.decode(),
                "in": "header",
                "required": False,
                "description": _KNOB_HELP[header.decode()],
                "schema": _header_schema(knobs[key]),
            }
            for header, key in HEADER_KEYS.items()
        ],
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": _ref(ChatCompletionRequest)}},
        },
        "responses": {
            "200": {
                "description": "The answer",
                "content": {"application/json": {"schema": _ref(answer)}, **(extra_content or {})},
            }
        },
    }


def _branch(schema: Mapping[str, Any], kind: str) -> dict[str, Any]:
    """Return the alternative of one type."""
    return next(each for each in schema["anyOf"] if each["type"] == kind)


def _header_schema(knob: Mapping[str, Any]) -> dict[str, Any]:
    """Describe a header like the key of `routing`; lists are separated by commas."""
    spelled = [each for each in knob["anyOf"] if each["type"] not in ("null", "boolean")]
    return spelled[0] if len(spelled) == 1 else {"anyOf": spelled}


def _ref(model: type[BaseModel]) -> dict[str, str]:
    return {"$ref": _REF.format(model=model.__name__)}
