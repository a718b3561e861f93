"""What a fast guard and its router learn: is it harmful, and would the slow guard put it right."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from routers.errors import DataError
from routers.numeric import FloatArray, sigmoid
from routers.options import State, take
from routers.types import FloatMatrix, FloatVector

_FEWEST = 20
"""With fewer prompts of a kind nothing can be learned of it."""

_FEWEST_FIXED = 10
"""As many prompts has the slow guard to put right before a router learns which those are."""

_STRENGTH = 0.1
"""Inverse strength of the L2 penalty on standardised features."""

_LONG_LOGIT = 30.0
"""Certainty beyond this says nothing more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Linear:
    """A logistic regression, standardisation included."""

    weights: FloatArray  # (n_features,)
    bias: float

    def logit(self, x: NDArray[np.floating]) -> FloatArray:
        """Return the log-odds of rows."""
        logit: FloatArray = np.clip(x @ self.weights + self.bias, -_LONG_LOGIT, _LONG_LOGIT)
        return logit


@dataclass(frozen=True, slots=True, kw_only=True)
class GuardModels:
    """The fast guard and its router.

    Attributes
    ----------
    fast
        Log-odds that a request is harmful, from what the artifact's router sees of it.
    router
        Log-odds that the slow guard is right where the fast one is wrong, from the same, and the
        fast guard's log-odds and their size.
    """

    fast: Linear
    router: Linear

    def look(self, x: FloatVector) -> tuple[float, float]:
        """Return the chance that a request is harmful, and that the slow guard is needed."""
        if len(x) != len(self.fast.weights):
            raise ValueError(f"{len(x)} features, and {len(self.fast.weights)} were learned from")
        rows = x[None, :].astype(np.float64)
        logit = self.fast.logit(rows)
        return float(sigmoid(logit)[0]), float(sigmoid(self.router.logit(seen(rows, logit)))[0])

    def state(self) -> dict[str, np.ndarray]:
        """Return everything as named plain arrays."""
        return {
            "fast": np.append(self.fast.weights, self.fast.bias),
            "router": np.append(self.router.weights, self.router.bias),
        }

    @classmethod
    def restore(cls, state: State) -> "GuardModels":
        """Take over what `state` returned.

        Raises
        ------
        KeyError, ValueError
            If an array is missing or they do not fit together.
        """
        fast, router = take(state, "fast", ndim=1), take(state, "router", ndim=1)
        if len(fast) < 2 or len(router) != len(fast) + 2:
            raise ValueError("the arrays of the guard do not fit together")
        return cls(
            fast=Linear(weights=fast[:-1], bias=float(fast[-1])),
            router=Linear(weights=router[:-1], bias=float(router[-1])),
        )


def seen(x: NDArray[np.floating], logit: FloatArray) -> FloatArray:
    """Return what the router of the guard sees."""
    return np.column_stack([x, logit, np.abs(logit)])


@dataclass(frozen=True, slots=True, kw_only=True)
class Learned:
    """What was learned, and what it came to on prompts unseen.

    Attributes
    ----------
    needed
        (n_prompts,), the router's chance that the slow guard is needed, out of fold.
    figures
        By name, of prompts out of fold: accuracy and F1 of both guards and of their mixtures at
        the share of slow calls that `epsilon` comes to.
    """

    models: GuardModels
    needed: FloatArray
    epsilon: float
    figures: Mapping[str, float]


def learn(
    x: FloatMatrix,
    harmful: NDArray[np.bool_],
    slow: NDArray[np.bool_],
    folds: NDArray[np.intp],
    *,
    slow_share: float | None = None,
) -> Learned:
    """Fit a fast guard, and a router that tells where the slow one would put it right.

    Parameters
    ----------
    harmful
        What is right.
    slow
        What the slow guard said.
    folds
        Which part of a cross-fit each prompt belongs to; equal prompts share one.
    slow_share
        What share of requests the slow guard may be asked about; None for wherever it is more
        probable than not, on balanced classes, that it puts things right.

    Raises
    ------
    DataError
        If there are too few prompts of a kind to learn from.

    References
    ----------
    Lee et al. 2025, SafeRoute, arXiv:2502.12464.
    """
    least = min(harmful.sum(), (~harmful).sum())
    if least < _FEWEST:
        raise DataError(
            f"a guard learns from {_FEWEST} prompts at least that are harmful, and as many that "
            f"are not; here are {harmful.sum()} and {(~harmful).sum()}"
        )
    rows = x.astype(np.float64)
    # What the fast guard gets wrong is only told by one that has not seen the prompt.
    logit = np.zeros(len(rows))
    for fold in np.unique(folds):
        train, test = folds != fold, folds == fold
        logit[test] = _regress(rows[train], harmful[train]).logit(rows[test])
    fast = logit >= 0
    fixed = (slow == harmful) & (fast != harmful)
    if fixed.sum() < _FEWEST_FIXED:
        raise DataError(
            f"the slow guard puts right {fixed.sum()} of {len(rows)} prompts, too few to learn "
            f"from ({_FEWEST_FIXED} at least); is it worth asking?"
        )
    features, needed = seen(rows, logit), np.zeros(len(rows))
    for fold in np.unique(folds):
        train, test = folds != fold, folds == fold
        needed[test] = sigmoid(_regress(features[train], fixed[train]).logit(features[test]))
    epsilon = 0.5 if slow_share is None else float(np.quantile(needed, 1 - slow_share))
    return Learned(
        models=GuardModels(fast=_regress(rows, harmful), router=_regress(features, fixed)),
        needed=needed,
        epsilon=min(max(epsilon, 0.0), 1.0),
        figures=_figures(harmful, slow, logit, asked=needed > epsilon),
    )


def _figures(
    harmful: NDArray[np.bool_],
    slow: NDArray[np.bool_],
    logit: FloatArray,
    *,
    asked: NDArray[np.bool_],
) -> dict[str, float]:
    """Compare what decides when to ask the slow guard, all at the same share of calls."""
    fast = logit >= 0
    n_asked = int(asked.sum())
    uncertain = np.zeros(len(asked), bool)
    uncertain[np.argsort(np.abs(logit), kind="stable")[:n_asked]] = True
    fixed = (slow == harmful) & (fast != harmful)
    share = n_asked / len(asked)
    right = {"fast": fast == harmful, "slow": slow == harmful}
    figures = {name: float(each.mean()) for name, each in right.items()}
    figures["random"] = share * figures["slow"] + (1 - share) * figures["fast"]
    for name, chosen in (("entropy", uncertain), ("router", asked)):
        said = np.where(chosen, slow, fast)
        figures[name] = float((said == harmful).mean())
        figures[f"{name}_f1"] = _f1(said, harmful)
        figures[f"{name}_routing_f1"] = _f1(chosen, fixed)
    figures |= {"fast_f1": _f1(fast, harmful), "slow_f1": _f1(slow, harmful)}
    return {**figures, "slow_share": share, "needed": float(fixed.mean())}


def _f1(said: NDArray[np.bool_], right: NDArray[np.bool_]) -> float:
    hits = int((said & right).sum())
    return 0.0 if hits == 0 else 2 * hits / (int(said.sum()) + int(right.sum()))


def _regress(x: FloatArray, y: NDArray[np.bool_]) -> Linear:
    """Regress the log-odds of a class, both classes weighing the same."""
    from sklearn.linear_model import LogisticRegression  # noqa: PLC0415  (it is for training)

    if y.all() or not y.any():
        raise DataError("a part of the prompts is all of one kind; give more of them")
    centre, spread = x.mean(axis=0), x.std(axis=0)
    scale = np.where(spread > 1e-8, spread, 1.0)
    fitted = LogisticRegression(C=_STRENGTH, class_weight="balanced", max_iter=500)
    fitted.fit((x - centre) / scale, y)
    weights = fitted.coef_[0] / scale
    return Linear(weights=weights, bias=float(fitted.intercept_[0] - centre @ weights))
