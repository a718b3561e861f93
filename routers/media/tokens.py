"""What models count pictures, recordings and pages for: rules of their vendors.

A rule is a value with two questions: how many tokens a picture of a size comes to, and how many
any may come to at most. What nobody tells (a size, a rule) is estimated, and cautiously.
"""

import math
from dataclasses import dataclass, field

from routers.media.values import Item, Media, Picture

LOW = "low"
UNKNOWN_SIZE_PX = (1024, 1024)
"""What a picture is taken for whose size is not known."""
UPPER_FACTOR = 1.15
"""Vendors round and scale in ways that they do not tell to the pixel."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tiles:
    """A base for the picture as a whole, and so much for each tile of it.

    Attributes
    ----------
    base, tile
        Tokens; `base` alone at low detail.
    fit_px
        It is scaled to fit into a square of this first,
    short_px
        then until its shorter edge is no longer than this; None: only the first.
    tile_px
        The edge of a tile.
    most_tiles
        More are not made; None: as many as come of it.
    """

    base: int
    tile: int
    tile_px: int = 512
    fit_px: int = 2048
    short_px: int | None = 768
    most_tiles: int | None = None

    def tokens(self, width_px: int, height_px: int, detail: str | None) -> int:
        """Return what a picture comes to."""
        if detail == LOW:
            return self.base
        scale = min(1.0, self.fit_px / max(width_px, height_px))
        if self.short_px is not None:
            scale = min(scale, self.short_px / min(width_px, height_px))
        across = math.ceil(round(width_px * scale) / self.tile_px) or 1
        down = math.ceil(round(height_px * scale) / self.tile_px) or 1
        n_tiles = across * down
        if self.most_tiles is not None:
            n_tiles = min(n_tiles, self.most_tiles)
        return self.base + self.tile * n_tiles

    def most(self, detail: str | None) -> int:
        """Return what a picture of any size comes to at most."""
        short_px = self.fit_px if self.short_px is None else self.short_px
        return self.tokens(self.fit_px, short_px, detail)


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """How large a picture may be before it is scaled down; None: as large as it is."""

    patches: int | None = None
    edge_px: int | None = None


_LOW_BUDGET = Budget(edge_px=512)
_BOUNDLESS_PATCHES = 40_000
"""Of a picture that is never scaled down, more than any that was seen in practice."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Patches:
    """So many tokens for each patch of a picture, scaled down to a budget of patches first.

    Attributes
    ----------
    patch_px
        The edge of a patch.
    per_patch
        Tokens for each.
    budget
        At high detail, which is that of models which have no other.
    original
        At the detail `original`, where there is that.
    auto_is_original
        Whether that is what a model does when nobody says.
    has_low
        Whether there is low detail at all.
    trims
        Whether what is scaled down is scaled to whole patches.
    """

    patch_px: int
    per_patch: float = 1.0
    trims: bool = False
    budget: Budget = field(default_factory=Budget)
    original: Budget | None = None
    auto_is_original: bool = False
    has_low: bool = False

    def tokens(self, width_px: int, height_px: int, detail: str | None) -> int:
        """Return what a picture comes to."""
        budget = self._budget(detail)
        width, height = float(width_px), float(height_px)
        if budget.edge_px is not None:
            scale = min(1.0, budget.edge_px / max(width, height))
            width, height = width * scale, height * scale
        n_patches = self._patches(width, height)
        if budget.patches is not None and n_patches > budget.patches:
            scale = math.sqrt(budget.patches * self.patch_px**2 / (width * height))
            if self.trims:
                across, down = width * scale / self.patch_px, height * scale / self.patch_px
                scale *= min(max(1, int(across)) / across, max(1, int(down)) / down)
            n_patches = min(self._patches(width * scale, height * scale), budget.patches)
        return math.ceil(n_patches * self.per_patch)

    def most(self, detail: str | None) -> int:
        """Return what a picture of any size comes to at most."""
        budget = self._budget(detail)
        n_patches = _BOUNDLESS_PATCHES if budget.patches is None else budget.patches
        if budget.edge_px is not None:
            n_patches = min(n_patches, math.ceil(budget.edge_px / self.patch_px) ** 2)
        return math.ceil(n_patches * self.per_patch)

    def _budget(self, detail: str | None) -> Budget:
        if detail == LOW and self.has_low:
            return _LOW_BUDGET
        if self.original is not None and (
            detail == "original" or (detail in (None, "auto") and self.auto_is_original)
        ):
            return self.original
        return self.budget

    def _patches(self, width: float, height: float) -> int:
        # Half a pixel is none: what was scaled to an edge must not spill over it.
        across = max(1, math.ceil(round(width) / self.patch_px))
        return across * max(1, math.ceil(round(height) / self.patch_px))


@dataclass(frozen=True, slots=True, kw_only=True)
class Flat:
    """So many tokens for a picture of whatever size, by how closely it is looked at."""

    each: int
    low: int | None = None

    def tokens(
        self,
        width_px: int,  # noqa: ARG002  (of the seam)
        height_px: int,  # noqa: ARG002
        detail: str | None,
    ) -> int:
        """Return what a picture comes to."""
        return self.low if detail == LOW and self.low is not None else self.each

    def most(self, detail: str | None) -> int:
        """Return what a picture of any size comes to at most."""
        return self.tokens(1, 1, detail)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cropped:
    """One unit for a small picture, else one for each tile of it; Gemini before its third."""

    unit: int = 258
    small_px: int = 384
    tile_px: int = 768
    low: int | None = None
    most_tiles: int = 36

    def tokens(self, width_px: int, height_px: int, detail: str | None) -> int:
        """Return what a picture comes to."""
        if detail == LOW and self.low is not None:
            return self.low
        if max(width_px, height_px) <= self.small_px:
            return self.unit
        n_tiles = math.ceil(width_px / self.tile_px) * math.ceil(height_px / self.tile_px)
        return self.unit * min(n_tiles, self.most_tiles)

    def most(self, detail: str | None) -> int:
        """Return what a picture of any size comes to at most."""
        if detail == LOW and self.low is not None:
            return self.low
        return self.unit * self.most_tiles


PictureRule = Tiles | Patches | Flat | Cropped
"""How a family of models counts pictures."""

NEUTRAL_RULE = Tiles(base=85, tile=170)
"""What pictures are counted by where nothing is known of a model."""


def neutral_picture(size_px: tuple[int, int] | None, detail: str | None) -> tuple[int, int]:
    """Return what a picture comes to, and how much at most, with a model nobody knows."""
    tokens = NEUTRAL_RULE.tokens(*(size_px or UNKNOWN_SIZE_PX), detail)
    return tokens, 2 * max(tokens, 0 if detail == LOW else NEUTRAL_RULE.tokens(1024, 1024, detail))


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaRules:
    """What a model counts what is no text for; None where nothing is known.

    Attributes
    ----------
    details
        The levels of `detail` that it can be asked for, besides `auto`.
    """

    pictures: PictureRule | None = None
    details: tuple[str, ...] = ()
    audio_tokens_per_s: float | None = None
    tokens_per_page: float | None = None

    def tokens(self, media: Media, *, detail: str | None = None) -> tuple[int, int]:
        """Return what the media of a request come to, and how much at most.

        Parameters
        ----------
        detail
            At which pictures are looked at whose detail the client leaves open.
        """
        tokens = upper = 0
        for picture in media.pictures:
            more, most = self._picture(picture, detail)
            tokens, upper = tokens + more, upper + most
        for recording in media.recordings:
            more, most = _at_a_rate(recording, recording.seconds, self.audio_tokens_per_s)
            tokens, upper = tokens + more, upper + most
        for paper in media.papers:
            more, most = _at_a_rate(paper, paper.pages, self.tokens_per_page)
            tokens, upper = tokens + more, upper + most
        return tokens, upper

    def _picture(self, picture: Picture, detail: str | None) -> tuple[int, int]:
        rule = self.pictures
        asked = detail if picture.is_open and detail is not None else picture.detail
        if rule is None:
            return picture.tokens, picture.tokens_upper
        if picture.size_px is None:
            return rule.tokens(*UNKNOWN_SIZE_PX, asked), rule.most(asked)
        tokens = rule.tokens(*picture.size_px, asked)
        return tokens, math.ceil(tokens * UPPER_FACTOR)


def _at_a_rate(item: Item, n_units: float | None, rate: float | None) -> tuple[int, int]:
    if n_units is None or rate is None:
        return item.tokens, item.tokens_upper
    tokens = math.ceil(n_units * rate)
    return tokens, math.ceil(tokens * UPPER_FACTOR)
