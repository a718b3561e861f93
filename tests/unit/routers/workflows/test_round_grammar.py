"""Traces of planners: what keeps the form, and an example of every fault."""

import random
import re

import pytest

from routers.workflows._round_grammar import (
    CallFor,
    TraceFaultError,
    check_trace,
    check_turn,
    turn_of,
    without_tags,
)

MODELS = ("qwen", "llama")
GOOD = (
    "<think>Who was it?</think>\n<call>qwen: Who was born in Ulm?</call>\n"
    "<information>Einstein: a physicist</information>\n<think>Enough</think>\n"
    "<answer>Einstein</answer>"
)


def test_a_trace_that_keeps_the_form():
    assert [part.name for part in check_trace(GOOD, MODELS)] == [
        *("think", "call", "information", "think", "answer")
    ]
    check_trace("<think>easy</think><answer>4</answer>", MODELS)


FAULTS = {
    "has no end": "<think>a</think><answer>b",
    "ends what was not begun": "<think>a</think></call><answer>b</answer>",
    "stands inside": "<think>a<call>qwen: b</call></think><answer>b</answer>",
    "2 answers": "<think>a</think><answer>b</answer><answer>c</answer>",
    "there is no <answer>": "<think>a</think>",
    "there is no <think>": "<answer>b</answer>",
    "first tag has to be <think>": "<answer>b</answer><think>a</think>",
    "last tag has to be <answer>": "<think>a</think><answer>b</answer><think>c</think>",
    "1 calls and 0 pieces": "<think>a</think><call>qwen: b</call><answer>c</answer>",
    "0 calls and 1 pieces": "<think>a</think><information>b</information><answer>c</answer>",
    "follows no <call>": (
        "<think>a</think><call>qwen: b</call><think>c</think><information>d</information>"
        "<answer>e</answer>"
    ),
    "exactly one colon": "<think>a</think><call>qwen b</call>",
    "no model 'gpt'": "<think>a</think><call>gpt: b</call>",
    "no model 'auto'": "<think>a</think><call>auto: b</call>",
    "sub-query is empty": "<think>a</think><call>qwen: </call>",
    "repeats the name": "<think>a</think><call>qwen: ask Qwen about it</call>",
    "longer than": f"<think>a</think><call>qwen: {'x' * 5000}</call>",
    "not filled in: 'llm-name'": "<think>a</think><call>llm-name: b</call>",
    "not filled in: 'your-query'": "<think>a</think><call>qwen: your-query</call>",
    "<think> is empty": "<think> </think><answer>b</answer>",
    "<answer> is empty": "<think>a</think><answer>...</answer>",
    "outside of the tags": "Sure! <think>a</think><answer>b</answer>",
}


@pytest.mark.parametrize("words", FAULTS)
def test_every_fault_is_named(words):
    with pytest.raises(TraceFaultError) as caught:
        check_trace(FAULTS[words], MODELS)
    assert words in str(caught.value)


@pytest.mark.parametrize("thought", ["", "...", " … "])
def test_a_thought_is_one(thought):
    with pytest.raises(TraceFaultError, match="empty"):
        check_turn(f"<think>{thought}</think><answer>b</answer>", MODELS)


@pytest.mark.parametrize("colons", ["qwen: a: b", "qwen"])
def test_a_call_has_one_colon(colons):
    with pytest.raises(TraceFaultError, match="exactly one colon"):
        check_turn(f"<think>a</think><call>{colons}</call>", MODELS)


def test_turns():
    call = "<think>a</think>\n<call> llama : What is b? </call>"
    assert check_turn(call, MODELS) == CallFor("llama", "What is b?")
    assert check_turn("<think>a</think><answer>42</answer>", MODELS) == "42"
    for turn in ("<think>a</think>", "", "<information>mine</information>" + call):
        with pytest.raises(TraceFaultError):
            check_turn(turn, MODELS)


def test_what_follows_a_call_is_made_up_and_dropped():
    call = "<think>a</think><call>qwen: b?</call>"
    assert turn_of(f"{call}<information>made up</information><answer>x</answer>") == call


@pytest.mark.parametrize(
    "text", ["</information>", "<CALL>a: b</CALL>", "< /think >", "<answer x='1'>", "<call\n>"]
)
def test_no_reply_holds_anything_like_a_tag(text):
    assert "<" not in without_tags(text) or "< /" in without_tags(text)


def test_no_text_breaks_the_reader():
    rng = random.Random(0)
    pieces = re.split(r"(</?\w+>)", GOOD)
    others = ["<information>", "</call>", ":", "qwen", "<", "\x00", "é", "..."]
    read = 0
    for _ in range(2_000):
        text = list(pieces)
        for _ in range(rng.randrange(4)):
            at = rng.randrange(len(text))
            text[at : at + rng.randrange(2)] = rng.choice([[], [rng.choice(others)], [text[at]]])
        text = "".join(text)
        for check in (check_trace, check_turn):
            try:
                check(text, MODELS)
                read += 1
            except TraceFaultError as fault:
                assert str(fault)  # noqa: PT017
    assert read > 100
