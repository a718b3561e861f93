"""One file of outcomes, before files are joined."""

from dataclasses import dataclass

import numpy as np

from routers.base import Comparisons
from routers.types import Conversation


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """The rows of one file; arrays are float64 (n_queries, n_models), NaN where unknown.

    Attributes
    ----------
    prompts
        The prompt as a key: rows of equal id and prompt are the same query.
    conversations
        The text to embed.
    billed
        The text that is sent, whose tokens are paid for; often the same.
    input_tokens
        As reported, or None.
    comparisons
        Comparisons, numbered by the rows and columns of this part, or None.
    samples
        float64 (n_queries, n_models, n_samples): the outcomes behind the means of `quality`,
        NaN where there are fewer; None where models answered once.
    """

    query_ids: tuple[str, ...]
    prompts: tuple[str, ...]
    conversations: tuple[Conversation, ...]
    billed: tuple[Conversation, ...]
    input_tokens: tuple[float | None, ...]
    groups: tuple[str, ...]
    models: tuple[str, ...]
    quality: np.ndarray
    output_tokens: np.ndarray
    cost_usd: np.ndarray
    comparisons: Comparisons | None = None
    samples: np.ndarray | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Queries:
    """The query columns of a wide table.

    Attributes
    ----------
    conversations
        The text to embed: column `query` where the file has it, else the same as `billed`.
    billed
        The text that is sent and paid for: column `messages` (JSON, as in a chat request) where the
        row has it, else `prompt`.
    """

    query_ids: tuple[str, ...]
    prompts: tuple[str, ...]
    conversations: tuple[Conversation, ...]
    billed: tuple[Conversation, ...]
    groups: tuple[str, ...]
