"""Token counts as upstreams tell them, read leniently.

Each part is read on its own: one that is odd never discards the others. Values no answer can have
are refused, and the part then counts as not told. Where servers mean different things by the same
word, the total decides what a count holds.
"""

import json
import math
from collections.abc import Iterable, Mapping
from typing import Any, TypeGuard

import msgspec

from app.usage import ToldUsage, UsagePart
from app.wire.decoding import DECODE_ERRORS
from app.wire.usual_usage import MAX_TOKENS, plain, told_beside

_Path = tuple[str, ...]

NAMES: Mapping[UsagePart, tuple[_Path, ...]] = {
    UsagePart.INPUT: (
        ("prompt_tokens",),  # OpenAI chat completions, and nearly everybody
        ("input_tokens",),  # OpenAI responses (cached ones inside), Anthropic (beside)
        ("promptTokenCount",),  # Gemini, Vertex: generateContent's usageMetadata
        ("prompt_token_count",),  # the same as Google's Python clients write it
        ("inputTokens",),  # Bedrock Converse (cached ones beside)
        ("promptTokens",),  # Vercel AI SDK
        ("input_token_count",),  # watsonx.ai
        ("inputTextTokenCount",),  # Bedrock Titan
        ("prompt_eval_count",),  # Ollama's own API
        ("billed_units", "input_tokens"),  # Cohere v2
        ("tokens", "input_tokens"),
    ),
    UsagePart.OUTPUT: (
        ("completion_tokens",),
        ("output_tokens",),
        ("candidatesTokenCount",),
        ("candidates_token_count",),
        ("outputTokens",),
        ("completionTokens",),
        ("generated_token_count",),
        ("eval_count",),
        ("billed_units", "output_tokens"),
        ("tokens", "output_tokens"),
    ),
    UsagePart.TOTAL: (
        ("total_tokens",),
        ("totalTokenCount",),
        ("total_token_count",),
        ("totalTokens",),
    ),
    UsagePart.CACHED_INPUT: (
        ("prompt_tokens_details", "cached_tokens"),
        ("input_tokens_details", "cached_tokens"),
        ("prompt_cache_hit_tokens",),  # DeepSeek: api-docs.deepseek.com, context caching
        ("cached_tokens",),  # Moonshot: Bike4Mind/bike4mind#1089
        ("cachedContentTokenCount",),
        ("cached_content_token_count",),
        ("num_cached_tokens",),  # Mistral: vercel/ai#14382
        ("prompt_token_details", "cached_tokens"),  # Mistral again
        ("cache_read_input_tokens",),  # Anthropic; LiteLLM beside prompt_tokens
        ("cacheReadInputTokens",),  # Bedrock
    ),
    UsagePart.REASONING: (
        ("completion_tokens_details", "reasoning_tokens"),
        ("output_tokens_details", "reasoning_tokens"),
        ("output_tokens_details", "thinking_tokens"),  # Anthropic
        ("reasoning_tokens",),
        ("thoughtsTokenCount",),
        ("thoughts_token_count",),
    ),
    UsagePart.CACHE_WRITE: (
        ("prompt_tokens_details", "cache_write_tokens"),
        ("input_tokens_details", "cache_write_tokens"),
        ("prompt_tokens_details", "cache_creation_tokens"),  # LiteLLM
        ("input_tokens_details", "cache_creation_tokens"),
        ("cache_creation_input_tokens",),  # Anthropic
        ("cacheWriteInputTokens",),  # Bedrock
    ),
    UsagePart.CACHE_WRITE_1H: (("cache_creation", "ephemeral_1h_input_tokens"),),  # Anthropic
    UsagePart.AUDIO_INPUT: (
        ("prompt_tokens_details", "audio_tokens"),
        ("input_tokens_details", "audio_tokens"),
        ("input_token_details", "audio_tokens"),  # OpenAI's transcriptions
    ),
    UsagePart.AUDIO_OUTPUT: (
        ("completion_tokens_details", "audio_tokens"),
        ("output_tokens_details", "audio_tokens"),
        ("output_token_details", "audio_tokens"),
    ),
}
"""What upstreams call the parts, most usual first."""

_TOOL_PROMPT: tuple[_Path, ...] = (("toolUsePromptTokenCount",), ("tool_use_prompt_token_count",))

_BY_MODALITY: Mapping[UsagePart, tuple[str, ...]] = {
    UsagePart.AUDIO_INPUT: ("promptTokensDetails", "prompt_tokens_details"),
    UsagePart.AUDIO_OUTPUT: ("candidatesTokensDetails", "candidates_tokens_details"),
}
"""Where Gemini counts text, pictures and sound apart: lists of counts with a modality each."""

_CACHE_BESIDE_INPUT = frozenset({"input_tokens", "inputTokens"})
"""Names of the input beside which Anthropic and Bedrock count what they read and wrote of a cache
(crmne/ruby_llm#832), while OpenAI's details are a part of it."""
_CACHE_OUTSIDE = frozenset({"cache_read_input_tokens", "cacheReadInputTokens"})
_WRITTEN_OUTSIDE = frozenset({"cache_creation_input_tokens", "cacheWriteInputTokens"})
_REASONING_BESIDE = frozenset({"thoughtsTokenCount", "thoughts_token_count"})

_ANY = msgspec.json.Decoder()


def read_usage(raw: bytes | msgspec.Raw) -> ToldUsage | None:
    """Read what a usage record tells; None where it tells nothing at all.

    Parameters
    ----------
    raw
        JSON, of an object in any of the dialects of `NAMES`, or of anything else.
    """
    data = bytes(raw)
    if b'"prompt_tokens"' not in data:
        told = told_beside(data)
        if told is not None:
            return told
    elif (record := plain(data)) is not None:
        return ToldUsage(
            input_tokens=record.prompt_tokens,
            output_tokens=record.completion_tokens,
            cached_input_tokens=record.cached,
            reasoning_tokens=record.reasoning,
            cache_write_tokens=record.cache_write,
            audio_input_tokens=record.heard,
            audio_output_tokens=record.spoken,
        )
    value = decoded(data)
    return _Reading(value).told() if isinstance(value, dict) and value else None


def decoded(raw: bytes | msgspec.Raw) -> Any:
    """Decode JSON, or the supersets of it that servers write; None for what is neither."""
    try:
        return _ANY.decode(raw)
    except DECODE_ERRORS:
        pass
    try:  # NaN, Infinity, numbers that are too large
        return json.loads(bytes(raw), parse_int=_int)
    except (ValueError, RecursionError):
        return None


def _int(digits: str) -> int | float:
    return int(digits) if len(digits) < 20 else math.inf


class _OddError(Exception):
    """A value that no count can have."""


class _Reading:
    """One record, on its way to be understood."""

    def __init__(self, record: Mapping[str, object]) -> None:
        self._record = record
        self._refused: set[UsagePart] = set()

    def told(self) -> ToldUsage | None:
        """Return what the record tells."""
        given, input_name = self._part(UsagePart.INPUT)
        written, _ = self._part(UsagePart.OUTPUT)
        total, _ = self._part(UsagePart.TOTAL)
        cached, cached_name = self._part(UsagePart.CACHED_INPUT)
        reasoning, reasoning_name = self._part(UsagePart.REASONING)
        cache_write, write_name = self._part(UsagePart.CACHE_WRITE)
        cache_written = (cache_write or 0) if write_name in _WRITTEN_OUTSIDE else 0
        cache_write_1h = self._hour()
        if given is not None:
            given += self._first(_TOOL_PROMPT)
        if reasoning and reasoning_name in _REASONING_BESIDE:
            written = (written or 0) + reasoning
        outside = (cached or 0) + cache_written if cached_name in _CACHE_OUTSIDE else cache_written
        if given is not None and cached_name in _CACHE_OUTSIDE and (cached or 0) > given:
            given += outside  # whatever the total says, a prompt holds what was read of it
        elif given is not None and input_name in _CACHE_BESIDE_INPUT:
            inside = total is not None and total == given + (written or 0)
            given += 0 if inside else outside
        given, written = _by_total(
            given, written, total, reasoning=reasoning or 0, outside=(cached or 0) + cache_written
        )
        if written is not None and total is None and (reasoning or 0) > written:
            written += reasoning or 0  # Grok, which counts it beside (vercel/ai#12425)
        parts = (given, written, cached, reasoning, cache_write)
        if not self._refused and all(part is None for part in parts):
            return None
        return ToldUsage(
            input_tokens=self._bounded(UsagePart.INPUT, given),
            output_tokens=self._bounded(UsagePart.OUTPUT, written),
            cached_input_tokens=cached,
            reasoning_tokens=reasoning,
            cache_write_tokens=cache_write,
            cache_write_1h_tokens=cache_write_1h,
            audio_input_tokens=self._sound(UsagePart.AUDIO_INPUT),
            audio_output_tokens=self._sound(UsagePart.AUDIO_OUTPUT),
            refused=frozenset(self._refused),
        )

    def _part(self, part: UsagePart) -> tuple[int | None, str]:
        """Return the first count that is not 0, or else 0 or None, and what it was called."""
        best: tuple[int | None, str] = None, ""
        odd = False
        for path in NAMES[part]:
            try:
                count = _count(self._at(path))
            except _OddError:
                odd = True
                continue
            if count:
                return count, path[0]
            if count is not None and best[0] is None:
                best = count, path[0]
        if odd and best[0] is None:
            self._refused.add(part)
        return best

    def _hour(self) -> int | None:
        """Return what was written to be kept for an hour; Bedrock tells it in a list."""
        told = self._record.get("cacheDetails")
        if not isinstance(told, list):
            return self._part(UsagePart.CACHE_WRITE_1H)[0]
        counts = [each.get("inputTokens") for each in told if _is_of_an_hour(each)]
        return sum(count for count in counts if type(count) is int and 0 <= count <= MAX_TOKENS)

    def _sound(self, part: UsagePart) -> int | None:
        """Return what of the input or the output is sound."""
        for name in _BY_MODALITY[part]:
            told = self._record.get(name)
            if isinstance(told, list):
                return _of_sound(told)
        return self._part(part)[0]

    def _first(self, paths: Iterable[_Path]) -> int:
        for path in paths:
            try:
                count = _count(self._at(path))
            except _OddError:
                continue
            if count:
                return count
        return 0

    def _at(self, path: _Path) -> object:
        value: object = self._record
        for key in path:
            value = value.get(key) if isinstance(value, dict) else None
        return value

    def _bounded(self, part: UsagePart, count: int | None) -> int | None:
        if count is None or count <= MAX_TOKENS:
            return count
        self._refused.add(part)
        return None


def _is_of_an_hour(detail: object) -> TypeGuard[dict[str, object]]:
    return isinstance(detail, dict) and detail.get("ttl") == "1h"


def _of_sound(told: list[object]) -> int | None:
    """Return the tokens of sound in a list of counts by modality; None where it has none."""
    counts = [
        each.get("tokenCount", each.get("token_count"))
        for each in told
        if isinstance(each, dict) and each.get("modality") == "AUDIO"
    ]
    sound = [count for count in counts if type(count) is int and 0 <= count <= MAX_TOKENS]
    return min(sum(sound), MAX_TOKENS) if sound else None


def _by_total(
    given: int | None, written: int | None, total: int | None, *, reasoning: int, outside: int
) -> tuple[int | None, int | None]:
    """Return input and output such that they hold all of the total."""
    if total is None:
        return given, written
    if not given and written is not None and total > written:
        return total - written, written
    if given is None or written is None:
        return given, total - given if given and total >= given else written
    more = total - given - written
    if more <= 0:
        return given, written
    if outside and more == outside and more != reasoning:
        return given + more, written  # a cache counted beside the prompt
    # Gemini and Grok think beside what they write, and it is paid like it.
    return given, written + more


def _count(value: object) -> int | None:
    """Return a count, None for what tells none.

    Raises
    ------
    _OddError
        For what can be no count.
    """
    if value is None or value in ("", {}, []):
        return None
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            raise _OddError from None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _OddError
    if not 0 <= value <= MAX_TOKENS:  # NaN included
        raise _OddError
    return math.ceil(value)
