"""A model that joined an artifact by the rule of its own router."""

from dataclasses import dataclass
from typing import Self

import numpy as np

from routers.artifact.onboarded_model import OnboardedModel, bounded_logit
from routers.base import Router
from routers.estimators.answer_lengths import typical_log_length
from routers.numeric import FloatArray, sigmoid
from routers.options import State, prefixed, take, under
from routers.types import FloatMatrix, FloatVector, Predictions

_OWN = "own."
_RIDGE = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class PlacedModel:
    """Everything needed to predict one further model with the router that it joined.

    Attributes
    ----------
    model
        Its name, as a column of the artifact.
    router
        What was trained; it did not change.
    placed
        What the router's `place` returned.
    from_base
        (n_base + 1,): log-odds of its predicted quality as a line over those of the trained
        models, the constant last. The rows that calibrate the knob keep no features.
    log_token_ratio
        Logarithm of its output length over the geometric mean of the others', likewise.
    """

    model: str
    router: Router
    placed: State
    from_base: FloatArray
    log_token_ratio: float

    @classmethod
    def of(cls, model: str, router: Router, placed: State, *, queries: FloatMatrix) -> Self:
        """Learn on some queries how its predictions follow from those of the trained models.

        Parameters
        ----------
        queries
            float32 (n, n_features), whichever are at hand.
        """
        base, own = router.predict(queries), router.predict_placed(placed, queries)
        odds, target = bounded_logit(base.quality), bounded_logit(own.quality)[:, 0]
        center = odds.mean(axis=0)
        apart = odds - center
        normal = apart.T @ apart + _RIDGE * np.eye(apart.shape[1])
        slopes = np.linalg.solve(normal, apart.T @ (target - target.mean()))
        longer = np.log1p(own.output_tokens[:, 0]) - typical_log_length(base.output_tokens)
        return cls(
            model=model,
            router=router,
            placed=placed,
            from_base=np.append(slopes, target.mean() - center @ slopes),
            log_token_ratio=float(longer.mean()),
        )

    def predict(self, x: FloatMatrix, base: Predictions) -> Predictions:
        """Predict the model: one column."""
        del base  # the router tells by itself
        return self.router.predict_placed(self.placed, x)

    def predict_from_base(
        self, quality: FloatMatrix, output_tokens: FloatMatrix
    ) -> tuple[FloatVector, FloatVector]:
        """Predict quality and output tokens where only those of the trained models are at hand."""
        mean = sigmoid(bounded_logit(quality) @ self.from_base[:-1] + self.from_base[-1])
        length = typical_log_length(output_tokens) + self.log_token_ratio
        tokens = np.expm1(np.maximum(length, 0))
        return mean.astype(np.float32), tokens.astype(np.float32)

    def state(self) -> dict[str, np.ndarray]:
        """Return plain arrays."""
        return {
            **prefixed(_OWN, self.placed),
            "from_base": self.from_base,
            "log_token_ratio": np.asarray([self.log_token_ratio]),
        }

    @staticmethod
    def wrote(state: State) -> bool:
        """Return whether a state is of this class."""
        return "from_base" in state

    @classmethod
    def restore(cls, model: str, state: State, router: Router) -> Self:
        """Read what `state` returned.

        Raises
        ------
        KeyError, ValueError
            If an array is missing or has the wrong shape.
        """
        from_base = take(state, "from_base", ndim=1)
        ratio = take(state, "log_token_ratio", ndim=1)
        if len(from_base) != len(router.models_) + 1 or len(ratio) != 1:
            raise ValueError(f"the arrays of the onboarded model {model!r} do not fit together")
        return cls(
            model=model,
            router=router,
            placed=under(_OWN, state),
            from_base=from_base,
            log_token_ratio=float(ratio[0]),
        )


Onboarded = OnboardedModel | PlacedModel
"""A model that joined after training, by either rule."""
