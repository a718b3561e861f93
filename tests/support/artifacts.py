"""Routers in trouble: real artifacts with something in their way."""

from collections.abc import Callable

from routers.artifact import RouterArtifact
from routers.types import FloatMatrix, Predictions


class TroubledArtifact(RouterArtifact):
    """A real artifact that meets `trouble`, once it is set, before every prediction."""

    def __init__(self, original: RouterArtifact) -> None:
        self.__dict__.update(original.__dict__)
        self.trouble: Callable[[], object] | None = None

    def predict(self, x: FloatMatrix) -> Predictions:
        """Predict, unless something comes in between."""
        if self.trouble is not None:
            self.trouble()
        return super().predict(x)
