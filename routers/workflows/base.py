"""The workflow seam: several calls for one answer, as a generator of steps.

A workflow says what is to be called and hears what came of it; whoever drives it makes the calls.
The gateway drives it over the network (`app/gateway`), `routers/evaluation/course.py` over recorded
answers, so that what was measured is what happens. It knows no network, no clock and no store.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from routers.answers.recorded import RecordedAnswers
from routers.base import Labels
from routers.errors import RoutingConfigError
from routers.numeric import FloatArray
from routers.options import State, build
from routers.registry import Registry
from routers.steps import Run
from routers.task import Task
from routers.types import Conversation, FloatMatrix, Predictions


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkflowContext:
    """What a workflow may learn from; a workflow reads what it needs.

    Attributes
    ----------
    x
        float32 (n_queries, n_features), what the router saw.
    conversations
        The queries themselves.
    labels
        Quality and output tokens, aligned with `x`.
    predictions
        Of the router, by a fit that has not seen the query.
    answers
        Aligned with `labels`, the same models in the same order.
    cost_usd
        (n_queries, n_models), what each answer cost, at the prices of the artifact.
    predicted_cost_usd
        (n_queries, n_models), what each was expected to cost before.
    folds
        (n_queries,), which part of a cross-fit each query belongs to; equal prompts share one.
    rng
        The only source of randomness.
    """

    x: FloatMatrix
    conversations: Sequence[Conversation]
    labels: Labels
    predictions: Predictions
    answers: RecordedAnswers
    cost_usd: FloatArray
    predicted_cost_usd: FloatArray
    folds: NDArray[np.intp]
    rng: np.random.Generator

    def rows(self, index: np.ndarray) -> "WorkflowContext":
        """Return some of the queries, in the order of `index`."""
        return WorkflowContext(
            x=self.x[index],
            conversations=[self.conversations[i] for i in index],
            labels=self.labels.rows(index),
            predictions=self.predictions.rows(index),
            answers=self.answers.rows(index),
            cost_usd=self.cost_usd[index],
            predicted_cost_usd=self.predicted_cost_usd[index],
            folds=self.folds[index],
            rng=self.rng,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Rehearsal:
    """How a workflow would have gone on recorded answers.

    Attributes
    ----------
    calls
        Columns of the models that were called, in that order: of each query at each exchange rate.
    served
        (n_rates, n_queries), columns of the models whose answers were served.
    """

    calls: list[list[tuple[int, ...]]]
    served: NDArray[np.intp]


@dataclass(kw_only=True)
class Workflow(ABC):
    """One way to come to an answer by several calls; its fields are its options.

    One object serves many requests at the same time: `run` keeps what it needs in its own locals.
    """

    kind: ClassVar[str]
    learns: ClassVar[bool] = False
    """Whether it has to be fitted from recorded answers before it can run."""
    reads_features: ClassVar[bool] = False
    """Whether it makes use of `Task.x`, which takes time to make."""
    heeds_knob: ClassVar[bool] = False
    """Whether `Task.usd_per_quality` steers it: else a request with a knob of its own is answered
    by single choice."""
    guards: ClassVar[bool] = False
    """Whether it tells which requests may be answered: then no request goes around it, and what
    one choice has to answer (`Task.guarding.single`) passes it first."""
    rehearses: ClassVar[bool] = False
    """Whether `rehearse` tells how it goes on many queries at once, one call after the other."""
    tunable: ClassVar[bool] = False
    """Whether what was fitted runs under other options than those that it was fitted with."""

    names_candidates: ClassVar[bool] = False
    """Whether what was fitted knows models by the names of a gateway, not of training data."""
    describes: ClassVar[bool] = False
    """Whether it makes use of `Task.facts`."""
    retells: ClassVar[bool] = False
    """Whether it makes use of `Task.text_only`: later models get text in place of the request."""

    @property
    def taught(self) -> "Workflow":
        """What of it verdicts on answers may teach."""
        return self

    @property
    def wants_logprobs(self) -> bool:
        """Whether the log-probabilities of drafts are to be had from their upstreams."""
        return False

    @property
    def reads_text_only(self) -> bool:
        """Whether it cannot tell of an answer to images, sounds or files."""
        return True

    @abstractmethod
    def run(self, task: Task) -> Run:
        """Come to an answer, step by step.

        Nothing may be raised for what an upstream or a model does: a step that brought nothing is
        sent as None.
        """

    def asks(self, candidates: Iterable[str]) -> tuple[str, ...]:
        """Return the models that may be called beyond the candidates, such as a judge."""
        del candidates
        return ()

    def doubts(self, candidates: Sequence[str]) -> list[str]:
        """Return what keeps it from working with these candidates, a sentence each."""
        del candidates
        return []

    def fit(self, context: WorkflowContext) -> Self:
        """Learn from recorded answers."""
        del context
        return self

    def rehearse(
        self,
        answers: RecordedAnswers,
        quality: FloatArray,
        cost_usd: FloatArray,
        usd_per_quality: Sequence[float],
    ) -> Rehearsal:
        """Return how `run` would go on recorded answers, at each exchange rate; if it `rehearses`.

        Parameters
        ----------
        answers
            Of all models to all queries.
        quality, cost_usd
            (n_queries, n_models), predicted.
        """
        raise NotImplementedError

    def notes(self) -> dict[str, Any]:
        """Return what a reader of the artifact should know of what was fitted, as plain values."""
        return {}

    def state(self) -> dict[str, np.ndarray]:
        """Return everything that was learned as named plain arrays."""
        return {}

    def restore(self, state: State, models: Sequence[str]) -> Self:
        """Take over what `state` returned; runs are then the same."""
        del state, models
        return self


WORKFLOWS: Registry[Workflow] = Registry(
    "routers.workflows", noun="workflow", group="steelyard.workflows", base=Workflow
)
"""Workflows by kind."""


def make_workflow(options: Mapping[str, Any]) -> Workflow:
    """Make a workflow of its options, of which `kind` names it; what learns is not fitted yet.

    Raises
    ------
    RoutingConfigError
        If there is no such kind, or an option does not fit.
    """
    kind = options.get("kind")
    if not isinstance(kind, str):
        raise RoutingConfigError(
            f"a workflow needs its kind, one of: {', '.join(WORKFLOWS.kinds())}"
        )
    kind = kind.replace("_", "-")
    rest = {name: value for name, value in options.items() if name != "kind"}
    return build(WORKFLOWS.get(kind), rest, noun=f"workflow {kind!r}")
