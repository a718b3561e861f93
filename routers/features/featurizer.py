"""From conversations to the feature matrix that every strategy reads."""

import itertools
from collections.abc import Collection, Mapping, Sequence
from typing import Self

import numpy as np

from routers.embedders.base import (
    EMBEDDERS,
    Embedder,
    Tokenises,
    describe_embedder,
    make_embedder,
)
from routers.errors import ArtifactError, RoutingConfigError
from routers.features.blocks.base import BLOCKS, Block
from routers.features.blocks.embedding import EmbeddingBlock
from routers.features.schema import FeatureSchema
from routers.files import shown
from routers.options import under
from routers.probe import Probe, Stage
from routers.request.documents import set_apart
from routers.text.conversation import TEXT_VERSION, ConversationText, conversation_text
from routers.types import Conversation, FloatMatrix


class Featurizer:
    """Turn conversations into the rows that a strategy was or will be fitted on.

    Parameters
    ----------
    embedder
        A registered embedder.
    blocks
        Kinds of `BLOCKS`, in the order of the columns.

    Attributes
    ----------
    inline_chars
        Up to how many characters of prompt one conversation may be transformed on an event loop.
    sets_documents_apart
        Whether documents are read by their numbers alone.

    Raises
    ------
    RoutingConfigError
        If a block is unknown, named twice, none is named, or one needs others before it.
    """

    def __init__(
        self, embedder: Embedder, blocks: Sequence[str] = ("embedding", "lexical")
    ) -> None:
        if not blocks or len(set(blocks)) < len(blocks) or not all(map(BLOCKS.knows, blocks)):
            raise RoutingConfigError(
                f"feature blocks {list(blocks)} must be different names out of: "
                f"{', '.join(BLOCKS.kinds())}"
            )
        kind, options = describe_embedder(embedder)
        self._kind, self._options = kind, options
        self._embedder = embedder
        self._names = tuple(blocks)
        self._blocks: tuple[Block, ...] = tuple(BLOCKS.get(name)(embedder) for name in blocks)
        for position, (name, block) in enumerate(zip(blocks, self._blocks, strict=True)):
            if not set(block.inputs) <= set(blocks[:position]):
                raise RoutingConfigError(
                    f"the feature block {name!r} needs these before it: {', '.join(block.inputs)}"
                )
        self.inline_chars = embedder.inline_chars
        self.sets_documents_apart = any(block.sets_documents_apart for block in self._blocks)

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
        texts = self._texts(conversations)
        for block in self._blocks:
            block.fit(texts, seed=seed)
        return self

    def _texts(self, conversations: Sequence[Conversation]) -> list[ConversationText]:
        if self.sets_documents_apart:
            conversations = [set_apart(conversation) for conversation in conversations]
        return [conversation_text(conversation) for conversation in conversations]

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
            block.restore(under(f"{name}/", state))

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
        starts = itertools.accumulate((block.dimensions for block in self._blocks), initial=0)
        for start, block in zip(starts, self._blocks, strict=False):
            if block.length_column is not None:
                return start + block.length_column
        return None

    def embed(self, conversations: Sequence[Conversation]) -> FloatMatrix:
        """Return the embeddings, (n, d), whether or not they are among the columns."""
        texts = self._texts(conversations)
        return EmbeddingBlock(self._embedder).compute(texts)

    def precompute(self, conversations: Sequence[Conversation]) -> dict[str, FloatMatrix]:
        """Return, by block name, the columns that are made of texts alone."""
        texts = self._texts(conversations)
        return {
            name: block.compute(texts)
            for name, block in zip(self._names, self._blocks, strict=True)
            if not block.learns and not block.inputs
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
        texts = self._texts(conversations)
        if probe is not None:
            probe.lap(Stage.FEATURES)
            if isinstance(self._embedder, Tokenises):
                self._embedder.tokenise([text.prompt for text in texts])
                probe.lap(Stage.TOKENISE)
        for name, block in zip(self._names, self._blocks, strict=True):
            if name in columns:
                continue
            columns[name] = block.compute(texts, *[columns[each] for each in block.inputs])
            if probe is not None:
                probe.lap(block.stage)
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
