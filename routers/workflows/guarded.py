"""A fast guard looks at every request, a slow one at those that the fast one gets wrong."""

# ruff: noqa: RUF009  (unfitted() declares a field)

import re
from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, ClassVar, Literal, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from routers.decisions import CandidateEstimate
from routers.errors import RoutingConfigError
from routers.options import State, prefixed, under, unfitted
from routers.steps import Answer, Delegate, Purpose, Question, Refuse, Run, Skip, Step
from routers.task import GuardVerdict, Task
from routers.workflows.base import WORKFLOWS, Workflow, make_workflow
from routers.workflows.cascade import not_among
from routers.workflows.guards.models import GuardModels
from routers.workflows.guards.slow import (
    GUARD_MAX_TOKENS,
    PIECE_CHARS,
    guard_messages,
    judged_text,
    pieces,
    together,
    unsafe_chance,
)


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Rule(_Part):
    """A pattern that no harmless request has in it; upper and lower case are the same."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,39}$")]
    pattern: Annotated[str, Field(min_length=1, max_length=2_000)]


class SlowGuard(_Part):
    """A model that is asked; one that guards by trade (Llama Guard and the like), or any other."""

    model: str
    deadline_s: Annotated[float, Field(gt=0, le=600, allow_inf_nan=False)] = 2.0
    logprobs: bool = False
    """Whether the chance of its reply is asked for, to be told."""


class Pool(_Part):
    """Who may answer what nobody else may."""

    models: Annotated[tuple[str, ...], Field(min_length=1)]


Consequence = Literal["block"] | Pool

_THEN = "then."

_Judging = Generator[Sequence[Step], Sequence[Answer | None], GuardVerdict]


@WORKFLOWS.register("guarded")
@dataclass(kw_only=True)
class Guarded(Workflow):
    """Let requests pass a guard before anything answers them.

    Rules speak first, and nothing takes back what they say. Then the fast guard, where there is a
    fitted one; a router that learned where the slow guard puts the fast one right says whether
    that is asked too, whose word then counts. Without a fitted one the slow guard is always asked.
    Where a guard that has to be asked says nothing, the request does not pass.

    Attributes
    ----------
    rules
        Patterns of what is harmful for certain.
    slow
        The slow guard; None for none.
    epsilon
        From which chance on, that it puts the fast one right, the slow guard is asked.
    always_slow
        Whether the slow guard is asked whatever the fast one says.
    threshold
        From which chance on the fast guard calls a request harmful.
    when_harmful, on_failure
        What becomes of a harmful request, and of one that no guard could tell of: `block`, or the
        only models that may answer it.
    reads
        All of the conversation, or what is new in it since the last answer.
    max_chars
        A longer text is one that no guard could tell of.
    unseen
        Likewise for what is no text, such as images: `fail`, or `allow` where the text is harmless.
    then
        The workflow that answers what passes, of any kind; None for single choice. One that is
        fitted from recorded answers is handed over by `followed_by`.

    References
    ----------
    Lee et al. 2025, SafeRoute, arXiv:2502.12464.
    """

    kind: ClassVar[str] = "guarded"
    guards: ClassVar[bool] = True
    tunable: ClassVar[bool] = True
    names_candidates: ClassVar[bool] = True
    reads_features: ClassVar[bool] = True

    rules: tuple[Rule, ...] = ()
    slow: SlowGuard | None = None
    epsilon: Annotated[float, Field(ge=0, le=1)] = 0.5
    always_slow: bool = False
    threshold: Annotated[float, Field(gt=0, lt=1)] = 0.5
    when_harmful: Consequence = "block"
    on_failure: Consequence = "block"
    reads: Literal["conversation", "new"] = "conversation"
    max_chars: Annotated[int, Field(ge=100, le=1_000_000)] = 40_000
    unseen: Literal["fail", "allow"] = "fail"
    then: dict[str, Any] | None = None

    learned_: GuardModels | None = unfitted()
    _rules: tuple[tuple[str, re.Pattern[str]], ...] = field(init=False, repr=False)
    _then: Workflow | None = field(init=False, repr=False, default=None)
    _is_fitted: bool = field(init=False, repr=False, default=False)

    def __post_init__(self) -> None:
        self._rules = tuple((each.name, _compiled(each)) for each in self.rules)
        if self.always_slow and self.slow is None:
            raise RoutingConfigError("`always_slow` needs a slow guard: `slow: {model: ...}`")
        if self.then is not None:
            self._then = make_workflow(self.then)
            if self._then.guards:
                raise RoutingConfigError("`then` of a guard cannot be another guard")

    # --- running ------------------------------------------------------------------------------

    def run(self, task: Task) -> Run:
        """Come to a verdict, then to an answer or none."""
        guarding = task.guarding
        text = judged_text(task.conversation, whole=self.reads == "conversation")
        if guarding.further:
            text += f"\n\n{guarding.further}"
        verdict = self._at_once(task, text)
        if verdict is None:
            verdict = yield from self._ask(task, text)
        guarding.verdict = verdict
        allowed = self._allowed(verdict)
        if allowed is None:
            why = _HARMFUL if verdict.harmful else _NOT_JUDGED
            return Refuse(by=f"guard.{verdict.by}", why=why)
        if not guarding.is_open:
            guarding.models = allowed
            restricted = _restricted(task, allowed)
            if restricted is None:
                return Refuse(by=f"guard.{verdict.by}", why="no model may answer such a request")
            task = restricted
        return (yield from self._answer(task))

    def _at_once(self, task: Task, text: str) -> GuardVerdict | None:
        """Return a verdict that needs no slow guard; None where that has to be asked."""
        broken = next((name for name, each in self._rules if each.search(text)), None)
        if broken is not None:
            return GuardVerdict(by="rule", harmful=True, why=broken)
        fast, needed = self._look(task)
        obstacle = self._obstacle(task, text, fast)
        if obstacle is not None:
            return GuardVerdict(by="none", harmful=None, why=obstacle)
        if self.slow is None:
            return fast or GuardVerdict(by="rule", harmful=False)  # which are all there is
        is_beyond = len(text) > PIECE_CHARS or bool(task.guarding.further)
        if self.always_slow or is_beyond or needed > self.epsilon:
            return None
        return fast

    def _obstacle(self, task: Task, text: str, fast: GuardVerdict | None) -> str | None:
        """Return why no guard can tell of a request, in a word."""
        if len(text) > self.max_chars:
            return "too_long"
        if task.guarding.unseen and self.unseen == "fail":
            return "not_text"
        return (
            "no_features" if self.slow is None and self.learned_ is not None and not fast else None
        )

    def _look(self, task: Task) -> tuple[GuardVerdict | None, float]:
        """Return what the fast guard says, and how needed the slow one is."""
        if self.learned_ is None or task.x is None:
            return None, 1.0
        chance, needed = self.learned_.look(task.x)
        return GuardVerdict(by="fast", harmful=chance >= self.threshold, score=chance), needed

    def _ask(self, task: Task, text: str) -> _Judging:
        """Ask the slow guard about all pieces of a text at the same time."""
        assert self.slow is not None  # noqa: S101  (`_at_once` has told otherwise)
        boundary = f"{task.rng.getrandbits(64):016x}"
        questions = tuple(
            Question(
                model_id=self.slow.model,
                messages=guard_messages(piece, boundary=boundary),
                max_tokens=GUARD_MAX_TOKENS,
                purpose=Purpose.GUARD,
                deadline_s=self.slow.deadline_s,
                logprobs=self.slow.logprobs,
            )
            for piece in pieces(text)
        )
        replies = yield questions
        harmful = together(replies)
        if harmful is None:
            fast, _ = self._look(task)
            late = any(each is None for each in replies)
            return GuardVerdict(
                by="none",
                # What the fast guard calls harmful is so until somebody says otherwise.
                harmful=True if fast is not None and fast.harmful else None,
                score=None if fast is None else fast.score,
                why="no_reply" if late else "unreadable",
            )
        return GuardVerdict(by="slow", harmful=harmful, score=unsafe_chance(replies))

    def _allowed(self, verdict: GuardVerdict) -> frozenset[str] | None:
        """Return who may answer, nobody being None and everybody an empty set."""
        if verdict.harmful is False:
            return frozenset()
        consequences = [self.when_harmful] if verdict.harmful else []
        if verdict.by == "none":
            consequences.append(self.on_failure)
        pools = [None if each == "block" else each.models for each in consequences]
        if any(each is None for each in pools):
            return None
        allowed = frozenset.intersection(*(frozenset(each or ()) for each in pools))
        return allowed or None

    def _answer(self, task: Task) -> Run:
        """Have what passed answered by whoever may."""
        guarding = task.guarding
        if guarding.single is None and self._then is not None:
            end = yield from self._then.run(task)
            if not isinstance(end, Skip) or guarding.is_open:
                return end
        if guarding.is_open:
            return Skip(why=guarding.single or "harmless")
        return Delegate(model_id=task.model_id, by="guard", why="the only models that may answer")

    # --- what it is with ----------------------------------------------------------------------

    @property
    def follower(self) -> Workflow | None:
        """The workflow that answers what passes."""
        return self._then

    @property
    def has_fitted_follower(self) -> bool:
        """Whether that was fitted from recorded answers."""
        return self._is_fitted

    def followed_by(self, fitted: Workflow) -> Self:
        """Have a workflow that was fitted, of the kind of `then`, answer what passes."""
        self._then, self._is_fitted = fitted, True
        return self

    @property
    def heeds_knob(self) -> bool:  # type: ignore[override]
        """As what comes after does."""
        return self._then is not None and self._then.heeds_knob

    @property
    def describes(self) -> bool:  # type: ignore[override]
        """As what comes after does."""
        return self._then is not None and self._then.describes

    @property
    def retells(self) -> bool:  # type: ignore[override]
        """As what comes after does."""
        return self._then is not None and self._then.retells

    @property
    def taught(self) -> Workflow:
        """What comes after, where something does."""
        return self if self._then is None else self._then.taught

    @property
    def wants_logprobs(self) -> bool:
        """As what comes after does."""
        return self._then is not None and self._then.wants_logprobs

    @property
    def reads_text_only(self) -> bool:
        """As what comes after does; the guard itself has `unseen` for the rest."""
        return self._then is None or self._then.reads_text_only

    def asks(self, candidates: Iterable[str]) -> tuple[str, ...]:
        """Return the slow guard, and those that are asked after it."""
        asked = () if self.slow is None else (self.slow.model,)
        return asked if self._then is None else (*asked, *self._then.asks(candidates))

    def doubts(self, candidates: Sequence[str]) -> list[str]:
        """Say where nothing guards, and who may answer that cannot."""
        doubts = []
        if self.slow is None and self.learned_ is None and not self.rules:
            doubts.append(
                "it has nothing to go by; write `rules`, name a slow guard (`slow: {model: ...}`), "
                "or a router whose artifact has a guard (`steelyard fit-guard`)"
            )
        for pool in (self.when_harmful, self.on_failure):
            if isinstance(pool, Pool):
                doubts += not_among(candidates, pool.models)
        if self._then is None:
            return doubts
        if self._then.learns and not self._is_fitted:
            doubts.append(
                f"`then` is {self._then.kind!r}, which is fitted from recorded answers: name it by "
                "its kind alone, and a router whose artifact holds it (`steelyard fit --answers`)"
            )
        return [*doubts, *self._then.doubts(candidates)]

    def state(self) -> dict[str, np.ndarray]:
        """Return what the fast guard, its router and what comes after learned, where they did."""
        own = self.own_state()
        if self._then is None or not self._is_fitted:
            return own
        return own | prefixed(_THEN, self._then.state())

    def own_state(self) -> dict[str, np.ndarray]:
        """Return what the fast guard and its router learned, where they did."""
        return {} if self.learned_ is None else self.learned_.state()

    def restore(self, state: State, models: Sequence[str]) -> Self:
        """Take over what was learned.

        Raises
        ------
        KeyError, ValueError
            If an array is missing or they do not fit together.
        """
        of_then = under(_THEN, state)
        own = {name: array for name, array in state.items() if not name.startswith(_THEN)}
        self.learned_ = GuardModels.restore(own) if own else None
        if of_then and self._then is not None:
            self.followed_by(self._then.restore(of_then, models))
        return self


_HARMFUL = "the guard of this policy found the request harmful"
_NOT_JUDGED = "the guard of this policy could not judge the request, and so it is not answered"


def _compiled(rule: Rule) -> re.Pattern[str]:
    try:
        return re.compile(rule.pattern, re.IGNORECASE)
    except re.error as error:
        raise RoutingConfigError(f"the pattern of rule {rule.name!r}: {error}") from error


def _restricted(task: Task, allowed: frozenset[str]) -> Task | None:
    """Return a request as if there were no other models; None where none of them may be called."""
    left = tuple(each for each in task.candidates if each.model_id in allowed)
    if not left:
        return None
    text_only = tuple(each for each in task.text_only if each.model_id in allowed)
    names = {each.model_id for each in left}
    best = task.model_id if task.model_id in names else max(left, key=_worth).model_id
    return replace(task, candidates=left, text_only=text_only, model_id=best)


def _worth(estimate: CandidateEstimate) -> tuple[float, float, str]:
    """Order models by predicted quality, then by how cheap they are."""
    cost_usd = estimate.cost_usd
    return (
        -1.0 if estimate.quality is None else estimate.quality,
        -1e9 if cost_usd is None else -cost_usd,
        estimate.model_id,
    )
