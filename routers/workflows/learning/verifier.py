"""Verifiers: acceptors that are known to tell good answers from bad ones."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from routers.errors import RoutingConfigError
from routers.numeric import FloatArray
from routers.steps import Answer
from routers.task import Task, Verdict
from routers.workflows.acceptors.base import Acceptor, Judging, make_acceptor, unfit

LEAST_AUC = 0.65
"""Below it a verifier teaches noise: a policy that learns from it drifts to whatever it likes."""

VERIFIER = "verifier"


@dataclass(frozen=True, slots=True)
class Verifier:
    """An acceptor whose verdicts are learned from.

    Attributes
    ----------
    auc
        The chance that it scores a good answer above a bad one, as its operator has measured on
        graded answers; None where nobody says.
    """

    acceptor: Acceptor
    auc: float | None

    @classmethod
    def of(cls, options: Mapping[str, Any] | None) -> "Verifier | None":
        """Make a verifier of the options of an acceptor and `auc`; None without any.

        Raises
        ------
        RoutingConfigError
            If there is no such kind, or an option does not fit.
        """
        if options is None:
            return None
        found = options.get("auc")
        if found is not None and (
            isinstance(found, bool) or not isinstance(found, int | float) or not 0 <= found <= 1
        ):
            raise RoutingConfigError(f"`auc` of a verifier is a number from 0 to 1, not {found!r}")
        acceptor = make_acceptor({name: each for name, each in options.items() if name != "auc"})
        return cls(acceptor, None if found is None else float(found))

    def doubts(self, candidates: Sequence[str]) -> list[str]:
        """Return what keeps it from teaching anything, a sentence each."""
        found = [
            f"its verifier asks {each!r}, which is one of the policy's candidates and would judge "
            "its own answers; name another model"
            for each in self.acceptor.model_ids
            if each in candidates
        ]
        if self.auc is None:
            found.append(
                "its verifier does not say how well it tells good answers from bad ones: measure "
                f"its `auc` on graded answers; {LEAST_AUC:g} is the least that can be learned from"
            )
        elif self.auc < LEAST_AUC:
            found.append(
                f"a verifier of AUC {self.auc:g} tells too little to learn from: {LEAST_AUC:g} is "
                "the least"
            )
        return found

    def verify(self, task: Task, answer: Answer) -> Judging:
        """Have a verdict on an answer; it is noted in the task."""
        why = unfit(answer)
        if why is not None:
            return task.judged(answer, accepted=False, by=VERIFIER, score=0.0, why=why)
        return (yield from self.acceptor.accept(task, answer))


def told(task: Task) -> list[Verdict]:
    """Return the verdicts that say something: without a score, nobody could be had to judge."""
    return [verdict for verdict in task.verdicts if verdict.score is not None]


def auc(scores: FloatArray, good: NDArray[np.bool_]) -> float:
    """Return the chance that a good answer scores above a bad one; ties count half.

    NaN where all are good or none is.
    """
    n_good = int(good.sum())
    n_bad = len(good) - n_good
    if not n_good or not n_bad:
        return float("nan")
    _, at, count = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(count) - (count - 1) / 2)[at]
    return float((ranks[good].sum() - n_good * (n_good + 1) / 2) / (n_good * n_bad))
