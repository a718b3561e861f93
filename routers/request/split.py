"""The request apart from the material that it is about."""

import re
from typing import NamedTuple

from routers.text.window import head_and_tail

READ_CHARS = 6_000
"""Of a longer prompt, head and tail of that many characters are looked at."""

_SHORT_CHARS = 240
"""A text of that length is a request as it stands, unless a mark sets something apart."""

_REQUEST_CHARS = 400
"""No longer paragraph is taken for a request as a whole."""

_LONE_CHARS = 500
"""Nor longer text without paragraphs."""

_MOST_MARKS = 200
"""More opening marks than that set nothing apart, and would take long to pair."""

_SENTENCE_CHARS = 300
_FEWEST_CHARS = 8
"""Less beside quotations and programs asks for nothing."""

_COLON_CHARS = 200
"""How far into a text or a paragraph the colon may come that announces material."""

_FENCE = re.compile("```|~~~")
_TAGGED = re.compile(r"<([a-zA-Z_][\w-]{1,30})>.*?</\1>", re.DOTALL)
_QUOTE = re.compile(
    r'"[^"\n]{40,}"|“[^“”]{40,}”|„[^„“”]{40,}[“”]|«[^«»]{40,}»|「[^「」]{20,}」|『[^『』]{20,}』'
)
_PARAGRAPHS = re.compile(r"\n\s*\n")
_COLON = re.compile(r"[:：](?=\s|[\"“„«「『'])|：")
_SENTENCE_END = re.compile(r"[.!?…](\s+)(?=\S)|[。！？]")
_CODE_MARKS = b"{}[]();=<>_#$\\|&*/+"
_CODE_SHARE = 0.07
_ASKING = "?？؟"
_QUESTION_MARKS = ("?", "？", "؟", '?"', "?)")


UNSPOKEN = "Explain this program and fix what is wrong with it"
"""What is asked by a program that nobody says a word about."""

_FEWEST_WORDS = 3
_STATEMENT = re.compile(
    r"[#/*@<{}()\[\]$&|;.\-+=]|import |from \w+ import|def |class |return\b|else\b|elif "
    r"|print\b|end\b|(?:for|if|while)\b.*[:({]|var |let |const |fn |func |function "
    r"|public |private |static |select .* from |insert into |update .* set |create table ",
    re.IGNORECASE,
)
_STATEMENT_ENDS = (";", "{", "}", "(", ")", "[", "]", ",", "=", "\\", "->", "=>", "|", "&&")


class Request(NamedTuple):
    """A prompt in two: what is asked, and what it is asked of."""

    ask: str
    material: str


def split_request(prompt: str) -> Request:
    """Tell the request from pasted material: text, code, tables, quotations.

    People say what they want in the first or the last lines, in a question, or before a colon,
    and paste the rest. Fences, tags and long quotations are material wherever they stand. A
    wrong cut costs little: readers look at both parts.
    """
    head, tail = head_and_tail(prompt.strip(), READ_CHARS)
    text = f"{head}\n\n{tail}" if tail else head
    material: list[str] = []
    for marks, find in _SET_APART:
        if any(map(text.__contains__, marks)) and text.count(marks[0]) <= _MOST_MARKS:
            spans = find(text)
            rest = " … ".join(_between(text, spans))
            # What is nothing but a quotation is itself what is asked.
            if spans and len(rest.strip(" …\n\"'.")) >= _FEWEST_CHARS:
                material += [text[start:end] for start, end in spans]
                text = rest.strip()
            elif spans and find is fenced and any(map(str.isalnum, text)):
                return Request(UNSPOKEN, text)
    paragraphs = [each for each in _PARAGRAPHS.split(text) if each.strip()]
    if len(paragraphs) > 1:
        ask, more = _of_paragraphs(paragraphs)
    else:
        ask, more = _of_paragraph(text)
    material += more
    return Request(" ".join(ask.split()), "\n".join(material))


def fenced(text: str) -> list[tuple[int, int]]:
    """Find what stands between fences of one kind, or between the last one and the end."""
    spans: list[tuple[int, int]] = []
    end = 0
    while (opening := _FENCE.search(text, end)) is not None:
        close = text.find(opening.group(), opening.end())
        end = len(text) if close < 0 else close + len(opening.group())
        spans.append((opening.start(), end))
    return spans


def _tagged(text: str) -> list[tuple[int, int]]:
    return [found.span() for found in _TAGGED.finditer(text)]


def _quoted(text: str) -> list[tuple[int, int]]:
    return [found.span() for found in _QUOTE.finditer(text)]


_SET_APART = (
    (("```", "~~~"), fenced),
    (("<",), _tagged),
    (('"', "“", "„", "«", "「", "『"), _quoted),
)
"""Marks of which one must stand in a text, and what then finds the parts that are set apart."""


def _between(text: str, spans: list[tuple[int, int]]) -> list[str]:
    """Return what stands before, between and behind some parts of a text."""
    starts = [0, *(end for _, end in spans)]
    ends = [*(start for start, _ in spans), len(text)]
    return [text[start:end] for start, end in zip(starts, ends, strict=True)]


def _of_paragraphs(paragraphs: list[str]) -> tuple[str, list[str]]:
    """Split a text of several paragraphs."""
    if sum(map(len, paragraphs)) <= _SHORT_CHARS and not any(map(is_code, paragraphs)):
        return "\n".join(paragraphs), []
    last = len(paragraphs) - 1
    programs = [*map(is_code, paragraphs)]
    if any(programs):
        # Beside a program, single statements belong to it.
        programs = [
            code or not any(map(_speaks, paragraph.split("\n")))
            for code, paragraph in zip(programs, paragraphs, strict=True)
        ]
    if all(programs):
        return UNSPOKEN, paragraphs
    announced = _announces(paragraphs[0]) and not programs[0]
    asks: list[str] = []
    material: list[str] = []
    for number, paragraph in enumerate(paragraphs):
        is_ask = (
            len(paragraph) <= _REQUEST_CHARS
            and not programs[number]
            and (
                number == 0
                or (
                    paragraph.rstrip().endswith(_QUESTION_MARKS)
                    and (number == last or not announced)
                )
                or (number == last and not announced and (not asks or _is_prose(paragraph)))
            )
        )
        if is_ask:
            ask, more = _of_paragraph(paragraph)
            asks.append(ask)
            material += more
        else:
            material.append(paragraph)
    if asks:
        return "\n".join(asks), material
    # Long paragraphs only: the first says what is wanted, unless it is a program.
    if programs[0]:
        ask, more = _of_program(paragraphs[-1]) or _of_paragraph(paragraphs[-1])
        return ask, paragraphs[:-1] + more
    ask, more = _of_paragraph(paragraphs[0])
    question = _last_question(paragraphs[-1])
    return (f"{ask} {question}" if question else ask), more + paragraphs[1:]


def _of_paragraph(text: str) -> tuple[str, list[str]]:
    """Split one paragraph: around a program, at a colon, after a line, or around its middle."""
    for cut in (_of_program, _at_colon, _at_line, _around_middle):
        found = cut(text)
        if found is not None:
            return found
    return text, []


def _at_colon(text: str) -> tuple[str, list[str]] | None:
    start = text[:_COLON_CHARS]
    if ":" not in start and "：" not in start:  # found much faster than the pattern
        return None
    colon = _COLON.search(text, 0, _COLON_CHARS)
    if colon is None:
        return None
    before, after = text[: colon.start()], text[colon.end() :].strip()
    inline = text[colon.end() : colon.end() + 1] != "\n" and len(text) <= _REQUEST_CHARS
    longer = len(after) > max(60, len(before) * (3 if inline else 1))
    if len(before) < 8 or not longer or (inline and any(mark in after for mark in _ASKING)):
        return None
    question = _last_question(after)
    if question:
        return f"{before} {question}", [after[: len(after) - len(question)]]
    return before, [after]


def _at_line(text: str) -> tuple[str, list[str]] | None:
    first, newline, rest = text.partition("\n")
    if not newline:
        return None
    if len(rest) > max(2 * len(first), _SHORT_CHARS) and len(first) >= 12:
        question = _last_question(rest)
        return (f"{first} {question}", [rest]) if question else (first, [rest])
    return None


def _of_program(text: str) -> tuple[str, list[str]] | None:
    """Split a program from the lines of prose before and after it; None where it is no program."""
    if "\n" not in text or not is_code(text):
        return None
    lines = [line for line in text.split("\n") if line.strip()]
    first, last = 0, len(lines)
    while first < last and _speaks(lines[first]):
        first += 1
    while last > first and _speaks(lines[last - 1]):
        last -= 1
    said = [line[:_SENTENCE_CHARS] for line in (*lines[:first], *lines[last:])]
    return (" ".join(said) or UNSPOKEN), ["\n".join(lines[first:last])]


def _speaks(line: str) -> bool:
    """Return whether a line beside a program is prose: words, no statement, few marks."""
    line = line.strip()
    if line.endswith(_QUESTION_MARKS):
        return True
    return (
        not line.endswith(_STATEMENT_ENDS)
        and _n_code_marks(line) <= _CODE_SHARE * len(line)
        and _STATEMENT.match(line) is None
        and (line.count(" ") >= _FEWEST_WORDS - 1 or not line.isascii())
    )


def _around_middle(text: str) -> tuple[str, list[str]] | None:
    if len(text) <= _LONE_CHARS:
        return None
    sentences = [each for each in cut_sentences(text) if each.strip()]
    if len(sentences) < 5:
        start, end = head_and_tail(text, _LONE_CHARS)
        return f"{start} {end}", [text]
    # The first words may be no more than a greeting, the last a farewell: take two of each.
    ends = [*(each[:_SENTENCE_CHARS] for each in sentences[:2])]
    ends += [each[-_SENTENCE_CHARS:] for each in sentences[-2:]]
    return " ".join(ends), [" ".join(sentences[2:-2])]


def cut_sentences(text: str) -> list[str]:
    """Cut behind marks that end sentences, in the place of white space where it follows.

    Behind a full-width mark at the end stands one more, which is empty.
    """
    # A pattern that begins with the marks is tried at these only, and not at every character.
    sentences: list[str] = []
    start = 0
    for end in _SENTENCE_END.finditer(text):
        cut = end.start(1)
        sentences.append(text[start : cut if cut >= 0 else end.end()])
        start = end.end()
    sentences.append(text[start:])
    return sentences


def _last_question(text: str) -> str:
    stripped = text.rstrip()
    if not stripped.endswith(_QUESTION_MARKS):
        return ""
    sentences = cut_sentences(stripped)
    last = sentences[-1]
    # Only where something stands before it: a lone question is what was announced.
    return last if len(sentences) > 1 and len(last) <= _SENTENCE_CHARS else ""


def _announces(paragraph: str) -> bool:
    return paragraph.rstrip().endswith((":", "："))


def _is_prose(paragraph: str) -> bool:
    """Return whether a paragraph reads like a sentence: no signature, no row of numbers."""
    if not paragraph.rstrip().endswith((".", "!", "。", "！")):
        return False
    return sum(map(str.isdigit, paragraph)) < 0.1 * len(paragraph)


def is_code(paragraph: str) -> bool:
    """Return whether a paragraph reads like a program, by the marks in it."""
    marks = _n_code_marks(paragraph)
    return marks > _CODE_SHARE * len(paragraph) and ("\n" in paragraph or marks > 12)


def _n_code_marks(text: str) -> int:
    # Bytes, because of other texts than ASCII every character would be looked up by itself.
    data = text.encode("utf-8", "surrogatepass")
    return len(data) - len(data.translate(None, _CODE_MARKS))
