"""What few outcomes say of each model's mean quality, once luck is taken off."""

import numpy as np

from routers.numeric import FloatArray, nan_mean
from routers.types import FloatMatrix, FloatVector

_FEWEST_MODELS = 4
"""Between fewer, no favourite is picked by luck among many, and no line can be told from them."""

_FEWEST_ROWS = 3


def corrections(quality: FloatMatrix, mean_cost_usd: FloatArray | None) -> FloatVector:
    """Return what to add to every model's mean outcome, (n_models,).

    Of many models with fifty outcomes each, the one that looks best mostly was lucky, and a
    router that believes it pays for it on every query. So the means are drawn to a line over the
    logarithm of cost, fitted to the same means: dearer models are better on the whole, and where
    they are not the line lies flat. How far is an empirical Bayes estimate, from how much models
    scatter around that line beyond the noise of their means; with a thousand rows nothing is left
    of it.

    Parameters
    ----------
    quality
        (n_queries, n_models), NaN where a model was not tried.
    mean_cost_usd
        (n_models,), what an answer costs; without it the line is the mean over models.

    References
    ----------
    Fay and Herriot 1979, Estimates of income for small places: an application of James-Stein
    procedures to census data.
    """
    n_models = quality.shape[1]
    known = ~np.isnan(quality)
    counts = known.sum(axis=0)
    if n_models < _FEWEST_MODELS or counts.min() < _FEWEST_ROWS:
        return np.zeros(n_models, np.float32)
    means = nan_mean(quality, default=0.0)
    above = quality - means
    # How hard a query is moves all models that were asked: it is no noise between them.
    apart = above - nan_mean(above.T, default=0.0)[:, None]
    # One variance for all models: those of single models are luck themselves.
    noise = float(nan_mean(apart**2, default=0.0).mean()) / (counts - 1)
    centred = means - means.mean()
    line = _line(centred, mean_cost_usd)
    freedom = n_models - 1 - int(line.any())
    scatter = max(float(((centred - line) ** 2).sum()) / freedom - float(noise.mean()), 0.0)
    luck = noise / np.maximum(scatter + noise, 1e-12)
    return np.asarray(luck * (line - centred), np.float32)


def _line(centred: FloatArray, mean_cost_usd: FloatArray | None) -> FloatArray:
    if mean_cost_usd is None or not (np.isfinite(mean_cost_usd) & (mean_cost_usd > 0)).all():
        return np.zeros_like(centred)
    log_cost = np.log(mean_cost_usd)
    log_cost = log_cost - log_cost.mean()
    spread = float(log_cost @ log_cost)
    if spread < 1e-6:
        return np.zeros_like(centred)
    return np.asarray(float(log_cost @ centred) / spread * log_cost)
