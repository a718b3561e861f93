"""`GET /v1/models`: every name that a client may send as `model`."""

from typing import Annotated, Literal

from fastapi import APIRouter, Path, Request
from pydantic import BaseModel

from app.api.asgi import head_of
from app.gateway.names import A_THRESHOLD, Names
from app.state import AppState

_CREATED = 1_700_000_000
"""OpenAI's clients require a creation time; a configured name has none worth telling."""


class Model(BaseModel):
    """One name."""

    id: str
    object: Literal["model"] = "model"
    created: int = _CREATED
    owned_by: str


class ModelList(BaseModel):
    """Every name."""

    object: Literal["list"] = "list"
    data: list[Model]


router = APIRouter(prefix="/v1/models", tags=["models"])


@router.get("", summary="List the models and policies")
async def list_models(request: Request) -> ModelList:
    """List policies as `auto` and `auto:<policy>`, then every model that can be pinned.

    Of the names `router-<name>-<threshold>` those with a stored threshold are listed. A key sees
    what it may use.
    """
    return ModelList(data=_models(await _names(request)))


@router.get("/{model:path}", summary="Look one name up", responses={404: {"model": None}})
async def retrieve_model(
    request: Request, model: Annotated[str, Path(description="A name from the list.")]
) -> Model:
    """Return one name, or 404 with the list of those that exist."""
    names = await _names(request)
    for each in _models(names):
        if each.id == model:
            return each
    raise names.not_found(model)


async def _names(request: Request) -> Names:
    state: AppState = request.app.state.steelyard
    return state.serving.visible.of(await state.guard.authenticate(head_of(request.scope)))


def _models(names: Names) -> list[Model]:
    return [
        Model(id=name, owned_by="upstream" if name in names.model_ids else "steelyard")
        for name in names.listed()
        if not name.endswith(A_THRESHOLD) and "*" not in name
    ]
