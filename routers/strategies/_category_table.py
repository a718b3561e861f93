"""What models are worth in each category, by the rows that were taken for it."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from routers.base import Labels
from routers.numeric import FloatArray, nan_mean
from routers.strategies._category_model import Identified
from routers.strategies._domains import DomainTable
from routers.strategies._lengths import Lengths
from routers.types import FloatMatrix

_KEEPS = 1e-5
"""By how much the expert of a category leads all others: enough to win at the position 1 of the
knob, where equal qualities go to the cheaper one."""

_PRIOR_LENGTHS = 8.0
"""Answers of usual length that a category's mean length is shrunk with."""


class CategoryTable(NamedTuple):
    """Categories by models; the last row is for what is of no category.

    Attributes
    ----------
    quality, error
        (n_categories + 1, n_models), means in [0, 1] and their standard errors.
    output_tokens
        The same shape.
    share
        (n_categories + 1,), of the rows.
    cost_usd
        The same shape as `quality`; None where costs are not known.
    """

    quality: FloatMatrix
    error: FloatMatrix
    output_tokens: FloatMatrix
    share: FloatArray
    cost_usd: FloatMatrix | None


def tabulate(
    about: Identified, labels: Labels, lengths: Lengths, *, n_categories: int
) -> CategoryTable:
    """Return the table of rows of which a classifier said what they are about.

    Means are shrunk toward the models' own.
    """
    n = n_categories
    at = np.where(about.first < 0, n, about.first)
    quality = labels.quality
    shrunk = DomainTable(quality, at, n + 1).shrunk(np.ones(len(at), bool))
    # How hard is what belongs nowhere was seen; who is best at it is asked of all rows, since
    # what comes next need not be of the kind that came so far.
    shrunk[-1] = shrunk[-1].mean()
    mean = nan_mean(quality, default=0.0)
    table = np.clip(mean + shrunk, 0, 1).astype(np.float32)
    member = np.eye(n + 1)[at].T
    known = ~np.isnan(quality)
    count = member @ known
    scatter = member @ np.where(known, (quality - table[at]) ** 2, 0)
    usual = nan_mean((quality - mean) ** 2, default=0.0)
    variance = (scatter + usual) / (count + 1)
    share = member.mean(axis=1)
    tokens = np.tile(lengths.mean, (n + 1, 1))
    if lengths.known and labels.output_tokens is not None:
        told = ~np.isnan(labels.output_tokens)
        total = member @ np.where(told, labels.output_tokens, 0)
        prior = _PRIOR_LENGTHS * lengths.mean
        tokens = ((total + prior) / (member @ told + _PRIOR_LENGTHS)).astype(np.float32)
    cost_usd = None
    if labels.mean_cost_usd is not None:
        usual_length = np.maximum(share @ tokens, 1e-6)
        cost_usd = (labels.mean_cost_usd * (tokens / usual_length)).astype(np.float32)
    return CategoryTable(
        quality=table,
        error=np.sqrt(variance / (count + 1)).astype(np.float32),
        output_tokens=tokens,
        share=share,
        cost_usd=cost_usd,
    )


def with_lead(quality: FloatMatrix, leader: NDArray[np.intp]) -> FloatMatrix:
    """Return qualities, (n, n_models), of which those of (n,) leaders are the highest."""
    rows = np.arange(len(leader))
    lead = np.maximum(quality[rows, leader], _KEEPS)
    led = np.minimum(quality, (lead - _KEEPS)[:, None])
    led[rows, leader] = lead
    return led.astype(np.float32)
