"""Place a new model among those an artifact knows, from its answers to some anchors.

The artifact's own predictions carry what is shared by all models: which queries are hard, and
for whom. A new model is a point in that space. Its prior is the spread of the models that are
there; its answers pull it to where it belongs. Nothing else is fitted.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from routers.artifact.calibration import CalibrationRows
from routers.artifact.onboarded_model import (
    OnboardedModel,
    bounded_logit,
    chance,
    nearest,
)
from routers.errors import DataError
from routers.estimators.answer_lengths import length_ratios, typical_log_length
from routers.numeric import FloatArray, sigmoid
from routers.training.onboarding.clusters import cluster_centers, shrunk_errors
from routers.types import FloatMatrix, FloatVector, Predictions

FEWEST_ANCHORS = 10

_ANCHORS_PER_CLUSTER = 12
_MAX_CLUSTERS = 16
_FOLDS = 5
_MOST_AXES = 16
_NEWTON_STEPS = 30

_DEVIATION_SHARE = 0.5
"""How freely a new model may differ from the average model in what it finds hard, as a share of the
spread of the known models. 0.1 to 2 measured within 0.004 in squared error."""

_LEVEL_VARIANCE = 0.25
_SLOPE_VARIANCE = 0.05
"""Least prior variances of level and slope: few models say little of the spread of all."""

_BEYOND_CHANCE = 3.0
"""Standard errors by which anchors have to be off in common to count as unlike the training."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AnchorOutcomes:
    """What a new model made of the anchors.

    Attributes
    ----------
    x
        float32 (n_anchors, n_features), from the artifact's featurizer.
    quality
        (n_anchors,) in [0, 1].
    output_tokens
        (n_anchors,); NaN where unknown.
    peer_quality
        (n_anchors, n_base): what the artifact's own models made of the same anchors; NaN where
        unknown, None where nothing is.
    """

    x: FloatMatrix
    quality: FloatArray
    output_tokens: FloatArray
    peer_quality: FloatArray | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AbilityPrior:
    """Where models lie in the space that the artifact's predictions span.

    Attributes
    ----------
    axes, offset
        As in `OnboardedModel`. The first axis is constant, the second the mean log-odds of the
        models (how easy a query is), the others their principal disagreements.
    mean, variance
        (k,) of the Gaussian that new models are taken to come from.
    """

    axes: FloatArray
    offset: FloatArray
    mean: FloatArray
    variance: FloatArray

    @classmethod
    def of(cls, quality_predicted: FloatMatrix) -> "AbilityPrior":
        """Read the prior off predictions of the known models: (n_queries, n_models)."""
        logits = bounded_logit(quality_predicted)
        m = logits.shape[1]
        easiness = logits.mean(axis=1)
        deviation = logits - easiness[:, None]
        usual = deviation.mean(axis=0)
        _, _, v = np.linalg.svd(deviation - usual, full_matrices=False)
        # The deviations of a row sum to zero; of many, the first few say all that anchors can.
        v = v[: min(m - 1, len(logits), _MOST_AXES)].T
        level = float(easiness.mean())
        centered = easiness - level
        slopes = centered @ (logits - logits.mean(axis=0)) / max(float(centered @ centered), 1e-9)
        axes = np.hstack([np.zeros((m, 1)), np.full((m, 1), 1 / m), v - v.mean(axis=0)])
        return cls(
            axes=axes,
            offset=np.concatenate([[1.0, -level], -usual @ v]),
            mean=np.concatenate([[level, 1.0], np.zeros(v.shape[1])]),
            variance=np.concatenate(
                [
                    [usual.var() + _LEVEL_VARIANCE, max(slopes.var(), _SLOPE_VARIANCE)],
                    np.full(v.shape[1], _DEVIATION_SHARE / m),
                ]
            ),
        )

    def latent(self, base_quality: FloatMatrix) -> FloatArray:
        """Describe queries by what is predicted of the known models: (n, k)."""
        return np.asarray(bounded_logit(base_quality) @ self.axes + self.offset)

    def information(self, base_quality: FloatMatrix) -> tuple[FloatArray, FloatArray]:
        """Return what `choose_anchors` asks for: directions (n, k) and typical chances (n,)."""
        latent = self.latent(base_quality)
        return latent * np.sqrt(self.variance), sigmoid(latent @ self.mean)

    def fit(self, latent: FloatArray, quality: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return the posterior mean and covariance of an ability: (k,) and (k, k).

        `quality` may lie outside [0, 1] after adjustment; the quasi-likelihood does not mind.
        """
        precision = np.diag(1 / self.variance)
        ability = self.mean.copy()
        for _ in range(_NEWTON_STEPS):
            p = sigmoid(latent @ ability)
            gradient = latent.T @ (quality - p) - precision @ (ability - self.mean)
            hessian = (latent.T * (p * (1 - p))) @ latent + precision
            step = np.linalg.solve(hessian, gradient)
            longest = float(np.abs(step).max())
            ability = ability + step * min(1.0, 2.0 / max(longest, 1e-12))
            if longest < 1e-7:
                break
        p = sigmoid(latent @ ability)
        covariance = np.linalg.inv((latent.T * (p * (1 - p))) @ latent + precision)
        return ability, np.asarray(covariance, np.float64)


def place_model(
    model: str, outcomes: AnchorOutcomes, *, base: Predictions, prior: AbilityPrior
) -> OnboardedModel:
    """Estimate a model from its answers to the anchors.

    Parameters
    ----------
    base
        What the artifact predicts of its own models on the anchors.

    Raises
    ------
    DataError
        If there are fewer than `FEWEST_ANCHORS` anchors, or a quality is no number in [0, 1].

    Notes
    -----
    Where peers answered the same anchors, their surprises (outcome minus prediction) are taken
    out of the new model's as a control variate: an anchor that was harder than it looked says
    nothing about the new model. Where the anchors as a whole are easier or harder than predicted,
    beyond chance (prompts unlike those of the training), that is taken out in full.
    """
    _check(outcomes)
    latent = prior.latent(base.quality)
    quality = _without_luck(outcomes, latent, base, prior)
    ability, covariance = prior.fit(latent, quality)
    n = len(quality)
    centers = cluster_centers(outcomes.x, int(np.clip(n // _ANCHORS_PER_CLUSTER, 2, _MAX_CLUSTERS)))
    clusters = nearest(outcomes.x, centers)
    ratio, upper = length_ratios(outcomes.output_tokens, typical_log_length(base.output_tokens))
    return OnboardedModel(
        model=model,
        axes=prior.axes,
        offset=prior.offset,
        ability=ability,
        covariance=covariance,
        centers=centers,
        cluster_quality=_cluster_quality(outcomes.quality, clusters, len(centers)),
        cluster_share=_cluster_share(quality, latent, clusters, len(centers), prior),
        log_token_ratio=ratio,
        log_token_upper=upper,
    )


def mean_quality_interval(
    outcomes: AnchorOutcomes,
    *,
    base: Predictions,
    prior: AbilityPrior,
    calibration: CalibrationRows,
    rng: np.random.Generator,
    confidence: float = 0.95,
    n_draws: int = 400,
) -> tuple[float, float, float]:
    """Return the expected mean quality on the artifact's own traffic, and its interval.

    The traffic is that of the calibration rows; the interval is the percentile bootstrap over
    anchors.
    """
    n_base = base.quality.shape[1]
    latent = prior.latent(base.quality)
    traffic = prior.latent(calibration.quality_predicted[:, :n_base])
    quality = _without_luck(outcomes, latent, base, prior)

    def mean_of(rows: np.ndarray) -> float:
        ability, covariance = prior.fit(latent[rows], quality[rows])
        return float(chance(traffic, ability, covariance)[0].mean())

    n = len(quality)
    draws = [mean_of(rng.integers(0, n, n)) for _ in range(n_draws)]
    low, high = np.quantile(draws, [(1 - confidence) / 2, (1 + confidence) / 2])
    return mean_of(np.arange(n)), float(low), float(high)


def bootstrap_means(
    values: FloatArray,
    groups: Sequence[str],
    *,
    rng: np.random.Generator,
    confidence: float = 0.95,
    n_draws: int = 2000,
) -> dict[str, tuple[int, float, float, float]]:
    """Return count, mean and bootstrap interval of every group, by name."""
    found = {}
    of = np.asarray(groups)
    for name in sorted(set(groups)):
        part = values[of == name]
        means = part[rng.integers(0, len(part), (n_draws, len(part)))].mean(axis=1)
        low, high = np.quantile(means, [(1 - confidence) / 2, (1 + confidence) / 2])
        found[name] = (len(part), float(part.mean()), float(low), float(high))
    return found


def _check(outcomes: AnchorOutcomes) -> None:
    n = len(outcomes.quality)
    if n < FEWEST_ANCHORS:
        raise DataError(f"{n} anchors say too little of a model; give at least {FEWEST_ANCHORS}")
    if not ((outcomes.quality >= 0) & (outcomes.quality <= 1)).all():
        raise DataError("the quality of every anchor has to be a number between 0 and 1")


def _without_luck(
    outcomes: AnchorOutcomes, latent: FloatArray, base: Predictions, prior: AbilityPrior
) -> FloatArray:
    quality = np.asarray(outcomes.quality, np.float64)
    if outcomes.peer_quality is None:
        return quality
    surprise = outcomes.peer_quality - base.quality
    known = ~np.isnan(surprise)
    told = known.any(axis=1)
    if not told.any():
        return quality
    luck = np.where(known, surprise, 0).sum(axis=1) / np.maximum(known.sum(axis=1), 1)
    shift = float(luck[told].mean())
    noise = float(luck[told].std()) / np.sqrt(told.sum())
    if abs(shift) < _BEYOND_CHANCE * noise:
        shift = 0.0
    luck = np.where(told, luck - shift, 0.0)
    quality = quality - shift
    scatter = float(luck @ luck)
    if scatter < 1e-9:
        return quality
    ability, _ = prior.fit(latent, quality)
    own = quality - sigmoid(latent @ ability)
    # One pseudo-observation of no relation keeps the coefficient sober where anchors are few.
    slope = float(own @ luck) / (scatter + scatter / told.sum())
    return np.asarray(quality - slope * luck)


def _cluster_quality(quality: FloatArray, clusters: np.ndarray, n_clusters: int) -> FloatVector:
    errors = shrunk_errors(1 - np.asarray(quality, np.float64), clusters, n_clusters)
    return (1 - errors).astype(np.float32)


def _cluster_share(
    quality: FloatArray,
    latent: FloatArray,
    clusters: np.ndarray,
    n_clusters: int,
    prior: AbilityPrior,
) -> float:
    """Return how much of the clusters to mix in, by cross-validation, less its standard error."""
    n = len(quality)
    fold = np.arange(n) % _FOLDS
    by_ability, by_cluster = np.empty(n), np.empty(n)
    for held in range(_FOLDS):
        train, test = fold != held, fold == held
        ability, covariance = prior.fit(latent[train], quality[train])
        by_ability[test] = chance(latent[test], ability, covariance)[0]
        by_cluster[test] = _cluster_quality(quality[train], clusters[train], n_clusters)[
            clusters[test]
        ]
    error, move = quality - by_ability, by_cluster - by_ability
    size = float(move @ move)
    if size < 1e-9:
        return 0.0
    share = float(error @ move) / size
    deviation = float(np.sqrt(((error - share * move) ** 2 * move**2).sum())) / size
    return float(np.clip(share - deviation, 0, 1))
