"""What is routed, and what is predicted of it: conversations and arrays by query and model.

Quality is in [0, 1].
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from routers.media.values import Media

FloatMatrix = NDArray[np.float32]
FloatVector = NDArray[np.float32]

UPPER_QUANTILE = 0.9
"""The quantile that every "upper" estimate of output tokens aims at."""


class Role(StrEnum):
    """Who said a message; roles of the wire format are folded into these."""

    SYSTEM = "system"
    USER = "user"
    ASSISTANT = "assistant"
    TOOL = "tool"


ROLES: Mapping[str, Role] = {
    "system": Role.SYSTEM,
    "developer": Role.SYSTEM,
    "user": Role.USER,
    "assistant": Role.ASSISTANT,
    "tool": Role.TOOL,
    "function": Role.TOOL,
}
"""What roles are called in chat requests."""


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation, reduced to its role and its text."""

    role: Role
    text: str


@dataclass(frozen=True, slots=True)
class Document:
    """A text that a request brings for its answer to rest on.

    Attributes
    ----------
    text
        Empty where it cannot be read here, such as a scan.
    score
        How well whoever retrieved it says that it fits, on any scale; None where nobody says.
    declared
        Whether it came beside the messages, so that a model may be asked without it.
    """

    text: str
    score: float | None = None
    declared: bool = False


@dataclass(frozen=True, slots=True)
class DocumentNumbers:
    """What the documents of a request come to.

    Attributes
    ----------
    n
        How many there are.
    coverage
        Which share of the question's words they hold, in [0, 1].
    signals
        Everything that a router is told of them; `routers.text.document_signals` names them.
    """

    n: int
    coverage: float
    signals: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Conversation:
    """The text of a request, oldest message first, and what of it is no text.

    Attributes
    ----------
    media
        Its pictures, recordings and files; None where it has none.
    documents
        What it is to rest on, as far as that does not stand in the messages.
    numbers
        What all of them come to, once they were set apart: their text then stands nowhere here.
    task
        What the request is for, as somebody described it; empty where its system prompt says so.
    judged
        The chance of each of `routers.decision.judged.LEVELS`, where somebody said how hard it is.
    """

    messages: tuple[Message, ...]
    media: Media | None = None
    documents: tuple[Document, ...] = ()
    numbers: DocumentNumbers | None = None
    task: str = ""
    judged: tuple[float, ...] = ()

    @classmethod
    def of(cls, prompt: str) -> "Conversation":
        """Wrap one user prompt."""
        return cls((Message(Role.USER, prompt),))


@dataclass(frozen=True, slots=True, kw_only=True)
class Category:
    """What one query is taken to be about, by a router that goes by that."""

    scheme: str
    """What such a router calls it: `category` or `domain`."""
    name: str | None
    """None where none was identified, and the generalist answers."""

    @property
    def told(self) -> str:
        """The name, or what clients are told where there is none."""
        return self.name or ("other" if self.scheme == "domain" else "uncertain")


@dataclass(frozen=True, slots=True, kw_only=True)
class Categories:
    """What each query of a batch is taken to be about.

    Attributes
    ----------
    scheme
        As in `Category`.
    names
        Of the categories.
    first, second
        (n_queries,), positions in `names`; -1 for none. A query has a second one where two
        together are likely and neither is alone.
    """

    scheme: str
    names: tuple[str, ...]
    first: NDArray[np.intp]
    second: NDArray[np.intp]

    def rows(self, index: NDArray[np.intp]) -> "Categories":
        """Return those of some queries, in the order of `index`."""
        return Categories(
            scheme=self.scheme,
            names=self.names,
            first=self.first[index],
            second=self.second[index],
        )

    def of(self, row: int) -> Category:
        """Return that of one query."""
        both = [int(self.first[row]), int(self.second[row])]
        name = "+".join(self.names[each] for each in both if each >= 0)
        return Category(scheme=self.scheme, name=name or None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Predictions:
    """What a router expects of every model on every query; arrays are (n_queries, n_models).

    `quality` and `quality_std` are in quality units, the token arrays count output tokens;
    `output_tokens_upper` aims at the quantile `UPPER_QUANTILE`. All values are finite.

    `strength`, where a router learned from comparisons, says who wins one: the chance that
    model a beats model b is sigmoid(strength_a - strength_b).

    `categories`, where a router goes by them, tells what the queries are taken to be about.
    """

    quality: FloatMatrix
    quality_std: FloatMatrix
    output_tokens: FloatMatrix
    output_tokens_upper: FloatMatrix
    strength: FloatMatrix | None = None
    categories: Categories | None = None

    def __len__(self) -> int:
        return len(self.quality)

    def rows(self, index: NDArray[np.intp]) -> "Predictions":
        """Return the predictions of some queries, in the order of `index`."""
        return Predictions(
            quality=self.quality[index],
            quality_std=self.quality_std[index],
            output_tokens=self.output_tokens[index],
            output_tokens_upper=self.output_tokens_upper[index],
            strength=None if self.strength is None else self.strength[index],
            categories=None if self.categories is None else self.categories.rows(index),
        )

    def columns(self, index: Sequence[int]) -> "Predictions":
        """Return the predictions of some models, in the order of `index`."""
        if len(index) == self.quality.shape[1] and list(index) == list(range(len(index))):
            return self
        picked = np.array(index, np.intp)
        return Predictions(
            quality=self.quality.take(picked, axis=1),
            quality_std=self.quality_std.take(picked, axis=1),
            output_tokens=self.output_tokens.take(picked, axis=1),
            output_tokens_upper=self.output_tokens_upper.take(picked, axis=1),
            strength=None if self.strength is None else self.strength.take(picked, axis=1),
            categories=self.categories,
        )

    def joined(self, second: Sequence[bool]) -> "Predictions":
        """Return one row out of the first two, with the models of the second where it says so."""
        take = np.asarray(second)

        def one(both: FloatMatrix) -> FloatMatrix:
            return np.where(take, both[1:2], both[0:1])

        return Predictions(
            quality=one(self.quality),
            quality_std=one(self.quality_std),
            output_tokens=one(self.output_tokens),
            output_tokens_upper=one(self.output_tokens_upper),
            strength=None if self.strength is None else one(self.strength),
            categories=None if self.categories is None else self.categories.rows(np.array([0])),
        )
