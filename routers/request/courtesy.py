"""Polite words around a request, which ask for nothing."""

import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Self

import numpy as np

from routers.options import State, packed_lines, take, take_lines
from routers.request.words import TOKEN

_NEAR_CHARS, _WINDOW_CHARS = 60, 480
"""That much of either end of a text is read first, and at most."""

_LINE_CHARS = 60
_SALUTATION_ENDS = ",!:，！：様"
_COMMAS = ",，"
_MOST_SIGNED, _MOST_SIGNED_WORDS = 3, 8
"""A letter greets and signs in lines no longer than that, with that many lines of names."""

_LOST = 5.0
"""So far below the best cut, in log odds, nobody looks on: what comes is the request."""

_AFTER_SENTENCE, _AFTER_CLAUSE, _AFTER_WORD = 0.0, 1.2, 5.0
"""What a cut has to make up for that follows a sentence, a comma, or a word without a mark."""

_CAPITAL = 2.0
"""A capital letter after a word without a mark speaks for a cut between them."""

_SENTENCE_MARKS = frozenset('.!?;…。！？；*>"”»」')
_CLAUSE_MARKS = frozenset(":：),，、،-–—")
_TIGHT_MARKS = frozenset("。！？；：，、…")
"""Marks after which no space stands."""

_OPENING = re.compile(
    r"(?:(?:but|so|and) )?(?:(?:could|can|would|will) (?:you|u) (?:please |pls |kindly )?"
    r"(?:help me (?:to |with )?)?|please,? |pls |plz |kindly |i (?:want|need) you to "
    r"|i(?:['’]d| would) (?:really )?like you to |bitte |k[oö]nntest du (?:mir )?(?:bitte )?"
    r"|kannst du (?:mir )?(?:bitte )?|k[oö]nnt?en sie (?:mir )?(?:bitte )?"
    r"|s['’]il (?:te|vous) pla[iî]t,? |(?:peux|pourrais)-tu |(?:pouvez|pourriez)-vous "
    r"|¿?(?:me )?(?:puedes|podrías) |por favor,? |(?:mi )?(?:puoi|potresti) |per favore,? "
    r"|você (?:pode|poderia) |(?:kun|zou) je |alsjeblieft,? |пожалуйста,? "
    r"|не мог(?:ли)? бы (?:ты|вы) |proszę,? |lütfen |कृपया |من فضلك،? )",
    re.IGNORECASE,
)
_THANKS = (
    "please|pls|plz|thanks|thank you|thank u|thx|ty|danke|vielen dank|merci|gracias|grazie"
    "|obrigado|obrigada|bedankt|dank je|dank u|спасибо|dzięki|dzieki|dziękuję|teşekkürler|شكرا"
    "|شكراً|धन्यवाद|谢谢|多谢|ありがとうございます|감사합니다|bitte|svp|stp|por favor"
    "|s'il te plaît|s'il vous plaît|per favore|alsjeblieft|пожалуйста|proszę|lütfen|من فضلك"
)
_HOW_MUCH = (
    "so much|very much|a lot|sehr|beaucoup|mille|wel|большое|in advance|im voraus|d'avance"
    "|de antemano|in anticipo|desde já|заранее"
)
_ENDING = re.compile(
    rf"[,،]? *(?:(?<!\w)|(?<=[\u3040-\u9fff\uac00-\ud7af]))(?:{_THANKS})"
    rf"(?: (?:{_HOW_MUCH}))*[ .!。！]*$",
    re.IGNORECASE,
)
_LAST_WORDS = (*_THANKS.split("|"), *_HOW_MUCH.split("|"))
"""The politest words ask for nothing wherever they begin or end a text."""

_ALPHANUMERIC = re.compile(r"[^\W_]")
_ENDING_CHARS, _LAST_CHARS = 60, 24

_QUOTED = ('"', "”", "“", "»", "」", "』", "`", "}", "]", ">")
"""What ends so ends with material."""

_SILENT = (
    _SENTENCE_MARKS | _CLAUSE_MARKS | frozenset("'’\"“„«(¿¡`<#_[]{}=+/|\\&%$")
)  # marks ask for nothing
_EDGE = "\x02"
"""Stands before the first word of a text and after the last."""

_STEM = 5
_MOST_TERMS = 40_000
_FEWEST = 2
_LEAST_WEIGHT = 0.1
_STRENGTH = 10.0
_DOUBT, _UNKNOWN = 0.6, -0.6
"""Words of which little or nothing is known speak for a request."""

_LEARNED_CHARS = 160
"""That much of either end of a prompt is learned from."""


class CourtesyModel:
    """Tell courtesies from requests, word by word.

    Every word speaks for or against a courtesy: by itself, by its beginning and with each of its
    neighbours. A text is cut where the words before (or after) it speak for courtesy most.

    Parameters
    ----------
    terms
        Words, pairs of neighbours, and beginnings.
    weights
        The log odds of a courtesy that each adds.
    bias
        The log odds of a word of which nothing is known.

    References
    ----------
    Ratnaparkhi 1996, A maximum entropy model for part-of-speech tagging (words labelled by
    themselves and their neighbours).
    """

    def __init__(self, terms: Sequence[str], weights: Sequence[float], bias: float) -> None:
        self._weights = dict(zip(terms, weights, strict=True))
        self._bias = bias

    @classmethod
    def fit(cls, openings: Iterable[str], closings: Iterable[str], prompts: Iterable[str]) -> Self:
        """Learn from courtesies and from both ends of graded prompts.

        Prompts have courtesies at their ends themselves. A first model leaves these out for the
        second.
        """
        polite = [(_EDGE, text, "") for text in dict.fromkeys(openings)]
        polite += [("", text, _EDGE) for text in dict.fromkeys(closings)]
        asking = list(dict.fromkeys(prompts))
        first = cls._fitted(polite, asking)
        return cls._fitted(polite, [first.strip(text) for text in asking])

    @classmethod
    def _fitted(cls, polite: Sequence[tuple[str, str, str]], asking: Sequence[str]) -> Self:
        from scipy.sparse import csr_matrix  # noqa: PLC0415  (training only)
        from sklearn.linear_model import LogisticRegression  # noqa: PLC0415

        ends = [(_EDGE, text[:_LEARNED_CHARS], "") for text in asking]
        ends += [("", text[-_LEARNED_CHARS:], _EDGE) for text in asking]
        rows = [row for each in polite for row in _terms(*each)]
        n_polite = len(rows)
        rows += [row for each in ends for row in _terms(*each)]
        counts = Counter(term for row in rows for term in row)
        common = sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:_MOST_TERMS]
        number = {term: i for i, (term, n) in enumerate(common) if n >= _FEWEST}
        known = [[number[term] for term in row if term in number] for row in rows]
        at = np.repeat(np.arange(len(rows)), [len(row) for row in known])
        columns = np.array([column for row in known for column in row])
        x = csr_matrix((np.ones(len(at)), (at, columns)), (len(rows), len(number)))
        model = LogisticRegression(C=_STRENGTH, class_weight="balanced", max_iter=500)
        model.fit(x, np.arange(len(rows)) < n_polite)
        # Rounded as they are stored, so that a restored model answers the same.
        weights = model.coef_[0].astype(np.float16).astype(float)
        words = {row[0] for row in rows}
        kept = [t for t, i in number.items() if t in words or abs(weights[i]) >= _LEAST_WEIGHT]
        return cls(
            kept,
            [float(weights[number[term]]) for term in kept],
            float(np.float32(model.intercept_[0] - _DOUBT)),
        )

    def strip(self, text: str) -> str:
        """Return `text` without greetings, thanks and excuses at its ends.

        "Hi! Hope you are well. Could you please sort this list? Thanks in advance!" asks for no
        more than "sort this list?". A text that is nothing but courtesy comes back as it is.
        """
        # Around the politest words there is more, and within.
        rest = self._without_politest(text)
        rest = self._without_politest(self._without_courtesies(rest)).strip(" ,")
        rest = text if rest == text.strip() else rest
        return rest if _ALPHANUMERIC.search(rest) else text

    def _without_courtesies(self, text: str) -> str:
        start = self._salutation(text)
        start += self._head(text[start:] if start else text)
        if start == len(text):
            return text
        end = self._signature(text)
        end = self._tail(text if end == len(text) else text[:end], start)
        if start == 0 and end == len(text):
            return text
        return text[start:end].strip()

    @staticmethod
    def _without_politest(text: str) -> str:
        opening = _OPENING.match(text)
        if opening is not None:
            text = text[opening.end() :]
        # Most texts end otherwise, which is seen without the pattern.
        if not text[-_LAST_CHARS:].rstrip(" .!。！").lower().endswith(_LAST_WORDS):
            return text
        ending = _ENDING.search(text, max(len(text) - _ENDING_CHARS, 0))
        return text if ending is None else text[: ending.start()]

    def _salutation(self, text: str) -> int:
        """Return where the first line ends that greets somebody by name, as a letter's does."""
        end = text.find("\n", 0, _LINE_CHARS)
        line = text[:end].rstrip() if end > 0 else ""
        if not line or line[-1] not in _SALUTATION_ENDS:
            return 0
        found = TOKEN.findall(line.lower())
        letter = line[-1] in _COMMAS and text[end + 1 :].lstrip(" ").startswith("\n")
        if letter and len(found) <= _MOST_SIGNED_WORDS:
            return end + 1
        return end + 1 if self._odds(found[0], f"{_EDGE} {found[0]}", 1) > 0 else 0

    def _signature(self, text: str) -> int:
        """Return where a letter's farewell begins: a polite line above one or more of names."""
        above = len(text.rstrip())
        for n_lines in range(_MOST_SIGNED + 1):
            end, above = above, text.rfind("\n", max(above - _LINE_CHARS, 0), above)
            if above <= 0:
                break
            found = [*TOKEN.finditer(text, above, end)]
            if not found or len(found) > _MOST_SIGNED_WORDS:
                break
            if n_lines and (
                (found[-1].group() in _COMMAS and text[above - 1] == "\n")
                or self._from_end(text, found, above)[0] == above
            ):
                return above
        return len(text)

    def _head(self, text: str) -> int:
        """Return where the request begins; the length of a text that is all courtesy."""
        total = best = 0.0
        cut = 0
        before: re.Match[str] | None = None
        last = _EDGE
        for found in TOKEN.finditer(text, 0, _WINDOW_CHARS):
            token = found.group().lower()
            if total > best and before is not None:
                odds = total - _toll(text, before, found)
                if odds > best:
                    best, cut = odds, found.start()
            elif total < best - _LOST:
                return cut
            if token not in _SILENT:
                total += self._odds(token, f"{last} {token}", 1 if before is None else 2)
            before, last = found, token
        return len(text) if total > best and len(text) <= _WINDOW_CHARS else cut

    def _tail(self, text: str, start: int) -> int:
        """Return where the request that begins at `start` ends; `start` if it is all courtesy."""
        if text.endswith(_QUOTED):
            return len(text)
        for n_chars in (_NEAR_CHARS, _WINDOW_CHARS):
            first = max(len(text) - n_chars, start)
            # The first word of a window may be half a word.
            found = [*TOKEN.finditer(text, first)][first > start :]
            cut, lost = self._from_end(text, found, start if first == start else None)
            if lost or first == start:
                break
        return cut

    def _from_end(
        self, text: str, found: Sequence[re.Match[str]], start: int | None
    ) -> tuple[int, bool]:
        """Return the best cut, and whether more of the text cannot give a better one."""
        total = best = 0.0
        cut = len(text)
        after = _EDGE
        for i in range(len(found) - 1, -1, -1):
            token = found[i].group().lower()
            if token not in _SILENT:
                total += self._odds(token, f"{token} {after}", 1 if after is _EDGE else 2)
            after = token
            if total < best - _LOST:
                return cut, True
            if total <= best:
                continue
            if i > 0:
                odds = total - _toll(text, found[i - 1], found[i])
                if odds > best:
                    best, cut = odds, found[i].start()
            elif start is not None:
                cut = start
        return cut, False

    def _odds(self, token: str, pair: str, n_words: int) -> float:
        """Return what a word adds, and its pair with a neighbour for `n_words` of both."""
        weight = self._weights.get
        known = weight(token)
        odds = _UNKNOWN if known is None else self._bias + known
        odds += n_words * weight(pair, 0.0)
        return odds + weight(f"^{token[:_STEM]}", 0.0) if len(token) > _STEM else odds

    def state(self) -> dict[str, np.ndarray]:
        """Return the terms as one text of lines, and their weights."""
        return {
            "terms": packed_lines(self._weights),
            "weights": np.array([*self._weights.values()], np.float16),
            "bias": np.array([self._bias], np.float32),
        }

    @classmethod
    def restore(cls, state: State) -> Self:
        """Read what `state` returned.

        Raises
        ------
        KeyError, ValueError
            If an array is missing or does not fit.
        """
        terms = take_lines(state, "terms")
        weights, bias = take(state, "weights", ndim=1), take(state, "bias", ndim=1)
        if len(weights) != len(terms) or bias.shape != (1,):
            raise ValueError("terms and weights of the request model's courtesies do not fit")
        return cls(terms, weights.astype(np.float64).tolist(), float(bias[0]))


def _toll(text: str, before: re.Match[str], after: re.Match[str]) -> float:
    """Return what a cut between two neighbours has to make up for, in log odds."""
    gap = text[before.end() : after.start()]
    if "\n" in gap:
        return _AFTER_SENTENCE
    mark = before.group()
    if not gap and mark not in _TIGHT_MARKS:
        return math.inf
    if mark in _SENTENCE_MARKS:
        return _AFTER_SENTENCE
    if mark in _CLAUSE_MARKS:
        return _AFTER_CLAUSE
    return _AFTER_WORD - (_CAPITAL if after.group()[0].isupper() else 0.0)


def _terms(before: str, text: str, after: str) -> list[list[str]]:
    """Return what is known of each word of a text: itself, its neighbours, its beginning."""
    tokens = [each.group().lower() for each in TOKEN.finditer(text)]
    around = [before, *tokens, after]
    rows = []
    for at, token in enumerate(tokens, 1):
        if token in _SILENT:
            continue
        terms = [token]
        terms += [f"{around[at - 1]} {token}"] if around[at - 1] else []
        terms += [f"{token} {around[at + 1]}"] if around[at + 1] else []
        terms += [f"^{token[:_STEM]}"] if len(token) > _STEM else []
        rows.append(terms)
    return rows
