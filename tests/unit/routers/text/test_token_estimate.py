import time

import pytest

from routers.text.token_estimate import TOKENS_PER_MESSAGE, estimate_tokens, estimate_tokens_upper
from routers.types import Conversation, Message, Role

ENGLISH = "The quick brown fox jumps over the lazy dog, and nobody is surprised by that any more. "

# Texts and their tokens, counted by Gemma 3's own tokenizer.
COUNTED = {
    "english": (ENGLISH * 20, 381),
    "python": (
        "def area(radius: float) -> float:\n"
        '    """Return the area of a circle."""\n'
        "    return math.pi * radius ** 2\n" * 5,
        160,
    ),
    "json": (
        '{"id": 90210, "name": "widget", "tags": ["a", "b"], "price": 12.5, "active": true}\n' * 10,
        400,
    ),
    "chinese": ("今天天气很好我们去公园散步然后一起吃晚饭。" * 10, 160),
    "russian": ("Сегодня хорошая погода, и мы пойдём гулять в парк. " * 10, 161),
    "german": (
        "Die Straßenbahn fährt heute wegen Bauarbeiten nicht über den großen Platz. " * 10,
        141,
    ),
    "numbers": ("3.14159 2718281 42 1000000 007 65536 " * 10, 370),
    "latex": (r"\frac{a^2 + b^2}{\sqrt{c_1 - c_2}} \leq \sum_{i=1}^{n} x_i " * 10, 351),
}


@pytest.mark.parametrize("name", COUNTED)
def test_estimates_are_near_a_real_count_and_the_upper_one_covers_it(name):
    text, n_tokens = COUNTED[name]
    assert estimate_tokens(text) == pytest.approx(n_tokens, rel=0.35)
    assert estimate_tokens_upper(text) >= n_tokens


def test_nothing_is_nothing():
    assert estimate_tokens("") == 0
    assert estimate_tokens(Conversation(())) == 0


def test_a_conversation_costs_its_text_and_a_little_per_message():
    messages = (Message(Role.SYSTEM, ENGLISH * 2), Message(Role.USER, ENGLISH))
    together = estimate_tokens(Conversation(messages))
    assert together == pytest.approx(estimate_tokens(ENGLISH * 3) + 2 * TOKENS_PER_MESSAGE, abs=1)


@pytest.mark.parametrize("text", ["", "a", ENGLISH, "12345 " * 50, "漢字" * 100, "🎉", "\ud800"])
def test_the_upper_estimate_is_never_below(text):
    assert estimate_tokens_upper(text) > estimate_tokens(text) >= 0


def test_more_text_never_means_fewer_tokens():
    mixed = (ENGLISH + "x = 3.14159; é漢🎉\n") * 3
    estimates = [estimate_tokens(mixed[:end]) for end in range(len(mixed))]
    assert estimates == sorted(estimates)


def test_ten_kilobytes_and_a_megabyte_are_quick():
    text = ENGLISH * 12_000
    estimate_tokens(text)
    best = {}
    for size in (10_000, 1_000_000):
        runs = []
        for _ in range(5):
            started = time.thread_time()
            estimate_tokens(text[:size])
            runs.append(time.thread_time() - started)
        best[size] = min(runs)
    # Measured 11 us and 0.9 ms; the margin is for busy machines.
    assert best[10_000] < 0.0005
    assert best[1_000_000] < 0.03
