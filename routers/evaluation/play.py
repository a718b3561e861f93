"""Policies played over a scene: which calls each row makes, and what they come to."""

import random
import zlib
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from routers.evaluation.course import Course, drive
from routers.evaluation.scene import (
    NO_CEILINGS,
    NOBODY,
    Ceilings,
    Position,
    Scene,
    stacked_positions,
)
from routers.evaluation.told import Recorded, Unheard
from routers.steps import Delegate
from routers.task import Task
from routers.workflows.base import Workflow


def play(
    workflow: Workflow,
    scene: Scene,
    rates: Sequence[float | None],
    picks: NDArray[np.intp],
    *,
    ceilings: Ceilings = NO_CEILINGS,
    seed: int = 0,
    unheard: Unheard | None = None,
    progress: Callable[[int], None] = lambda _: None,
) -> list[Position]:
    """Have a workflow answer all queries, at every exchange rate.

    It is driven query by query; one that `rehearses` where nothing is in the way goes the same way
    on all of them at once.

    Parameters
    ----------
    rates
        What `Task.usd_per_quality` is.
    picks
        What single choice takes, (n_rates, n_queries) columns.
    ceilings
        Of each query.
    unheard
        Counts what recorded answers could not tell.
    progress
        Told now and then how many queries are done.
    """
    told = None
    if workflow.rehearses and ceilings == Ceilings():
        told = _rehearsed(workflow, scene, rates)
    if told is None:
        return _drive(workflow, scene, rates, picks, ceilings, seed, unheard, progress)
    heard, positions = told
    lost = np.flatnonzero(~heard)
    if not len(lost):
        return positions
    driven = _drive(
        workflow, scene.rows(lost), rates, picks[:, lost], ceilings, seed, unheard, progress
    )
    back = np.argsort(np.concatenate([np.flatnonzero(heard), lost]))
    return [stacked_positions(each).rows(back) for each in zip(positions, driven, strict=True)]


def _rehearsed(
    workflow: Workflow, scene: Scene, rates: Sequence[float | None]
) -> tuple[NDArray[np.bool_], list[Position]] | None:
    """Return how a workflow goes on queries whose answers are all at hand, and which these are."""
    answers, predictions = scene.answers, scene.predictions
    known = [rate for rate in rates if rate is not None]
    if answers is None or predictions is None or len(known) < len(rates):
        return None
    heard = answers.literals != None  # noqa: E711
    if answers.texts is not None:
        heard |= answers.texts != None  # noqa: E711
    complete = np.asarray(heard.all(axis=1) & np.isfinite(scene.cost_usd).all(axis=1))
    rows = np.flatnonzero(complete)
    own = scene.rows(rows)
    assert own.answers is not None  # noqa: S101  (as the scene's)
    found = workflow.rehearse(
        own.answers, predictions.quality[rows].astype(np.float64), own.expected_costs(), known
    )
    return complete, [
        _of_calls(own, calls, served)
        for calls, served in zip(found.calls, found.served, strict=True)
    ]


def _of_calls(scene: Scene, calls: list[tuple[int, ...]], served: NDArray[np.intp]) -> Position:
    """Return what calls that were made one after the other came to."""
    called = np.zeros(scene.cost_usd.shape, bool)
    for row, columns in enumerate(calls):
        called[row, list(columns)] = True
    latency_s = np.where(called, scene.latency_s, 0.0).sum(axis=1)
    return Position(
        calls=calls,
        served=served,
        cost_usd=np.where(called, scene.cost_usd, 0.0).sum(axis=1),
        latency_s=latency_s,
        latency_sum_s=latency_s,
        own_quality=np.full(len(calls), np.nan),
    )


def _drive(  # noqa: PLR0917
    workflow: Workflow,
    scene: Scene,
    rates: Sequence[float | None],
    picks: NDArray[np.intp],
    ceilings: Ceilings,
    seed: int,
    unheard: Unheard | None,
    progress: Callable[[int], None],
) -> list[Position]:
    """Drive a workflow query by query."""
    n, lost = len(scene), Unheard() if unheard is None else unheard
    columns = {spec.model_id: column for column, spec in enumerate(scene.candidates)}
    names = list(columns)
    played = [_Playing(n) for _ in rates]
    for row in range(n):
        candidates = scene.estimates(row)
        known: dict[tuple[int, float | None], tuple[Course, float]] = {}
        for position, rate, pick in zip(played, rates, picks[:, row].tolist(), strict=True):
            # What does not heed the knob goes the same way wherever single choice does.
            key = (pick, rate if workflow.heeds_knob else None)
            if key not in known:
                task = Task(
                    conversation=scene.conversations[row],
                    candidates=candidates,
                    usd_per_quality=rate,
                    model_id=names[pick],
                    room=ceilings.room(),
                    rng=random.Random(zlib.crc32(scene.query_ids[row].encode()) ^ seed),  # noqa: S311
                    x=None if scene.x is None else scene.x[row],
                )
                told = Recorded(scene, row, columns, lost)
                course = drive(workflow, task, told.respond)
                end = course.end
                lost.n_rewritten += isinstance(end, Delegate) and end.messages is not None
                known[key] = course, told.worth(course.served)
            position.take(row, *known[key], lost, columns)
        if (row + 1) % _TOLD_EVERY == 0:
            progress(row + 1)
    return [each.position() for each in played]


_TOLD_EVERY = 1000


class _Playing:
    """A `Position` while it is filled."""

    def __init__(self, n: int) -> None:
        self._calls: list[tuple[int, ...]] = [()] * n
        self._served = np.full(n, NOBODY, dtype=np.intp)
        self._cost_usd, self._latency_s, self._latency_sum_s = np.zeros((3, n))
        self._own_quality = np.full(n, np.nan)

    def take(
        self, row: int, course: Course, worth: float, told: Unheard, columns: dict[str, int]
    ) -> None:
        """Take how one query went, and what its answer was worth where that is told apart."""
        self._calls[row] = tuple(told.column(each, columns) for each in course.calls)
        if course.served is not None:
            self._served[row] = columns[course.served.model_id]
        self._cost_usd[row] = course.cost_usd
        self._latency_s[row] = course.latency_s
        self._own_quality[row] = worth
        self._latency_sum_s[row] = sum(each.latency_s or 0.0 for each in course.heard)

    def position(self) -> Position:
        """Return what was taken."""
        return Position(
            calls=self._calls,
            served=self._served,
            cost_usd=self._cost_usd,
            latency_s=self._latency_s,
            latency_sum_s=self._latency_sum_s,
            own_quality=self._own_quality,
        )
