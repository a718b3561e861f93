"""Which model takes which request of a batch, while money and places go."""

from collections.abc import Collection, Mapping

import numpy as np

from app.batches.predictions import Predictions
from app.batches.records import Plan
from routers.decision.assignment import Assignment, LeftOut, assign

_LEAST_SETTLED = 20
"""So many answers a model's predicted costs are believed as much as."""
_REPLAN_SHARE, _REPLAN_LEAST = 0.1, 25
"""After so many of the requests that are left the rest are assigned anew."""


class Assignments:
    """The assignment of the requests of a batch, made anew as answers cost what they cost.

    Parameters
    ----------
    predictions
        Of all requests that wait.
    budget_usd
        What all of them may cost, what was spent before included; None for no bound.
    capacity
        How many requests each model may answer; others as many as they like.
    """

    def __init__(
        self,
        predictions: Predictions,
        *,
        budget_usd: float | None,
        capacity: Mapping[str, int],
    ) -> None:
        numbers = predictions.numbers
        self._rows = {number: row for row, number in enumerate(numbers)}
        self.models = tuple(sorted(predictions.models | set(capacity)))
        self._column = {model: column for column, model in enumerate(self.models)}
        self._quality, self._cost = predictions.tables(self.models)
        self._is_predicted = predictions.is_predicted
        self._budget_usd = budget_usd
        self._capacity = [capacity.get(model) for model in self.models]
        self._picks = np.full(len(numbers), -1, np.intp)
        self._why: dict[int, LeftOut] = {}
        self._waits = np.ones(len(numbers), bool)
        """Requests that are neither answered nor on their way."""
        self._used = np.zeros(len(self.models))
        self._spent_usd, self._on_way_usd = 0.0, 0.0
        self._paid = np.zeros((2, len(self.models)))
        """What answers of each model cost, and what they were predicted to."""
        self._n_settled, self._replan_at = 0, 0

    def answered_before(self, number: int, *, model: str | None, cost_usd: float) -> None:
        """Take note of a request that was answered before its batch was taken up again."""
        self._spent_usd += cost_usd
        if number in self._rows:
            self._waits[self._rows[number]] = False
        if model in self._column:
            self._used[self._column[model]] += 1

    def predicted_usd(self, number: int, model: str | None) -> float:
        """Return what a request was predicted to cost with a model; 0 where nobody knows."""
        row, column = self._rows.get(number), self._column.get(model or "")
        if row is None or column is None or np.isnan(self._cost[row, column]):
            return 0.0
        return float(self._cost[row, column])

    def lost(self, usd: float) -> None:
        """Take note of what requests may have cost whose answers nobody has."""
        self._spent_usd += usd

    def plan(self) -> Plan:
        """Assign all requests that wait; return what that is predicted to come to."""
        found, rows = self._assign()
        picks = found.picks[found.picks >= 0]
        counts = np.bincount(picks, minlength=len(self.models))
        return Plan(
            models={model: int(n) for model, n in zip(self.models, counts, strict=True) if n},
            cost_usd=found.cost_usd,
            quality=found.quality / len(picks) if len(picks) and self._is_predicted else None,
            quality_per_usd=found.quality_per_usd,
            left_out=len(rows) - len(picks),
        )

    def is_due(self) -> bool:
        """Return whether so much is answered since the last time that the rest looks otherwise."""
        return self._n_settled >= self._replan_at

    @property
    def n_ready(self) -> int:
        """How many requests wait that a model takes."""
        return int((self._waits & (self._picks >= 0)).sum())

    def is_assigned(self, number: int) -> bool:
        """Return whether a model takes a request, as things stand."""
        return bool(self._picks[self._rows[number]] >= 0)

    def take(self, number: int, *, but: Collection[str] = ()) -> str | None:
        """Return who is to answer a request, and count it there; None where nobody may.

        Parameters
        ----------
        but
            Models that failed with it: the next best is taken then.
        """
        row = self._rows[number]
        column = int(self._picks[row])
        if column < 0 or self.models[column] in but or not self._has_room(column):
            column = self._next_best(row, but)
        if column < 0:
            return None
        self._waits[row] = False
        self._used[column] += 1
        self._on_way_usd += float(self._cost[row, column])
        self._picks[row] = column
        return self.models[column]

    def settle(self, number: int, model: str, *, cost_usd: float, answered: bool) -> None:
        """Take note of what a request cost; one without an answer takes no place of its model."""
        row, column = self._rows[number], self._column[model]
        predicted = float(self._cost[row, column])
        self._on_way_usd = max(0.0, self._on_way_usd - predicted)
        self._spent_usd += cost_usd
        if not answered:
            self._used[column] -= 1
            return
        self._paid[:, column] += cost_usd, predicted
        self._n_settled += 1

    def why_left_out(self, number: int) -> LeftOut:
        """Return why nobody takes a request."""
        return self._why.get(self._rows[number], LeftOut.BUDGET)

    def _assign(self) -> tuple[Assignment, "np.ndarray[tuple[int], np.dtype[np.intp]]"]:
        rows = np.flatnonzero(self._waits)
        left = None
        if self._budget_usd is not None:
            left = max(0.0, self._budget_usd - self._spent_usd - self._on_way_usd)
        room = [
            None if limit is None else max(0, limit - int(used))
            for limit, used in zip(self._capacity, self._used, strict=True)
        ]
        found = assign(
            self._quality[rows],
            self._cost[rows] * self._dearer(),
            budget_usd=left,
            capacity=room,
            exact=False if len(rows) > 1 else None,
        )
        self._picks[rows] = found.picks
        self._why = {int(rows[row]): why for row, why in found.left_out}
        self._replan_at = self._n_settled + max(_REPLAN_LEAST, int(_REPLAN_SHARE * len(rows)))
        return found, rows

    def _dearer(self) -> "np.ndarray[tuple[int], np.dtype[np.float64]]":
        """Return how many times as much as predicted answers of each model have cost so far."""
        cost, predicted = self._paid
        n_known = np.maximum((~np.isnan(self._cost)).sum(axis=0), 1)
        prior = _LEAST_SETTLED * np.nansum(self._cost, axis=0) / n_known
        return np.asarray((cost + prior + 1e-12) / (predicted + prior + 1e-12))

    def _has_room(self, column: int) -> bool:
        limit = self._capacity[column]
        return limit is None or self._used[column] < limit

    def _next_best(self, row: int, but: Collection[str]) -> int:
        able = [
            column
            for column, model in enumerate(self.models)
            if model not in but
            and not np.isnan(self._quality[row, column])
            and self._has_room(column)
        ]
        if self._budget_usd is not None:
            left = self._budget_usd - self._spent_usd - self._on_way_usd
            able = [column for column in able if self._cost[row, column] <= left]
        if not able:
            return -1
        if but and self._picks[row] >= 0:
            # Nothing dearer than what was planned, if there is such.
            planned = self._cost[row, self._picks[row]]
            cheap = [column for column in able if self._cost[row, column] <= planned]
            if cheap:
                able = cheap
            else:
                return min(able, key=lambda column: float(self._cost[row, column]))
        return max(able, key=lambda column: float(self._quality[row, column]))
