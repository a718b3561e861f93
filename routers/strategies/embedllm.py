"""A vector per model, learned by predicting which queries it answers well."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field

from routers.base import ROUTERS, Newcomer
from routers.errors import DataError
from routers.estimators.adam import Adam, Parameters, descend
from routers.estimators.item_response import posterior_mode, spread_of
from routers.numeric import nan_mean, sigmoid
from routers.options import State, take
from routers.strategies._ranking import Lesson, RankingRouter, as_vector
from routers.types import FloatMatrix, FloatVector


@dataclass(frozen=True, slots=True, kw_only=True)
class Vectors:
    """The scorer: log-odds of a good answer, a projected query times a vector per model.

    Attributes
    ----------
    project, shift
        (n_axes, dim) and (dim,).
    vectors
        (n_models, dim).
    bias
        (n_models,).
    """

    project: FloatMatrix
    shift: FloatVector
    vectors: FloatMatrix
    bias: FloatVector

    def hidden(self, z: FloatMatrix) -> FloatMatrix:
        """Return the projected queries, (n, dim)."""
        return np.asarray(z.dot(self.project) + self.shift, np.float32)

    def scores(self, z: FloatMatrix) -> FloatMatrix:
        """Return the log-odds of every model, (n, n_models)."""
        return np.asarray(self.hidden(z).dot(self.vectors.T) + self.bias, np.float32)

    def state(self) -> dict[str, np.ndarray]:
        """Return the arrays to store."""
        return {
            "project": self.project,
            "shift": self.shift,
            "vectors": self.vectors,
            "bias": self.bias,
        }


@ROUTERS.register("embedllm")
@dataclass(kw_only=True)
class EmbedLlmRouter(RankingRouter):
    """Learn a vector per model, and predict a good answer by its product with the query's.

    log-odds = v_m . (W z + c) + b_m: the published two-class layer on the element-wise product,
    with its weights folded into the vectors. Outcomes may be missing anywhere.

    Parameters
    ----------
    dim
        Length of the vectors.
    noise
        Standard deviation of what is added to the features in every step, where the first axis has
        one of 1.
    n_steps, batch_size, learning_rate, weight_decay
        Of Adam on the cross-entropy.

    References
    ----------
    Zhuang et al. 2024, EmbedLLM: learning compact representations of large language models,
    arXiv:2410.02223.
    """

    kind: ClassVar[str] = "embedllm"

    dim: Annotated[int, Field(ge=1, le=4096)] = 32
    noise: Annotated[float, Field(ge=0)] = 0.3
    weight_decay: Annotated[float, Field(ge=0)] = 1.0
    n_steps: Annotated[int, Field(ge=1)] = 600
    batch_size: Annotated[int, Field(ge=1)] = 256
    learning_rate: Annotated[float, Field(gt=0)] = 3e-3

    def _learn(self, lesson: Lesson, *, rng: np.random.Generator) -> Vectors:
        z, labels = lesson.z, lesson.labels
        known = ~np.isnan(labels.quality)
        target = np.where(known, labels.quality, 0).astype(np.float32)
        n_axes, n_models = z.shape[1], target.shape[1]
        chance = np.clip(nan_mean(labels.quality, default=0.5), 1e-3, 1 - 1e-3)
        parameters: Parameters = {
            "project": (rng.standard_normal((n_axes, self.dim)) / np.sqrt(n_axes)),
            "shift": np.zeros(self.dim),
            "vectors": 0.1 * rng.standard_normal((n_models, self.dim)) / np.sqrt(self.dim),
            "bias": np.log(chance / (1 - chance)),
        }
        parameters = {name: each.astype(np.float32) for name, each in parameters.items()}

        def gradients(now: Parameters, rows: np.ndarray) -> Parameters:
            batch = z[rows]
            if self.noise:
                batch = batch + self.noise * rng.standard_normal(batch.shape, dtype=np.float32)
            return loss_gradients(now, batch, target[rows], known[rows])[1]

        descend(
            parameters,
            gradients,
            n_rows=len(z),
            batch_size=self.batch_size,
            n_steps=self.n_steps,
            rate=self.learning_rate,
            adam=Adam(decay=self.weight_decay, decayed=("project", "vectors")),
            rng=rng,
        )
        return Vectors(**parameters)

    def _scorer(self, state: State, n_models: int) -> Vectors:
        project, vectors = take(state, "project", ndim=2), take(state, "vectors", ndim=2)
        shift = as_vector(state, "shift", vectors.shape[1])
        bias = as_vector(state, "bias", n_models)
        if project.shape[1] != len(shift) or len(vectors) != n_models:
            raise ValueError("the vectors of models and queries do not fit together")
        return Vectors(project=project, shift=shift, vectors=vectors, bias=bias)

    def _place(self, z: FloatMatrix, newcomer: Newcomer) -> dict[str, np.ndarray]:
        if not len(z):
            raise DataError("a model is a vector that its outcomes tell: give some of them")
        scorer: Vectors = self.scorer_
        # The bias is one more entry of the vector.
        known = np.column_stack([scorer.vectors, scorer.bias])
        hidden = scorer.hidden(z)
        design = np.column_stack([hidden, np.ones(len(hidden))]).astype(np.float64)
        vector = posterior_mode(design, newcomer.quality, *spread_of(known))
        return {"vector": vector.astype(np.float32)}

    def _scores_of(self, placed: State, z: FloatMatrix) -> FloatVector:
        scorer: Vectors = self.scorer_
        vector = as_vector(placed, "vector", len(scorer.shift) + 1)
        return np.asarray(scorer.hidden(z).dot(vector[:-1]) + vector[-1], np.float32)


def loss_gradients(
    now: Parameters, z: FloatMatrix, target: FloatMatrix, known: np.ndarray
) -> tuple[float, Parameters]:
    """Return the mean cross-entropy over known outcomes, and its gradients."""
    hidden = z @ now["project"] + now["shift"]
    logit = hidden @ now["vectors"].T + now["bias"]
    share = np.float32(1 / max(int(known.sum()), 1))
    loss = (np.logaddexp(0, logit) - target * logit)[known].sum() * share
    miss = np.where(known, (sigmoid(logit) - target) * share, 0).astype(z.dtype)
    back = miss @ now["vectors"]
    return float(loss), {
        "project": z.T @ back,
        "shift": back.sum(axis=0),
        "vectors": miss.T @ hidden,
        "bias": miss.sum(axis=0),
    }
