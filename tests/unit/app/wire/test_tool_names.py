"""Flat names of tools: what upstreams take, the same every time, and back."""

import re

from hypothesis import given
from hypothesis import strategies as st

from app.wire.tool_names import Tool, ToolKind, ToolNames, flat_name

_TAKEN = re.compile(r"[A-Za-z0-9_-]{1,64}")


def test_a_name_that_is_taken_stays():
    assert flat_name("get_weather") == "get_weather"
    assert flat_name("read", "files") == "files__read"


@given(st.text(min_size=1, max_size=200), st.none() | st.text(max_size=80))
def test_every_flat_name_is_one_that_upstreams_take(name, namespace):
    assert _TAKEN.fullmatch(flat_name(name, namespace))


@given(st.sets(st.text(alphabet="ab._:é", min_size=1, max_size=90), min_size=2, max_size=20))
def test_two_names_never_become_one(names):
    assert len({flat_name(name) for name in names}) == len(names)


def test_a_tool_is_found_by_its_flat_name():
    names = ToolNames()
    patch = Tool("apply_patch", None, ToolKind.CUSTOM)
    read = Tool("read.file", "fs")
    assert names.tool(names.add(patch)) == patch
    assert names.tool(names.add(read)) == read
    assert names.tool("unheard_of") == Tool("unheard_of")


def test_a_name_that_has_the_form_of_a_namespaced_one_keeps_its_meaning():
    names = ToolNames()
    flat = [names.add(Tool("fs__read")), names.add(Tool("read", "fs"))]
    assert [names.tool(each) for each in flat] == [Tool("fs__read"), Tool("read", "fs")]
