"""Promises about a threshold: how much quality the weak model may cost, and how sure that is.

Both methods need calibration requests that are exchangeable with those to come, and a score that
has not seen their outcomes. Under drift a promise is void: renew it.
"""

from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from routers.numeric import FloatArray

Method = Literal["clopper-pearson", "conformal-risk"]

_STEPS = 50
"""Thresholds that a sequence of tests goes through at most."""

_STARTS = (0.05, 0.15, 0.3, 0.5)
"""Shares of requests on the weak model at which sequences start, fixed before any outcome."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Guarantee:
    """A threshold with what is promised of it.

    Attributes
    ----------
    threshold
        Requests of a lower score stay on the weak model.
    n, n_kept
        Calibration requests, and those of them that stay on the weak model.
    loss
        Their mean loss: among the kept ones (`clopper-pearson`) or over all (`conformal-risk`).
    limit, confidence
        What is promised; `conformal-risk` promises an expectation and has no confidence.
    """

    method: Method
    strong: str
    weak: str
    threshold: float
    n: int
    n_kept: int
    loss: float
    limit: float
    confidence: float | None
    statement: str

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for a manifest."""
        return asdict(self)


def clopper_pearson_upper(n_failed: int, n: int, *, confidence: float) -> float:
    """Return the upper confidence bound of a failure rate; 1 where all failed.

    References
    ----------
    Clopper and Pearson 1934, The use of confidence or fiducial limits.
    """
    from scipy.stats import beta  # noqa: PLC0415  (serving has no scipy)

    if n_failed >= n:
        return 1.0
    return float(beta.ppf(confidence, n_failed + 1, n - n_failed))


def fixed_sequence_threshold(
    score: NDArray[np.floating],
    failed: NDArray[np.bool_],
    *,
    limit: float,
    confidence: float,
) -> float | None:
    """Return the highest threshold below which failures are rarer than `limit`, surely enough.

    Thresholds are tested from strict to lax; the first that fails ends the sequence, so that the
    confidence holds for the last that passed. As one early failure would end everything, there
    are several sequences with different starts, which share the allowed error.

    Parameters
    ----------
    score
        (n,), low where the weak model is thought to do.
    failed
        (n,), whether the weak model would have failed.

    Returns
    -------
    float or None
        None where no test passes: promise nothing then.

    References
    ----------
    Angelopoulos et al. 2021, Learn then test, arXiv:2110.01052.
    """
    n = len(score)
    level = 1 - (1 - confidence) / len(_STARTS)
    # Without a single failure a bound below the limit takes this many requests.
    n_min = int(np.ceil(np.log(1 - level) / np.log(1 - limit)))
    ordered, step = np.sort(score), max(1, n // _STEPS)
    passed = None
    for share in _STARTS:
        for kept in (*range(max(n_min, round(share * n)), n, step), n):
            threshold = _threshold_keeping(ordered, kept)
            inside = score < threshold
            n_inside = int(inside.sum())
            if n_inside < n_min:  # too few, or equal scores stand across the threshold
                continue
            bound = clopper_pearson_upper(int(failed[inside].sum()), n_inside, confidence=level)
            if bound > limit:
                break
            passed = threshold if passed is None else max(passed, threshold)
    return passed


def _threshold_keeping(ordered: NDArray[np.floating], kept: int) -> float:
    """Return the threshold with `kept` of the ordered scores below it."""
    if kept < len(ordered):
        return float(ordered[kept])
    return float(np.nextafter(ordered[-1], np.inf))


def admissible_risk(n: int, *, limit: float, bound: float = 1.0) -> float:
    """Return the largest mean loss of `n` calibration requests that keeps the promise.

    References
    ----------
    Angelopoulos et al. 2022, Conformal risk control, arXiv:2208.02814.
    """
    return (limit - bound / (n + 1)) * (n + 1) / n


def conformal_threshold(
    score: NDArray[np.floating], loss: NDArray[np.floating], *, limit: float
) -> float | None:
    """Return the highest threshold that keeps the expected loss of a new request within `limit`.

    Parameters
    ----------
    score
        (n,), low where the weak model is thought to do.
    loss
        (n,) in [0, 1], what keeping the request on the weak model loses.

    Returns
    -------
    float or None
        None where the calibration requests are too few, or even the strictest threshold loses
        too much.
    """
    n = len(score)
    admissible = admissible_risk(n, limit=limit)
    if admissible < 0:
        return None
    order = np.argsort(score, kind="stable")
    ordered = score[order]
    risk: FloatArray = np.cumsum(loss[order], dtype=np.float64) / n
    thresholds = np.append(ordered[1:], np.nextafter(ordered[-1], np.inf))
    whole = ordered < thresholds  # equal scores are kept together
    fine = np.flatnonzero((risk <= admissible + 1e-12) & whole)
    return float(thresholds[fine[-1]]) if len(fine) else None


def guarantee(
    score: NDArray[np.floating],
    quality_strong: NDArray[np.floating],
    quality_weak: NDArray[np.floating],
    *,
    strong: str,
    weak: str,
    limit: float,
    confidence: float,
    method: Method | None = None,
    date: str,
) -> Guarantee | None:
    """Choose the most economical threshold whose promise holds, or None.

    The loss of keeping a request on the weak model is how much better the strong one would have
    been; gains do not make up for it. Where outcomes are right or wrong the default is
    Clopper-Pearson with a fixed sequence, else conformal risk control.
    """
    loss = np.clip(quality_strong - quality_weak, 0, 1).astype(np.float64)
    binary = bool(np.isin(loss, (0.0, 1.0)).all())
    chosen: Method = method or ("clopper-pearson" if binary else "conformal-risk")
    if chosen == "clopper-pearson":
        threshold = fixed_sequence_threshold(score, loss > 0, limit=limit, confidence=confidence)
    else:
        threshold = conformal_threshold(score, loss, limit=limit)
    if threshold is None:
        return None
    kept = score < threshold
    n, n_kept = len(score), int(kept.sum())
    if chosen == "clopper-pearson":
        realised = float((loss[kept] > 0).mean())
        statement = (
            f"Among requests that stay on {weak} (score below {threshold:.6g}), {strong} would "
            f"have done better in at most {limit:.2%}, with confidence {confidence:.0%}: "
            f"{int((loss[kept] > 0).sum())} of {n_kept} held-out requests."
        )
    else:
        realised = float(np.where(kept, loss, 0).mean())
        statement = (
            f"Keeping requests of a score below {threshold:.6g} on {weak} costs in expectation at "
            f"most {limit:.4g} of quality over all requests, against always calling {strong}: "
            f"{realised:.4g} on {n} held-out requests, of which {n_kept} stay."
        )
    return Guarantee(
        method=chosen,
        strong=strong,
        weak=weak,
        threshold=threshold,
        n=n,
        n_kept=n_kept,
        loss=realised,
        limit=limit,
        confidence=confidence if chosen == "clopper-pearson" else None,
        statement=f"{statement} Holds for requests like those of the calibration of {date}.",
    )
