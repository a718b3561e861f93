"""Pictures, recordings and files of a request as columns of the feature matrix."""

import math
from collections.abc import Sequence

import numpy as np

from routers.embedders.base import Embedder
from routers.features.blocks.base import BLOCKS, Block
from routers.media.tokens import LOW, UNKNOWN_SIZE_PX
from routers.media.values import Media
from routers.text.conversation import ConversationText
from routers.types import FloatMatrix

MEDIA_COLUMNS = (
    "has_pictures",
    "log_pictures",
    "log_pixels",
    "log_longest_edge",
    "size_unknown",
    "low_detail",
    "certain_detail",
    "share_of_prompt",
    "has_recordings",
    "log_seconds",
    "seconds_unknown",
    "has_files",
    "log_files",
    "log_pages",
)
"""Each in [0, 1]; shares are of pictures, of recordings, or of the prompt's tokens."""

_MOST_PICTURES, _MOST_PIXELS, _MOST_EDGE_PX = 64, 1e8, 16_384
_MOST_SECONDS, _MOST_FILES, _MOST_PAGES = 7_200, 64, 1_000
_UNKNOWN_SECONDS = 30.0
_CHARS_PER_TOKEN = 4


@BLOCKS.register("media")
class MediaBlock(Block):
    """How many pictures, how large, how closely looked at, how long recordings, how many pages.

    A request without any is a row of zeros. Nothing is decoded: what headers do not tell is
    counted as a picture of 1024 x 1024 pixels, or half a minute of sound, and told in a column.
    """

    version = 1
    dimensions = len(MEDIA_COLUMNS)

    def __init__(self, embedder: Embedder) -> None:
        del embedder  # it reads no text

    def compute(self, texts: Sequence[ConversationText], *_: FloatMatrix) -> FloatMatrix:
        """Measure the media of each conversation."""
        rows = np.zeros((len(texts), len(MEDIA_COLUMNS)), np.float32)
        for i, text in enumerate(texts):
            if text.media is not None:
                rows[i] = _measure(text, text.media)
        return rows


def _measure(text: ConversationText, media: Media) -> list[float]:
    pictures, recordings, papers = media.pictures, media.recordings, media.papers
    sizes = [picture.size_px or UNKNOWN_SIZE_PX for picture in pictures]
    n_pictures = len(pictures) or 1
    n_recordings = len(recordings) or 1
    seconds = [each.seconds for each in recordings]
    n_chars = len(text.prompt) + text.history_chars + len(text.system)
    tokens = media.tokens
    return [
        float(bool(pictures)),
        _log_share(len(pictures), _MOST_PICTURES),
        _log_share(sum(width * height for width, height in sizes), _MOST_PIXELS),
        _log_share(max(map(max, sizes), default=0), _MOST_EDGE_PX),
        sum(picture.size_px is None for picture in pictures) / n_pictures,
        sum(picture.detail == LOW for picture in pictures) / n_pictures,
        sum(not picture.is_open for picture in pictures) / n_pictures,
        tokens / (tokens + n_chars / _CHARS_PER_TOKEN) if tokens else 0.0,
        float(bool(recordings)),
        _log_share(sum(_UNKNOWN_SECONDS if s is None else s for s in seconds), _MOST_SECONDS),
        sum(s is None for s in seconds) / n_recordings,
        float(bool(papers)),
        _log_share(len(papers), _MOST_FILES),
        _log_share(sum(paper.pages or 0 for paper in papers), _MOST_PAGES),
    ]


def _log_share(value: float, most: float) -> float:
    return min(1.0, math.log1p(value) / math.log1p(most))
