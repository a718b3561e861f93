"""What models count pictures, sound and pages for: a table, and the operator's word over it."""

import datetime as dt
from functools import cache
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from app.config.fields import ConflictError, Count, Strict, Text
from app.config.matching import first_that_fits
from app.config.problems import parse_file
from routers.media.tokens import Budget, Cropped, Flat, MediaRules, Patches, PictureRule, Tiles

TABLE_PATH = Path(__file__).with_name("model_media.yaml")

Detail = Literal["low", "high", "original"]
Rate = Annotated[float, Field(gt=0, le=1e6, allow_inf_nan=False)]


class BudgetConfig(Strict):
    """How large a picture may be before it is scaled down; left out, as large as it is."""

    patches: Count | None = None
    """In patches."""
    edge_px: Count | None = None
    """The longer edge, in pixels."""

    def to_budget(self) -> Budget:
        """Return the same as the science has it."""
        return Budget(patches=self.patches, edge_px=self.edge_px)


class TilesConfig(Strict):
    """A base, and so much for each tile of a picture; the base alone at low detail."""

    base: Annotated[int, Field(ge=0, le=10**6)]
    """Tokens for the picture as a whole."""
    tile: Count
    """Tokens for each tile."""
    tile_px: Count = 512
    """The edge of a tile, in pixels."""
    fit_px: Count = 2048
    """The picture is scaled to fit into a square of this first,"""
    short_px: Count | None = 768
    """then until its shorter edge is no longer than this; null: only the first."""
    most_tiles: Count | None = None
    """More are not made."""


class PatchesConfig(Strict):
    """So many tokens for each patch of a picture, scaled down to a budget of patches first."""

    patch_px: Count
    """The edge of a patch, in pixels."""
    per_patch: Rate = 1.0
    """Tokens for each."""
    trims: bool = False
    """Whether what is scaled down is scaled to whole patches."""
    budget: BudgetConfig = BudgetConfig()
    """At high detail."""
    original: BudgetConfig | None = None
    """At the detail `original`, where there is that."""
    auto_is_original: bool = False
    """Whether that is what the model does when nobody says."""
    has_low: bool = False
    """Whether there is low detail: at most 512 pixels of edge."""


class FlatConfig(Strict):
    """So many tokens for a picture of whatever size."""

    each: Count
    """Tokens."""
    low: Count | None = None
    """Tokens at low detail, where there is that."""


class CroppedConfig(Strict):
    """One unit for a small picture, else one for each tile of it."""

    unit: Count
    """Tokens."""
    small_px: Count = 384
    """Up to which edge a picture is small, in pixels."""
    tile_px: Count = 768
    """The edge of a tile, in pixels."""
    low: Count | None = None
    """Tokens at low detail, where there is that."""


class ImagesConfig(Strict):
    """How pictures are counted: by one of four rules."""

    tiles: TilesConfig | None = None
    """OpenAI's gpt-4o and its kin."""
    patches: PatchesConfig | None = None
    """OpenAI's later models, Claude, Qwen."""
    cropped: CroppedConfig | None = None
    """Gemini before its third generation."""
    flat: FlatConfig | None = None
    """Gemini 3, Gemma, and whatever counts every picture alike."""

    @model_validator(mode="after")
    def _is_one(self) -> Self:
        if len(self.model_fields_set) != 1 or self.rule is None:
            raise ConflictError((), "takes one rule: tiles, patches, cropped or flat")
        return self

    @property
    def rule(self) -> PictureRule | None:
        """Return the rule as the science has it."""
        if self.tiles is not None:
            return Tiles(**self.tiles.model_dump())
        if self.patches is not None:
            given = self.patches
            return Patches(
                **given.model_dump(exclude={"budget", "original"}),
                budget=given.budget.to_budget(),
                original=None if given.original is None else given.original.to_budget(),
            )
        if self.cropped is not None:
            return Cropped(**self.cropped.model_dump())
        return None if self.flat is None else Flat(**self.flat.model_dump())


class CountsConfig(Strict):
    """What a model counts what is no text for."""

    images: ImagesConfig | None = None
    """How pictures are counted; left out, by the tiles of gpt-4o, cautiously."""
    detail: tuple[Detail, ...] | None = None
    """The levels of `detail` that pictures can be asked to be looked at with, besides `auto`."""
    audio_tokens_per_s: Rate | None = None
    """What a second of sound is counted for; left out, by its bytes."""
    tokens_per_page: Rate | None = None
    """What a page of a PDF is counted for, where the file tells how many it has."""
    max_images: Count | None = None
    """How many pictures a request may have: one that has more is not sent here."""


class MediaConfig(CountsConfig):
    """What a model counts what is no text for, over what the shipped table knows of it."""

    known: bool = True
    """Whether the shipped table is asked at all."""
    like: Text | None = None
    """The name that it is asked for, where the model's own says nothing; such as `gpt-4o`."""


class _Family(CountsConfig):
    match: Annotated[tuple[Text, ...], Field(min_length=1)]
    source: Text
    date: dt.date


class MediaTable(Strict):
    """What is known of models; the first family that fits counts."""

    families: tuple[_Family, ...]

    def counts(self, *names: str) -> CountsConfig | None:
        """Return what is known of a model by the first of its names that is listed."""
        for name in names:
            found = first_that_fits(name, self.families)
            if found is not None:
                return found
        return None


@cache
def shipped_media() -> MediaTable:
    """Read the table that is shipped."""
    table, _ = parse_file(TABLE_PATH, MediaTable)
    return table


def counts_for(*names: str, own: MediaConfig | None, table: MediaTable) -> CountsConfig:
    """Return how a model counts: the table's word, and the operator's over it."""
    own = own or MediaConfig()
    found: CountsConfig | None = None
    if own.known:
        found = table.counts(own.like) if own.like is not None else table.counts(*names)
    base = found or CountsConfig()
    said = {name: getattr(own, name) for name in CountsConfig.model_fields}
    return CountsConfig(
        **{name: getattr(base, name) if value is None else value for name, value in said.items()}
    )


def to_rules(counts: CountsConfig) -> MediaRules | None:
    """Return the same as the science has it; None where nothing is known."""
    rules = MediaRules(
        pictures=None if counts.images is None else counts.images.rule,
        details=counts.detail or (),
        audio_tokens_per_s=counts.audio_tokens_per_s,
        tokens_per_page=counts.tokens_per_page,
    )
    return None if rules == MediaRules() else rules
