"""What the OpenAPI document says of the endpoints of models that do not chat."""

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from app.api.dialects.base import Documented
from app.api.schema import ErrorBody
from app.wire.pinned.embeddings import MAX_INPUTS
from app.wire.pinned.endpoints import EMBEDDINGS, TAKE_FORMS


class EmbeddingsRequest(BaseModel):
    """Fields beyond these pass through untouched."""

    model_config = ConfigDict(extra="allow")

    model: str = Field(description="An embedding model, or an alias of one; never a policy.")
    input: str | list[str] | list[int] | list[list[int]] = Field(
        description=f"Up to {MAX_INPUTS} texts, or lists of token numbers; none of them empty."
    )
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: int | None = None


class Embedding(BaseModel):
    """One vector: numbers, or their float32 bytes, little-endian, in base64."""

    object: Literal["embedding"]
    index: int
    embedding: list[float] | str


class EmbeddingsUsage(BaseModel):
    """What was read."""

    prompt_tokens: int
    total_tokens: int


class Embeddings(BaseModel):
    """One vector for each input, in the order of the inputs."""

    model_config = ConfigDict(extra="allow")

    object: Literal["list"]
    data: list[Embedding]
    model: str
    usage: EmbeddingsUsage | None = None


class PassedThrough(BaseModel):
    """A request that its upstream gets as it is, but for the name of the model."""

    model_config = ConfigDict(extra="allow")

    model: str | None = Field(
        None, description="May be left out where one model of the kind is configured."
    )


class AsItCame(BaseModel):
    """The answer as the upstream gave it; sound and texts have their own content type."""

    model_config = ConfigDict(extra="allow")


_SUMMARIES: Mapping[str, tuple[str, dict[str, Any]]] = {
    EMBEDDINGS: ("Embed texts", {"input": "What is a steelyard?"}),
    "moderations": ("Classify texts and images", {"input": "What is a steelyard?"}),
    "images/generations": ("Make images", {"prompt": "A steelyard", "n": 1}),
    "images/edits": ("Edit images", {"prompt": "A steelyard"}),
    "images/variations": ("Vary an image", {}),
    "audio/speech": ("Read a text aloud", {"input": "A steelyard.", "voice": "alloy"}),
    "audio/transcriptions": ("Write down what is said", {}),
    "audio/translations": ("Write down in English what is said", {}),
    "rerank": (
        "Order documents by how well they fit a query",
        {"query": "What is a steelyard?", "documents": ["A balance.", "A ship."]},
    ),
}


def documented_as(name: str) -> Documented:
    """Return what the document says of an endpoint."""
    summary, example = _SUMMARIES[name]
    embeds = name == EMBEDDINGS
    form = " Files come as multipart/form-data." if name in TAKE_FORMS else ""
    return Documented(
        summary=summary,
        description="Ask the model that is named, on any of its deployments; nothing is routed."
        + form,
        request=EmbeddingsRequest if embeds else PassedThrough,
        answer=Embeddings if embeds else AsItCame,
        event=None,
        error=ErrorBody,
        example={"model": "a-model", **example},
        streamed=None,
    )
