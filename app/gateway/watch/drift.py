"""Some of today's prompts, held against those that the router was trained on."""

from collections import deque
from dataclasses import dataclass, field
from enum import StrEnum

from routers.artifact.artifact import RouterArtifact
from routers.types import FloatMatrix

_MAX_HELD = 512
"""Prompts waiting to be looked at; the oldest make room for further ones."""


class Level(StrEnum):
    """How familiar a prompt is."""

    FAMILIAR = "familiar"
    """As 95 % of the training data are."""
    UNCERTAIN = "uncertain"
    UNFAMILIAR = "unfamiliar"
    """Hardly anything is believed of the predictions."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Distance:
    """How far one prompt is from the training data."""

    policy: str
    distance: float
    level: Level


@dataclass(slots=True)
class DriftSamples:
    """Holds the features of sampled prompts until somebody has the time to look at them."""

    _held: deque[tuple[str, RouterArtifact, FloatMatrix]] = field(
        default_factory=lambda: deque(maxlen=_MAX_HELD)
    )

    def hold(self, policy: str, artifact: RouterArtifact, x: FloatMatrix) -> None:
        """Take in the features of one request, (1, n_features)."""
        self._held.append((policy, artifact, x))

    def take(self) -> list[Distance]:
        """Return how far the prompts are that came in since the last time.

        Those of routers without a memory of their training data are left out.
        """
        distances = []
        while self._held:
            policy, artifact, x = self._held.popleft()
            familiarity = artifact.familiarity(x)
            if familiarity is None:
                continue
            level = Level.FAMILIAR
            if familiarity.unlike_all[0]:
                level = Level.UNFAMILIAR
            elif familiarity.unlike_most[0]:
                level = Level.UNCERTAIN
            distances.append(
                Distance(policy=policy, distance=float(familiarity.distance[0]), level=level)
            )
        return distances
