"""`/v1/batches`: files of requests that are worked through without anybody waiting."""

import math
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Path, Query, Request

from app.api.asgi import check_json_content_type, head_of, read_body
from app.api.batch_door import AT_ENDPOINTS
from app.api.knobs import MAX_USD, knobs_from_headers
from app.api.routing_headers import HEADER_KEYS
from app.batches.desk import BatchTerms, Desk
from app.errors import GatewayError, InvalidRequestError
from app.head import RequestHead
from app.state import AppState
from app.wire.envelope import read_envelope

_MAX_BODY_BYTES = 1_000_000
_MAX_PAIRS, _MAX_NAME_CHARS, _MAX_VALUE_CHARS = 16, 64, 512
_MAX_CAPACITY = 10**9
LIFETIMES_S = (3_600, 2_592_000)
"""What may be said of how long a file is kept."""

_Id = Annotated[str, Path(description="The `id` of a batch.")]


class _Expiry(msgspec.Struct, forbid_unknown_fields=True):
    anchor: str
    seconds: int


class _Create(msgspec.Struct, kw_only=True):
    input_file_id: str
    endpoint: str
    completion_window: str
    metadata: dict[str, str] | None = None
    output_expires_after: _Expiry | None = None
    budget_usd: float | None = None
    capacity: dict[str, int] | None = None


_POSITIVE = {"type": "number", "exclusiveMinimum": 0}
_EXPIRY = {
    "type": "object",
    "required": ["anchor", "seconds"],
    "properties": {
        "anchor": {"type": "string", "enum": ["created_at"]},
        "seconds": {"type": "integer", "minimum": LIFETIMES_S[0], "maximum": LIFETIMES_S[1]},
    },
}
_DOCUMENTED: dict[str, Any] = {
    "required": True,
    "content": {
        "application/json": {
            "schema": {
                "type": "object",
                "required": ["input_file_id", "endpoint", "completion_window"],
                "properties": {
                    "input_file_id": {"type": "string"},
                    "endpoint": {"type": "string", "enum": list(AT_ENDPOINTS)},
                    "completion_window": {"type": "string", "enum": ["24h"]},
                    "metadata": {"type": "object", "additionalProperties": {"type": "string"}},
                    "output_expires_after": _EXPIRY,
                    "budget_usd": {
                        **_POSITIVE,
                        "description": "US dollars for all requests together; models are then "
                        "assigned to all of them for the most predicted quality.",
                    },
                    "capacity": {
                        "type": "object",
                        "additionalProperties": {"type": "integer", "minimum": 0},
                        "description": "How many of the requests each model may answer.",
                    },
                },
            }
        }
    },
}
"""What the OpenAPI document says of the body, which is read without its help."""


def batches_router(desk: Desk) -> APIRouter:
    """Return the routes."""
    router = APIRouter(prefix="/v1/batches", tags=["batches"])

    @router.post("", summary="Hand a batch in", openapi_extra={"requestBody": _DOCUMENTED})
    async def create(request: Request) -> dict[str, Any]:
        """Take a file of requests, which are asked one by one with the key that asks for it."""
        state: AppState = request.app.state.steelyard
        head = head_of(request.scope)
        caller = await state.guard.authenticate(head)
        try:
            check_json_content_type(head)
            body = await read_body(head, request.receive, max_bytes=_MAX_BODY_BYTES)
            terms = _terms(bytes(body), head, models=state.serving.visible.of(caller).model_ids)
        except GatewayError:
            await state.serving.admission.charge(caller)
            raise
        await state.serving.admission.charge(caller)
        return (await desk.create(caller, terms)).told()

    @router.get("", summary="List batches")
    async def list_batches(
        request: Request,
        limit: Annotated[int, Query(ge=1, le=100)] = 20,
        after: str | None = None,
    ) -> dict[str, Any]:
        """Return the batches of the key that asks, the latest first, a page of them."""
        state: AppState = request.app.state.steelyard
        caller = await state.guard.authenticate(head_of(request.scope))
        batches = await desk.of(caller)
        start = start_after([each.batch_id for each in batches], after)
        page = await desk.current(batches[start : start + limit])
        return page_of([each.told() for each in page], has_more=start + limit < len(batches))

    @router.get("/{batch_id}", summary="Look a batch up")
    async def retrieve(request: Request, batch_id: _Id) -> dict[str, Any]:
        """Return how far a batch is."""
        state: AppState = request.app.state.steelyard
        caller = await state.guard.authenticate(head_of(request.scope))
        return (await desk.find(caller, batch_id)).told()

    @router.post("/{batch_id}/cancel", summary="Cancel a batch")
    async def cancel(request: Request, batch_id: _Id) -> dict[str, Any]:
        """Ask nothing more of a batch; what was answered until then is kept."""
        state: AppState = request.app.state.steelyard
        caller = await state.guard.authenticate(head_of(request.scope))
        return (await desk.cancel(caller, batch_id)).told()

    return router


def start_after(ids: list[str], after: str | None) -> int:
    """Return where the page begins that follows an id."""
    return ids.index(after) + 1 if after in ids else 0


def page_of(page: list[dict[str, Any]], *, has_more: bool) -> dict[str, Any]:
    """Return a page in OpenAI's shape."""
    return {
        "object": "list",
        "data": page,
        "first_id": page[0]["id"] if page else None,
        "last_id": page[-1]["id"] if page else None,
        "has_more": has_more,
    }


def checked_lifetime_s(seconds: int, anchor: str, *, param: str) -> float:
    """Return how long a file is to be kept.

    Raises
    ------
    InvalidRequestError
    """
    if anchor != "created_at":
        raise InvalidRequestError("anchor must be 'created_at'", param=f"{param}.anchor")
    least, most = LIFETIMES_S
    if not least <= seconds <= most:
        raise InvalidRequestError(
            f"seconds must be from {least} to {most}", param=f"{param}.seconds"
        )
    return float(seconds)


def _terms(body: bytes, head: RequestHead, *, models: frozenset[str]) -> BatchTerms:
    """Return what a client says of a batch.

    Raises
    ------
    InvalidRequestError
    """
    asked = _read(body)
    if asked.endpoint not in AT_ENDPOINTS:
        raise InvalidRequestError(
            f"Invalid endpoint {asked.endpoint[:100]!r}; requests of a batch may be for: "
            f"{', '.join(AT_ENDPOINTS)}",
            param="endpoint",
        )
    if asked.completion_window != "24h":
        raise InvalidRequestError(
            "Invalid completion_window; only '24h' is supported", param="completion_window"
        )
    metadata = asked.metadata or {}
    _check_metadata(metadata)
    headers = _headers(head, metadata)
    budget_usd, budget_param = asked.budget_usd, "budget_usd"
    if budget_usd is None and "budget_usd" in metadata:
        budget_param = "metadata.budget_usd"
        budget_usd = _number(metadata["budget_usd"], budget_param)
    if budget_usd is not None and not (math.isfinite(budget_usd) and 0 < budget_usd <= MAX_USD):
        raise InvalidRequestError(
            f"{budget_param} must be above 0, and at most {MAX_USD:.0f} US dollars",
            param=budget_param,
        )
    capacity, param = asked.capacity, "capacity"
    if capacity is None and "capacity" in metadata:
        param = "metadata.capacity"
        capacity = _capacities(metadata["capacity"], param)
    _check_capacity(capacity or {}, models, param)
    expiry = asked.output_expires_after
    return BatchTerms(
        endpoint=asked.endpoint,
        input_file_id=asked.input_file_id,
        metadata=asked.metadata,
        headers=headers,
        budget_usd=budget_usd,
        capacity=capacity or {},
        output_lifetime_s=None
        if expiry is None
        else checked_lifetime_s(expiry.seconds, expiry.anchor, param="output_expires_after"),
    )


def _read(body: bytes) -> _Create:
    read_envelope(body)
    try:
        return msgspec.json.decode(body, type=_Create)
    except msgspec.ValidationError as error:
        message, _, path = str(error).partition(" - at `$")
        missing = message.partition("missing required field ")[2].strip("`")
        param = missing or path.strip("`.").partition("[")[0]  # of an object, not its values
        if missing:
            message = f"Missing required parameter: '{missing}'."
        raise InvalidRequestError(message, param=param or None) from error


def _check_metadata(metadata: dict[str, str]) -> None:
    if len(metadata) > _MAX_PAIRS:
        raise InvalidRequestError(
            f"metadata holds {len(metadata)} pairs; at most {_MAX_PAIRS} are taken",
            param="metadata",
        )
    for name, value in metadata.items():
        if len(name) > _MAX_NAME_CHARS or len(value) > _MAX_VALUE_CHARS:
            raise InvalidRequestError(
                f"names in metadata have at most {_MAX_NAME_CHARS} characters, values "
                f"{_MAX_VALUE_CHARS}",
                param="metadata",
            )


def _headers(head: RequestHead, metadata: dict[str, str]) -> tuple[tuple[str, str], ...]:
    """Return the routing headers, those too that stand in the metadata; the request's own win."""
    found: dict[str, str] = {}
    for name, value in metadata.items():
        if name.lower().encode(errors="replace") in HEADER_KEYS:
            found[name.lower()] = value
    for header in HEADER_KEYS:
        said = head.get(header)
        if said is not None:
            found[header.decode()] = said.decode("latin-1")
    try:
        told = [(name.encode(), value.encode("latin-1")) for name, value in found.items()]
    except UnicodeEncodeError as error:
        raise InvalidRequestError("routing options are plain text", param="metadata") from error
    knobs_from_headers(head)  # which also says what of it is misspelt
    knobs_from_headers(RequestHead(told))
    return tuple(found.items())


def _number(text: str, param: str) -> float:
    try:
        if text.isascii() and "_" not in text:  # as everywhere else: digits, and nothing between
            return float(text)
    except ValueError:
        pass
    raise InvalidRequestError(f"{param} is no number: {text[:40]!r}", param=param)


def _capacities(text: str, param: str) -> dict[str, int]:
    """Read `m=100,n=20`."""
    found: dict[str, int] = {}
    for each in text.split(","):
        model, _, number = each.strip().rpartition("=")
        is_number = number.isascii() and number.isdecimal() and len(number) <= 12
        if not model or not is_number:
            raise InvalidRequestError(
                f"{param} is written as MODEL=REQUESTS[,MODEL=REQUESTS...]", param=param
            )
        if model in found:
            raise InvalidRequestError(f"{param} names {model[:80]!r} twice", param=param)
        found[model] = int(number)
    return found


def _check_capacity(capacity: dict[str, int], models: frozenset[str], param: str) -> None:
    for model, limit in capacity.items():
        if model not in models:
            raise InvalidRequestError(f"{param} names an unknown model {model[:80]!r}", param=param)
        if not 0 <= limit <= _MAX_CAPACITY:
            raise InvalidRequestError(
                f"{param} of {model!r} must be from 0 to {_MAX_CAPACITY} requests", param=param
            )
