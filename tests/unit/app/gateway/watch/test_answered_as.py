"""Which names stand for the model that was asked for."""

import pytest

from app.gateway.watch.answered_as import is_same_model, shown

SAME = [
    ("gpt-4o", "gpt-4o-2024-08-06"),
    ("gpt-4", "gpt-4-0613"),
    ("openai/gpt-4o", "gpt-4o-2024-11-20"),
    ("GPT-4o", "gpt-4o"),
    ("claude-sonnet-4-5", "claude-sonnet-4-5-20250929"),
    ("claude-3-5-sonnet-latest", "claude-3-5-sonnet-20241022"),
    ("us.anthropic.claude-3-haiku", "anthropic.claude-3-haiku-20240307-v1:0"),
    ("models/gemini-2.0-flash", "gemini-2.0-flash-001"),
    ("gemini-2.5-pro", "gemini-2.5-pro-preview-03-25"),
    ("mistral-large-latest", "mistral-large-2411"),
    ("llama3.1", "llama3.1:latest"),
    ("meta-llama/Llama-3.3-70B-Instruct", "llama-3.3-70b-instruct"),
]
OTHER = [
    ("gpt-4o", "gpt-4o-mini"),
    ("gpt-4o", "gpt-4o-mini-2024-07-18"),
    ("gpt-4o-2024-08-06", "gpt-4o-2024-05-13"),
    ("gpt-4o-2024-08-06", "gpt-4o"),
    ("gpt-4", "gpt-4o"),
    ("gpt-4", "gpt-4-turbo"),
    ("gpt-4.1", "gpt-4.1-mini"),
    ("o3", "o3-mini"),
    ("claude-sonnet-4-5", "claude-sonnet-4-20250514"),
    ("claude-opus-4", "claude-sonnet-4"),
    ("llama3.1:70b", "llama3.1:8b"),
    ("sim-large", "sim-nano"),
    ("gpt-4o", ""),
]


@pytest.mark.parametrize(("asked", "answered"), SAME)
def test_a_snapshot_of_a_name_is_the_same(asked, answered):
    assert is_same_model(asked, answered)


@pytest.mark.parametrize(("asked", "answered"), OTHER)
def test_another_size_family_or_snapshot_is_not(asked, answered):
    assert not is_same_model(asked, answered)


def test_other_names_may_be_allowed():
    assert is_same_model("chat", "Qwen3-32B-AWQ", ("qwen*", "Qwen3-*"))
    assert not is_same_model("chat", "Qwen2-7B", ("Qwen3-*",))


def test_an_upstreams_own_word_cannot_break_a_header():
    assert shown("a\r\nset-cookie: x; b,é" + "y" * 100) == "a??set-cookie:?x??b??" + "y" * 59
