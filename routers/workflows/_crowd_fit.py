"""Learn of models that answered the same queries how right, how alike and how telling they are."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from routers.numeric import FloatArray, sigmoid
from routers.workflows._belief import NODES, SLIP, WEIGHTS, spread
from routers.workflows._crowd import Crowd, log_odds

UNREAD, UNKNOWN = -1, -2
"""In the place of a literal's number: an answer that says nothing, no answer recorded."""

_MAX_ROWS = 4000
"""Rows that loadings and signals are learned from; there are some five numbers per model."""

_OWN_PRIOR, _TRUST_PRIOR = 8.0, 5.0
_SIGNAL_PRIOR, _OWN_SIGNAL_PRIOR = 3.0, 10.0
_SLIP_PRIOR, _ALIKE_PRIOR = 50.0, 30.0
"""How many observations what is usual of all models counts for in what is said of one, or of two.
"""

_AGREEING = 3
"""So many models that say the same tell whether it is right, whatever one of them was graded."""

_STEPS = 80


class _Point(NamedTuple):
    loss: float
    slope: FloatArray


def fit_crowd(
    predicted: FloatArray,
    quality: FloatArray,
    literals: NDArray[np.intp],
    signals: FloatArray,
    rng: np.random.Generator,
) -> Crowd:
    """Learn of models from their answers to the same queries.

    Parameters
    ----------
    predicted, quality
        (n_queries, n_models); quality is NaN where unknown.
    literals
        (n_queries, n_models), which answers of a query say the same; UNREAD, UNKNOWN.
    signals
        (n_queries, n_models, n_signals), NaN where unknown.

    Notes
    -----
    A literal is right where those that gave it were graded so on the whole: single grades of the
    same literal differ, with its wording. How much a prediction's deviations and hard queries
    matter maximises the likelihood of all outcomes of a query together, which are independent given
    the hidden number; how much signals matter that of each outcome.
    """
    known = ~np.isnan(quality) & (literals > UNKNOWN)
    right = _right(quality, literals, known)
    n_known = np.maximum(known.sum(axis=0), 1)
    share = (np.where(known, right, 0.0).sum(axis=0) + 0.5) / (n_known + 1)
    mean = log_odds(share)
    rows = np.arange(len(quality))
    if len(rows) > _MAX_ROWS:
        rows = np.sort(rng.choice(rows, _MAX_ROWS, replace=False))
    told = _Told.fit(log_odds(predicted[rows]), right[rows], known[rows], signals[rows])
    trust, loading = _fit_difficulty(
        mean,
        log_odds(predicted[rows]) - mean,
        told.shift(signals[rows]),
        right[rows],
        known[rows],
    )
    odds = mean + trust * (log_odds(predicted[rows]) - mean)
    mean += log_odds(share) - log_odds(_expected(odds, loading, known[rows]))
    alike, apart = _fit_alike(literals, right, known)
    return Crowd(
        mean=mean,
        trust=trust,
        loading=loading,
        slip=_fit_slips(quality, literals, right, known),
        signal_mean=told.mean,
        signal_scale=told.scale,
        signal_weight=told.weight,
        alike=alike,
        apart=np.asarray([apart]),
    )


def _right(quality: FloatArray, literals: NDArray[np.intp], known: NDArray[np.bool_]) -> FloatArray:
    """Return whether each answer's literal is right, (n_queries, n_models)."""
    right = np.where(known, quality, 0.0)
    for literal in range(int(literals.max(initial=-1)) + 1):
        same = known & (literals == literal)
        count = np.maximum(same.sum(axis=1), 1)
        graded = np.where(same, quality, 0.0).sum(axis=1) / count
        right = np.where(same, (graded > 0.5)[:, None], right)
    return np.where(literals >= 0, right > 0.5, 0.0).astype(np.float64)


def _expected(odds: FloatArray, loading: FloatArray, known: NDArray[np.bool_]) -> FloatArray:
    """Return how often each model is expected to be right."""
    chance = np.where(known, spread(odds, loading) @ WEIGHTS, 0.0)
    return np.asarray((chance.sum(axis=0) + 0.5) / (known.sum(axis=0) + 1))


def _fit_slips(
    quality: FloatArray,
    literals: NDArray[np.intp],
    right: FloatArray,
    known: NDArray[np.bool_],
) -> FloatArray:
    """Return how often each model's wording of what others got right was graded as wrong."""
    lost, seen = np.zeros(quality.shape[1]), np.zeros(quality.shape[1])
    for literal in range(int(literals.max(initial=-1)) + 1):
        same = known & (literals == literal) & (right > 0.5)
        telling = same & (same.sum(axis=1) >= _AGREEING)[:, None]
        seen += telling.sum(axis=0)
        lost += np.where(telling, 1 - np.where(telling, quality, 1.0), 0.0).sum(axis=0)
    usual = lost.sum() / max(1.0, seen.sum())
    return np.asarray((lost + _SLIP_PRIOR * usual) / (seen + _SLIP_PRIOR))


def _fit_alike(
    literals: NDArray[np.intp], right: FloatArray, known: NDArray[np.bool_]
) -> tuple[FloatArray, float]:
    """Return how much more two models agree than strangers, where both are wrong, and `apart`."""
    wrong = (known & (literals >= 0) & (right < 0.5)).astype(np.float64)
    both = wrong.T @ wrong
    same = np.zeros_like(both)
    for literal in range(int(literals.max(initial=-1)) + 1):
        here = wrong * (literals == literal)
        same += here.T @ here
    pairs = ~np.eye(len(both), dtype=bool)
    usual = (same[pairs].sum() + 1) / (both[pairs].sum() + 3)
    usual = float(min(usual, 0.9))
    share = np.minimum((same + _ALIKE_PRIOR * usual) / (both + _ALIKE_PRIOR), 0.95)
    apart = (1 - usual) / usual
    return apart * share / (1 - share), apart


@dataclass(frozen=True, slots=True)
class _Told:
    """What signals tell: (n_models, n_signals) each."""

    mean: FloatArray
    scale: FloatArray
    weight: FloatArray

    @classmethod
    def fit(
        cls, odds: FloatArray, right: FloatArray, known: NDArray[np.bool_], signals: FloatArray
    ) -> "_Told":
        seen = known[..., None] & ~np.isnan(signals)
        n = np.maximum(seen.sum(axis=0), 1)
        mean = np.where(seen, signals, 0.0).sum(axis=0) / n
        deviation = np.where(seen, signals - mean, 0.0)
        scale = np.sqrt((deviation**2).sum(axis=0) / n) + 0.1
        unusual = np.minimum(np.maximum(deviation / scale, -3), 3)
        n_models, n_signals = mean.shape

        def at(point: FloatArray) -> _Point:
            shared, own = point[:n_signals], point[n_signals:].reshape(n_models, n_signals)
            total = odds + (unusual * (shared + own)).sum(axis=2)
            loss = np.where(known, np.logaddexp(0, total) - right * total, 0.0).sum()
            error = np.where(known, sigmoid(total) - right, 0.0)
            slope = (error[..., None] * unusual).sum(axis=0)
            penalty = _SIGNAL_PRIOR * shared @ shared + _OWN_SIGNAL_PRIOR * (own**2).sum()
            of_shared = slope.sum(axis=0) + _SIGNAL_PRIOR * shared
            of_own = slope + _OWN_SIGNAL_PRIOR * own
            return _Point(float(loss + penalty / 2), np.concatenate([of_shared, of_own.ravel()]))

        found = _minimum(at, np.zeros(n_signals * (n_models + 1)))
        weight = found[:n_signals] + found[n_signals:].reshape(n_models, n_signals)
        return cls(mean, scale, weight)

    def shift(self, signals: FloatArray) -> FloatArray:
        unusual = np.minimum(np.maximum((signals - self.mean) / self.scale, -3), 3)
        return np.asarray((np.where(np.isnan(unusual), 0.0, unusual) * self.weight).sum(axis=2))


def _fit_difficulty(
    mean: FloatArray,
    deviation: FloatArray,
    shift: FloatArray,
    right: FloatArray,
    known: NDArray[np.bool_],
) -> tuple[FloatArray, FloatArray]:
    """Return how much of predictions' deviations is believed, and loadings, (n_models,) each.

    The former is the same for all models: what a router says of one model against another would
    not outlive different ones. Loadings are drawn to their geometric mean.
    """
    n_queries, n_models = deviation.shape
    was_right = right[..., None] > 0.5

    def at(point: FloatArray) -> _Point:
        own = point[2:]
        trust, loading = np.exp(point[0]), np.exp(point[1] + own)
        widening = np.sqrt(1 + np.pi / 8 * loading**2)
        odds = mean + trust * deviation + shift
        plain = sigmoid((odds * widening)[..., None] + loading[:, None] * NODES)
        chance = SLIP / 2 + (1 - SLIP) * plain
        log = np.where(was_right, np.log(chance), np.log1p(-chance))
        joint = np.where(known[..., None], log, 0.0).sum(axis=1) + np.log(WEIGHTS)
        most = joint.max(axis=1, keepdims=True)
        weight = np.exp(joint - most)
        total = weight.sum(axis=1, keepdims=True)
        slope = np.where(was_right, 1 / chance, -1 / (1 - chance))
        slope = slope * (1 - SLIP) * plain * (1 - plain) * (weight / total)[:, None, :]
        slope = np.where(known[..., None], slope, 0.0)
        by_model = slope.sum(axis=2)
        of_trust = (by_model * widening * deviation).sum() * trust
        of_loading = (by_model * odds * (np.pi / 8 * loading / widening) + slope @ NODES).sum(
            axis=0
        ) * loading
        loss = -(np.log(total) + most).sum()
        loss += (_OWN_PRIOR * (own**2).sum() + _TRUST_PRIOR * point[0] ** 2) / 2
        gradient = [
            [_TRUST_PRIOR * point[0] - of_trust, -of_loading.sum()],
            _OWN_PRIOR * own - of_loading,
        ]
        return _Point(float(loss) / n_queries, np.concatenate(gradient) / n_queries)

    found = _minimum(at, np.concatenate([np.log([0.7, 1.5]), np.zeros(n_models)]))
    return np.full(n_models, np.exp(found[0])), np.exp(found[1] + found[2:])


def _minimum(at: Callable[[FloatArray], _Point], start: FloatArray) -> FloatArray:
    from scipy.optimize import minimize  # noqa: PLC0415  (serving has no scipy)

    bounds = [(-5.0, 5.0)] * len(start)
    options = {"maxiter": _STEPS}
    found = minimize(at, start, jac=True, method="L-BFGS-B", bounds=bounds, options=options)
    return np.asarray(found.x, np.float64)
