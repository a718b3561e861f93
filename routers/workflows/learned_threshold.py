"""A threshold between a cheap model and a strong one that is learned from one-sided feedback."""

import math
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, Self

import numpy as np
from pydantic import Field

from routers.decisions import CandidateEstimate
from routers.errors import RoutingConfigError
from routers.numeric import FloatArray
from routers.options import State, take
from routers.steps import Delegate, Draft, Run, Serve, Skip
from routers.task import Task
from routers.workflows._meanwhile import meanwhile
from routers.workflows.base import WORKFLOWS, WorkflowContext
from routers.workflows.cascade import not_among
from routers.workflows.learning.base import Beliefs, Estimate
from routers.workflows.learning.believing import BelievingWorkflow
from routers.workflows.learning.cells import UCB_Z, CellBeliefs, Learner
from routers.workflows.learning.lessons import Lesson
from routers.workflows.learning.subject import subject_of
from routers.workflows.learning.verifier import Verifier, told

_BY = "threshold"
_INTERVAL_Z = 1.645
"""Of the interval that is told with a threshold: nine in ten."""
_UNKNOWN_QUALITY = 0.5
_FOLLOWS = 0.02
"""How much of a request's prices and knob goes into those that the threshold is told for."""


@WORKFLOWS.register("learned-threshold")
@dataclass(kw_only=True)
class LearnedThreshold(BelievingWorkflow[CellBeliefs]):
    """Let the cheap model answer where its predicted quality reaches a threshold.

    How good its answers are is known only where it was asked: so on a share of the requests that
    the strong model answers, the cheap one is asked too, in its shadow, and both answers are
    verified before the strong one's is served. Outcomes are counted by bins of the predicted
    quality, those of all bins at once say what every threshold is worth, and old ones fade. What a
    better answer is worth is for the knob to say; the answer streams, whoever gives it, unless it
    is looked into.

    Attributes
    ----------
    cheap, strong
        The models, both of them candidates.
    threshold
        `learned`, or the least predicted quality of the cheap model at which it answers.
    verifier
        Who says whether an answer is good; learning needs one.
    shadow
        The share of the strong model's requests on which the cheap one is asked too.
    checked
        The share of the cheap model's answers that are verified, and served whatever the verdict.
    learner
        `thompson` draws from what is believed, with its true propensity; `ucb` takes the cheap
        model to be as good as it may well be; `greedy` goes by the mean, and never finds out that a
        model became better where it does not ask it.
    bins
        How many scores are told apart.
    memory
        After so many requests an outcome counts for a third of what it did; None keeps all.
    prior_observations
        What a prediction of the router weighs in a bin, in outcomes.

    References
    ----------
    Learning thresholds with latent values and censored feedback, arXiv:2312.04653; Raj and Kalyani
    2017, Taming non-stationary bandits: a Bayesian approach, arXiv:1707.09727.
    """

    kind = "learned-threshold"
    heeds_knob = True

    cheap: Annotated[str, Field(min_length=1)]
    strong: Annotated[str, Field(min_length=1)]
    threshold: Literal["learned"] | Annotated[float, Field(ge=0, le=1)] = "learned"
    verifier: dict[str, Any] | None = None
    shadow: Annotated[float, Field(ge=0, le=1)] = 0.03
    checked: Annotated[float, Field(ge=0, le=1)] = 0.1
    learner: Learner = "thompson"
    bins: Annotated[int, Field(ge=2, le=200)] = 16
    memory: Annotated[int, Field(ge=10)] | None = 20_000
    prior_observations: Annotated[float, Field(gt=0, le=1e6)] = 4.0

    _verifier: Verifier | None = field(init=False, repr=False)
    _edges: FloatArray = field(init=False, repr=False)  # (bins + 1,)
    _cuts: list[float] = field(init=False, repr=False)  # those between two bins
    _typical: tuple[float, float] | None = field(init=False, repr=False, default=None)
    """Of late requests: the strong model's score, and what the money saved is worth in quality."""

    def __post_init__(self) -> None:
        if self.cheap == self.strong:
            raise RoutingConfigError("a threshold stands between two models, not one and the same")
        self._verifier = Verifier.of(self.verifier)
        self._start(np.linspace(0, 1, self.bins + 1), None)

    # --- what it needs --------------------------------------------------------------------------

    @property
    def learns_online(self) -> bool:
        """Whether the threshold is learned."""
        return self.threshold == "learned"

    @property
    def wants_logprobs(self) -> bool:
        """As the verifier does."""
        return self._verifier is not None and self._verifier.acceptor.wants_logprobs

    def asks(self, candidates: Iterable[str]) -> tuple[str, ...]:
        """Return those that the verifier asks."""
        del candidates
        return () if self._verifier is None else self._verifier.acceptor.model_ids

    def doubts(self, candidates: Sequence[str]) -> list[str]:
        """Say what is missing: the models, a verifier, or anything that tells of the cheap one."""
        found = not_among(candidates, (self.cheap, self.strong))
        if not self.learns_online:
            return found
        if self._verifier is None:
            found.append("a learned threshold needs a `verifier`: nothing else says what is good")
        else:
            found += self._verifier.doubts(candidates)
        if self.shadow == 0:
            found.append(
                "without a `shadow` share nothing tells of the cheap model where it is not asked"
            )
        return found

    # --- a request ------------------------------------------------------------------------------

    def run(self, task: Task) -> Run:
        """Let one of the two answer, and look into it on a share of the requests."""
        cheap, strong = task.candidate(self.cheap), task.candidate(self.strong)
        if cheap is None or strong is None:
            return Skip(why="one_stage")
        score = _score(cheap)
        if self.threshold != "learned":
            keeps, propensity = score >= self.threshold, 1.0
            why = f"{score:.3f} at a threshold of {self.threshold:g}"
        else:
            believed, std = self._beliefs.chance(self._bin(score), score)
            saved = _saved(task, cheap, strong)
            needed = self._needed(_score(strong), saved, self._bin(score))
            keeps, propensity = self._keeps(task, believed - needed, std)
            why = f"{believed:.3f} of {needed:.3f} needed"
        model_id = self.cheap if keeps else self.strong
        looks = self.learns_online and task.rng.random() < (self.checked if keeps else self.shadow)
        if not looks or self._verifier is None:
            return Delegate(model_id=model_id, by=_BY, why=why, propensity=propensity)
        both = (model_id,) if keeps else (model_id, self.cheap)
        answers = yield tuple(Draft(model_id=each) for each in both)
        heard = [answer for answer in answers if answer is not None]
        if len(heard) == len(both):
            # Both by the same verifier, so that one measure holds for both.
            yield from meanwhile([self._verifier.verify(task, answer) for answer in heard])
        if answers[0] is None:
            return Delegate(model_id=model_id, by=_BY, why=why, propensity=propensity)
        # Whatever is said of it: that it is served must not depend on whether it is looked at.
        return Serve(answer=answers[0], by=_BY, why=why, propensity=propensity)

    def learned(self, task: Task) -> Estimate:
        """Return the threshold for what a request's answers cost, and what the knob says.

        Raises
        ------
        KeyError
            If one of the two models may not be called.
        """
        cheap, strong = task.candidate(self.cheap), task.candidate(self.strong)
        if cheap is None or strong is None:
            raise KeyError(self.strong if strong is None else self.cheap)
        return self._threshold(_score(strong), _saved(task, cheap, strong))

    def _threshold(self, strong_score: float, saved: float) -> Estimate:
        gains, stds = [], []
        for each in range(self.bins):
            mean, std = self._beliefs.chance(each, float(self._edges[each : each + 2].mean()))
            gains.append(mean - self._needed(strong_score, saved, each))
            stds.append(_INTERVAL_Z * std)
        gain, spread = np.array(gains), np.array(stds)
        return Estimate(*(self._lowest(gain + each) for each in (0, spread, -spread)))

    def _lowest(self, gain: FloatArray) -> float:
        """Return the least score from which on nothing is lost."""
        lost = np.nonzero(gain < 0)[0]
        return float(self._edges[lost[-1] + 1 if len(lost) else 0])

    def _keeps(self, task: Task, gain: float, std: float) -> tuple[bool, float]:
        """Return whether the cheap model answers, and how probable what is chosen was."""
        if self.learner != "thompson":
            return gain + (UCB_Z * std if self.learner == "ucb" else 0.0) >= 0, 1.0
        chance = 0.5 * math.erfc(-gain / (std * math.sqrt(2)))
        keeps = task.rng.random() < chance
        return keeps, chance if keeps else 1 - chance

    def _needed(self, strong_score: float, saved: float, at: int) -> float:
        """Return how good the cheap model has to be in a bin, for what it saves.

        The strong model's scatter is left alone: it is verified in shadows only, so that exploring
        it would teach nothing.
        """
        others, _ = self._beliefs.chance(at + self.bins, strong_score)
        return others - saved

    def _bin(self, score: float) -> int:
        return bisect_right(self._cuts, score)

    # --- what requests teach --------------------------------------------------------------------

    def lesson(self, task: Task) -> Lesson | None:
        """Return what the verdicts teach; without any, that a request went by."""
        cheap, strong = task.candidate(self.cheap), task.candidate(self.strong)
        if not self.learns_online or cheap is None:
            return None
        if strong is not None:
            self._typical = _closer(self._typical, (_score(strong), _saved(task, cheap, strong)))
        own = self._bin(_score(cheap))
        cells = {self.cheap: own, self.strong: own + self.bins}
        verdicts = [each for each in told(task) if each.answer.model_id in cells]
        at = np.array([cells[each.answer.model_id] for each in verdicts], np.intp)
        return self._beliefs.lesson(at, np.array([float(each.accepted) for each in verdicts]))

    @property
    def subject(self) -> bytes:
        """The two models, who verifies them, and the bins that are counted in."""
        return subject_of(
            {"kind": self.kind, "cheap": self.cheap, "strong": self.strong},
            {"verifier": self.verifier},
            self._edges,
        )

    def beliefs(self) -> Beliefs:
        """Return the threshold of requests as they came lately."""
        if not self.learns_online or self._typical is None:
            return Beliefs()
        return Beliefs(threshold=self._threshold(*self._typical))

    # --- what recorded answers teach ------------------------------------------------------------

    def fit(self, context: WorkflowContext) -> Self:
        """Cut the bins so that each holds as many requests, and begin with their outcomes."""
        models = context.answers.models
        missing = [each for each in (self.cheap, self.strong) if each not in models]
        if missing:
            raise RoutingConfigError(f"there are no outcomes of {', '.join(missing)}")
        columns = [models.index(self.cheap), models.index(self.strong)]
        scores = np.asarray(context.predictions.quality, np.float64)[:, columns[0]]
        inner = np.quantile(scores, np.arange(1, self.bins) / self.bins)
        self._start(np.concatenate([[0.0], inner, [1.0]]), None)
        quality = np.asarray(context.labels.quality, np.float64)[:, columns]
        cells = np.array([self._bin(each) for each in scores])[:, None] + [0, self.bins]
        known = ~np.isnan(quality)
        prior = self._beliefs.lesson(cells[known], quality[known], n_requests=0)
        self._start(self._edges, prior)
        return self

    def state(self) -> dict[str, np.ndarray]:
        """Return what was fitted; what requests taught are lessons, which are kept elsewhere."""
        return {"edges": self._edges, **self._prior_state()}

    def restore(self, state: State, models: Sequence[str]) -> Self:
        """Take over what was fitted."""
        del models
        edges = take(state, "edges", ndim=1)
        if len(edges) != self.bins + 1 or (np.diff(edges) < 0).any():
            raise ValueError("the edges of the bins do not fit")
        self._start(edges, self._prior_of(state))
        return self

    def _start(self, edges: FloatArray, prior: Lesson | None) -> None:
        self._edges, self._cuts = edges, edges[1:-1].tolist()
        self._begin(prior)

    def _untaught(self) -> CellBeliefs:
        return CellBeliefs(
            (2 * self.bins,), prior_observations=self.prior_observations, memory=self.memory
        )


def _score(candidate: CandidateEstimate) -> float:
    return _UNKNOWN_QUALITY if candidate.quality is None else float(candidate.quality)


def _saved(task: Task, cheap: CandidateEstimate, strong: CandidateEstimate) -> float:
    """Return what the money that the cheap model saves is worth, in quality."""
    rate = task.usd_per_quality
    if rate is None:  # where no router predicts, nothing says what quality is worth
        return 0.0
    return ((strong.cost_usd or 0.0) - (cheap.cost_usd or 0.0)) / max(rate, 1e-12)


def _closer(before: tuple[float, float] | None, latest: tuple[float, float]) -> tuple[float, float]:
    """Return an average that follows what comes."""
    if before is None:
        return latest
    return (
        before[0] + _FOLLOWS * (latest[0] - before[0]),
        before[1] + _FOLLOWS * (latest[1] - before[1]),
    )
