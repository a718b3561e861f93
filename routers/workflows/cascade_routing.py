"""Call the model whose answer is expected to be worth most, and stop where none is worth it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Annotated, Any, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from routers.answers.normalise import Normaliser
from routers.answers.recorded import RecordedAnswers
from routers.decisions import CandidateEstimate
from routers.numeric import FloatArray
from routers.options import State, prefixed, require_fitted, take, under, unfitted
from routers.steps import Answer, Delegate, Draft, Run, Serve, Skip
from routers.task import Task
from routers.workflows._belief import Belief, look_ahead
from routers.workflows._crowd import Crowd, worth_calling
from routers.workflows._crowd_fit import fit_crowd
from routers.workflows._literals import Heard, LiteralReader, read_recorded
from routers.workflows.base import WORKFLOWS, Rehearsal, Workflow, WorkflowContext

_STOP = -1
_CROWD = "crowd/"
_VIEWS = 64


@dataclass(frozen=True, slots=True)
class Outlook:
    """What is believed of a batch of queries before anything is called.

    Attributes
    ----------
    odds
        (n_queries, n_models), log odds of each model's being right.
    chance
        (n_queries, n_models, n_values), the chances of that.
    cost
        (n_queries, n_models), what an answer is expected to cost.
    able
        (n_queries, n_models), whether a model may be called.
    """

    crowd: Crowd
    odds: FloatArray
    chance: FloatArray
    cost: FloatArray
    able: NDArray[np.bool_]


@WORKFLOWS.register("cascade-routing")
@dataclass(kw_only=True)
class CascadeRouting(Workflow):
    """Routing and cascading at once: after every answer, call any further model or stop.

    What answers say of each other tells how probably each is right: where models agree they mostly
    are, relatives less so, and long answers by a model that is usually brief are doubtful. What
    serves is what is most probably right, whoever said it. The next call is the one that is worth
    most under the exchange rate, looking a few calls ahead; where none is worth its cost it stops.

    Attributes
    ----------
    max_calls
        How many models are called at most.
    look_ahead
        How many calls it looks ahead before the first one; after each, one less.
    dominators
        A model that so many others beat in quality and in cost is not called.
    shortlist
        Of how many models it weighs the next call.
    least_gain
        A call has to raise the expected quality by more than this, whatever it costs.
    normaliser
        How answers are compared where nobody told what they come down to.

    References
    ----------
    Dekoninck, Baader & Vechev 2024, A unified approach to routing and cascading for LLMs,
    arXiv:2410.10347; Dawid & Skene 1979 (who is right, by how often each is).
    """

    kind = "cascade-routing"
    learns = True
    heeds_knob = True
    rehearses = True

    max_calls: Annotated[int, Field(ge=1, le=8)] = 5
    look_ahead: Annotated[int, Field(ge=1, le=3)] = 3
    dominators: Annotated[int, Field(ge=1, le=8)] = 3
    shortlist: Annotated[int, Field(ge=2, le=16)] = 12
    least_gain: Annotated[float, Field(ge=0, lt=1)] = 5e-4
    normaliser: Normaliser = "auto"

    models_: tuple[str, ...] = unfitted()
    crowd_: Crowd = unfitted()  # noqa: RUF009
    reader_: LiteralReader = unfitted()  # noqa: RUF009
    _view: Any = field(init=False, repr=False, default=None)

    # --- learning -------------------------------------------------------------------------------

    def fit(self, context: WorkflowContext) -> Self:
        """Learn how right, how alike and how telling the models are."""
        reader = LiteralReader.fit(context.answers, context.labels.quality, self.normaliser)
        literals, signals = read_recorded(reader, context.answers)
        crowd = fit_crowd(
            context.predictions.quality.astype(np.float64),
            context.labels.quality.astype(np.float64),
            literals,
            signals,
            context.rng,
        )
        return self._take(context.answers.models, crowd, reader)

    def state(self) -> dict[str, np.ndarray]:
        """Return everything that was learned as named plain arrays."""
        require_fitted(self, "crowd_")
        arrays = prefixed(_CROWD, self.crowd_.state())
        reader = self.reader_
        arrays["reader"] = np.asarray([reader.blank_answers, reader.as_worded])
        return arrays

    def restore(self, state: State, models: Sequence[str]) -> Self:
        """Take over what `state` returned; runs are then the same.

        Raises
        ------
        KeyError, ValueError, ArtifactError
            If an array is missing or has the wrong shape.
        """
        crowd = Crowd.restore(under(_CROWD, state), len(models))
        blank, as_worded = take(state, "reader", ndim=1).tolist()
        reader = LiteralReader(by=self.normaliser, blank_answers=blank, as_worded=as_worded)
        self._take(models, crowd, reader)
        return self

    def _take(self, models: Sequence[str], crowd: Crowd, reader: LiteralReader) -> Self:
        self.models_, self.crowd_, self.reader_ = tuple(models), crowd, reader
        columns = {model: column for column, model in enumerate(models)}

        def view(names: tuple[str, ...]) -> Crowd:
            unknown = np.asarray([name not in columns for name in names])
            return crowd.of([columns.get(name, 0) for name in names], unknown)

        self._view = lru_cache(maxsize=_VIEWS)(view)
        return self

    # --- deciding -------------------------------------------------------------------------------

    def outlook(self, models: Sequence[str], quality: FloatArray, cost: FloatArray) -> Outlook:
        """Return what is believed before anything is called.

        Parameters
        ----------
        quality, cost
            (n_queries, n_models), predicted; NaN where nothing is.
        """
        crowd: Crowd = self._view(tuple(models))
        odds = crowd.odds(quality)
        known = np.asarray([model in self.models_ for model in models])
        usual = np.where(known, crowd.mean, odds)
        price = np.where(np.isnan(cost) | (~known & np.isnan(quality)), np.inf, cost)
        able = worth_calling(usual, price, dominators=self.dominators, most=self.shortlist)
        return Outlook(crowd, odds, crowd.chances(odds), np.where(able, price, 0.0), able)

    def next_calls(
        self,
        outlook: Outlook,
        rows: NDArray[np.intp],
        belief: Belief,
        able: NDArray[np.bool_],
        usd_per_quality: Sequence[float],
        *,
        n_heard: int,
        left: int,
    ) -> NDArray[np.intp]:
        """Return whom to call next, (n_rows, n_rates); `_STOP` where what was heard will do.

        Parameters
        ----------
        able
            (n_rows, n_models), whether a model may be called yet.
        n_heard, left
            How many were called, and may be called yet.
        """
        depth = min(max(1, self.look_ahead - (n_heard + 1) // 2), left, int(able.sum(axis=1).max()))
        rates = np.asarray(usd_per_quality, np.float64)
        endless = np.isinf(rates)
        worth = np.where(endless, 1.0, rates), np.where(endless, 0.0, 1.0)
        # Time goes with the cube of the models: those that nobody may call are left out.
        open_ = np.flatnonzero(able.any(axis=0))
        prospect = look_ahead(
            Belief(belief.mass, belief.kin[..., open_]),
            outlook.chance[np.ix_(rows, open_)],
            outlook.cost[np.ix_(rows, open_)],
            able[:, None, open_],
            worth,
            alike=outlook.crowd.alike[np.ix_(open_, open_)],
            apart=float(outlook.crowd.apart[0]),
            depth=depth,
        )
        call = prospect.call[:, 0]
        best = call.argmax(axis=1)
        gain = np.take_along_axis(call, best[:, None], axis=1)[:, 0] - prospect.stop[:, 0]
        least = self.least_gain * prospect.certain[:, 0, None] * worth[0]
        nothing = belief.kin.shape[2] == 0 and n_heard == 0
        return np.where((gain > least) | nothing, open_[best], _STOP)

    # --- live -----------------------------------------------------------------------------------

    def run(self, task: Task) -> Run:
        """Come to an answer, step by step."""
        rate = task.usd_per_quality
        if rate is None:
            return Skip(why="objective")
        each = _Round.of(self, task)
        if each is None:
            return Skip(why="candidates")
        if rate == 0 or min(self.max_calls, task.room.calls) == 1:
            return Delegate(model_id=each.next(rate) or task.model_id, by=self.kind, why="one call")
        while True:
            model_id = each.next(rate)
            if model_id is None:
                break
            (answer,) = yield (Draft(model_id=model_id),)
            each.hear(model_id, answer)
        return each.end()

    def rehearse(
        self,
        answers: RecordedAnswers,
        quality: FloatArray,
        cost_usd: FloatArray,
        usd_per_quality: Sequence[float],
    ) -> Rehearsal:
        """Return how `run` would go, for all queries and rates at once."""
        from routers.workflows._cascade_rehearsal import rehearse  # noqa: PLC0415  (as it is needed)

        outlook = self.outlook(answers.models, quality, cost_usd)
        return rehearse(self, answers, outlook, usd_per_quality)


class _Round:
    """One request while it is answered."""

    def __init__(
        self, workflow: CascadeRouting, task: Task, models: tuple[str, ...], outlook: Outlook
    ) -> None:
        self._workflow, self._task, self._models, self._outlook = workflow, task, models, outlook
        self._able = outlook.able.copy()
        self._belief = Belief.before(1, len(models))
        self._heard: list[Heard] = []
        self._n_called = 0

    @classmethod
    def of(cls, workflow: CascadeRouting, task: Task) -> "_Round | None":
        """Return a round among the candidates; None where none of them can be weighed."""
        candidates = _in_order(workflow.models_, task.candidates)
        models = tuple(each.model_id for each in candidates)
        if not models:
            return None
        quality = np.asarray([[_number(each.quality) for each in candidates]])
        cost = np.asarray([[_number(each.cost_usd) for each in candidates]])
        outlook = workflow.outlook(models, quality, cost)
        return cls(workflow, task, models, outlook) if outlook.able.any() else None

    def next(self, rate: float) -> str | None:
        """Return whom to call next; None where what was heard has to do."""
        workflow, room = self._workflow, self._task.room
        left = min(workflow.max_calls - self._n_called, room.calls)
        if left < 1 or (room.time_s is not None and room.time_s <= 0):
            return None
        if room.cost_usd is not None:
            for column in np.flatnonzero(self._able[0]).tolist():
                if not self._task.may_cost((self._models[column],)):
                    self._able[0, column] = False
        if not self._able.any():
            return None
        (column,) = workflow.next_calls(
            self._outlook,
            _ONLY,
            self._belief,
            self._able,
            (rate,),
            n_heard=len(self._heard),
            left=left,
        )[:, 0].tolist()
        return None if column == _STOP else self._models[column]

    def hear(self, model_id: str, answer: Answer | None) -> None:
        """Take an answer in; None for one that could not be had."""
        column = self._models.index(model_id)
        self._able[0, column] = False
        self._n_called += 1
        if answer is None:
            return
        outlook, reader = self._outlook, self._workflow.reader_
        heard = reader.hear(answer, column, self._heard)
        signals = np.full((1, len(self._models), len(heard.signals)), np.nan)
        signals[0, column] = heard.signals
        odds = outlook.odds + outlook.crowd.told(signals)
        chance = outlook.crowd.chances(odds)[:, column]
        self._heard.append(heard)
        if heard.literal is None:
            self._belief = self._belief.unread(chance)
            return
        self._belief = self._belief.heard(
            chance, heard.literal, column, outlook.crowd.alike, float(outlook.crowd.apart[0])
        )

    def end(self) -> Serve | Delegate:
        """Serve what is most probably right, in the words of who words it best."""
        kind = self._workflow.kind
        if not self._heard:
            return Delegate(model_id=self._task.model_id, by=kind, why="no answer")
        slip = self._outlook.crowd.slip
        posterior = self._belief.posterior[0, 0].tolist()
        literal = max(range(len(posterior)), key=posterior.__getitem__, default=None)
        agreeing = [each for each in self._heard if each.literal == literal]
        served = min(agreeing, key=lambda each: float(slip[each.column]))
        score = None if literal is None else posterior[literal]
        why = "unread" if literal is None else f"{len(agreeing)} of {len(self._heard)} say so"
        for each in self._heard:
            says = each.literal == literal and literal is not None
            self._task.judged(
                each.answer,
                accepted=each is served,
                by=kind,
                score=posterior[each.literal] if each.literal is not None else None,
                why="says the same" if says else "says something else",
            )
        return Serve(answer=served.answer, by=kind, score=score, why=why)


_ONLY = np.zeros(1, np.intp)


def _in_order(
    models: Sequence[str], candidates: Sequence[CandidateEstimate]
) -> list[CandidateEstimate]:
    """Return candidates in the order of the models, others after them: ties fall the same way."""
    place = {model: i for i, model in enumerate(models)}
    return sorted(
        candidates, key=lambda each: (place.get(each.model_id, len(place)), each.model_id)
    )


def _number(value: float | None) -> float:
    return float("nan") if value is None else value
