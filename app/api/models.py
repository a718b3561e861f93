"""`GET /v1/models` and its like: every name that clients may send, and what it gives."""

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query, Request
from pydantic import BaseModel, Field

from app.access.guard import Caller
from app.api.asgi import head_of
from app.api.model_cards import (
    Facts,
    card,
    codex_card,
    facts_of,
    listed_facts,
    litellm_entry,
    page,
)
from app.gateway.names import Names
from app.state import ActiveConfig, AppState


class Architecture(BaseModel):
    """What goes in and what comes out."""

    modality: str
    input_modalities: list[str]
    output_modalities: list[str]


class Model(BaseModel):
    """One name, in the words of several kinds of clients."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: str
    type: Literal["model"]
    display_name: str
    created_at: str
    lifecycle: Literal["active"]
    max_input_tokens: int = Field(description="Of prompt and answer together.")
    max_tokens: int = Field(description="Of the longest answer.")
    capabilities: dict[str, Any] = Field(description="As Anthropic tells them.")
    context_length: int
    max_model_len: int
    max_output_tokens: int
    architecture: Architecture
    pricing: dict[str, str] | None = Field(
        description="US dollars per token; null where several models may answer, or none is known."
    )
    supported_parameters: list[str]
    steelyard: dict[str, Any] = Field(
        description="What it stands for, who may answer, the knob, and prices with their source."
    )


class ModelList(BaseModel):
    """Names, and where this page of them ends."""

    object: Literal["list"] = "list"
    data: list[Model]
    has_more: bool
    first_id: str | None
    last_id: str | None


class CodexModelList(ModelList):
    """The same with the cards that Codex reads."""

    models: list[dict[str, Any]]


class ModelInfo(BaseModel):
    """One name as LiteLLM tells it."""

    model_name: str
    model_info: dict[str, Any]


class ModelInfoList(BaseModel):
    """Names as LiteLLM tells them."""

    data: list[ModelInfo]


router = APIRouter(tags=["models"])


@router.get("/v1/models", summary="List the models and policies", responses={404: {"model": None}})
async def list_models(
    request: Request,
    limit: Annotated[int | None, Query(ge=1, le=1_000, description="Left out, all.")] = None,
    after_id: Annotated[str | None, Query(description="Begin after this name.")] = None,
    before_id: Annotated[str | None, Query(description="End before this name.")] = None,
    client_version: Annotated[str | None, Query(description="Sent by Codex.")] = None,
) -> CodexModelList | ModelList:
    """List policies as `auto` and `auto:<policy>`, then aliases, then models that can be pinned.

    Of the names `router-<name>-<threshold>` those with a stored threshold are listed, of aliases
    those that are no patterns. A key sees what it may use. `client_version` adds `models`, which
    Codex reads.
    """
    names, serving, caller = await _view(request)
    all_facts = list(listed_facts(names, serving, caller))
    ids = [facts.name for facts in all_facts]
    here, has_more = page(
        ids,
        limit=limit,
        after=_position(ids, after_id, names),
        before=_position(ids, before_id, names),
    )
    shown = [all_facts[position] for position in here]
    answer: dict[str, Any] = {
        "data": [Model(**card(facts, serving.config)) for facts in shown],
        "has_more": has_more,
        "first_id": shown[0].name if shown else None,
        "last_id": shown[-1].name if shown else None,
    }
    if not client_version:
        return ModelList(**answer)
    models = [codex_card(facts, priority=position) for position, facts in enumerate(shown)]
    return CodexModelList(**answer, models=models)


@router.get("/v1/models/{model:path}", summary="Look one name up", responses={404: {"model": None}})
async def retrieve_model(
    request: Request, model: Annotated[str, Path(description="A name, listed or not.")]
) -> Model:
    """Return one name, or 404 with the list of those that exist."""
    names, serving, caller = await _view(request)
    return Model(**card(_usable_facts(model, names, serving, caller), serving.config))


@router.get("/v1/model/info", summary="Tell models in detail", responses={404: {"model": None}})
@router.get("/model/info", include_in_schema=False)
async def model_info(
    request: Request,
    model: Annotated[str | None, Query(description="One name; left out, all.")] = None,
    litellm_model_id: Annotated[str | None, Query(description="The same.")] = None,
) -> ModelInfoList:
    """Return limits, prices and abilities as LiteLLM's proxy tells them."""
    names, serving, caller = await _view(request)
    one = model or litellm_model_id
    found: Sequence[Facts] = (
        [_usable_facts(one, names, serving, caller)]
        if one
        else list(listed_facts(names, serving, caller))
    )
    return ModelInfoList(data=[ModelInfo(**litellm_entry(facts)) for facts in found])


async def _view(request: Request) -> tuple[Names, ActiveConfig, Caller]:
    state: AppState = request.app.state.steelyard
    caller = await state.guard.authenticate(head_of(request.scope))
    return state.serving.visible.of(caller), state.serving, caller


def _usable_facts(model: str, names: Names, serving: ActiveConfig, caller: Caller) -> Facts:
    """Return what is told of a name, if it stands for something that the caller may use."""
    if not names.shows(model):
        raise names.not_found(model)
    return facts_of(model, names, serving, caller)


def _position(ids: Sequence[str], model: str | None, names: Names) -> int | None:
    if not model:
        return None
    if model not in ids:
        raise names.not_found(model)
    return ids.index(model)
