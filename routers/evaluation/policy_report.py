"""What a replayed policy is worth: quality, cost, calls, latency, and all of it at equal cost."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from routers.errors import DataError
from routers.evaluation.bootstrap import Interval, weighted_means
from routers.evaluation.equal_cost import beside_singles, gains, with_cheapest
from routers.evaluation.frame import Frame
from routers.evaluation.metrics import area_under_hull, match_cost
from routers.evaluation.policy import Replayed
from routers.evaluation.promises import Promises, verdict
from routers.evaluation.scene import FIRST_TOKEN_S, NOBODY, TOKENS_PER_S
from routers.evaluation.told import QUESTION_S, Unheard
from routers.files import replacing
from routers.numeric import FloatArray, nan_mean

_MATCHED = (0.98, 1.0)
"""Shares of the best single model's quality whose price is told."""


def report(replayed: Replayed, *, n_draws: int = 1000, seed: int = 0) -> dict[str, Any]:
    """Measure a replayed policy and return plain values, ready for JSON.

    An answer that could not be had, or was refused, is worth nothing. Intervals are 95 %, of a
    paired bootstrap over prompts.
    """
    frame = Frame(rows=replayed.rows.take(replayed.compared), n_draws=n_draws, seed=seed)
    rows = frame.rows
    at = replayed.compared
    cost = np.stack([each.cost_usd[at] for each in replayed.positions])
    quality = np.stack([each.quality(replayed.rows.quality)[at] for each in replayed.positions])
    single_cost, single_quality = frame.realised(replayed.singles[:, at])
    steered = replayed.policy.workflow is None or replayed.policy.workflow.heeds_knob
    better = gains(frame, cost, quality, single_cost, single_quality, steered=steered)
    mean_cost, mean_quality = (nan_mean(each.T, default=np.nan) for each in (cost, quality))
    settings = with_cheapest(frame, cost, quality)
    if not steered:
        settings = beside_singles(cost, quality, single_cost, single_quality)
    points = [nan_mean(each.T, default=np.nan) for each in settings]
    singles = nan_mean(single_cost.T, default=np.nan), nan_mean(single_quality.T, default=np.nan)
    model_cost, model_quality = frame.singles
    best = int(np.nanargmax(model_quality))
    low, high = float(model_cost.min()), float(model_cost.max())
    workflow = replayed.policy.workflow
    artifact = replayed.policy.artifact
    top = int(np.nanargmax(mean_quality))
    return {
        "workflow": None if workflow is None else workflow.kind,
        "artifact_version": None if artifact is None else artifact.version,
        "n_queries": len(replayed.query_ids),
        "n_compared": len(rows),
        "models": [
            {
                "model": model,
                "quality": _plain(model_quality[i]),
                "usd_per_1000": _plain(1000 * model_cost[i]),
            }
            for i, model in enumerate(rows.models)
        ],
        "best_single": {
            "model": rows.models[best],
            "quality": _plain(model_quality[best]),
            "usd_per_1000": _plain(1000 * model_cost[best]),
        },
        "best_quality": {
            "cost_quality": replayed.cost_quality[top],
            "quality": _plain(mean_quality[top]),
            "usd_per_1000": _plain(1000 * mean_cost[top]),
        },
        "cost_to_match": [
            {
                "share_of_best_single": share,
                "usd_per_1000": _plain(
                    1000 * match_cost(mean_cost, mean_quality, target=share * model_quality[best])
                ),
                "usd_per_1000_single_choice": _plain(
                    1000 * match_cost(*singles, target=share * model_quality[best])
                ),
            }
            for share in _MATCHED
        ],
        "aiq": area_under_hull(*points, low=low, high=high),
        "aiq_single_choice": area_under_hull(*singles, low=low, high=high),
        "aiq_over_single_choice": better.area.to_dict(),
        "latency": replayed.latency,
        "positions": _positions(replayed, frame, quality, cost, better.positions),
        "notes": _notes(replayed),
    }


def _positions(
    replayed: Replayed,
    frame: Frame,
    quality: FloatArray,
    cost: FloatArray,
    over: Sequence[Interval],
) -> list[dict[str, Any]]:
    at = replayed.compared
    mean = nan_mean(quality.T, default=np.nan)
    draws = weighted_means(quality, frame.weights)
    shares = _shares_of_gap(replayed.cost_quality, mean, draws, n_models=len(frame.rows.models))
    found = []
    for i, (t, position) in enumerate(zip(replayed.cost_quality, replayed.positions, strict=True)):
        share = shares[i]
        n_calls = position.n_calls[at]
        found.append(
            {
                "cost_quality": t,
                "quality": Interval.of(float(mean[i]), draws[:, i]).to_dict(),
                "usd_per_1000": _plain(1000 * np.nanmean(cost[i])),
                "over_single_choice": over[i].to_dict(),
                "share_of_gap": None if share is None else share.to_dict(),
                "promise": verdict(t, share),
                "calls": float(n_calls.mean()),
                "share_of_one_call": float((n_calls <= 1).mean()),
                "latency_s": float(position.latency_s[at].mean()),
                "latency_p95_s": float(np.quantile(position.latency_s[at], 0.95)),
                "latency_sum_s": float(position.latency_sum_s[at].mean()),
                "served": _served(position.served[at], frame.rows.models),
            }
        )
    return found


def _served(served: np.ndarray, models: Sequence[str]) -> dict[str, float]:
    shares = {model: float((served == i).mean()) for i, model in enumerate(models)}
    shares["nothing"] = float((served == NOBODY).mean())
    return {name: share for name, share in shares.items() if share > 0}


def _shares_of_gap(
    cost_quality: Sequence[float], mean: FloatArray, draws: FloatArray, *, n_models: int
) -> list[Interval | None]:
    """Return what each position recovered of the gap between 0 and 1, where both were replayed."""
    order = np.argsort(cost_quality, kind="stable")
    ends = cost_quality[order[0]], cost_quality[order[-1]]
    kept = None
    if ends == (0.0, 1.0):
        kept = Promises.of(mean[order], draws[:, order], n_models=n_models).shares
    if kept is None:
        return [None] * len(order)
    by_position = dict(zip(order.tolist(), kept, strict=True))
    return [by_position[i] for i in range(len(order))]


def _notes(replayed: Replayed) -> list[str]:
    policy, lost = replayed.policy, replayed.unheard
    notes = []
    if policy.workflow is None:
        notes.append("The policy makes one call for each query: this is single choice.")
    elif not policy.workflow.heeds_knob:
        notes.append(
            "The knob does not steer the workflow: AIQ is that of single choice with it at hand."
        )
    left_out = len(replayed.query_ids) - len(replayed.compared)
    if left_out:
        notes.append(f"{left_out} queries do not count: not all models were tried on them.")
    if replayed.latency != "recorded":
        which = "latencies" if replayed.latency == "assumed" else "some latencies"
        notes.append(
            f"Nobody recorded {which} (`l:MODEL`, `latency_s`): they are {FIRST_TOKEN_S:g} s and "
            f"then {TOKENS_PER_S:g} output tokens a second."
        )
    if lost.n_judged:
        notes.append(
            f"{lost.n_judged} questions about answers were answered by recorded scores and votes "
            f"(`j:MODEL`, `v:MODEL`); each takes {QUESTION_S:g} s"
            + (
                f", and {lost.n_unpriced} of them, whose model has no known price, cost nothing."
                if lost.n_unpriced
                else " and costs what request and answer do as a prompt."
            )
        )
    return notes + _unheard(lost)


def _unheard(lost: Unheard) -> list[str]:
    told = (
        (lost.n_drafts, "answers that it asked for were not recorded, and counted as failed calls"),
        (lost.n_rewritten, "requests in other words took the answer to the original"),
    )
    return [f"WARNING: {n} {what}." for n, what in told if n]


def write_decisions(replayed: Replayed, out: Path) -> int:
    """Write what was decided, a row for each query and position; return how many rows.

    Columns: `query_id`, `knob`, `calls` (models in the order called), `served` (null where nothing
    was). Queries are in file order; the same input gives the same bytes.

    Raises
    ------
    DataError
        If it cannot be written.
    """
    import pyarrow as pa  # noqa: PLC0415  (serving has no pyarrow)
    import pyarrow.parquet as pq  # noqa: PLC0415

    n, k = len(replayed.query_ids), len(replayed.cost_quality)
    models = replayed.rows.models
    names = np.asarray([*models, None], dtype=object)
    called = (*models, *replayed.unheard.others)
    served = np.stack([each.served for each in replayed.positions], axis=1)
    calls = [
        [called[column] for column in position.calls[row]]
        for row in range(n)
        for position in replayed.positions
    ]
    columns = {
        "query_id": pa.array(np.repeat(np.asarray(replayed.query_ids, dtype=object), k)),
        "knob": pa.array(np.tile(np.asarray(replayed.cost_quality, np.float64), n)),
        "calls": pa.array(calls, pa.list_(pa.string())),
        "served": pa.array(names[served.ravel()], pa.string()),
    }
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with replacing(out) as partial:
            pq.write_table(pa.table(columns), partial, compression="zstd")
    except OSError as error:
        raise DataError(f"{out}: cannot be written ({error.strerror})") from error
    return n * k


def _plain(value: float | np.floating) -> float | None:
    return float(value) if np.isfinite(value) else None
