"""`/admin/keys` and `/admin/audit`: virtual keys made, looked up, changed, and by whom."""

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, Field

from app.access.changes import KeyChanges
from app.access.guard import Caller
from app.access.issuing import IssuedKey, Issuer
from app.access.key_views import KeyViews, OwnStandings, caller_of
from app.access.terms import DAY_S, MAX_LIFETIME_S, KeyTerms, Strict
from app.access.view import AuditView, KeyView, NewKeyView, ScopeView, StandingView
from app.errors import InvalidRequestError
from app.stores.claims import Standing

MOST_LISTED = 1000

_TAGS = re.compile(r'"(\d{1,18})"')

Standings = Callable[[Caller], Awaitable[Iterable[Standing]]]
"""Return where every limit of a caller stands."""


class KeyQuery(Strict):
    """Which keys are listed."""

    limit: Annotated[int, Field(ge=1, le=MOST_LISTED)] = 100
    after: Annotated[str, Field(max_length=64)] | None = Field(
        None, description="The `last_id` of the page before."
    )
    status: Literal["active", "disabled", "expired", "revoked"] | None = None
    team: str | None = None
    owner: str | None = None
    name: str | None = None

    def takes(self, key: IssuedKey, now: float) -> bool:
        """Return whether a key is asked for, wherever it is in the list."""
        record = key.record
        wanted = (
            (self.status, key.status(now)),
            (self.team, record.team),
            (self.owner, record.owner),
            (self.name, record.name),
        )
        return all(asked is None or asked == found for asked, found in wanted)


class KeyList(BaseModel):
    """A page of the keys, revoked ones too, oldest first."""

    object: Literal["list"] = "list"
    data: list[KeyView]
    first_id: str | None
    last_id: str | None
    has_more: bool


class AuditQuery(Strict):
    """Which changes are told."""

    key_id: Annotated[str, Field(max_length=64)] | None = None
    limit: Annotated[int, Field(ge=1, le=MOST_LISTED)] = 100


class AuditList(BaseModel):
    """What was done to keys, the latest first."""

    object: Literal["list"] = "list"
    data: list[AuditView]


class Rotation(Strict):
    """How a secret is replaced."""

    grace_s: Annotated[float, Field(ge=0, le=MAX_LIFETIME_S, allow_inf_nan=False)] = DAY_S
    """How long the old secret goes on working."""


def add_key_routes(
    router: APIRouter,
    issuer: Issuer,
    *,
    standings: Standings | None,
    own_standings: OwnStandings | None,
    now: Callable[[], float],
) -> None:
    """Add what manages keys to the routes of `/admin`."""
    views = KeyViews(own_standings, now=now)

    @router.post("/keys", status_code=201, summary="Make a virtual key")
    async def create_key(request: Request, response: Response, terms: KeyTerms) -> NewKeyView:
        """Return the new key and its secret; this is the only time that the secret is told."""
        key, secret = await issuer.create(terms, by=_actor(request))
        _tag(response, key)
        return await views.new(key, secret)

    @router.get(
        "/keys",
        summary="List the virtual keys",
        response_class=Response,
        responses={200: {"model": KeyList}},
    )
    async def list_keys(query: Annotated[KeyQuery, Query()]) -> Response:
        """Return a page of the keys, revoked ones too, oldest first."""
        # Of many keys, choosing and telling take longer than others may wait for the event loop.
        page, has_more = await asyncio.to_thread(_page, await issuer.all(), query, now())
        body = await asyncio.to_thread(_told, await views.of(page), has_more=has_more)
        return Response(body, media_type="application/json")

    @router.get("/keys/{key_id}", summary="Look a virtual key up")
    async def get_key(key_id: str, response: Response) -> KeyView:
        """Return one key, without its secret."""
        key = await issuer.get(key_id)
        _tag(response, key)
        return await views.one(key)

    @router.patch("/keys/{key_id}", summary="Change a virtual key")
    async def update_key(
        request: Request, response: Response, key_id: str, changes: KeyChanges
    ) -> KeyView:
        """Change what is said (a JSON merge patch) and return the key.

        With `If-Match` only where the key is still of that version, else 412. The secret, what the
        key spent and its history stay.
        """
        key = await issuer.update(
            key_id, changes, versions=versions_asked(request), by=_actor(request)
        )
        _tag(response, key)
        return await views.one(key)

    @router.delete("/keys/{key_id}", summary="Revoke a virtual key")
    async def revoke_key(request: Request, response: Response, key_id: str) -> KeyView:
        """Make all secrets of a key useless for good; a second time changes nothing."""
        key = await issuer.revoke(key_id, versions=versions_asked(request), by=_actor(request))
        _tag(response, key)
        return await views.one(key)

    @router.post("/keys/{key_id}/rotate", summary="Give a virtual key a new secret")
    async def rotate_key(
        request: Request,
        response: Response,
        key_id: str,
        rotation: Rotation = Rotation(),  # noqa: B008  (a frozen value)
    ) -> NewKeyView:
        """Return the key with its new secret; the old one works for `grace_s` more seconds.

        Limits, budgets and what is spent stay those of the key.
        """
        key, secret = await issuer.rotate(
            key_id,
            grace_s=rotation.grace_s,
            versions=versions_asked(request),
            by=_actor(request),
        )
        _tag(response, key)
        return await views.new(key, secret)

    @router.get("/audit", summary="See who changed which key")
    async def read_audit(query: Annotated[AuditQuery, Query()]) -> AuditList:
        """Return what was done to keys over HTTP and on the command line, the latest first."""
        entries = await issuer.history(key_id=query.key_id, limit=query.limit)
        return AuditList(data=[AuditView.of(entry) for entry in entries])

    if standings is not None:

        @router.get("/keys/{key_id}/standing", summary="See what a virtual key has used")
        async def get_standing(key_id: str) -> StandingView:
            """Return where the limits and budgets of a key, its team and the gateway stand."""
            caller = caller_of(await issuer.get(key_id))
            scopes = [ScopeView.of(each) for each in await standings(caller)]
            return StandingView(key_id=key_id, scopes=scopes)


def versions_asked(request: Request) -> frozenset[int] | None:
    """Return the versions that `If-Match` names; None where any will do (RFC 9110, 13.1.1)."""
    values = request.headers.getlist("if-match")
    if not values:
        return None
    tags = [tag.strip() for value in values for tag in value.split(",")]
    if "*" in tags:
        return None
    # A weak tag never matches, and what is no tag of ours does not either.
    found = (_TAGS.fullmatch(tag) for tag in tags)
    return frozenset(int(each[1]) for each in found if each is not None)


def _page(
    keys: Sequence[IssuedKey], query: KeyQuery, now: float
) -> tuple[Sequence[IssuedKey], bool]:
    """Return the keys of a page, and whether more follow."""
    found = [key for key in _after(keys, query) if query.takes(key, now)]
    return found[: query.limit], len(found) > query.limit


def _told(views: Sequence[KeyView], *, has_more: bool) -> str:
    return KeyList(
        data=list(views),
        first_id=views[0].key_id if views else None,
        last_id=views[-1].key_id if views else None,
        has_more=has_more,
    ).model_dump_json()


def _after(keys: Sequence[IssuedKey], query: KeyQuery) -> Sequence[IssuedKey]:
    """Return what follows the page before, wherever its last key belongs by now."""
    if query.after is None:
        return keys
    ids = [key.record.key_id for key in keys]
    if query.after not in ids:
        raise InvalidRequestError("after: there is no key of this id", param="after")
    return keys[ids.index(query.after) + 1 :]


def _tag(response: Response, key: IssuedKey) -> None:
    response.headers["etag"] = f'"{key.record.version}"'


def _actor(request: Request) -> str:
    """Return who asks, as far as one token for all lets that be known."""
    return "admin token" if request.client is None else f"admin token ({request.client.host})"
