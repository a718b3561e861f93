"""What `CascadeRouting.run` would do on recorded answers: all queries and exchange rates at once.

Queries whose answers came in the same pattern are decided together, by the very functions that
decide a live request.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from routers.answers.recorded import RecordedAnswers
from routers.numeric import FloatArray
from routers.workflows._belief import Belief
from routers.workflows._crowd_fit import UNKNOWN, UNREAD
from routers.workflows._literals import read_recorded
from routers.workflows.base import Rehearsal

if TYPE_CHECKING:
    from routers.workflows.cascade_routing import CascadeRouting, Outlook

_BLOCK = 48
"""Queries whose prospects are worked out at once: some 100 MB."""

Path = tuple[tuple[int, int], ...]
"""Who was called, and the number of what each said: UNREAD, UNKNOWN for an answer not at hand."""


def rehearse(
    workflow: "CascadeRouting",
    answers: RecordedAnswers,
    outlook: "Outlook",
    usd_per_quality: Sequence[float],
) -> Rehearsal:
    """Return how a workflow goes on recorded answers."""
    literals, signals = read_recorded(workflow.reader_, answers)
    heard = outlook.crowd.chances(outlook.odds + outlook.crowd.told(signals))
    shape = (len(usd_per_quality), len(answers))
    served = np.full(shape, -1, np.intp)
    calls = np.empty(shape, object)
    groups: dict[Path, NDArray[np.bool_]] = {(): np.ones(shape, bool)}
    while groups:
        then: dict[Path, NDArray[np.bool_]] = {}
        for path, active in groups.items():
            called = tuple(column for column, _ in path)
            for rate, row in zip(*np.nonzero(active), strict=True):
                calls[rate, row] = called
            rows = np.flatnonzero(active.any(axis=0))
            belief = _belief(outlook, heard, path, rows)
            next_calls = _decide(workflow, outlook, path, rows, belief, usd_per_quality)
            next_calls[~active[:, rows].T] = -2
            _stop(outlook, path, rows, belief, next_calls, served)
            for column in np.unique(next_calls[next_calls >= 0]).tolist():
                for said, at in _said(path, literals, rows, column):
                    going = np.zeros(shape, bool)
                    going[:, rows[at]] = (next_calls[at] == column).T
                    if not going.any():
                        continue
                    key = (*path, (column, said))
                    then[key] = then[key] | going if key in then else going
        groups = then
    return Rehearsal(calls=calls.tolist(), served=served)


def _belief(outlook: "Outlook", heard: FloatArray, path: Path, rows: NDArray[np.intp]) -> Belief:
    belief = Belief.before(len(rows), outlook.able.shape[1])
    for column, said in path:
        if said == UNREAD:
            belief = belief.unread(heard[rows, column])
        elif said != UNKNOWN:
            belief = belief.heard(
                heard[rows, column],
                said,
                column,
                outlook.crowd.alike,
                float(outlook.crowd.apart[0]),
            )
    return belief


def _decide(  # noqa: PLR0917
    workflow: "CascadeRouting",
    outlook: "Outlook",
    path: Path,
    rows: NDArray[np.intp],
    belief: Belief,
    usd_per_quality: Sequence[float],
) -> NDArray[np.intp]:
    """Return whom to call next, (n_rows, n_rates)."""
    calls = np.full((len(rows), len(usd_per_quality)), -1, np.intp)
    left = workflow.max_calls - len(path)
    able = outlook.able[rows]
    able[:, [column for column, _ in path]] = False
    if left < 1:
        return calls
    n_heard = sum(said != UNKNOWN for _, said in path)
    open_ = np.flatnonzero(able.any(axis=1))
    for start in range(0, len(open_), _BLOCK):
        at = open_[start : start + _BLOCK]
        calls[at] = workflow.next_calls(
            outlook,
            rows[at],
            Belief(belief.mass[at], belief.kin[at]),
            able[at],
            usd_per_quality,
            n_heard=n_heard,
            left=left,
        )
    return calls


def _said(
    path: Path, literals: NDArray[np.intp], rows: NDArray[np.intp], column: int
) -> list[tuple[int, NDArray[np.intp]]]:
    """Return what a model says, numbered as in the path, and which of the rows it says it to."""
    found = literals[rows, column]
    number = np.where(found < 0, found, _n_literals(path))
    for before, said in reversed(path):
        if said >= 0:
            number[(found >= 0) & (found == literals[rows, before])] = said
    return [(int(said), np.flatnonzero(number == said)) for said in np.unique(number)]


def _n_literals(path: Path) -> int:
    return max((said for _, said in path), default=-1) + 1 if path else 0


def _stop(  # noqa: PLR0917
    outlook: "Outlook",
    path: Path,
    rows: NDArray[np.intp],
    belief: Belief,
    calls: NDArray[np.intp],
    served: NDArray[np.intp],
) -> None:
    """Fill in who serves where nobody is called any more."""
    stopping, rates = np.nonzero(calls == -1)
    told = [each for each in path if each[1] != UNKNOWN]
    if not len(stopping) or not told:
        return
    slip = outlook.crowd.slip
    n_literals = belief.kin.shape[2]
    if n_literals:
        speaker = [
            min((c for c, said in told if said == n), key=lambda c: float(slip[c]))
            for n in range(n_literals)
        ]
        who = np.asarray(speaker)[belief.posterior[:, 0].argmax(axis=1)]
    else:
        who = np.full(len(rows), min((c for c, _ in told), key=lambda c: float(slip[c])))
    served[rates, rows[stopping]] = who[stopping]
