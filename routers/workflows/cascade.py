"""Hold the answers of cheap models back, and serve the first one that is accepted."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from routers.errors import RoutingConfigError
from routers.steps import Answer, Delegate, Draft, Run, Serve, Skip
from routers.task import Task
from routers.workflows.acceptors.base import Acceptor, make_acceptor, unfit
from routers.workflows.base import WORKFLOWS, Workflow

LAST_STAGE = "last_stage"
"""Nobody has to accept the answer of the last stage."""


@WORKFLOWS.register("cascade")
@dataclass(kw_only=True)
class Cascade(Workflow):
    """Ask models one after the other until an acceptor takes an answer.

    The last stage needs nobody's consent: it answers the client directly.

    Attributes
    ----------
    stages
        The models in their order, cheapest first, each one of the candidates.
    by
        In place of `stages`: all candidates, in the order of what they are expected to cost.
    acceptor
        Who accepts an answer: its kind, and its options beside that.

    References
    ----------
    Chen et al. 2023, FrugalGPT, arXiv:2305.05176 (the form; what is learned there is
    `frugal-gpt`).
    """

    kind = "cascade"

    stages: tuple[str, ...] | None = None
    by: Literal["cost"] | None = None
    acceptor: dict[str, Any]
    _acceptor: Acceptor = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if (self.stages is None) == (self.by is None):
            raise RoutingConfigError("a cascade needs either `stages` or `by: cost`, not both")
        if self.stages is not None and len(set(self.stages)) < len(self.stages):
            raise RoutingConfigError("`stages` of a cascade names a model twice")
        if self.stages is not None and len(self.stages) < 2:
            raise RoutingConfigError(
                "a cascade needs two stages at least: one that drafts, one that answers"
            )
        self._acceptor = make_acceptor(self.acceptor)

    @property
    def wants_logprobs(self) -> bool:
        """As the acceptor does."""
        return self._acceptor.wants_logprobs

    @property
    def reads_text_only(self) -> bool:
        """As the acceptor does."""
        return self._acceptor.reads_text_only

    def asks(self, candidates: Iterable[str]) -> tuple[str, ...]:
        """Return those that the acceptor asks."""
        del candidates
        return self._acceptor.model_ids

    def doubts(self, candidates: Sequence[str]) -> list[str]:
        """Say what of the stages is no candidate, and whether somebody judges themselves."""
        if len(candidates) < 2:
            return ["there is one candidate, and nothing to go on to; add a dearer one"]
        return [
            *not_among(candidates, self.stages or ()),
            *their_own_judges(candidates, self._acceptor.model_ids),
        ]

    def run(self, task: Task) -> Run:
        """Go from stage to stage."""
        stages = self._stages(task)
        if len(stages) < 2:
            return Skip(why="one_stage")
        if not task.may_cost(stages):
            return Skip(why="max_cost")
        latest: Answer | None = None
        for model_id in stages[:-1]:
            (answer,) = yield (Draft(model_id=model_id),)
            if answer is None:
                continue
            latest = answer
            why = unfit(answer)
            if why is not None:
                task.judged(answer, accepted=False, by="cascade", why=why)
                continue
            verdict = yield from self._acceptor.accept(task, answer)
            if verdict.accepted:
                return Serve(answer=answer, by=verdict.by, score=verdict.score, why=verdict.why)
        return Delegate(model_id=stages[-1], by=LAST_STAGE, instead=latest)

    def _stages(self, task: Task) -> tuple[str, ...]:
        if self.stages is not None:
            return tuple(each for each in self.stages if task.candidate(each) is not None)
        return task.by_cost()


def not_among(candidates: Sequence[str], model_ids: Iterable[str]) -> list[str]:
    """Say which models are no candidates."""
    return [
        f"it calls {each!r}, which is not among the policy's candidates: {', '.join(candidates)}"
        for each in model_ids
        if each not in candidates
    ]


def their_own_judges(candidates: Sequence[str], model_ids: Iterable[str]) -> list[str]:
    """Say which models would judge their own answers."""
    return [
        f"it asks {each!r}, which is one of the policy's candidates and would judge its own "
        "answers; name another model"
        for each in model_ids
        if each in candidates
    ]
