"""Tasks that agents worked on step by step: what each step read, and who could do it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from routers.data.adapters.twinrouterbench import right_tiers
from routers.data.jsonl import conversation_of
from routers.data.lines import json_lines, number_of
from routers.errors import DataError
from routers.files import shown_value
from routers.types import Conversation

_QUALITY, _TOKENS = "q:", "t:"


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentStep:
    """One call of an agent's model.

    Attributes
    ----------
    conversation
        Everything that the model reads.
    qualities
        By model: the chance, in [0, 1], that its answer takes the task on.
    output_tokens
        By model, as far as they are known; `""` stands for every other model.
    at_s
        Seconds since the task began; None where nothing tells.
    """

    conversation: Conversation
    qualities: Mapping[str, float]
    output_tokens: Mapping[str, float]
    at_s: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Trajectory:
    """The steps of one task, in their order."""

    task: str
    steps: tuple[AgentStep, ...]


def read_trajectories(paths: Sequence[Path]) -> list[Trajectory]:
    """Read the steps of tasks from JSONL.

    A line is a step: `task` (or `instance_id`), `step` (or `step_index`; else the order in the
    file), `messages` or `prompt`, and `quality` as an object by model or `q:MODEL` each; further
    `output_tokens` (a number, or an object by model) or `t:MODEL` each, and `at_s`. In place of
    qualities the line may have TwinRouterBench's `target_tier_id`: tiers are the models then, right
    from that one on.

    Raises
    ------
    DataError
        If a file cannot be read, a line lacks something, two lines are one step, or no model was
        tried on every step; the message names it.
    """
    tasks: dict[str, list[tuple[float, str, AgentStep]]] = {}
    for path in paths:
        for number, (where, row) in enumerate(json_lines(path)):
            task = row.get("task", row.get("instance_id"))
            if not isinstance(task, str | int) or isinstance(task, bool):
                raise DataError(
                    f"{where}: 'task' must tell which task the step is part of, got "
                    f"{shown_value(task)}"
                )
            position = row.get("step", row.get("step_index"))
            at = float(number) if position is None else number_of(position)
            if at is None:
                raise DataError(f"{where}: 'step' must be a number, got {shown_value(position)}")
            tasks.setdefault(str(task), []).append((at, where, _step(where, row)))
    if not tasks:
        raise DataError(f"{', '.join(map(str, paths))}: no steps in there")
    found = [Trajectory(task=task, steps=_in_order(steps)) for task, steps in tasks.items()]
    if not models_of(found):
        raise DataError("no model was tried on every step, so none can be told of")
    return found


def models_of(trajectories: Sequence[Trajectory]) -> tuple[str, ...]:
    """Return the models whose quality is known for every step, in the order of the first."""
    steps = [step for each in trajectories for step in each.steps]
    return tuple(
        model for model in steps[0].qualities if all(model in each.qualities for each in steps)
    )


def output_tokens(trajectories: Sequence[Trajectory], models: Sequence[str]) -> np.ndarray:
    """Return (n_steps, n_models) output tokens, NaN where nothing tells."""
    rows = [
        [step.output_tokens.get(model, step.output_tokens.get("", np.nan)) for model in models]
        for each in trajectories
        for step in each.steps
    ]
    return np.asarray(rows, dtype=np.float64).reshape(len(rows), len(models))


def _in_order(steps: list[tuple[float, str, AgentStep]]) -> tuple[AgentStep, ...]:
    steps.sort(key=lambda each: each[0])
    for (at, _, _), (again, where, _) in pairwise(steps):
        if at == again:
            raise DataError(f"{where}: the task has a step {at:g} already")
    return tuple(step for _, _, step in steps)


def _step(where: str, row: Mapping[str, Any]) -> AgentStep:
    qualities = dict(_by_model(where, row, "quality", _QUALITY))
    if not qualities and "target_tier_id" in row:
        qualities = right_tiers(where, row)
    if not qualities:
        raise DataError(f"{where}: 'quality' must tell of each model that was tried")
    for model, quality in qualities.items():
        if not 0 <= quality <= 1:
            raise DataError(f"{where}: the quality of {model!r} is {quality:g}, not in [0, 1]")
    tokens = dict(_by_model(where, row, "output_tokens", _TOKENS))
    if any(n < 0 for n in tokens.values()):
        raise DataError(f"{where}: 'output_tokens' must not be negative")
    at_s = row.get("at_s")
    seconds = None if at_s is None else number_of(at_s)
    if at_s is not None and (seconds is None or not np.isfinite(seconds)):
        raise DataError(f"{where}: 'at_s' must be a number of seconds, got {shown_value(at_s)}")
    return AgentStep(
        conversation=conversation_of(where, row),
        qualities=qualities,
        output_tokens=tokens,
        at_s=seconds,
    )


def _by_model(
    where: str, row: Mapping[str, Any], name: str, prefix: str
) -> Iterator[tuple[str, float]]:
    """Yield what a line says of each model; a bare number, of all of them, under ""."""
    said = row.get(name)
    items = dict(said) if isinstance(said, Mapping) else {} if said is None else {"": said}
    items |= {key[len(prefix) :]: value for key, value in row.items() if key.startswith(prefix)}
    if name == "quality" and "" in items:
        raise DataError(f"{where}: 'quality' must be an object, a number by model")
    for model, value in items.items():
        number = float(value) if isinstance(value, bool) else number_of(value)
        if number is None or not np.isfinite(number):
            raise DataError(f"{where}: {name} of {model!r} must be a number")
        yield str(model), number
