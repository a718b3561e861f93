"""What is wrong with a text that is no YAML, told to whoever wrote it."""

import re
from collections.abc import Mapping

import yaml

_TABBED = re.compile(r"[ \t]*\t[ \t]*[^ \t#\r\n]")
"""A line whose indentation holds a tab."""


_WORDS: Mapping[str, str] = {
    "flow mapping": "line {began}: the `{{` that opens here is not closed before line {line}",
    "flow sequence": "line {began}: the `[` that opens here is not closed before line {line}",
    "unknown escape": "line {line}: no such escape in double quotes; use single ones",
    "quoted scalar": "line {began}: the quote that opens here is not closed",
    "another document": "line {line}: a second document begins (`---`); one file holds one",
    "mapping values are not allowed": (
        "line {line}: a colon too much, or indented too far; put values that hold `: ` in quotes"
    ),
    "cannot start any token": (
        "line {line}: nothing can begin with `{character}`; put it in quotes"
    ),
    "undefined alias": "line {line}: the alias names no anchor (`&name`) above it",
    "could not find expected ':'": "line {began}: a key without its colon, or text without quotes",
    "expected the node content": "line {line}: a value is missing before `{character}`",
    "sequence entries are not": "line {line}: an item of a list (`- `) where none can stand",
    "mapping keys are not": "line {line}: nothing can begin with `?` here; put it in quotes",
    "chomping|a comment or a line break": (
        "line {line}: behind `|` and `>` the text begins on the next line; else put it in quotes"
    ),
    "alphabetic or numeric": (
        "line {line}: `&`, `*` and `%` mean something to YAML; put the text in quotes"
    ),
    "block (mapping|collection)": (
        "line {line}: is indented otherwise than its neighbours, which begin on line {began}"
    ),
}
"""Our words for those of the parser, by what is found in them; the first that fits."""


def said_of_syntax(error: yaml.YAMLError, text: str) -> str:
    """Return line and reason, without the words of the parser where there are better ones."""
    if isinstance(error, yaml.reader.ReaderError):
        line = text.count("\n", 0, error.position) + 1
        character = error.character if isinstance(error.character, int) else ord(error.character)
        hint = " (is it UTF-16?)" if character == 0 else ""
        return f"line {line}: the character U+{character:04X} cannot stand in YAML{hint}"
    if not isinstance(error, yaml.MarkedYAMLError) or error.problem_mark is None:
        return f"not valid YAML: {' '.join(str(error).split())}"
    line = error.problem_mark.line + 1
    began = line if error.context_mark is None else error.context_mark.line + 1
    problem, context = error.problem or "", error.context or ""
    lines = text.splitlines()
    for number in range(min(began, line), min(line, len(lines)) + 1):
        if _TABBED.match(lines[number - 1]):
            return f"line {number}: is indented by a tab; YAML wants blanks"
    mark = error.problem_mark
    found = {"line": line, "began": began, "character": text[mark.index : mark.index + 1]}
    said = f"{context} {problem}"
    return next(
        (words.format(**found) for pattern, words in _WORDS.items() if re.search(pattern, said)),
        f"line {line}: not valid YAML: {problem}",
    )
