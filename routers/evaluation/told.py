"""What recorded answers tell a workflow that asks for drafts, judges' scores and votes."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from routers.errors import DataError
from routers.files import shown
from routers.steps import Answer, Draft, Purpose, Question, Step

if TYPE_CHECKING:
    from routers.evaluation.scene import Scene

QUESTION_S = 0.5
"""What a judge's word takes: nobody records it."""

_QUESTION_TOKENS = 1.0
"""The length of a judge's word."""


@dataclass(slots=True)
class Unheard:
    """What recorded answers could not tell, and what stands for it.

    Attributes
    ----------
    refuses
        Whether what was not recorded ends the replay; else it counts as a failed call. Of a draft
        it always does.
    """

    refuses: bool = False

    n_questions: int = 0
    """Questions of the workflow's own, such as to a judge."""
    n_samples: int = 0
    """Further answers of a model that answered once."""
    n_drafts: int = 0
    """Answers that were not recorded."""
    others: list[str] = field(default_factory=list)
    """Who was asked beyond the candidates: their columns come after those of the candidates."""
    n_judged: int = 0
    """Questions about answers that were answered by recorded scores and votes."""
    n_unpriced: int = 0
    """Of these, those whose model has no known price."""
    n_rewritten: int = 0
    """Requests that the workflow put in other words: what was answered to the original serves."""

    def column(self, model_id: str, columns: Mapping[str, int]) -> int:
        """Return the column of a model that was called."""
        if model_id in columns:
            return columns[model_id]
        if model_id not in self.others:
            self.others.append(model_id)
        return len(columns) + self.others.index(model_id)


@dataclass(slots=True)
class Recorded:
    """What models answered to one query, for a workflow that runs once.

    Attributes
    ----------
    columns
        Of the candidates, by name.
    """

    scene: "Scene"
    row: int
    columns: dict[str, int]
    unheard: Unheard
    _heard: dict[int, tuple[int, int]] = field(default_factory=dict)
    """The column and which answer of its model, by the number that it was told under."""
    _n_votes: dict[int, int] = field(default_factory=dict)

    def respond(self, step: Step, number: int) -> Answer | None:
        """Return what comes of a step; None where it cannot be had.

        Raises
        ------
        DataError
            If nobody recorded it, and that is to end the replay.
        """
        if isinstance(step, Question):
            return self._reply(step, number)
        return self._answer(step, number)

    def worth(self, served: Answer | None) -> float:
        """Return what the very answer that served was worth; NaN where outcomes tell.

        Raises
        ------
        DataError
            If nobody told what a further answer was worth, and that is to end the replay.
        """
        answers = self.scene.answers
        if served is None or answers is None or not answers.further:
            return math.nan
        column, sample = self._heard[served.number]
        told = answers.answer(sample)
        worth = math.nan
        if told is not None and told.quality is not None:
            worth = float(told.quality[self.row, column])
        if sample and math.isnan(worth) and self.unheard.refuses:
            raise DataError(
                f"answer {sample + 1} of {shown(served.model_id)} to {self._query} serves, and "
                f"nobody told what it is worth: put its quality beside it "
                f"(q:{shown(served.model_id)}#{sample + 1})"
            )
        return worth

    @property
    def _query(self) -> str:
        return f"query_id {shown(self.scene.query_ids[self.row])}"

    def _answer(self, step: Draft, number: int) -> Answer | None:
        scene, row, column = self.scene, self.row, self.columns.get(step.model_id)
        told = None if scene.answers is None else scene.answers.answer(step.sample)
        literal = text = None
        if told is not None and column is not None:
            literal = told.literals[row, column]
            text = None if told.texts is None else told.texts[row, column]
        if told is None or column is None or (literal is None and text is None):
            self._missing(step)
            return None
        self._heard[number] = column, step.sample
        tokens = scene.output_tokens[row, column]
        latency_s = scene.latency_s[row, column]
        if step.sample and told.latency_s is not None:
            own_s = told.latency_s[row, column]
            latency_s = latency_s if np.isnan(own_s) else own_s
        logprob = math.nan if told.logprob is None else float(told.logprob[row, column])
        return Answer(
            number=number,
            model_id=step.model_id,
            text=text or literal or "",
            literal=literal,
            output_tokens=None if np.isnan(tokens) else float(tokens),
            cost_usd=float(scene.cost_usd[row, column]),
            latency_s=float(latency_s),
            logprobs=None if math.isnan(logprob) else (logprob,),
        )

    def _missing(self, step: Draft) -> None:
        if not step.sample:
            self.unheard.n_drafts += 1
            return
        self.unheard.n_samples += 1
        if self.unheard.refuses:
            name = shown(step.model_id)
            raise DataError(
                f"the workflow asks {name} for answer {step.sample + 1} to {self._query}, which "
                f"nobody recorded: add it (a:{name}#{step.sample + 1} or x:, and q:; in JSONL a "
                "further line)"
            )

    def _reply(self, step: Question, number: int) -> Answer | None:
        about = None if step.about is None else self._heard.get(step.about)
        if step.purpose is not Purpose.JUDGE or about is None:
            return self._unanswered(
                f"the workflow asks {shown(step.model_id)} as a {step.purpose.value}: what it "
                "would have said nobody recorded, so that such a policy cannot be replayed"
            )
        column, sample = about
        told = None if self.scene.answers is None else self.scene.answers.answer(sample)
        name = self.scene.candidates[column].model_id
        votes = self.columns.get(step.model_id) == column
        scores = None if told is None else told.verified if votes else told.judged
        score = math.nan if scores is None else float(scores[self.row, column])
        if math.isnan(score):
            which = f"{shown(name)}#{sample + 1}" if sample else shown(name)
            add = (
                f"the share of its votes (v:{which}, in JSONL 'verified')"
                if votes
                else f"the score (j:{which}, in JSONL 'judged')"
            )
            return self._unanswered(
                f"the workflow asks {shown(step.model_id)} to judge the answer of {which} to "
                f"{self._query}, which nobody recorded: add {add} beside the answer"
            )
        self.unheard.n_judged += 1
        assert step.about is not None  # noqa: S101  (an answer was found)
        return Answer(
            number=number,
            model_id=step.model_id,
            text=self._vote(step.about, score) if votes else _grade(score),
            alternatives=() if votes else (_chances(score),),
            output_tokens=_QUESTION_TOKENS,
            cost_usd=self._cost_usd(step, column),
            latency_s=QUESTION_S,
        )

    def _vote(self, about: int, share: float) -> str:
        """Return the next vote on an answer: of any number of them, the share says yes."""
        n = self._n_votes.get(about, 0)
        self._n_votes[about] = n + 1
        says_yes = math.floor((n + 1) * share + 0.5) > math.floor(n * share + 0.5)
        return "Correct" if says_yes else "Incorrect"

    def _cost_usd(self, step: Question, column: int) -> float | None:
        """Return what a question costs that holds the request and the answer."""
        own = self.columns.get(step.model_id)
        prices = (
            self.scene.others.get(step.model_id)
            if own is None
            else self.scene.candidates[own].prices
        )
        if prices is None:
            self.unheard.n_unpriced += 1
            return None
        tokens = self.scene.output_tokens[self.row, column]
        read = float(self.scene.input_tokens[self.row] + tokens)
        return prices.cost_usd(input_tokens=read, output_tokens=_QUESTION_TOKENS)

    def _unanswered(self, why: str) -> Answer | None:
        self.unheard.n_questions += 1
        if self.unheard.refuses:
            raise DataError(why)
        return None


def _grade(chance: float) -> str:
    """Return what a judge says whose grade is good with a chance."""
    return "5" if chance >= _EVEN else "1"


def _chances(chance: float) -> dict[str, float]:
    """Return the log-probabilities of its grades."""
    return {digit: math.log(p) for digit, p in {"5": chance, "1": 1 - chance}.items() if p > 0}


_EVEN = 0.5
