"""Evaluate what was predicted or chosen elsewhere: bare arrays, no artifact and no file."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from routers.data.support import Support
from routers.errors import DataError
from routers.evaluation import baselines
from routers.evaluation.frame import Frame, Rows, Series, kept_rows, sweep
from routers.evaluation.replay import Arena, evaluate
from routers.evaluation.result import Report
from routers.numeric import FloatArray
from routers.text.token_estimate import estimate_tokens
from routers.types import Conversation, Predictions

_FEWEST = 2


def evaluate_predictions(
    quality_predicted: ArrayLike,
    cost_predicted: ArrayLike,
    quality: ArrayLike,
    cost_usd: ArrayLike,
    *,
    name: str = "predictions",
    models: Sequence[str] | None = None,
    prompts: Sequence[str] | None = None,
    groups: Sequence[str] | None = None,
    others: Mapping[str, tuple[ArrayLike, ArrayLike]] | None = None,
    draws: int = 1000,
    seed: int = 0,
) -> Report:
    """Measure predictions of quality and cost as a router: every query goes where they say.

    All arrays are (n_queries, n_models). The router is swept over 121 exchange rates of quality
    against cost; what a choice was worth and cost is what `quality` and `cost_usd` hold.

    Parameters
    ----------
    quality_predicted, cost_predicted
        What was predicted, finite; costs in USD.
    quality, cost_usd
        What came of it: quality in [0, 1], costs not negative; NaN where a model was not tried.
    models
        Names of the columns.
    prompts
        The queries: rows of one prompt are resampled together, and the prompt's length is a
        baseline. Without them rows count as different.
    groups
        `set/benchmark` of every query: then the router that reads the label is a bound.
    others
        More predictions, by name: (quality, cost) each; paired differences are told.
    draws, seed
        Resamplings behind the 95 % intervals, the same for every router.

    Returns
    -------
    Report
        Area under the hull (`aiq`, `aiq_over_zero`, `auc_log_cost`), `apgr`, `ece`, `brier`, the
        curve and its hull, beside single models, their random mixtures and an oracle.

    Raises
    ------
    DataError
        If arrays have different shapes or impossible values; the message says which and where.
    """
    rows, keep, shape = _rows(quality, cost_usd, models=models, prompts=prompts, groups=groups)
    given = {name: (quality_predicted, cost_predicted), **(others or {})}
    series = []
    for label, (predicted, expected) in given.items():
        values = _array(f"{label}: predicted quality", predicted, shape=shape)
        costs = _array(f"{label}: predicted costs", expected, shape=shape)
        _refuse(f"{label}: predicted quality", values, ~np.isfinite(values), "be finite")
        _refuse(f"{label}: predicted costs", costs, ~(np.isfinite(costs) & (costs >= 0)), _PAID)
        values, costs = values[keep], costs[keep]
        nothing = np.zeros(values.shape, np.float32)
        series.append(
            Series(
                name=label,
                kind="artifact",
                picks=sweep(values, costs),
                predictions=Predictions(
                    quality=values.astype(np.float32),
                    quality_std=nothing,
                    output_tokens=nothing,
                    output_tokens_upper=nothing,
                ),
                note="predictions of quality and cost",
            )
        )
    return _report(rows, series, with_length=prompts is not None, draws=draws, seed=seed)


def evaluate_choices(
    choices: Mapping[str, ArrayLike],
    quality: ArrayLike,
    cost_usd: ArrayLike,
    *,
    models: Sequence[str] | None = None,
    prompts: Sequence[str] | None = None,
    groups: Sequence[str] | None = None,
    draws: int = 1000,
    seed: int = 0,
) -> Report:
    """Measure routers by what they chose; see `evaluate_predictions`.

    Parameters
    ----------
    choices
        By name, which column each query went to: (n_queries,), or (n_settings, n_queries) for a
        router with a knob.

    Raises
    ------
    DataError
        If arrays have different shapes or impossible values.
    """
    rows, keep, shape = _rows(quality, cost_usd, models=models, prompts=prompts, groups=groups)
    series = []
    for label, given in choices.items():
        picks = np.atleast_2d(np.asarray(given))
        if picks.ndim != 2 or picks.shape[1] != shape[0] or picks.dtype.kind not in "iu":
            raise DataError(
                f"{label}: choices must be whole numbers, one for each of {shape[0]} queries (or "
                f"a row of them for each setting); got {picks.dtype} of shape {picks.shape}"
            )
        if picks.min(initial=0) < 0 or picks.max(initial=0) >= len(rows.models):
            raise DataError(f"{label}: choices must be columns, 0 to {len(rows.models) - 1}")
        note = "choices made elsewhere"
        series.append(
            Series(name=label, kind="artifact", picks=picks[:, keep].astype(np.intp), note=note)
        )
    return _report(rows, series, with_length=prompts is not None, draws=draws, seed=seed)


_PAID = "be finite and not negative"


def _report(
    rows: Rows, series: list[Series], *, with_length: bool, draws: int, seed: int
) -> Report:
    series = [*series, *baselines.fixed(rows, None)]
    if with_length:
        series.append(baselines.prompt_length(rows, None))
    label = baselines.benchmark_label(rows, None)
    series += [each for each in (label, baselines.oracle(rows)) if each is not None]
    names = [each.name for each in series]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise DataError(f"{twice[0]!r} is the name of a baseline; give another")
    support = Support.of(rows.quality)
    notes = ["The best single model is chosen on the evaluated rows."]
    if support.warning is not None:
        notes.insert(0, f"WARNING: {support.warning}.")
    arena = Arena(
        frame=Frame(rows=rows, n_draws=draws, seed=seed),
        series=tuple(series),
        artifacts=(),
        train=None,
        prices={},
        support=support,
        files=(),
        train_files=(),
        notes=tuple(notes),
    )
    return Report.of(evaluate(arena))


def _rows(
    quality: ArrayLike,
    cost_usd: ArrayLike,
    *,
    models: Sequence[str] | None,
    prompts: Sequence[str] | None,
    groups: Sequence[str] | None,
) -> tuple[Rows, NDArray[np.intp], tuple[int, int]]:
    """Return the queries that are compared on, their numbers, and the shape of the arrays."""
    values = _array("quality", quality)
    n, n_models = values.shape
    if n < _FEWEST or n_models < _FEWEST:
        raise DataError(
            f"quality is of {n} queries and {n_models} models; there must be two of each at least "
            "(rows are queries, columns are models)"
        )
    cost = _array("costs", cost_usd, shape=(n, n_models))
    hint = "be between 0 and 1 (NaN where a model was not tried)"
    _refuse("quality", values, (values < 0) | (values > 1) | np.isinf(values), hint)
    _refuse("costs", cost, (cost < 0) | np.isinf(cost), _PAID)
    unpaid = np.isnan(cost) & ~np.isnan(values)
    _refuse("costs", cost, unpaid, "be known wherever the quality is")
    for column in range(n_models):
        if np.isnan(values[:, column]).all():
            raise DataError(f"no quality is known of column {column}; leave it out")
    for what, given, length in (
        ("names of models", models, n_models),
        ("prompts", prompts, n),
        ("groups", groups, n),
    ):
        if given is not None and len(given) != length:
            raise DataError(f"{len(given)} {what} for {length}")
    told = [f"query {i}" for i in range(n)] if prompts is None else prompts
    conversations = tuple(Conversation.of(each) for each in told)
    keep = kept_rows(values)
    rows = Rows(
        models=tuple(f"model {i}" for i in range(n_models)) if models is None else tuple(models),
        conversations=conversations,
        groups=("",) * n if groups is None else tuple(groups),
        input_tokens=np.asarray([estimate_tokens(each) for each in conversations], np.float64),
        quality=values,
        output_tokens=np.full(values.shape, np.nan),
        cost_usd=cost,
    )
    return rows.take(keep), keep, (n, n_models)


def _array(what: str, given: ArrayLike, *, shape: tuple[int, int] | None = None) -> FloatArray:
    try:
        array = np.asarray(given, np.float64)
    except (TypeError, ValueError) as error:
        raise DataError(f"{what}: is no array of numbers ({error})") from error
    if array.ndim != 2 or (shape is not None and array.shape != shape):
        wanted = "(n_queries, n_models)" if shape is None else f"{shape}, as the quality"
        raise DataError(f"{what}: has the shape {array.shape} instead of {wanted}")
    return array


def _refuse(what: str, array: FloatArray, wrong: NDArray[np.bool_], bound: str) -> None:
    """Refuse values, and say where the first of them stands."""
    if wrong.any():
        row, column = (int(each[0]) for each in np.nonzero(wrong))
        raise DataError(
            f"{what}: row {row}, column {column} is {array[row, column]:g}; it must {bound}"
        )
