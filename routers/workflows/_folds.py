"""Parts of the training queries, so that nothing is judged by what has learned from it."""

import numpy as np
from numpy.typing import NDArray

from routers.types import Conversation
from routers.workflows.base import WorkflowContext


def two_folds_at_least(context: WorkflowContext) -> NDArray[np.intp]:
    """Return the folds of a context; where all queries are in one, two halves by prompt."""
    if len(np.unique(context.folds)) > 1:
        return context.folds
    number_of: dict[Conversation, int] = {}
    prompts = [number_of.setdefault(each, len(number_of)) for each in context.conversations]
    half = context.rng.permutation(len(number_of)) % 2
    return np.asarray(half[prompts], np.intp)
