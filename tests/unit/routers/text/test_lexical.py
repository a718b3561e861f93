import time

import numpy as np
import pytest

from routers.text.conversation import conversation_text
from routers.text.lexical import LEXICAL_SIGNALS, lexical_signals
from routers.types import Conversation, Message, Role


def signals(*messages: Message | str) -> dict[str, float]:
    turns = tuple(
        Message(Role.USER, message) if isinstance(message, str) else message for message in messages
    )
    values = lexical_signals(conversation_text(Conversation(turns)))
    return dict(zip(LEXICAL_SIGNALS, values.tolist(), strict=True))


def test_names_are_distinct():
    assert len(set(LEXICAL_SIGNALS)) == len(LEXICAL_SIGNALS)


@pytest.mark.parametrize(
    "text",
    ["", " ", "a", "?" * 9_000, "1" * 9_000, "\n" * 9_000, "漢" * 9_000, "\ud800", "A) " * 99],
)
def test_every_signal_is_between_0_and_1(text):
    values = lexical_signals(conversation_text(Conversation.of(text)))
    assert values.dtype == np.float32
    assert values.shape == (len(LEXICAL_SIGNALS),)
    assert np.isfinite(values).all()
    assert values.min() >= 0
    assert values.max() <= 1


def test_shares_count_characters_not_bytes():
    found = signals("ab1 漢é")
    assert found["letters_share"] == pytest.approx(2 / 6)
    assert found["digits_share"] == pytest.approx(1 / 6)
    assert found["white_space_share"] == pytest.approx(1 / 6)
    assert found["non_ascii_share"] == pytest.approx(2 / 6)
    assert found["cjk_share"] == pytest.approx(1 / 6)


@pytest.mark.parametrize(
    ("signal", "with_it", "without_it"),
    [
        ("upper_case_share", "WHAT IS THIS", "what is this"),
        ("operators_share", "3 + 4 = 7", "three and four"),
        ("question_marks", "why? how?", "why, how."),
        ("numbers", "add 3 to 14", "add three to fourteen"),
        ("blanks", "The cat sat on the _ and slept", "The snake_case name"),
        ("code_fences", "fix ```x = 1```", "fix `x = 1`"),
        ("calls", "print(x)", "print (or not) x"),
        ("choices", "Pick one:\nA) red\nB) blue", "Vitamin A, or BA) no"),
        ("choices", "Answer Choices: (A) red (B) blue", "plan ABC: go"),
        ("choices", "A. red\nB. blue", "the U.S.A.F. base"),
        ("few_shot", "Q: 1+1?\nA: 2\nQ: 2+2?", "Questions and answers: none"),
        ("bullets", "Do:\n- this\n2. that", "do this-that and 2.5"),
        ("links", "see https://example.org", "see example.org"),
        ("code_words", "def f():\n    return 1", "the definition returned"),
        ("question_words", "Which one, and why", "this one, whyever"),
        ("reasoning_words", "Prove it step by step", "an improvement"),
        ("ends_with_question", "And now?\n", "And now? Yes."),
    ],
)
def test_a_pattern_is_seen_where_it_is_and_only_there(signal, with_it, without_it):
    assert signals(with_it)[signal] > 0
    assert signals(without_it)[signal] == 0


def test_length_is_of_the_whole_prompt_though_patterns_read_a_window():
    short, long = (
        signals("one word after another\n" * 50),
        signals("one word after another\n" * 800),
    )
    for name in ("log_characters", "log_words", "log_lines"):
        assert long[name] > short[name] + 0.1
    assert long["word_length"] == pytest.approx(short["word_length"], abs=0.02)


def test_the_conversation_around_the_prompt_is_measured():
    alone = signals("question")
    among = signals(
        Message(Role.SYSTEM, "be brief"), Message(Role.ASSISTANT, "hello there"), "question"
    )
    assert alone["log_turns"] == alone["log_history_characters"] == alone["has_system_prompt"] == 0
    assert among["log_turns"] > 0
    assert among["log_history_characters"] > 0
    assert among["has_system_prompt"] == 1


@pytest.mark.parametrize("unit", ["a", "_", "9", "\n", "A) ", "(((", "\n1", "Q:\n"])
def test_no_repetition_makes_a_pattern_slow(unit):
    started = time.process_time()
    signals(unit * (1_000_000 // len(unit)))
    assert time.process_time() - started < 0.1


@pytest.mark.parametrize("messages", [(), (Message(Role.SYSTEM, "Be brief."),)])
def test_a_conversation_without_a_turn_has_signals_too(messages):
    signals = lexical_signals(conversation_text(Conversation(messages)))
    assert np.isfinite(signals).all()
