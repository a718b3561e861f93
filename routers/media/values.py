"""What of a request is no text: values, as far as they are known without decoding anything."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Self

LOW_DETAIL_PX = 512
"""Of the longer edge so much is seen at low detail."""
OPEN_DETAIL = frozenset({None, "auto"})
"""How a client says that it does not mind how closely a picture is looked at."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One part of a message that is no text.

    Attributes
    ----------
    tokens, tokens_upper
        What it is counted for where nothing is known of the model's vendor.
    """

    tokens: int
    tokens_upper: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture(Item):
    """A picture; a size is None where it stands elsewhere, or its header cannot be read.

    Attributes
    ----------
    detail
        As the client asks for it, in words that are known (`low`, `high`, `original`, `auto`).
    """

    width_px: int | None = None
    height_px: int | None = None
    detail: str | None = None

    @property
    def size_px(self) -> tuple[int, int] | None:
        """Width and height; None where they are not known."""
        if self.width_px is None or self.height_px is None:
            return None
        return self.width_px, self.height_px

    @property
    def is_open(self) -> bool:
        """Whether the client leaves open how closely it is looked at."""
        return self.detail in OPEN_DETAIL


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording(Item):
    """Sound; `seconds` is None where its header does not tell."""

    seconds: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Paper(Item):
    """A file; `pages` is None where it does not tell them cheaply, or has none."""

    pages: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Media:
    """All pictures, recordings and files of a request, in the order in which they were sent."""

    pictures: tuple[Picture, ...] = ()
    recordings: tuple[Recording, ...] = ()
    papers: tuple[Paper, ...] = ()

    @classmethod
    def of(cls, items: Iterable[Item]) -> Self | None:
        """Sort items by what they are; None of none."""
        pictures: list[Picture] = []
        recordings: list[Recording] = []
        papers: list[Paper] = []
        for item in items:
            if isinstance(item, Picture):
                pictures.append(item)
            elif isinstance(item, Recording):
                recordings.append(item)
            elif isinstance(item, Paper):
                papers.append(item)
        if not (pictures or recordings or papers):
            return None
        return cls(pictures=tuple(pictures), recordings=tuple(recordings), papers=tuple(papers))

    @property
    def items(self) -> tuple[Item, ...]:
        """Everything."""
        return (*self.pictures, *self.recordings, *self.papers)

    @property
    def tokens(self) -> int:
        """What all of it is counted for where nothing is known of the model's vendor."""
        return sum(item.tokens for item in self.items)

    @property
    def tokens_upper(self) -> int:
        """A cautious estimate of the same."""
        return sum(item.tokens_upper for item in self.items)

    @property
    def leaves_detail_open(self) -> bool:
        """Whether there is a picture of which the client does not say how closely to look."""
        return any(picture.is_open for picture in self.pictures)

    @property
    def shrinks_at_low_detail(self) -> bool:
        """Whether a picture that is left open is larger than low detail shows, or may be."""
        return any(
            picture.size_px is None or max(picture.size_px) > LOW_DETAIL_PX
            for picture in self.pictures
            if picture.is_open
        )

    def opened(self) -> Self:
        """Return the same with the detail of every picture left open."""
        return replace(
            self, pictures=tuple(replace(picture, detail=None) for picture in self.pictures)
        )
