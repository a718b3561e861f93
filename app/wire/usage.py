"""Token counts as clients are told them, in OpenAI's words."""

from collections.abc import Mapping
from typing import Any

import msgspec

from app.usage import Usage
from app.wire.decoding import DECODE_ERRORS
from app.wire.usage_records import decoded
from app.wire.usual_usage import plain

_USUAL_PARTS = frozenset({"cached_tokens", "reasoning_tokens"})
"""What every record with details tells, be it nothing."""

_OBJECT = msgspec.json.Decoder(dict[str, msgspec.Raw])
_encode = msgspec.json.Encoder().encode
_ABSENT = msgspec.Raw(b"null")


class _Body(msgspec.Struct, frozen=True, gc=False):
    usage: msgspec.Raw = _ABSENT


_decode_body = msgspec.json.Decoder(_Body).decode


def usage_object(
    upstreams: bytes | msgspec.Raw | None, usage: Usage | None, *, cost_usd: float | None = None
) -> dict[str, Any]:
    """Return the usage a client is told: the upstream's own, where that agrees with `usage`.

    Where it does not, OpenAI's counts are set to ours, and all that the upstream says besides is
    kept.

    Parameters
    ----------
    upstreams
        The JSON of the upstream's record, of whatever shape; None where there was none.
    usage
        As it is accounted for; None where that is not known any more.
    cost_usd
        Told as well; None is not.
    """
    record: dict[str, Any] = {}
    if upstreams is not None:
        try:
            record = dict(_OBJECT.decode(upstreams))
        except DECODE_ERRORS:
            record = {}  # no object
    if usage is not None and not (record and upstreams and _agrees(upstreams, usage)):
        record |= _counts(record, usage)
    if cost_usd is not None:
        record["cost_usd"] = cost_usd
    return record


def with_usage(body: bytes, usage: Usage | None, *, cost_usd: float | None = None) -> bytes:
    """Return a whole answer whose `usage` is `usage_object`; the same bytes where it is already.

    Parameters
    ----------
    body
        A JSON object; anything else stays as it is.
    """
    try:
        told = _decode_body(body).usage
    except DECODE_ERRORS:
        return body
    if told is not _ABSENT and (usage is None or _agrees(told, usage)):
        if cost_usd is None:
            return body
        spliced = _with_cost(body, bytes(told), cost_usd)
        if spliced is not None:
            return spliced
    record = usage_object(told, usage, cost_usd=cost_usd)
    return _encode({**_OBJECT.decode(body), "usage": record}) if record else body


def _with_cost(body: bytes, told: bytes, cost_usd: float) -> bytes | None:
    """Put the cost into a record where it stands; None where it takes more than that."""
    if not told.endswith(b"}") or len(told) < 3 or b'"cost_usd"' in told:
        return None
    start = body.rfind(told)
    if body.find(told) != start:
        return None  # the same record stands in a choice as well
    end = start + len(told) - 1
    return b'%b,"cost_usd":%b%b' % (body[:end], _encode(cost_usd), body[end:])


def _agrees(upstreams: bytes | msgspec.Raw, usage: Usage) -> bool:
    """Whether somebody who reads the record as OpenAI's reads the counts of `usage`."""
    told = None if usage.estimated else plain(upstreams)
    return (
        told is not None
        and told.prompt_tokens == usage.input_tokens
        and told.completion_tokens == usage.output_tokens
        and (told.cached or 0) == usage.cached_input_tokens
        and (told.cache_write or 0) == usage.cache_write_tokens
        and (told.reasoning or 0) == usage.reasoning_tokens
        and (told.heard or 0) == usage.audio_input_tokens
        and (told.spoken or 0) == usage.audio_output_tokens
    )


def _counts(record: Mapping[str, msgspec.Raw], usage: Usage) -> dict[str, Any]:
    counts: dict[str, Any] = {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.input_tokens + usage.output_tokens,
    }
    for name, part, value in (
        ("prompt_tokens_details", "cached_tokens", usage.cached_input_tokens),
        ("prompt_tokens_details", "cache_write_tokens", usage.cache_write_tokens),
        ("completion_tokens_details", "reasoning_tokens", usage.reasoning_tokens),
        ("prompt_tokens_details", "audio_tokens", usage.audio_input_tokens),
        ("completion_tokens_details", "audio_tokens", usage.audio_output_tokens),
    ):
        if value or (name in record and part in _USUAL_PARTS):
            details = counts.get(name) or (decoded(record[name]) if name in record else None)
            counts[name] = {**(details if isinstance(details, dict) else {}), part: value}
    if usage.estimated:
        counts["estimated"] = True
    return counts
