"""`steelyard route-batch --budget`: a plan for a file of requests, as a table and as JSONL."""

import json
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

from routers.artifact.load import load_artifact
from routers.commands.base import GATEWAY_ESTIMATES, progress
from routers.decision.assignment import LeftOut
from routers.evaluation.batch import prices_of
from routers.evaluation.batch_plan import (
    BatchPlan,
    BatchRequest,
    Estimated,
    estimates_of,
    plan_batch,
    read_requests,
    write_plan,
)
from routers.files import shown

GatewayEstimates = Callable[[Path, str | None, Sequence[BatchRequest]], list[tuple[Estimated, ...]]]


def plan(
    data: Path,
    out: Path,
    *,
    artifact: Path | None,
    config: Path | None,
    policy: str | None,
    budget: float | None,
    capacity: dict[str, int],
    cautious: bool,
    prices: Path | None,
    encoders: tuple[str, ...],
    as_json: bool,
) -> None:
    """Plan a file of requests, and tell of the plan."""
    requests = read_requests(data)
    if config is not None:
        progress(f"predicting {len(requests)} requests by {config.name}")
        estimates = _of_gateway()(config, policy, requests)
    else:
        assert artifact is not None  # noqa: S101  (one of them is there)
        router = load_artifact(artifact, trusted=encoders)
        progress(f"predicting {len(requests)} requests with {artifact}")
        estimates = estimates_of(router, requests, prices_of(router, prices))
    made = plan_batch(requests, estimates, budget_usd=budget, capacity=capacity, cautious=cautious)
    write_plan(made, out)
    if as_json:
        click.echo(json.dumps(_told(made, out, budget)))
        return
    for line in _table(made, budget):
        click.echo(line)
    click.echo(f"wrote {out}")


def _of_gateway() -> GatewayEstimates:
    hooks = click.get_current_context().find_root().obj or {}
    found: GatewayEstimates | None = hooks.get(GATEWAY_ESTIMATES)
    if found is None:
        raise click.UsageError("there is no gateway here whose configuration could be read")
    return found


def _told(made: BatchPlan, out: Path, budget: float | None) -> dict[str, Any]:
    found = made.assignment
    return {
        "out": str(out),
        "n_requests": len(made.requests),
        "n_answered": sum(made.n_by_model.values()),
        "budget_usd": budget,
        "cost_usd": sum(made.cost_by_model.values()),
        "cost_usd_upper": made.cost_usd_upper,
        "quality": _mean_quality(made),
        "quality_per_usd": found.quality_per_usd,
        "models": {
            model: {
                "requests": n,
                "cost_usd": made.cost_by_model[model],
                "quality": made.quality_by_model[model],
                "quality_per_request": float(found.quality_per_unit[column]),
            }
            for column, (model, n) in enumerate(made.n_by_model.items())
        },
        "left_out": dict(Counter(why.value for _, why in found.left_out)),
    }


def _table(made: BatchPlan, budget: float | None) -> list[str]:
    found = made.assignment
    width = max(5, *(len(shown(model)) for model in made.models))
    lines = [f"{'model':{width}}  {'requests':>8}  {'cost, USD':>10}  {'quality':>7}"]
    for model, n in made.n_by_model.items():
        quality, cost = made.quality_by_model[model], made.cost_by_model[model]
        told = "" if quality is None else f"{quality:.3f}"
        lines.append(f"{shown(model):{width}}  {n:8}  {_usd(cost):>10}  {told:>7}")
    mean, cost = _mean_quality(made), sum(made.cost_by_model.values())
    told = "" if mean is None else f"{mean:.3f}"
    n = sum(made.n_by_model.values())
    lines.append(f"{'all':{width}}  {n:8}  {_usd(cost):>10}  {told:>7}")
    of = "" if budget is None else f", of a budget of ${budget:g}"
    lines.append(f"predicted ${_usd(cost)}, cautiously ${_usd(made.cost_usd_upper)}{of}")
    why_left_out = Counter(why for _, why in found.left_out)
    if found.quality_per_usd > 0:
        lines.append(f"one more dollar buys {found.quality_per_usd:.3g} answers' worth of quality")
    elif budget is not None:
        lines.append(
            "more money would answer more requests"
            if why_left_out[LeftOut.BUDGET]
            else "one more dollar buys nothing: each has the best that there is room for"
        )
    lines += [
        f"one more request for {shown(model)} buys {worth:.3g} answers' worth of quality"
        for model, worth in zip(made.models, found.quality_per_unit, strict=True)
        if worth > 0
    ]
    for why, number in sorted(why_left_out.items()):
        lines.append(f"left out: {number} ({_WHY[why]})")
    return lines


def _usd(cost: float) -> str:
    """Return an amount: four places, and two digits of what is less than that."""
    return f"{cost:.4f}" if cost >= 0.001 or not cost else f"{cost:.2g}"


_WHY = {
    LeftOut.NO_MODEL: "no model may answer them",
    LeftOut.BUDGET: "the budget does not pay for them",
    LeftOut.CAPACITY: "no capacity is left for them",
}


def _mean_quality(made: BatchPlan) -> float | None:
    known = [
        (n, made.quality_by_model[model])
        for model, n in made.n_by_model.items()
        if made.quality_by_model[model] is not None
    ]
    total = sum(n for n, _ in known)
    return sum(n * (quality or 0.0) for n, quality in known) / total if total else None
