"""How good an answer looks: from what was predicted of its model, and from the answer itself.

References
----------
Chen et al. 2023, FrugalGPT, arXiv:2305.05176, whose scorer is a fine-tuned encoder of query and
answer, one for each model.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from routers.answers.normalise import Comparing, Reading
from routers.answers.signals import hedges, refuses
from routers.decisions import CandidateEstimate
from routers.heads.logistic import LogisticHead
from routers.numeric import FloatArray, sigmoid
from routers.options import State, take
from routers.steps import Answer
from routers.text.token_estimate import estimate_tokens
from routers.types import FloatMatrix
from routers.workflows.base import WorkflowContext

SIGNALS = (
    "predicted_quality",
    "predicted_ease",
    "length",
    "excess_length",
    "excess_length_squared",
    "refuses",
    "hedges",
    "unread",
)
"""Of an answer: the log-odds predicted of its model and on average of all, logarithms of its
length and of that over the predicted one, what its words say, and whether none is a result."""

_SECOND = ("score", "score_before", "agrees", "agrees_with_good")

_LEAST_CHANCE = 0.02
_PENALTY_C = 1.0
_MOST_ROWS = 20_000
"""Of pairs of answers: more of them change nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """What an answer is judged by.

    Attributes
    ----------
    signals
        float (len(SIGNALS),); NaN where something is not known.
    reading
        What it comes down to; None where it says nothing of the kind.
    """

    signals: FloatArray
    reading: Reading | None


def heard(
    answer: Answer,
    candidates: Sequence[CandidateEstimate],
    *,
    compare: Comparing,
) -> Heard:
    """Read an answer to a request."""
    odds = {each.model_id: _log_odds(each.quality) for each in candidates}
    known = [each for each in odds.values() if not math.isnan(each)]
    own = next((each for each in candidates if each.model_id == answer.model_id), None)
    expected = None if own is None else own.output_tokens
    reading = compare.read(answer.text, literal=answer.literal)
    signals = _signals(
        odds.get(answer.model_id, math.nan),
        sum(known) / len(known) if known else math.nan,
        tokens=answer.output_tokens,
        expected=expected,
        text=answer.text,
        unread=reading is None,
    )
    return Heard(signals=np.array(signals), reading=reading)


def heard_before(
    context: WorkflowContext, columns: Sequence[int], *, compare: Comparing
) -> tuple[FloatArray, list[list[Reading | None]]]:
    """Read recorded answers: signals (n_queries, n_columns, len(SIGNALS)) and what each says."""
    odds = [[_log_odds(each) for each in row] for row in context.predictions.quality.tolist()]
    ease = [sum(row) / len(row) for row in odds]
    expected = context.predictions.output_tokens
    texts, tokens = context.answers.texts, context.labels.output_tokens
    signals = np.empty((len(odds), len(columns), len(SIGNALS)))
    readings: list[list[Reading | None]] = []
    for row in range(len(odds)):
        readings.append([])
        for at, column in enumerate(columns):
            text = (None if texts is None else texts[row, column]) or ""
            reading = compare.read(text, literal=context.answers.literals[row, column])
            readings[row].append(reading)
            signals[row, at] = _signals(
                odds[row][column],
                ease[row],
                tokens=None if tokens is None else float(tokens[row, column]),
                expected=float(expected[row, column]),
                text=text,
                unread=reading is None,
            )
    return signals, readings


def agreement(readings: Sequence[Sequence[Reading | None]], compare: Comparing) -> FloatArray:
    """Return whether answers to the same query agree, 0 or 1, (n_queries, n, n)."""
    n = len(readings[0]) if readings else 0
    same = np.zeros((len(readings), n, n))
    for row, said in enumerate(readings):
        for i in range(n):
            for j in range(i):
                same[row, i, j] = same[row, j, i] = compare.same(said[i], said[j])
    return same


def _signals(
    odds: float,
    ease: float,
    *,
    tokens: float | None,
    expected: float | None,
    text: str,
    unread: bool,
) -> tuple[float, ...]:
    if tokens is None or not math.isfinite(tokens) or tokens <= 0:
        tokens = float(estimate_tokens(text))
    length = math.log1p(tokens)
    excess = math.nan if expected is None else length - math.log1p(expected)
    return (
        odds,
        ease,
        length,
        excess,
        excess * excess,
        float(refuses(text)),
        math.log1p(hedges(text)),
        float(unread),
    )


def _log_odds(chance: float | None) -> float:
    if chance is None or math.isnan(chance):
        return math.nan
    chance = min(max(chance, _LEAST_CHANCE), 1 - _LEAST_CHANCE)
    return math.log(chance / (1 - chance))


# --- the scorer -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerScorer:
    """Logistic regressions of whether an answer is right, one for each model.

    Attributes
    ----------
    first
        (n_models, len(SIGNALS) + 1), the intercept last.
    second
        (n_models, 5): of an answer after another one: from both scores, and whether they agree.
    usual
        (n_models, len(SIGNALS)), what takes the place of an unknown signal.
    """

    first: FloatArray
    second: FloatArray
    usual: FloatArray

    @classmethod
    def fit(
        cls,
        signals: FloatArray,
        same: FloatArray,
        quality: FloatMatrix,
        *,
        rng: np.random.Generator,
    ) -> Self:
        """Learn from answers, all of known quality.

        Parameters
        ----------
        signals, same, quality
            (n_queries, n_models, len(SIGNALS)), (n_queries, n_models, n_models) and
            (n_queries, n_models).
        """
        n, n_models = quality.shape
        usual = _usual(signals)
        filled = np.where(np.isnan(signals), usual, signals)
        first = np.stack(
            [_regressed(filled[:, m], quality[:, m], rng=rng) for m in range(n_models)]
        )
        scorer = cls(first=first, second=np.zeros((n_models, len(_SECOND) + 1)), usual=usual)
        odds = scorer._first_odds(signals)
        for model in range(n_models):
            others = [each for each in range(n_models) if each != model]
            if not others:
                continue
            x = _pair_features(odds[:, [model]], odds[:, others], same[:, others, model])
            y = np.repeat(quality[:, model], len(others))
            kept = rng.permutation(n * len(others))[:_MOST_ROWS]
            scorer.second[model] = _regressed(x.reshape(-1, len(_SECOND))[kept], y[kept], rng=rng)
        return scorer

    def scores(self, signals: FloatArray, same: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return scores by themselves (n, n_models), and after another model's (n, i, j)."""
        odds = self._first_odds(signals)
        x = _pair_features(odds[:, None, :], odds[:, :, None], same)
        second = (x * self.second[:, :-1]).sum(axis=-1) + self.second[:, -1]
        return sigmoid(odds), sigmoid(second)

    def score(self, model: int, signals: FloatArray) -> float:
        """Return how good an answer of a model looks by itself, from 0 to 1."""
        return float(sigmoid(np.asarray(self._odds(model, signals))))

    def score_after(
        self, model: int, signals: FloatArray, before: tuple[int, FloatArray], *, agrees: bool
    ) -> float:
        """Return how good an answer looks after another model's, from 0 to 1."""
        own, other = self._odds(model, signals), self._odds(*before)
        same = float(agrees)
        features = np.array([own, other, same, same * other])
        return float(
            sigmoid(np.asarray(features @ self.second[model, :-1] + self.second[model, -1]))
        )

    def _odds(self, model: int, signals: FloatArray) -> float:
        known = np.where(np.isnan(signals), self.usual[model], signals)
        return float(known @ self.first[model, :-1] + self.first[model, -1])

    def _first_odds(self, signals: FloatArray) -> FloatArray:
        filled = np.where(np.isnan(signals), self.usual, signals)
        return np.asarray((filled * self.first[:, :-1]).sum(axis=-1) + self.first[:, -1])

    def state(self) -> dict[str, np.ndarray]:
        """Return all coefficients."""
        return {"first": self.first, "second": self.second, "usual": self.usual}

    @classmethod
    def restore(cls, state: State, n_models: int) -> Self:
        """Take over coefficients.

        Raises
        ------
        KeyError, ValueError
            If an array is missing or has the wrong shape.
        """
        first, second, usual = (take(state, name, ndim=2) for name in ("first", "second", "usual"))
        shapes = (first.shape, second.shape, usual.shape)
        n = len(SIGNALS)
        if shapes != ((n_models, n + 1), (n_models, len(_SECOND) + 1), (n_models, n)):
            raise ValueError("the arrays of a scorer of answers do not fit together")
        return cls(first=first, second=second, usual=usual)


def cross_scores(
    fit: Callable[[NDArray[np.bool_]], AnswerScorer],
    signals: FloatArray,
    same: FloatArray,
    folds: NDArray[np.intp],
) -> tuple[FloatArray, FloatArray]:
    """Return the scores of answers by scorers that have not learned from their queries.

    Parameters
    ----------
    fit
        Learns from the queries of a mask.
    """
    n, n_models = signals.shape[:2]
    first, second = np.zeros((n, n_models)), np.zeros((n, n_models, n_models))
    for fold in np.unique(folds):
        test = folds == fold
        first[test], second[test] = fit(~test).scores(signals[test], same[test])
    return first, second


def _usual(signals: FloatArray) -> FloatArray:
    known = ~np.isnan(signals)
    total = np.where(known, signals, 0.0).sum(axis=0)
    return np.asarray(total / np.maximum(known.sum(axis=0), 1))


def _pair_features(own: FloatArray, other: FloatArray, same: FloatArray) -> FloatArray:
    own, other, same = np.broadcast_arrays(own, other, same)
    return np.stack([own, other, same, same * other], axis=-1)


def _regressed(x: FloatArray, y: NDArray[np.floating], *, rng: np.random.Generator) -> FloatArray:
    head = LogisticHead(c=_PENALTY_C)
    head.fit(x.astype(np.float32), np.asarray(y, np.float32)[:, None], rng=rng)
    return np.append(head.coef_[:, 0], head.intercept_[0])
