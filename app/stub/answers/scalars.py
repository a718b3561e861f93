"""Numbers and texts that satisfy a JSON schema, from the prompt where it has some."""

import datetime as dt
import math
from collections.abc import Iterator, Mapping
from typing import Any

from app.stub.answers.conforms import fits_number, is_of
from app.stub.answers.patterns import matching
from app.stub.answers.prompt_values import Prompt
from app.stub.answers.schemas import defaults

PLACEHOLDER = "simulated"
MAX_LENGTH = 1000
"""Of a list or a string that a schema asks for."""

_DAY = dt.date(2026, 1, 1)
_BY_FORMAT = {
    "date": _DAY.isoformat(),
    "date-time": f"{_DAY.isoformat()}T00:00:00Z",
    "time": "00:00:00Z",
    "duration": "P1D",
    "email": "simulated@example.com",
    "idn-email": "simulated@example.com",
    "hostname": "example.com",
    "idn-hostname": "example.com",
    "ipv4": "127.0.0.1",
    "ipv6": "::1",
    "uri": "https://example.com/",
    "url": "https://example.com/",
    "iri": "https://example.com/",
    "uri-reference": "https://example.com/",
    "iri-reference": "https://example.com/",
    "uri-template": "https://example.com/{id}",
    "json-pointer": "/simulated",
    "relative-json-pointer": "0",
    "regex": "simulated",
    "uuid": "00000000-0000-4000-8000-000000000000",
}
_FORMAT_IN_PROMPT = {"date": "date", "email": "email", "uri": "url", "url": "url", "uuid": "uuid"}
_TOLD = frozenset({"answer", "output", "reply", "response", "result", "summary", "explanation"})
"""Names of what a user is told in the end, which is what the tools said."""


def numbers(
    schema: Mapping[str, Any], name: str, prompt: Prompt, *, whole: bool, nullable: bool
) -> Iterator[object]:
    """Yield numbers that may satisfy a schema.

    Parameters
    ----------
    name
        What the number is called.
    nullable
        Whether null comes before what the prompt does not say.
    """
    said = number_told(schema, name, prompt, guess=not nullable)
    if said is not None:
        yield said
    if nullable:
        yield None
    yield from defaults(schema)
    bounds = ("minimum", "exclusiveMinimum", "maximum", "exclusiveMaximum")
    ends = [schema[key] for key in bounds if is_of(schema.get(key), "number")]
    near = [end + shift for end in ends for shift in (0, 0.5, -0.5, 1, -1)]
    tries = [1, 0, *near, *([sum(ends) / len(ends)] if ends else [])]
    step = schema.get("multipleOf") or (1 if whole else 0)
    if step:
        tries += [turn(n / step) * step for n in tries for turn in (math.ceil, math.floor)]
    for n in tries:
        if not whole or n == int(n):
            yield int(n) if n == int(n) else n


def number_told(
    schema: Mapping[str, Any], name: str, prompt: Prompt, *, guess: bool
) -> float | None:
    """Return the number that the prompt tells under a name, or else tells at all."""
    whole = schema.get("type") == "integer"

    def fits(n: float) -> bool:
        return fits_number(n, schema) and not (whole and n != int(n))

    n = prompt.number_for(name, fits, guess=guess)
    return int(n) if n is not None and n == int(n) else n


def texts(
    schema: Mapping[str, Any], name: str, prompt: Prompt, *, told: str, nullable: bool
) -> Iterator[object]:
    """Yield texts that may satisfy a schema; see `numbers`, and `example` for `told`."""
    form = schema.get("format")
    if form in _BY_FORMAT:
        kind = _FORMAT_IN_PROMPT.get(form)
        said = prompt.text_for(kind, guess=False) if kind else None
        if said and (form != "date" or said[:4].isdigit()):
            yield said
        yield from (None,) * nullable
        yield _BY_FORMAT[form]
        return
    said = prompt.text_for(name, guess=not nullable)
    if said is not None:
        yield said
    if nullable:
        yield None
    yield from defaults(schema)
    shortest = min(int(schema.get("minLength", 0)), MAX_LENGTH)
    pattern = schema.get("pattern")
    if isinstance(pattern, str):
        for extra in (0, 1, 2, 3, shortest):
            yield matching(pattern, extra=extra)
    text = placeholder(name, told)
    yield text
    yield text[: schema.get("maxLength")].ljust(shortest, "x")


def placeholder(name: str, told: str) -> str:
    """Return the text of which a prompt says nothing."""
    return told if told and name.casefold() in _TOLD else PLACEHOLDER
