"""Values that satisfy a JSON schema, drawn from the prompt where it has what is asked for."""

from collections.abc import Iterator, Mapping
from typing import Any

from app.stub.answers.conforms import conforms, is_of, matches, resolve
from app.stub.answers.patterns import matching
from app.stub.answers.prompt_values import Prompt
from app.stub.answers.scalars import (
    MAX_LENGTH,
    PLACEHOLDER,
    number_told,
    numbers,
    placeholder,
    texts,
)
from app.stub.answers.schemas import BRANCHING, is_null, kind_by_keywords, merged

_MAX_DEPTH = 16
_MAX_VALUES = 5000  # that one schema may ask for, all its branches together
_MAX_OPTIONS = 32  # of `anyOf` that are tried


def example(
    schema: object, *, prompt: Prompt | str = "", sparse: bool = False, told: str = ""
) -> object:
    """Return a value that satisfies a schema, as far as its keywords are common ones.

    Parameters
    ----------
    prompt
        Where it names a value of an enum, a number, something in quotes or a proper name, that is
        taken.
    sparse
        Whether what may be null is null where the prompt says nothing of it, as in arguments.
    told
        What stands under names such as `answer`.
    """
    if isinstance(prompt, str):
        prompt = Prompt(prompt)
    return _Maker(schema, prompt, sparse=sparse, told=told).value(schema, name="", refs=())


class _Maker:
    def __init__(self, root: object, prompt: Prompt, *, sparse: bool, told: str) -> None:
        self._root = root
        self._prompt = prompt
        self._sparse = sparse
        self._told = told
        self._left = _MAX_VALUES

    def value(self, schema: object, *, name: str, refs: tuple[str, ...]) -> object:
        """Return the first candidate that satisfies the schema; else the last resort.

        Parameters
        ----------
        name
            The property's that is to be filled.
        refs
            References that are being followed: what leads back into one of them comes last.
        """
        self._left -= 1
        if not isinstance(schema, dict) or self._left < 0:
            return None if schema is False or self._left < 0 else placeholder(name, self._told)
        fallback: object = None
        for i, candidate in enumerate(self._candidates(schema, name, refs)):
            if self._conforms(candidate, schema):
                return candidate
            fallback = candidate if i == 0 else fallback
        return fallback

    def _conforms(self, value: object, schema: object) -> bool:
        return conforms(value, schema, self._root)

    def _candidates(
        self, schema: Mapping[str, Any], name: str, refs: tuple[str, ...]
    ) -> Iterator[object]:
        if len(refs) > _MAX_DEPTH:
            yield placeholder(name, self._told)
            return
        known = self._prompt.known_value(name)
        if known is not None and self._conforms(known, schema):
            yield known
        if "const" in schema:
            yield schema["const"]
            return
        if isinstance(schema.get("enum"), list) and schema["enum"]:
            yield from self._named(schema)
            return
        if schema.keys() & BRANCHING:
            for option, followed in self._options(schema, refs):
                yield from self._candidates(option, name, followed)
            return
        yield from self._of_kinds(schema, name, refs)

    def _named(self, schema: Mapping[str, Any]) -> Iterator[object]:
        """Yield the values that the prompt names, then the default, then all."""
        values = schema["enum"]
        yield from (e for e in values if isinstance(e, str) and self._prompt.names(e))
        if self._sparse and None in values:
            yield None
        if "default" in schema:
            yield schema["default"]
        yield from (each for each in values if each is not None)
        yield None

    def _options(
        self, schema: Mapping[str, Any], refs: tuple[str, ...]
    ) -> Iterator[tuple[dict[str, Any], tuple[str, ...]]]:
        """Yield a schema with each of its alternatives merged in, those that recur last."""
        plain = {key: schema[key] for key in schema if key not in BRANCHING}
        if isinstance(schema.get("$ref"), str):
            refs = (*refs, schema["$ref"])
            plain = merged(plain, resolve(self._root, schema["$ref"]))
        for each in schema.get("allOf") or ():
            plain = merged(plain, each)
        if "if" in schema:
            yield merged(merged(plain, schema["if"]), schema.get("then", True)), refs
            yield merged(plain, schema.get("else", True)), refs
            return
        alternatives = [*(schema.get("anyOf") or ()), *(schema.get("oneOf") or ())][:_MAX_OPTIONS]
        nothing = [each for each in alternatives if is_null(each)]
        others = [each for each in alternatives if not is_null(each)]
        others.sort(key=lambda each: self._recurs(each, refs))
        deep = bool(others) and self._recurs(others[0], refs)
        ordered = [*nothing, *others] if deep else [*others, *nothing]
        if self._sparse and nothing and not deep:
            ordered = [*self._said(others), *ordered[::-1]]
        for each in ordered:
            yield merged(plain, each), refs
        if not alternatives:
            yield plain, refs

    def _said(self, options: list[Any]) -> list[Any]:
        """Return the alternatives of which the prompt names a value."""
        return [
            each
            for each in options
            if isinstance(each, dict)
            and any(isinstance(e, str) and self._prompt.names(e) for e in each.get("enum") or ())
        ]

    def _recurs(self, schema: object, refs: tuple[str, ...]) -> bool:
        """Return whether a schema leads back into a reference that is being followed."""
        if not isinstance(schema, dict):
            return False
        if isinstance(schema.get("$ref"), str):
            return schema["$ref"] in refs or (bool(refs) and schema["$ref"] == "#")
        parts = [schema.get("items"), *(schema.get("anyOf") or ()), *(schema.get("allOf") or ())]
        properties = schema.get("properties") or {}
        parts += [properties.get(name) for name in schema.get("required") or ()]
        return any(self._recurs(each, refs) for each in parts)

    def _of_kinds(
        self, schema: Mapping[str, Any], name: str, refs: tuple[str, ...]
    ) -> Iterator[object]:
        kinds = schema.get("type") or kind_by_keywords(schema)
        kinds = list(kinds) if isinstance(kinds, list) else [kinds]
        if "null" in kinds and len(kinds) > 1:
            kinds.remove("null")
            kinds.append("null")
        nullable = self._sparse and kinds[-1] == "null" and len(kinds) > 1
        for kind in kinds:
            if kind == "object":
                yield from self._objects(schema, refs)
            elif kind == "array":
                yield from self._arrays(schema, name, refs)
            elif kind in ("integer", "number"):
                whole = kind == "integer"
                yield from numbers(schema, name, self._prompt, whole=whole, nullable=nullable)
            elif kind == "boolean":
                yield from (None,) * nullable
                yield from (schema.get("default", True), True, False)
            elif kind == "null":
                yield None
            else:
                yield from texts(schema, name, self._prompt, told=self._told, nullable=nullable)

    def _objects(self, schema: Mapping[str, Any], refs: tuple[str, ...]) -> Iterator[object]:
        made = self._object(schema, refs)
        yield made
        needed = schema.get("dependentRequired") or {}
        dependent = schema.get("dependentSchemas") or {}
        whole = dict(schema)
        for each in made:
            whole = merged(whole, {"required": list(needed.get(each) or ())})
            whole = merged(whole, dependent.get(each, True))
        if needed or dependent:
            yield self._object(whole, refs)
        # Too few, or one too many: all that there are, or none that need not be.
        yield self._object({**schema, "required": list(schema.get("properties") or ())}, refs)
        yield {}

    def _object(self, schema: Mapping[str, Any], refs: tuple[str, ...]) -> dict[str, object]:
        properties = schema.get("properties") or {}
        required = list(dict.fromkeys(schema.get("required") or ()))
        made = {
            name: self.value(self._part(schema, name), name=name, refs=refs)
            for name in (required or properties)
            if name in properties or name in required
            if required or not self._recurs(properties[name], refs)
        }
        if required:
            self._add_optional(made, properties)
        wanted = schema.get("minProperties", 0)
        free = not properties and isinstance(schema.get("additionalProperties"), dict)
        wanted = max(wanted, 1 if free or schema.get("patternProperties") else 0)
        for name in self._free_names(schema, int(min(wanted, MAX_LENGTH))):
            if len(made) >= wanted:
                break
            if name not in made:
                made[name] = self.value(self._part(schema, name), name=name, refs=refs)
        return made

    def _add_optional(self, made: dict[str, object], properties: Mapping[str, Any]) -> None:
        """Add what need not be there where the prompt says it in so many words."""
        for name, part in properties.items():
            if name in made or not isinstance(part, dict):
                continue
            named = [e for e in part.get("enum") or () if isinstance(e, str)]
            value: object = next((e for e in named if self._prompt.names(e)), None)
            if value is None and is_of(1, part.get("type")) and "type" in part:
                value = number_told(part, name, self._prompt, guess=False)
            if value is not None and self._conforms(value, part):
                made[name] = value

    def _free_names(self, schema: Mapping[str, Any], wanted: int) -> Iterator[str]:
        yield from schema.get("properties") or ()
        names = schema.get("propertyNames")
        for pattern in schema.get("patternProperties") or ():
            yield from _matching(pattern, wanted)
        if isinstance(names, dict):
            yield from (each for each in names.get("enum") or () if isinstance(each, str))
            if isinstance(names.get("pattern"), str):
                yield from _matching(names["pattern"], wanted)
        yield PLACEHOLDER
        yield from (f"{PLACEHOLDER}_{i}" for i in range(2, wanted + 2))

    def _part(self, schema: Mapping[str, Any], name: str) -> object:
        """Return the schema of one property."""
        part = (schema.get("properties") or {}).get(name)
        fitting = [
            each
            for pattern, each in (schema.get("patternProperties") or {}).items()
            if matches(pattern, name)
        ]
        if part is None and not fitting:
            return schema.get("additionalProperties", True) or True
        whole = part if isinstance(part, dict) else {}
        for each in fitting:
            whole = merged(whole, each)
        return whole or part

    def _arrays(
        self, schema: Mapping[str, Any], name: str, refs: tuple[str, ...]
    ) -> Iterator[object]:
        items = schema.get("items", True)
        first = items if isinstance(items, list) else schema.get("prefixItems") or []
        rest = schema.get("additionalItems", True) if isinstance(items, list) else items
        made = [self.value(each, name=name, refs=refs) for each in first]
        wanted = int(schema.get("minItems", len(made) or (0 if self._recurs(rest, refs) else 1)))
        most = int(schema.get("maxItems", MAX_LENGTH))
        if len(made) < most and "contains" in schema:
            wanted = max(wanted, len(made) + int(schema.get("minContains", 1)))
            rest = (
                merged(schema["contains"], rest) if isinstance(rest, dict) else schema["contains"]
            )
        count = min(max(wanted, len(made)), most, MAX_LENGTH)
        if rest is not False:
            room = (count - len(made), most - len(made))
            made += self._series(schema, rest, name=name, refs=refs, room=room)
        yield made[:most]
        yield made[:wanted]
        yield []

    def _series(
        self,
        schema: Mapping[str, Any],
        part: object,
        *,
        name: str,
        refs: tuple[str, ...],
        room: tuple[int, int],
    ) -> list[object]:
        """Return as many items as are wanted; more, up to the most, where the prompt lists them."""
        count, most = room
        options = self._enum_of(part)
        if options:
            said = [e for e in options if isinstance(e, str) and self._prompt.names(e)]
            options = [*said, *(each for each in options if each not in said)]
            count = max(count, min(len(said), most))
            if schema.get("uniqueItems") or len(said) > 1:
                return options[:count] if count <= len(options) else []
        elif isinstance(part, dict) and part.get("type") == "string":
            listed = [
                e for e in self._prompt.series_for(_singular(name)) if self._conforms(e, part)
            ]
            if len(listed) >= max(count, 2):
                return list(listed[:most])
        name = _singular(name)
        if not schema.get("uniqueItems"):
            made = self.value(part, name=name, refs=refs) if count > 0 else None
            return [made] * count
        found: list[object] = []
        for i in range(2 * count):
            if len(found) < count and (made := self._told_apart(part, name, refs, i)) not in found:
                found.append(made)
        return found

    def _enum_of(self, part: object) -> list[object]:
        for _ in range(_MAX_DEPTH):
            if isinstance(part, dict) and isinstance(part.get("$ref"), str):
                part = resolve(self._root, part["$ref"])
        return list(part.get("enum") or ()) if isinstance(part, dict) else []

    def _told_apart(self, part: object, name: str, refs: tuple[str, ...], i: int) -> object:
        """Return the `i`-th of items of which no two are the same."""
        made = self.value(part, name=name, refs=refs)
        tries: list[object] = []
        if isinstance(made, bool):
            tries = [bool(i % 2)]
        elif isinstance(made, int | float):
            tries = [made + i, made - i, made + i / 100]
        elif isinstance(made, str):
            pattern = part.get("pattern") if isinstance(part, dict) else None
            tries = [f"{made} {i + 1}", f"{made[:-1]}{i % 10}"]
            if isinstance(pattern, str):
                tries += [matching(pattern, extra=i), matching(pattern, turn=i)]
        elif isinstance(made, dict):
            for key in made:
                apart = self._told_apart(self._part(part, key), key, refs, i)  # type: ignore[arg-type]
                tries.append({**made, key: apart})
        return next((each for each in tries if i and self._conforms(each, part)), made)


def _matching(pattern: str, wanted: int) -> Iterator[str]:
    """Yield texts that a pattern matches, of which at least so many may differ."""
    for i in range(wanted + 1):
        yield from filter(None, (matching(pattern, extra=i), matching(pattern, turn=i)))


def _singular(name: str) -> str:
    return name[:-3] + "y" if name.endswith("ies") else name.removesuffix("s")
