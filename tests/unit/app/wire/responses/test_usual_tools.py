"""Tools that are passed on as they were written are the same as those that are read."""

import json

import pytest

from app.errors import InvalidRequestError
from app.wire.responses.request import chat_form

SCHEMA = {"type": "object", "properties": {"é": {"type": "string", "description": '"x"\n'}}}
USUAL = {
    "whole": {"description": "Does f.", "parameters": SCHEMA, "strict": True},
    "bare": {},
    "nulls": {"description": None, "parameters": None, "strict": None},
    "nothing said": {"description": "", "parameters": {}, "strict": False},
    "more than is known": {"defer_loading": True, "x": [1]},
}
ODD = {
    "no name": [{"type": "function"}],
    "an empty name": [{"type": "function", "name": ""}],
    "a description that is none": [{"type": "function", "name": "f", "description": 5}],
    "no object": [5],
    "no list": {"type": "function", "name": "f"},
}


def chat_of(tools, **more):
    body = {"input": "Hi.", "tools": tools, **more}
    form = chat_form({name: json.dumps(value).encode() for name, value in body.items()})
    return {name: json.loads(raw) for name, raw in form.fields.items()}, form


@pytest.mark.parametrize("more", USUAL.values(), ids=USUAL)
def test_what_is_offered_is_the_same_as_where_it_is_read(more):
    tools = [{"type": "function", "name": name, **more} for name in ("f", "g-2_H")]
    allowed = [{"type": "function", "name": each["name"]} for each in tools]
    read, _ = chat_of(tools, tool_choice={"type": "allowed_tools", "tools": allowed})
    passed_on, form = chat_of(tools, tool_choice="auto")
    assert passed_on == read
    assert form.names.tool("f").name == "f"


def test_a_name_that_upstreams_do_not_take_is_still_told_otherwise():
    chat, form = chat_of([{"type": "function", "name": name} for name in ("f", "files.read\n")])
    plain, flat = [each["function"]["name"] for each in chat["tools"]]
    assert plain == "f"
    assert flat.startswith("files_read_")
    assert form.names.tool(flat).name == "files.read\n"


def test_a_tool_of_another_kind_is_still_left_out():
    chat, form = chat_of([{"type": "function", "name": "f"}, {"type": "web_search"}])
    assert [each["function"]["name"] for each in chat["tools"]] == ["f"]
    assert form.left_out == ("tools.web_search",)


@pytest.mark.parametrize("tools", ODD.values(), ids=ODD)
def test_what_is_no_tool_is_still_refused(tools):
    with pytest.raises(InvalidRequestError) as refused:
        chat_of(tools)
    assert refused.value.param.startswith("tools")
