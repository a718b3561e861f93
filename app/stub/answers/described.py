"""JSON that a prompt describes in words, by a schema, a template or its keys."""

import itertools
import json
import re
from collections.abc import Sequence
from typing import Any

from app.stub.answers.examples import example
from app.stub.answers.prompt_values import Prompt, words_of
from app.stub.answers.scalars import PLACEHOLDER
from app.stub.answers.vocabulary import NUMBERS, QUESTIONS

_MAX_DEPTH = 16
_MAX_LENGTH = 1000
_MAX_OBJECTS = 50
_MAX_TEMPLATE_CHARS = 200_000
_BRACE = re.compile(r"\{")
_KEYS = re.compile(
    r"\b(?:keys?|fields?|properties|attributes)\b(?:\s+(?:called|named|are|is|of|as|follows))*[\s:(]*"
    r"((?:[`\"'“]?\w+[`\"'”]?(?:\s*\([^)]{0,80}\))?(?:\s*,\s*(?:and\s+)?|\s+and\s+)?){1,20})",
    re.IGNORECASE,
)
_KEY = re.compile(r"[`\"'“](\w+)[`\"'”]|\b(?!and\b)([A-Za-z_]\w*)\b(?=\s*(?:,|and\b|\(|$|[.;]))")
_DEMANDED = re.compile(
    r"\b(?:answer|respond|reply|return|output|produce)\b[^.\n]{0,80}"
    r"\bJSON\b",
    re.IGNORECASE,
)


def demands_json(texts: Sequence[str]) -> bool:
    """Return whether a prompt demands JSON in words."""
    return any(_DEMANDED.search(text) for text in texts)


def described(texts: Sequence[str], prompt: Prompt, *, told: str = "") -> object:
    """Return an object like the one that a prompt describes; None where none is described.

    Clients that ask for JSON without a schema of the API put the schema, or a template, into words.

    Parameters
    ----------
    texts
        Of all messages.
    prompt
        What values are taken from.
    told
        See `example`.
    """
    for text in reversed(texts):
        for found in reversed(_objects(text[:_MAX_TEMPLATE_CHARS])):
            if "properties" in found or "$ref" in found:
                asked = Prompt(_without(prompt.text, text), prompt.known)
                made = example(found, prompt=asked, told=told)
                if isinstance(made, dict):
                    return made
            elif found and "type" not in found:
                return _filled(found)
    keys = next((keys for text in reversed(texts) if (keys := _keys(text))), [])
    schema = {"type": "object", "properties": {key: _guessed(key) for key in keys}}
    return example(schema, prompt=prompt, told=told) if keys else None


def _without(prompt: str, text: str) -> str:
    """Return a prompt without the schema in it, whose names are no values."""
    return re.split(r"[{`]", prompt)[0] if prompt == text[: len(prompt)] else prompt


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
    return PLACEHOLDER if isinstance(template, str) else template


def _keys(text: str) -> list[str]:
    """Return the keys that a prompt counts up."""
    for counted in _KEYS.finditer(text[-_MAX_LENGTH * 4 :]):
        keys = [quoted or bare for quoted, bare in _KEY.findall(counted[1])]
        if keys:
            return list(dict.fromkeys(keys))
    return []


def _guessed(key: str) -> dict[str, Any]:
    words = words_of(key)
    if words and words[0] in QUESTIONS:
        return {"type": "boolean"}
    if NUMBERS.intersection(words):
        return {"type": "number"}
    if key.endswith("s") and not key.endswith("ss"):
        return {"type": "array", "items": {"type": "string"}}
    return {"type": "string"}
