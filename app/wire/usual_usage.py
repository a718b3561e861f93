"""Token counts as nearly all upstreams tell them, read at a glance.

Whatever is not quite as usual is left to `app.wire.usage_records`, which reads every record that
these do in the same way.
"""

import msgspec

from app.usage import ToldUsage
from app.wire.decoding import DECODE_ERRORS

MAX_TOKENS = 100_000_000
"""Ten times the largest context window on offer: no count of one answer is larger."""


class _Cached(msgspec.Struct, frozen=True, gc=False):
    cached_tokens: int | None = None
    cache_write_tokens: int | None = None
    cache_creation_tokens: object = None
    audio_tokens: int | None = None


class _ToCache(msgspec.Struct, frozen=True, gc=False):
    ephemeral_1h_input_tokens: int | None = None


class _Reasoning(msgspec.Struct, frozen=True, gc=False):
    reasoning_tokens: int | None = None
    thinking_tokens: object = None
    audio_tokens: int | None = None


_NO_DETAILS = _Cached()


class Plain(msgspec.Struct, frozen=True, gc=False):
    """A record of OpenAI's chat completions, and the names beside it that other vendors use."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int | None = None
    prompt_tokens_details: _Cached | None = None
    completion_tokens_details: _Reasoning | None = None
    prompt_cache_hit_tokens: object = None
    cached_tokens: object = None
    num_cached_tokens: object = None
    prompt_token_details: object = None
    cache_read_input_tokens: object = None
    cache_creation_input_tokens: object = None
    cache_creation: object = None
    reasoning_tokens: object = None

    @property
    def cached(self) -> int | None:
        """How much of the prompt came out of a cache."""
        details = self.prompt_tokens_details
        return None if details is None else details.cached_tokens

    @property
    def cache_write(self) -> int | None:
        """How much of the prompt was written to a cache."""
        details = self.prompt_tokens_details
        return None if details is None else details.cache_write_tokens

    @property
    def reasoning(self) -> int | None:
        """How much of the answer was thought."""
        details = self.completion_tokens_details
        return None if details is None else details.reasoning_tokens

    @property
    def heard(self) -> int | None:
        """How much of the prompt is sound."""
        details = self.prompt_tokens_details
        return None if details is None else details.audio_tokens

    @property
    def spoken(self) -> int | None:
        """How much of the answer is sound."""
        details = self.completion_tokens_details
        return None if details is None else details.audio_tokens

    def is_plain(self) -> bool:
        """Whether the counts mean what OpenAI's do, and no more than a glance is needed."""
        given, written = self.prompt_tokens, self.completion_tokens
        details = self.prompt_tokens_details
        return not (
            self.prompt_cache_hit_tokens
            or self.cached_tokens
            or self.num_cached_tokens
            or self.prompt_token_details
            or self.cache_read_input_tokens
            or self.cache_creation_input_tokens
            or self.cache_creation
            or (details is not None and details.cache_creation_tokens)
            or self.reasoning_tokens
            or (self.total_tokens is not None and self.total_tokens != given + written)
            or not 0 < given <= MAX_TOKENS
            or not 0 <= written <= MAX_TOKENS
            or not 0 <= (self.cached or 0) <= given
            or not 0 <= (self.cache_write or 0) <= given - (self.cached or 0)
            or not 0 <= (self.reasoning or 0) <= written
            or not 0 <= (self.heard or 0) <= given - (self.cached or 0) - (self.cache_write or 0)
            or not 0 <= (self.spoken or 0) <= written
        )


class _Beside(msgspec.Struct, frozen=True, gc=False):
    """A record of OpenAI's Responses or of Anthropic's Messages.

    They call alike what they count differently: Anthropic counts beside the input what it read and
    wrote of a cache, and has no total.
    """

    input_tokens: int
    output_tokens: int
    total_tokens: int | None = None
    input_tokens_details: _Cached | None = None
    output_tokens_details: _Reasoning | None = None
    cache_read_input_tokens: int | None = None
    cache_creation_input_tokens: int | None = None
    cache_creation: _ToCache | None = None
    prompt_tokens_details: object = None
    completion_tokens: object = None
    completion_tokens_details: object = None
    prompt_cache_hit_tokens: object = None
    cached_tokens: object = None
    num_cached_tokens: object = None
    prompt_token_details: object = None
    reasoning_tokens: object = None
    input_token_details: object = None

    def told(self) -> ToldUsage | None:
        """Return what it tells; None where that takes more than a glance."""
        details = self.output_tokens_details
        reasoning = None if details is None else details.reasoning_tokens
        input_details = self.input_tokens_details or _NO_DETAILS
        inside, written_inside = input_details.cached_tokens, input_details.cache_write_tokens
        hour = (
            None if self.cache_creation is None else self.cache_creation.ephemeral_1h_input_tokens
        )
        read, written = self.cache_read_input_tokens, self.cache_creation_input_tokens
        given, total = self.input_tokens, self.total_tokens
        if (
            given <= 0
            or not 0 <= self.output_tokens <= MAX_TOKENS
            or not 0 <= (reasoning or 0) <= self.output_tokens
            or (details is not None and details.thinking_tokens is not None)
            or (details is not None and details.audio_tokens)
            or input_details.audio_tokens
            or (read or 0) < 0
            or (written or 0) < 0
            or (inside or 0) < 0
            or (inside and read)
            or (written_inside or 0) < 0
            or (written_inside and written)
            or input_details.cache_creation_tokens is not None
            or (hour or 0) < 0
            or (total is not None and (read or written or total != given + self.output_tokens))
            or (total or 0) > MAX_TOKENS
            or self._tells_more()
        ):
            return None
        given += (read or 0) + (written or 0)
        cached = inside or (inside if read is None else read)
        to_cache = written_inside or (written_inside if written is None else written)
        if given > MAX_TOKENS or (cached or 0) + (to_cache or 0) > given:
            return None
        return ToldUsage(
            input_tokens=given,
            output_tokens=self.output_tokens,
            cached_input_tokens=cached,
            reasoning_tokens=reasoning,
            cache_write_tokens=to_cache,
            cache_write_1h_tokens=hour,
        )

    def _tells_more(self) -> bool:
        return not (
            self.prompt_tokens_details is None
            and self.completion_tokens is None
            and self.completion_tokens_details is None
            and self.prompt_cache_hit_tokens is None
            and self.cached_tokens is None
            and self.num_cached_tokens is None
            and self.prompt_token_details is None
            and self.reasoning_tokens is None
            and self.input_token_details is None
        )


_decode_beside = msgspec.json.Decoder(_Beside).decode
_decode_plain = msgspec.json.Decoder(Plain).decode


def plain(raw: bytes | msgspec.Raw) -> Plain | None:
    """Read a record as nearly all are; None for any other."""
    try:
        record = _decode_plain(raw)
    except DECODE_ERRORS:
        return None
    return record if record.is_plain() else None


def told_beside(raw: bytes) -> ToldUsage | None:
    """Read a record of Responses or of Messages; None where that takes more than a glance."""
    try:
        record = _decode_beside(raw)
    except DECODE_ERRORS:
        return None
    return record.told()
