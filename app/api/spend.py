"""`/v1/usage` for whoever holds a key, `/admin/spend` for the operator: who spent what on what."""

import contextlib
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Annotated, Any, Literal

import msgspec
from fastapi import APIRouter, Query, Request
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field

from app.access.guard import Caller, Guard
from app.access.key_views import OwnStandings
from app.access.terms import Strict
from app.access.view import ScopeView
from app.api.asgi import head_of
from app.errors import InvalidRequestError, StoreUnavailableError
from app.spend.desk import SpendDesk
from app.spend.moments import month_begin, parse_moment, utc_text
from app.spend.question import Dimension, Question, parse_dimensions
from app.spend.report import Report

_OF_ONE_KEY = frozenset(
    {
        *(
            Dimension.MODEL,
            Dimension.BASE_MODEL,
            Dimension.POLICY,
            Dimension.SESSION,
            Dimension.AGENT,
            Dimension.ROLE,
        ),
        *(Dimension.HOUR, Dimension.DAY, Dimension.MONTH),
    }
)
_MOST_GROUPS = 10_000
_MOST_GROUPS_OF_ONE_KEY = 2_000

_Text = Annotated[str, Field(max_length=256)]


class UsageQuery(Strict):
    """Which requests are asked about."""

    from_: _Text | None = Field(
        None,
        alias="from",
        description="A date, a time, or an age such as 7d; UTC. Left out: this month's beginning.",
    )
    to: _Text | None = Field(None, description="Likewise, itself left out. Left out: now.")
    group_by: _Text = Field(
        "",
        description="Separated by commas: model, base_model, policy, session, agent, role, "
        "hour, day, month.",
    )

    def question(self, *, now: float, most_groups: int) -> Question:
        """Return what is asked.

        Raises
        ------
        InvalidRequestError
            With the `param` at fault.
        """
        since = month_begin(now) if self.from_ is None else _parsed("from", self.from_, now)
        until = now if self.to is None else _parsed("to", self.to, now)
        if since >= until:
            raise InvalidRequestError("from is not before to", param="from")
        try:
            by = parse_dimensions(self.group_by)
        except ValueError as error:
            raise InvalidRequestError(f"group_by: {error}", param="group_by") from None
        return Question(since=since, until=until, by=by, most_groups=most_groups)


class SpendQuery(UsageQuery):
    """Which requests are asked about, and in what form they are told."""

    group_by: _Text = Field(
        "",
        description="Separated by commas: key, team, model, base_model, upstream, policy, session, "
        "agent, role, hour, day, month.",
    )
    key: _Text | None = Field(None, description="The id of a key.")
    team: _Text | None = None
    model: _Text | None = None
    upstream: _Text | None = None
    policy: _Text | None = None
    session: _Text | None = Field(None, description="As `group_by=session` tells it.")
    agent: _Text | None = Field(None, description="Likewise.")
    role: _Text | None = Field(None, description="Of calls: answer, draft, judge, hedge and so on.")
    format: Literal["json", "csv"] | None = Field(
        None, description="Left out, the header Accept decides."
    )

    def only(self) -> Mapping[Dimension, str]:
        """Return what requests are narrowed to."""
        asked = {
            Dimension.KEY: self.key,
            Dimension.TEAM: self.team,
            Dimension.MODEL: self.model,
            Dimension.UPSTREAM: self.upstream,
            Dimension.SESSION: self.session,
            Dimension.AGENT: self.agent,
            Dimension.ROLE: self.role,
            Dimension.POLICY: self.policy,
        }
        return {dimension: value for dimension, value in asked.items() if value is not None}


class SpendAmounts(BaseModel):
    """What requests used together."""

    model_config = ConfigDict(extra="allow")

    requests: int
    failed_requests: int = Field(description="Streams that broke included.")
    cached_answers: int = Field(description="Of the response cache; they cost nothing.")
    input_tokens: int
    cached_input_tokens: int = Field(description="Part of the input tokens.")
    cache_write_tokens: int = Field(description="Part of the input tokens.")
    output_tokens: int
    reasoning_tokens: int = Field(description="Part of the output tokens.")
    cost_usd: float = Field(description="All that was paid, of every call.")
    unpriced_requests: int = Field(description="Of unknown price; nothing in the money.")
    estimated_requests: int = Field(description="Whose tokens the gateway counted itself.")
    estimated_cost_usd: float


class _Spending(BaseModel):
    from_: str = Field(alias="from")
    to: str
    time_zone: Literal["UTC"]
    group_by: list[str]
    source: str | None
    covers: str | None = Field(description="What of the requests is told, where not all are.")
    data: list[SpendAmounts] = Field(description="Each with its `group_by` values.")


class SpendReport(_Spending):
    """Spending of all keys."""

    object: Literal["spend"]
    totals: SpendAmounts


class UsageReport(_Spending):
    """What one key used, and where its limits and budgets stand."""

    object: Literal["usage"]
    key_id: str
    name: str
    team: str | None
    standing: ScopeView | None = Field(
        description="Limits and budgets of the key in the period that runs now; null where that "
        "cannot be told at the moment."
    )
    totals: SpendAmounts | None = Field(description="null where no decision log is kept.")


def add_spend_route(router: APIRouter, desk: SpendDesk, *, now: Callable[[], float]) -> None:
    """Add `/admin/spend` to the routes of `/admin`."""

    @router.get(
        "/spend",
        summary="See who spent how much on what",
        response_class=Response,
        responses={200: {"model": SpendReport, "content": {"text/csv": {}}}},
    )
    async def read_spend(request: Request, query: Annotated[SpendQuery, Query()]) -> Response:
        """Add up what the decision log says, by what is asked for, as JSON or CSV."""
        question = query.question(now=now(), most_groups=_MOST_GROUPS)
        question = replace(question, only=query.only())
        wanted = query.format or _form(request.headers.get("accept", ""))
        if wanted == "csv":
            body = await desk.report(question, who="admin", render=_csv)
            return Response(
                body,
                media_type="text/csv; charset=utf-8; header=present",
                headers={
                    "content-disposition": 'attachment; filename="spend.csv"',
                    "x-content-type-options": "nosniff",
                },
            )
        body = await desk.report(question, who="admin", render=partial(_json, {"object": "spend"}))
        return Response(body, media_type="application/json")


def usage_router(
    desk: SpendDesk,
    guard: Guard,
    own_standings: OwnStandings,
    *,
    now: Callable[[], float] = time.time,
) -> APIRouter:
    """Return the route of `/v1/usage`; of use only where requests need keys."""
    router = APIRouter(tags=["usage"])

    @router.get(
        "/v1/usage",
        summary="See what your key used and what is left",
        response_class=Response,
        responses={200: {"model": UsageReport}},
    )
    async def read_usage(request: Request, query: Annotated[UsageQuery, Query()]) -> Response:
        """Add up what the key that asks used, and tell where its limits and budgets stand."""
        caller = await guard.authenticate(head_of(request.scope))
        question = query.question(now=now(), most_groups=_MOST_GROUPS_OF_ONE_KEY)
        beyond = set(question.by) - _OF_ONE_KEY
        if beyond:
            raise InvalidRequestError(
                f"group_by: {beyond.pop()} is the operator's; a key's usage goes by "
                f"{', '.join(sorted(_OF_ONE_KEY))}",
                param="group_by",
            )
        question = replace(question, only={Dimension.KEY: caller.key_id})
        head = {
            "object": "usage",
            "key_id": caller.key_id,
            "name": "" if caller.key is None else caller.key.name,
            "team": caller.team,
            "standing": await _standing(caller, own_standings),
        }
        if desk.has_rows:
            body = await desk.report(question, who=caller.key_id, render=partial(_json, head))
        else:
            body = msgspec.json.encode({**head, **_nothing(question)})
        return Response(
            body, media_type="application/json", headers={"cache-control": "private, no-store"}
        )

    return router


async def _standing(caller: Caller, own_standings: OwnStandings) -> dict[str, Any] | None:
    try:
        (standing,) = await own_standings([caller])
    except StoreUnavailableError:
        return None
    return ScopeView.of(standing).model_dump(mode="json")


def _nothing(question: Question) -> dict[str, Any]:
    """Return what is told of requests where none are kept."""
    return {
        "from": utc_text(question.since),
        "to": utc_text(question.until),
        "time_zone": "UTC",
        "group_by": [each.value for each in question.by],
        "source": None,
        "covers": "nothing: this gateway keeps no decision log, so `standing` is all that is known",
        "data": [],
        "totals": None,
    }


def _json(head: Mapping[str, object], report: Report) -> bytes:
    return report.json(**head)


def _csv(report: Report) -> bytes:
    return report.csv().encode()


def _parsed(param: str, text: str, now: float) -> float:
    try:
        return parse_moment(text, now=now)
    except ValueError as error:
        raise InvalidRequestError(f"{param}: {error}", param=param) from None


def _form(accept: str) -> str:
    """Return which of the two forms a client would rather have (RFC 9110, 12.5.1)."""
    wishes = {"text/csv": 0.0, "application/json": 0.0}
    for wish in accept.lower().split(","):
        media_type, *parameters = (part.strip() for part in wish.split(";"))
        weight = next((each[2:] for each in parameters if each.startswith("q=")), "1")
        for known, before in wishes.items():
            if media_type in (known, "*/*", f"{known.partition('/')[0]}/*"):
                with contextlib.suppress(ValueError):
                    wishes[known] = max(before, float(weight))
    return "csv" if wishes["text/csv"] > wishes["application/json"] else "json"
