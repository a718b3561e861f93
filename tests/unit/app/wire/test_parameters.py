"""Requests told such that a model takes them."""

import json

import pytest

from app.wire.chat_changes import EFFORTS, JSON_IN_WORDS
from app.wire.parameters import NO_RULES, Drop, ParameterRules

SENT = {
    "messages": b'[ {"role":"user","content":"\\ud83d\\ude00 \\"developer\\""} ]',
    "temperature": b" 0.10",
    "max_tokens": b"1e2",
    "x_new": b"[1.0, null]",
}


def told(rules, **fields):
    sent, changes = rules.apply(
        {**SENT, **{name: value.encode() for name, value in fields.items()}}
    )
    return sent, changes


def test_without_a_rule_that_fits_nothing_is_touched():
    rules = ParameterRules(
        drop={"top_p": Drop(), "seed": Drop()},
        rename={"max_completion_tokens": "max_tokens"},
        efforts=("low",),
        roles={"developer": "system"},
        json_in_words=True,
    )
    sent, changes = rules.apply(SENT)
    assert sent is SENT
    assert changes == ()
    assert rules
    assert not NO_RULES


def test_what_is_dropped_is_told_and_the_rest_stays_as_it_was():
    sent, changes = told(ParameterRules(drop={"temperature": Drop()}))
    assert changes == ("temperature=dropped",)
    assert dict(sent) == {name: value for name, value in SENT.items() if name != "temperature"}
    assert list(sent) == ["messages", "max_tokens", "x_new"]


@pytest.mark.parametrize(
    ("value", "kept"),
    [("1", True), ("1.0", True), (" 1", True), ("0.99", False), ('"1"', False), ("[1]", False)],
)
def test_a_value_that_is_taken_stays(value, kept):
    sent, changes = told(ParameterRules(drop={"temperature": Drop(keep=(1,))}), temperature=value)
    assert ("temperature" in sent) is kept
    assert bool(changes) is not kept


@pytest.mark.parametrize("value", ["null", " null "])
def test_what_says_nothing_is_nothing_to_tell(value):
    rules = ParameterRules(drop={"temperature": Drop()})
    assert told(rules, temperature=value)[1] == ()


@pytest.mark.parametrize(
    ("beside", "dropped"),
    [
        ({"reasoning_effort": '"high"'}, True),
        ({"reasoning_effort": '"none"'}, False),
        ({"reasoning_effort": "null"}, False),
        ({}, False),
        ({"seed": "null"}, False),
        ({"seed": "7"}, True),
    ],
)
def test_some_are_dropped_beside_others_alone(beside, dropped):
    condition = {"reasoning_effort": ("high", "low"), "seed": ()}
    rules = ParameterRules(drop={"temperature": Drop(beside=condition)})
    assert ("temperature" not in told(rules, **beside)[0]) is dropped


def test_a_field_is_renamed_in_its_place():
    rules = ParameterRules(rename={"max_tokens": "max_completion_tokens"})
    sent, changes = told(rules)
    assert list(sent) == ["messages", "temperature", "max_completion_tokens", "x_new"]
    assert sent["max_completion_tokens"] == b"1e2"
    assert changes == ("max_tokens->max_completion_tokens",)
    sent, changes = told(rules, max_completion_tokens="7")
    assert (sent["max_completion_tokens"], "max_tokens" in sent) == (b"7", False)
    assert changes == ("max_tokens=dropped",)
    sent, _ = told(rules, max_completion_tokens="null")
    assert sent["max_completion_tokens"] == b"1e2"


@pytest.mark.parametrize(
    ("known", "asked", "got"),
    [
        ("low medium high", "medium", "medium"),
        ("low medium high", "none", "low"),
        ("low medium high", "minimal", "low"),
        ("low medium high", "xhigh", "high"),
        ("low medium high", "max", "high"),
        ("none low medium high xhigh", "minimal", "low"),
        ("none low medium high xhigh", "max", "xhigh"),
        ("minimal low medium high", "none", "minimal"),
        ("low high", "medium", "high"),
        ("high", "none", "high"),
    ],
)
def test_an_effort_becomes_the_nearest_that_is_known(known, asked, got):
    rules = ParameterRules(efforts=tuple(known.split()))
    sent, changes = told(rules, reasoning_effort=f' "{asked}"')
    assert json.loads(sent["reasoning_effort"]) == got
    assert changes == (() if asked == got else (f"reasoning_effort={asked}->{got}",))


@pytest.mark.parametrize("effort", EFFORTS)
def test_a_model_without_efforts_is_told_none(effort):
    sent, changes = told(ParameterRules(efforts=()), reasoning_effort=f'"{effort}"')
    assert "reasoning_effort" not in sent
    assert changes == ("reasoning_effort=dropped",)


@pytest.mark.parametrize(
    "value", ["null", '"extreme"', "3", '{"a":1}', '"' + "x" * 10_000 + '"', "["]
)
def test_an_effort_that_is_none_passes_for_the_upstream_to_refuse(value):
    sent, changes = told(ParameterRules(efforts=("low",)), reasoning_effort=value)
    assert (sent["reasoning_effort"], changes) == (value.encode(), ())


def test_an_effort_counts_as_it_is_sent_for_what_is_dropped_beside_it():
    rules = ParameterRules(
        efforts=("none", "low"), drop={"temperature": Drop(beside={"reasoning_effort": ("low",)})}
    )
    sent, changes = told(rules, reasoning_effort='"max"')
    assert "temperature" not in sent
    assert changes == ("reasoning_effort=max->low", "temperature=dropped")


def test_roles_are_renamed_and_no_text_is():
    rules = ParameterRules(roles={"developer": "system"})
    messages = '[{"role":"developer","content":"a  b"},{"role": "user","content":"developer"}]'
    sent, changes = told(rules, messages=messages)
    assert sent["messages"] == (
        b'[{"role":"system","content":"a  b"},{"role":"user","content":"developer"}]'
    )
    assert changes == ("role developer->system",)
    for unreadable in ('"developer"', "[1]", '[{"role":["developer"]}]'):
        assert told(rules, messages=unreadable) == ({**SENT, "messages": unreadable.encode()}, ())


@pytest.mark.parametrize(
    ("before", "at"),
    [
        ([], 0),
        (["system"], 1),
        (["system", "developer"], 2),
        (["user"], 0),
        (["user", "system"], 0),
    ],
)
def test_json_is_asked_for_in_words_after_what_the_system_says(before, at):
    rules = ParameterRules(json_in_words=True)
    turns = [{"role": role, "content": "x"} for role in before]
    sent, changes = told(
        rules, messages=json.dumps(turns), response_format='{"type":"json_object"}'
    )
    assert "response_format" not in sent
    assert json.loads(sent["messages"]) == [
        *turns[:at],
        {"role": "system", "content": JSON_IN_WORDS},
        *turns[at:],
    ]
    assert changes == ("response_format=in words",)


@pytest.mark.parametrize("wanted", ['{"type":"text"}', '{"type":"json_schema"}', "null", "7", "{"])
def test_no_other_format_is_asked_for_in_words(wanted):
    sent, changes = told(ParameterRules(json_in_words=True), response_format=wanted)
    assert (sent["response_format"], changes) == (wanted.encode(), ())
