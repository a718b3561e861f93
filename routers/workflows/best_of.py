"""Have several answers written, and serve the best of them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any

from pydantic import Field

from routers.answers.normalise import Comparing, Normaliser
from routers.errors import RoutingConfigError
from routers.steps import Answer, Delegate, Draft, Run, Serve, Skip
from routers.task import Task, Verdict
from routers.workflows._meanwhile import Steps, meanwhile
from routers.workflows.acceptors.base import Acceptor, make_acceptor, unfit
from routers.workflows.agree import camps_of, spokesman
from routers.workflows.base import WORKFLOWS, Workflow
from routers.workflows.cascade import LAST_STAGE, not_among, their_own_judges

_VOTE = "vote"


@WORKFLOWS.register("best-of")
@dataclass(kw_only=True)
class BestOf(Workflow):
    """Ask a model several times, or several models once each, and choose among the answers.

    All are asked at the same time.

    Attributes
    ----------
    model
        Who is asked `n` times, one of the candidates; the candidate that single choice would take
        where neither it nor `models` is said. Of the second time on it is asked to vary.
    n
        How often.
    models
        In place of both: who is asked once each.
    chooser
        Who chooses: `{kind: vote}` takes what most answers say, an acceptor (`judge`, `logprobs`)
        the answer that it scores highest, whatever its threshold.
    normaliser, least_similarity
        How a vote compares answers; as in `agree`.

    References
    ----------
    Ding et al. 2025, BEST-Route, arXiv:2506.22716 (the form; what is learned there is
    `best-route`); Wang et al. 2023, Self-consistency, arXiv:2203.11171 (the vote).
    """

    kind = "best-of"

    model: str | None = None
    n: Annotated[int, Field(ge=2, le=9)] = 3
    models: tuple[str, ...] | None = None
    chooser: dict[str, Any] = field(default_factory=lambda: {"kind": _VOTE})
    normaliser: Normaliser = "auto"
    least_similarity: Annotated[float, Field(gt=0, le=1)] = 0.9
    _compare: Comparing = field(init=False, repr=False)
    _acceptor: Acceptor | None = field(init=False, repr=False, default=None)

    def __post_init__(self) -> None:
        if self.models is not None and self.model is not None:
            raise RoutingConfigError("say either `model` (and `n`) or `models`, not both")
        if self.models is not None and len(self.models) < 2:
            raise RoutingConfigError("the best of one answer is that answer; name two `models`")
        if self.models is not None and len(set(self.models)) < len(self.models):
            raise RoutingConfigError("`models` names a model twice; `model` and `n` ask one often")
        self._compare = Comparing(by=self.normaliser, least_similarity=self.least_similarity)
        if self.chooser != {"kind": _VOTE}:
            self._acceptor = make_acceptor(self.chooser)

    @property
    def wants_logprobs(self) -> bool:
        """As the chooser does."""
        return self._acceptor is not None and self._acceptor.wants_logprobs

    @property
    def reads_text_only(self) -> bool:
        """As the chooser does."""
        return self._acceptor is None or self._acceptor.reads_text_only

    def asks(self, candidates: Iterable[str]) -> tuple[str, ...]:
        """Return those that the chooser asks."""
        del candidates
        return () if self._acceptor is None else self._acceptor.model_ids

    def doubts(self, candidates: Sequence[str]) -> list[str]:
        """Say what is no candidate, and whether somebody judges themselves."""
        named = self.models or ((self.model,) if self.model else ())
        return [
            *not_among(candidates, named),
            *their_own_judges(candidates, self.asks(candidates)),
        ]

    def run(self, task: Task) -> Run:
        """Ask all of them, then choose."""
        drafts = self._drafts(task)
        if len(drafts) < 2:
            return Skip(why="too_few_models")
        if not task.may_cost([each.model_id for each in drafts]):
            return Skip(why="max_cost")
        answers = yield drafts
        heard = [each for each in answers if each is not None]
        fit = [each for each in heard if unfit(each) is None]
        for answer in heard:
            why = unfit(answer)
            if why is not None:
                task.judged(answer, accepted=False, by="best-of", why=why)
        if not fit:
            return Delegate(model_id=task.model_id, by=LAST_STAGE)
        if self._acceptor is None:
            return self._voted(task, fit)
        return (yield from self._chosen(task, fit, self._acceptor))

    def _voted(self, task: Task, fit: Sequence[Answer]) -> Serve:
        camps = camps_of(self._compare, fit)
        most = max(map(len, camps), default=0)
        leading = [answer for camp in camps if len(camp) == most for answer in camp.answers]
        served = spokesman(task, leading or fit)
        share, why = most / len(fit), f"{most} of {len(fit)} say the same"
        for answer in fit:
            task.judged(answer, accepted=answer is served, by=_VOTE, score=share, why=why)
        return Serve(answer=served, by=_VOTE, score=share, why=why)

    def _chosen(self, task: Task, fit: Sequence[Answer], chooser: Acceptor) -> Steps[Serve]:
        # What the acceptor notes is whether each would do by itself, not which one is chosen.
        n_before = len(task.verdicts)
        verdicts: list[Verdict] = yield from meanwhile(
            [chooser.accept(task, answer) for answer in fit]
        )
        del task.verdicts[n_before:]
        scored = [each for each in verdicts if each.score is not None]
        best = max(scored, key=lambda each: each.score or 0.0, default=None)
        served = spokesman(task, fit) if best is None else best.answer
        for each in verdicts:
            task.judged(
                each.answer,
                accepted=each.answer is served,
                by=each.by,
                score=each.score,
                why=each.why,
            )
        chosen = next(each for each in verdicts if each.answer is served)
        return Serve(answer=served, by=chosen.by, score=chosen.score, why=chosen.why)

    def _drafts(self, task: Task) -> tuple[Draft, ...]:
        if self.models is not None:
            return tuple(
                Draft(model_id=each) for each in self.models if task.candidate(each) is not None
            )
        model_id = self.model or task.model_id
        if task.candidate(model_id) is None:
            return ()
        return tuple(Draft(model_id=model_id, sample=sample) for sample in range(self.n))
