"""The acceptor seam: whether an answer that was held back will do."""

from collections.abc import Generator, Mapping, Sequence
from typing import Any, ClassVar, Protocol

from routers.errors import RoutingConfigError
from routers.options import build
from routers.registry import Registry
from routers.steps import Answer, Step
from routers.task import Task, Verdict

Judging = Generator[Sequence[Step], Sequence[Answer | None], Verdict]
"""Asks what it needs to, and comes to a verdict."""


class Acceptor(Protocol):
    """One way to tell whether an answer will do.

    A frozen dataclass: its fields are the options that a policy sets. It is made once per policy
    and used for many requests at the same time, so it remembers nothing.
    """

    wants_logprobs: ClassVar[bool]
    """Whether the log-probabilities of the answer's tokens are to be had from its upstream."""
    reads_text_only: ClassVar[bool]
    """Whether it cannot tell of an answer to images, sounds or files."""

    @property
    def model_ids(self) -> tuple[str, ...]:
        """The models that it asks."""
        ...

    def accept(self, task: Task, answer: Answer) -> Judging:
        """Tell whether an answer will do, and note it in the task.

        Nothing may be raised where a model that is asked fails: that is a verdict too. The higher
        the score of a verdict, the better the answer.
        """
        ...


ACCEPTORS: Registry[Acceptor] = Registry(
    "routers.workflows.acceptors", noun="acceptor", group="steelyard.acceptors"
)
"""Ways to accept answers by kind."""


def make_acceptor(options: Mapping[str, Any]) -> Acceptor:
    """Make an acceptor of its options, of which `kind` names it.

    Raises
    ------
    RoutingConfigError
        If there is no such kind, or an option does not fit.
    """
    kind = options.get("kind")
    if not isinstance(kind, str):
        raise RoutingConfigError(
            f"an acceptor needs its kind, one of: {', '.join(ACCEPTORS.kinds())}"
        )
    rest = {name: value for name, value in options.items() if name != "kind"}
    return build(ACCEPTORS.get(kind), rest, noun=f"acceptor {kind!r}")


def unfit(answer: Answer) -> str | None:
    """Return why an answer will not do whoever judges it, in a word; None where that is open."""
    if not answer.text.strip():
        return "no text"
    return "content_filter" if answer.finish_reason == "content_filter" else None
