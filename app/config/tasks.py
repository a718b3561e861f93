"""The vocabulary of tasks of a policy, and how a request comes by one."""

from collections.abc import Collection, Mapping
from typing import Annotated

from pydantic import Field, StringConstraints

from app.config.fields import ConflictError, Place, Seconds, Share, Strict, Words, choices

NO_TASK = "off"
"""What a client says that wants none; no task is called so."""
_RESERVED = frozenset({NO_TASK, "uncertain"})

TaskName = Annotated[
    str,
    StringConstraints(pattern=r"^[a-z0-9][a-z0-9_-]{0,39}$"),
    Words("a name of up to 40 small letters, digits, `_` and `-`"),
]
Example = Annotated[str, StringConstraints(min_length=1, max_length=4_000)]
_FEWEST_SHOWN, _FEWEST_EXAMPLES = 2, 3


class TaskConfig(Strict):
    """One task that requests may name: `x-route-task: <name>`."""

    description: Annotated[str, Field(min_length=1, max_length=2_000)] | None = None
    """What its requests are for, in a sentence or two; told to routers that go by tasks in place
    of the system prompt."""
    candidates: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    """The only candidates of the policy that may take it; a single one is its expert."""
    cost_quality: Share | None = None
    """The knob of its requests, where the client leaves it open; the policy's own by default."""
    instructions: Annotated[str, Field(min_length=1, max_length=20_000)] | None = None
    """What the model is told before the client's own messages."""
    max_tokens: Annotated[int, Field(ge=1, le=1_000_000)] = 4_096
    """How long its result may be where it is a stage of a chain and another one reads it."""
    examples: Annotated[tuple[Example, ...], Field(max_length=500)] = ()
    """Prompts of it, for `recognise_tasks`."""


class RecognitionConfig(Strict):
    """Find the task of a request that names none, by the examples of the vocabulary."""

    least_chance: Share = 0.6
    """How likely a task has to be; a prompt of which none is so likely is `uncertain` and is
    decided as if there were no tasks."""
    chains: bool = False
    """Whether a prompt that asks for two tasks, one after the other, is answered by a chain."""


class DescriptionConfig(Strict):
    """Have a model say in a sentence what an application is for, by its system prompt, once."""

    model: str
    """Who is asked; one of `models`."""
    deadline_s: Seconds = 5.0
    """How long the first request of an application waits for it; a later one waits for nothing."""


def check_tasks(
    place: Place,
    tasks: Mapping[str, TaskConfig],
    candidates: Collection[str],
    *,
    recognised: bool,
) -> None:
    """Refuse a vocabulary that its policy cannot serve.

    Parameters
    ----------
    place
        Where the policy stands.
    candidates
        Those of the policy.
    recognised
        Whether tasks are to be found in prompts.
    """
    for task, config in tasks.items():
        if task in _RESERVED:
            raise ConflictError((*place, "tasks", task), "is a word of the gateway's own")
        for position, candidate in enumerate(config.candidates or ()):
            if candidate not in candidates:
                raise ConflictError(
                    (*place, "tasks", task, "candidates", position),
                    f"{candidate!r} is not among the policy's candidates; "
                    f"{choices(candidate, candidates)}",
                )
    if not recognised:
        return
    shown = {task: config for task, config in tasks.items() if config.examples}
    if len(shown) < _FEWEST_SHOWN:
        raise ConflictError(
            (*place, "recognise_tasks"),
            "needs examples of at least two tasks, under tasks.<name>.examples",
        )
    for task, config in shown.items():
        if len(config.examples) < _FEWEST_EXAMPLES:
            raise ConflictError(
                (*place, "tasks", task, "examples"),
                f"{_FEWEST_EXAMPLES} examples are the least that a task is recognised by",
            )
