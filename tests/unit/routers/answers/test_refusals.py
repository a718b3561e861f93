"""Which answers decline to answer."""

import pytest

from routers.answers.refusals import MAX_TOKENS, declines

DECLINED = [
    "I'm sorry, but I can't help with that.",
    "I\u2019m sorry, but I can\u2019t assist with that request.",
    "I cannot provide instructions for that.",
    "I can't assist with this.",
    "Sorry, I'm not able to create that kind of content.",
    "I am unable to help with that.",
    "I won't write that.",
    "As an AI language model, I cannot give medical advice.",
    "Thanks for asking! However, I must respectfully decline.",
    "That's not something I can help with.",
    "I'm not comfortable with that request.",
    "I have to decline to answer this.",
    "I'm really sorry, that goes against my guidelines.",
    "Es tut mir leid, dabei kann ich nicht helfen.",
    "Je suis désolé, mais je ne peux pas vous aider.",
    "Lo siento, pero no puedo ayudarte con eso.",
    "很抱歉,我无法协助您完成这个请求。",
]
ANSWERED = [
    "Paris is the capital of France.",
    "You can't divide by zero, so the function is undefined there.",
    "I'm sorry to hear that your flight was cancelled. Here is what you can do: call the airline.",
    "Sure, I can help with that.",
    "The function cannot return None here.",
    "If you cannot write to the disk, check its permissions.",
    "def decline(x):\n    return x - 1",
    "I could write it in two ways.",
    "He said: sorry, no refunds.",
    "42",
    "",
    "This is not something the standard defines; compilers differ.",
    "Je peux vous aider avec plaisir.",
    "Ich kann das gern erklären.",
]


@pytest.mark.parametrize("text", DECLINED)
def test_an_answer_that_declines(text):
    assert declines(text)


@pytest.mark.parametrize("text", ANSWERED)
def test_an_answer_that_answers(text):
    assert not declines(text)


def test_a_long_answer_or_a_late_phrase_declines_nothing():
    assert not declines(DECLINED[0], output_tokens=MAX_TOKENS + 1)
    assert not declines("Here is the letter. " * 40 + DECLINED[0])
