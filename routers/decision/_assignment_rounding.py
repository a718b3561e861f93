"""From prices to picks that keep the budget and every capacity."""

import heapq
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from routers.numeric import FloatArray

NOBODY = -1
_PASSES = 12


class Rounding:
    """Picks that are moved until they keep every limit, and then as far up as the rest pays for.

    Parameters
    ----------
    value, cost, weight, budget, capacity
        As of `routers.decision._assignment_prices.prices_of`.
    left
        What of each value prices leave, the same shape.
    picks
        (n_requests,), the model of each; `NOBODY` where it is left out.
    """

    def __init__(
        self,
        value: FloatArray,
        cost: FloatArray,
        weight: FloatArray,
        *,
        budget: float,
        capacity: FloatArray,
        left: FloatArray,
        picks: NDArray[np.intp],
    ) -> None:
        self.value, self.cost, self.weight = value, cost, weight
        self.budget, self.capacity, self.left = budget, capacity, left
        self.picks = picks.copy()
        self.is_unit = bool((weight == 1.0).all())
        rows = np.flatnonzero(self.picks >= 0)
        at = self.picks[rows]
        self.room = capacity - np.bincount(at, weight[rows, at], len(capacity))
        self.spent = float(cost[rows, at].sum())

    @property
    def keeps_all(self) -> bool:
        """Whether budget and capacities are kept."""
        return bool(self.spent <= self.budget and (self.room >= 0).all())

    @property
    def total(self) -> float:
        """What the picks are worth together."""
        rows = np.flatnonzero(self.picks >= 0)
        return float(self.value[rows, self.picks[rows]].sum())

    def move(self, row: int, to: int) -> None:
        """Give a request another model, or none."""
        at = int(self.picks[row])
        if at >= 0:
            self.room[at] += self.weight[row, at]
            self.spent -= self.cost[row, at]
        if to >= 0:
            self.room[to] -= self.weight[row, to]
            self.spent += self.cost[row, to]
        self.picks[row] = to

    def keep_capacities(self) -> None:
        """Move requests out of models that hold too many, and leave out whom none can take."""
        for column in np.flatnonzero(self.room < 0):
            self._move_out(int(column))
        while self.is_unit and (over := np.flatnonzero(self.room < 0)).size:
            if not self._pass_on(int(over[0])):
                break
        for column in np.flatnonzero(self.room < 0):
            members = np.flatnonzero(self.picks == column)
            dearest = np.lexsort((-self.cost[members, column], -self.weight[members, column]))
            for row in members[dearest]:
                if self.room[column] >= 0:
                    break
                self.move(int(row), NOBODY)

    def _move_out(self, column: int) -> None:
        """Move whoever loses least to models with room, until there is room here too."""
        while self.room[column] < 0:
            members = np.flatnonzero(self.picks == column)
            fits = np.isfinite(self.left[members]) & (self.weight[members] <= self.room)
            others = np.where(fits, self.left[members], -np.inf)
            to = others.argmax(axis=1)
            best = others[np.arange(len(members)), to]
            able = np.flatnonzero(np.isfinite(best))
            if not able.size:
                return
            loss = self.left[members[able], column] - best[able]
            for place in able[np.argsort(loss, kind="stable")]:
                if self.room[column] >= 0:
                    return
                row, there = int(members[place]), int(to[place])
                if self.weight[row, there] <= self.room[there]:
                    self.move(row, there)

    def _pass_on(self, column: int) -> bool:
        """Move one request out along the cheapest chain of models, each handing one on.

        As in successive shortest paths for transport problems, where every request counts one.
        """
        m = len(self.capacity)
        losses = np.full((m, m), np.inf)
        movers = np.full((m, m), NOBODY, np.intp)
        for at in range(m):
            members = np.flatnonzero(self.picks == at)
            if members.size:
                lost = self.left[members, at][:, None] - self.left[members]
                lost[~np.isfinite(self.left[members])] = np.inf
                least = lost.argmin(axis=0)
                losses[at] = lost[least, np.arange(m)]
                movers[at] = members[least]
        np.fill_diagonal(losses, np.inf)
        chain = _cheapest_chain(losses, column, np.flatnonzero(self.room >= 1))
        for at, to in pairwise(chain):
            self.move(int(movers[at, to]), to)
        return bool(chain)

    def keep_budget(self) -> None:
        """Move requests to cheaper models, where the least value is lost for a dollar first."""
        while self.spent > self.budget:
            rows = np.flatnonzero(self.picks >= 0)
            at = self.picks[rows]
            saved = self.cost[rows, at][:, None] - self.cost[rows]
            lost = self.value[rows, at][:, None] - self.value[rows]
            able = (saved > 0) & np.isfinite(lost) & self._fits(rows)
            with np.errstate(invalid="ignore", divide="ignore"):
                rate = np.where(able, lost / saved, np.inf)
            to = rate.argmin(axis=1)
            best = rate[np.arange(len(rows)), to]
            moved = False
            for place in np.argsort(best, kind="stable"):
                if self.spent <= self.budget or not np.isfinite(best[place]):
                    break
                row, there = int(rows[place]), int(to[place])
                if self.weight[row, there] <= self._room_for(row, there):
                    self.move(row, there)
                    moved = True
            if not moved:
                return

    def fill(self) -> None:
        """Spend what is left where it buys most."""
        for _ in range(_PASSES):
            rows = np.arange(len(self.picks))
            at = self.picks
            served = at >= 0
            now = np.where(served, self.value[rows, at], 0.0)
            paid = np.where(served, self.cost[rows, at], 0.0)
            gain = self.value - now[:, None]
            extra = self.cost - paid[:, None]
            able = (gain > 1e-12) & (extra <= self.budget - self.spent) & self._fits(rows)
            if not able.any():
                return
            with np.errstate(invalid="ignore", divide="ignore"):
                rate = np.where(able, gain / np.maximum(extra, 1e-300), -np.inf)
            to = rate.argmax(axis=1)
            best = rate[rows, to]
            for row in np.argsort(-best, kind="stable"):
                there = int(to[row])
                if not np.isfinite(best[row]):
                    break
                fits = self.weight[row, there] <= self._room_for(int(row), there)
                if fits and extra[row, there] <= self.budget - self.spent:
                    self.move(int(row), there)
            # Sums of many small amounts drift; limits are held against exact ones.
            self.count_again()

    def _fits(self, rows: NDArray[np.intp]) -> NDArray[np.bool_]:
        weight = self.weight[rows]
        room = np.broadcast_to(self.room, weight.shape).copy()
        served = np.flatnonzero(self.picks[rows] >= 0)
        at = self.picks[rows][served]
        room[served, at] += weight[served, at]
        return np.asarray(weight <= room)

    def _room_for(self, row: int, to: int) -> float:
        own = self.weight[row, to] if self.picks[row] == to else 0.0
        return float(self.room[to] + own)

    def count_again(self) -> None:
        """Count what is spent and taken anew, without what moves lost of the last digits."""
        rows = np.flatnonzero(self.picks >= 0)
        at = self.picks[rows]
        self.spent = float(self.cost[rows, at].sum())
        self.room = self.capacity - np.bincount(at, self.weight[rows, at], len(self.capacity))


def _cheapest_chain(losses: FloatArray, start: int, ends: NDArray[np.intp]) -> list[int]:
    """Return the models of the cheapest way from one to any with room; none where there is none.

    Losses against prices are not negative but for rounding; none is taken to be.
    """
    costs = np.maximum(losses, 0.0)
    wanted, reached = {int(each) for each in ends}, {start: 0.0}
    came: dict[int, int] = {}
    heap = [(0.0, start)]
    while heap:
        cost, at = heapq.heappop(heap)
        if cost > reached[at]:
            continue
        if at in wanted:
            chain = [at]
            while chain[-1] != start:
                chain.append(came[chain[-1]])
            return chain[::-1]
        for to in np.flatnonzero(np.isfinite(costs[at])).tolist():
            there = cost + float(costs[at, to])
            if there < reached.get(to, np.inf):
                reached[to], came[to] = there, at
                heapq.heappush(heap, (there, to))
    return []
