"""A fitted workflow under other names of its models than those that it was fitted with."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from routers.decisions import CandidateEstimate
from routers.steps import Answer, Delegate, End, Run, Serve, Step
from routers.task import Task, Verdict
from routers.workflows.base import Workflow
from routers.workflows.learning.base import Beliefs, OnlineWorkflow
from routers.workflows.learning.lessons import Lesson


class RenamedWorkflow(OnlineWorkflow):
    """Runs a workflow that knows models by the names of its training data.

    Parameters
    ----------
    inner
        The workflow.
    fitted_as
        For each model that may be called, its name in the training data. Of several with one name,
        the one that is expected to be cheaper stands for it.
    """

    def __init__(self, inner: Workflow, fitted_as: Mapping[str, str]) -> None:
        self.inner = inner
        self._fitted_as = dict(fitted_as)

    @property
    def kind(self) -> str:  # type: ignore[override]  # of each instance its own
        """That of the workflow."""
        return self.inner.kind

    @property
    def heeds_knob(self) -> bool:  # type: ignore[override]
        """As the workflow does."""
        return self.inner.heeds_knob

    @property
    def reads_features(self) -> bool:  # type: ignore[override]
        """As the workflow does."""
        return self.inner.reads_features

    @property
    def wants_logprobs(self) -> bool:
        """As the workflow does."""
        return self.inner.wants_logprobs

    @property
    def reads_text_only(self) -> bool:
        """As the workflow does."""
        return self.inner.reads_text_only

    def asks(self, candidates: Iterable[str]) -> tuple[str, ...]:
        """Return those that the workflow asks beyond the candidates."""
        return self.inner.asks([self._fitted_as.get(each, each) for each in candidates])

    def doubts(self, candidates: Sequence[str]) -> list[str]:
        """Say what the workflow says, of the names that it knows."""
        return self.inner.doubts([self._fitted_as.get(each, each) for each in candidates])

    def run(self, task: Task) -> Run:
        """Run the workflow, with names translated both ways."""
        called = self._called(task)
        names = {each.model_id: name for name, each in called.items()}
        ids = {name: each.model_id for name, each in called.items()}
        heard: dict[int, Answer] = {}
        inner_task = self._inner_task(task, called)
        running = self.inner.run(inner_task)
        answers: Sequence[Answer | None] | None = None
        try:
            while True:
                steps = running.send(answers)  # type: ignore[arg-type]  # None begins it
                self._tell(task, inner_task.verdicts, heard)
                came = yield tuple(_step_as(step, ids.get(step.model_id)) for step in steps)
                heard |= {each.number: each for each in came if each is not None}
                answers = [
                    each and replace(each, model_id=names.get(each.model_id, each.model_id))
                    for each in came
                ]
        except StopIteration as stop:
            self._tell(task, inner_task.verdicts, heard)
            return _end_as(stop.value, ids, heard)
        finally:
            running.close()
            task.notes.update(_told_as(inner_task.notes, ids))
            task.trace.extend(_told_as(each, ids) for each in inner_task.trace)

    def _called(self, task: Task) -> dict[str, CandidateEstimate]:
        """Return which candidate stands for each name."""
        called: dict[str, CandidateEstimate] = {}
        for each in task.candidates:
            name = self._fitted_as.get(each.model_id, each.model_id)
            known = called.get(name)
            if known is None or _usd(each) < _usd(known):
                called[name] = each
        return called

    def _inner_task(self, task: Task, called: Mapping[str, CandidateEstimate]) -> Task:
        return replace(
            task,
            candidates=tuple(_estimate_as(each, name) for name, each in called.items()),
            model_id=self._fitted_as.get(task.model_id, task.model_id),
            verdicts=[],
            facts={self._fitted_as.get(name, name): each for name, each in task.facts.items()},
            notes={},
            trace=[],
        )

    @property
    def learns_online(self) -> bool:
        """As the workflow does."""
        return isinstance(self.inner, OnlineWorkflow) and self.inner.learns_online

    def lesson(self, task: Task) -> Lesson | None:
        """Return what the workflow learns of a request, with names translated."""
        if not isinstance(self.inner, OnlineWorkflow):
            return None
        inner_task = self._inner_task(task, self._called(task))
        inner_task.verdicts.extend(
            replace(each, answer=replace(each.answer, model_id=self._name_of(each.answer)))
            for each in task.verdicts
        )
        return self.inner.lesson(inner_task)

    @property
    def subject(self) -> bytes:
        """As the workflow says: its lessons are in the names that it knows."""
        return self.inner.subject if isinstance(self.inner, OnlineWorkflow) else b""

    def meet(self, models: Iterable[str]) -> None:
        """Have the workflow take note of models, by the names that it knows."""
        if isinstance(self.inner, OnlineWorkflow):
            self.inner.meet([self._fitted_as.get(each, each) for each in models])

    def absorb(self, lesson: Lesson) -> None:
        """Have the workflow believe it."""
        if isinstance(self.inner, OnlineWorkflow):
            self.inner.absorb(lesson)

    def recall(self, lesson: Lesson | None) -> Callable[[], None]:
        """Return what has the workflow believe a lesson and what was fitted, and nothing else."""
        if isinstance(self.inner, OnlineWorkflow):
            return self.inner.recall(lesson)
        return lambda: None

    def beliefs(self) -> Beliefs:
        """Return what the workflow believes, of the models that stand for the names it knows."""
        if not isinstance(self.inner, OnlineWorkflow):
            return Beliefs()
        found = self.inner.beliefs()
        names = {name: model_id for model_id, name in self._fitted_as.items()}
        return Beliefs(
            threshold=found.threshold,
            success={names.get(name, name): each for name, each in found.success.items()},
        )

    def _name_of(self, answer: Answer) -> str:
        return self._fitted_as.get(answer.model_id, answer.model_id)

    @staticmethod
    def _tell(task: Task, said: Sequence[Verdict], heard: Mapping[int, Answer]) -> None:
        for each in said[len(task.verdicts) :]:
            task.verdicts.append(replace(each, answer=heard.get(each.answer.number, each.answer)))


def _usd(estimate: CandidateEstimate) -> float:
    return float("inf") if estimate.cost_usd is None else estimate.cost_usd


def _estimate_as(estimate: CandidateEstimate, name: str) -> CandidateEstimate:
    return CandidateEstimate(
        model_id=name,
        quality=estimate.quality,
        quality_std=estimate.quality_std,
        input_tokens=estimate.input_tokens,
        output_tokens=estimate.output_tokens,
        output_tokens_upper=estimate.output_tokens_upper,
        cost_usd=estimate.cost_usd,
        cost_usd_upper=estimate.cost_usd_upper,
    )


def _step_as(step: Step, model_id: str | None) -> Step:
    if model_id is None or model_id == step.model_id:
        return step
    return replace(step, model_id=model_id)


def _end_as(end: End, ids: Mapping[str, str], heard: Mapping[int, Answer]) -> End:
    if isinstance(end, Serve):
        return replace(end, answer=heard.get(end.answer.number, end.answer))
    if isinstance(end, Delegate):
        instead = end.instead
        if instead is not None and instead.number in heard:
            instead = replace(heard[instead.number], text=instead.text)
        return replace(end, model_id=ids.get(end.model_id, end.model_id), instead=instead)
    return end


def _told_as(told: Mapping[str, Any], ids: Mapping[str, str]) -> dict[str, Any]:
    """Return what a workflow tells, with names of models translated."""
    return {
        name: [ids.get(each, each) for each in value]
        if isinstance(value, list)
        else ids.get(value, value)
        if isinstance(value, str)
        else value
        for name, value in told.items()
    }
