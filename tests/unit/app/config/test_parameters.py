"""The table of what models refuse, and the operator's word over it."""

import datetime as dt

import pytest

from app.config.parameters import ParametersConfig, rules_for, shipped_table

SAMPLING = {"temperature", "top_p"}


def rules(model, host="example.com", **own):
    parameters = ParametersConfig(**own) if own else None
    return rules_for(model, host=host, own=parameters, table=shipped_table())


@pytest.mark.parametrize(
    ("model", "dropped", "efforts"),
    [
        ("gpt-5", SAMPLING | {"stop"}, "minimal low medium high"),
        ("openai/gpt-5-mini-2025-08-07", SAMPLING | {"stop"}, "minimal low medium high"),
        ("gpt-5.1", SAMPLING, "none low medium high"),
        ("gpt-5.4-mini", SAMPLING, "none low medium high xhigh"),
        ("gpt-5.6-luna", SAMPLING, "none low medium high xhigh max"),
        ("gpt-6-astra", SAMPLING, "low medium high xhigh max"),
        ("o3-mini", SAMPLING | {"parallel_tool_calls"}, "low medium high"),
        ("claude-opus-4-7", SAMPLING | {"top_k"}, "none low medium high xhigh max"),
        ("anthropic/claude-opus-4.7", SAMPLING | {"top_k"}, "none low medium high xhigh max"),
        ("us.anthropic.claude-sonnet-5-20260630-v1:0", SAMPLING, "none low medium high xhigh max"),
        ("claude-opus-4-5-20251101", {"top_p"}, "none low medium high"),
        ("claude-sonnet-4-5", {"top_p"}, ""),
        ("claude-opus-4-20250514", set(), ""),
        ("gpt-4o-mini", {"verbosity"}, ""),
        ("grok-4.5", {"stop"}, "low medium high"),
    ],
)
def test_what_is_known_of_a_model_goes_by_its_upstreams_name(model, dropped, efforts):
    found = rules(model)
    assert dropped <= set(found.drop)
    assert found.efforts == tuple(efforts.split())
    assert ("temperature" in found.drop) is ("temperature" in dropped)
    renamed = {} if "claude" in model or "grok" in model or "4o" in model else {"max_tokens"}
    assert set(found.rename) == set(renamed)


@pytest.mark.parametrize(
    "model", ["sim-nano", "llama-3.3-70b", "gpt-oss-120b", "mistral-large", "my-gpt-5", "o30", ""]
)
def test_nothing_is_known_of_other_models(model):
    assert rules(model) == rules("whatever", known=False)
    assert not rules(model).drop


def test_a_server_may_be_particular_about_all_its_models():
    assert rules("mistral-large-latest", "api.mistral.ai").roles == {"developer": "system"}
    assert "logit_bias" in rules("openai/gpt-oss-120b", "api.groq.com").drop
    assert not rules("mistral-large-latest", "localhost").roles
    assert rules("sonar", "api.perplexity.ai").json_object == "words"


def test_the_operators_word_comes_first():
    assert not rules("gpt-5", known=False).drop
    assert rules("prod-eu", like="gpt-5.1") == rules("gpt-5.1")
    kept = rules("gpt-5", keep=("temperature", "reasoning_effort", "max_tokens"))
    assert "temperature" not in kept.drop
    assert (kept.efforts, kept.rename) == (None, {})
    own = rules("gpt-5", drop={"seed": {}}, efforts=("low",), rename={"a": "b"})
    assert {"seed", "temperature"} <= set(own.drop)
    assert (own.efforts, own.rename["a"]) == (("low",), "b")


@pytest.mark.parametrize("field", ["drop", "rename"])
@pytest.mark.parametrize("name", ["messages", "model", "stream"])
def test_what_a_request_is_cannot_be_left_out(field, name):
    with pytest.raises(ValueError, match="cannot be left out"):
        ParametersConfig(**{field: {name: {} if field == "drop" else "x"}})


def test_every_row_of_the_table_has_a_source_and_a_date_and_is_reached():
    table = shipped_table()
    for family in table.families:
        assert len(family.source) > 10
        assert family.date <= dt.date(2026, 12, 31)
        host = family.hosts[0] if family.hosts else "example.com"
        for pattern in family.match:
            assert table.family(pattern.replace("*", "-x"), host=host) in table.families
        reached = [table.family(each.replace("*", ""), host=host) for each in family.match]
        assert family in reached
