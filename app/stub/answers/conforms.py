"""Whether a value satisfies a JSON schema: what decides between a simulated model's candidates.

The keywords are those of JSON Schema 2020-12 that say something about values, formats excepted.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

_MAX_DEPTH = 64
_EPSILON = 1e-9


def conforms(value: object, schema: object, root: object) -> bool:
    """Return whether a value satisfies a schema; what cannot be understood forbids nothing.

    Parameters
    ----------
    root
        The document that the schema's references point into.
    """
    return _conforms(value, schema, root, 0)


def resolve(root: object, reference: str) -> object:
    """Return what a reference within the document points to; True where there is nothing."""
    found: Any = root
    if reference.startswith("#") and not reference.startswith("#/") and len(reference) > 1:
        return _anchored(root, reference[1:])
    for key in reference.removeprefix("#").strip("/").split("/"):
        name = key.replace("~1", "/").replace("~0", "~").replace("%24", "$")
        if isinstance(found, dict) and name:
            found = found.get(name, True)
        elif isinstance(found, list) and name.isdigit() and int(name) < len(found):
            found = found[int(name)]
    return found


def _anchored(root: object, name: str) -> object:
    defined = root.get("$defs") or root.get("definitions") if isinstance(root, dict) else None
    for each in defined.values() if isinstance(defined, dict) else ():
        if isinstance(each, dict) and each.get("$anchor") == name:
            return each
    return True


def same(one: object, other: object) -> bool:
    """Compare as JSON does, which tells `true` from `1`."""
    if isinstance(one, bool) is not isinstance(other, bool):
        return False
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    return one == other


def is_of(value: object, kind: object) -> bool:
    """Return whether a value is of a type, by JSON Schema's name of it."""
    check = _TYPES.get(kind) if isinstance(kind, str) else None
    return check is None or check(value)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


_TYPES: Mapping[str, Callable[[object], bool]] = {
    "object": lambda value: isinstance(value, dict),
    "array": lambda value: isinstance(value, list),
    "string": lambda value: isinstance(value, str),
    "number": _is_number,
    "integer": lambda value: _is_number(value) and value == int(value),  # type: ignore[call-overload]
    "boolean": lambda value: isinstance(value, bool),
    "null": lambda value: value is None,
}


def _conforms(value: object, schema: object, root: object, depth: int) -> bool:
    if not isinstance(schema, dict):
        return schema is not False
    if depth > _MAX_DEPTH:
        return True

    def fits(part: object, within: object = value) -> bool:
        return _conforms(within, part, root, depth + 1)

    kinds = schema.get("type")
    if kinds is not None and not any(is_of(value, each) for each in _listed(kinds)):
        return False
    if "const" in schema and not same(value, schema["const"]):
        return False
    if isinstance(schema.get("enum"), list) and not any(same(value, e) for e in schema["enum"]):
        return False
    return _composed(schema, root, fits) and _of_its_kind(value, schema, fits)


def _listed(kinds: object) -> Iterable[object]:
    return kinds if isinstance(kinds, list) else [kinds]


def _composed(schema: Mapping[str, Any], root: object, fits: Callable[..., bool]) -> bool:
    """Return whether a value satisfies the schemas that a schema is made of."""
    reference = schema.get("$ref")
    return (
        (not isinstance(reference, str) or fits(resolve(root, reference)))
        and all(fits(each) for each in schema.get("allOf") or ())
        and (not schema.get("anyOf") or any(fits(each) for each in schema["anyOf"]))
        and (not schema.get("oneOf") or sum(fits(each) for each in schema["oneOf"]) == 1)
        and not ("not" in schema and fits(schema["not"]))
        and ("if" not in schema or fits(schema.get("then" if fits(schema["if"]) else "else", True)))
    )


def _of_its_kind(value: object, schema: Mapping[str, Any], fits: Callable[..., bool]) -> bool:
    if isinstance(value, dict):
        return _object(value, schema, fits)
    if isinstance(value, list):
        return _array(value, schema, fits)
    if isinstance(value, str):
        return _text(value, schema)
    if _is_number(value):
        return fits_number(value, schema)  # type: ignore[arg-type]
    return True


def fits_number(value: float, schema: Mapping[str, Any]) -> bool:
    """Return whether a number keeps to a schema's bounds."""
    low, high = schema.get("minimum"), schema.get("maximum")
    over, under = schema.get("exclusiveMinimum"), schema.get("exclusiveMaximum")
    # Up to draft 4 these two said whether the others exclude themselves.
    over = low if over is True else over
    under = high if under is True else under
    step = schema.get("multipleOf")
    if (low is not None and value < low) or (high is not None and value > high):
        return False
    if over is not None and over is not False and value <= over:
        return False
    if under is not None and under is not False and value >= under:
        return False
    return not step or abs(value / step - round(value / step)) < _EPSILON


def _text(value: str, schema: Mapping[str, Any]) -> bool:
    if not schema.get("minLength", 0) <= len(value) <= schema.get("maxLength", len(value)):
        return False
    pattern = schema.get("pattern")
    return not isinstance(pattern, str) or matches(pattern, value)


def matches(pattern: str, value: str) -> bool:
    """Return whether a pattern is found in a text; one that Python cannot read is no hindrance."""
    try:
        return re.search(pattern, value) is not None
    except re.error:
        return True


def _array(value: list[Any], schema: Mapping[str, Any], fits: Callable[..., bool]) -> bool:
    if not schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", len(value)):
        return False
    if schema.get("uniqueItems") and any(
        same(one, other) for i, one in enumerate(value) for other in value[:i]
    ):
        return False
    items = schema.get("items", True)
    first = items if isinstance(items, list) else schema.get("prefixItems") or []
    rest = schema.get("additionalItems", True) if isinstance(items, list) else items
    if not all(fits(part, each) for part, each in zip(first, value, strict=False)):
        return False
    if not all(fits(rest, each) for each in value[len(first) :]):
        return False
    if "contains" not in schema:
        return True
    found = sum(fits(schema["contains"], each) for each in value)
    return bool(schema.get("minContains", 1) <= found <= schema.get("maxContains", found))


def _object(value: dict[str, Any], schema: Mapping[str, Any], fits: Callable[..., bool]) -> bool:
    needed = schema.get("dependentRequired") or {}
    dependent = schema.get("dependentSchemas") or {}
    return (
        schema.get("minProperties", 0) <= len(value) <= schema.get("maxProperties", len(value))
        and all(name in value for name in schema.get("required") or ())
        and not any(name in value and set(needed[name]) - value.keys() for name in needed)
        and all(fits(part) for name, part in dependent.items() if name in value)
        and all(fits(schema.get("propertyNames", True), name) for name in value)
        and all(fits(part, value[name]) for name in value for part in _parts(schema, name))
    )


def _parts(schema: Mapping[str, Any], name: str) -> list[object]:
    """Return what a schema asks of a property."""
    properties = schema.get("properties") or {}
    patterns = schema.get("patternProperties") or {}
    parts = [properties[name]] if name in properties else []
    parts += [part for pattern, part in patterns.items() if matches(pattern, name)]
    return parts or [schema.get("additionalProperties", True)]
