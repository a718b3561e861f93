"""The strategy seam: learn from outcomes, predict quality and tokens of every model."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from routers.errors import DataError, NotFittedError, RoutingConfigError
from routers.numeric import FloatArray
from routers.options import State, unfitted
from routers.registry import Registry
from routers.types import FloatMatrix, FloatVector, Predictions

DEFAULT_OUTPUT_TOKENS = 256.0
"""Assumed output length of every model where no outcome tells it."""

DEFAULT_UPPER_FACTOR = 4.0
"""How much longer than assumed an unknown output may be."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparisons:
    """Comparisons of two models on one query; arrays are (n_comparisons,).

    Attributes
    ----------
    row
        Which query.
    a, b
        Columns of the two models.
    outcome
        float32: 1 where a won, 0 where b won, 0.5 for a tie.
    weight
        float32: how much each counts; None where all count alike.
    """

    row: NDArray[np.intp]
    a: NDArray[np.intp]
    b: NDArray[np.intp]
    outcome: FloatVector
    weight: FloatVector | None = None

    def __len__(self) -> int:
        return len(self.row)

    def pick(self, index: np.ndarray) -> "Comparisons":
        """Return some of the comparisons, by number or by mask."""
        return Comparisons(
            row=self.row[index],
            a=self.a[index],
            b=self.b[index],
            outcome=self.outcome[index],
            weight=None if self.weight is None else self.weight[index],
        )

    @property
    def weights(self) -> FloatVector:
        """How much each counts, (n_comparisons,)."""
        return np.ones(len(self), np.float32) if self.weight is None else self.weight

    def of_rows(self, index: Sequence[int] | np.ndarray) -> "Comparisons":
        """Return the comparisons of some queries, numbered by the place of the query in `index`."""
        order = np.argsort(self.row, kind="stable")
        ordered = self.row[order]
        wanted = np.asarray(index, np.intp)
        first, last = (np.searchsorted(ordered, wanted, side) for side in ("left", "right"))
        count = last - first
        row = np.repeat(np.arange(len(wanted)), count)
        within = np.arange(len(row)) - np.repeat(np.cumsum(count) - count, count)
        picked = self.pick(order[np.repeat(first, count) + within])
        return replace(picked, row=row)


@dataclass(frozen=True, slots=True, kw_only=True)
class Labels:
    """What is known of the training queries, apart from their features.

    Attributes
    ----------
    models
        Names of the columns.
    quality
        float32 (n_queries, n_models) in [0, 1]; NaN where a model was not tried.
    output_tokens
        Same shape; NaN where unknown, None where nothing is known at all.
    groups
        A label of each query's origin (benchmark, subset), empty where there is none.
    comparisons
        Comparisons, where the data hold such; of queries without any, strategies that learn from
        comparisons make their own out of `quality`.
    samples
        float32 (n_queries, n_models, n_samples): the single outcomes behind `quality` where
        models answered repeatedly, NaN where there are fewer.
    mean_cost_usd
        (n_models,), what an answer of each cost on average: tells who is dearer, and no more.
    input_tokens
        (n_queries,), None where nobody counted.
    descriptions
        float32 (n_models, n_columns), unit rows: what is written of each model, embedded.
    """

    models: tuple[str, ...]
    quality: FloatMatrix
    output_tokens: FloatMatrix | None = None
    groups: tuple[str, ...] = ()
    comparisons: Comparisons | None = None
    samples: NDArray[np.float32] | None = None
    mean_cost_usd: FloatArray | None = None
    input_tokens: FloatArray | None = None
    descriptions: FloatMatrix | None = None

    def __len__(self) -> int:
        return len(self.quality)

    def rows(self, index: Sequence[int] | np.ndarray) -> "Labels":
        """Return some of the queries, in the order of `index`."""
        tokens = self.output_tokens
        return Labels(
            models=self.models,
            quality=self.quality[index],
            output_tokens=None if tokens is None else tokens[index],
            groups=tuple(self.groups[i] for i in index) if self.groups else (),
            comparisons=None if self.comparisons is None else self.comparisons.of_rows(index),
            samples=None if self.samples is None else self.samples[index],
            mean_cost_usd=self.mean_cost_usd,
            input_tokens=None if self.input_tokens is None else self.input_tokens[index],
            descriptions=self.descriptions,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class AuxiliarySet:
    """Outcomes of other models on other queries, which may inform what models share."""

    x: FloatMatrix
    labels: Labels


@dataclass(frozen=True, slots=True, kw_only=True)
class FitContext:
    """What a strategy may learn from; a strategy reads what it needs.

    Attributes
    ----------
    x
        float32 (n_queries, n_features).
    labels
        Aligned with `x`; of every model some quality is known.
    rng
        The only source of randomness.
    auxiliary
        Other outcome sets; strategies without shared parts ignore them.
    length_column
        Which column of `x` is the logarithm of the prompt's length, if one is; the one thing
        that tells something of queries unlike all training data.
    """

    x: FloatMatrix
    labels: Labels
    rng: np.random.Generator
    auxiliary: Sequence[AuxiliarySet]
    length_column: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Familiarity:
    """How much queries are like those of training.

    Attributes
    ----------
    distance
        (n_queries,), one minus the cosine to the nearest centre of the training queries.
    unlike_most
        (n_queries,), whether a query is farther off than 95 % of the training queries are.
    unlike_all
        (n_queries,), whether it is so far off that hardly anything is believed of predictions.
    """

    distance: FloatVector
    unlike_most: NDArray[np.bool_]
    unlike_all: NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class Newcomer:
    """What is known of a model that joins after training.

    Attributes
    ----------
    x
        float32 (n_queries, n_features), queries that it answered; there may be none.
    quality
        float64 (n_queries,) in [0, 1].
    output_tokens
        float64 (n_queries,), NaN where unknown.
    description
        What is written of it, embedded as those of the training were; None without one.
    """

    x: FloatMatrix
    quality: FloatArray
    output_tokens: FloatArray
    description: FloatVector | None = None


@dataclass(kw_only=True)
class Router(ABC):
    """A routing strategy; its fields are its hyper-parameters.

    A strategy writes `_fit`, `_predict`, `state` and `restore`; what every strategy owes its
    caller is checked here, once. Prices are never learned: a router predicts tokens, whoever
    decides multiplies them by the prices of the day.
    """

    kind: ClassVar[str]
    reads_descriptions: ClassVar[bool] = False
    """Whether what is written of models tells it something."""
    first_block: ClassVar[str | None] = None
    """The feature block that it reads apart from all others, which has to come first."""

    models_: tuple[str, ...] = unfitted()

    def fit(
        self,
        x: FloatMatrix,
        labels: Labels,
        *,
        rng: np.random.Generator,
        auxiliary: Sequence[AuxiliarySet] = (),
        length_column: int | None = None,
    ) -> Self:
        """Learn from labelled queries.

        Parameters
        ----------
        x, labels, rng, auxiliary, length_column
            As in `FitContext`.

        Raises
        ------
        DataError
            If rows do not match, or a model has no known quality.
        """
        if len(x) != len(labels) or len(x) == 0:
            raise DataError(f"{len(x)} rows of features, {len(labels)} rows of outcomes")
        unknown = np.isnan(labels.quality).all(axis=0)
        if unknown.any():
            names = ", ".join(labels.models[i] for i in np.flatnonzero(unknown))
            raise DataError(f"no quality is known for {names}; drop the model or add outcomes")
        self._fit(
            FitContext(
                x=np.asarray(x, np.float32),
                labels=labels,
                rng=rng,
                auxiliary=auxiliary,
                length_column=length_column,
            )
        )
        self.models_ = tuple(labels.models)
        return self

    def predict(self, x: FloatMatrix) -> Predictions:
        """Predict every model of `models_` on every query; columns in that order.

        Raises
        ------
        NotFittedError
            If called before `fit`.
        """
        if self.models_ is None:
            raise NotFittedError(f"{type(self).__name__} has to be fitted before it predicts")
        return self._predict(np.asarray(x, np.float32))

    @abstractmethod
    def _fit(self, context: FitContext) -> None: ...

    @abstractmethod
    def _predict(self, x: FloatMatrix) -> Predictions: ...

    @abstractmethod
    def state(self) -> dict[str, np.ndarray]:
        """Return everything that was learned as named plain arrays."""

    @abstractmethod
    def _restore(self, state: State) -> None: ...

    def restore(self, state: State, models: Sequence[str]) -> Self:
        """Take over what `state` returned; predictions are then the same to the last bit.

        Raises
        ------
        KeyError, ValueError
            If an array is missing or has the wrong shape.
        """
        self._restore(state)
        self.models_ = tuple(models)
        return self

    def place(self, newcomer: Newcomer) -> dict[str, np.ndarray] | None:
        """Return what this strategy's own rule makes of a further model, as plain arrays.

        Nothing that was trained changes. None where a strategy has no rule for that.

        Raises
        ------
        DataError
            If too little is known of the model.
        """
        del newcomer
        return None

    def predict_placed(self, placed: State, x: FloatMatrix) -> Predictions:
        """Predict a further model by what `place` returned: one column.

        Raises
        ------
        KeyError, ValueError
            If an array is missing or has the wrong shape.
        """
        del placed, x
        raise NotImplementedError(f"{self.kind} has no rule for further models")

    @property
    def remembers_queries(self) -> bool:
        """Whether labelled queries can be inserted and forgotten without a fit."""
        return False

    @property
    def grows_while_asked(self) -> bool:
        """Whether queries can be inserted by one thread while others predict."""
        return False

    def insert(self, x: FloatMatrix, labels: Labels) -> None:
        """Take in further labelled queries without a fit, for strategies that remember queries.

        Parameters
        ----------
        x
            float32 (n_queries, n_features).
        labels
            Aligned with `x`, its columns as in `models_`; NaN for what is not known.

        Raises
        ------
        RoutingConfigError
            If the strategy learns by fitting alone.
        """
        del x, labels
        raise self.by_fitting_alone()

    def forget(self, x: FloatMatrix) -> int:
        """Forget every remembered query that is one of `x`; return how many there were.

        Raises
        ------
        DataError
            If none would be left.
        RoutingConfigError
            If the strategy learns by fitting alone.
        """
        del x
        raise self.by_fitting_alone()

    def by_fitting_alone(self) -> RoutingConfigError:
        """Return what is said to who wants to insert or forget queries that are not remembered."""
        return RoutingConfigError(
            f"this {self.kind!r} router remembers no queries: it learns by fitting alone. "
            "guarded-knn does, and carrot with knn heads"
        )

    def familiarity(self, x: FloatMatrix) -> Familiarity | None:
        """Return how much feature rows are like those of training; None where it cannot be told."""
        del x
        return None

    def notes(self) -> dict[str, Any]:
        """Return what a reader of the manifest should know of the fit, as plain values."""
        return {}


ROUTERS: Registry[Router] = Registry(
    "routers.strategies", noun="strategy", group="steelyard.routers", base=Router
)
