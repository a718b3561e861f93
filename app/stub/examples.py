"""Small values that satisfy a JSON schema, drawn from the prompt where it has what is asked for."""

import datetime as dt
import itertools
import json
import math
import re
from collections.abc import Mapping
from typing import Any

_MAX_DEPTH = 8
_MAX_LENGTH = 1000  # of a list or a string that a schema asks for
_MAX_OBJECTS = 50
_MAX_TEMPLATE_CHARS = 200_000
_WORD = re.compile(r"\w+", re.UNICODE)
_QUOTED = re.compile(r"[\"“]([^\"”\n]{1,200})[\"”]")
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?")
_BRACE = re.compile(r"\{")
_PLACEHOLDER = "simulated"
_DAY = dt.date(2026, 1, 1)
_BY_FORMAT = {
    "date": _DAY.isoformat(),
    "date-time": f"{_DAY.isoformat()}T00:00:00Z",
    "time": "00:00:00Z",
    "duration": "P1D",
    "email": "simulated@example.com",
    "hostname": "example.com",
    "ipv4": "127.0.0.1",
    "ipv6": "::1",
    "uri": "https://example.com/",
    "uuid": "00000000-0000-4000-8000-000000000000",
}


def example(schema: object, *, prompt: str = "") -> object:
    """Return a small value that satisfies a schema, as far as its keywords are common ones.

    Parameters
    ----------
    prompt
        Where it names a value of an enum, a number, something in quotes or a proper name, that is
        taken.
    """
    return _Maker(schema, prompt).value(schema, depth=0)


def example_for_prompt(texts: list[str]) -> object:
    """Return an object like the one that a prompt describes; None where none is described.

    Clients that ask for JSON without a schema of the API put the schema, or a template, into words.
    """
    for text in reversed(texts):
        for found in reversed(_objects(text[:_MAX_TEMPLATE_CHARS])):
            if "properties" in found or "$ref" in found:
                made = example(found)
                if isinstance(made, dict):
                    return made
            elif found and "type" not in found:
                return _filled(found)
    return None


def _objects(text: str) -> list[dict[str, Any]]:
    """Return the JSON objects that stand in a text, outermost only, in their order."""
    decoder, found, end = json.JSONDecoder(), [], 0
    for brace in itertools.islice(_BRACE.finditer(text), _MAX_OBJECTS):
        if brace.start() < end:
            continue
        try:
            value, end = decoder.raw_decode(text, brace.start())
        except (ValueError, RecursionError):
            continue
        found.append(value)
    return found


def _filled(template: object, depth: int = 0) -> object:
    if depth > _MAX_DEPTH:
        return None
    if isinstance(template, dict):
        return {str(key): _filled(value, depth + 1) for key, value in template.items()}
    if isinstance(template, list):
        return [_filled(value, depth + 1) for value in template[:_MAX_LENGTH]]
    return _PLACEHOLDER if isinstance(template, str) else template


class _Maker:
    def __init__(self, root: object, prompt: str) -> None:
        self._root = root
        self._prompt = prompt
        self._words = {word.casefold() for word in _WORD.findall(prompt)} if prompt else set()

    def value(self, schema: object, *, depth: int) -> object:
        if not isinstance(schema, dict) or depth > _MAX_DEPTH:
            return _PLACEHOLDER if schema is True else None
        schema = self._merged(schema, depth)
        if "const" in schema or schema.get("enum"):
            return schema["const"] if "const" in schema else self._named(schema["enum"])
        kind = schema.get("type", "object" if "properties" in schema else "string")
        if isinstance(kind, list):
            kind = next((each for each in kind if each != "null"), "null")
        if kind == "object":
            return self._object(schema, depth)
        if kind == "array":
            return self._array(schema, depth)
        return self._scalar(schema, kind)

    def _scalar(self, schema: Mapping[str, Any], kind: object) -> object:
        if kind in ("integer", "number"):
            return self._number(schema, whole=kind == "integer")
        if kind in ("boolean", "null"):
            return True if kind == "boolean" else None
        return self._text(schema)

    def _merged(self, schema: Mapping[str, Any], depth: int) -> dict[str, Any]:
        """Return a schema with what it refers to, and with the first of its alternatives."""
        merged = {key: schema[key] for key in schema if key not in _COMPOSED}
        parts = list(schema.get("allOf") or ())
        if isinstance(schema.get("$ref"), str):
            parts.append(_resolve(self._root, schema["$ref"]))
        for key in ("anyOf", "oneOf"):
            options = [each for each in schema.get(key) or () if each != {"type": "null"}]
            parts += options[:1] or [{"type": "null"}] if schema.get(key) else []
        for each in parts:
            if isinstance(each, dict) and depth < _MAX_DEPTH:
                part = self._merged(each, depth + 1)
                properties = {**part.get("properties", {}), **merged.get("properties", {})}
                required = [*merged.get("required", ()), *part.get("required", ())]
                merged = {**part, **merged}
                if properties:
                    merged["properties"] = properties
                if required:
                    merged["required"] = required
        return merged

    def _named(self, values: list[object]) -> object:
        """Return the value that the prompt names, else the first."""
        for each in values:
            if isinstance(each, str) and each.casefold() in self._words:
                return each
        return values[0]

    def _object(self, schema: Mapping[str, Any], depth: int) -> dict[str, object]:
        properties = schema.get("properties") or {}
        names = dict.fromkeys(schema.get("required") or properties)
        return {
            name: self.value(properties.get(name, True), depth=depth + 1)
            for name in names
            if name in properties or name in (schema.get("required") or ())
        }

    def _array(self, schema: Mapping[str, Any], depth: int) -> list[object]:
        first = [self.value(each, depth=depth + 1) for each in schema.get("prefixItems") or ()]
        wanted = int(schema.get("minItems", len(first) or 1))
        count = min(max(wanted, len(first) or 1), int(schema.get("maxItems", _MAX_LENGTH)))
        items = schema.get("items", True)
        if schema.get("uniqueItems") and isinstance(items, dict):
            items = self._merged(items, depth)
            if items.get("enum"):
                return [*first, *items["enum"]][:count]
        made = self.value(items, depth=depth + 1) if count > len(first) else None
        rest = [made] * (min(count, _MAX_LENGTH) - len(first))
        if schema.get("uniqueItems"):
            rest = [_told_apart(each, i) for i, each in enumerate(rest)]
        return [*first, *rest][:count]

    def _number(self, schema: Mapping[str, Any], *, whole: bool) -> float:
        low = schema.get("minimum", -math.inf)
        high = schema.get("maximum", math.inf)
        over = schema.get("exclusiveMinimum", -math.inf)
        under = schema.get("exclusiveMaximum", math.inf)
        step = schema.get("multipleOf") or (1 if whole else 0)

        def fits(n: float) -> bool:
            multiple = not step or abs(n / step - round(n / step)) < 1e-9
            return low <= n <= high and over < n < under and multiple

        told = [float(each) for each in _NUMBER.findall(self._prompt[:_MAX_LENGTH])]
        ends = [end for end in (low, over, high, under) if math.isfinite(end)]
        near = [end + shift for end in ends for shift in (0, 0.5, -0.5, 1, -1)]
        tries = [*told, 1, 0, *near, *([sum(ends) / len(ends)] if ends else [])]
        if step:
            tries += [
                to_whole(n / step) * step for n in tries for to_whole in (math.ceil, math.floor)
            ]
        n = next(filter(fits, tries), 1)
        return int(n) if n == int(n) else n

    def _text(self, schema: Mapping[str, Any]) -> str:
        shortest = min(int(schema.get("minLength", 0)), _MAX_LENGTH)
        longest = schema.get("maxLength")
        if schema.get("format") in _BY_FORMAT:
            return _BY_FORMAT[schema["format"]]
        text = self._from_prompt() or _PLACEHOLDER
        return text.ljust(shortest, "x")[:longest]

    def _from_prompt(self) -> str | None:
        """Return what stands in quotes, else the longest proper name, of two the last."""
        quoted = _QUOTED.search(self._prompt)
        if quoted:
            return quoted[1]
        names: list[str] = []
        for sentence in re.split(r"[.!?]\s+|\n", self._prompt[:_MAX_LENGTH]):
            # A sentence's first word is written large whatever it is.
            names += re.findall(r"(?<=\s)(?!I\b)[A-ZÀ-Þ][\w-]*(?:\s[A-ZÀ-Þ][\w-]*)*", sentence)
        return max(reversed(names), key=lambda name: name.count(" "), default=None)


_COMPOSED = frozenset({"$ref", "allOf", "anyOf", "oneOf"})


def _told_apart(value: object, i: int) -> object:
    if isinstance(value, str):
        return f"{value} {i + 1}"
    if isinstance(value, int | float) and not isinstance(value, bool):
        return value + i
    return value


def _resolve(root: object, reference: str) -> object:
    found: Any = root
    for key in reference.removeprefix("#").strip("/").split("/"):
        name = key.replace("~1", "/").replace("~0", "~")
        found = found.get(name) if isinstance(found, dict) and name else found
    return found
