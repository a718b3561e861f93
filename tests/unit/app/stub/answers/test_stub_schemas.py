"""Whatever schema a client sends, what a simulated model says of it satisfies it."""

import itertools
import json

import jsonschema_rs
import pytest

from app.stub.answers.compose import compose
from app.stub.answers.conforms import conforms
from app.stub.answers.examples import example
from app.stub.answers.patterns import matching
from app.stub.tiers import TIERS


def closed(required=None, **properties):
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties) if required is None else required,
        "additionalProperties": False,
    }


TEXT = {"type": "string"}
NODE = closed(
    value={"type": "integer"},
    next={"anyOf": [{"$ref": "#/$defs/Node"}, {"type": "null"}]},
    children={"type": "array", "items": {"$ref": "#/$defs/Node"}},
)
SHAPE = {
    "oneOf": [
        closed(kind={"const": "circle"}, radius={"type": "number", "exclusiveMinimum": 0}),
        closed(kind={"const": "box"}, sides={"type": "array", "items": {"type": "number"}}),
    ],
    "discriminator": {"propertyName": "kind"},
}
DEEP = TEXT
for _ in range(12):
    DEEP = closed(inner=DEEP)

SCHEMAS = [
    {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]},
    {"properties": {"a": {"type": "string", "minLength": 20}, "b": {"enum": [3, 4]}}},
    {"type": "array", "items": {"type": "boolean"}, "minItems": 3},
    {"type": ["number", "null"], "minimum": 5},
    {"type": "number", "maximum": -2},
    {"anyOf": [{"type": "null"}, {"type": "string"}]},
    {"const": {"x": 1}},
    {"type": "string", "format": "date"},
    {"type": "string", "maxLength": 3},
    {
        "type": "object",
        "properties": {"p": {"$ref": "#/$defs/P"}},
        "required": ["p"],
        "$defs": {"P": {"type": "object", "properties": {"x": {"type": "number"}}}},
    },
    {"type": "number", "exclusiveMinimum": 1, "exclusiveMaximum": 2},
    {"type": "integer", "minimum": 7, "multipleOf": 5},
    {"type": "integer", "exclusiveMaximum": -10},
    {"type": "string", "format": "date-time"},
    {"type": "string", "format": "email"},
    {"type": "array", "items": {"enum": ["a", "b", "c"]}, "minItems": 2, "uniqueItems": True},
    {"type": "array", "items": {"type": "string"}, "minItems": 3, "uniqueItems": True},
    {"type": "array", "prefixItems": [{"type": "integer"}, {"type": "null"}], "minItems": 2},
    {"type": "array", "maxItems": 0},
    {"type": "object", "required": ["free"]},
    {
        "allOf": [
            {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]},
            {"properties": {"b": {"type": "null"}}, "required": ["b"]},
        ]
    },
    {
        "definitions": {"Kind": {"enum": ["x", "y"]}},
        "properties": {"kind": {"$ref": "#/definitions/Kind", "description": "which"}},
        "required": ["kind"],
    },
    {"type": ["null", "object"], "properties": {"a": {"type": "boolean"}}, "required": ["a"]},
    # Objects
    closed(),
    closed(a=TEXT, b=closed(c={"type": "array", "items": closed(d={"type": "boolean"})})),
    closed([], a=TEXT),
    DEEP,
    {"type": "object", "additionalProperties": {"type": "integer"}},
    {"type": "object", "additionalProperties": {"type": "integer"}, "minProperties": 3},
    {"type": "object", "additionalProperties": False},
    {"type": "object", "maxProperties": 0, "additionalProperties": TEXT},
    {"type": "object", "patternProperties": {"^x-[a-z]{2}$": {"type": "null"}}, "minProperties": 1}
    | {"additionalProperties": False},
    {"type": "object", "propertyNames": {"pattern": "^[a-z]{4}$"}, "minProperties": 2},
    {"type": "object", "propertyNames": {"enum": ["p", "q"]}, "minProperties": 2},
    {"properties": {"a": TEXT, "b": TEXT}, "required": ["a"], "dependentRequired": {"a": ["b"]}},
    {"properties": {"a": TEXT}, "required": ["a"]}
    | {"dependentSchemas": {"a": {"properties": {"c": {"type": "null"}}, "required": ["c"]}}},
    {"properties": {"a": TEXT, "b": TEXT, "c": TEXT}, "minProperties": 3},
    # Composition and references
    NODE | {"$defs": {"Node": NODE}},
    {"$ref": "#/$defs/Node", "$defs": {"Node": NODE}},
    {"$ref": "#/$defs/A", "$defs": {"A": {"$ref": "#/$defs/B"}, "B": {"enum": ["x"]}}},
    {"$defs": {"a/b~c": {"const": 5}}, "properties": {"v": {"$ref": "#/$defs/a~1b~0c"}}},
    {"$defs": {"n": {"$anchor": "num", "type": "integer"}}, "items": {"$ref": "#num"}}
    | {"type": "array", "minItems": 1},
    SHAPE,
    closed(shapes={"type": "array", "items": SHAPE, "minItems": 2}),
    {"anyOf": [closed(a=TEXT), closed(b={"type": "integer", "minimum": 4})]},
    closed(unit={"anyOf": [{"enum": ["c", "f"]}, {"type": "null"}], "default": None}),
    {"oneOf": [{"type": "integer", "multipleOf": 2}, {"type": "integer", "multipleOf": 3}]},
    {"allOf": [{"type": "integer", "minimum": 3}, {"maximum": 4}, {"exclusiveMinimum": 3}]},
    {"allOf": [{"enum": ["a", "b", "c"]}, {"enum": ["c", "d"]}]},
    {"allOf": [{"anyOf": [TEXT, {"type": "null"}]}, {"anyOf": [{"type": "null"}]}]},
    {"not": {"type": "string"}, "type": ["string", "integer"]},
    {"type": "string", "not": {"enum": ["simulated"]}, "minLength": 10},
    {
        "type": "object",
        "properties": {"country": {"enum": ["US", "FR"]}, "code": TEXT},
        "required": ["country", "code"],
        "if": {"properties": {"country": {"const": "US"}}},
        "then": {"properties": {"code": {"pattern": "^[0-9]{5}$"}}},
        "else": {"properties": {"code": {"pattern": "^[A-Z]{2}$"}}},
    },
    # Arrays
    {"type": "array", "items": {"type": "integer"}, "minItems": 4, "uniqueItems": True},
    {"type": "array", "items": {"type": "boolean"}, "minItems": 2, "uniqueItems": True},
    {"type": "array", "items": closed(a={"type": "integer"}), "minItems": 3, "uniqueItems": True},
    {"type": "array", "items": {"type": "string", "pattern": "^[a-c]+$"}, "minItems": 3}
    | {"uniqueItems": True},
    {"type": "array", "contains": {"const": 7}, "items": {"type": "integer"}},
    {"type": "array", "contains": {"const": "x"}, "minContains": 2},
    {"type": "array", "prefixItems": [TEXT, {"type": "integer"}], "items": False, "minItems": 2},
    {"type": "array", "items": {"type": "array", "items": {"type": "number"}, "minItems": 2}},
    {"type": "array", "minItems": 30, "items": TEXT},
    # Numbers
    {"type": "number", "minimum": 0.25, "maximum": 0.3},
    {"type": "number", "multipleOf": 0.1, "minimum": 0.75, "maximum": 0.85},
    {"type": "integer", "minimum": 1_000_000, "maximum": 1_000_000},
    {"type": "integer", "exclusiveMinimum": 3, "exclusiveMaximum": 5},
    {"type": "integer", "multipleOf": 7, "minimum": 15, "maximum": 27},
    {"type": "number", "minimum": -1, "exclusiveMaximum": 0},
    {"enum": [None, 3, "x"]},
    {"enum": [False]},
    {"const": None},
    {"const": False},
    {"type": "null"},
    {"type": "integer", "maximum": 0, "default": 0},
    # Texts
    *({"type": "string", "format": form} for form in ("time", "duration", "hostname", "ipv4")),
    *({"type": "string", "format": form} for form in ("ipv6", "uri", "uuid", "uri-reference")),
    *({"type": "string", "format": form} for form in ("json-pointer", "regex", "idn-email")),
    {"type": "string", "minLength": 12, "maxLength": 12},
    {"type": "string", "maxLength": 0},
    {"type": "string", "pattern": "^[A-Z]{3}-[0-9]{4}$"},
    {"type": "string", "pattern": r"^\\d{3}\\.\\d{2}$"},
    {"type": "string", "pattern": "^(red|green)( light)?$"},
    {"type": "string", "pattern": "^[^a-z]+$", "minLength": 5},
    {"type": "string", "pattern": r"^\\+?[1-9]\\d{1,14}$"},
    {"type": "string", "pattern": "^#[0-9a-fA-F]{6}$"},
    {"type": "string", "pattern": r"^(?:\\w+\\s){2}\\w+$"},
    {"type": "string", "pattern": "^[a-z0-9-]{8,}$"},
    {"type": "string", "pattern": "b+$"},
    {"type": "string", "enum": ["überaus", "日本"]},
    True,
    {},
]


PROMPTS = (
    "",
    "Ann Lee is 31 years old, lives in Paris and wrote to bob@example.com on 2026-03-04.",
    'Order #4711: 3 boxes of "red lights", deliver to New York and Rome by tomorrow. -5 or 99999?',
)


@pytest.mark.parametrize("schema", SCHEMAS, ids=json.dumps)
def test_examples_satisfy_schemas_whatever_the_prompt_says(schema):
    validator = jsonschema_rs.validator_for(schema, validate_formats=True)
    for prompt, sparse in itertools.product(PROMPTS, (False, True)):
        made = example(schema, prompt=prompt, sparse=sparse)
        validator.validate(made)
        assert example(schema, prompt=prompt, sparse=sparse) == made


@pytest.mark.parametrize("schema", SCHEMAS, ids=json.dumps)
def test_structured_answers_satisfy_schemas(schema):
    body = {
        "messages": [{"role": "user", "content": PROMPTS[1]}],
        "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": schema}},
    }
    answer = compose("sim-nano", TIERS["sim-nano"], body)
    jsonschema_rs.validate(schema, json.loads(answer.text))
    assert answer.finish_reason == "stop"


@pytest.mark.parametrize("schema", SCHEMAS, ids=json.dumps)
def test_schemas_in_words_are_satisfied_too(schema):
    if not isinstance(schema, dict) or "properties" not in schema:
        return
    content = f"Tell me of Ann. Answer in JSON that fits this schema:\n{json.dumps(schema)}"
    body = {
        "messages": [{"role": "user", "content": content}],
        "response_format": {"type": "json_object"},
    }
    made = json.loads(compose("sim-nano", TIERS["sim-nano"], body).text)
    jsonschema_rs.validate(schema, made)


VALUES = [None, True, False, 0, 1, 2.5, 7, -3, "", "a", "x", "abcd", "simulated", [], [1], [1, 1]]
VALUES += [["x"], [7], {}, {"a": 1}, {"a": "b"}, {"b": 4}, {"country": "US", "code": "12345"}]


@pytest.mark.parametrize("schema", SCHEMAS, ids=json.dumps)
def test_values_are_judged_as_the_library_judges_them(schema):
    validator = jsonschema_rs.validator_for(schema)
    for value in (*VALUES, example(schema)):
        assert conforms(value, schema, schema) is validator.is_valid(value), value


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object", "properties": {"next": {"$ref": "#"}}, "required": ["next"]},
        {"$ref": "#/$defs/A", "$defs": {"A": {"$ref": "#/$defs/A"}}},
        {"allOf": [{"$ref": "#"}]},
        closed(a={"$ref": "#"}, b={"$ref": "#"}, c={"anyOf": [{"$ref": "#"}, {"$ref": "#"}]}),
        {"type": "array", "items": {"$ref": "#"}, "minItems": 2},
        {"type": "array", "items": {"$ref": "#/$defs/A"}, "$defs": {"A": {"$ref": "#/$defs/A"}}},
        {"type": "string", "pattern": "(((("},
        {"type": "string", "pattern": "(a+)+$", "minLength": 3},
        {"type": "string", "minLength": 10**9},
        {"type": "array", "minItems": 10**9},
        {"type": "array", "minItems": 10**9, "uniqueItems": True},
        {"type": "integer", "minimum": 5, "maximum": 4},
        False,
        {"not": {}},
        {"enum": []},
        {"$ref": "#/nowhere"},
        {"$ref": "https://example.com/schema.json"},
    ],
    ids=json.dumps,
)
def test_schemas_that_nothing_or_nothing_finite_satisfies_come_to_an_end(schema):
    json.dumps(example(schema))


@pytest.mark.parametrize(
    "pattern",
    [
        *(r"^\d{4}-\d{2}$", "[abc]{2}x?", "^(ab|cd)+e*$", r"^\w+@\w+\.com$", "^.{3}$", r"^[\]a]$"),
        *(r"^(?P<y>\d)(?:\s|-)[^\s]$", "^a{2,}?$", "", "|a", r"^\$\d+\.\d\d$", r"\bword\b"),
    ],
)
def test_texts_match_patterns(pattern):
    for i in range(3):
        assert matching(pattern, extra=i) is not None
        assert matching(pattern, turn=i) is not None


@pytest.mark.parametrize("pattern", ["(", "[", "a{", r"\p{L}+", r"(a)\1", "^(?!a)b$", "*"])
def test_patterns_that_are_beyond_it_are_given_up_or_met(pattern):
    made = matching(pattern)
    assert made is None or conforms(made, {"pattern": pattern}, {})


def test_items_that_must_differ_do():
    made = example({"type": "array", "items": TEXT, "minItems": 12, "uniqueItems": True})
    assert len(made) == 12
    assert all(one != other for one, other in itertools.combinations(made, 2))


@pytest.mark.parametrize(
    ("prompt", "schema", "expected"),
    [
        ("Jason is 25 years old", closed(name=TEXT, age={"type": "integer"}), ["Jason", 25]),
        (
            "Rome and Paris are nice",
            closed(cities={"type": "array", "items": TEXT}),
            [["Rome", "Paris"]],
        ),
        ("Ann is here. Give me JSON.", closed(name=TEXT), ["Ann"]),
        ("Two pizzas", closed(count={"type": "integer"}), [2]),
        ("Is it negative?", closed(mood={"enum": ["positive", "negative"]}), ["negative"]),
        (
            "It was not applicable",
            closed(mood={"enum": ["good", "not_applicable"]}),
            ["not_applicable"],
        ),
        (
            "mail ann@example.com",
            closed(to={"type": "string", "format": "email"}),
            ["ann@example.com"],
        ),
        (
            "see https://example.org/a.",
            closed(link={"type": "string", "format": "uri"}),
            ["https://example.org/a"],
        ),
        ("due 2026-04-05", closed(due_date={"type": "string", "format": "date"}), ["2026-04-05"]),
        ("no number here", closed(n={"type": "integer", "default": 12}), [12]),
    ],
)
def test_values_come_from_the_prompt(prompt, schema, expected):
    assert list(example(schema, prompt=prompt).values()) == expected
