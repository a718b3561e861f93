"""Many requests for several models under one budget: who answers what."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from routers.decision._assignment_exact import exact_picks, is_small
from routers.decision._assignment_prices import Prices, prices_of
from routers.decision._assignment_rounding import NOBODY, Rounding
from routers.numeric import FloatArray

_DEARER = (1.0, 1.003, 1.03, 1.3, 3.0, 10.0)
"""Where the picks at the best prices cannot be mended, those with money so much dearer may be."""


class LeftOut(StrEnum):
    """Why a request is left out."""

    NO_MODEL = "no_model"
    """No model may serve it, whatever it costs."""
    BUDGET = "budget"
    """The budget does not pay for it beside the others."""
    CAPACITY = "capacity"
    """Every model that may serve it serves as many others as it can."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """Who answers what.

    Attributes
    ----------
    picks
        (n_requests,), the column of the model; -1 for a request that is left out.
    left_out
        Row of each such request, and why.
    quality, cost_usd
        As predicted, of all that are served together.
    used
        (n_models,), what is taken of each model's capacity.
    quality_per_usd
        How much predicted quality one more dollar would buy: the dual price of the budget. 0
        where it is not used up, or there is none.
    quality_per_unit
        (n_models,), likewise of one more unit of each capacity.
    quality_bound
        No assignment of the requests that are served has more predicted quality.
    """

    picks: NDArray[np.intp]
    left_out: tuple[tuple[int, LeftOut], ...]
    quality: float
    cost_usd: float
    used: FloatArray
    quality_per_usd: float
    quality_per_unit: FloatArray
    quality_bound: float


def assign(
    quality: FloatArray,
    cost_usd: FloatArray,
    *,
    budget_usd: float | None = None,
    capacity: Sequence[float | None] | None = None,
    weight: FloatArray | None = None,
    exact: bool | None = None,
) -> Assignment:
    """Return the assignment of most predicted quality that budget and capacities pay for.

    As many requests as can be are served; among those assignments the one of most predicted
    quality is taken. So nobody goes without an answer for another's better one.

    With few requests that is solved exactly (mixed-integer programming, where scipy is there).
    With more, budget and capacities get prices (Lagrangian relaxation), each request takes the
    model that leaves it most, and what then breaks a limit is mended where it costs least. Limits
    are kept always. What the result may lack of the optimum is at most `quality_bound - quality`:
    less than one request's worth under a budget alone, up to two in a thousand under tight
    capacities. Where not all can be served, those that are, are chosen first, the cheapest to
    serve; the bound may then be far above what there is.

    Parameters
    ----------
    quality
        (n_requests, n_models) as predicted; NaN where a model may not serve.
    cost_usd
        The same shape; NaN or infinite likewise.
    budget_usd
        For all together; None for none.
    capacity
        Of each model; None for none.
    weight
        What a request takes of a model's capacity, above 0, such as tokens; default: 1 each.
    exact
        Whether to solve exactly; default: where there are few requests.

    Raises
    ------
    ValueError
        If shapes do not fit, or the budget is no amount of money.

    References
    ----------
    Geoffrion 1974, Lagrangean relaxation for integer programming; Sinha & Zoltners 1979, The
    multiple-choice knapsack problem.
    """
    q = np.asarray(quality, np.float64)
    cost = np.asarray(cost_usd, np.float64)
    n, m = q.shape
    w = np.ones((n, m)) if weight is None else np.asarray(weight, np.float64)
    if cost.shape != q.shape or w.shape != q.shape:
        raise ValueError("quality, cost and weight must have one shape")
    budget = np.inf if budget_usd is None else float(budget_usd)
    if not budget >= 0:
        raise ValueError(f"the budget must be 0 or more US dollars, not {budget_usd}")
    listed = [None] * m if capacity is None else list(capacity)
    if len(listed) != m:
        raise ValueError(f"there are {m} models, and {len(listed)} capacities")
    caps = np.array([np.inf if each is None else float(each) for each in listed])
    may_serve = np.isfinite(q) & np.isfinite(cost) & (cost >= 0)
    # What breaks a limit by itself is never taken, which also rids the rest of empty limits.
    eligible = may_serve & (cost <= budget) & (w <= caps)
    problem = _Problem(
        value=np.where(eligible, q, -np.inf),
        cost=np.where(eligible, cost, 0.0),
        weight=np.where(eligible, w, 0.0) if weight is not None else w,
        budget=budget if budget > 0 else np.inf,
        capacity=np.where(caps > 0, caps, np.inf),
    )
    picks = np.full(n, NOBODY, np.intp)
    prices = Prices(of_money=0.0, of_capacity=np.zeros(m), bound=0.0)
    if eligible.any():
        picks, prices = problem.solve(exact=is_small(eligible) if exact is None else exact)
    rows = np.flatnonzero(picks >= 0)
    at = picks[rows]
    used = np.asarray(np.bincount(at, w[rows, at], m), np.float64)
    spent = float(cost[rows, at].sum())
    return Assignment(
        picks=picks,
        left_out=tuple(
            (int(row), _why(may_serve[row], cost[row] <= budget - spent, w[row] <= caps - used))
            for row in np.flatnonzero(picks == NOBODY)
        ),
        quality=float(q[rows, at].sum()),
        cost_usd=spent,
        used=used,
        quality_per_usd=prices.of_money,
        quality_per_unit=np.where(np.isfinite(caps), prices.of_capacity, 0.0),
        quality_bound=prices.bound,
    )


def _why(may: NDArray[np.bool_], paid: NDArray[np.bool_], fits: NDArray[np.bool_]) -> LeftOut:
    if not may.any():
        return LeftOut.NO_MODEL
    # A model with room that is too dear; else there is no room, whatever would be paid.
    return LeftOut.BUDGET if (may & fits & ~paid).any() else LeftOut.CAPACITY


@dataclass(frozen=True, slots=True, kw_only=True)
class _Problem:
    value: FloatArray
    cost: FloatArray
    weight: FloatArray
    budget: float
    capacity: FloatArray

    def solve(self, *, exact: bool) -> tuple[NDArray[np.intp], Prices]:
        n = len(self.value)
        if exact:
            found = exact_picks(
                self.value,
                self.cost,
                self.weight,
                np.isfinite(self.value),
                budget=self.budget,
                capacity=self.capacity,
            )
            if found is not None and self.rounding(found).keeps_all:
                rows = np.flatnonzero(found >= 0)
                return found, self.rows(rows).prices()
        start = self.served()
        rows = np.flatnonzero(start >= 0)
        picks = np.full(n, NOBODY, np.intp)
        picks[rows], prices = self.rows(rows).best(start[rows])
        return picks, prices

    def rows(self, rows: NDArray[np.intp]) -> "_Problem":
        if len(rows) == len(self.value):
            return self
        return _Problem(
            value=self.value[rows],
            cost=self.cost[rows],
            weight=self.weight[rows],
            budget=self.budget,
            capacity=self.capacity,
        )

    def prices(self) -> Prices:
        return prices_of(
            self.value, self.cost, self.weight, budget=self.budget, capacity=self.capacity
        )

    def rounding(self, picks: NDArray[np.intp], prices: Prices | None = None) -> Rounding:
        left = self.value
        if prices is not None:
            left = left - prices.of_money * self.cost - prices.of_capacity * self.weight
        return Rounding(
            self.value,
            self.cost,
            self.weight,
            budget=self.budget,
            capacity=self.capacity,
            left=left,
            picks=picks,
        )

    def served(self) -> NDArray[np.intp]:
        """Return an assignment that serves as many as can be: all where that is possible."""
        able = np.flatnonzero(np.isfinite(self.value).any(axis=1))
        cheapest = self.rows(able).as_cheap_as_can_be()
        if not cheapest.keeps_all or (cheapest.picks == NOBODY).any():
            cheapest = self.rows(able).as_many_as_can_be(cheapest)
        picks = np.full(len(self.value), NOBODY, np.intp)
        picks[able] = cheapest.picks
        return picks

    def as_cheap_as_can_be(self) -> Rounding:
        """Serve everybody for as little as can be, whatever the budget."""
        unit = max(float(self.cost.mean()), np.finfo(float).tiny) if self.cost.size else 1.0
        cheap = _Problem(
            value=np.where(np.isfinite(self.value), -self.cost / unit, -np.inf),
            cost=self.cost,
            weight=self.weight,
            budget=np.inf,
            capacity=self.capacity,
        )
        prices = cheap.prices()
        left = cheap.value - prices.of_capacity * cheap.weight
        rounding = cheap.rounding(left.argmax(axis=1), prices)
        rounding.keep_capacities()
        return self.rounding(rounding.picks)

    def as_many_as_can_be(self, cheapest: Rounding) -> Rounding:
        """Serve as many as can be: the cheapest to serve."""
        n, m = self.value.shape
        count = _Problem(
            value=np.hstack([np.where(np.isfinite(self.value), 1.0, -np.inf), np.zeros((n, 1))]),
            cost=np.hstack([self.cost, np.zeros((n, 1))]),
            weight=np.hstack([self.weight, np.ones((n, 1))]),
            budget=self.budget,
            capacity=np.append(self.capacity, np.inf),
        )
        prices = count.prices()
        left = count.value - prices.of_money * count.cost - prices.of_capacity * count.weight
        priced = count.rounding(left.argmax(axis=1), prices)
        priced.keep_capacities()
        # The dearest of the cheapest assignment go until the budget pays for the others.
        paid = cheapest.cost[np.arange(n), cheapest.picks]
        for row in np.argsort(-paid, kind="stable"):
            if cheapest.spent <= cheapest.budget:
                break
            if cheapest.picks[row] != NOBODY:
                cheapest.move(int(row), NOBODY)
        cheapest.count_again()
        found = [cheapest.picks]
        priced.keep_budget()
        found.append(np.where(priced.picks == m, NOBODY, priced.picks))
        best = cheapest
        for each in found:
            rounding = count.rounding(each, prices)
            rounding.fill()
            candidate = self.rounding(np.where(rounding.picks == m, NOBODY, rounding.picks))
            more = (candidate.picks != NOBODY).sum() > (best.picks != NOBODY).sum()
            if candidate.keeps_all and more:
                best = candidate
        return best

    def best(self, start: NDArray[np.intp]) -> tuple[NDArray[np.intp], Prices]:
        """Serve all of the requests as well as can be, given a way that keeps the limits."""
        prices = self.prices()
        best = self.rounding(start, prices)
        best.fill()
        if not len(self.value):
            return start, prices
        for factor in _DEARER:
            priced = self.at(prices, factor)
            if (priced.picks != NOBODY).all() and priced.keeps_all:
                priced.fill()
                if priced.keeps_all and priced.total > best.total:
                    best = priced
                break
        return best.picks, prices

    def at(self, prices: Prices, factor: float) -> Rounding:
        """Take what is best at some prices, money so many times as dear, and mend it."""
        if factor > 1:
            money = prices.of_money * factor
            rest = _Problem(
                value=self.value - money * self.cost,
                cost=self.cost,
                weight=self.weight,
                budget=np.inf,
                capacity=self.capacity,
            )
            of_capacity = rest.prices().of_capacity
            prices = Prices(of_money=money, of_capacity=of_capacity, bound=np.inf)
        left = self.value - prices.of_money * self.cost - prices.of_capacity * self.weight
        rounding = self.rounding(left.argmax(axis=1), prices)
        rounding.keep_capacities()
        rounding.keep_budget()
        return rounding
