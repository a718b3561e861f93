"""`POST /v1/route`: decide without getting an answer, and show what the decision rests on."""

from dataclasses import dataclass
from typing import Any

import msgspec
from starlette.types import Receive, Scope, Send

from app.api.answering import Reception, Visit
from app.api.answers import JSON_HEADER, Headers
from app.api.asgi import CancelOnDisconnect
from app.api.dialects.base import Dialect
from app.api.exchange import send_error
from app.api.explained import (
    best_effort_object,
    candidate_objects,
    decision_model_object,
    decision_object,
    description_object,
    documents_object,
    flags_text,
    queue_object,
    scorer_object,
    step_objects,
    task_object,
    threshold_object,
)
from app.api.route_headers import route_headers
from app.api.told_workflows import workflow_object
from app.errors import ClientDisconnectedError, GatewayError
from app.gateway.ledger import LedgerEntry
from app.gateway.load.load_bias import told_near
from app.gateway.request import RouteRequest
from routers.decision.decide import knob_steps
from routers.decisions import Decision
from routers.errors import RoutingError
from routers.objectives import CostQuality
from routers.request.layout import Description
from routers.request.sentence import why


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteEndpoint:
    """The ASGI application behind the path; requests are parsed exactly like chat requests."""

    dialect: Dialect
    """In which requests and errors are written: that of chat completions."""
    reception: Reception

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        visit = self.reception.enter()
        try:
            await self._answer(visit, scope, receive, send)
        finally:
            self.reception.leave(visit)

    async def _answer(self, visit: Visit, scope: Scope, receive: Receive, send: Send) -> None:
        gateway = visit.serving.gateway
        started = gateway.clock()
        try:
            request = await self.reception.take(self.dialect, visit, scope, receive)
        except ClientDisconnectedError:
            return
        except GatewayError as error:
            self.reception.refused(scope, error, visit.caller)
            await self._send_error(send, error, scope)
            return
        alone = gateway.decision(
            request,
            started=started,
            route=scope["path"],
            rank=visit.rank,
            queued_s=visit.queued_s,
            outlook=self.reception.places.outlook(visit.rank),
        )
        try:
            async with alone, CancelOnDisconnect(scope, receive):
                decision = await alone.decide()
                described = await alone.describe()
                request = alone.account.request  # its task may have been found since
        except ClientDisconnectedError:
            return
        except (GatewayError, RoutingError) as error:
            if not alone.recorded:
                self.reception.refused(scope, error, visit.caller)
            headers = route_headers(alone.account)
            await self._send_error(send, error, scope, headers)
            return
        body = msgspec.json.encode(route_object(request, decision, alone.account, described))
        headers = [
            JSON_HEADER,
            (b"content-length", str(len(body)).encode()),
            *route_headers(alone.account),
        ]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def _send_error(
        self, send: Send, error: BaseException, scope: Scope, headers: Headers | None = None
    ) -> None:
        request_id = scope["state"]["request_id"]
        await send_error(send, error, dialect=self.dialect, request_id=request_id, headers=headers)


def route_object(
    request: RouteRequest,
    decision: Decision,
    entry: LedgerEntry,
    described: Description | None,
) -> dict[str, Any]:
    """Return the answer of `/v1/route` as JSON-ready values.

    Parameters
    ----------
    described
        What the router takes the prompt to ask for, if it says so.
    """
    policy = request.policy
    evidence = None if policy is None else policy.evidence.get(decision.model_id)
    answer: dict[str, Any] = {
        "object": "route.decision",
        "id": request.decision_id,
        "model": decision.model_id,
        "policy": request.policy_name,
        "policy_version": entry.policy_version,
        "cost_quality": None,
        "why": why(decision, described),
        "request": description_object(described),
        "evidence": evidence,
        "decision": decision_object(decision),
        "flags": flags_text(request),
        "task": task_object(request.task),
        "threshold": threshold_object(request.objective),
        "scorer": scorer_object(entry.judgement),
        "decision_model": decision_model_object(entry.decision_model),
        "documents": documents_object(request),
        "workflow": workflow_object(entry.course),
        "load": told_near(entry.near_limits),
        "best_effort": best_effort_object(entry),
        "queue": queue_object(entry.outlook),
        "candidates": candidate_objects(decision.candidates, policy),
        "counterfactual": [],
    }
    if policy is None:
        return answer
    knob = policy.knobs.get(request.allowed_model_ids)
    objective = entry.objective or request.objective
    if isinstance(objective, CostQuality):
        answer["cost_quality"] = objective.t
    elif decision.usd_per_quality is not None:
        answer["cost_quality"] = round(knob.cost_quality_for(decision.usd_per_quality), 4)
    if any(each.quality is not None for each in decision.candidates):
        answer["counterfactual"] = step_objects(knob_steps(decision, knob), decision, described)
    return answer
