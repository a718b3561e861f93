"""`POST /v1/feedback`: what an answer was worth, told by who asked for it."""

from collections.abc import Callable, Coroutine
from typing import Annotated, Any, Literal, Self

from fastapi import APIRouter, Request
from fastapi.responses import Response
from fastapi.routing import APIRoute
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator
from starlette.types import Message

from app.access.guard import Caller, Guard
from app.api.admin_token import AdminToken
from app.api.asgi import check_json_content_type, head_of, read_body
from app.outcomes.feedback import ADMIN, Feedback, Opinion
from app.outcomes.rows import LabelKind

_MAX_BODY_BYTES = 4_096

DecisionId = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9-]{1,64}$")]
_WINNERS = {"a": 1.0, "b": 0.0, "tie": 0.5}


class FeedbackBody(BaseModel):
    """A quality of one answer (`score` or `thumbs`), or which of two was better (`winner`)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    decision_id: DecisionId | None = Field(
        None, description="As the header x-route-decision-id told it."
    )
    score: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] | None = None
    thumbs: Literal["up", "down"] | None = None
    decision_a: DecisionId | None = None
    decision_b: DecisionId | None = None
    winner: Literal["a", "b", "tie"] | None = None

    @model_validator(mode="after")
    def _says_one_thing(self) -> Self:
        one = self.decision_id is not None and (self.score is None) != (self.thumbs is None)
        two = self.decision_a is not None and self.decision_b is not None
        of_one = {"decision_id", "score", "thumbs"} & self.model_fields_set
        of_two = {"decision_a", "decision_b", "winner"} & self.model_fields_set
        if not (one and not of_two) and not (two and self.winner is not None and not of_one):
            raise ValueError(
                "say either decision_id with score or thumbs, or decision_a, decision_b and winner"
            )
        if two and self.decision_a == self.decision_b:
            raise ValueError("decision_a and decision_b are the same")
        return self

    def opinion(self) -> Opinion:
        """Return what is meant."""
        if self.decision_a is not None and self.decision_b is not None and self.winner is not None:
            return Opinion(
                decision_ids=(self.decision_a, self.decision_b),
                kind=LabelKind.PREFERENCE,
                quality=_WINNERS[self.winner],
            )
        kind = LabelKind.SCORE if self.thumbs is None else LabelKind.THUMBS
        quality = float(self.thumbs == "up") if self.score is None else self.score
        return Opinion(decision_ids=(self.decision_id or "",), kind=kind, quality=quality)


class FeedbackAnswer(BaseModel):
    """The label as it is kept."""

    object: Literal["feedback"] = "feedback"
    decision_ids: list[str]
    kind: LabelKind
    quality: float = Field(
        description="In [0, 1]; of a comparison 1 where the first decision was better."
    )


def feedback_router(feedback: Feedback, guard: Guard, *, admin_token: str | None) -> APIRouter:
    """Return the route of `/v1/feedback`.

    Parameters
    ----------
    admin_token
        Who has it may label every decision.
    """
    router = APIRouter(tags=["feedback"], route_class=_route_class(guard, admin_token))

    @router.post("/v1/feedback", summary="Say what an answer was worth")
    async def give_feedback(request: Request, body: FeedbackBody) -> FeedbackAnswer:
        """Keep a label for a decision: the one of the key that asks, and of nobody else.

        The same label again changes nothing; another one replaces it, up to ten times.
        """
        caller: Caller | None = request.scope["state"]["caller"]
        label = await feedback.take(
            body.opinion(),
            key_id=ADMIN if caller is None else caller.key_id,
            is_admin=caller is None,
        )
        return FeedbackAnswer(
            decision_ids=[each for each in (label.decision_id, label.other_decision_id) if each],
            kind=label.kind,
            quality=label.quality,
        )

    return router


def _route_class(guard: Guard, admin_token: str | None) -> type[APIRoute]:
    admin = None if admin_token is None else AdminToken(admin_token)

    class FeedbackRoute(APIRoute):
        """A route that asks who is there first and bounds what it reads."""

        def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
            handler = super().get_route_handler()

            async def guarded(request: Request) -> Response:
                headers, head = request.scope["headers"], head_of(request.scope)
                caller: Caller | None = None  # the operator
                if admin is None or not admin.is_held(headers):
                    caller = await guard.authenticate(head)
                check_json_content_type(head)
                body = bytes(await read_body(head, request.receive, max_bytes=_MAX_BODY_BYTES))

                async def receive() -> Message:
                    return {"type": "http.request", "body": body, "more_body": False}

                request.scope.setdefault("state", {})["caller"] = caller
                return await handler(Request(request.scope, receive))

            return guarded

    return FeedbackRoute
