"""The bodies of `/v1/responses`, for the OpenAPI document alone."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from app.api.schema import Routing


class InputText(BaseModel):
    """A part of text."""

    type: Literal["input_text"]
    text: str


class InputMessage(BaseModel):
    """A message of the conversation."""

    type: Literal["message"] | None = None
    role: Literal["user", "system", "developer", "assistant"]
    content: str | list[InputText]


class CalledFunction(BaseModel):
    """A call that an earlier answer made."""

    type: Literal["function_call"]
    call_id: str
    name: str
    arguments: str


class FunctionResult(BaseModel):
    """What a call came to."""

    type: Literal["function_call_output"]
    call_id: str
    output: str


class FunctionTool(BaseModel):
    """A function that the model may call."""

    type: Literal["function"]
    name: str = Field(min_length=1)
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class TextFormat(BaseModel):
    """The form of the answer."""

    type: Literal["text", "json_object"]


class TextOptions(BaseModel):
    """How the answer is written."""

    format: TextFormat | None = None


class ReasoningOptions(BaseModel):
    """How much the model thinks before it answers."""

    effort: Literal["minimal", "low", "medium", "high"] | None = None


class ResponsesRequest(BaseModel):
    """A request of OpenAI's Responses API; fields that are not listed go on to upstreams of it."""

    model_config = ConfigDict(extra="allow")

    model: str = Field(description="`auto`, `auto:<policy>`, or a model's id")
    input: (
        str | Annotated[list[InputMessage | CalledFunction | FunctionResult], Field(min_length=1)]
    ) = Field(description="Besides these items, all others that clients of Responses send.")
    instructions: str | None = None
    previous_response_id: str | None = Field(
        None, description="Where responses are kept (`responses.store`); else it is not found."
    )
    store: bool | None = None
    stream: bool | None = None
    tools: list[FunctionTool] | None = None
    tool_choice: Literal["auto", "none", "required"] | None = None
    text: TextOptions | None = None
    reasoning: ReasoningOptions | None = None
    max_output_tokens: Annotated[int, Field(ge=1, le=10_000_000)] | None = None
    routing: Routing | None = None


class Response(BaseModel):
    """An answer in the shape of OpenAI's Responses."""

    model_config = ConfigDict(extra="allow")

    id: str
    object: Literal["response"] = "response"
    created_at: int
    status: Literal["completed", "incomplete", "failed", "in_progress"]
    model: str
    output: list[dict[str, Any]]
    usage: dict[str, Any] | None = None
    error: dict[str, Any] | None = None
    incomplete_details: dict[str, Any] | None = None


class ResponseEvent(BaseModel):
    """One event of a stream."""

    event: str = Field(description="Its type, such as `response.output_text.delta`")
    data: str = Field(description="An object of that `type` with a `sequence_number`, as JSON")
