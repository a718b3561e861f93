"""YAML files as documents: bounded, without surprises, and with the line of every value.

Whatever is damaged about a file ends in one `ConfigError` that names file and line.
"""

import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from yaml.composer import Composer

from app.config.fields import Place
from app.config.syntax import said_of_syntax
from app.errors import ConfigError

MAX_BYTES = 1024 * 1024
"""Of one file; a thousand models take less than a third of it."""
MAX_DEPTH = 32
"""How deep mappings and lists may be nested; the deepest field there is lies at six."""
MAX_VALUES = 100_000
"""How many values one file may hold, what its aliases repeat included."""

_MAX_MESSAGE_CHARS = 1000
_MAX_NAME_CHARS = 80
_MAX_NAMED_PARTS = 12
"""What is told of a file is one line, whatever stands in it."""

_TAG = "tag:yaml.org,2002:"
_TOO_MANY = f"the file holds more than {MAX_VALUES:,} keys and values"
_SCALARS = {f"{_TAG}{kind}" for kind in ("str", "int", "float", "bool", "null", "timestamp")}
_MERGE, _EQUALS = f"{_TAG}merge", f"{_TAG}value"
_KINDS = {"int": "a number", "float": "a number", "bool": "true or false", "null": "nothing"}
_OLD_NUMBER = re.compile(r"[-+]?0[0-7_]{1,30}|[-+]?[0-9_]{1,30}(:[0-9_.]{1,30}){1,9}")
_UNPRINTABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")


class Remark(NamedTuple):
    """Something to say of a place in a file."""

    place: Place
    message: str


@dataclass(frozen=True, slots=True)
class Document:
    """What a file says, and where it says it."""

    path: Path
    value: dict[str, Any] = field(repr=False)
    lines: dict[Place, int] = field(repr=False)
    """The line of every value, by the keys and positions that lead to it."""

    def error(self, place: Place, message: str) -> ConfigError:
        """Return an error that names the file, the line and the key that it is about."""
        return ConfigError(f"{self.path}: {self.told(place, message)}")

    def told(self, place: Place, message: str) -> str:
        """Put line and key before what is said of a value."""
        line = self.line(place)
        at = f"line {line}: " if line else ""
        where = f"{dotted(place)}: " if place else ""
        return f"{at}{where}{short(message, _MAX_MESSAGE_CHARS)}"

    def line(self, place: Place) -> int | None:
        """Return the line of a value; of what it would stand in, if it does not stand there."""
        for length in range(len(place), 0, -1):
            if (line := self.lines.get(place[:length])) is not None:
                return line
        return None


def dotted(place: Place) -> str:
    """Write a place as `models.gpt-4o.limits`."""
    return ".".join(printable(str(part)) for part in place[:_MAX_NAMED_PARTS])


def printable(text: str) -> str:
    """Return the beginning of a text as it can be printed in one line, with escapes if need be."""
    text = short(text, _MAX_NAME_CHARS)
    return text if text.isprintable() else ascii(text)[1:-1]


def short(text: str, chars: int) -> str:
    """Return a text, cut to its beginning if it is longer."""
    return text if len(text) <= chars else f"{text[:chars]}…"


def read_document(path: Path) -> Document:
    """Read a YAML file whose top is a mapping.

    Raises
    ------
    ConfigError
        Naming file and line, whatever is wrong with it.
    """
    text = _text(path)
    try:
        loader, root = _composed(text)
        values = _Values(loader)
        return Document(path, values.top(root), values.lines)
    except _DamageError as damage:
        at = "" if damage.line is None else f"line {damage.line}: "
        raise ConfigError(f"{path}: {at}{damage.message}") from damage
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: {said_of_syntax(error, text)}") from error


def _text(path: Path) -> str:
    try:
        # A pipe that nobody writes to is an empty file, and not one to wait for.
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
            os.set_blocking(file.fileno(), True)
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror})") from error
    if len(data) > MAX_BYTES:
        raise ConfigError(f"{path}: is longer than {MAX_BYTES:,} bytes, which no configuration is")
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise ConfigError(f"{path}: is UTF-16; save it as UTF-8")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError(
            f"{path}: line {line}: the byte 0x{data[error.start]:02x} is no UTF-8; "
            "save the file as UTF-8"
        ) from error


class _DamageError(Exception):
    """What is understood as YAML and cannot be part of a configuration."""

    def __init__(self, node: yaml.Node | None, message: str, place: Place = ()) -> None:
        super().__init__(message)
        self.line = None if node is None else _line(node)
        self.message = f"{dotted(place)}: {message}" if place else message


def _line(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1


class _Bounded(Composer):
    """Builds nodes only so deep that nothing that walks them can run out of stack."""

    _depth = 0
    _left = MAX_VALUES

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        if self._depth > MAX_DEPTH:
            raise _DamageError(parent, f"is nested more than {MAX_DEPTH} levels deep")
        self._left -= 1
        if self._left < 0:
            raise _DamageError(parent, _TOO_MANY)
        self._depth += 1
        try:
            return super().compose_node(parent, index)
        finally:
            self._depth -= 1


class _Loader(_Bounded, yaml.SafeLoader):
    """Reads whatever YAML there is."""


@cache
def _quick_loader() -> Callable[[str], Any] | None:
    """Return what reads with libyaml, in a fifth of the time; None where PyYAML lacks it."""
    base: Any = getattr(yaml, "CSafeLoader", None)
    if base is None:
        return None

    class Quick(_Bounded, base):  # type: ignore[misc]
        def __init__(self, text: str) -> None:
            base.__init__(self, text)
            _Bounded.__init__(self)

    return Quick


_UNLIKE = re.compile(r"[^\n -~]|[|>?!%&*\\]|^(?:---|\.\.\.)", re.MULTILINE)
"""What libyaml reads otherwise than PyYAML itself, or might: a text with such is read by PyYAML."""
_ALIKE = re.compile(r'^ *#[ -\[\]-~]*$|"[A-Za-z0-9_.*-]*"', re.MULTILINE)
"""Lines of remarks and simple patterns in quotes, where these characters mean nothing."""


def _composed(text: str) -> tuple[Any, yaml.Node | None]:
    """Return what reads the values of a text, and its root."""
    quick = _quick_loader()
    if quick is not None and _UNLIKE.search(_ALIKE.sub("", text)) is None:
        loader = quick(text)
        try:
            return loader, loader.get_single_node()
        except yaml.YAMLError:
            pass  # PyYAML tells better what is wrong, or understands it
    loader = _Loader(text)
    return loader, loader.get_single_node()


class _Values:
    """Turns nodes into values and notes where each of them stands."""

    def __init__(self, loader: Any) -> None:
        self._loader = loader
        self._left = MAX_VALUES
        self.lines: dict[Place, int] = {}

    def top(self, node: yaml.Node | None) -> dict[str, Any]:
        """Return what a whole file says."""
        if node is None:
            return {}
        if not isinstance(node, yaml.MappingNode):
            raise _DamageError(node, "holds no mapping of sections (`key: value`)")
        return self._mapping(node, (), 0)

    def _mapping(self, node: yaml.MappingNode, place: Place, depth: int) -> dict[str, Any]:
        """Return a mapping; its own keys win over those that it merges (`<<`)."""
        if node.tag != f"{_TAG}map":
            raise _DamageError(node, f"the tag {_shown(node.tag)} is not understood here")
        own: dict[str, tuple[yaml.Node, yaml.Node]] = {}
        found: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = self._key(key_node)
            if key in own:
                raise _DamageError(
                    key_node,
                    f"key {printable(key)!r} stands twice; first on line {_line(own[key][0])}",
                )
            own[key] = key_node, value_node
            if key_node.tag == _MERGE:
                for parent in reversed(tuple(_parents(value_node))):
                    found |= self._mapping(parent, place, self._deeper(parent, depth))
        for key, (key_node, value_node) in own.items():
            if key_node.tag != _MERGE:
                found[key] = self._value(value_node, (*place, key), depth)
                self.lines[*place, key] = _line(key_node)
        return found

    def _value(self, node: yaml.Node, place: Place, depth: int) -> Any:
        depth = self._deeper(node, depth)
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, place, depth)
        if isinstance(node, yaml.SequenceNode):
            if node.tag != f"{_TAG}seq":
                raise _DamageError(node, f"the tag {_shown(node.tag)} is not understood here")
            values = []
            for position, each in enumerate(node.value):
                values.append(self._value(each, (*place, position), depth))
                self.lines[*place, position] = _line(each)
            return values
        return self._scalar(node, place)

    def _deeper(self, node: yaml.Node, depth: int) -> int:
        """Count a value. Aliases may repeat each other, and themselves: both bounds end that."""
        self._left -= 1
        if self._left < 0:
            raise _DamageError(node, _TOO_MANY)
        if depth >= MAX_DEPTH:
            raise _DamageError(
                node, f"is nested more than {MAX_DEPTH} levels deep, or an alias repeats itself"
            )
        return depth + 1

    def _key(self, node: yaml.Node) -> str:
        if not isinstance(node, yaml.ScalarNode):
            raise _DamageError(
                node, "a key is a name; put it in quotes if it begins with a bracket or brace"
            )
        if node.tag in (f"{_TAG}str", _MERGE, _EQUALS):
            return self._string(node)
        kind = _KINDS.get(node.tag.removeprefix(_TAG), "no name")
        raise _DamageError(
            node, f"the key {printable(node.value)} is {kind} to YAML; put it in quotes"
        )

    def _scalar(self, node: yaml.Node, place: Place) -> Any:
        if node.tag in (f"{_TAG}str", _EQUALS):
            return self._string(node, place)
        plain = self._loader.resolve(yaml.ScalarNode, node.value, (True, False))
        if node.tag not in _SCALARS or node.tag != plain:
            raise _DamageError(node, f"the tag {_shown(node.tag)} is not understood here", place)
        number = node.tag in (f"{_TAG}int", f"{_TAG}float")
        try:
            value = self._loader.construct_object(node)
        except ValueError as error:
            what = "such number" if number else "such date"
            raise _DamageError(node, f"there is no {what}: {node.value[:40]}", place) from error
        if number and _OLD_NUMBER.fullmatch(node.value):
            raise _DamageError(
                node,
                f"{node.value} is {value} to YAML, which reads it to base 8 or 60; write it in "
                "decimal digits, or in quotes",
                place,
            )
        return value

    def _string(self, node: yaml.Node, place: Place = ()) -> str:
        text: str = node.value
        if (found := _UNPRINTABLE.search(text)) is not None:
            raise _DamageError(
                node, f"holds the character U+{ord(found[0]):04X}; leave it out", place
            )
        return text


def _parents(node: yaml.Node) -> Iterator[yaml.MappingNode]:
    """Return the mappings that `<<` names: one, or a list of them."""
    for each in node.value if isinstance(node, yaml.SequenceNode) else [node]:
        if not isinstance(each, yaml.MappingNode):
            raise _DamageError(each, "`<<` merges mappings, and this is none")
        yield each


def _shown(tag: str) -> str:
    short = f"!!{tag.removeprefix(_TAG)}" if tag.startswith(_TAG) else tag
    return printable(short[:40])
