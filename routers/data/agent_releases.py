"""Runs of agents as they are published: one model a run, whole tasks, solved or not.

Such a run says what its own model did. Here several models' runs of the same tasks become one set
of tasks whose every step any of them might have taken: the steps are those of the model that solved
most, and a model is taken to do each of them as often as it solved the task. That is an
approximation: what a model would have made of somebody else's steps, no release tells.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from routers.data.lines import MAX_LIST_CHARS, json_items, number_of
from routers.data.messages import read_messages
from routers.data.opening import open_text
from routers.data.trajectories import AgentStep, Trajectory
from routers.errors import DataError
from routers.files import repaired, shown_bytes, shown_value
from routers.text.token_estimate import estimate_tokens
from routers.types import Conversation

_REPORTS = ("results.json", "report.json", "preds.report.json")
_RESOLVED = ("resolved_ids", "resolved")
_Message = dict[str, Any]


@dataclass(frozen=True, slots=True)
class _Step:
    """What a model read, and what it answered."""

    messages: list[_Message]
    answer: str


@dataclass(slots=True)
class _Task:
    """What one model made of a task: of each trial whether it was solved, and one trial's steps."""

    solved: list[float]
    steps: list[_Step]


def read_runs(runs: Mapping[str, Path]) -> list[Trajectory]:
    """Read one run of each model.

    Parameters
    ----------
    runs
        Model → a JSON file of tau-bench results (a list of `task_id`, `reward`, `traj`, `trial`),
        or a folder of SWE-agent's `.traj` files with the report of SWE-bench's evaluation
        (`results.json` or `report.json`, with `resolved_ids`).

    Raises
    ------
    DataError
        If one cannot be read, or no task is in all of them.

    References
    ----------
    Yao et al. 2024, tau-bench, arXiv:2406.12045; Yang et al. 2024, SWE-agent, arXiv:2405.15793.
    """
    found = {model: dict(_tasks(path)) for model, path in runs.items()}
    shared = [name for name in next(iter(found.values())) if all(name in t for t in found.values())]
    if not shared:
        raise DataError(f"no task is in the runs of all of {', '.join(found)}")
    solved = {
        model: {name: float(np.mean(tasks[name].solved)) for name in shared}
        for model, tasks in found.items()
    }
    best = max(found, key=lambda model: (sum(solved[model].values()), model))
    return [
        Trajectory(
            task=name,
            steps=tuple(
                _agent_step(
                    f"{runs[best]}: task {name}",
                    step,
                    {model: solved[model][name] for model in found},
                )
                for step in found[best][name].steps
            ),
        )
        for name in shared
        if found[best][name].steps
    ]


def _agent_step(where: str, step: _Step, qualities: Mapping[str, float]) -> AgentStep:
    return AgentStep(
        conversation=read_messages(where, step.messages),
        qualities=qualities,
        output_tokens={"": float(estimate_tokens(Conversation.of(step.answer)))},
        at_s=None,
    )


def _tasks(path: Path) -> Iterator[tuple[str, _Task]]:
    yield from (_of_swe_agent(path) if path.is_dir() else _of_tau_bench(path))


def _of_tau_bench(path: Path) -> Iterator[tuple[str, _Task]]:
    tasks: dict[str, _Task] = {}
    for where, result in json_items(path):
        if not isinstance(result.get("traj"), list):
            raise DataError(f"{where}: 'traj' must be a list of messages")
        reward = number_of(result.get("reward"))
        if reward is None or not 0 <= reward <= 1:
            raise DataError(
                f"{where}: 'reward' must be in [0, 1], got {shown_value(result.get('reward'))}"
            )
        name = result.get("task_id")
        if not isinstance(name, str | int) or isinstance(name, bool):
            raise DataError(f"{where}: 'task_id' must name the task, got {shown_value(name)}")
        task = tasks.setdefault(str(name), _Task([], []))
        task.solved.append(reward)
        # Of several trials one that solved it, if any did.
        if not task.steps or reward > max(task.solved[:-1]):
            task.steps = list(_turns(where, result["traj"]))
    yield from tasks.items()


def _turns(where: str, traj: Sequence[object]) -> Iterator[_Step]:
    before: list[_Message] = []
    for message in traj:
        if not isinstance(message, dict):
            raise DataError(f"{where}: a message must be an object, got {shown_value(message)}")
        told = _plain(message)
        if told["role"] == "assistant" and before:
            yield _Step(list(before), told["content"])
        before.append(told)


def _plain(message: Mapping[str, Any]) -> _Message:
    """Return a message with what was called among its words."""
    content = message.get("content")
    calls = message.get("tool_calls") or message.get("function_call")
    if calls:
        content = f"{content or ''}\n{calls}".strip()
    role = "tool" if message.get("role") == "function" else message.get("role")
    return {"role": role, "content": content if isinstance(content, list) else content or ""}


def _of_swe_agent(folder: Path) -> Iterator[tuple[str, _Task]]:
    report = next((folder / name for name in _REPORTS if (folder / name).is_file()), None)
    if report is None:
        raise DataError(
            f"{folder}: says nowhere what was solved; put SWE-bench's report there as results.json "
            "(with `resolved_ids`)"
        )
    said = _document(report)
    resolved = next((said[n] for n in _RESOLVED if isinstance(said, dict) and n in said), None)
    if not isinstance(resolved, list):
        raise DataError(f"{report}: 'resolved_ids' must be a list of instances")
    files = sorted(folder.rglob("*.traj"))
    if not files:
        raise DataError(f"{folder}: holds no .traj files")
    for file in files:
        told = _document(file)
        turns = told.get("trajectory") if isinstance(told, dict) else None
        if not isinstance(turns, list):
            raise DataError(f"{file}: 'trajectory' must be a list of steps")
        yield file.stem, _Task([float(file.stem in resolved)], list(_steps(file, turns)))


def _document(path: Path) -> Any:
    try:
        with open_text(path) as text:
            told = text.read(MAX_LIST_CHARS + 1)
        if len(told) > MAX_LIST_CHARS:
            raise DataError(f"{path}: is longer than {shown_bytes(MAX_LIST_CHARS)}")
        return repaired(json.loads(told))
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: is not valid JSON ({error})") from error


def _steps(file: Path, turns: Sequence[object]) -> Iterator[_Step]:
    before: list[_Message] = []
    for number, turn in enumerate(turns):
        if not isinstance(turn, dict) or not isinstance(turn.get("response"), str):
            raise DataError(f"{file}: step {number}: 'response' must be a text")
        read = turn.get("query") or turn.get("messages")  # named `messages` before 1.1
        messages = [_plain(each) for each in read] if isinstance(read, list) else list(before)
        before = [*messages, {"role": "assistant", "content": turn["response"]}]
        if messages:
            yield _Step(messages, turn["response"])
        if isinstance(turn.get("observation"), str):
            before.append({"role": "user", "content": turn["observation"]})
