"""Token counts of answers: as upstreams tell them, and as they are accounted for."""

from enum import StrEnum

import msgspec


class Usage(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Token counts of one answer; `estimated` when we counted because the upstream did not.

    `input_tokens` includes the cached ones and those written to a cache, `cache_write_tokens` those
    written for an hour, `output_tokens` the reasoning ones, and both those that are sound.
    """

    input_tokens: int
    output_tokens: int
    cached_input_tokens: int = 0
    reasoning_tokens: int = 0
    cache_write_tokens: int = 0
    cache_write_1h_tokens: int = 0
    audio_input_tokens: int = 0
    audio_output_tokens: int = 0
    estimated: bool = False


class UsagePart(StrEnum):
    """A part of what upstreams tell of an answer's tokens."""

    INPUT = "input"
    OUTPUT = "output"
    TOTAL = "total"
    CACHED_INPUT = "cached_input"
    REASONING = "reasoning"
    CACHE_WRITE = "cache_write"
    CACHE_WRITE_1H = "cache_write_1h"
    AUDIO_INPUT = "audio_input"
    AUDIO_OUTPUT = "audio_output"


class ToldUsage(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The token counts that an upstream told; None for each that it did not, or not credibly.

    `refused` are the parts of which it told what cannot be.
    """

    input_tokens: int | None = None
    output_tokens: int | None = None
    cached_input_tokens: int | None = None
    reasoning_tokens: int | None = None
    cache_write_tokens: int | None = None
    cache_write_1h_tokens: int | None = None
    audio_input_tokens: int | None = None
    audio_output_tokens: int | None = None
    refused: frozenset[UsagePart] = frozenset()

    @classmethod
    def of(cls, usage: Usage) -> "ToldUsage":
        """Return counts that are all told."""
        return cls(
            input_tokens=usage.input_tokens,
            output_tokens=usage.output_tokens,
            cached_input_tokens=usage.cached_input_tokens,
            reasoning_tokens=usage.reasoning_tokens,
            cache_write_tokens=usage.cache_write_tokens,
            cache_write_1h_tokens=usage.cache_write_1h_tokens,
            audio_input_tokens=usage.audio_input_tokens,
            audio_output_tokens=usage.audio_output_tokens,
        )

    def updated(self, later: "ToldUsage") -> "ToldUsage":
        """Return the counts after another record: the last told wins, zeros erase nothing."""
        return ToldUsage(
            input_tokens=_latest(self.input_tokens, later.input_tokens),
            output_tokens=_latest(self.output_tokens, later.output_tokens),
            cached_input_tokens=_latest(self.cached_input_tokens, later.cached_input_tokens),
            reasoning_tokens=_latest(self.reasoning_tokens, later.reasoning_tokens),
            cache_write_tokens=_latest(self.cache_write_tokens, later.cache_write_tokens),
            cache_write_1h_tokens=_latest(self.cache_write_1h_tokens, later.cache_write_1h_tokens),
            audio_input_tokens=_latest(self.audio_input_tokens, later.audio_input_tokens),
            audio_output_tokens=_latest(self.audio_output_tokens, later.audio_output_tokens),
            refused=self.refused | later.refused,
        )

    def filled(self, *, input_tokens: int, output_tokens: int) -> Usage:
        """Return whole counts, with estimates in place of what was not told.

        No prompt is empty, and no answer that holds anything: a 0 there tells nothing either.
        """
        given = self.input_tokens or input_tokens
        written = self.output_tokens or output_tokens
        cached = min(self.cached_input_tokens or 0, given)
        to_cache = min(self.cache_write_tokens or 0, given - cached)
        return Usage(
            input_tokens=given,
            output_tokens=written,
            cached_input_tokens=cached,
            reasoning_tokens=min(self.reasoning_tokens or 0, written),
            cache_write_tokens=to_cache,
            cache_write_1h_tokens=min(self.cache_write_1h_tokens or 0, to_cache),
            audio_input_tokens=min(self.audio_input_tokens or 0, given - cached - to_cache),
            audio_output_tokens=min(self.audio_output_tokens or 0, written),
            estimated=given != self.input_tokens or written != (self.output_tokens or 0),
        )


def _latest(before: int | None, told: int | None) -> int | None:
    return told if told or before is None else before
