"""`/v1/files`: files of requests that clients hand in, and those that batches leave."""

from collections.abc import AsyncIterator
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query, Request
from fastapi.responses import StreamingResponse

from app.api.asgi import head_of, read_body
from app.api.batches import checked_lifetime_s, page_of, start_after
from app.batches.desk import Desk
from app.batches.files import Files
from app.batches.records import StoredFile
from app.errors import BatchStateError, InvalidRequestError, UnsupportedMediaTypeError
from app.gateway.intake import Intake
from app.state import AppState
from app.wire.pinned.forms import Upload, is_form, read_upload

_FORM_BYTES = 100_000
"""What a form may hold beside its file."""
_MAX_NAME_CHARS = 255

_DOCUMENTED: dict[str, Any] = {
    "required": True,
    "content": {
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "required": ["file", "purpose"],
                "properties": {
                    "file": {"type": "string", "format": "binary"},
                    "purpose": {"type": "string", "enum": ["batch"]},
                    "expires_after[anchor]": {"type": "string", "enum": ["created_at"]},
                    "expires_after[seconds]": {"type": "integer"},
                },
            }
        }
    },
}

_Id = Annotated[str, Path(description="The `id` of a file.")]


def files_router(files: Files, desk: Desk, intake: Intake, *, max_file_bytes: int) -> APIRouter:
    """Return the routes.

    Parameters
    ----------
    intake
        Bounds the bodies of all requests together.
    """
    router = APIRouter(prefix="/v1/files", tags=["batches"])

    @router.post("", summary="Hand a file in", openapi_extra={"requestBody": _DOCUMENTED})
    async def create(request: Request) -> dict[str, Any]:
        """Keep a file of requests (`multipart/form-data`: `file`, `purpose: batch`)."""
        state: AppState = request.app.state.steelyard
        head = head_of(request.scope)
        caller = await state.guard.authenticate(head)
        await state.serving.admission.charge(caller)
        content_type = head.get(b"content-type")
        if content_type is None or not is_form(content_type):
            raise UnsupportedMediaTypeError(
                "a file is handed in as multipart/form-data, with the fields file and purpose"
            )
        peer = "" if request.client is None else request.client.host
        arrival = intake.begin(caller, peer, at_once=state.serving.admission.at_once(caller))
        try:
            body = await read_body(
                head,
                request.receive,
                max_bytes=max_file_bytes + _FORM_BYTES,
                on_part=arrival.grow,
            )
            upload = read_upload(body, content_type)
            lifetime_s = _lifetime_s(upload)
            _check(upload, max_file_bytes=max_file_bytes)
            file = await files.add(
                caller.key_id,
                upload.content,
                filename=upload.filename[:_MAX_NAME_CHARS],
                purpose="batch",
                lifetime_s=lifetime_s,
            )
        finally:
            arrival.leave()
        return file.told()

    @router.get("", summary="List files")
    async def list_files(
        request: Request,
        limit: Annotated[int, Query(ge=1, le=10_000)] = 10_000,
        order: Literal["asc", "desc"] = "desc",
        after: str | None = None,
        purpose: str | None = None,
    ) -> dict[str, Any]:
        """Return the files of the key that asks, a page of them."""
        state: AppState = request.app.state.steelyard
        caller = await state.guard.authenticate(head_of(request.scope))
        found = [each for each in await files.of(caller.key_id) if purpose in (None, each.purpose)]
        if order == "asc":
            found.reverse()
        start = start_after([each.file_id for each in found], after)
        page = [each.told() for each in found[start : start + limit]]
        return page_of(page, has_more=start + limit < len(found))

    @router.get("/{file_id}", summary="Look a file up")
    async def retrieve(request: Request, file_id: _Id) -> dict[str, Any]:
        """Return what is known of a file."""
        return (await _find(files, request, file_id)).told()

    @router.delete("/{file_id}", summary="Forget a file")
    async def delete(request: Request, file_id: _Id) -> dict[str, Any]:
        """Forget a file, unless a batch has yet to read it."""
        state: AppState = request.app.state.steelyard
        caller = await state.guard.authenticate(head_of(request.scope))
        file = await files.find(caller.key_id, file_id)
        batch = await desk.reads(file_id, caller)
        if batch is not None:
            raise BatchStateError(
                f"the batch {batch.batch_id} has yet to read this file; cancel it before, or wait"
            )
        await files.delete(file)
        return {"id": file_id, "object": "file", "deleted": True}

    @router.get("/{file_id}/content", summary="Read a file")
    async def content(request: Request, file_id: _Id) -> StreamingResponse:
        """Return the contents of a file."""
        file = await _find(files, request, file_id)
        pieces: AsyncIterator[bytes] = files.content(file)
        return StreamingResponse(
            pieces,
            media_type="application/octet-stream",
            headers={"content-length": str(file.n_bytes)},
        )

    return router


async def _find(files: Files, request: Request, file_id: str) -> StoredFile:
    state: AppState = request.app.state.steelyard
    caller = await state.guard.authenticate(head_of(request.scope))
    return await files.find(caller.key_id, file_id)


def _check(upload: Upload, *, max_file_bytes: int) -> None:
    purpose = upload.values.get("purpose")
    if purpose is None:
        raise InvalidRequestError("Missing required parameter: 'purpose'.", param="purpose")
    if purpose != "batch":
        raise InvalidRequestError(
            f"Invalid purpose {purpose[:40]!r}: this gateway keeps files for 'batch' alone",
            param="purpose",
        )
    if not len(upload.content):
        raise InvalidRequestError("The file is empty.", param="file")
    if len(upload.content) > max_file_bytes:
        raise InvalidRequestError(
            f"The file is larger than {max_file_bytes:,} bytes (batches.max_file_mb).", param="file"
        )


def _lifetime_s(upload: Upload) -> float | None:
    seconds = upload.values.get("expires_after[seconds]")
    anchor = upload.values.get("expires_after[anchor]")
    if seconds is None and anchor is None:
        return None
    number = int(seconds) if seconds and _is_number(seconds) else 0
    return checked_lifetime_s(number, anchor or "created_at", param="expires_after")


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) < 10
