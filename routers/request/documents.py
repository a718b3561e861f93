"""The documents that a request brings, apart from what it asks: retrieved, attached, pasted.

A text that somebody else wrote must not say which model reads it. What is set apart here is read by
its numbers alone (`routers.text.document_signals`); marks are therefore read such that nothing
within a document ends it: it reaches from the first opening mark to the last closing one.
"""

import re
from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

from routers.request.split import READ_CHARS, is_code, split_request
from routers.text.conversation import conversation_text, newest_user_turn
from routers.text.document_signals import measure_documents
from routers.types import Conversation, Document, Message, Role

UNSPOKEN = "What do these documents say?"
"""What is asked by documents that nobody says a word about."""

MAX_DOCUMENTS = 1_000
"""More are not told apart."""

_FEWEST_CHARS = 200
"""A shorter text under a heading or between quotes is what somebody says."""

_UNMARKED_CHARS = 600
"""Nor is less material taken for a document where no mark sets it apart."""

_LINE_CHARS = 60
"""Lines of programs and tables are shorter."""

_ONE = r"(?:document|doc|passage|chunk|snippet|excerpt|search_result|source|reference)"
_NAMES = rf"(?:{_ONE}s?|context|retrieved_\w{{1,20}}|search_results|knowledge(?:_base)?)"
_OPENING = re.compile(rf"<{_NAMES}(?:\s[^<>]{{0,200}})?>", re.IGNORECASE)
_CLOSING = re.compile(rf"</{_NAMES}\s*>", re.IGNORECASE)
_ONE_OPENING = re.compile(
    r"<(?:document|doc|passage|chunk|snippet|excerpt|search_result)(?:\s[^<>]{0,200})?>",
    re.IGNORECASE,
)
_TAG = re.compile(r"</?[a-zA-Z_][\w-]{0,30}(?:\s[^<>]{0,200})?>")
_MARKS = r"[ \t#>*\[\(]{0,8}"
_NUMBER = r"(?:[ \t]{0,2}[\[\(#]?\d{1,3}[\]\)]?)?"
_HEADING = re.compile(
    rf"^{_MARKS}(?:(?:retrieved|relevant|supporting|background|reference|search)[ \t]+)?"
    r"(?:context(?:[ \t]+information)?|documents?|passages?|sources?|references?|results?|excerpts?"
    rf"|snippets?|knowledge)(?:[ \t]+(?:is|are)[ \t]+(?:given[ \t]+)?below)?{_NUMBER}"
    r"[\]\)*]{0,4}[ \t]{0,2}[:.]",
    re.IGNORECASE | re.MULTILINE,
)
_ONE_HEADING = re.compile(
    r"^[ \t#>*]{0,8}(?:[\[\(]?(?:document|passage|source|result|excerpt|snippet|context)[ \t]{0,2}"
    r"[\[\(#]?\d{1,3}[\]\)]?[*]{0,2}[ \t]{0,2}[:.\])]|\[\d{1,3}\])",
    re.IGNORECASE | re.MULTILINE,
)
_QUESTION = re.compile(
    rf"^{_MARKS}(?:user(?:'s)?[ \t]+)?(?:question|query|task|request)[\]\)*]{{0,4}}[ \t]{{0,2}}:",
    re.IGNORECASE | re.MULTILINE,
)
_SPEAKS_OF_A_QUESTION = re.compile(r"\b(?:question|query|answer|asked)\b", re.IGNORECASE)
_ASKING = ("?", "？", "؟")
_BLANK = re.compile(r"\n\s*\n")
_QUOTES = '"""'
_MAX_ASK_CHARS = 400


class Cut(NamedTuple):
    """A text in two: what is said in it, and the documents that it holds."""

    said: str
    documents: tuple[str, ...]


def set_apart(conversation: Conversation) -> Conversation:
    """Return a conversation without the text of any document, which tells what all come to.

    * Results of tools leave the messages; those after the newest answer, or after the newest user
      turn, are documents of this request.
    * What tags, headings of templates or triple quotes set apart leaves the messages of users and
      systems; of earlier turns it is dropped. Of the newest turn long prose counts as a document
      beside what is asked, too, where nothing marks it.
    * What was declared beside the messages is a document already.
    """
    if conversation.numbers is not None:
        return conversation
    messages = conversation.messages
    newest = newest_user_turn(messages) if messages else 0
    answered = max((i for i, m in enumerate(messages) if m.role is Role.ASSISTANT), default=-1)
    said: list[Message] = []
    found: list[str] = []
    for place, message in enumerate(messages):
        counts = place >= newest or place > answered or message.role is Role.SYSTEM
        if message.role is Role.TOOL:
            if counts:
                found.append(message.text)
            continue
        if message.role is Role.ASSISTANT:
            said.append(message)
            continue
        cut = cut_documents(message.text, unmarked=place == newest)
        if cut is None:
            said.append(message)
            continue
        said.append(Message(message.role, cut.said or UNSPOKEN))
        if counts:
            found += cut.documents
    documents = (*conversation.documents, *map(Document, found))[:MAX_DOCUMENTS]
    rest = replace(conversation, messages=tuple(said), documents=())
    numbers = measure_documents(conversation_text(rest).prompt, documents)
    return replace(rest, numbers=numbers)


def cut_documents(text: str, *, unmarked: bool = False) -> Cut | None:
    """Cut the documents out of a text; None where it holds none.

    Parameters
    ----------
    unmarked
        Whether long prose counts that nothing but its length tells from what is asked. Where such
        a text ends in a question, that is taken for the request's.
    """
    for cut in _BY_MARKS:
        found = cut(text)
        if found is not None:
            return found
    return _by_length(text) if unmarked else None


def _by_tags(text: str) -> Cut | None:
    if "</" not in text:
        return None
    opening = _OPENING.search(text)
    if opening is None:
        return None
    closing = None
    for closing in _CLOSING.finditer(text, opening.end()):  # noqa: B007  (the last is wanted)
        pass
    if closing is None:
        return None
    within = text[opening.start() : closing.end()]
    starts = [each.start() for each in _ONE_OPENING.finditer(within)][:MAX_DOCUMENTS]
    pieces = _between(within, starts or [0])
    return _cut(text, opening.start(), closing.end(), [_TAG.sub(" ", each) for each in pieces])


def _by_heading(text: str) -> Cut | None:
    if ":" not in text and "." not in text:
        return None
    heading = _HEADING.search(text)
    if heading is None or len(text) - heading.end() < _FEWEST_CHARS:
        return None
    end = _end_of_context(text, heading)
    within = text[heading.start() : end]
    if len(within) < _FEWEST_CHARS:
        return None
    starts = [each.start() for each in _ONE_HEADING.finditer(within)][:MAX_DOCUMENTS]
    pieces = _between(within, starts) if starts else [within[heading.end() - heading.start() :]]
    return _cut(text, heading.start(), end, pieces)


def _end_of_context(text: str, heading: re.Match[str]) -> int:
    """Return where what stands under the heading of a template ends.

    What is asked stands before it, or last: within the documents it is not looked for.
    """
    before = text[: heading.start()]
    if _QUESTION.search(before) or before.rstrip().endswith(_ASKING):
        return len(text)
    last = None
    for last in _QUESTION.finditer(text, heading.end()):  # noqa: B007  (the last is wanted)
        pass
    if last is not None:
        return last.start()
    if before.strip() and not _SPEAKS_OF_A_QUESTION.search(before):
        return len(text)
    blanks = [*_BLANK.finditer(text, heading.end())]
    if blanks and 0 < len(text[blanks[-1].end() :].strip()) <= _MAX_ASK_CHARS:
        return blanks[-1].start()
    return len(text)


def _by_quotes(text: str) -> Cut | None:
    start, end = text.find(_QUOTES), text.rfind(_QUOTES)
    if end - start < _FEWEST_CHARS or is_code(text[:start]):
        return None
    end += len(_QUOTES)
    return _cut(text, start, end, [text[start:end].strip('"')])


_BY_MARKS: tuple[Callable[[str], Cut | None], ...] = (_by_tags, _by_heading, _by_quotes)


def _by_length(text: str) -> Cut | None:
    if len(text) < _UNMARKED_CHARS:
        return None
    request = split_request(text)
    material = request.material
    lines = material.count("\n") + 1
    is_prose = len(material) >= _LINE_CHARS * lines and not is_code(material[:READ_CHARS])
    if len(material) < _UNMARKED_CHARS or not is_prose:
        return None
    return Cut(request.ask, (material,))


def _between(text: str, starts: list[int]) -> list[str]:
    """Return the pieces that begin at some places; what stands before the first is left out."""
    return [text[start:end] for start, end in zip(starts, [*starts[1:], len(text)], strict=True)]


def _cut(text: str, start: int, end: int, pieces: list[str]) -> Cut:
    said = f"{text[:start].rstrip()}\n\n{text[end:].lstrip()}".strip()
    return Cut(said, tuple(each.strip() for each in pieces if each.strip()))
