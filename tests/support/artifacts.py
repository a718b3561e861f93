"""Real artifacts with something in their way, or with outcomes that they never had."""

import dataclasses
from collections.abc import Callable

import numpy as np

from routers.artifact.artifact import RouterArtifact
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


def with_outcomes(original: RouterArtifact, *, seed: int = 0) -> RouterArtifact:
    """Return the artifact as recalibrated on outcomes that are what it predicts them to be."""
    rows = original.calibration
    chance = rows.quality_predicted
    outcomes = np.random.default_rng(seed).random(chance.shape) < chance
    return RouterArtifact(
        manifest={**original.manifest, "recalibrated": {}},
        router=original.router,
        featurizer=original.featurizer,
        calibration=dataclasses.replace(rows, quality_realised=outcomes.astype(np.float32)),
        prices=original.prices,
        knob=original.knob,
        onboarded=original.onboarded,
    )
