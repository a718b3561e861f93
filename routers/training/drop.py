"""The threshold that saves most calls of the strong model for an allowed drop of mean quality.

This is a point rule: what it found is what happened on the calibration requests, where gains of the
weak model make up for its losses. Nothing is promised of requests to come; `guarantee` does that,
of losses alone, and allows far less.
"""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from routers.numeric import FloatArray

_ROUNDING = 1e-12


@dataclass(frozen=True, slots=True, kw_only=True)
class Drop:
    """A threshold chosen for an allowed drop, with what it does.

    Attributes
    ----------
    threshold
        Requests of a lower score go to the weak model.
    limit, drop
        What was allowed and what came of it: how much lower mean quality is than the strong
        model's, as a share of that.
    n
        Calibration requests.
    cost_advantage
        Share of them that the weak model answers.
    unseen_drop, unseen_cost_advantage
        The same where the threshold is chosen on one half of the requests and looked at on the
        other, the mean of both ways; None of too few requests.
    """

    strong: str
    weak: str
    threshold: float
    limit: float
    drop: float
    n: int
    cost_advantage: float
    unseen_drop: float | None
    unseen_cost_advantage: float | None
    statement: str

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for a manifest."""
        return asdict(self)


def drop_threshold(
    score: NDArray[np.floating],
    quality_strong: NDArray[np.floating],
    quality_weak: NDArray[np.floating],
    *,
    limit: float,
) -> float:
    """Return the threshold of most weak calls whose mean quality drops by at most `limit`.

    Parameters
    ----------
    score
        (n,), low where the weak model is thought to do; n is at least 1.
    limit
        As a share of the strong model's mean quality.

    Notes
    -----
    Every threshold is looked at, not only the first that drops too much: further weak calls may
    bring the mean back. Equal scores go to the same model. Where even the lowest scores cost too
    much it is the lowest score: every request goes to the strong model.

    References
    ----------
    Ding et al. 2024, Hybrid LLM, arXiv:2404.14618 (4.5, the empirical choice of thresholds).
    """
    order = np.argsort(score, kind="stable")
    ordered = score[order]
    lost = np.cumsum((quality_strong - quality_weak)[order], dtype=np.float64)
    allowed = limit * float(np.sum(quality_strong, dtype=np.float64))
    after = np.append(ordered[1:], np.nextafter(ordered[-1], np.inf))
    fine = np.flatnonzero((ordered < after) & (lost <= allowed + _ROUNDING * len(score)))
    return float(after[fine[-1]]) if len(fine) else float(ordered[0])


def choose_drop(
    score: NDArray[np.floating],
    quality_strong: NDArray[np.floating],
    quality_weak: NDArray[np.floating],
    *,
    strong: str,
    weak: str,
    limit: float,
    half: NDArray[np.bool_],
    date: str,
) -> Drop:
    """Choose the threshold on all requests, and tell what such a choice is worth on others.

    Parameters
    ----------
    half
        (n,), which requests are one half of them; the same prompt should not be in both.
    """
    arrays = (score, quality_strong, quality_weak)
    threshold = drop_threshold(*arrays, limit=limit)
    advantage, drop = _outcome(threshold, *arrays)
    unseen = []
    for chosen in (half, ~half):
        if chosen.any() and not chosen.all():
            found = drop_threshold(*(each[chosen] for each in arrays), limit=limit)
            unseen.append(_outcome(found, *(each[~chosen] for each in arrays)))
    statement = (
        f"Keeps {advantage:.1%} of requests on {weak} at a mean quality {drop:.2%} below "
        f"{strong}'s, where {limit:.2%} were allowed, on {len(score)} requests of the calibration "
        f"of {date}. Nothing is guaranteed"
    )
    unseen_advantage: float | None = None
    unseen_drop: float | None = None
    if unseen:
        unseen_advantage, unseen_drop = np.mean(unseen, axis=0).tolist()
        statement += (
            f": chosen on one half of them, {unseen_advantage:.1%} at {unseen_drop:.2%} on the "
            "other"
        )
    return Drop(
        strong=strong,
        weak=weak,
        threshold=threshold,
        limit=limit,
        drop=drop,
        n=len(score),
        cost_advantage=advantage,
        unseen_drop=unseen_drop,
        unseen_cost_advantage=unseen_advantage,
        statement=f"{statement}.",
    )


def _outcome(
    threshold: float,
    score: NDArray[np.floating],
    quality_strong: NDArray[np.floating],
    quality_weak: NDArray[np.floating],
) -> tuple[float, float]:
    """Return the share of weak calls and the relative drop of mean quality."""
    kept = score < threshold
    best: FloatArray = np.asarray(quality_strong, np.float64)
    lost = np.where(kept, best - quality_weak, 0).mean()
    # Where the strong model is worth nothing there is nothing to lose a share of.
    return float(kept.mean()), float(lost / best.mean()) if best.mean() > 0 else float(lost)
