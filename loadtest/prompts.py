"""Made-up prompts of several kinds, a new one each time."""

from collections.abc import Callable, Mapping

import numpy as np

from routers.types import Conversation, Message, Role

_ENGLISH = (
    "the model router weighs what an answer is worth against what it costs and sends each request "
    "to the cheapest one that is likely to do well because most questions are easy while some need "
    "careful reasoning over several steps with numbers tables code or long documents in them"
)
_GERMAN = (
    "können Sie mir bitte erklären warum die Lösung des Gleichungssystems größer ist als über "
    "fünf Wörter hinaus erwartet und für welche Straße sie gilt"
)
_CHINESE = "请解释这个算法的时间复杂度并且写出一个更快的版本我们需要考虑内存和并发的问题"
_LINES = (
    "def total(rows, name):",
    "    if rows[name] > 0 and name != '':",
    "        return {key: value for key, value in rows.items()}",
    '    raise ValueError(f"bad {rows!r}")',
)
_TOKENS_PER_LINE = 16
_WORDS_PER_PARAGRAPH = 60


def words(n_tokens: int, rng: np.random.Generator) -> Conversation:
    """Return one line of English words."""
    return Conversation.of(" ".join(rng.choice(_ENGLISH.split(), size=n_tokens)))


def pasted(n_tokens: int, rng: np.random.Generator) -> Conversation:
    """Return a request and, below it, paragraphs that it is about."""
    paragraphs = [
        " ".join(rng.choice(_ENGLISH.split(), size=min(_WORDS_PER_PARAGRAPH, n_tokens - start)))
        + "."
        for start in range(0, n_tokens, _WORDS_PER_PARAGRAPH)
    ]
    return Conversation.of("\n\n".join(["Summarise this in five points:", *paragraphs]))


def code(n_tokens: int, rng: np.random.Generator) -> Conversation:
    """Return a question about a program in fences."""
    n_lines = max(n_tokens // _TOKENS_PER_LINE, 1)
    lines = [f"{rng.choice(_LINES)}  # {rng.choice(_ENGLISH.split())}" for _ in range(n_lines)]
    return Conversation.of("\n".join(["Find the bug in this program:", "", "```", *lines, "```"]))


def chinese(n_tokens: int, rng: np.random.Generator) -> Conversation:
    """Return Chinese without punctuation, a token a sign."""
    return Conversation.of("".join(rng.choice(list(_CHINESE), size=n_tokens)))


def german(n_tokens: int, rng: np.random.Generator) -> Conversation:
    """Return German words."""
    return Conversation.of(" ".join(rng.choice(_GERMAN.split(), size=n_tokens)))


def turns(n_tokens: int, rng: np.random.Generator) -> Conversation:
    """Return a system prompt, two answered turns, and a further one."""
    roles = (Role.SYSTEM, Role.USER, Role.ASSISTANT, Role.USER, Role.ASSISTANT, Role.USER)
    size = max(n_tokens // len(roles), 1)
    return Conversation(
        tuple(Message(role, " ".join(rng.choice(_ENGLISH.split(), size=size))) for role in roles)
    )


KINDS: Mapping[str, Callable[[int, np.random.Generator], Conversation]] = {
    "words": words,
    "pasted": pasted,
    "code": code,
    "chinese": chinese,
    "german": german,
    "turns": turns,
}
"""All of them, by name; `n_tokens` is what they have near enough."""
