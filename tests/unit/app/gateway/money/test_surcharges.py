import json

import pytest

from app.gateway.money.surcharges import Extra, extras_of


def extras(**fields: object) -> tuple[Extra, ...]:
    return extras_of({key: json.dumps(value).encode() for key, value in fields.items()})


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"messages": [], "temperature": 0},
        {"tools": None},
        {"tools": []},
        {"tools": [{"type": "function", "function": {"name": "f", "parameters": {}}}]},
        {"tools": [{"type": "custom", "custom": {"name": "f"}}]},
        {"tools": [{"function": {"name": "f"}}]},
        {"tools": [{"name": "f", "input_schema": {}}]},
        {"tools": [{"type": "bash_20250124", "name": "bash"}]},
        {"tools": [{"type": "text_editor_20250728", "name": "str_replace_based_edit_tool"}]},
        {"service_tier": "default"},
        {"service_tier": None},
        {"web_search_options": None},
        {"search_parameters": {"mode": "off"}},
        {"plugins": []},
        {"enable_search": False},
    ],
)
def test_what_leaves_the_list_price_alone(fields):
    assert extras(**fields) == ()


@pytest.mark.parametrize(
    ("fields", "extra"),
    [
        ({"service_tier": "priority"}, Extra("service_tier", "priority")),
        ({"web_search_options": {}}, Extra("web_search_options")),
        ({"tools": [{"type": "web_search"}]}, Extra("tools", "web_search")),
        (
            {"tools": [{"type": "web_search_20250305", "name": "web_search"}]},
            Extra("tools", "web_search_20250305"),
        ),
        ({"tools": [{"google_search": {}}]}, Extra("tools", "untyped")),
        ({"tools": [{"type": None, "function": None}]}, Extra("tools", "untyped")),
        ({"tools": "many"}, Extra("tools")),
        (
            {"tools": [{"type": "function", "function": {"name": "f"}}, {"type": "code"}]},
            Extra("tools", "code"),
        ),
    ],
)
def test_what_changes_the_price(fields, extra):
    assert extras(**fields) == (extra,)
