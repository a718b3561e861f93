"""The head seam: features in, one number per model out, with its uncertainty."""

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar, Self

import numpy as np
from pydantic import BaseModel, ConfigDict

from routers.errors import DataError
from routers.options import State, build
from routers.registry import Registry
from routers.types import FloatMatrix


class Head(ABC):
    """Multi-output regression from features to one value per model.

    The fields of a head are its hyper-parameters. What `fit` learns is kept as plain arrays, and
    `predict` reads nothing else: a head that was loaded needs numpy alone.
    """

    kind: ClassVar[str]

    shares_between_models: ClassVar[bool] = False
    """Whether outcomes of other models on other queries help: then `narrow` is there too."""

    def narrow(self, n_models: int) -> None:
        """Forget all but the first `n_models` models, after learning with further ones.

        Raises
        ------
        NotImplementedError
            If the head learns every model by itself.
        """
        raise NotImplementedError(f"a {self.kind} head shares nothing between models")

    @property
    def learns_residuals(self) -> bool:
        """Whether it can start from an expectation that somebody else has."""
        return False

    def fit(
        self,
        x: FloatMatrix,
        y: FloatMatrix,
        *,
        rng: np.random.Generator,
        start: FloatMatrix | None = None,
    ) -> Self:
        """Learn from labelled queries.

        Parameters
        ----------
        x
            (n_queries, n_features), finite.
        y
            (n_queries, n_models); NaN where a model was not tried.
        start
            What is expected of each value already, shaped like `y`: the head learns what differs.
            It then has to be given to `predict` as well. Only for heads that learn residuals.

        Raises
        ------
        DataError
            If there are no rows, or a model has no known value at all.
        """
        if len(x) == 0 or len(x) != len(y):
            raise DataError(
                f"a head needs equally many features and labels, got {len(x)}, {len(y)}"
            )
        if np.isnan(y).all(axis=0).any():
            raise DataError("a model without a single known outcome cannot be learned")
        x, y = np.asarray(x, np.float32), np.asarray(y, np.float32)
        if start is None:
            self._fit(x, y, rng=rng)
        else:
            self._fit_residual(x, y, np.asarray(start, np.float32), rng=rng)
        return self

    def _fit_residual(
        self, x: FloatMatrix, y: FloatMatrix, start: FloatMatrix, *, rng: np.random.Generator
    ) -> None:
        raise NotImplementedError(f"a {self.kind} head does not learn residuals")

    def predict_residual(
        self, x: FloatMatrix, start: FloatMatrix
    ) -> tuple[FloatMatrix, FloatMatrix]:
        """Return what `predict` does, for a head that was fitted with a `start`."""
        raise NotImplementedError(f"a {self.kind} head does not learn residuals")

    def check_options(self) -> None:  # noqa: B027  (most have options that stand alone)
        """Refuse options that do not fit together.

        Raises
        ------
        RoutingConfigError
            If so.
        """

    @abstractmethod
    def _fit(self, x: FloatMatrix, y: FloatMatrix, *, rng: np.random.Generator) -> None: ...

    @abstractmethod
    def predict(self, x: FloatMatrix) -> tuple[FloatMatrix, FloatMatrix]:
        """Return the expected value and the standard deviation of that expectation.

        Both are finite float32 (n_queries, n_models). The deviation says how far the expectation
        itself may be off, not how much single outcomes scatter.

        Raises
        ------
        NotFittedError
            If called before `fit`.
        """

    def predict_mean(self, x: FloatMatrix) -> FloatMatrix:
        """Return the first half of `predict`, for callers that need no uncertainty."""
        return self.predict(x)[0]

    def means_beside(self, other: "Head") -> Callable[[FloatMatrix], FloatMatrix]:
        """Return a function from features to the means of this head, then those of `other`.

        To be called once both are fitted. A head that can joins its weights with those of another
        of its kind: one pass over the features then serves both.
        """
        return lambda x: np.concatenate([self.predict_mean(x), other.predict_mean(x)], axis=1)

    @abstractmethod
    def state(self) -> dict[str, np.ndarray]:
        """Return everything that was learned as named arrays.

        Raises
        ------
        NotFittedError
            If called before `fit`.
        """

    @abstractmethod
    def restore(self, state: State) -> Self:
        """Take over what `state` returned; predictions are then the same to the last bit.

        Raises
        ------
        KeyError, ValueError
            If an array is missing or has the wrong shape.
        """


HEADS: Registry[Head] = Registry("routers.heads", noun="head", group="steelyard.heads", base=Head)


class HeadConfig(BaseModel):
    """Which head to use, and its options."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: str
    options: dict[str, Any] = {}

    def build(self) -> Head:
        """Make the unfitted head.

        Raises
        ------
        RoutingConfigError
            If the kind or an option does not exist, or a value does not fit.
        """
        return build(HEADS.get(self.kind), self.options, noun=f"head {self.kind!r}")


def check_heads(owner: Any) -> None:
    """Make every head that the fields of a strategy or a head name, and theirs in turn.

    Heads are made as `fit` gets to them: without this a wrong option shows after long work.

    Raises
    ------
    RoutingConfigError
        If a kind or an option does not exist, or does not fit.
    """
    for field in dataclasses.fields(owner):
        value = getattr(owner, field.name)
        for config in value if isinstance(value, tuple) else (value,):
            if isinstance(config, HeadConfig):
                head = config.build()
                head.check_options()
                check_heads(head)
