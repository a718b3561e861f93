"""Several heads that vote, and are trusted less where they disagree."""

from dataclasses import dataclass
from typing import Annotated, ClassVar, Self

import numpy as np
from pydantic import Field

from routers.errors import RoutingConfigError
from routers.heads.base import HEADS, Head, HeadConfig
from routers.options import State, require_fitted, under, unfitted
from routers.types import FloatMatrix


@HEADS.register("ensemble")
@dataclass(kw_only=True)
class EnsembleHead(Head):
    """The weighted mean of its members, less `discount` times their disagreement.

    Members make different mistakes far from the training data, so their disagreement is a sign of
    not knowing. With a discount the prediction is a lower confidence bound: models about which
    the members disagree are chosen less.

    Parameters
    ----------
    members
        The heads to average.
    weights
        One for each member; equal ones when empty.
    discount
        How many standard deviations between the members are taken off.

    References
    ----------
    Lakshminarayanan et al. 2017, Simple and scalable predictive uncertainty estimation using deep
    ensembles, arXiv:1612.01474.
    """

    kind: ClassVar[str] = "ensemble"

    members: Annotated[tuple[HeadConfig, ...], Field(min_length=1)] = (
        HeadConfig(kind="mlp"),
        HeadConfig(kind="knn"),
    )
    weights: tuple[Annotated[float, Field(gt=0)], ...] = ()
    discount: Annotated[float, Field(ge=0)] = 0.0
    members_: tuple[Head, ...] = unfitted()

    def _fit(self, x: FloatMatrix, y: FloatMatrix, *, rng: np.random.Generator) -> None:
        self.check_options()
        self.members_ = tuple(config.build().fit(x, y, rng=rng) for config in self.members)

    def check_options(self) -> None:
        """Refuse weights that are not one for each member."""
        if self.weights and len(self.weights) != len(self.members):
            raise RoutingConfigError(
                f"an ensemble of {len(self.members)} members has {len(self.weights)} weights"
            )

    def predict(self, x: FloatMatrix) -> tuple[FloatMatrix, FloatMatrix]:
        """Return the discounted mean, and the members' own uncertainty with their disagreement."""
        require_fitted(self, "members_")
        weights = np.asarray(self.weights or (1.0,) * len(self.members_), np.float32)
        weights /= weights.sum()
        each = [member.predict(x) for member in self.members_]
        means = np.stack([mean for mean, _ in each])
        variances = np.stack([std**2 for _, std in each])
        mean = np.tensordot(weights, means, axes=1)
        between = np.tensordot(weights, (means - mean) ** 2, axes=1)
        std = np.sqrt(np.tensordot(weights, variances, axes=1) + between)
        lower = mean - self.discount * np.sqrt(between)
        return lower.astype(np.float32), std.astype(np.float32)

    def state(self) -> dict[str, np.ndarray]:
        """Return the arrays of every member."""
        require_fitted(self, "members_")
        return {
            f"{i}.{name}": array
            for i, member in enumerate(self.members_)
            for name, array in member.state().items()
        }

    def restore(self, state: State) -> Self:
        """Take over the arrays of every member."""
        self.check_options()
        self.members_ = tuple(
            config.build().restore(under(f"{i}.", state)) for i, config in enumerate(self.members)
        )
        return self
