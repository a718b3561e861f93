"""From conversations to the feature matrix that every strategy reads."""

import itertools
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, Self

import numpy as np
from pydantic import ConfigDict, TypeAdapter, ValidationError

from routers.embedders.base import (
    EMBEDDERS,
    Embedder,
    Tokenises,
    describe_embedder,
    make_embedder,
)
from routers.errors import ArtifactError, RoutingConfigError
from routers.features.blocks.difficulty import DifficultyBlock
from routers.features.blocks.outlook import OutlookBlock
from routers.features.blocks.request import RequestBlock
from routers.features.blocks.terms import TermsBlock
from routers.files import shown
from routers.probe import Probe, Stage
from routers.text.conversation import (
    HISTORY_WEIGHT,
    PROMPT_WEIGHT,
    SYSTEM_WEIGHT,
    TEXT_VERSION,
    ConversationText,
    conversation_text,
)
from routers.text.lexical import LEXICAL_SIGNALS, LEXICAL_VERSION, measure
from routers.types import Conversation, FloatMatrix


class Block(Protocol):
    """Some columns of the feature matrix: made of texts (`TextBlock`) or of other columns.

    Attributes
    ----------
    version
        To be raised whenever the same text gives other values; artifacts store it.
    """

    version: int

    def __init__(self, embedder: Embedder) -> None: ...

    @property
    def dimensions(self) -> int:
        """Number of columns; known once the block is fitted."""
        ...

    def fit(self, texts: Sequence[ConversationText], *, seed: int) -> None:
        """Learn what the columns are from the texts of the training queries, never their labels."""
        ...

    def state(self) -> dict[str, np.ndarray]:
        """Return what `fit` learned as plain arrays."""
        ...

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        """Take over what `state` returned.

        Raises
        ------
        KeyError, ValueError
            If an array is missing or does not fit.
        """
        ...


class TextBlock(Block, Protocol):
    """A block that reads texts."""

    def compute(self, texts: Sequence[ConversationText]) -> FloatMatrix:
        """Return float32 (len(texts), dimensions)."""
        ...


class _Unlearned:
    """What blocks share whose columns are the same for every training set."""

    def fit(self, texts: Sequence[ConversationText], *, seed: int) -> None:
        """Learn nothing."""

    def state(self) -> dict[str, np.ndarray]:
        """Return nothing."""
        return {}

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        """Take over nothing."""
        if state:
            raise ValueError(f"arrays of a block that learns nothing: {', '.join(state)}")


class EmbeddingBlock(_Unlearned):
    """The weighted sum of the segments' embeddings, of unit norm.

    A single prompt gives exactly what the embedder gives for it.
    """

    version = 1

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder

    @property
    def dimensions(self) -> int:
        """The width of the embedder's vectors."""
        return self._embedder.dimensions

    def compute(self, texts: Sequence[ConversationText]) -> FloatMatrix:
        """Embed every segment of every conversation in one call and add them up."""
        embedder = self._embedder
        vectors = embedder.encode([text.prompt for text in texts])
        context: list[tuple[int, float, str]] = []
        for row, text in enumerate(texts):
            if text.history:
                context.append((row, HISTORY_WEIGHT, text.history))
            if text.system:
                context.append((row, SYSTEM_WEIGHT, text.system))
        if not context:
            return vectors
        mixed = vectors * np.float32(PROMPT_WEIGHT)
        segments = embedder.encode([segment for _, _, segment in context])
        for (row, weight, _), vector in zip(context, segments, strict=True):
            mixed[row] += np.float32(weight) * vector
        for row in sorted({row for row, _, _ in context}):
            norm = np.linalg.norm(mixed[row])
            if norm > 0:
                mixed[row] /= norm
        return mixed


class LexicalBlock(_Unlearned):
    """The cheap signals of `routers.text.lexical`, each in [0, 1]."""

    version = LEXICAL_VERSION
    dimensions = len(LEXICAL_SIGNALS)

    def __init__(self, embedder: Embedder) -> None:
        del embedder  # the signals need none

    def compute(self, texts: Sequence[ConversationText]) -> FloatMatrix:
        """Measure each conversation."""
        if not texts:
            return np.zeros((0, len(LEXICAL_SIGNALS)), dtype=np.float32)
        return np.array([measure(text) for text in texts], np.float32)


DerivedBlock = DifficultyBlock | OutlookBlock
"""What is computed from the columns of other blocks, its `inputs`."""

BLOCKS: Mapping[str, type[TextBlock] | type[DifficultyBlock] | type[OutlookBlock]] = {
    "embedding": EmbeddingBlock,
    "lexical": LexicalBlock,
    "terms": TermsBlock,
    "difficulty": DifficultyBlock,
    "request": RequestBlock,
    "outlook": OutlookBlock,
}
"""Every block there is; a new one is added here and nowhere else."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureSchema:
    """Everything that shapes a feature matrix; an artifact stores it and is held to it."""

    __pydantic_config__ = ConfigDict(extra="forbid")

    embedder: str
    embedder_options: Mapping[str, Any]
    embedder_id: str
    text_version: int
    blocks: tuple[str, ...]
    block_versions: tuple[int, ...]
    dimensions: int

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, ready for JSON."""
        return {
            "embedder": self.embedder,
            "embedder_options": dict(self.embedder_options),
            "embedder_id": self.embedder_id,
            "text_version": self.text_version,
            "blocks": list(self.blocks),
            "block_versions": list(self.block_versions),
            "dimensions": self.dimensions,
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "FeatureSchema":
        """Read what `to_dict` wrote.

        Raises
        ------
        ArtifactError
            If a key is missing or unknown, or a value is of the wrong type.
        """
        try:
            # By way of JSON, where strictness lets a list stand for a tuple.
            return TypeAdapter(cls).validate_json(json.dumps(dict(values)), strict=True)
        except (TypeError, ValidationError) as error:
            raise ArtifactError(f"the feature schema cannot be read: {error}") from error


class Featurizer:
    """Turn conversations into the rows that a strategy was or will be fitted on.

    Parameters
    ----------
    embedder
        A registered embedder.
    blocks
        Names of `BLOCKS`, in the order of the columns.

    Attributes
    ----------
    inline_chars
        Up to how many characters of prompt one conversation may be transformed on an event loop.

    Raises
    ------
    RoutingConfigError
        If a block is unknown, named twice, none is named, or one needs others before it.
    """

    def __init__(
        self, embedder: Embedder, blocks: Sequence[str] = ("embedding", "lexical")
    ) -> None:
        unknown = [name for name in blocks if name not in BLOCKS]
        if unknown or not blocks or len(set(blocks)) < len(blocks):
            raise RoutingConfigError(
                f"feature blocks {list(blocks)} must be different names out of: {', '.join(BLOCKS)}"
            )
        kind, options = describe_embedder(embedder)
        self._kind, self._options = kind, options
        self._embedder = embedder
        self._names = tuple(blocks)
        self._blocks: tuple[TextBlock | DerivedBlock, ...] = tuple(
            BLOCKS[name](embedder) for name in blocks
        )
        for position, (name, block) in enumerate(zip(blocks, self._blocks, strict=True)):
            needed = _inputs(block)
            if not set(needed) <= set(blocks[:position]):
                raise RoutingConfigError(
                    f"the feature block {name!r} needs these before it: {', '.join(needed)}"
                )
        self.inline_chars = embedder.inline_chars

    @property
    def dimensions(self) -> int:
        """Columns of the matrix; known once the featurizer is fitted."""
        return sum(block.dimensions for block in self._blocks)

    @property
    def schema(self) -> FeatureSchema:
        """What an artifact stores, and `from_schema` rebuilds from."""
        return FeatureSchema(
            embedder=self._kind,
            embedder_options=self._options,
            embedder_id=self._embedder.embedder_id,
            text_version=TEXT_VERSION,
            blocks=self._names,
            block_versions=tuple(block.version for block in self._blocks),
            dimensions=self.dimensions,
        )

    def fit(self, conversations: Sequence[Conversation], *, seed: int = 0) -> Self:
        """Let the blocks that learn their columns learn them from training queries."""
        texts = [conversation_text(conversation) for conversation in conversations]
        for block in self._blocks:
            block.fit(texts, seed=seed)
        return self

    def state(self) -> dict[str, np.ndarray]:
        """Return what `fit` learned as plain arrays."""
        return {
            f"{name}/{key}": array
            for name, block in zip(self._names, self._blocks, strict=True)
            for key, array in block.state().items()
        }

    @classmethod
    def from_schema(
        cls,
        schema: FeatureSchema,
        state: Mapping[str, np.ndarray] | None = None,
        *,
        trusted: Collection[str] = (),
    ) -> "Featurizer":
        """Build the featurizer that a schema describes, with what it had learned.

        Parameters
        ----------
        trusted
            Folders and names of models outside of this installation that the schema may name.
            Reading one may run its code, so that whoever loads the schema has to say so.

        Raises
        ------
        ArtifactError
            If the schema names something else outside, or the embedder or the code at hand would
            give other features than it was stored for.
        """
        _check_trusted(schema, trusted)
        try:
            featurizer = cls(make_embedder(schema.embedder, schema.embedder_options), schema.blocks)
        except RoutingConfigError as error:
            raise ArtifactError(f"the features of the artifact cannot be made: {error}") from error
        featurizer._restore(state or {})
        here, stored = featurizer.schema.to_dict(), schema.to_dict()
        # Options are left out: a default that became explicit changes nothing by itself.
        for key in ("embedder_id", "text_version", "blocks", "block_versions", "dimensions"):
            if here[key] != stored[key]:
                raise ArtifactError(
                    f"the artifact was trained with {key} {stored[key]!r}, here it is "
                    f"{here[key]!r}: fit it again, or install what it was trained with"
                )
        return featurizer

    def _restore(self, state: Mapping[str, np.ndarray]) -> None:
        for name, block in zip(self._names, self._blocks, strict=True):
            own = {
                key.removeprefix(f"{name}/"): array
                for key, array in state.items()
                if key.startswith(f"{name}/")
            }
            block.restore(own)

    def unfitted(self) -> "Featurizer":
        """Return a featurizer of the same kind that has learned nothing yet."""
        return Featurizer(self._embedder, self._names)

    def columns(self) -> dict[str, slice]:
        """Return where in the matrix each block's columns are; known once it is fitted."""
        ends = list(itertools.accumulate(block.dimensions for block in self._blocks))
        starts = [0, *ends]
        return {
            name: slice(start, end)
            for name, start, end in zip(self._names, starts, ends, strict=False)
        }

    @property
    def length_column(self) -> int | None:
        """The column that holds the logarithm of the prompt's length, if the blocks have one."""
        lexical = self.columns().get("lexical")
        return None if lexical is None else lexical.start + LEXICAL_SIGNALS.index("log_characters")

    def embed(self, conversations: Sequence[Conversation]) -> FloatMatrix:
        """Return the embeddings, (n, d), whether or not they are among the columns."""
        texts = [conversation_text(conversation) for conversation in conversations]
        return EmbeddingBlock(self._embedder).compute(texts)

    def precompute(self, conversations: Sequence[Conversation]) -> dict[str, FloatMatrix]:
        """Return, by block name, the columns that no training set changes."""
        texts = [conversation_text(conversation) for conversation in conversations]
        return {
            name: block.compute(texts)
            for name, block in zip(self._names, self._blocks, strict=True)
            if isinstance(block, EmbeddingBlock | LexicalBlock)
        }

    def transform(
        self,
        conversations: Sequence[Conversation],
        *,
        known: Mapping[str, FloatMatrix] | None = None,
        probe: Probe | None = None,
    ) -> FloatMatrix:
        """Return float32 (len(conversations), dimensions), finite.

        Parameters
        ----------
        known
            Columns of these conversations that `precompute` gave.
        probe
            Is told the time of each stage. Tokens are then looked up twice, once for their time
            alone, in which the words are split for both.
        """
        columns = {} if known is None else dict(known)
        texts = [conversation_text(conversation) for conversation in conversations]
        if probe is not None:
            probe.lap(Stage.FEATURES)
            if isinstance(self._embedder, Tokenises):
                self._embedder.tokenise([text.prompt for text in texts])
                probe.lap(Stage.TOKENISE)
        for name, block in zip(self._names, self._blocks, strict=True):
            if name in columns:
                continue
            if isinstance(block, DerivedBlock):
                columns[name] = block.derive(*[columns[each] for each in block.inputs])
            else:
                columns[name] = block.compute(texts)
            if probe is not None:
                probe.lap(Stage.EMBED if name == "embedding" else Stage.FEATURES)
        if len(self._names) == 1:
            return columns[self._names[0]]
        return np.concatenate([columns[name] for name in self._names], axis=1)


def _check_trusted(schema: FeatureSchema, trusted: Collection[str]) -> None:
    try:
        named = EMBEDDERS.get(schema.embedder).outside(schema.embedder_options)
    except RoutingConfigError as error:
        raise ArtifactError(f"the features of the artifact cannot be made: {error}") from error
    if named is not None and named not in trusted:
        raise ArtifactError(
            f"the artifact wants its texts embedded by {shown(named)}, which may run code and is "
            "not part of it: where you know whose it is, name exactly that under `encoders` of "
            "the router in the configuration, or by --encoder"
        )


def _inputs(block: object) -> tuple[str, ...]:
    return block.inputs if isinstance(block, DerivedBlock) else ()
