"""Runs of agents that were logged: what was asked, what was drawn, what came of it."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from routers.data.jsonl import query_of
from routers.data.lines import json_lines
from routers.errors import DataError
from routers.files import shown_value
from routers.types import Conversation

_NUSD_PER_USD = 1e9


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentRun:
    """One request that agents worked on.

    Attributes
    ----------
    mode
        In which they worked.
    agents
        The models that were drawn, one for each of them.
    quality
        What the answer was worth, in [0, 1].
    cost_usd
        Of all calls.
    propensity
        How probable this mode with these models was.
    """

    conversation: Conversation
    mode: str
    agents: tuple[str, ...]
    quality: float
    cost_usd: float
    propensity: float


def read_agent_runs(paths: Sequence[Path], modes: Sequence[str]) -> list[AgentRun]:
    """Read runs from JSONL, as `steelyard export` writes them or with fields of their own.

    A line has `messages` or `prompt`, `quality`, `mode`, `agents`, `propensity` and `cost_usd`.
    What was exported has what was drawn under `workflow.notes`, and the costs in `calls`. Lines
    that tell of no agents, or of no quality, are left out.

    Raises
    ------
    DataError
        If a file cannot be read, a line cannot be understood, or no line tells of a run; the
        message names it.
    """
    runs, n_lines = [], 0
    for path in paths:
        for where, record in json_lines(path):
            n_lines += 1
            told = _drawn(record)
            if told is None or record.get("quality") is None:
                continue
            runs.append(_run(where, record, told, modes))
    if not runs:
        files = ", ".join(map(str, paths))
        raise DataError(
            f"{files}: none of {n_lines} lines tells of agents and what their answer was worth: "
            "`mode`, `agents`, `propensity` and `quality`, or what `steelyard export` writes of a "
            "policy with `workflow: {kind: agents}`"
        )
    return runs


def _drawn(record: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return where a line says what was drawn; None where it does not."""
    if "mode" in record:
        return record
    workflow = record.get("workflow")
    notes = workflow.get("notes") if isinstance(workflow, dict) else None
    return notes if isinstance(notes, dict) and "mode" in notes else None


def _run(
    where: str, record: Mapping[str, Any], told: Mapping[str, Any], modes: Sequence[str]
) -> AgentRun:
    mode, agents = told["mode"], told.get("agents")
    if mode not in modes:
        raise DataError(f"{where}: there is no mode {shown_value(mode)}; {', '.join(modes)}")
    if not isinstance(agents, list) or not agents or not all(isinstance(a, str) for a in agents):
        raise DataError(f"{where}: 'agents' must be the models that were drawn, one for each")
    propensity = _number(where, told, "propensity")
    if not 0 < propensity <= 1:
        raise DataError(f"{where}: 'propensity' must be above 0 and at most 1, got {propensity:g}")
    quality = _number(where, record, "quality")
    if not 0 <= quality <= 1:
        raise DataError(f"{where}: 'quality' must be from 0 to 1, got {quality:g}")
    name = {"query_id": where.rpartition(" ")[2], **record}
    return AgentRun(
        conversation=query_of(where, name).conversation,
        mode=mode,
        agents=tuple(agents),
        quality=quality,
        cost_usd=_cost_usd(where, record),
        propensity=propensity,
    )


def _cost_usd(where: str, record: Mapping[str, Any]) -> float:
    """Return what all calls cost; what was exported tells the answer's own apart from them."""
    calls = record.get("calls")
    if not isinstance(calls, list):
        return _number(where, record, "cost_usd")
    costs = [each.get("cost_nusd") for each in calls if isinstance(each, dict)]
    return sum(each for each in costs if isinstance(each, int)) / _NUSD_PER_USD


def _number(where: str, record: Mapping[str, Any], name: str) -> float:
    value = record.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise DataError(f"{where}: {name!r} must be a number, got {shown_value(value)}")
    return float(value)


def models_of(runs: Sequence[AgentRun]) -> tuple[str, ...]:
    """Return the models of all agents, by name."""
    return tuple(sorted(Counter(each for run in runs for each in run.agents)))
