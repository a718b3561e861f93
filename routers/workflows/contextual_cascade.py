"""An ordered cascade that learns which models to try from verdicts on their answers."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, Self

import numpy as np
from pydantic import Field

from routers.errors import RoutingConfigError
from routers.numeric import FloatArray
from routers.options import State, packed_lines, take, take_lines
from routers.steps import Answer, Delegate, Draft, Run, Serve, Skip
from routers.task import Task
from routers.types import FloatVector
from routers.workflows.base import WORKFLOWS, WorkflowContext
from routers.workflows.cascade import LAST_STAGE, not_among
from routers.workflows.learning.base import Beliefs, Estimate
from routers.workflows.learning.believing import BelievingWorkflow
from routers.workflows.learning.lessons import Lesson
from routers.workflows.learning.linear_beliefs import (
    OBSERVED,
    Belief,
    LinearBeliefs,
    arm_features,
    n_columns,
)
from routers.workflows.learning.ordered_cascade import best_order
from routers.workflows.learning.subject import subject_of
from routers.workflows.learning.verifier import Verifier, told

_UNKNOWN_QUALITY = 0.5
_FOLLOWS = 0.02
"""How much of a request's predictions goes into those that chances are told for."""
_AT_ANY_PRICE = 1e6
"""Where quality is wanted at any price, a success is worth so many of the dearest answers."""


@WORKFLOWS.register("contextual-cascade")
@dataclass(kw_only=True)
class ContextualCascade(BelievingWorkflow[LinearBeliefs]):
    """Try models in the order of chance / cost while they are worth it, until one is accepted.

    The chance of each is what the router predicts, corrected by a linear model of the request's
    principal components, the model, and their product, which is learned from the verdicts on the
    answers that were tried. While learning, a chance is taken as high as it may well be.

    Attributes
    ----------
    candidates
        The models that may be tried; empty for those that it was fitted for, else for all.
    verifier
        Who says whether an answer is a success.
    value_usd
        What a success is worth; None for what the knob comes down to.
    max_stages
        How many models are tried at most; the last one streams, and nobody has to accept it.
    learn
        Whether it learns from requests.
    estimator
        `weighted`: observations count by the inverse of their variance (VAC²-UCB); `plain`: all
        alike (C²-UCB-T).
    optimism
        Of the theoretical radius, how much is taken.
    checked
        The share of last stages' answers that are verified too, to learn from: they are held back
        for it, and served whatever the verdict.
    ridge
        How strongly it is held to the router's predictions, in observations.
    dimensions
        Principal components of what the router sees; none without a fit.
    prior_observations
        What fitting counts at most, in observations of a request.

    References
    ----------
    Liu et al. 2023, Contextual combinatorial bandits with probabilistically triggered arms,
    arXiv:2303.17110; Gai and Zhou 2018, Cost-aware cascading bandits, arXiv:1805.08638.
    """

    kind = "contextual-cascade"
    heeds_knob = True
    reads_features = True

    candidates: tuple[str, ...] = ()
    verifier: dict[str, Any] | None = None
    value_usd: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    max_stages: Annotated[int, Field(ge=1, le=8)] = 3
    learn: bool = True
    estimator: Literal["plain", "weighted"] = "weighted"
    optimism: Annotated[float, Field(ge=0, le=10)] = 0.1
    checked: Annotated[float, Field(ge=0, le=1)] = 0.25
    ridge: Annotated[float, Field(gt=0, le=1e6)] = 1.0
    dimensions: Annotated[int, Field(ge=0, le=32)] = 8
    prior_observations: Annotated[int, Field(ge=0, le=100_000)] = 200

    _models: tuple[str, ...] = field(init=False, repr=False)
    _verifier: Verifier | None = field(init=False, repr=False)
    _center: FloatVector = field(init=False, repr=False)
    _components: FloatArray = field(init=False, repr=False)  # (n_features, n_components)
    _typical: dict[str, float] = field(init=False, repr=False, default_factory=dict)
    """What the router predicted of each model, on average of late requests."""

    def __post_init__(self) -> None:
        if len(set(self.candidates)) < len(self.candidates):
            raise RoutingConfigError("`candidates` of a cascade names a model twice")
        self._verifier = Verifier.of(self.verifier)
        self._start(self.candidates, np.zeros(0, np.float32), np.zeros((0, 0)), None)

    # --- what it needs --------------------------------------------------------------------------

    @property
    def learns_online(self) -> bool:
        """Whether requests teach it anything."""
        return self.learn

    @property
    def wants_logprobs(self) -> bool:
        """As the verifier does."""
        return self._verifier is not None and self._verifier.acceptor.wants_logprobs

    @property
    def reads_text_only(self) -> bool:
        """As the verifier does."""
        return self._verifier is None or self._verifier.acceptor.reads_text_only

    def asks(self, candidates: Iterable[str]) -> tuple[str, ...]:
        """Return those that the verifier asks."""
        del candidates
        return () if self._verifier is None else self._verifier.acceptor.model_ids

    def doubts(self, candidates: Sequence[str]) -> list[str]:
        """Say what is missing: candidates, a verifier, or one that tells enough."""
        found = not_among(candidates, self.candidates)
        if len(self._models or candidates) < 2:
            found.append("a cascade needs two `candidates` at least")
        if self._verifier is None:
            found.append("without a `verifier` nothing says whether an answer is a success")
        else:
            found += self._verifier.doubts(candidates)
        return found

    # --- a request ------------------------------------------------------------------------------

    def run(self, task: Task) -> Run:
        """Draft, verify, go on; the last stage answers the client."""
        order = self.order(task)
        if self._verifier is None or not order:
            return Skip(why="no_candidates")
        latest: Answer | None = None
        for model_id in order[:-1]:
            (answer,) = yield (Draft(model_id=model_id),)
            if answer is None:
                continue
            latest = answer
            verdict = yield from self._verifier.verify(task, answer)
            if verdict.accepted:
                return Serve(answer=answer, by=verdict.by, score=verdict.score, why=verdict.why)
        if not self.learn or task.rng.random() >= self.checked:
            return Delegate(model_id=order[-1], by=LAST_STAGE, instead=latest)
        (answer,) = yield (Draft(model_id=order[-1]),)
        if answer is None:
            return Delegate(model_id=order[-1], by=LAST_STAGE, instead=latest)
        verdict = yield from self._verifier.verify(task, answer)
        return Serve(answer=answer, by=LAST_STAGE, score=verdict.score, why=verdict.why)

    def order(self, task: Task) -> tuple[str, ...]:
        """Return the models to try; the single best one where none is worth its cost."""
        self.meet(each.model_id for each in task.candidates)
        known = [
            (self._models.index(each.model_id), each.model_id, each.cost_usd or 0.0)
            for each in task.candidates
            if each.model_id in self._models
        ]
        if not known:
            return ()
        belief = self.believe(task)
        chances = (belief.optimistic if self.learn else belief.mean)[[at for at, _, _ in known]]
        likely, costs_usd = chances.tolist(), [cost for _, _, cost in known]
        value_usd = self.value_usd or task.usd_per_quality or 0.0
        value_usd = min(value_usd, _AT_ANY_PRICE * (max(costs_usd) or 1.0))
        order = best_order(likely, costs_usd, value_usd=value_usd, max_stages=self.max_stages)
        if not order:
            gains = [p * value_usd - cost for p, cost in zip(likely, costs_usd, strict=True)]
            order = (gains.index(max(gains)),)
        while len(order) > 1 and not task.may_cost(known[each][1] for each in order):
            dearest = max(order, key=costs_usd.__getitem__)
            order = tuple(each for each in order if each != dearest)
        return tuple(known[each][1] for each in order)

    def believe(self, task: Task) -> Belief:
        """Return what is believed of all models for a request."""
        return self._beliefs.believe(*self._seen(task))

    # --- what requests teach --------------------------------------------------------------------

    def lesson(self, task: Task) -> Lesson | None:
        """Return what the verdicts teach of the models that were tried, and of no others."""
        if not self.learn:
            return None
        for each in task.candidates:
            if each.quality is not None:
                before = self._typical.get(each.model_id, each.quality)
                self._typical[each.model_id] = before + _FOLLOWS * (each.quality - before)
        verdicts = [each for each in told(task) if each.answer.model_id in self._models]
        if not verdicts:
            return None
        phi, predicted = self._seen(task)
        at = [self._models.index(each.answer.model_id) for each in verdicts]
        success = np.array([float(each.accepted) for each in verdicts])
        return self._beliefs.lesson(phi[at], predicted[at], success)

    @property
    def subject(self) -> bytes:
        """The models, who verifies them, and what is seen of a request."""
        return subject_of(
            {"kind": self.kind, "models": self._models, "estimator": self.estimator},
            {"verifier": self.verifier},
            self._center,
            self._components,
        )

    def beliefs(self) -> Beliefs:
        """Return the chances of success on a request that is like the average of late ones."""
        models = [each for each in self._models if each in self._typical]
        if not self.learn or not models:
            return Beliefs()
        at = [self._models.index(each) for each in models]
        phi = arm_features(np.zeros(self._components.shape[1]), len(self._models))[at]
        believed = self._beliefs
        mean = believed.believe(phi, np.array([self._typical[each] for each in models])).mean
        spread = believed.spread(phi)
        return Beliefs(
            success={
                model: Estimate(float(value), max(float(value - by), 0), min(float(value + by), 1))
                for model, value, by in zip(models, mean, spread, strict=True)
            }
        )

    # --- what recorded answers teach ------------------------------------------------------------

    def fit(self, context: WorkflowContext) -> Self:
        """Begin with what graded answers say, where the router was wrong."""
        models = self.candidates or context.answers.models
        missing = [each for each in models if each not in context.answers.models]
        if missing:
            raise RoutingConfigError(f"there are no outcomes of {', '.join(missing)}")
        columns = [context.answers.models.index(each) for each in models]
        center, components = _principal(context.x, self.dimensions)
        self._start(models, center, components, None)
        quality = np.asarray(context.labels.quality, np.float64)[:, columns]
        predicted = np.asarray(context.predictions.quality, np.float64)[:, columns]
        phi = arm_features((context.x - center) @ components, len(models))
        tried = (~np.isnan(quality)).astype(np.float64)
        observed = (
            phi.reshape(-1, phi.shape[-1]),
            predicted.ravel(),
            np.nan_to_num(quality).ravel(),
            tried.ravel(),
        )
        # Once to know how much outcomes scatter, and once with the weights that follow from it.
        self._beliefs.learn(self._beliefs.lesson(*observed))
        learned = self._beliefs.lesson(*observed)
        share = min(1.0, self.prior_observations * len(models) / max(tried.sum(), 1.0))
        prior = Lesson(sums={name: share * sums for name, sums in learned.sums.items()})
        self._start(models, center, components, prior)
        return self

    def state(self) -> dict[str, np.ndarray]:
        """Return what was fitted; what requests taught are lessons, which are kept elsewhere."""
        return {
            "models": packed_lines(self._models),
            "center": self._center,
            "components": self._components,
            **self._prior_state(),
        }

    def restore(self, state: State, models: Sequence[str]) -> Self:
        """Take over what was fitted."""
        del models
        self._start(
            tuple(take_lines(state, "models")),
            take(state, "center", ndim=1),
            take(state, "components", ndim=2),
            self._prior_of(state),
        )
        return self

    def _start(
        self,
        models: tuple[str, ...],
        center: FloatVector,
        components: FloatArray,
        prior: Lesson | None,
    ) -> None:
        self._models, self._center, self._components = models, center, components
        self._begin(prior)

    def _untaught(self) -> LinearBeliefs:
        return LinearBeliefs(
            (n_columns(self._components.shape[1], len(self._models)),),
            ridge=self.ridge,
            weighted=self.estimator == "weighted",
            optimism=self.optimism,
        )

    def meet(self, models: Iterable[str]) -> None:
        """Take models in that nobody named and nothing was fitted for; they are known by name."""
        if self.candidates or self._prior is not None:
            return
        new = [each for each in models if each not in self._models]
        if new:
            known = self._beliefs.known.sums
            self._start((*self._models, *new), self._center, self._components, None)
            self._beliefs.learn(
                Lesson(
                    sums={
                        name: sums if name == OBSERVED else np.pad(sums, (0, len(new)))
                        for name, sums in known.items()
                    }
                )
            )

    def _seen(self, task: Task) -> tuple[FloatArray, FloatArray]:
        """Return the features of all models, and what the router predicts of them."""
        n = self._components.shape[1]
        context = np.zeros(n)
        if n and task.x is not None:
            context = (task.x - self._center) @ self._components
        predicted = np.full(len(self._models), _UNKNOWN_QUALITY)
        for at, model_id in enumerate(self._models):
            candidate = task.candidate(model_id)
            if candidate is not None and candidate.quality is not None:
                predicted[at] = candidate.quality
        return arm_features(context, len(self._models)), predicted


def _principal(x: np.ndarray, n: int) -> tuple[FloatVector, FloatArray]:
    """Return the mean of features, and their leading directions; of unit length on average."""
    center = x.mean(axis=0).astype(np.float32)
    _, strength, directions = np.linalg.svd(x - center, full_matrices=False)
    n = min(n, int((strength > 1e-6 * strength.max(initial=1e-9)).sum()))
    length = np.sqrt((strength[:n] ** 2).sum() / max(len(x), 1)) or 1.0
    return center, np.asarray(directions[:n].T / length, np.float64)
