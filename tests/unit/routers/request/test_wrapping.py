"""What stands around the whole of a request changes nothing of it."""

# ruff: noqa: RUF001  (punctuation of other scripts is meant as it stands)

import pytest

from routers.request.wrapping import unwrap

ASKED = "why is the sky blue?"


@pytest.mark.parametrize(
    "wrapped",
    [
        "{}",
        "**{}**",
        "__{}__",
        "*{}*",
        "# {}",
        "> {}",
        "- {}",
        '"{}"',
        "“{}”",
        "« {} »",
        "「{}」",
        "`{}`",
        "```\n{}\n```",
        "```text\n{}\n```",
        "~~~\n{}\n~~~",
        "<request>\n{}\n</request>",
        "## Question\n\n{}",
        "Question: {}",
        "**Task:** {}",
        "# Task\n{}\n\n---",
        "---\n{}\n---",
        "**Frage**: {}",
        "问题：{}",
        "Вопрос: {}",
        "> **Prompt:** {}",
    ],
)
def test_what_is_around_the_whole_is_taken_off(wrapped):
    assert unwrap(wrapped.replace("{}", ASKED)) == ASKED


@pytest.mark.parametrize(
    "text",
    [
        ASKED,
        "",
        "?",
        '"',
        "**",
        "> ",
        "```",
        "---",
        '"to be" or "not to be"',
        "*one* and *two*",
        "Who said 'hi'?",
        "> quoted\nand what do you say?",
        "- milk\n- eggs\nsort these",
        "```python\nprint(1)\n```",
        "```\nfor (;;) { x(); }\n```",
        "<b>bold</b> or <i>italic</i>?",
        "questions about tea",
        "__init__ or __new__?",
        "\ud800",
    ],
)
def test_what_is_part_of_the_request_stays(text):
    assert unwrap(text) == text


def test_lines_of_a_quoted_block_are_all_read():
    assert unwrap("> why is\n>\n> the sky blue?") == "why is\n\nthe sky blue?"


@pytest.mark.parametrize("unit", ["*", '"', ">", "<a>", "`", "# ", "-\n", "「"])
def test_of_a_huge_text_it_makes_no_error(unit):
    text = unit * 100_000
    assert unwrap(text) in text
