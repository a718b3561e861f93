"""Graded prompts: the reviewed files from which the request model learns what is demanding."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from routers.errors import DataError
from routers.request.layout import DOMAINS, KINDS, LEVELS
from routers.types import Conversation, Message, Role

Grade = Annotated[int, Field(ge=1, le=len(LEVELS))]
_Tokens = Annotated[float, Field(gt=0, le=100_000)]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Judgement(_Model):
    """What one reader thought of a prompt."""

    grade: Grade
    kind: str
    domain: str
    tokens: _Tokens

    @model_validator(mode="after")
    def _known(self) -> "Judgement":
        if self.kind not in KINDS:
            raise ValueError(f"unknown kind {self.kind!r}; one of {', '.join(KINDS)}")
        if self.domain not in DOMAINS:
            raise ValueError(f"unknown domain {self.domain!r}; one of {', '.join(DOMAINS)}")
        return self


class _Turn(_Model):
    role: Literal["system", "user", "assistant", "tool"]
    content: str


class _Line(_Model):
    id: str
    theme: str
    language: str
    kind: str
    domain: str
    grade: Grade
    tokens: _Tokens
    second: Judgement | None = None
    tags: tuple[str, ...] = ()
    prompt: str | None = None
    messages: tuple[_Turn, ...] | None = None

    @model_validator(mode="after")
    def _one_text(self) -> "_Line":
        if (self.prompt is None) == (not self.messages):
            raise ValueError("give either 'prompt' or 'messages'")
        return self


@dataclass(frozen=True, slots=True, kw_only=True)
class GradedPrompt:
    """A prompt and what two readers, each by themselves, thought of it."""

    prompt_id: str
    theme: str
    language: str
    tags: tuple[str, ...]
    conversation: Conversation
    judgements: tuple[Judgement, ...]

    @property
    def grade(self) -> float:
        """The mean of the gradings, 1 to 5."""
        return sum(each.grade for each in self.judgements) / len(self.judgements)

    @property
    def text(self) -> str:
        """The newest turn."""
        return self.conversation.messages[-1].text


@dataclass(frozen=True, slots=True)
class Courtesy:
    """Words that people put before or after a request, and that ask for nothing."""

    language: str
    opens: bool
    text: str


def read_courtesies(path: Path) -> list[Courtesy]:
    r"""Read courtesies: tab-separated language, place (`opening` or `closing`) and text.

    `\n` in the text is a line break.

    Raises
    ------
    DataError
        If the file cannot be read or a line is none.
    """
    found = []
    for number, (language, place, text) in enumerate(
        _table(path, ("language", "place", "text")), 2
    ):
        if place not in ("opening", "closing"):
            raise DataError(f"{path}, line {number}: a place is opening or closing, not {place!r}")
        found.append(Courtesy(language, place == "opening", _unescaped(text)))
    return found


@dataclass(frozen=True, slots=True)
class Padding:
    """Words or marks that may stand around any request and change nothing of what it takes."""

    family: str
    language: str
    place: str
    text: str

    def around(self, prompt: str) -> Conversation:
        """Return a conversation that asks for `prompt`, padded."""
        if self.place == "system":
            messages = (Message(Role.SYSTEM, self.text), Message(Role.USER, prompt))
            return Conversation(messages)
        if self.place == "around":
            return Conversation.of(self.text.replace("{}", prompt))
        before, after = (self.text, prompt) if self.place == "opening" else (prompt, self.text)
        return Conversation.of(before + ("" if after.startswith("\n") else " ") + after)


def read_paddings(path: Path) -> list[Padding]:
    r"""Read paddings: tab-separated family, language, place and text, line breaks as `\n`.

    Raises
    ------
    DataError
        If the file cannot be read or a line is none.
    """
    found = []
    for number, (family, language, place, text) in enumerate(
        _table(path, ("family", "language", "place", "text")), 2
    ):
        if place not in ("opening", "closing", "around", "system"):
            raise DataError(f"{path}, line {number}: unknown place {place!r}")
        if ("{}" in text) != (place == "around"):
            raise DataError(f"{path}, line {number}: {{}} belongs into what stands around, only")
        found.append(Padding(family, language, place, _unescaped(text)))
    return found


def read_paraphrases(path: Path) -> dict[str, str]:
    r"""Read other wordings of graded prompts by the id of each: tab-separated, breaks as `\n`.

    Raises
    ------
    DataError
        If the file cannot be read or is no such table.
    """
    return {key: _unescaped(text) for key, text in _table(path, ("id", "paraphrase"))}


def read_openers(path: Path) -> dict[str, list[tuple[str, ...]]]:
    """Read groups of words that begin requests and ask for the same, by language.

    Raises
    ------
    DataError
        If the file cannot be read or is no such table.
    """
    found: dict[str, list[tuple[str, ...]]] = {}
    for language, openers in _table(path, ("language", "openers")):
        found.setdefault(language, []).append(tuple(openers.split("|")))
    return found


def _unescaped(text: str) -> str:
    return text.replace("\\n", "\n")


def read_graded(path: Path) -> list[GradedPrompt]:
    """Read a file of graded prompts, one JSON object a line.

    Raises
    ------
    DataError
        If the file cannot be read or a line is no graded prompt; the message names the line.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read ({error})") from error
    prompts = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            parsed = _Line.model_validate(json.loads(line))
            own = Judgement(
                grade=parsed.grade, kind=parsed.kind, domain=parsed.domain, tokens=parsed.tokens
            )
        except (ValueError, ValidationError) as error:
            reason = " ".join(str(error).split())
            raise DataError(f"{path}, line {number}: {reason}") from error
        prompts.append(
            GradedPrompt(
                prompt_id=parsed.id,
                theme=parsed.theme,
                language=parsed.language,
                tags=parsed.tags,
                conversation=_conversation(parsed),
                judgements=(own,) if parsed.second is None else (own, parsed.second),
            )
        )
    return prompts


def read_judgements(path: Path) -> dict[str, Judgement]:
    """Read judgements of prompts that are kept elsewhere: tab-separated, by id.

    Raises
    ------
    DataError
        If the file cannot be read or a line is no judgement.
    """
    rows = _table(path, ("id", "grade", "kind", "domain", "tokens"))
    found = {}
    for number, (prompt_id, grade, kind, domain, tokens) in enumerate(rows, 2):
        try:
            found[prompt_id] = Judgement.model_validate(
                {"grade": int(grade), "kind": kind, "domain": domain, "tokens": float(tokens)}
            )
        except ValueError as error:
            reason = " ".join(str(error).split())
            raise DataError(f"{path}, line {number}: {reason}") from error
    return found


_REMARK = re.compile(r"\s*\(.*?\)")


def read_lexicon(path: Path) -> dict[str, str]:
    """Read which English word the forms of other languages stand for, in lower case.

    The first column is English, remarks in brackets aside; each further one is a language, its
    forms separated by bars. Where two English words claim a form, the first keeps it.

    Raises
    ------
    DataError
        If the file cannot be read or a line has another number of columns than the first.
    """
    entries: dict[str, str] = {}
    for label, *cells in _table(path, None):
        english = _REMARK.sub("", label)
        for cell in cells:
            for form in cell.split("|"):
                if form.strip():
                    entries.setdefault(form.strip().lower(), english)
    return entries


def _table(path: Path, columns: Sequence[str] | None) -> list[list[str]]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read ({error})") from error
    rows = [line.split("\t") for line in lines if line]
    head = rows[0] if rows else []
    if columns is not None and tuple(head) != tuple(columns):
        raise DataError(f"{path}: the first line must name the columns {', '.join(columns)}")
    for number, row in enumerate(rows, 1):
        if len(row) != len(head):
            raise DataError(f"{path}, line {number}: {len(row)} columns instead of {len(head)}")
    return rows[1:]


def _conversation(line: _Line) -> Conversation:
    if line.messages:
        return Conversation(
            messages=tuple(Message(Role(each.role), each.content) for each in line.messages)
        )
    return Conversation.of(line.prompt or "")
