"""A small model answers and votes on its own answer; the votes say whether a large one is asked."""

# ruff: noqa: RUF009  (unfitted() declares a field)

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from routers.decisions import CandidateEstimate
from routers.errors import DataError
from routers.numeric import FloatArray, upper_hull
from routers.options import State, require_fitted, take, unfitted
from routers.steps import Answer, Delegate, Draft, Purpose, Question, Run, Serve, Skip
from routers.task import Task
from routers.workflows._folds import two_folds_at_least
from routers.workflows._meta_verifier import (
    Tables,
    VerifiedRows,
    area_under_roc,
    best_table,
    candidate_tables,
    cross_validated_benefit,
    worth,
)
from routers.workflows._verification import (
    VERIFICATION_MAX_TOKENS,
    tally,
    verification_messages,
)
from routers.workflows.acceptors.base import unfit
from routers.workflows.base import WORKFLOWS, Workflow, WorkflowContext
from routers.workflows.cascade import LAST_STAGE, not_among

_FEWEST_ROWS = 50
"""With fewer verified queries nothing can be said of what votes are worth."""

_NOT_VERIFIED = -1
"""In the place of a table: votes are not worth asking for."""


@WORKFLOWS.register("automix")
@dataclass(kw_only=True)
class AutoMix(Workflow):
    """Ask a small model, have it vote on its answer, and ask a large one where the votes say so.

    Parameters
    ----------
    small, large
        The two models; None for the cheapest of the training data and the best one.
    votes
        How often the small model is asked whether its answer is correct, at temperature 1.
    verifier_cost
        What all votes on an answer cost together, in answers of the small model. The paper has 1;
        eight votes that read a request and an answer of some hundred tokens each come to about 4.
    least_auc
        How well the votes have to tell right answers from wrong ones; below that nobody is asked.
    deadline_s
        How long a vote may take.
    escalate
        Answers that go to the large model whatever the votes say, such as `unanswerable`.

    Notes
    -----
    Where the request has an exchange rate of quality (the knob), it chooses among the small model
    alone, the large one alone and the tables on the hull between them; without one the table of
    the highest incremental benefit serves. Where votes proved uninformative in training, none are
    asked for and single choice answers.

    References
    ----------
    Aggarwal et al. 2023, AutoMix: automatically mixing language models, arXiv:2310.12963.
    """

    kind: ClassVar[str] = "automix"
    learns: ClassVar[bool] = True
    heeds_knob: ClassVar[bool] = True

    small: str | None = None
    large: str | None = None
    votes: Annotated[int, Field(ge=1, le=32)] = 8
    verifier_cost: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 4.0
    least_auc: Annotated[float, Field(ge=0.5, le=1)] = 0.65
    deadline_s: Annotated[float, Field(gt=0, le=600, allow_inf_nan=False)] = 10.0
    escalate: tuple[str, ...] = ()

    models_: tuple[str, ...] = unfitted()
    at_: NDArray[np.intp] = unfitted()  # (2,), columns of the small and of the large model
    tables_: Tables = unfitted()  # (n_tables, votes + 1), those on the hull
    quality_: FloatArray = unfitted()  # (n_tables,)
    escalated_: FloatArray = unfitted()  # (n_tables,), share
    single_: FloatArray = unfitted()  # (2, 2): quality and cost of the small and of the large model
    best_: int = unfitted()  # the table of the highest benefit, or _NOT_VERIFIED
    figures_: FloatArray = unfitted()  # verified queries, AUC, benefit in percent out of fold

    # --- learning -----------------------------------------------------------------------------

    def fit(self, context: WorkflowContext) -> Self:
        """Choose tables by what votes were followed by.

        Raises
        ------
        DataError
            If a model that the options name is not in the data, or both are the same.
        """
        at = self._columns(context)
        rows, folds = _verified_rows(context, at, self.votes, self.verifier_cost)
        self.models_, self.at_ = context.labels.models, np.asarray(at, np.intp)
        quality = context.labels.quality[:, at]
        known = ~np.isnan(quality).any(axis=1)
        cost = context.cost_usd[:, at][known]
        means = [quality[known].astype(np.float64).mean(axis=0), cost.mean(axis=0)]
        self.single_ = np.stack(means, axis=1)
        auc = area_under_roc(rows)
        benefit = cross_validated_benefit(rows, folds) if len(rows) >= _FEWEST_ROWS else -np.inf
        # An infinite loss is no number that a state may hold.
        self.figures_ = np.array([float(len(rows)), auc, max(benefit, -100.0)])
        tables = candidate_tables(rows) if len(rows) else np.zeros((0, self.votes + 1), bool)
        self.tables_, self.best_ = np.zeros((0, self.votes + 1), bool), _NOT_VERIFIED
        self.quality_ = self.escalated_ = np.zeros(0)
        if auc >= self.least_auc and benefit > 0 and len(tables) > 0:
            self._keep(tables, rows)
        return self

    def _columns(self, context: WorkflowContext) -> list[int]:
        models = context.labels.models
        for name in (self.small, self.large):
            if name is not None and name not in models:
                raise DataError(f"automix is to use {name!r}, of which there are no outcomes")
        cost = np.nanmean(context.cost_usd, axis=0)
        small = int(np.nanargmin(cost)) if self.small is None else models.index(self.small)
        quality = np.nanmean(context.labels.quality, axis=0)
        large = int(np.nanargmax(quality)) if self.large is None else models.index(self.large)
        if small == large:
            raise DataError(
                f"automix needs two models, and {models[small]!r} is both the cheapest and the "
                "best: name `small` and `large`"
            )
        return [small, large]

    def _keep(self, tables: Tables, rows: VerifiedRows) -> None:
        best = best_table(tables, rows)
        of = worth(tables, rows)
        kept = upper_hull(of.cost_usd, of.quality).tolist()
        if best not in kept:
            kept.append(best)
        self.tables_, self.best_ = tables[kept], kept.index(best)
        self.quality_, self.escalated_ = of.quality[kept], of.escalated[kept]

    def notes(self) -> dict[str, Any]:
        """Return how well the votes told right from wrong, and the benefit out of fold."""
        require_fitted(self, "figures_")
        n, auc, benefit = self.figures_.tolist()
        return {
            "small": self._pair[0],
            "large": self._pair[1],
            "verified_queries": int(n),
            "auc": round(auc, 4),
            "incremental_benefit_percent": round(benefit, 2),
            "verifies": self.best_ != _NOT_VERIFIED,
        }

    # --- running ------------------------------------------------------------------------------

    def run(self, task: Task) -> Run:
        """Draft, have the votes counted, and serve the draft or delegate to the large model."""
        require_fitted(self, "models_")
        table = self._chosen(task)
        if isinstance(table, Delegate | Skip):
            return table
        small, large = self._pair
        (draft,) = yield (Draft(model_id=small),)
        if draft is None:
            return Delegate(model_id=large, by=LAST_STAGE, why="no draft")
        defect = unfit(draft) or ("fixed answer" if self._is_fixed(draft) else None)
        if defect is not None:
            task.judged(draft, accepted=False, by=self.kind, why=defect)
            return Delegate(model_id=large, by=LAST_STAGE, instead=draft)
        votes = min(self.votes, task.room.calls - 1)
        replies = yield (self._question(task, draft),) * votes
        correct, read = tally(None if each is None else each.text for each in replies)
        enough = 2 * read >= self.votes
        accepted = enough and not table[round(self.votes * correct / read)]
        score, why = (correct / read if enough else None), f"{correct} of {read} votes"
        task.judged(draft, accepted=accepted, by=self.kind, score=score, why=why)
        if accepted:
            return Serve(answer=draft, by=self.kind, score=score, why=why)
        return Delegate(model_id=large, by=LAST_STAGE, instead=draft)

    def _question(self, task: Task, draft: Answer) -> Question:
        boundary = f"{task.rng.getrandbits(64):016x}"
        return Question(
            model_id=draft.model_id,
            messages=verification_messages(task.conversation, draft.text, boundary=boundary),
            max_tokens=VERIFICATION_MAX_TOKENS,
            purpose=Purpose.JUDGE,
            deadline_s=self.deadline_s,
            temperature=1.0,
            about=draft.number,
        )

    def _chosen(self, task: Task) -> Delegate | Skip | list[bool]:
        """Return the table to go by, or which model is to answer alone."""
        why = self._obstacle(task)
        if why is not None:
            return Skip(why=why)
        tables: list[list[bool]] = self.tables_.tolist()
        rate = task.usd_per_quality
        if rate is None:
            return tables[self.best_]
        small_usd, large_usd = (
            _cost(task.candidate(model_id), otherwise=mean_usd)
            for model_id, mean_usd in zip(self._pair, self.single_[:, 1].tolist(), strict=True)
        )
        verified_usd = small_usd * (1 + self.verifier_cost)
        quality = np.array([*self.single_[:, 0], *self.quality_])
        cost_usd = np.array([small_usd, large_usd, *verified_usd + self.escalated_ * large_usd])
        loss = -quality if rate == math.inf else cost_usd - rate * quality
        best = int(np.lexsort((cost_usd, loss))[0])
        if best < 2:
            return Delegate(model_id=self._pair[best], by=self.kind, why="votes are not worth it")
        return tables[best - 2]

    def _obstacle(self, task: Task) -> str | None:
        """Return why single choice is to answer, in a word."""
        if self.best_ == _NOT_VERIFIED:
            return "votes_tell_nothing"
        if any(task.candidate(each) is None for each in self._pair):
            return "too_few_models"
        if 2 * (task.room.calls - 2) < self.votes:
            return "too_few_calls"
        return None if task.may_cost(self._pair) else "max_cost"

    def _is_fixed(self, draft: Answer) -> bool:
        said = draft.text if draft.literal is None else draft.literal
        return said.strip().casefold() in {each.strip().casefold() for each in self.escalate}

    # --- what it is with ----------------------------------------------------------------------

    def doubts(self, candidates: Sequence[str]) -> list[str]:
        """Return what keeps votes from being asked for, as far as it can be told before fitting."""
        if self.models_ is None:
            return not_among(candidates, filter(None, (self.small, self.large)))
        doubts = not_among(candidates, self._pair)
        if self.best_ == _NOT_VERIFIED:
            n, auc, benefit = self.figures_.tolist()
            doubts.append(
                f"votes are not worth asking for: {int(n)} verified queries, AUC {auc:.2f}, "
                f"incremental benefit {benefit:.0f} %; single choice answers"
            )
        return doubts

    @property
    def _pair(self) -> tuple[str, str]:
        small, large = self.at_.tolist()
        return self.models_[small], self.models_[large]

    def state(self) -> dict[str, np.ndarray]:
        """Return the tables and what they came to."""
        require_fitted(self, "models_")
        return {
            "at": self.at_,
            "tables": self.tables_.astype(np.uint8),
            "quality": self.quality_,
            "escalated": self.escalated_,
            "single": self.single_,
            "best": np.array([self.best_], np.int64),
            "figures": self.figures_,
        }

    def restore(self, state: State, models: Sequence[str]) -> Self:
        """Take over the tables.

        Raises
        ------
        KeyError, ValueError
            If an array is missing or they do not fit together.
        """
        tables, single = take(state, "tables", ndim=2), take(state, "single", ndim=2)
        at, best, quality, escalated, figures = (
            take(state, name, ndim=1) for name in ("at", "best", "quality", "escalated", "figures")
        )
        n = len(tables)
        sound = (
            tables.shape == (n, self.votes + 1)
            and single.shape == (2, 2)
            and (len(at), len(best), len(figures)) == (2, 1, 3)
            and len(quality) == len(escalated) == n
            and 0 <= at.min() <= at.max() < len(models)
            and _NOT_VERIFIED <= best[0] < n
        )
        if not sound:
            raise ValueError("the arrays of automix do not fit together")
        self.models_, self.at_ = tuple(models), at.astype(np.intp)
        self.tables_, self.best_ = tables.astype(bool), int(best[0])
        self.quality_, self.escalated_ = quality, escalated
        self.single_, self.figures_ = single, figures
        return self


def _verified_rows(
    context: WorkflowContext, at: Sequence[int], votes: int, verifier_cost: float
) -> tuple[VerifiedRows, NDArray[np.intp]]:
    """Return the queries of which votes and both outcomes are known, and their folds."""
    quality = context.labels.quality[:, at].astype(np.float64)
    small, large = quality.T
    verified = context.answers.verified
    share = np.full(len(small), np.nan) if verified is None else verified[:, at[0]]
    known = ~(np.isnan(share) | np.isnan(quality).any(axis=1))
    small_usd, large_usd = context.cost_usd[:, at][known].T
    rows = VerifiedRows(
        votes=votes,
        correct=np.rint(np.clip(share[known], 0, 1) * votes).astype(np.intp),
        small=small[known],
        large=large[known],
        small_usd=small_usd,
        large_usd=large_usd,
        verifier_usd=small_usd * verifier_cost,
    )
    return rows, two_folds_at_least(context)[known]


def _cost(estimate: CandidateEstimate | None, *, otherwise: float) -> float:
    """Return what an answer is expected to cost; where nothing is predicted, its mean."""
    return otherwise if estimate is None or estimate.cost_usd is None else estimate.cost_usd
