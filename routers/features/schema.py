"""What shapes a feature matrix, as an artifact stores it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ConfigDict, TypeAdapter, ValidationError

from routers.errors import ArtifactError


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
