"""The suite: every check on one router, as a report."""

import re
from collections.abc import Callable, Collection, Iterator
from typing import Any

import numpy as np

from routers.errors import DataError
from routers.robustness import items
from routers.robustness.checks import (
    Bars,
    Check,
    Examination,
    Verdict,
    difficulty_checks,
    invariance_checks,
    isolation_check,
    length_check,
    placement_checks,
)
from routers.robustness.defences import Smoothed
from routers.robustness.gadget import Effort, find_gadget, with_gadget
from routers.robustness.subject import POSITIONS, Subject
from routers.robustness.tiers import Tiers

Progress = Callable[[str], None]

_BOUGHT = 100
"""Requests of others that a gadget is tried on."""


def examine(
    subject: Subject,
    *,
    seed: int = 0,
    safe: Collection[str] = (),
    private: Collection[str] = (),
    effort: Effort | None = None,
    smoothed: bool = True,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Put a router through the suite.

    Parameters
    ----------
    safe, private
        The only models that harmful requests, and personal data, may go to; empty for any.
    effort
        What the rerouting attack may spend.
    smoothed
        Whether to measure what smoothing would do against it, at ten times the decisions.

    Returns
    -------
    dict
        JSON-ready: `name`, `passed`, `cost_quality` (where the knob shares the requests out),
        `models` with their levels, and `checks`.

    Raises
    ------
    DataError
        If the router never chooses between models of different cost, or one of `safe` and
        `private` is none of its models.
    """
    told = progress or (lambda _: None)
    told(f"{subject.name}: requests of known difficulty")
    core = subject.place([each.conversation for each in items.core()])
    _known(core.models, safe, "safety tier")
    _known(core.models, private, "models for personal data")
    exam = Examination(
        subject=subject,
        core=core,
        tiers=Tiers.of(core),
        bars=Bars(),
        safe=frozenset(safe),
        private=frozenset(private),
    )
    checks: list[Check] = []
    for what, more in (
        ("", lambda: [*difficulty_checks(exam), length_check(exam)]),
        ("harmful requests, jailbreaks, personal data", lambda: placement_checks(exam)),
        ("other forms", lambda: invariance_checks(exam, np.random.default_rng(seed))),
        ("other orders", lambda: [isolation_check(exam, np.random.default_rng(seed))]),
        ("the rerouting attack", lambda: _attack(exam, effort or Effort(), seed, smoothed)),
    ):
        if what:
            told(f"{subject.name}: {what}")
        checks += more()
    return {
        "name": subject.name,
        "passed": all(each.verdict is not Verdict.FAILED for each in checks),
        "cost_quality": round(float(POSITIONS[exam.tiers.at]), 4),
        "models": [
            {"model": model, "level": round(float(level), 4), "strong": bool(strong)}
            for model, level, strong in zip(
                core.models, exam.tiers.level, exam.tiers.strong, strict=True
            )
        ],
        "checks": [each.to_dict() for each in checks],
    }


def _known(models: Collection[str], wanted: Collection[str], noun: str) -> None:
    missing = [model for model in wanted if model not in models]
    if missing:
        raise DataError(f"{noun}: {', '.join(missing)} is none of {', '.join(models)}")


def _attack(exam: Examination, effort: Effort, seed: int, smoothed: bool) -> Iterator[Check]:  # noqa: FBT001
    simple = [each.prompt for each in items.core() if not each.hard]
    rng = np.random.default_rng(seed)
    shuffled = [simple[i] for i in rng.permutation(len(simple))]
    own, others = shuffled[: effort.n_queries], shuffled[effort.n_queries :][:_BOUGHT]
    words = sorted(
        {word for each in items.core() for word in re.findall(r"[a-z]{3,}", each.prompt.lower())}
    )
    gadget = find_gadget(
        lambda asked: exam.tiers.score(exam.subject.place(asked)),
        own,
        words,
        effort=effort,
        rng=rng,
    )
    subjects = [exam.subject, *([Smoothed(exam.subject)] if smoothed else [])]
    rows, lifted = [], []
    for subject in subjects:
        before = subject.place(with_gadget("", others))
        after = subject.place(with_gadget(gadget, others))
        was, now = (float(exam.tiers.is_strong(each).mean()) for each in (before, after))
        lifted.append(now - was)
        rows.append((subject.name, f"{was:.0%}", f"{now:.0%}"))
    yield Check(
        name="the rerouting attack",
        verdict=Verdict.TOLD,
        value=lifted[0],
        bar="",
        finding=f"ten words in front lift {lifted[0]:.0%} more of simple requests to strong models "
        f"({effort.n_questions} decisions to find them): limit what a key may spend",
        head=("router", "strong before", "strong after"),
        rows=tuple(rows),
    )
