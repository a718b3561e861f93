"""Whatever is damaged about a YAML file is one error that names the file and the line."""

import datetime as dt
import os
import re

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from app.config.document import MAX_BYTES, MAX_DEPTH, read_document
from app.errors import ConfigError


@pytest.fixture
def read(tmp_path):
    """Write a file and read it."""

    def read(content):
        file = tmp_path / "some.yaml"
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
        return read_document(file)

    return read


def bomb():
    """Return 600 bytes that aliases make a thousand million values of."""
    lines = ["a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("a: 1\ndate: 2024-02-30\n", "line 2: date: there is no such date: 2024-02-30"),
        ("a:\n  - 2024-01-01t99:00:00Z\n", "line 2: a.0: there is no such date"),
        ("a: 1\nn: " + "9" * 5000, "line 2: n: there is no such number: 9999"),
        ("n: 0x_\n", "line 1: n: there is no such number: 0x_"),
        ("n: 010\n", "line 1: n: 010 is 8 to YAML"),
        ("t: 1:30\n", "line 1: t: 1:30 is 90 to YAML"),
        ("t: 1:30.5\n", "line 1: t: 1:30.5 is 90.5 to YAML"),
        ("[" * 5000, f"line 1: is nested more than {MAX_DEPTH} levels deep"),
        ("{a: " * 5000, f"line 1: is nested more than {MAX_DEPTH} levels deep"),
        ("- " * 5000, f"line 1: is nested more than {MAX_DEPTH} levels deep"),
        ("? " * 5000, f"line 1: is nested more than {MAX_DEPTH} levels deep"),
        ("a: &a [*a]\n", "line 1: is nested more than 32 levels deep, or an alias repeats itself"),
        ("a: &a\n  b: *a\n", "an alias repeats itself"),
        ("a: &a\n  <<: *a\n", "an alias repeats itself"),
        (bomb(), "the file holds more than 100,000 keys and values"),
        ("a: *gone\n", "line 1: the alias names no anchor"),
        ("a: 1\nb: 2\na: 3\n", "line 3: key 'a' stands twice; first on line 1"),
        ("a: {b: 1, 'b': 2}\n", "line 1: key 'b' stands twice"),
        ("a: {<<: {}, <<: {}}\n", "line 1: key '<<' stands twice"),
        ("<<: 5\n", "line 1: `<<` merges mappings"),
        ("<<: [{a: 1}, b]\n", "line 1: `<<` merges mappings"),
        ("a: 1\n5: 2\n", "line 2: the key 5 is a number to YAML; put it in quotes"),
        ("on: 2\n", "line 1: the key on is true or false to YAML; put it in quotes"),
        ("~: 2\n", "line 1: the key ~ is nothing to YAML"),
        ("2024-01-01: 2\n", "line 1: the key 2024-01-01 is no name to YAML"),
        ("? [a]\n: 2\n", "line 1: a key is a name"),
        ("a: {{ value }}\n", "line 1: a key is a name; put it in quotes"),
        ("a: !!python/object/apply:os.system [ls]\n", "tag !!python/object/apply:os.system"),
        ("a: !secret x\n", "line 1: a: the tag !secret is not understood here"),
        ("a: !!int abc\n", "line 1: a: the tag !!int is not understood here"),
        ("a: !!int ''\n", "line 1: a: the tag !!int is not understood here"),
        ("a: !!bool maybe\n", "line 1: a: the tag !!bool is not understood here"),
        ("a: !!timestamp x\n", "line 1: a: the tag !!timestamp is not understood here"),
        ("a: !!set {b}\n", "line 1: the tag !!set is not understood here"),
        ("!!omap [{a: 1}]\n", "line 1: holds no mapping of sections"),
        ("a: !!pairs [{a: 1}]\n", "line 1: the tag !!pairs is not understood here"),
        ("a: 1\nb: \x00\n", "line 2: the character U+0000 cannot stand in YAML (is it UTF-16?)"),
        ("a: 1\nb: \x07\n", "line 2: the character U+0007 cannot stand in YAML"),
        ('a: "x\\0"\n', "line 1: a: holds the character U+0000; leave it out"),
        ('a: "\\ud800"\n', "line 1: a: holds the character U+D800; leave it out"),
        ('"a\\x1b": 1\n', "line 1: holds the character U+001B; leave it out"),
        ("a: 1".encode("utf-16"), "is UTF-16; save it as UTF-8"),
        ("a: 1".encode("utf-16-le"), "line 1: the character U+0000 cannot stand in YAML"),
        (b"a: 1\nb: \xe4\n", "line 2: the byte 0xe4 is no UTF-8; save the file as UTF-8"),
        ("a:\n\tb: 1\n", "line 2: is indented by a tab; YAML wants blanks"),
        ("a:\n  b: 1\n\tc: 1\n", "line 3: is indented by a tab; YAML wants blanks"),
        ("a: {b: 1\nc: 2\n", "line 1: the `{` that opens here is not closed before line 2"),
        ("x: 1\na: [1, 2\nc: d\n", "line 2: the `[` that opens here is not closed"),
        ("x: 1\na: 'b\nc: 2\n", "line 2: the quote that opens here is not closed"),
        ('a: "\\q"\n', "line 1: no such escape in double quotes; use single ones"),
        ("a: b: c\n", "line 1: a colon too much"),
        ("a: @b\n", "line 1: nothing can begin with `@`; put it in quotes"),
        ("a: 1\n---\nb: 2\n", "line 2: a second document begins"),
        ("a:\n  b: 1\n c: 2\n", "line 3: is indented otherwise than its neighbours"),
        ("a: [1, , 2]\n", "line 1: a value is missing before `,`"),
        ("a: - b\n", "line 1: an item of a list (`- `) where none can stand"),
        ("a: |b\n", "line 1: behind `|` and `>` the text begins on the next line"),
        ("a: *\n", "line 1: `&`, `*` and `%` mean something to YAML"),
        ("a: 1\nb\nc: 2\n", "line 2: a key without its colon"),
        ("- a\n- b\n", "line 1: holds no mapping of sections"),
        ("just words", "line 1: holds no mapping of sections"),
        ("%YAML 3.0\n---\na: 1\n", "not valid YAML"),
        ("a: " + "x" * MAX_BYTES, "is longer than 1,048,576 bytes"),
    ],
)
def test_damage_is_one_line_that_names_file_and_line(read, content, words):
    with pytest.raises(ConfigError) as caught:
        read(content)
    message = caught.value.message
    assert "some.yaml: " in message
    assert words in message
    assert "\n" not in message
    assert "unicode string" not in message


def test_what_cannot_be_read_is_one_line(tmp_path):
    with pytest.raises(ConfigError, match=r"gone\.yaml: cannot be read \(No such file"):
        read_document(tmp_path / "gone.yaml")
    with pytest.raises(ConfigError, match=r"cannot be read \(Is a directory\)"):
        read_document(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match=r"cannot be read \(Not a directory\)"):
        read_document(tmp_path / "file" / "some.yaml")


@pytest.mark.parametrize(
    "text",
    ["a: [" + "1," * 100_000 + "1]", "".join(f"k{n}: 1\n" for n in range(60_000))],
    ids=["items", "keys"],
)
def test_more_values_than_any_configuration_has_are_not_read_to_their_end(read, text):
    with pytest.raises(ConfigError, match="more than 100,000 keys and values"):
        read(text)


def test_a_pipe_that_nobody_writes_to_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "some.yaml")
    assert read_document(tmp_path / "some.yaml").value == {}


def test_what_is_told_is_short_whatever_stands_there(read):
    document = read("k" * 900 + ": 1\n")
    (name,) = document.value
    assert len(document.error((name, name, *range(100)), "m" * 5000).message) < 1500


def test_values_come_with_their_lines(read):
    document = read("a:\n  b: 1\n  c: [x,\n    y]\nd: {e: 2026-01-31}\n")
    assert document.value == {"a": {"b": 1, "c": ["x", "y"]}, "d": {"e": dt.date(2026, 1, 31)}}
    assert document.line(("a", "b")) == 2
    assert document.line(("a", "c", 1)) == 4
    assert document.line(("a", "gone", "deeper")) == 1
    assert document.line(("nowhere",)) is None
    assert "line 5: d.e: no" in document.error(("d", "e"), "no").message


def test_a_mark_at_the_beginning_and_comments_do_no_harm(read):
    assert read("\ufeff# ä\na: ä\n".encode()).value == {"a": "ä"}
    assert read("# nothing\n").value == {}
    assert read("").value == {}


def test_merged_keys_stand_behind_own_ones(read):
    document = read("a: &a {x: 1, y: 1}\nb: &b {y: 2, z: 2}\nc:\n  <<: [*a, *b]\n  x: 3\n")
    assert document.value["c"] == {"x": 3, "y": 1, "z": 2}
    assert document.line(("c", "x")) == 5
    assert document.line(("c", "z")) == 2


YAML_LIKE = st.text(st.sampled_from("ab:-?[]{},&*!|>'\"%@#\n \t0123456789.~<=e_x+T"), max_size=60)


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(YAML_LIKE)
@example("=: =")
@example("a: 1e999999")
@example("a: !!float 5")
@example("? ")
def test_any_text_is_a_document_or_a_configuration_error(read, text):
    told = ""
    try:
        assert isinstance(read(text).value, dict)
    except ConfigError as error:
        told = error.message
    assert not told or re.fullmatch(r".*some\.yaml: .+", told)


_PIECES = [
    "models:\n", "  gpt-4o: ", "{input_usd_per_mtok: 0.15, date: 2024-10-01}", "[streaming, tools]",
    "  a:\n    b: null\n", "- 1\n", "- x: y\n", "  # said: so\n", "'it''s'", '"a b"', "0x1f", "1e3",
    "true", "~", "1:2", "<<: ", "@", "`", "}", "]", "{", "[", ",", ": ", ":", " ", "\n", "\n  ",
    "#", "# 2 * (x & y)!\n", '"gpt-*": ', '"*b"', '"', "*a", "&a ", "|\n", "%",
]  # fmt: skip


@settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(content=st.lists(st.sampled_from(_PIECES), max_size=14).map("".join))
def test_plain_files_are_read_quickly_and_all_the_same(read, content):
    def read_or_not(text):
        try:
            document = read(text)
        except ConfigError:
            return None
        return document.value, document.lines

    # A file that holds more than ASCII takes the long way.
    assert read_or_not(content) == read_or_not(f"{content}\n# é\n")
