"""How sure a simulated model is of what it says: by its ability, and how hard the prompt seems.

The measure is a demonstration's: it grows with length, code, mathematics and words of hard tasks,
so that a threshold on log-probabilities can be seen at work. It claims nothing about real prompts.
"""

import hashlib
import math
import re
from collections.abc import Sequence
from typing import Any

from app.stub.answers.answer import Answer
from app.stub.tiers import Tier

_HARD = re.compile(
    r"\b(?:prove|proof|derive|theorem|lemma|integral|differential|eigen\w+|optimi[sz]\w+|complexity"
    r"|asymptotic\w*|algorithm\w*|concurren\w+|deadlock\w*|distributed|consensus|refactor\w*"
    r"|debug\w*|compiler?|architecture|diagnos\w+|contract\w*|regulation\w*|trade-?offs?|strategy"
    r"|quantum|molecul\w+|probability|bayes\w*|recursi\w+|np-hard|step[- ]by[- ]step"
    r"|rigorous\w*)\b",
    re.IGNORECASE,
)
_MATHEMATICS = re.compile(r"[∑∫√∂∀∃≤≥]|\\(?:frac|int|sum|sqrt)|\w\^\w|\bmod\b")
_CODE = re.compile(r"```|\b(?:def|class|function|SELECT|import)\b\s+\w+")
_EASY_CHARS = 60
_STEEPNESS = 9.0
_SURE_LOGPROB, _UNSURE_LOGPROB = -0.03, -1.4
_MOST_DOUBT = 6.0
_MAX_CHARS = 20_000


def difficulty(prompt: str) -> float:
    """Return how hard a prompt seems, from 0 to 1."""
    text = prompt[:_MAX_CHARS]
    length = math.log2(1 + max(0, len(text) - _EASY_CHARS) / 100)
    words = len({word.casefold() for word in _HARD.findall(text)})
    signs = 0.12 * bool(_MATHEMATICS.search(text)) + 0.12 * bool(_CODE.search(text))
    return min(1.0, 0.15 + 0.07 * min(length, 4) + 0.14 * min(words, 4) + signs)


def sureness(tier: Tier, prompt: str) -> float:
    """Return how sure a model is of its answer to a prompt, from 0 to 1."""
    luck = 0.08 * (uniform(f"{tier.ability}\n{prompt}") - 0.5)
    return 1 / (1 + math.exp(-_STEEPNESS * (tier.ability + luck - difficulty(prompt))))


def uniform(key: str) -> float:
    """Return a number between 0 and 1, the same for the same key."""
    digest = hashlib.sha256(key.encode("utf-8", "replace")).digest()
    return (int.from_bytes(digest[:7]) + 0.5) / 2**56


def logprobs(answer: Answer, key: str) -> list[float]:
    """Return a log-probability for each token of text; their mean tells how sure the model is."""
    if answer.others:  # one of a few that were possible
        chance = 0.5 + answer.sure / 2
        return [round(math.log(chance), 5)] * len(answer.pieces)
    mean = _SURE_LOGPROB * answer.sure + _UNSURE_LOGPROB * (1 - answer.sure)
    # Most tokens follow from those before them; some few carry the doubt.
    drawn = [-math.log(uniform(f"{key}\n{i}")) for i in range(len(answer.pieces))]
    return [round(mean * min(each, _MOST_DOUBT), 5) for each in drawn]


def alternatives(
    token: str, logprob: float, count: int, others: Sequence[str] = ()
) -> list[tuple[str, float]]:
    """Return the likeliest tokens at a place, the one that was said first.

    Parameters
    ----------
    others
        What else might have been said there; some common words where that is not known.
    """
    left = 1 - math.exp(logprob)
    said = [(token, logprob)]
    for i, other in enumerate(others or _COMMON):
        if other != token and len(said) < count:
            share = min(left / 2 ** (i + 1), math.exp(logprob))
            said.append((other, round(math.log(max(share, 1e-9)) - 0.001 * i, 5)))
    said += [(f" {i}", -20.0 - i) for i in range(len(said), count)]
    return said[:count]


def openai_logprobs(answer: Answer, key: str, top: int) -> list[dict[str, Any]]:
    """Return the log-probabilities of an answer's tokens as OpenAI's APIs have them."""
    told = logprobs(answer, key)
    return [
        {
            **_token(piece, logprob),
            "top_logprobs": [
                _token(*each) for each in alternatives(piece, logprob, top, answer.others)
            ],
        }
        for piece, logprob in zip(answer.pieces, told, strict=True)
    ]


def _token(token: str, logprob: float) -> dict[str, Any]:
    return {"token": token, "logprob": logprob, "bytes": list(token.encode())}


_COMMON = (" a", " the", " one", " some", " it", " so", " as", " to")
