"""Models as vectors that documents move, by contrasts with and without them: RAGRouter."""

# ruff: noqa: RUF009  (unfitted() declares a field)

from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field

from routers.base import ROUTERS, Labels
from routers.estimators.adam import Adam, Parameters, descend
from routers.options import State, take, unfitted
from routers.strategies._contrast import unit
from routers.strategies._document_effect import DocumentEffect
from routers.strategies._document_net import Lessons, loss_gradients, start, vectors_with
from routers.strategies._ranking import Lesson, RankingRouter, as_vector
from routers.text.document_signals import DOCUMENT_SIGNALS
from routers.types import FloatMatrix, FloatVector

N_SIGNALS = len(DOCUMENT_SIGNALS)
_DECIMALS = 4
"""To so many the features of a query are compared, to find it once more with other documents."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MovedVectors:
    """The scorer: the cosine of a query to every model's vector as its documents move it.

    Attributes
    ----------
    project, shift
        (n_axes, dim) and (dim,).
    knowledge, capability
        (n_models, dim) and (n_models, n_heads).
    read
        (n_heads, 1 + n_signals, dim).
    center
        (n_signals,), of requests with documents.
    temperature
        What cosines are divided by.
    """

    project: FloatMatrix
    shift: FloatVector
    knowledge: FloatMatrix
    capability: FloatMatrix
    read: np.ndarray
    center: FloatVector
    temperature: float

    def scores(self, z: FloatMatrix) -> FloatMatrix:
        """Return float32 (n, n_models)."""
        documents = signals(z, self.center)
        query, _ = unit(z[:, N_SIGNALS:].dot(self.project) + self.shift)
        now: Parameters = {
            "knowledge": self.knowledge,
            "capability": self.capability,
            "read": self.read,
        }
        moved = vectors_with(now, documents)
        vectors, _ = unit(moved.reshape(-1, moved.shape[2]))
        cosine = np.einsum("nd,nmd->nm", query, vectors.reshape(moved.shape))
        return np.asarray(cosine / self.temperature, np.float32)

    def state(self) -> dict[str, np.ndarray]:
        """Return the arrays to store."""
        return {
            "project": self.project,
            "shift": self.shift,
            "knowledge": self.knowledge,
            "capability": self.capability,
            "read": self.read,
            "center": self.center,
            "temperature": np.array([self.temperature], np.float64),
        }


@ROUTERS.register("ragrouter")
@dataclass(kw_only=True)
class RagRouter(RankingRouter):
    """Move every model's vector by what it makes of the documents, and draw queries near to it.

    Reads the columns of the block `documents`, which have to come first, apart from all others.
    A model has a vector of what it knows, and weights of what it makes of documents; those that
    came with a query move the former. Rows of one query without and with documents teach both:
    the query is drawn to the vectors, moved or not, of models that answered it well, and away from
    those that did not. What documents are worth to a model whatever is asked, a logistic regression
    tells beside that; how much the nearness counts for beyond it is learned.

    Parameters
    ----------
    dim, n_heads
        Of the common space, and into how many vectors documents are read.
    temperature
        What cosines are divided by; published for the contrast.
    entropy_weight
        Of the cross-entropy beside the contrast, as published.
    n_steps, batch_size, learning_rate, weight_decay
        Of Adam.

    References
    ----------
    Zhang et al. 2025, Query routing for retrieval-augmented language models, arXiv:2505.23052.
    """

    kind: ClassVar[str] = "ragrouter"
    n_kept: ClassVar[int] = N_SIGNALS

    n_axes: Annotated[int, Field(ge=1, le=4096)] = 32
    dim: Annotated[int, Field(ge=1, le=4096)] = 48
    n_heads: Annotated[int, Field(ge=1, le=64)] = 4
    temperature: Annotated[float, Field(gt=0)] = 0.2
    entropy_weight: Annotated[float, Field(ge=0)] = 2.0
    n_steps: Annotated[int, Field(ge=1)] = 300
    batch_size: Annotated[int, Field(ge=2)] = 64
    learning_rate: Annotated[float, Field(gt=0)] = 3e-3
    weight_decay: Annotated[float, Field(ge=0)] = 0.1

    effect_: DocumentEffect = unfitted()
    center_: FloatVector = unfitted()  # (n_signals,), of requests with documents

    def _learn_expected(
        self,
        kept: FloatMatrix,
        labels: Labels,
        expected: FloatMatrix | None,
        *,
        rng: np.random.Generator,
    ) -> FloatMatrix | None:
        given = has_documents(kept)
        self.center_ = np.zeros(N_SIGNALS, np.float32)
        if given.any():
            self.center_ = kept[given].mean(axis=0)
        told = signals(kept, self.center_)
        self.effect_ = DocumentEffect.fit(told, labels.quality, expected)
        return DocumentEffect.out_of_fold(told, labels.quality, expected, rng=rng)

    def _expected(self, kept: FloatMatrix, expected: FloatMatrix | None) -> FloatMatrix | None:
        return self.effect_.quality(signals(kept, self.center_), expected)

    def _learn(self, lesson: Lesson, *, rng: np.random.Generator) -> MovedVectors:
        center = self.center_
        lessons = in_two_settings(lesson.z, np.asarray(lesson.labels.quality, np.float32), center)
        parameters = start(
            lessons.z.shape[1],
            lessons.documents.shape[1],
            lessons.bare.shape[1],
            dim=self.dim,
            n_heads=self.n_heads,
            rng=rng,
        )

        def gradients(now: Parameters, rows: np.ndarray) -> Parameters:
            return loss_gradients(
                now, lessons.rows(rows), temperature=self.temperature, weight=self.entropy_weight
            )[1]

        descend(
            parameters,
            gradients,
            n_rows=len(lessons.z),
            batch_size=self.batch_size,
            n_steps=self.n_steps,
            rate=self.learning_rate,
            adam=Adam(decay=self.weight_decay, decayed=("project", "read")),
            rng=rng,
        )
        return MovedVectors(**parameters, center=center, temperature=self.temperature)

    def state(self) -> dict[str, np.ndarray]:
        """Return the arrays of the scorer, and what documents let expect."""
        return {**super().state(), **self.effect_.state(), "center": self.center_}

    def _restore(self, state: State) -> None:
        super()._restore(state)
        self.effect_ = DocumentEffect.restore(state)
        self.center_ = as_vector(state, "center", N_SIGNALS)
        n_columns = N_SIGNALS + 2 + (self.domains_ is not None)
        if self.effect_.weights.shape != (len(self.error_), n_columns):
            raise ValueError("what documents let expect does not fit the models")

    def _scorer(self, state: State, n_models: int) -> MovedVectors:
        project, knowledge = take(state, "project", ndim=2), take(state, "knowledge", ndim=2)
        capability, read = take(state, "capability", ndim=2), take(state, "read", ndim=3)
        dim = knowledge.shape[1]
        if (
            len(knowledge) != n_models
            or len(capability) != n_models
            or project.shape[1] != dim
            or read.shape != (capability.shape[1], N_SIGNALS + 1, dim)
        ):
            raise ValueError("the vectors of models, queries and documents do not fit together")
        return MovedVectors(
            project=project,
            shift=as_vector(state, "shift", dim),
            knowledge=knowledge,
            capability=capability,
            read=read,
            center=as_vector(state, "center", N_SIGNALS),
            temperature=float(as_vector(state, "temperature", 1)[0]),
        )


def has_documents(z: FloatMatrix) -> np.ndarray:
    """Return which rows are of requests with documents, bool (n,)."""
    return np.asarray(z[:, 0] > 0.5)


def signals(z: FloatMatrix, center: FloatVector) -> FloatMatrix:
    """Return what documents come to, float32 (n, 1 + n_signals): a one and the centred signals."""
    ones = np.ones((len(z), 1), np.float32)
    centred = np.concatenate([ones, z[:, :N_SIGNALS] - center], axis=1)
    return np.asarray(np.where(has_documents(z)[:, None], centred, 0), np.float32)


def in_two_settings(z: FloatMatrix, quality: FloatMatrix, center: FloatVector) -> Lessons:
    """Join the rows of a query without documents to those with some.

    A row with documents becomes a lesson, with the mean outcomes of the same query without any
    where there are such; of a query that never had documents its own row does.
    """
    given = has_documents(z)
    key = np.round(z[:, N_SIGNALS:], _DECIMALS)
    _, number = np.unique(key, axis=0, return_inverse=True)
    number = number.reshape(-1)
    n_queries, n_models = int(number.max(initial=-1)) + 1, quality.shape[1]
    known = ~np.isnan(quality) & ~given[:, None]
    total, count = np.zeros((2, n_queries, n_models))
    np.add.at(total, number, np.where(known, quality, 0))
    np.add.at(count, number, known)
    bare = np.where(count > 0, total / np.maximum(count, 1), np.nan).astype(np.float32)
    with_some = np.zeros(n_queries, bool)
    with_some[number[given]] = True
    rows = np.flatnonzero(given | ~with_some[number])
    return Lessons(
        z=z[rows, N_SIGNALS:],
        documents=signals(z[rows], center),
        bare=bare[number[rows]],
        given=np.where(given[rows, None], quality[rows], np.nan).astype(np.float32),
    )
