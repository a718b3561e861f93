"""Which model answers which category: the least expected loss that a budget allows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from routers.errors import RoutingConfigError
from routers.numeric import FloatArray
from routers.strategies._budget import Budget, FactsByModel, sizes_of
from routers.strategies._category_names import OTHER, printable
from routers.types import FloatMatrix

_LEAST_SHARE = 1e-4
"""Weight of a category that hardly occurs: it is given its best model all the same."""

_LONGEST_S = 20.0
_OUT_OF_TIME = 1
"""What scipy calls a limit of time or iterations."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MeanLimit:
    """A limit on what answers take on average over the traffic.

    Attributes
    ----------
    name
        For messages, such as `usd_per_request`.
    amount
        (n_categories, n_models), what an answer of a model to a query of a category takes.
    limit
        The most that the mean over all queries may be.
    """

    name: str
    amount: FloatArray
    limit: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Footprint:
    """A limit on the sizes of all models that are in use, together.

    Attributes
    ----------
    sizes
        (n_models,).
    limit
        The most that they may come to; a model counts once, however many categories it answers.
    """

    sizes: FloatArray
    limit: float


def limits_of(
    budget: Budget,
    facts: FactsByModel,
    models: Sequence[str],
    cost_usd: FloatMatrix | None,
    *,
    n_categories: int,
) -> tuple[Footprint | None, list[MeanLimit]]:
    """Return what a budget says as limits on a mapping.

    Parameters
    ----------
    cost_usd
        (n_categories, n_models), of an answer; None where it is not known.

    Raises
    ------
    RoutingConfigError
        If what the budget is about is not known.
    """
    means = []
    footprint = None
    if budget.parameters_b is not None:
        sizes = sizes_of(models, facts, "parameters_b")
        footprint = Footprint(sizes=sizes, limit=budget.parameters_b)
    if budget.active_parameters_b is not None:
        sizes = sizes_of(models, facts, "active_parameters_b")
        active = np.broadcast_to(sizes, (n_categories, len(models))).astype(np.float64)
        limit = budget.active_parameters_b
        means.append(MeanLimit(name="active_parameters_b", amount=active, limit=limit))
    if budget.usd_per_request is not None:
        if cost_usd is None:
            raise RoutingConfigError(
                "a budget of usd_per_request needs costs, and the data has none; give --prices"
            )
        amount, limit = cost_usd.astype(np.float64), budget.usd_per_request
        means.append(MeanLimit(name="usd_per_request", amount=amount, limit=limit))
    return footprint, means


def mapping_by_hand(
    experts: Mapping[str, str],
    categories: Sequence[str],
    column: Mapping[str, int],
    *,
    generalist: int,
) -> NDArray[np.intp]:
    """Return the column of the expert that somebody named for each category.

    Parameters
    ----------
    experts
        Models by category; that of `other` answers what no expert is named for.
    column
        Of each model.
    generalist
        The column of who does so where `other` has none.

    Returns
    -------
    NDArray[np.intp]
        (n_categories + 1,), the last for what is of no category.

    Raises
    ------
    RoutingConfigError
        If an expert or a category is unknown.
    """
    names = {printable(name): model for name, model in experts.items()}
    unknown = sorted({model for model in names.values() if model not in column})
    if unknown:
        raise RoutingConfigError(
            f"unknown experts: {', '.join(unknown)}; the models are: {', '.join(column)}"
        )
    strange = sorted(names.keys() - {*categories, OTHER})
    if strange:
        raise RoutingConfigError(
            f"no category is called {', '.join(strange)}; the categories are: "
            f"{', '.join(categories)}, and {OTHER} for what is none of them"
        )
    general = column[names[OTHER]] if OTHER in names else generalist
    wanted = [column[names[name]] if name in names else general for name in categories]
    return np.array([*wanted, general], np.intp)


def best_mapping(
    loss: FloatArray,
    share: FloatArray,
    *,
    footprint: Footprint | None = None,
    means: Sequence[MeanLimit] = (),
) -> NDArray[np.intp]:
    """Return the model of every category, (n_categories,): the least mean loss within all limits.

    Parameters
    ----------
    loss
        (n_categories, n_models).
    share
        (n_categories,), how much of the traffic each category is.

    Raises
    ------
    RoutingConfigError
        If no mapping keeps within the limits; the message says what the least would be.

    Notes
    -----
    A mixed-integer programme, solved to its optimum. Models that another one is at least as good
    as in every category and at most as large and dear take no part, so that adding one changes
    nothing. Without limits each category has the model of its least loss, the first of equals.

    References
    ----------
    Jain et al. 2024, Composition of Experts, arXiv:2412.01868 (a router of categories, then an
    integer programme that maps these to models under a budget of parameters).
    """
    loss = np.asarray(loss, np.float64)
    weight = np.maximum(np.asarray(share, np.float64), _LEAST_SHARE)
    kept = _undominated(loss, footprint, means)
    if footprint is None and not means:
        return np.asarray(kept[loss[:, kept].argmin(axis=1)], np.intp)
    _check_feasible(share, footprint, means)
    found = _solve(
        loss[:, kept],
        weight,
        sizes=None if footprint is None else footprint.sizes[kept] / footprint.limit,
        # In units of the limit: the solver's tolerance is an absolute one.
        amounts=[share[:, None] * each.amount[:, kept] / each.limit for each in means],
    )
    if found is None:
        raise RoutingConfigError(
            "no mapping keeps within all limits together "
            f"({', '.join(_told(footprint, means))}); allow more of one of them"
        )
    if means:
        return np.asarray(kept[found], np.intp)
    # Which models are in use is what was hard: of these, every category has its best.
    used = kept[np.unique(found)]
    return np.asarray(used[loss[:, used].argmin(axis=1)], np.intp)


def _undominated(
    loss: FloatArray, footprint: Footprint | None, means: Sequence[MeanLimit]
) -> NDArray[np.intp]:
    """Return the models worth considering; of unknown size or cost is none."""
    parts = [loss, *(each.amount for each in means)]
    if footprint is not None:
        parts.append(footprint.sizes[None, :])
    rows = np.vstack(parts)
    kept = []
    for model in np.flatnonzero(np.isfinite(rows).all(axis=0)).tolist():
        no_worse = (rows <= rows[:, [model]]).all(axis=0)
        same = (rows == rows[:, [model]]).all(axis=0)
        better = no_worse & ~same
        first = not same[:model].any()
        if not better.any() and first:
            kept.append(model)
    return np.array(kept, np.intp)


def _check_feasible(
    share: FloatArray, footprint: Footprint | None, means: Sequence[MeanLimit]
) -> None:
    if footprint is not None and footprint.sizes.min() > footprint.limit:
        raise RoutingConfigError(
            f"no model fits into {footprint.limit:g} billion parameters; "
            f"the smallest has {footprint.sizes.min():g}"
        )
    for each in means:
        least = float(share @ each.amount.min(axis=1))
        if least > each.limit * (1 + 1e-9):
            raise RoutingConfigError(
                f"no mapping keeps {each.name} at {each.limit:g}; the least is {least:.6g}"
            )


def _solve(
    loss: FloatArray,
    weight: FloatArray,
    *,
    sizes: FloatArray | None,
    amounts: Sequence[FloatArray],
) -> NDArray[np.intp] | None:
    """Return the model of every category; None where no mapping keeps `sizes` and `amounts` at 1.

    Parameters
    ----------
    sizes
        (n_models,), of models in use.
    amounts
        (n_categories, n_models) each, what a pair adds to a mean.
    """
    from scipy.optimize import Bounds, LinearConstraint, milp  # noqa: PLC0415  (training only)
    from scipy.sparse import csr_matrix, eye, hstack, kron  # noqa: PLC0415

    n_categories, n_models = loss.shape
    n_pairs = n_categories * n_models
    n_resident = 0 if sizes is None else n_models
    width = n_pairs + n_resident
    objective = np.concatenate([(weight[:, None] * loss).ravel(), np.zeros(n_resident)])
    once = kron(eye(n_categories), np.ones((1, n_models)))
    limits = [LinearConstraint(hstack([once, csr_matrix((n_categories, n_resident))]), 1, 1)]
    if sizes is not None:
        resident = kron(np.ones((n_categories, 1)), eye(n_models))
        limits.append(LinearConstraint(hstack([eye(n_pairs), -resident]), -np.inf, 0))
        limits.append(LinearConstraint(np.concatenate([np.zeros(n_pairs), sizes]), -np.inf, 1))
    for amount in amounts:
        row = np.concatenate([amount.ravel(), np.zeros(n_resident)])
        limits.append(LinearConstraint(row, -np.inf, 1))
    found = milp(
        objective,
        constraints=limits,
        integrality=np.ones(width),
        bounds=Bounds(0, 1),
        options={"mip_rel_gap": 0.0, "time_limit": _LONGEST_S},
    )
    if found.status == _OUT_OF_TIME:
        raise RoutingConfigError(
            f"no mapping was proved best within {_LONGEST_S:g} s: "
            "give fewer categories or fewer models"
        )
    if found.x is None:
        return None
    return np.asarray(found.x[:n_pairs].reshape(n_categories, n_models).argmax(axis=1), np.intp)


def _told(footprint: Footprint | None, means: Sequence[MeanLimit]) -> list[str]:
    told = [] if footprint is None else [f"parameters_b {footprint.limit:g}"]
    return told + [f"{each.name} {each.limit:g}" for each in means]
