"""A plan for a file of requests: which model answers which, for one budget."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from routers.artifact.artifact import RouterArtifact
from routers.data.jsonl import query_of
from routers.data.lines import json_items
from routers.decision.assignment import Assignment, assign
from routers.errors import DataError
from routers.evaluation.assess import predicted_costs
from routers.files import replacing
from routers.models import PriceTable
from routers.text.token_estimate import estimate_tokens, estimate_tokens_and_upper

CHAT = "/v1/chat/completions"
_BLOCK = 2048
"""Requests that are embedded at a time."""
_LIMITS = ("max_completion_tokens", "max_tokens", "max_output_tokens")


class Estimated(NamedTuple):
    """What is predicted of one model on one request; quality is None where nothing is.

    `cost_usd_upper` goes by cautious estimates of prompt and answer.
    """

    model: str
    quality: float | None
    cost_usd: float
    cost_usd_upper: float


class BatchRequest(NamedTuple):
    """One request: where it goes, and what it says."""

    custom_id: str
    endpoint: str
    body: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchPlan:
    """Who answers what.

    Attributes
    ----------
    models
        All that any request may be answered by.
    cost_usd_upper
        What everything costs by cautious estimates.
    n_by_model, cost_by_model, quality_by_model
        Of the requests that each answers: how many, US dollars, mean predicted quality (None where
        it is not predicted, or there are none).
    """

    requests: tuple[BatchRequest, ...]
    models: tuple[str, ...]
    assignment: Assignment
    cost_usd_upper: float
    n_by_model: dict[str, int]
    cost_by_model: dict[str, float]
    quality_by_model: dict[str, float | None]


def read_requests(path: Path) -> tuple[BatchRequest, ...]:
    """Read a file of requests: OpenAI's lines for batches, or lines with `prompt` or `messages`.

    Raises
    ------
    DataError
        If a line is neither, or an id stands twice.
    """
    found: dict[str, BatchRequest] = {}
    for where, item in json_items(path):
        request = _request(where, item)
        if request.custom_id in found:
            raise DataError(f"{where}: the id {request.custom_id!r} stands there twice")
        found[request.custom_id] = request
    if not found:
        raise DataError(f"{path}: holds no requests")
    return tuple(found.values())


def _request(where: str, item: Mapping[str, Any]) -> BatchRequest:
    if "body" in item:
        custom_id, url, body = item.get("custom_id"), item.get("url"), item["body"]
        if not isinstance(custom_id, str) or not custom_id:
            raise DataError(f"{where}: has no custom_id")
        if not isinstance(url, str) or not isinstance(body, dict):
            raise DataError(f"{where}: needs a url (text) and a body (an object)")
        return BatchRequest(custom_id, url, body)
    number = where.rpartition(" ")[2]
    custom_id = str(item.get("custom_id", item.get("query_id", number)))
    messages = item.get("messages")
    if messages is None:
        prompt = item.get("prompt")
        if not isinstance(prompt, str):
            raise DataError(f"{where}: needs a body, messages, or a prompt (text)")
        messages = [{"role": "user", "content": prompt}]
    limits = {name: item[name] for name in _LIMITS if name in item}
    body = {"model": item.get("model", "auto"), "messages": messages, **limits}
    return BatchRequest(custom_id, CHAT, body)


def estimates_of(
    artifact: RouterArtifact, requests: Sequence[BatchRequest], prices: PriceTable
) -> list[tuple[Estimated, ...]]:
    """Predict chat requests by an artifact alone: of all its models, or of the one that is named.

    Raises
    ------
    DataError
        If a request is no chat request.
    """
    found: list[tuple[Estimated, ...]] = []
    for start in range(0, len(requests), _BLOCK):
        block = requests[start : start + _BLOCK]
        for request in block:
            if request.endpoint != CHAT or "messages" not in request.body:
                raise DataError(
                    f"{request.custom_id}: an artifact predicts chat requests ({CHAT}) alone; "
                    "name a gateway's configuration for others (--config)"
                )
        queries = [
            query_of(
                each.custom_id,
                {"query_id": each.custom_id, "messages": each.body["messages"]},
            )
            for each in block
        ]
        predictions = artifact.predict_conversations([each.conversation for each in queries])
        caps = np.array([[_limit(each.body)] for each in block])
        tokens = np.minimum(predictions.output_tokens.astype(np.float64), caps)
        upper = np.minimum(
            np.maximum(predictions.output_tokens_upper.astype(np.float64), tokens), caps
        )
        texts = ["\n".join(m.text for m in each.billed.messages) for each in queries]
        prompt = np.array([estimate_tokens(each.billed) for each in queries], np.float64)
        prompt_upper = np.array([estimate_tokens_and_upper(text)[1] for text in texts], np.float64)
        cost = predicted_costs(prompt, tokens, artifact.models, prices)
        most = predicted_costs(np.maximum(prompt, prompt_upper), upper, artifact.models, prices)
        for row, request in enumerate(block):
            named = request.body.get("model")
            found.append(
                tuple(
                    Estimated(
                        model,
                        float(predictions.quality[row, column]),
                        float(cost[row, column]),
                        float(most[row, column]),
                    )
                    for column, model in enumerate(artifact.models)
                    if named not in artifact.models or model == named
                )
            )
    return found


def _limit(body: Mapping[str, Any]) -> float:
    limits = [body[name] for name in _LIMITS if isinstance(body.get(name), int)]
    return float(min(limits)) if limits else np.inf


def plan_batch(
    requests: tuple[BatchRequest, ...],
    estimates: Sequence[Iterable[Estimated]],
    *,
    budget_usd: float | None,
    capacity: Mapping[str, int],
    cautious: bool = False,
) -> BatchPlan:
    """Assign requests to models.

    Parameters
    ----------
    capacity
        How many requests each model may answer; others as many as they like.
    cautious
        Whether the budget is held against cautious estimates of each request instead of what they
        will probably cost together.

    Raises
    ------
    DataError
        If a capacity is of a model that none of the requests may be answered by.
    """
    known = [tuple(each) for each in estimates]
    models = tuple(sorted({each.model for row in known for each in row}))
    unknown = sorted(set(capacity) - set(models))
    if unknown:
        raise DataError(f"no request may be answered by {unknown[0]}; models: {', '.join(models)}")
    column = {model: place for place, model in enumerate(models)}
    quality, cost, upper = np.full((3, len(known), len(models)), np.nan)
    told = np.zeros(quality.shape, bool)
    for row, estimated in enumerate(known):
        for each in estimated:
            at = row, column[each.model]
            told[at] = each.quality is not None
            quality[at] = 0.5 if each.quality is None else each.quality
            cost[at], upper[at] = each.cost_usd, each.cost_usd_upper
    found = assign(
        quality,
        upper if cautious else cost,
        budget_usd=budget_usd,
        capacity=[capacity.get(model) for model in models],
    )
    rows = np.flatnonzero(found.picks >= 0)
    at_rows = found.picks[rows]

    def quality_of(place: int) -> float | None:
        mine = rows[at_rows == place]
        mine = mine[told[mine, place]]
        return float(quality[mine, place].mean()) if len(mine) else None

    return BatchPlan(
        requests=requests,
        models=models,
        assignment=found,
        cost_usd_upper=float(upper[rows, at_rows].sum()),
        n_by_model={model: int((at_rows == i).sum()) for i, model in enumerate(models)},
        cost_by_model={
            model: float(cost[rows[at_rows == i], i].sum()) for i, model in enumerate(models)
        },
        quality_by_model={model: quality_of(i) for i, model in enumerate(models)},
    )


def write_plan(plan: BatchPlan, out: Path) -> None:
    """Write who answers what, as JSONL: `custom_id`, and `model`, or why it is `left_out`.

    Raises
    ------
    DataError
        If it cannot be written.
    """
    why = dict(plan.assignment.left_out)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with replacing(out) as partial:
            lines = []
            for row, request in enumerate(plan.requests):
                pick = int(plan.assignment.picks[row])
                said = {"model": plan.models[pick]} if pick >= 0 else {"left_out": why[row].value}
                lines.append(json.dumps({"custom_id": request.custom_id, **said}))
            partial.write_text("\n".join(lines) + "\n", encoding="utf-8")
    except OSError as error:
        raise DataError(f"{out}: cannot be written ({error.strerror})") from error
