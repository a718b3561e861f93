"""The bodies of Anthropic's dialect, for the OpenAPI document alone."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from app.api.schema import Routing
from app.wire.messages.reading import MAX_TOKENS


class MessagesBlock(BaseModel):
    """One block of content: text, image, tool_use, tool_result, thinking or anything else."""

    model_config = ConfigDict(extra="allow")

    type: str
    text: str | None = None
    id: str | None = None
    name: str | None = None
    tool_use_id: str | None = None
    is_error: bool | None = None
    thinking: str | None = None
    signature: str | None = None
    title: str | None = None
    context: str | None = None
    tool_name: str | None = None


class MessagesTurn(BaseModel):
    """One turn; fields beyond these pass through untouched."""

    model_config = ConfigDict(extra="allow")

    role: Literal["user", "assistant", "system"]
    content: str | list[MessagesBlock]


class MessagesTool(BaseModel):
    """A tool of the client's, or one of Anthropic's by its dated type."""

    model_config = ConfigDict(extra="allow")

    name: str
    type: str | None = None
    description: str | None = None
    strict: bool | None = None


class MessagesFormat(BaseModel):
    """What the answer has to look like."""

    model_config = ConfigDict(extra="allow")

    type: str


class MessagesOutputConfig(BaseModel):
    """How the answer is to be made."""

    model_config = ConfigDict(extra="allow")

    effort: str | None = None
    format: MessagesFormat | None = None


class MessagesRequest(BaseModel):
    """Anthropic's request; fields beyond these pass through untouched."""

    model_config = ConfigDict(extra="allow")

    model: str = Field(description="auto, auto:<policy>, or a model's id")
    max_tokens: int | None = Field(None, ge=0, le=MAX_TOKENS)
    messages: list[MessagesTurn] = Field(min_length=1)
    system: str | list[MessagesBlock] | None = None
    stream: bool | None = None
    tools: list[MessagesTool] | None = None
    tool_choice: dict[str, Any] | None = None
    thinking: dict[str, Any] | None = None
    output_config: MessagesOutputConfig | None = None
    stop_sequences: list[str] | None = None
    temperature: float | None = None
    routing: Routing | None = None


class MessagesUsage(BaseModel):
    """Token counts; the three classes of input are disjoint."""

    model_config = ConfigDict(extra="allow")

    input_tokens: int
    output_tokens: int
    cache_creation_input_tokens: int | None = None
    cache_read_input_tokens: int | None = None


class Message(BaseModel):
    """A whole answer."""

    model_config = ConfigDict(extra="allow")

    id: str
    type: Literal["message"]
    role: Literal["assistant"]
    model: str
    content: list[MessagesBlock]
    stop_reason: str | None
    stop_sequence: str | None
    usage: MessagesUsage


class MessagesEvent(BaseModel):
    """One event of a stream; `event` is the type that stands in the data, too."""

    event: str
    data: str = Field(description="An event as JSON")


class MessagesErrorObject(BaseModel):
    """What went wrong; some errors carry more."""

    model_config = ConfigDict(extra="allow")

    type: str
    message: str


class MessagesErrorBody(BaseModel):
    """The body of every answer that is not a success."""

    type: Literal["error"]
    error: MessagesErrorObject
    request_id: str | None
