"""What the suite looks at: where a router sends requests, at every position of its knob."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from routers.artifact.artifact import RouterArtifact
from routers.decision.choice import choose_each
from routers.errors import DataError
from routers.evaluation.assess import predicted_costs
from routers.models import ModelSpec, PriceTable
from routers.numeric import FloatArray
from routers.text.token_estimate import estimate_tokens
from routers.types import Conversation

POSITIONS = np.linspace(0.0, 1.0, 41)
"""Of the knob, at which every request is placed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Placements:
    """Where requests went.

    Attributes
    ----------
    models
        Names of the columns.
    quality, cost_usd
        (n_requests, n_models), as predicted; NaN where the router says nothing.
    picks
        (n_positions, n_requests): the column that was chosen; -1 where the request was refused.
    """

    models: tuple[str, ...]
    quality: FloatArray
    cost_usd: FloatArray
    picks: NDArray[np.intp]


class Subject(Protocol):
    """A router under test."""

    @property
    def name(self) -> str:
        """How the report calls it."""
        ...

    def place(self, conversations: Sequence[Conversation]) -> Placements:
        """Decide each request by itself; columns are the same every time."""
        ...


class ArtifactSubject:
    """An artifact by itself, among all of its models or some of them.

    Raises
    ------
    DataError
        If fewer than two models are left.
    RoutingConfigError
        If the artifact does not know one of `models`.
    """

    def __init__(
        self,
        artifact: RouterArtifact,
        *,
        name: str,
        prices: PriceTable | None = None,
        models: Sequence[str] = (),
    ) -> None:
        self.name = name
        self._artifact = artifact
        listed = artifact.prices if prices is None else prices
        self._models = tuple(models) or tuple(m for m in artifact.models if m in listed)
        missing = [model for model in self._models if model not in listed]
        if missing:
            raise DataError(f"no price of {', '.join(missing)}: list it in the file of --prices")
        self._columns = [artifact.column(model) for model in self._models]
        self._prices = {model: listed[model] for model in self._models}
        if len(self._models) < 2:
            raise DataError("nothing can be routed among fewer than two models")
        knob = artifact.knob_curve(
            [
                ModelSpec(
                    model_id=model,
                    predicted_as=model,
                    prices=self._prices[model],
                    context_window_tokens=2**31 - 1,
                )
                for model in self._models
            ]
        )
        self._rates = [knob.usd_per_quality_for(float(t)) for t in POSITIONS]

    def place(self, conversations: Sequence[Conversation]) -> Placements:
        """Decide each request as the gateway would."""
        found = self._artifact.predict_conversations(conversations).columns(self._columns)
        quality = found.quality.astype(np.float64)
        tokens = np.array([estimate_tokens(each) for each in conversations], np.float64)
        cost = predicted_costs(
            tokens, found.output_tokens.astype(np.float64), self._models, self._prices
        )
        picks = choose_each(quality, cost, self._rates, model_ids=self._models)
        return Placements(models=self._models, quality=quality, cost_usd=cost, picks=picks)
