"""Ask several models, and serve what enough of them agree on."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated

from pydantic import Field

from routers.answers.normalise import Comparing, Normaliser, Reading
from routers.errors import RoutingConfigError
from routers.steps import Answer, Delegate, Draft, Run, Serve, Skip
from routers.task import Task
from routers.workflows.acceptors.base import unfit
from routers.workflows.base import WORKFLOWS, Workflow
from routers.workflows.cascade import LAST_STAGE, not_among


@dataclass(slots=True)
class Camp:
    """Answers that say the same.

    Attributes
    ----------
    reading
        What the first of them came down to.
    """

    reading: Reading
    answers: list[Answer] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.answers)


def camps_of(compare: Comparing, answers: Sequence[Answer]) -> list[Camp]:
    """Sort answers by what they say, in the order in which that was said first.

    What is unfit to be served, or says nothing of the kind that is compared, is in no camp.
    """
    camps: list[Camp] = []
    for answer in answers:
        if unfit(answer) is not None:
            continue
        reading = compare.read(answer.text, literal=answer.literal)
        if reading is None:
            continue
        for camp in camps:
            if compare.same(camp.reading, reading):
                camp.answers.append(answer)
                break
        else:
            camps.append(Camp(reading, [answer]))
    return camps


def spokesman(task: Task, answers: Sequence[Answer]) -> Answer:
    """Return the answer of the model that is predicted to be best; of equals the first."""

    def quality(answer: Answer) -> float:
        known = task.candidate(answer.model_id)
        return -1.0 if known is None or known.quality is None else known.quality

    return max(answers, key=quality)


@WORKFLOWS.register("agree")
@dataclass(kw_only=True)
class Agree(Workflow):
    """Ask models until `quorum` of them say the same.

    Where two cheap models agree they are mostly right; where they differ, a dear one is worth its
    price.

    Attributes
    ----------
    models
        In the order in which they are asked, each one of the candidates; all candidates by cost
        where nothing is said.
    quorum
        How many have to say the same.
    first
        How many are asked at the same time to begin with; the quorum where nothing is said. After
        them as many as a quorum needs yet.
    last
        The model that answers where no quorum comes about. Without one the answer that most
        models gave serves, among equals that of the model that is predicted to be best.
    normaliser
        How answers are compared.
    least_similarity
        The cosine from which texts are of one meaning, where meanings are compared.

    References
    ----------
    Wang et al. 2023, Self-consistency, arXiv:2203.11171 (the vote); Yue et al. 2024, Large
    language model cascades with mixture of thought representations, arXiv:2310.03094 (agreement
    as the gate of a cascade).
    """

    kind = "agree"

    models: tuple[str, ...] | None = None
    quorum: Annotated[int, Field(ge=2, le=9)] = 2
    first: Annotated[int, Field(ge=1, le=9)] | None = None
    last: str | None = None
    normaliser: Normaliser = "auto"
    least_similarity: Annotated[float, Field(gt=0, le=1)] = 0.9
    _compare: Comparing = field(init=False, repr=False)

    def __post_init__(self) -> None:
        asked = self.models
        if asked is not None and len(set(asked)) < len(asked):
            raise RoutingConfigError("`models` names a model twice")
        if asked is not None and len(asked) < self.quorum:
            raise RoutingConfigError(
                f"{len(asked)} models can never be {self.quorum} that agree; name more, or lower "
                "`quorum`"
            )
        self._compare = Comparing(by=self.normaliser, least_similarity=self.least_similarity)

    def doubts(self, candidates: Sequence[str]) -> list[str]:
        """Say what of the models is no candidate, and whether there are enough of them."""
        asked = self.models or candidates
        doubts = not_among(candidates, (*asked, *([self.last] if self.last else [])))
        if len(asked) < self.quorum:
            doubts.append(f"{len(asked)} candidates can never be {self.quorum} that agree")
        return doubts

    def run(self, task: Task) -> Run:
        """Ask the first ones together, then as many as a quorum needs yet."""
        to_ask = self._to_ask(task)
        last = self.last if self.last and task.candidate(self.last) is not None else None
        if len(to_ask) < self.quorum:
            return Skip(why="too_few_models")
        if not task.may_cost((*to_ask[: self.quorum], *([last] if last else []))):
            return Skip(why="max_cost")
        heard: list[Answer] = []
        camps: list[Camp] = []
        n_together = self.first or self.quorum
        while to_ask:
            asked, to_ask = to_ask[:n_together], to_ask[n_together:]
            answers = yield tuple(Draft(model_id=each) for each in asked)
            heard += [each for each in answers if each is not None]
            camps = camps_of(self._compare, heard)
            leading = max(camps, key=len, default=None)
            n_agree = 0 if leading is None else len(leading)
            if leading is not None and n_agree >= self.quorum:
                return _serve(task, spokesman(task, leading.answers), camps, heard, by="agree")
            if leading is not None and n_agree + len(to_ask) < self.quorum:
                break
            n_together = max(1, self.quorum - n_agree)
        return _divided(task, camps, heard, last)

    def _to_ask(self, task: Task) -> tuple[str, ...]:
        if self.models is None:
            return task.by_cost()
        return tuple(each for each in self.models if task.candidate(each) is not None)


def _divided(
    task: Task, camps: Sequence[Camp], heard: Sequence[Answer], last: str | None
) -> Serve | Delegate:
    """End without a quorum: with the last model's answer, else with what most of them say."""
    most = max(map(len, camps), default=0)
    leading = [answer for camp in camps if len(camp) == most for answer in camp.answers]
    fit = leading or [answer for answer in heard if unfit(answer) is None]
    instead = spokesman(task, fit) if fit else None
    if last is None and instead is not None:
        return _serve(task, instead, camps, heard, by="most")
    if last is None:
        return Delegate(model_id=task.model_id, by=LAST_STAGE)
    for answer in heard:
        if answer.model_id == last and unfit(answer) is None:  # it has answered already
            return _serve(task, answer, camps, heard, by=LAST_STAGE)
    return Delegate(model_id=last, by=LAST_STAGE, instead=instead)


def _serve(
    task: Task, served: Answer, camps: Sequence[Camp], heard: Sequence[Answer], *, by: str
) -> Serve:
    camp = next((each.answers for each in camps if served in each.answers), [served])
    share, why = len(camp) / len(heard), f"{len(camp)} of {len(heard)} say the same"
    for answer in heard:
        if answer is served:
            task.judged(answer, accepted=True, by=by, score=share, why=why)
        else:
            said = "says the same" if answer in camp else "says something else"
            task.judged(answer, accepted=False, by=by, why=unfit(answer) or said)
    return Serve(answer=served, by=by, score=share, why=why)
