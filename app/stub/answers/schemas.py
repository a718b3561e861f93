"""JSON schemas taken apart and put together."""

from collections.abc import Iterator, Mapping
from typing import Any

BRANCHING = frozenset({"$ref", "allOf", "anyOf", "oneOf", "if", "then", "else"})
"""Keywords that other schemas stand under, which all say something of the same value."""


def defaults(schema: Mapping[str, Any]) -> Iterator[object]:
    """Yield the values that a schema itself proposes."""
    if schema.get("default") is not None:
        yield schema["default"]
    examples = schema.get("examples")
    yield from examples[:3] if isinstance(examples, list) else ()


def is_null(schema: object) -> bool:
    """Return whether a schema allows nothing but null."""
    return isinstance(schema, dict) and schema.get("type") == "null"


def kind_by_keywords(schema: Mapping[str, Any]) -> str:
    """Return the type that a schema without one speaks of."""
    for kind, keywords in _KEYWORDS.items():
        if not keywords.isdisjoint(schema):
            return kind
    return "string"


_KEYWORDS = {
    "object": frozenset({"properties", "required", "patternProperties", "minProperties"}),
    "array": frozenset({"items", "prefixItems", "minItems", "uniqueItems", "contains"}),
    "number": frozenset({"minimum", "maximum", "exclusiveMinimum", "multipleOf"}),
}

_TIGHTER = {
    "minimum": max,
    "exclusiveMinimum": max,
    "minLength": max,
    "minItems": max,
    "minProperties": max,
    "maximum": min,
    "exclusiveMaximum": min,
    "maxLength": min,
    "maxItems": min,
    "maxProperties": min,
}


def merged(schema: Mapping[str, Any], other: object) -> dict[str, Any]:
    """Return a schema that asks for what both ask for, as far as one schema can say it."""
    both = dict(schema)
    for key, value in other.items() if isinstance(other, dict) else ():
        had = both.get(key)
        if had is None or key == "$ref":
            both[key] = value
        elif key in _TIGHTER:
            both[key] = _TIGHTER[key](had, value)
        elif key == "properties":
            shared = {
                name: merged(had[name], value[name]) if isinstance(had[name], dict) else value[name]
                for name in had.keys() & value.keys()
            }
            both[key] = {**value, **had, **shared}
        elif key == "required":
            both[key] = [*had, *value]
        elif key == "enum":
            both[key] = [each for each in had if each in value] or had
        elif key in ("anyOf", "oneOf", "allOf"):
            both["allOf"] = [*both.get("allOf", ()), {key: value}]
        elif key == "type" and isinstance(had, list) and not isinstance(value, list):
            both[key] = value
    return both
