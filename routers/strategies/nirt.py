"""Item response theory with a small network in place of the product: NIRT."""

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import numpy as np
from pydantic import Field

from routers.base import ROUTERS, Newcomer
from routers.estimators.adam import Adam, Parameters, descend
from routers.estimators.item_response import spread_of
from routers.numeric import nan_mean, row_blocks, sigmoid
from routers.options import State, take
from routers.strategies._ranking import Lesson, RankingRouter, as_vector
from routers.strategies._told import Told
from routers.types import FloatMatrix, FloatVector

_NAMES = ("demand", "demand_bias", "hidden", "hidden_bias", "out", "bias", "ability")
_PLACING_STEPS, _PLACING_RATE = 300, 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """The scorer: log-odds that rise with every ability of a model.

    Attributes
    ----------
    weights
        By the names of `_NAMES`; see `loss_gradients`.
    told
        What descriptions tell of abilities.
    """

    weights: Parameters
    told: Told

    def scores(self, z: FloatMatrix) -> FloatMatrix:
        """Return float32 (n, n_models)."""
        ability = self.weights["ability"]
        out = np.empty((len(z), len(ability)), np.float32)
        width = ability.size + len(ability) * len(self.weights["hidden_bias"])
        for block in row_blocks(len(z), width):
            out[block] = forward(self.weights, z[block])["logit"]
        return out

    def state(self) -> dict[str, np.ndarray]:
        """Return the arrays to store."""
        return {**self.weights, **self.told.state()}


@ROUTERS.register("nirt")
@dataclass(kw_only=True)
class NirtRouter(RankingRouter):
    """Predict a good answer by a network that no ability of a model can lower.

    A query has a difficulty, a relevance (summing to 1) and one discrimination over the abilities.
    What goes in is discrimination x relevance x (ability - difficulty); weights after that are
    positive.

    Parameters
    ----------
    n_abilities
        As published.
    n_hidden
        Width of the one hidden layer.
    n_steps, batch_size, learning_rate, penalty
        Of Adam on the cross-entropy; the penalty holds abilities together.

    Notes
    -----
    Published relevances are learned from clusters of the queries; here they are learned with all
    else, from features that hold the likely domains.

    References
    ----------
    Song et al. 2025, IRT-Router, arXiv:2506.01048; Wang et al. 2020, Neural cognitive diagnosis,
    arXiv:1908.08733.
    """

    kind: ClassVar[str] = "nirt"
    reads_descriptions: ClassVar[bool] = True

    n_abilities: Annotated[int, Field(ge=1, le=256)] = 25
    n_hidden: Annotated[int, Field(ge=1, le=1024)] = 16
    n_steps: Annotated[int, Field(ge=1)] = 500
    batch_size: Annotated[int, Field(ge=1)] = 128
    learning_rate: Annotated[float, Field(gt=0)] = 0.01
    penalty: Annotated[float, Field(ge=0)] = 1e-3

    def _learn(self, lesson: Lesson, *, rng: np.random.Generator) -> Network:
        z, quality = lesson.z, lesson.labels.quality
        known = ~np.isnan(quality)
        target = np.where(known, quality, 0).astype(np.float32)
        parameters = self._start(z.shape[1], quality, rng)

        def gradients(now: Parameters, rows: np.ndarray) -> Parameters:
            found = loss_gradients(now, z[rows], target[rows], known[rows])[1]
            found["ability"] += np.float32(self.penalty) * now["ability"]
            return found

        descend(
            parameters,
            gradients,
            n_rows=len(z),
            batch_size=self.batch_size,
            n_steps=self.n_steps,
            rate=self.learning_rate,
            adam=Adam(),
            rng=rng,
        )
        told = Told.learn(lesson.labels.descriptions, parameters["ability"])
        return Network(weights=parameters, told=told)

    def _start(self, n_axes: int, quality: FloatMatrix, rng: np.random.Generator) -> Parameters:
        k, h = self.n_abilities, self.n_hidden
        chance = np.clip(nan_mean(quality, default=0.5), 1e-2, 1 - 1e-2)
        general = np.log(chance / (1 - chance))
        parameters = {
            # Of difficulty, relevance and discrimination, in turn.
            "demand": 0.1 * rng.standard_normal((n_axes, 2 * k + 1)) / np.sqrt(n_axes),
            "demand_bias": np.zeros(2 * k + 1),
            "hidden": 0.5 * rng.standard_normal((k, h)),
            "hidden_bias": 0.5 * rng.standard_normal(h),
            "out": np.zeros(h),
            "bias": np.array([float(general.mean())]),
            "ability": (general - general.mean())[:, None] + 0.1 * rng.standard_normal((1, k)),
        }
        return {name: each.astype(np.float32) for name, each in parameters.items()}

    def _scorer(self, state: State, n_models: int) -> Network:
        ndim = {"demand": 2, "hidden": 2, "ability": 2}
        weights = {name: take(state, name, ndim=ndim.get(name, 1)) for name in _NAMES}
        k, h = weights["hidden"].shape
        shapes = {
            "demand": (len(weights["demand"]), 2 * k + 1),
            "demand_bias": (2 * k + 1,),
            "hidden_bias": (h,),
            "out": (h,),
            "bias": (1,),
            "ability": (n_models, k),
        }
        if any(weights[name].shape != shape for name, shape in shapes.items()):
            raise ValueError("the weights of a neural item response model do not fit together")
        return Network(weights=weights, told=Told.restore(state))

    def _place(self, z: FloatMatrix, newcomer: Newcomer) -> dict[str, np.ndarray]:
        scorer: Network = self.scorer_
        known = scorer.weights["ability"]
        mean, covariance = spread_of(known)
        mean = scorer.told.mean(newcomer.description, default=mean)
        ability = mean.astype(np.float32)[None].copy()
        precision = np.linalg.inv(covariance)
        target = np.asarray(newcomer.quality, np.float32)[:, None]
        there = np.ones(target.shape, bool)
        adam, own = Adam(), {"ability": ability}
        for _ in range(_PLACING_STEPS if len(z) else 0):
            now = {**scorer.weights, "ability": own["ability"]}
            gradient = len(z) * loss_gradients(now, z, target, there)[1]["ability"]
            gradient += (precision @ (own["ability"][0] - mean)).astype(np.float32)
            adam.step(own, {"ability": gradient}, _PLACING_RATE)
        return {"ability": own["ability"][0]}

    def _scores_of(self, placed: State, z: FloatMatrix) -> FloatVector:
        scorer: Network = self.scorer_
        ability = as_vector(placed, "ability", scorer.weights["ability"].shape[1])
        now = {**scorer.weights, "ability": ability[None].astype(np.float32)}
        return np.asarray(forward(now, z)["logit"][:, 0], np.float32)

    def notes(self) -> dict[str, Any]:
        """Say whether descriptions were learned from."""
        return {**super().notes(), "descriptions": self.scorer_.told.known}


def forward(now: Parameters, z: FloatMatrix) -> dict[str, np.ndarray]:
    """Return the log-odds of every model, and what their gradients need.

    Positive weights are the softplus of what is learned; abilities and difficulties go through a
    sigmoid, so that they compare.
    """
    k = now["hidden"].shape[0]
    dtype = now["demand"].dtype
    raw = z @ now["demand"] + now["demand_bias"]
    difficulty = sigmoid(raw[:, :k]).astype(dtype)
    relevance = np.exp(raw[:, k : 2 * k] - raw[:, k : 2 * k].max(axis=1, keepdims=True))
    relevance /= relevance.sum(axis=1, keepdims=True)
    discrimination = _MOST * sigmoid(raw[:, 2 * k :]).astype(dtype)
    ability = sigmoid(now["ability"]).astype(dtype)
    apart = ability[None] - difficulty[:, None]
    weight = discrimination * relevance
    given = weight[:, None] * apart  # (n, n_models, k)
    first, last = np.logaddexp(0, now["hidden"]), np.logaddexp(0, now["out"])
    active = np.tanh(given @ first + now["hidden_bias"])
    return {
        "difficulty": difficulty,
        "relevance": relevance,
        "discrimination": discrimination,
        "ability": ability,
        "apart": apart,
        "weight": weight,
        "given": given,
        "first": first,
        "last": last,
        "active": active,
        "logit": active @ last + now["bias"],
    }


_MOST = np.float32(10.0)


def loss_gradients(
    now: Parameters, z: FloatMatrix, target: FloatMatrix, known: np.ndarray
) -> tuple[float, Parameters]:
    """Return the mean cross-entropy over known outcomes, and its gradients."""
    f = forward(now, z)
    logit, dtype = f["logit"], now["demand"].dtype
    share = dtype.type(1 / max(int(known.sum()), 1))
    loss = (np.logaddexp(0, logit) - target * logit)[known].sum() * share
    miss = (np.where(known, sigmoid(logit) - target, 0) * share).astype(dtype)
    to_active = miss[..., None] * f["last"] * (1 - f["active"] ** 2)
    to_given = to_active @ f["first"].T
    to_apart = to_given * f["weight"][:, None]
    to_weight = (to_given * f["apart"]).sum(axis=1)
    difficulty, relevance = f["difficulty"], f["relevance"]
    to_relevance = to_weight * f["discrimination"]
    to_relevance = relevance * (
        to_relevance - (to_relevance * relevance).sum(axis=1, keepdims=True)
    )
    level = f["discrimination"] / _MOST
    to_level = (to_weight * relevance).sum(axis=1, keepdims=True) * _MOST * level * (1 - level)
    to_difficulty = -to_apart.sum(axis=1) * difficulty * (1 - difficulty)
    to_raw = np.concatenate([to_difficulty, to_relevance, to_level], axis=1).astype(dtype)
    flat = to_active.reshape(-1, to_active.shape[-1])
    ability = f["ability"]
    return float(loss), {
        "demand": z.T @ to_raw,
        "demand_bias": to_raw.sum(axis=0),
        "hidden": (f["given"].reshape(len(flat), -1).T @ flat) * sigmoid(now["hidden"]),
        "hidden_bias": flat.sum(axis=0),
        "out": (miss[..., None] * f["active"]).sum(axis=(0, 1)) * sigmoid(now["out"]),
        "bias": np.asarray([miss.sum()], dtype),
        "ability": to_apart.sum(axis=0) * ability * (1 - ability),
    }
