"""What `/v1/responses` serves besides answers: those that were kept, and what Codex asks first."""

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query, Request
from fastapi.responses import JSONResponse, Response

from app.api.asgi import head_of
from app.errors import (
    AbsentEndpointError,
    InvalidRequestError,
    ResponseNotFoundError,
    StoreUnavailableError,
)
from app.gateway.kept_responses import KeptResponses
from app.state import AppState
from app.stores.base import StoreError
from app.wire.responses.kept import KeptResponse

_UPGRADE_REQUIRED = 426
_UPGRADE = {
    "error": {
        "message": "this gateway serves responses over HTTP alone: POST /v1/responses",
        "type": "invalid_request_error",
        "param": None,
        "code": "websocket_not_supported",
    }
}
_RETRY_AFTER_S = 1.0

_Id = Annotated[str, Path(description="The `id` of a response.")]


def responses_router(kept: KeptResponses | None) -> APIRouter:
    """Return the routes for responses that were kept; without a place, none ever is."""
    router = APIRouter(prefix="/v1/responses", tags=["responses"])

    @router.get("", include_in_schema=False)
    async def upgrade() -> Response:
        """Refuse a WebSocket so that clients go on over HTTP at once."""
        return JSONResponse(
            _UPGRADE, status_code=_UPGRADE_REQUIRED, headers={"connection": "close"}
        )

    @router.post("/{response_id}/cancel", include_in_schema=False)
    async def cancel(response_id: _Id) -> Response:
        """Refuse: nothing runs here that its client does not read."""
        raise InvalidRequestError(
            f"the response {response_id[:100]!r} does not run in the background: to end an answer, "
            "close the connection that reads it"
        )

    @router.api_route("/compact", methods=["GET", "POST"], include_in_schema=False)
    async def compact() -> Response:
        """Say what to do instead: only the model's own vendor can fold a conversation."""
        raise AbsentEndpointError(
            "this gateway has no compaction of responses (/v1/responses/compact); shorten the "
            "input, or send it as it is",
            path="/v1/responses/compact",
        )

    @router.get("/{response_id}", summary="Look a response up")
    async def retrieve(request: Request, response_id: _Id) -> Response:
        """Return a response as its client got it."""
        if request.query_params.get("stream", "").lower() == "true":
            raise InvalidRequestError(
                "a response that was kept is not streamed again; leave stream out", param="stream"
            )
        found = await _find(kept, request, response_id)
        return Response(found.response, media_type="application/json")

    @router.delete("/{response_id}", summary="Forget a response")
    async def delete(request: Request, response_id: _Id) -> dict[str, Any]:
        """Forget a response, and with it what was said until then."""
        state: AppState = request.app.state.steelyard
        caller = await state.guard.authenticate(head_of(request.scope))
        await _find(kept, request, response_id)
        assert kept is not None  # noqa: S101  (else nothing is found)
        try:
            await kept.delete(caller, response_id)
        except StoreError as error:
            raise _unavailable("deleted") from error
        return {"id": response_id, "object": "response", "deleted": True}

    @router.get("/{response_id}/input_items", summary="List what a response answers")
    async def input_items(
        request: Request,
        response_id: _Id,
        limit: Annotated[int, Query(ge=1, le=100)] = 20,
        order: Literal["asc", "desc"] = "desc",
        after: str | None = None,
    ) -> dict[str, Any]:
        """Return the items of the conversation before a response, a page of them."""
        found = await _find(kept, request, response_id)
        return _page(found.input_items, limit=limit, order=order, after=after)

    return router


async def _find(kept: KeptResponses | None, request: Request, response_id: str) -> KeptResponse:
    state: AppState = request.app.state.steelyard
    caller = await state.guard.authenticate(head_of(request.scope))
    try:
        found = None if kept is None else await kept.look_up(caller, response_id)
    except StoreError as error:
        raise _unavailable("looked up") from error
    if found is None:
        raise ResponseNotFoundError(f"Response with id '{response_id[:100]}' not found.")
    return found


def _unavailable(what: str) -> StoreUnavailableError:
    return StoreUnavailableError(
        f"the response cannot be {what} at the moment; try again", retry_after_s=_RETRY_AFTER_S
    )


def _page(
    items: Sequence[dict[str, Any]], *, limit: int, order: str, after: str | None
) -> dict[str, Any]:
    ordered = list(items) if order == "asc" else list(items)[::-1]
    ids = [item["id"] for item in ordered]
    start = ids.index(after) + 1 if after in ids else 0
    page = ordered[start : start + limit]
    return {
        "object": "list",
        "data": page,
        "first_id": page[0]["id"] if page else None,
        "last_id": page[-1]["id"] if page else None,
        "has_more": start + limit < len(ordered),
    }
