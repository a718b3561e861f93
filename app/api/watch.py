"""`/admin/watch`: how far each model is trusted, why, and what an operator has done about it."""

from collections.abc import Iterator, Sequence
from enum import StrEnum
from typing import Annotated, Literal

from fastapi import APIRouter
from pydantic import BaseModel, Field

from app.errors import InvalidRequestError
from app.gateway.watch.canaries import Canaries
from app.gateway.watch.canary_prompts import CANARY_PROMPTS
from app.gateway.watch.provider_watch import ProviderWatch
from app.gateway.watch.watched_place import WatchedPlace
from routers.watch.next_step import alone_at, demoted_at, next_step, tried_at
from routers.watch.profile import CANARIES_LEARNED, KNOWN_AFTER, Profile
from routers.watch.watched import RETURN_EVIDENCE, Change, Level, Rule, Watched


class WatchedModel(BaseModel):
    """How far a model is trusted at one place."""

    model: str
    upstream: str
    upstream_model: str
    level: Level
    since: float | None
    """In seconds since the epoch; null where nothing has happened yet."""
    why: list[str]
    """The signals that brought it there, or who did."""
    pinned: bool
    """Whether an operator holds it at its level."""
    frozen: bool
    """Whether nothing more is learned."""
    evidence: float
    """How strongly its answers speak for a change."""
    return_evidence: float
    """How strongly they speak for its being back, where it has changed."""
    evidence_by_signal: dict[str, float]
    alone_at: dict[str, float]
    """The evidence at which each signal is a warning by itself; weights make one of all."""
    answers: int
    """Looked at so far."""
    answers_learned: int
    """In its reference."""
    canaries: int
    """Asked so far."""
    canaries_known: int
    """Of how many questions it is known to answer, and is asked again."""
    canaries_needed: int
    """How many more until they are tested."""
    answered_as: dict[str, int]
    """What the upstream called the model that answered → how often."""
    next: str
    """What has to come for another level, and which that is."""
    tried_at: float | None
    """When a demoted model serves again for a trial at the latest, in seconds since the epoch."""


class WatchedModels(BaseModel):
    """Every model at every place."""

    object: Literal["list"] = "list"
    mode: Literal["off", "warn", "demote"]
    warns_at: float
    """Evidence of a warning."""
    demotes_at: float | None
    """Evidence, times apart, of a demotion; null where models are not demoted."""
    returns_at: float
    """Return evidence at which a model is trusted again."""
    data: list[WatchedModel]


class WatchAction(StrEnum):
    """What an operator may do."""

    CLEAR = "clear"
    """Trust the model again, and take back what held it."""
    PIN = "pin"
    """Hold it at a level, whatever its answers say."""
    FREEZE = "freeze"
    """Learn nothing more: the reference stays as it is."""
    RELEARN = "relearn"
    """Forget everything, and learn the model as it is now."""
    CHECK = "check"
    """Ask canaries now, as far as their budget goes."""


class WatchOrder(BaseModel):
    """What is to be done, and where."""

    action: WatchAction
    model: Annotated[str, Field(min_length=1, max_length=256)]
    upstream: str | None = None
    """Only there; default: wherever the model is served."""
    upstream_model: str | None = None
    level: Level | None = None
    """With `pin`."""
    n: Annotated[int, Field(ge=1, le=200)] = 1
    """With `check`: how many canaries."""


def add_watch_routes(router: APIRouter, watch: ProviderWatch, canaries: Canaries) -> None:
    """Add the routes of the watch to those of `/admin`."""

    @router.get("/watch", summary="How far each model is trusted")
    async def list_watched() -> WatchedModels:
        """Tell what is known of every model at every place, what was seen just now included."""
        await watch.keep()
        return _told(watch, tuple(watch))

    @router.post("/watch", summary="Clear, pin, freeze, relearn or check a model")
    async def order(order: WatchOrder) -> WatchedModels:
        """Do what an operator wants of a model, on all gateways that share the store."""
        found = tuple(_found(watch, order))
        if not found:
            raise InvalidRequestError(
                f"nothing is watched under that name; known: {_known(watch)}", param="model"
            )
        if (order.level is None) == (order.action is WatchAction.PIN):
            raise InvalidRequestError("`level` goes with `pin`, and only with it", param="level")
        for each in found:
            if order.action is WatchAction.CHECK:
                await _check(watch, canaries, each, order.n)
            else:
                await watch.act(each.place, lambda known, at: _done(order, known, at))
        return _told(watch, found)


async def _check(watch: ProviderWatch, canaries: Canaries, watched: WatchedPlace, n: int) -> None:
    if canaries.rule.usd_per_day <= 0:
        raise InvalidRequestError(
            "canaries cost money and have none; set watch.canaries.usd_per_day", param="action"
        )
    for _ in range(n):
        if not await canaries.ask(watched):
            break
        await watch.keep()


def _done(order: WatchOrder, known: Watched, now: float) -> Sequence[Change]:
    match order.action:
        case WatchAction.CLEAR:
            return [known.clear(now=now)]
        case WatchAction.PIN if order.level is not None:
            return [known.pin(order.level, now=now)]
        case WatchAction.RELEARN:
            known.profile, known.frozen = Profile(), False
            return [known.clear(now=now)]
        case _:
            known.frozen = True
            return [Change(level=known.held, why="an operator froze its reference")]


def _found(watch: ProviderWatch, order: WatchOrder) -> Iterator[WatchedPlace]:
    for each in watch:
        model_id, upstream, upstream_model = each.place
        if (
            model_id == order.model
            and order.upstream in (None, upstream)
            and order.upstream_model in (None, upstream_model)
        ):
            yield each


def _known(watch: ProviderWatch) -> str:
    return ", ".join(sorted({each.place[0] for each in watch})) or "none, the watch is off"


def _told(watch: ProviderWatch, places: Sequence[WatchedPlace]) -> WatchedModels:
    rule = watch.rule
    return WatchedModels(
        mode=watch.mode,
        warns_at=rule.alarm,
        demotes_at=demoted_at(rule),
        returns_at=RETURN_EVIDENCE,
        data=[_one(each, rule) for each in places],
    )


def _one(watched: WatchedPlace, rule: Rule) -> WatchedModel:
    known, (model_id, upstream, upstream_model) = watched.known, watched.place
    profile = known.profile
    return WatchedModel(
        model=model_id,
        upstream=upstream,
        upstream_model=upstream_model,
        level=known.held,
        since=known.since or None,
        why=list(known.why),
        pinned=known.pinned is not None,
        frozen=known.frozen,
        evidence=known.evidence(),
        return_evidence=known.return_evidence,
        evidence_by_signal={
            signal.value: detector.evidence for signal, detector in known.detectors.items()
        },
        alone_at={
            signal.value: at for signal, at in alone_at(rule).items() if signal in known.detectors
        },
        answers=known.n_seen,
        answers_learned=profile.n,
        canaries=known.n_canaries,
        canaries_known=sum(map(profile.knows, profile.known)),
        canaries_needed=_needed(profile),
        answered_as=profile.names,
        next=next_step(known, rule),
        tried_at=tried_at(known, rule),
    )


def _needed(profile: Profile) -> int:
    right = (profile.known.get(each.name, 0) for each in CANARY_PROMPTS)
    to_know = sum(KNOWN_AFTER - each for each in right if each >= 0)
    return max(0, to_know) + max(0, CANARIES_LEARNED - profile.canaries.n)
