"""Graded prompts in other dress and other words, which take as much as they did."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import msgspec
import numpy as np

from routers.data.graded import Courtesy, GradedPrompt, Judgement
from routers.text.conversation import ConversationText, conversation_text

_PADDED_SHARE = 0.5
_TYPO_SHARE = 0.3
_REWORDED_SHARE = 0.6
_MISTYPED_CHARS = 600
"""Of our own prompts, how many stand among the rows again: padded with courtesies, mistyped, or
in other words."""

_COURTESY_CHARS, _CHAT_TOKENS = 30, 25
"""Courtesies so short are answered in so many tokens."""

_LATIN = re.compile(r"[a-z]")
_DROPPED_WORDS = 0.15
_FEWEST_WORDS = 4
"""Of longer prompts, words are left out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """A text and what readers thought of it."""

    text: ConversationText
    judgements: tuple[Judgement, ...]
    theme: str
    """What stands together in one fold."""
    language: str = ""

    @property
    def grade(self) -> float:
        """The mean of the gradings."""
        return sum(each.grade for each in self.judgements) / len(self.judgements)

    @classmethod
    def of(cls, prompt: GradedPrompt) -> "Judged":
        """Take a graded prompt of the reviewed files."""
        return cls(
            text=conversation_text(prompt.conversation),
            judgements=prompt.judgements,
            theme=prompt.theme,
            language=prompt.language,
        )


def alone(courtesies: Sequence[Courtesy]) -> list[Judged]:
    """Return short courtesies as what they are by themselves: trivial."""
    judgement = Judgement(grade=1, kind="chat", domain="everyday", tokens=_CHAT_TOKENS)
    return [
        Judged(
            text=ConversationText(prompt=each.text),
            judgements=(judgement,),
            theme=f"courtesies, {each.language}",
            language=each.language,
        )
        for each in courtesies
        if len(each.text) <= _COURTESY_CHARS
    ]


def padded(
    own: Sequence[Judged], courtesies: Sequence[Courtesy], rng: np.random.Generator
) -> list[Judged]:
    """Return some prompts again, with courtesies around them or with typing errors."""
    by_place: dict[tuple[str, bool], list[str]] = {}
    for each in courtesies:
        by_place.setdefault((each.language, each.opens), []).append(each.text)
    out = []
    for judged in own:
        prompt = judged.text.prompt
        texts = []
        opening, closing = (
            str(rng.choice(by_place.get((judged.language, opens), [""]))) for opens in (True, False)
        )
        if rng.random() < _PADDED_SHARE and (opening or closing):
            which = rng.integers(3)
            before = f"{opening} " if which != 1 else ""
            texts.append(f"{before}{prompt}" + (f" {closing}" if which != 0 else ""))
        if rng.random() < _TYPO_SHARE and len(prompt) < _MISTYPED_CHARS:
            texts.append(with_typos(prompt, rng))
        out += [
            replace(judged, text=msgspec.structs.replace(judged.text, prompt=text))
            for text in texts
        ]
    return out


def reworded(
    own: Sequence[Judged],
    openers: Mapping[str, Sequence[tuple[str, ...]]],
    rng: np.random.Generator,
) -> list[Judged]:
    """Return some prompts again, begun in other words and without some of their words.

    What a request takes does not hang on any single word: nor may its level.
    """
    out = []
    for judged in own:
        prompt = judged.text.prompt
        if rng.random() >= _REWORDED_SHARE or len(prompt) > _MISTYPED_CHARS:
            continue
        text = _begun_otherwise(prompt, openers.get(judged.language, ()), rng)
        words = text.split(" ")
        if len(words) > _FEWEST_WORDS:
            kept = [word for word in words if rng.random() >= _DROPPED_WORDS]
            text = " ".join(kept)
        if text not in (prompt, ""):
            out.append(replace(judged, text=msgspec.structs.replace(judged.text, prompt=text)))
    return out


def _begun_otherwise(
    text: str, openers: Sequence[tuple[str, ...]], rng: np.random.Generator
) -> str:
    lowered = text.lower()
    found = [
        (len(opener), group)
        for group in openers
        for opener in group
        if lowered.startswith(opener.lower()) and not _LATIN.match(lowered, len(opener))
    ]
    if not found:
        return text
    length, group = max(found, key=lambda each: each[0])
    return f"{rng.choice(group)}{text[length:]}"


def with_typos(text: str, rng: np.random.Generator) -> str:
    """Swap or drop a letter in about one word of eight."""
    words = text.split(" ")
    for i, word in enumerate(words):
        if len(word) > 3 and word.isalpha() and rng.random() < 0.12:
            at = int(rng.integers(1, len(word) - 1))
            swapped = word[:at] + word[at + 1] + word[at] + word[at + 2 :]
            words[i] = swapped if rng.random() < 0.5 else word[:at] + word[at + 1 :]
    return " ".join(words)
