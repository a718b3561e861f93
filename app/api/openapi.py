"""The OpenAPI description of the endpoints that FastAPI does not see, and of every error."""

import re
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel

from app.api.decision_schema import RouteDecision
from app.api.dialects.base import Dialect, Documented, Table
from app.api.routing_headers import HEADER_KEYS
from app.api.schema import KNOB_PRESETS
from app.config.tasks import NO_TASK
from app.gateway.images import AS_SENT
from app.gateway.names import Names
from app.gateway.queues.ranks import PRIORITY_HEADER
from app.keys import Priority
from app.paths import CHAT_COMPLETIONS, DECISION_ROUTE
from routers.workflows.chain import MAX_STAGES

_REF = "#/components/schemas/{model}"

_KNOB_HELP = {
    "x-cost-quality": f"The knob: 0 (cheapest) to 1 (best), or {KNOB_PRESETS}.",
    "x-route-max-quality-loss": "Cheapest model predicted within this of the best.",
    "x-route-min-quality": "Cheapest model predicted to reach this quality.",
    "x-route-lambda": "US dollars that one more unit of quality (0 to 1) is worth.",
    "x-route-mu": "CARROT's trade-off, 0 to 1: the highest (1 - mu) quality - mu 100 USD.",
    "x-route-max-cost": "Hard limit in US dollars for the whole request.",
    "x-route-models": "Comma-separated list of the models that may be chosen.",
    "x-route-flags": "What is wanted besides quality and price: `size=1, recency=.5, "
    "security=high`.",
    "x-route-policy": "The policy to decide by.",
    "x-route-fallback": "on or off.",
    "x-route-explain": "full adds candidates and calls to the body under `steelyard`.",
    "x-route-reference": "A right answer, against which `explain: full` holds a whole answer.",
    "x-route-affinity": "on or off: whether the conversation keeps its model.",
    "x-route-task": "One of the policy's tasks, or several as first>second; off for none.",
    "x-route-cache": "on, off, or no-store (use what is there, keep nothing).",
    "x-route-detail": "auto, low, high, original or as-sent: how closely images are looked at, "
    "whatever they say themselves, under a policy that chooses it.",
    "x-route-max-latency-ms": "Hard limit on the time until the answer is whole, held against what"
    " nine of ten answers are predicted to stay below.",
    "x-route-max-ttft-ms": "The same on the time until its first token.",
    "x-route-latency-weight": "What a second until the answer is whole costs, in US dollars, where"
    " candidates are compared.",
    "x-route-deadline-ms": "Within which the answer is to be whole, under a policy with tiers of "
    "best effort.",
}

_PRIORITY = {
    "name": PRIORITY_HEADER.decode(),
    "in": "header",
    "required": False,
    "description": "Which requests go first where some wait.",
    "schema": {"type": "string", "enum": [each.value for each in Priority]},
}


def document_endpoints(app: FastAPI, dialects: Table, pinned: Iterable[Dialect] = ()) -> None:
    """Make `app.openapi()` describe the plain ASGI endpoints and the errors of all of them."""
    document: dict[str, Any] = {}

    def openapi() -> dict[str, Any]:
        if not document:
            document.update(_document(app, dialects, tuple(pinned)))
        return document

    app.openapi = openapi  # type: ignore[method-assign]  # (as FastAPI documents it)


def _narrow(knobs: dict[str, Any], names: Names) -> None:
    """Allow what the configuration has a use for."""
    _branch(knobs["models"], "array")["items"]["enum"] = sorted(names.model_ids)
    _branch(knobs["policy"], "string")["enum"] = list(names.policies)
    _branch(knobs["task"], "string")["pattern"] = _task_pattern(names)
    if all(policy.images is None for policy in names.policies.values()):
        _branch(knobs["detail"], "string")["enum"] = [AS_SENT]
    if all(policy.best_effort is None for policy in names.policies.values()):
        del knobs["deadline_ms"]


def _document(app: FastAPI, dialects: Table, pinned: Collection[Dialect]) -> dict[str, Any]:
    document = get_openapi(
        title=app.title, version=app.version, description=app.description, routes=app.routes
    )
    schemas = document.setdefault("components", {}).setdefault("schemas", {})
    chat = dialects.named(CHAT_COMPLETIONS).documented
    route = Documented(
        summary="Decide without calling",
        description="Return every candidate's predictions, the decision, and what other knob "
        "values would choose.",
        request=chat.request,
        answer=RouteDecision,
        event=None,
        error=chat.error,
        example=chat.example,
        streamed=None,
    )
    routed = {each.path: each.documented for each in dialects.all} | {DECISION_ROUTE: route}
    endpoints = routed | {each.path: each.documented for each in pinned}
    for documented in endpoints.values():
        for model in (documented.error, documented.request, documented.answer, documented.event):
            if model is not None and model.__name__ not in schemas:
                schema = model.model_json_schema(ref_template=_REF)
                schemas |= schema.pop("$defs", {})
                schemas[model.__name__] = schema
    names: Names = app.state.steelyard.serving.names
    knobs = schemas["Routing"]["properties"]
    _narrow(knobs, names)
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    for path, documented in endpoints.items():
        told = knobs if path in routed else None
        document["paths"][path] = {"post": _operation(documented, knobs=told)}
    _add_forms(document, pinned)
    _add_security(document, keys_needed=app.state.steelyard.config.gateway.auth.keys_needed)
    for path, operations in document["paths"].items():
        error = endpoints.get(path, chat).error
        for operation in operations.values():
            operation["responses"].pop("422", None)
            for status in ("4XX", "5XX"):
                operation["responses"][status] = {
                    "description": "An error",
                    "content": {"application/json": {"schema": _ref(error)}},
                }
    return document


def _task_pattern(names: Names) -> str:
    """Return what a task may be, of whichever policy: each knows its own only."""
    every = dict.fromkeys(
        re.escape(task) for policy in names.policies.values() for task in policy.tasks or ()
    )
    if not every:
        return f"^{NO_TASK}$"
    one = f"({'|'.join(every)})"
    return f"^({NO_TASK}|{one}(>{one}){{0,{MAX_STAGES - 1}}})$"


def _add_forms(document: dict[str, Any], pinned: Collection[Dialect]) -> None:
    for each in pinned:
        if each.takes_forms:
            body = document["paths"][each.path]["post"]["requestBody"]["content"]
            body["multipart/form-data"] = {"schema": _ref(each.documented.request)}


def _add_security(document: dict[str, Any], *, keys_needed: bool) -> None:
    """Say where a virtual key or a token is asked for, so that the page of the docs can send it."""
    schemes = document["components"].setdefault("securitySchemes", {})
    schemes["metrics_token"] = {
        "type": "http",
        "scheme": "bearer",
        "description": "The token of the metrics, or the admin token where they have none.",
    }
    if keys_needed:
        schemes["virtual_key"] = {
            "type": "http",
            "scheme": "bearer",
            "description": "A key of this gateway, sk-sy-…, as its operator gives them out.",
        }
    for path, operations in document["paths"].items():
        for operation in operations.values():
            if path.startswith("/v1/") and keys_needed:
                operation["security"] = [{"virtual_key": []}]
            elif path == "/metrics":
                operation["security"] = [{}, {"metrics_token": []}]


def _operation(documented: Documented, *, knobs: Mapping[str, Any] | None) -> dict[str, Any]:
    content = {"application/json": {"schema": _ref(documented.answer)}}
    if documented.event is not None:
        content["text/event-stream"] = {"schema": _ref(documented.event)}
    return {
        "tags": ["chat" if knobs is not None else "other models"],
        "summary": documented.summary,
        "description": documented.description,
        "parameters": [
            _PRIORITY,
            *(
                {
                    "name": header.decode(),
                    "in": "header",
                    "required": False,
                    "description": _KNOB_HELP[header.decode()],
                    "schema": _header_schema(knobs[key]),
                }
                for header, key in HEADER_KEYS.items()
                if knobs is not None and key in knobs
            ),
        ],
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {
                    "schema": _ref(documented.request),
                    "example": documented.example,
                }
            },
        },
        "responses": {"200": {"description": "The answer", "content": content}},
    }


def _branch(schema: Mapping[str, Any], kind: str) -> dict[str, Any]:
    """Return the alternative of one type."""
    return next(each for each in schema["anyOf"] if each["type"] == kind)


def _header_schema(knob: Mapping[str, Any]) -> dict[str, Any]:
    """Describe a header like the key of `routing`; lists are separated by commas."""
    objects = ("null", "boolean", "object", None)
    spelled = [each for each in knob["anyOf"] if each.get("type") not in objects]
    return spelled[0] if len(spelled) == 1 else {"anyOf": spelled}


def _ref(model: type[BaseModel]) -> dict[str, str]:
    return {"$ref": _REF.format(model=model.__name__)}
