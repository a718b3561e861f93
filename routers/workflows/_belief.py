"""What several answers tell of which of them is right, and what one more would tell.

A query is as hard as one hidden number; given that, models are right or wrong independently. Those
that are right say the same, those that are wrong agree by chance, relatives more than others. The
answers so far then say how probably each literal is right, and how probable it is what a further
model will say. All of it are sums over a few values of the hidden number.

Arrays: B queries, X cases of each, R models, C literals that were given, H = C + 1 hypotheses (one
per literal: it is right; the last: none of them is), K values of the hidden number.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from routers.numeric import FloatArray, sigmoid

_NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(7)
NODES: FloatArray = _NODES
WEIGHTS: FloatArray = _WEIGHTS / _WEIGHTS.sum()
"""The hidden number is standard normal: where it is looked at, and with which weights."""

SLIP = 0.01
"""However easy a query, nobody is surer than that to be right, or wrong."""


def spread(shift: FloatArray, loading: FloatArray) -> FloatArray:
    """Return chances at every value of the hidden number, (..., R, K), of log odds (..., R).

    Averaged over the hidden number they are, nearly, the chances of the log odds.
    """
    widened = shift * np.sqrt(1 + np.pi / 8 * loading**2)
    odds = widened[..., None] + loading[..., None] * NODES
    return np.asarray(SLIP / 2 + (1 - SLIP) * sigmoid(odds))


@dataclass(frozen=True, slots=True)
class Belief:
    """What answers tell, of a batch of queries that have heard as many.

    Attributes
    ----------
    mass
        (B, X, H, K), the joint probability of a hypothesis, the hidden number and what was heard.
    kin
        (B, X, C, R), how strongly a further wrong model is drawn to each literal.
    """

    mass: FloatArray
    kin: FloatArray

    @classmethod
    def before(cls, n_queries: int, n_models: int) -> "Belief":
        """Return what is believed before anything was heard."""
        mass = np.broadcast_to(WEIGHTS, (n_queries, 1, 1, len(WEIGHTS)))
        return cls(mass, np.zeros((n_queries, 1, 0, n_models)))

    @property
    def posterior(self) -> FloatArray:
        """How probably each literal is right, (B, X, C)."""
        by_hypothesis = self.mass.sum(axis=-1)
        return np.asarray(by_hypothesis[..., :-1] / by_hypothesis.sum(axis=-1, keepdims=True))

    def unread(self, chance: FloatArray) -> "Belief":
        """Return what is believed after an answer that says nothing.

        Parameters
        ----------
        chance
            (B, K), of its model to be right.
        """
        return Belief(self.mass * (1 - chance)[:, None, None, :], self.kin)

    def heard(
        self, chance: FloatArray, literal: int, model: int, alike: FloatArray, apart: float
    ) -> "Belief":
        """Return what is believed after an answer.

        Parameters
        ----------
        chance
            (B, K), of its model to be right.
        literal
            Which of those that were given, C for another one.
        alike, apart
            As in `look_ahead`.
        """
        n_literals = self.kin.shape[2]
        wrong = _wrong(self.kin)[..., model]
        mass = self.mass * (1 - chance)[:, None, None, :] / (apart + wrong)[..., None]
        if literal < n_literals:
            mass *= self.kin[:, :, literal, model][..., None, None]
            mass[:, :, literal] = self.mass[:, :, literal] * chance[:, None]
            kin = self.kin.copy()
            kin[:, :, literal] += alike[model]
            return Belief(mass, kin)
        mass *= apart
        right = self.mass[:, :, -1:] * chance[:, None, None, :]
        joined = np.broadcast_to(alike[model], (*self.kin.shape[:2], 1, self.kin.shape[3]))
        return Belief(
            np.concatenate([mass[:, :, :-1], right, mass[:, :, -1:]], axis=2),
            np.concatenate([self.kin, joined], axis=2),
        )


@dataclass(frozen=True, slots=True)
class Prospect:
    """What calling one more model is worth, times the probability of what was heard so far.

    Attributes
    ----------
    call
        (B, X, R, n_rates); minus infinity for a model that may not be called.
    stop
        (B, X, n_rates), of serving what is most probably right.
    certain
        (B, X), the probability of what was heard.
    """

    call: FloatArray
    stop: FloatArray
    certain: FloatArray


def look_ahead(
    belief: Belief,
    chance: FloatArray,
    cost: FloatArray,
    able: NDArray[np.bool_],
    worth: tuple[FloatArray, FloatArray],
    *,
    alike: FloatArray,
    apart: float,
    depth: int,
) -> Prospect:
    """Return what it is worth to call each model, if afterwards all goes as it should.

    Parameters
    ----------
    chance
        (B, R, K), of each model to be right.
    cost
        (B, R), of an answer.
    able
        (B, X, R), whether a model may be called.
    worth
        (n_rates,) each: what a right answer is worth, and what a unit of cost.
    alike
        (R, R), how much more than strangers two models agree when they are wrong (strangers: 1).
    apart
        How readily a wrong answer is one that nobody gave yet: the concentration of a Chinese
        restaurant process.
    depth
        How many calls it looks ahead.
    """
    value, price = worth
    by_hypothesis = belief.mass.sum(axis=-1)
    certain = by_hypothesis.sum(axis=-1)
    stop = by_hypothesis[..., :-1].max(axis=-1, initial=0.0)[..., None] * value
    spent = cost[:, None, :, None] * certain[..., None, None] * price
    if depth <= 1:
        gained = _last(belief, chance, apart)[..., None] * value
    else:
        then, able_then = _each_outcome(belief, chance, able, alike, apart)
        ahead = look_ahead(
            then, chance, cost, able_then, worth, alike=alike, apart=apart, depth=depth - 1
        )
        best = np.maximum(ahead.stop, ahead.call.max(axis=2))
        shape = (*able.shape, -1, len(value))
        gained = best.reshape(shape).sum(axis=3)
    call = np.where(able[..., None], gained - spent, -np.inf)
    return Prospect(call, stop, certain)


def _wrong(kin: FloatArray) -> FloatArray:
    """Return how many wrong answers each hypothesis has heard, as each model would weigh them."""
    everything = kin.sum(axis=2, keepdims=True)
    return np.concatenate([everything - kin, everything], axis=2)


def _last(belief: Belief, chance: FloatArray, apart: float) -> FloatArray:
    """Return the expected largest posterior after one more answer of each model, (B, X, R)."""
    mass, kin = belief.mass, belief.kin
    n, cases, n_hypotheses, n_nodes = mass.shape
    flat = mass.reshape(n, cases * n_hypotheses, n_nodes)
    right = (flat @ chance.transpose(0, 2, 1)).reshape(n, cases, n_hypotheses, -1)
    wrong = (mass.sum(axis=-1)[..., None] - right) / (apart + _wrong(kin))
    before = wrong[:, :, :-1]
    total = right[:, :, -1]
    if n_hypotheses > 1:
        total = np.maximum(total, (before * apart).max(axis=2))
    for literal in range(n_hypotheses - 1):
        each = before * kin[:, :, literal, None]
        each[:, :, literal] = right[:, :, literal]
        total = total + each.max(axis=2)
    return np.asarray(total)


def _each_outcome(
    belief: Belief,
    chance: FloatArray,
    able: NDArray[np.bool_],
    alike: FloatArray,
    apart: float,
) -> tuple[Belief, NDArray[np.bool_]]:
    """Return what would be believed after each answer of each model, as further cases.

    Every model can give each of the C literals or a new one; all cases have room for C + 1.
    """
    mass, kin = belief.mass, belief.kin
    n, cases, n_hypotheses, n_nodes = mass.shape
    n_literals, n_models = n_hypotheses - 1, chance.shape[1]
    weighed = (apart + _wrong(kin)).transpose(0, 1, 3, 2)
    wrong = mass[:, :, None] * (1 - chance)[:, None, :, None, :] / weighed[..., None]
    right = mass[:, :, None] * chance[:, None, :, None, :]
    then = np.zeros((n, cases, n_models, n_hypotheses, n_hypotheses + 1, n_nodes))
    drawn = np.zeros((n, cases, n_models, n_hypotheses, n_hypotheses, n_models))
    drawn[..., :n_literals, :] = kin[:, :, None, None]
    for literal in range(n_literals):
        joins = wrong * kin[:, :, literal, :, None, None]
        then[..., literal, :n_literals, :] = joins[..., :-1, :]
        then[..., literal, literal, :] = right[..., literal, :]
        then[..., literal, -1, :] = joins[..., -1, :]
        drawn[..., literal, literal, :] += alike
    then[..., -1, :n_literals, :] = wrong[..., :-1, :] * apart
    then[..., -1, n_literals, :] = right[..., -1, :]
    then[..., -1, -1, :] = wrong[..., -1, :] * apart
    drawn[..., -1, -1, :] = alike
    others = able[:, :, None] & ~np.eye(n_models, dtype=bool)
    able_then = np.broadcast_to(
        others[:, :, :, None], (n, cases, n_models, n_hypotheses, n_models)
    ).reshape(n, -1, n_models)
    # What follows a call that may not be made is not looked at.
    return (
        Belief(
            then.reshape(n, -1, n_hypotheses + 1, n_nodes),
            drawn.reshape(n, -1, n_hypotheses, n_models),
        ),
        able_then,
    )
