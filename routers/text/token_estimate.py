"""How many tokens a text has, near enough, whoever's tokenizer will count them."""

import math
from collections.abc import Iterable
from functools import cache

from routers.types import Conversation

TOKENS_PER_MESSAGE = 4
"""What a chat template adds to one message: its role and its delimiters."""

UPPER_FACTOR = 1.35
UPPER_SLACK_TOKENS = 8

# Tokens per byte of each class. Continuation bytes of UTF-8 are free, so a character beyond
# ASCII costs what its first byte says. Non-negative least squares on relative error, every set
# of texts weighing the same.
_TOKENS_PER_BYTE: tuple[tuple[float, Iterable[int]], ...] = (
    (0.67, range(0x21, 0x7F)),  # punctuation, less what follows
    (0.24, b" "),
    (0.69, b"\n\r\t"),
    (1.21, range(0x30, 0x3A)),  # digits: one token each, and they break what surrounds them
    (0.94, range(0x41, 0x5B)),  # upper case: abbreviations, identifiers, shouting
    (0.16, range(0x61, 0x7B)),
    (0.22, range(0xC0, 0xE0)),  # U+0080-07FF: Latin accents, Greek, Cyrillic, Hebrew, Arabic
    (1.42, range(0xE0, 0xF0)),  # U+0800-FFFF: Indic scripts, symbols, typographic quotes
    (0.71, range(0xE3, 0xEE)),  # U+3000-DFFF of these: Chinese, Japanese, Korean
    (2.27, range(0xF0, 0xF8)),  # U+10000 and above: emoji
)


def estimate_tokens(conversation: Conversation | str) -> int:
    """Estimate the input tokens of a conversation (or of bare text) from its bytes.

    The candidates have different tokenizers, so none of them is run. The weights were fitted on
    36,354 real prompts (exams, chat, mathematics, code, Chinese), source code, JSON, CSV and
    base64, as counted by the 262,144-piece SentencePiece tokenizer of Gemma 3. There the median
    relative error is 6 % (characters / 4: 20 %) and the 90th percentile 16 %; the time is
    11 µs for 10 kB of English and 0.9 ms for 1 MB.

    A conversation adds `TOKENS_PER_MESSAGE` for each message.
    """
    return round(_tokens(conversation))


def estimate_tokens_upper(conversation: Conversation | str) -> int:
    """Estimate input tokens cautiously: 99 % or more of real prompts have no more than this.

    Measured on the same prompts as `estimate_tokens`: 99.9 % are covered.
    """
    return _upper(_tokens(conversation))


def estimate_tokens_and_upper(conversation: Conversation | str) -> tuple[int, int]:
    """Return both estimates for one look at the text."""
    tokens = _tokens(conversation)
    return round(tokens), _upper(tokens)


def _upper(tokens: float) -> int:
    return math.ceil(tokens * UPPER_FACTOR) + UPPER_SLACK_TOKENS


def _tokens(conversation: Conversation | str) -> float:
    if isinstance(conversation, str):
        return max(_text_tokens(conversation), 1.0) if conversation else 0.0  # no text is free
    # One pass over the joined text: the fixed cost of a pass is paid once, not per message.
    text = "".join([message.text for message in conversation.messages])
    if conversation.documents:
        text += "".join([each.text for each in conversation.documents])
    return _text_tokens(text) + TOKENS_PER_MESSAGE * len(conversation.messages)


def _text_tokens(text: str) -> float:
    left = text.encode("utf-8", "surrogatepass")
    tokens = 0.0
    # Of what is taken out only the length is of interest. The obvious histogram by numpy is as fast
    # in a loop, but touches much more code: between other work it takes several times as long.
    for tokens_per_byte, byte_values in _classes():
        if not left:
            break
        rest = left.translate(None, byte_values)
        tokens += tokens_per_byte * (len(left) - len(rest))
        left = rest
    return tokens


@cache
def _classes() -> tuple[tuple[float, bytes], ...]:
    """Return disjoint classes of bytes, those first of which text has most."""
    weights = {each: tokens for tokens, byte_values in _TOKENS_PER_BYTE for each in byte_values}
    classes: dict[float, list[int]] = {}
    for each, tokens in weights.items():
        classes.setdefault(tokens, []).append(each)
    free = bytes(each for each in range(256) if each not in weights)
    most = sorted(classes.items(), key=lambda item: (97 not in item[1], 32 not in item[1]))
    (first, letters), *others = most
    return (
        (first, bytes(letters)),
        (0.0, free),
        *((tokens, bytes(byte_values)) for tokens, byte_values in others),
    )
