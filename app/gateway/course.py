"""What is known of one request's way through a workflow."""

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from app.gateway.heard import MAX_KEPT_ANSWER_BYTES
from app.outcome import DraftText, DraftVerdict, WorkflowTold
from routers.decision.acceptance import mean_logprob
from routers.steps import Answer, Run, Step
from routers.task import Task

_log = logging.getLogger(__name__)

NOTHING_BETTER = "nothing_better"
"""Nothing further could be had, so that the best answer at hand serves."""
TOO_LONG = "hold_back"
"""The answer grew too long, or took too long, to be held back any further."""
_JUDGE, _VOTES = "judge", "automix"
"""Who says of answers what training reads: the chance that one is good, and its model's votes."""
_NOTHING: Mapping[str, Any] = {}


@dataclass(slots=True, kw_only=True)
class Course:
    """A request under a policy with a workflow.

    Attributes
    ----------
    kind
        Of the workflow.
    skipped
        Why it is answered by one choice instead, in a word; None where it is not.
    first
        The steps that it begins with.
    run
        The workflow as it runs; None where nothing is to be carried out.
    task
        What that was told.
    rounds
        The models of all calls so far, those that were made at the same time together.
    held_since
        When the first answer was asked for, by the gateway's clock; None before, and after an
        answer has begun to serve or nothing is left to be had.
    held_s
        For how long answers were held back, once that is over.
    judged
        What was said of answers.
    accepted_by
        Who or what let the answer serve.
    ceiling
        Which ceiling kept a step from being taken: `calls`, `cost`, `time`, `bytes` or `budget`.
    failed
        Whether an answer could not be had, and none was turned down since.
    served_model_id
        Who was to serve in the end.
    drafts
        Answers that were held back, by their numbers, where their texts are to be kept.
    served_draft
        The number of the one that served.
    guards
        Whether the workflow says which requests may be answered.
    in_own_words
        Whether the answer that streams was asked for in other words than the client's.
    """

    kind: str
    skipped: str | None = None
    first: tuple[Step, ...] = ()
    run: Run | None = None
    task: Task | None = None
    rounds: list[tuple[str, ...]] = field(default_factory=list)
    held_since: float | None = None
    held_s: float | None = None
    judged: list[DraftVerdict] = field(default_factory=list)
    accepted_by: str | None = None
    ceiling: str | None = None
    failed: bool = False
    served_model_id: str | None = None
    drafts: dict[int, Answer] = field(default_factory=dict)
    served_draft: int | None = None
    guards: bool = False
    in_own_words: bool = False

    @property
    def is_guarded(self) -> bool:
        """Whether the request has to go the workflow's way: a guard has not let it pass freely."""
        return self.guards and self.task is not None and not self.task.guarding.is_open

    @property
    def is_makeshift(self) -> bool:
        """Whether the answer is second choice, which is not to be given again to others."""
        return self.failed or self.accepted_by == NOTHING_BETTER

    @property
    def begins_with(self) -> tuple[str, ...]:
        """The models that are asked first."""
        return tuple(each.model_id for each in self.first)

    @property
    def notes(self) -> Mapping[str, Any]:
        """What the workflow tells of its way."""
        return _NOTHING if self.task is None else self.task.notes

    def skip(self, why: str) -> None:
        """Leave the request to one choice."""
        self.skipped, self.first = why, ()
        self.stop()

    def overrule(self, why: str) -> None:
        """Leave a request to one choice that the workflow had chosen for: it went no way."""
        if self.run is None and not self.notes:
            return
        self.skip(why)
        if self.task is not None:
            self.task.notes.clear()

    def note_ceiling(self) -> None:
        """Take over of what the workflow found too little to go on, where no step was refused."""
        if self.ceiling is None and self.task is not None:
            self.ceiling = self.task.room.short_of

    def stop(self) -> None:
        """Take no further step of the workflow; a second time changes nothing."""
        run, self.run = self.run, None
        if run is None:
            return
        try:
            run.close()
        except Exception:  # noqa: BLE001
            # It may be anybody's, and what it held back has to be let go of all the same.
            _log.exception("a workflow of kind %s failed when it was stopped", self.kind)

    def told(self) -> WorkflowTold:
        """Return how it went."""
        return WorkflowTold(
            kind=self.kind,
            skipped=self.skipped,
            rounds=tuple(self.rounds),
            accepted_by=self.accepted_by,
            ceiling=self.ceiling,
            held_s=self.held_s,
            judged=tuple(self.judged),
            notes={**self.notes},
        )

    def draft_texts(self) -> tuple[DraftText, ...]:
        """Return what is to be kept of answers that were held back."""
        said = () if self.task is None else self.task.verdicts
        scores = {(each.answer.number, each.by): each.score for each in said}
        return tuple(
            [
                DraftText(
                    model=each.model_id,
                    text=each.text,
                    served=number == self.served_draft,
                    took_s=each.latency_s,
                    output_tokens=each.output_tokens,
                    cost_usd=each.cost_usd,
                    logprob=None if each.logprobs is None else mean_logprob(each.logprobs),
                    judged=scores.get((number, _JUDGE)),
                    verified=scores.get((number, _VOTES)),
                )
                for number, each in self.drafts.items()
                if len(each.text) <= MAX_KEPT_ANSWER_BYTES
            ]
        )

    def hear_verdicts(self) -> None:
        """Take over what the workflow said of answers since."""
        if self.task is None:
            return
        for each in self.task.verdicts[len(self.judged) :]:
            answer, known = each.answer, self.task.candidate(each.answer.model_id)
            self.judged.append(
                DraftVerdict(
                    model_id=answer.model_id,
                    accepted=each.accepted,
                    by=each.by,
                    score=each.score,
                    why=each.why,
                    predicted_quality=None if known is None else known.quality,
                    output_tokens=answer.output_tokens,
                    chars=len(answer.text),
                    cost_usd=answer.cost_usd,
                    took_s=answer.latency_s,
                )
            )
            if not each.accepted:
                self.failed = False


def distinct(model_ids: Iterable[str]) -> tuple[str, ...]:
    """Return each once, in the order of their first."""
    return tuple(dict.fromkeys(model_ids))
