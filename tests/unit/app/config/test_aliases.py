"""What aliases come to, and those that are refused."""

import pytest

from app.config.aliases import Aliases, Target, knob_in, read_auto_name, resolved_aliases
from app.config.fields import ConflictError
from app.config.models import ModelConfig
from app.config.routing import PairConfig, PolicyConfig, RouterConfig

MODELS = dict.fromkeys(("small", "large", "claude-opus"), ModelConfig(upstream="up"))
ROUTERS = {
    "mf": RouterConfig(pair=PairConfig(strong="large", weak="small")),
    "bare": RouterConfig(),
}
POLICIES = dict.fromkeys(
    ("default", "quality"),
    PolicyConfig(router="mf", candidates=("small", "large"), default_model="small"),
)


def resolved(**aliases):
    written = {name.replace("_", "-"): target for name, target in aliases.items()}
    return resolved_aliases(written, MODELS, POLICIES, ROUTERS)


@pytest.mark.parametrize(
    "target",
    [
        "small",
        "auto",
        "auto:quality",
        "auto:0.7",
        "auto:economy",
        "auto:quality:0.5",
        "auto:quality:balanced",
        "router-mf-0.3",
        "router-mf-1e-3",
        "router-mf-calibrated",
    ],
)
def test_an_alias_stands_for_any_name_there_is(target):
    assert resolved(gpt_4o=target).target("gpt-4o") == Target(target)


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("medium", "unknown name 'medium'"),
        ("smal", "did you mean 'small'"),
        ("auto:qualty", "did you mean 'auto:quality'"),
        ("auto:1.5", "must be a number from 0 to 1"),
        ("auto:quality:2", "must be a number from 0 to 1"),
        ("auto:0.5:quality", "is none of"),
        ("auto:quality:0.5:0.5", "is none of"),
        ("auto:", "is none of"),
        ("auto:nan", "is none of"),
        ("router-bare-0.5", "no router 'bare' with a pair"),
        ("router-mf-2", "threshold in 'router-mf-2'"),
        ("router-mf-", "threshold in 'router-mf-'"),
        ("small:0.5", "unknown name 'small:0.5'"),
    ],
)
def test_an_alias_that_stands_for_nothing_is_refused(target, words):
    with pytest.raises(ConflictError, match=r".") as caught:
        resolved(gpt_4o=target)
    assert caught.value.place == ("aliases", "gpt-4o")
    assert words in caught.value.message


@pytest.mark.parametrize("name", ["small", "auto", "auto:quality", "auto:x*", "router-mf-0.5"])
def test_no_alias_hides_what_there_is(name):
    with pytest.raises(ConflictError) as caught:
        resolved_aliases({name: "large"}, MODELS, POLICIES, ROUTERS)
    assert caught.value.place == ("aliases", name)


@pytest.mark.parametrize(
    "aliases",
    [
        {"a": "a"},
        {"a": "b", "b": "a"},
        {"a": "b", "b": "c", "c": "b"},
        {"gpt-*": "gpt-4"},
        {"gpt-*": "o3", "o3": "gpt-4"},
        {"*": "x"},
        {"a": "b:0.5", "b": "a"},
    ],
)
def test_an_alias_of_itself_is_refused(aliases):
    with pytest.raises(ConflictError, match="stands for itself: "):
        resolved_aliases(aliases, MODELS, POLICIES, ROUTERS)


def test_an_alias_of_an_alias_comes_to_the_end_of_the_chain():
    aliases = resolved_aliases(
        {"a": "b", "b": "gpt-4", "gpt-*": "c:0.3", "c": "auto:quality"}, MODELS, POLICIES, ROUTERS
    )
    assert {aliases.target(name).name for name in ("a", "b", "gpt-5")} == {"auto:quality:0.3"}
    with pytest.raises(ConflictError, match="is none of"):
        resolved(a="b:0.3", b="auto:0.4")


def test_a_name_comes_before_a_pattern_and_a_longer_pattern_before_a_shorter():
    aliases = Aliases.of({"*": "any", "gpt-*": "gpt", "gpt-*-mini": "mini", "gpt-x-mini": "own"})
    found = {
        name: aliases.target(name).name
        for name in ("o3", "gpt-", "gpt-4", "gpt-5-mini", "gpt-x-mini")
    }
    assert found == {
        "o3": "any",
        "gpt-": "gpt",
        "gpt-4": "gpt",
        "gpt-5-mini": "mini",
        "gpt-x-mini": "own",
    }


@pytest.mark.parametrize(
    ("pattern", "fitting", "others"),
    [
        ("claude-*", ["claude-", "claude-opus-4"], ["claude", "aclaude-x", "Claude-x"]),
        ("*-mini", ["gpt-mini", "-mini"], ["mini", "gpt-mini-2"]),
        ("a*b*c", ["abc", "aXbYc", "abbcc"], ["ac", "acb", "abcd"]),
        ("ab*ba", ["abba", "abxba"], ["aba"]),
        ("a**b", ["ab", "axb"], ["a"]),
        ("a.c*", ["a.c", "a.cd"], ["abc", "abcd"]),
    ],
)
def test_a_star_stands_for_anything_and_all_else_for_itself(pattern, fitting, others):
    aliases = Aliases.of({pattern: "x"})
    assert [name for name in (*fitting, *others) if aliases.target(name)] == fitting


def test_a_long_name_costs_no_time_whatever_the_pattern():
    aliases = Aliases.of({"*a" * 60 + "b": "x"})
    assert aliases.target("a" * 256) is None
    assert aliases.target("a" * 1_000_000) is None


def test_a_knob_may_hang_on_an_alias_but_a_version_is_no_knob():
    aliases = Aliases.of({"gpt": "auto", "claude-*": "auto", "llama3:8b": "small"})
    assert aliases.target("gpt:0.7") == Target("auto", "0.7")
    assert aliases.target("gpt:1") == Target("auto", "1")
    assert aliases.target("gpt:quality") == Target("auto", "quality")
    assert aliases.target("gpt:latest") is None
    assert aliases.target("claude-3:0.7") == Target("auto", "0.7")
    assert aliases.target("claude-3-v2:0") == Target("auto")
    assert aliases.target("claude-3:latest") == Target("auto")
    assert aliases.target("llama3:8b") == Target("small")


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("auto", (None, None)),
        ("auto:quality", ("quality", None)),
        ("auto:economy", (None, 0.5)),
        ("auto:0", (None, 0.0)),
        ("auto:.5", (None, 0.5)),
        ("auto:1e-2", (None, 0.01)),
        ("auto:quality:0.25", ("quality", 0.25)),
        ("auto:quality:quality", ("quality", 0.95)),
    ],
)
def test_a_policy_and_a_knob_are_read_from_a_name(name, meant):
    assert read_auto_name(name, POLICIES) == meant


@pytest.mark.parametrize(
    "text",
    ["", "-1", "+1", "1_0", " 0.5", "0.5 ", "inf", "nan", "0x1", "\u0660.\u0665", "true"],
)
def test_nothing_else_is_a_knob(text):
    assert knob_in(text) is None
    assert read_auto_name(f"auto:{text}", POLICIES) is None
