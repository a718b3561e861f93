"""Fields of a request that change what its tokens cost, and what the catalogue says of that.

A request with such a field and without a surcharge for it has no known price: it is booked as
unpriced, and refused where a budget would have to pay for it.
"""

from collections.abc import Mapping
from typing import NamedTuple

import msgspec

from app.wire.decoding import DECODE_ERRORS
from routers.models import ModelSpec

_SPOKEN = "audio"

PRICED_FIELDS: Mapping[str, frozenset[object]] = {
    # OpenAI, Anthropic: priority costs about twice as much. Flex costs half and is booked in full.
    "service_tier": frozenset({"auto", "default", "standard", "standard_only", "flex"}),
    "speed": frozenset({"standard"}),  # Anthropic
    "web_search_options": frozenset(),  # OpenAI: each search is billed
    "search_parameters": frozenset(),  # xAI: each source is billed
    "plugins": frozenset(),  # OpenRouter: web search, file parsing
    "models": frozenset(),  # OpenRouter: other models step in, at their own prices
    "preset": frozenset(),  # OpenRouter: an account's settings, of models and plugins too
    "enable_search": frozenset(),  # Alibaba's Qwen: each search is billed
    _SPOKEN: frozenset(),  # OpenAI: tokens of spoken answers have prices of their own
}
"""Each field with the values of it that leave the list price alone, besides null and nothing."""

_FREE_TOOLS = frozenset({"function", "custom"})
"""Tools that the client runs itself; what providers run is billed by the call."""
_FREE_BEGINNINGS = ("bash_", "text_editor_", "memory_", "computer_", "tool_search_tool_")
"""How the dated types of Anthropic's tools begin that its clients run, or that cost no more."""


class Extra(NamedTuple):
    """A field that changes the price, and its value where that is a word."""

    field: str
    value: str | None = None

    def __str__(self) -> str:
        return self.field if self.value is None else f"{self.field} {self.value!r}"


_NOTHING = msgspec.Raw(b"null")


class _Tool(msgspec.Struct, gc=False):
    type: str | None = None
    function: msgspec.Raw = _NOTHING
    name: msgspec.Raw = _NOTHING

    @property
    def kind(self) -> str:
        """Its type; one that has none is the client's if it has a name, else a provider's."""
        if self.type is None:
            named = self.function != _NOTHING or self.name != _NOTHING
            return "function" if named else "untyped"
        return self.type


_decode_tools = msgspec.json.Decoder(list[_Tool] | None).decode


def extras_of(fields: Mapping[str, bytes]) -> tuple[Extra, ...]:
    """Return what of a request changes its price."""
    found: tuple[Extra, ...] = ()
    if not PRICED_FIELDS.keys().isdisjoint(fields):
        found = tuple(
            extra for name in PRICED_FIELDS if (extra := _extra(name, fields)) is not None
        )
    if "tools" in fields:
        found += _hosted_tools(fields["tools"])
    return found


def surcharge(spec: ModelSpec, extras: tuple[Extra, ...]) -> tuple[float, float] | None:
    """Return by what prices are multiplied, and the US dollars per request on top.

    None where one of `extras` has no price.
    """
    factor, fee_usd = 1.0, 0.0
    for extra in extras:
        for known in spec.surcharges:
            if known.field == extra.field and known.value in (None, extra.value):
                factor *= known.factor
                fee_usd += known.usd_per_request
                break
        else:
            if extra.field == _SPOKEN and spec.prices.audio_output_usd_per_mtok is not None:
                continue  # its tokens are counted and priced
            return None
    return factor, fee_usd


def unpayable(spec: ModelSpec, extras: tuple[Extra, ...]) -> str | None:
    """Return why a budget cannot pay for a model; None where it can."""
    prices = spec.prices
    if prices.input_usd_per_mtok is None or prices.output_usd_per_mtok is None:
        return "its price is unknown, and a budget has to pay for it"
    if extras and surcharge(spec, extras) is None:
        names = ", ".join(map(str, extras))
        return f"its price with {names} is unknown, and a budget has to pay for it"
    return None


def _extra(name: str, fields: Mapping[str, bytes]) -> Extra | None:
    if name not in fields:
        return None
    try:
        value = msgspec.json.decode(fields[name])
    except DECODE_ERRORS:
        return Extra(name)
    if isinstance(value, str):
        return None if value in PRICED_FIELDS[name] else Extra(name, value)
    if name == "search_parameters" and isinstance(value, dict) and value.get("mode") == "off":
        return None
    # An empty object asks for web search with its defaults; an empty list asks for nothing.
    return None if value in (None, False, []) else Extra(name)


def _is_free(kind: str) -> bool:
    return kind in _FREE_TOOLS or kind.startswith(_FREE_BEGINNINGS)


def _hosted_tools(raw: bytes) -> tuple[Extra, ...]:
    try:
        tools = _decode_tools(raw) or ()
    except DECODE_ERRORS:
        return (Extra("tools"),)
    kinds = dict.fromkeys(tool.kind for tool in tools if not _is_free(tool.kind))
    return tuple(Extra("tools", kind) for kind in kinds)
