"""What a dollar, and one unit of each capacity, are worth: the dual of an assignment."""

from dataclasses import dataclass

import numpy as np

from routers.numeric import FloatArray

_SWEEPS, _ENOUGH = 30, 1e-7
"""Over all prices in turn, until the bound falls by less than this share of a request."""
_HALVINGS, _DOUBLINGS = 40, 60
_SAMPLE = 4_000
"""So many requests say about what the prices of many more are."""
_STEPS = 60
"""Of the subgradient, from where single prices cannot improve any more."""
_WHOLE = 1 + 1e-12
"""A sum of shares that is all of it but for rounding."""
_PATIENCE = 4
"""So many steps without a better bound, and they become half as long."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prices:
    """Prices of money and capacities, in the unit of what is maximised.

    Attributes
    ----------
    of_money
        Of a US dollar.
    of_capacity
        (n_models,), of a unit of each capacity.
    bound
        No assignment within budget and capacities is worth more.
    """

    of_money: float
    of_capacity: FloatArray
    bound: float


def prices_of(
    value: FloatArray,
    cost: FloatArray,
    weight: FloatArray,
    *,
    budget: float,
    capacity: FloatArray,
) -> Prices:
    """Minimise the dual of an assignment over the prices of its budget and its capacities.

    The dual is what all requests are worth where each takes the model that leaves it most, plus
    what budget and capacities are worth. One price at a time is set where the dual is least in it:
    money by bisection, a capacity at the margin of the last request that it holds (as in an
    auction); without capacities that is exact. Where several prices only fall together, steps along
    a subgradient follow, whose lengths come from the best bound so far (Held, Wolfe & Crowder 1974,
    Validation of subgradient optimization).

    Parameters
    ----------
    value
        (n_requests, n_models), to be maximised; minus infinity where a model may not serve.
    cost
        The same shape, US dollars.
    weight
        The same shape, what a request takes of a model's capacity.
    budget
        US dollars; infinite for none.
    capacity
        (n_models,), infinite for none.
    """
    dual = _Dual(value, cost, weight, budget=budget, capacity=capacity)
    step = dual.n // _SAMPLE
    if step > 1 and dual.limited.size:
        # Prices of every so manieth request are nearly those of all.
        dual.begin_at(
            prices_of(
                *(value[::step], cost[::step], weight[::step]),
                budget=budget * len(value[::step]) / dual.n,
                capacity=capacity * len(value[::step]) / dual.n,
            )
        )
    dual.sweep()
    if dual.limited.size and dual.n:
        dual.descend()
    return dual.prices()


class _Dual:
    """The function to minimise, with limits as multiples of their share of one request.

    So all prices are of about the size of the values.
    """

    def __init__(
        self,
        value: FloatArray,
        cost: FloatArray,
        weight: FloatArray,
        *,
        budget: float,
        capacity: FloatArray,
    ) -> None:
        self.n, m = value.shape
        self.value = value
        self.limited = np.flatnonzero(np.isfinite(capacity))
        self.has_budget = bool(np.isfinite(budget))
        n = max(self.n, 1)
        self.cost_unit = max(budget / n, np.finfo(float).tiny) if self.has_budget else 1.0
        self.cost = cost / self.cost_unit
        self.units = np.ones(m)
        self.units[self.limited] = np.maximum(capacity[self.limited] / n, np.finfo(float).tiny)
        self.weight = weight / self.units
        self.money, self.rents = 0.0, np.zeros(m)
        self.bound = np.inf
        self.best = self.money, self.rents

    def prices(self) -> Prices:
        money, rents = self.best
        return Prices(
            of_money=money / self.cost_unit, of_capacity=rents / self.units, bound=self.bound
        )

    def begin_at(self, prices: Prices) -> None:
        self.money = prices.of_money * self.cost_unit
        self.rents = np.where(self.units > 0, prices.of_capacity * self.units, 0.0)

    def left(self) -> FloatArray:
        """Return what every choice leaves after its price."""
        left = self.value
        if self.has_budget:
            left = left - self.money * self.cost
        if self.limited.size:
            left = left - self.rents * self.weight
        return left

    def look(self) -> tuple[float, float, FloatArray]:
        """Return the dual here, and its slope in the price of money and of each capacity."""
        left = self.left()
        picks = left.argmax(axis=1)
        rows = np.arange(self.n)
        worth = float(left[rows, picks].sum()) + self.n * self.money * self.has_budget
        worth += self.n * float(self.rents[self.limited].sum())
        slopes = np.zeros(len(self.rents))
        used = np.bincount(picks, self.weight[rows, picks], len(self.rents))
        slopes[self.limited] = self.n - used[self.limited]
        slope = self.n - float(self.cost[rows, picks].sum()) if self.has_budget else 0.0
        if worth < self.bound:
            self.bound, self.best = worth, (self.money, self.rents.copy())
        return worth, slope, slopes

    def sweep(self) -> None:
        before = np.inf
        for _ in range(_SWEEPS):
            if self.has_budget:
                self._price_money()
            for column in self.limited:
                self._price_capacity(int(column))
            worth = self.look()[0]
            alone = self.has_budget + self.limited.size <= 1
            if alone or before - worth <= _ENOUGH * max(self.n, 1):
                return
            before = worth

    def _price_money(self) -> None:
        base = self.left() + self.money * self.cost
        rows = np.arange(self.n)

        def over(price: float) -> bool:
            picks = (base - price * self.cost).argmax(axis=1)
            return bool(self.cost[rows, picks].sum() > self.n * _WHOLE)

        if not over(0.0):
            self.money = 0.0
            return
        low, high, factor = 0.0, self.money or 1.0, 1.01
        for _ in range(_DOUBLINGS):
            if not over(high):
                break
            low, high, factor = high, factor * high, min(factor**2, 1e3)
        while low == 0.0 and self.money > 0.0 and factor < 2.0 and not over(high / factor):
            high, factor = high / factor, min(factor**2, 1e3)
        if low == 0.0 and factor < 2.0 and self.money > 0.0:
            low = high / factor
        for _ in range(_HALVINGS):
            if high - low <= 1e-9 * high:
                break
            middle = (low + high) / 2
            low, high = (middle, high) if over(middle) else (low, middle)
        self.money = high

    def _price_capacity(self, column: int) -> None:
        left = self.left()
        own = left[:, column] + self.rents[column] * self.weight[:, column]
        left[:, column] = -np.inf
        best = left.max(axis=1)
        weight = self.weight[:, column]
        with np.errstate(invalid="ignore", divide="ignore"):
            # What a unit of the capacity brings the request; nothing else may serve: all there is.
            margin = np.where(np.isneginf(own), -np.inf, (own - best) / weight)
        wants = np.flatnonzero((margin > 0) & (weight > 0))
        order = wants[np.argsort(-margin[wants], kind="stable")]
        taken = np.cumsum(weight[order])
        # By the same sum as below: another one may round to the other side of the limit.
        if not len(taken) or taken[-1] <= self.n:
            self.rents[column] = 0.0
            return
        price = margin[order[np.searchsorted(taken, self.n, side="right")]]
        if np.isposinf(price):  # more must have it than may: no price parts them
            finite = margin[order][np.isfinite(margin[order])]
            price = finite.max(initial=0.0) + 1.0
        self.rents[column] = price

    def descend(self) -> None:
        ahead = 0.002 * max(abs(self.bound), 1.0)
        (self.money, self.rents), waited = self.best, 0
        for _ in range(_STEPS):
            best = self.bound
            worth, slope, slopes = self.look()
            length = slope**2 + float((slopes**2).sum())
            if length == 0.0 or ahead < _ENOUGH * max(self.n, 1):
                return
            waited = 0 if worth < best else waited + 1
            if waited == _PATIENCE:
                ahead, waited = ahead / 2, 0
                self.money, self.rents = self.best
                continue
            step = (worth - min(best, worth) + ahead) / length
            self.money = max(0.0, self.money - step * slope)
            self.rents = np.maximum(0.0, self.rents - step * slopes)
