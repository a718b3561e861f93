import json
import math

import pytest

from routers.decision.causal_llm import ScorerReply
from routers.decision.judged import (
    LEVELS,
    Judged,
    judged_by_chances,
    judged_by_words,
    judged_messages,
)

KINDS = ("code", "chat")


def logs(**chances):
    return {token: math.log(p) for token, p in chances.items()}


@pytest.mark.parametrize("text", ["hard code", "Level: hard, kind: code.", "**HARD**\ncode"])
def test_words_are_read_however_they_are_dressed(text):
    judged = judged_by_words(ScorerReply(text=text), LEVELS, KINDS)
    assert (judged.likeliest_level, judged.likeliest_kind) == ("hard", "code")
    assert judged.level["hard"] == judged.kind["code"] == 1.0


@pytest.mark.parametrize("text", ["", "It is not trivial, it is hard.", "code", "hard hard", "7"])
def test_what_is_no_choice_is_none(text):
    assert judged_by_words(ScorerReply(text=text), LEVELS, KINDS) is None


def test_chances_come_from_the_tokens_that_begin_the_words():
    reply = ScorerReply(
        text="Level: hard chat",
        top_logprobs=(
            logs(**{" Level": 0.9, ":": 0.1}),
            logs(hard=0.4, tri=0.1, med=0.2, So=0.3),
            logs(**{" ch": 0.3, " code": 0.1, " c": 0.6}),  # the last begins both
        ),
    )
    judged = judged_by_words(reply, LEVELS, KINDS)
    assert judged.level == pytest.approx(
        {"trivial": 1 / 7, "easy": 0.0, "medium": 2 / 7, "hard": 4 / 7}
    )
    assert judged.kind == pytest.approx({"code": 0.25, "chat": 0.75})


def test_an_answer_of_chances_is_scaled_and_put_in_order():
    judged = judged_by_chances(b'{"level": {"hard": 3, "easy": 1}, "kind": "chat"}', LEVELS, KINDS)
    assert list(judged.level.items()) == [
        ("trivial", 0.0),
        ("easy", 0.25),
        ("medium", 0.0),
        ("hard", 0.75),
    ]
    assert judged.likeliest_kind == "chat"
    # Kinds that nobody asked for are not looked at.
    assert judged_by_chances(b'{"level": "easy", "kind": 7}', LEVELS, ()).kind == {}


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"no",
        b"[]",
        b"{}",
        b"\xff",
        b'{"level": {}}',
        b'{"level": {"hard": 0}}',
        b'{"level": {"hard": -1, "easy": 2}}',
        b'{"level": {"hard": true}}',
        b'{"level": {"hard": "1"}}',
        b'{"level": {"hard": 1e400}}',
        b'{"level": {"gigantic": 1}}',
        b'{"level": "gigantic"}',
        b'{"level": ["hard"]}',
        b'{"level": "hard", "kind": {"poem": 1}}',
        b'{"level":' + b"[" * 100_000,
    ],
)
def test_a_malformed_answer_is_none(answer):
    assert judged_by_chances(answer, LEVELS, KINDS) is None


def test_of_equal_chances_the_harder_level_counts():
    assert Judged({"easy": 0.5, "hard": 0.5}).likeliest_level == "hard"


def test_a_long_prompt_is_shown_by_head_and_tail():
    (system, user) = judged_messages("a" * 100_000 + "the end", LEVELS, ())
    assert "kind" not in system.text.lower()
    assert len(user.text) < 9_000
    assert "the end\n</request>" in user.text
    assert json.dumps(list(LEVELS))[1:-1].replace('"', "") in system.text
