"""A model that joined an artifact after training: its estimates, read off the others' predictions.

Nothing is fitted again for it. A query is described by what the trained router predicts of the
models it knows; an onboarded model is a position in that space, found from its answers to some
anchors.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np

from routers.estimators.answer_lengths import typical_log_length
from routers.numeric import FloatArray, sigmoid, unit_rows
from routers.options import State, take
from routers.types import FloatMatrix, FloatVector, Predictions

_FLOOR = 0.02
"""Predictions are held this far from 0 and 1: beyond it their logit says nothing reliable."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OnboardedModel:
    """Everything needed to predict one onboarded model; plain arrays only.

    Attributes
    ----------
    model
        Its name, as a column of the artifact.
    axes, offset
        (n_base, k) and (k,): how the logits of the base predictions become the latent
        description of a query, `logits @ axes + offset`.
    ability, covariance
        (k,) and (k, k): posterior mean and covariance of the model's position on it.
    centers, cluster_quality
        (n_clusters, n_features) unit rows and (n_clusters,): what the model made of the anchors
        of each cluster.
    cluster_share
        In [0, 1], how much the prediction leans on the clusters.
    log_token_ratio, log_token_upper
        Logarithm of its output length over the geometric mean of the others' predicted lengths:
        for the expected length, and for the upper quantile.

    References
    ----------
    Song et al. 2025, IRT-Router, arXiv:2506.01048 (ability and difficulty); Jitkrittum et al.
    2025, UniRoute, arXiv:2502.08773 (cluster errors).
    """

    model: str
    axes: FloatArray
    offset: FloatArray
    ability: FloatArray
    covariance: FloatArray
    centers: FloatMatrix
    cluster_quality: FloatVector
    cluster_share: float
    log_token_ratio: float
    log_token_upper: float

    def predict(self, x: FloatMatrix, base: Predictions) -> Predictions:
        """Predict the onboarded model: one column.

        Parameters
        ----------
        x
            float32 (n_queries, n_features), the rows that `base` was predicted from.
        base
            What the trained router predicts of the models it was trained on.
        """
        quality, std = self._by_ability(base.quality)
        if self.cluster_share > 0:
            seen = self.cluster_quality[nearest(x, self.centers)]
            quality = (1 - self.cluster_share) * quality + self.cluster_share * seen
        length = typical_log_length(base.output_tokens)
        expected = np.expm1(np.maximum(length + self.log_token_ratio, 0))
        upper = np.expm1(np.maximum(length + self.log_token_upper, 0))
        return Predictions(
            quality=_column(np.clip(quality, 0, 1)),
            quality_std=_column(std),
            output_tokens=_column(expected),
            output_tokens_upper=_column(np.maximum(upper, expected)),
        )

    def predict_from_base(
        self, quality: FloatMatrix, output_tokens: FloatMatrix
    ) -> tuple[FloatVector, FloatVector]:
        """Predict quality and output tokens where only base predictions are at hand.

        The rows that calibrate the knob keep no features, so the clusters take no part.
        """
        mean, _ = self._by_ability(quality)
        length = typical_log_length(output_tokens)
        tokens = np.expm1(np.maximum(length + self.log_token_ratio, 0))
        return mean.astype(np.float32), tokens.astype(np.float32)

    def _by_ability(self, base_quality: FloatMatrix) -> tuple[FloatArray, FloatArray]:
        latent = bounded_logit(base_quality) @ self.axes + self.offset
        return chance(latent, self.ability, self.covariance)

    def state(self) -> dict[str, np.ndarray]:
        """Return plain arrays."""
        return {
            "axes": self.axes,
            "offset": self.offset,
            "ability": self.ability,
            "covariance": self.covariance,
            "centers": self.centers,
            "cluster_quality": self.cluster_quality,
            "scalars": np.asarray(
                [self.cluster_share, self.log_token_ratio, self.log_token_upper], np.float64
            ),
        }

    @classmethod
    def restore(cls, model: str, state: State) -> Self:
        """Read what `state` returned.

        Raises
        ------
        KeyError, ValueError
            If an array is missing or has the wrong shape.
        """
        axes, covariance, centers = (
            take(state, name, ndim=2) for name in ("axes", "covariance", "centers")
        )
        offset, ability, cluster_quality, scalars = (
            take(state, name, ndim=1)
            for name in ("offset", "ability", "cluster_quality", "scalars")
        )
        k = axes.shape[1]
        if (
            not len(offset) == len(ability) == k
            or covariance.shape != (k, k)
            or len(cluster_quality) != len(centers)
            or len(scalars) != 3
            or not 0 <= scalars[0] <= 1
        ):
            raise ValueError(f"the arrays of the onboarded model {model!r} do not fit together")
        share, ratio, upper = scalars.tolist()
        return cls(
            model=model,
            axes=axes,
            offset=offset,
            ability=ability,
            covariance=covariance,
            centers=centers,
            cluster_quality=cluster_quality,
            cluster_share=share,
            log_token_ratio=ratio,
            log_token_upper=upper,
        )


def join(base: Predictions, onboarded: list[Predictions]) -> Predictions:
    """Put the columns of onboarded models after those of the base.

    Where the base was learned from comparisons, an onboarded model is taken to be as far above the
    average of the others in strength as it is in log-odds of quality.
    """
    parts = [base, *onboarded]
    strength = base.strength
    if strength is not None:
        usual = strength.mean(axis=1, keepdims=True)
        easiness = bounded_logit(base.quality).mean(axis=1, keepdims=True)
        own = [usual + bounded_logit(each.quality) - easiness for each in onboarded]
        strength = np.hstack([strength, *own]).astype(np.float32)
    return Predictions(
        quality=np.hstack([each.quality for each in parts]),
        quality_std=np.hstack([each.quality_std for each in parts]),
        output_tokens=np.hstack([each.output_tokens for each in parts]),
        output_tokens_upper=np.hstack([each.output_tokens_upper for each in parts]),
        strength=strength,
        categories=base.categories,
    )


def bounded_logit(quality: np.ndarray) -> FloatArray:
    """Return the log-odds of predicted qualities, held away from certainty."""
    p = np.clip(np.asarray(quality, np.float64), _FLOOR, 1 - _FLOOR)
    return np.asarray(np.log(p / (1 - p)))


def chance(
    latent: FloatArray, ability: FloatArray, covariance: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Return the expected quality over the posterior of the ability, and its deviation.

    References
    ----------
    MacKay 1992, The evidence framework applied to classification networks (the average of a
    sigmoid over a Gaussian).
    """
    z = latent @ ability
    variance = np.add.reduce((latent @ covariance) * latent, axis=1)
    mean = sigmoid(z / np.sqrt(1 + np.pi / 8 * variance))
    slope = sigmoid(z) * (1 - sigmoid(z))
    return mean, np.asarray(slope * np.sqrt(variance))


def nearest(x: FloatMatrix, centers: FloatMatrix) -> np.ndarray:
    """Return the cluster of every row by cosine: (n,)."""
    return np.asarray((unit_rows(np.asarray(x, np.float32)) @ centers.T).argmax(axis=1))


def _column(values: FloatArray) -> FloatMatrix:
    return values.astype(np.float32)[:, None]
