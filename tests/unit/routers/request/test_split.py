"""What is asked, apart from what it is asked of."""

# ruff: noqa: RUF001  (punctuation of other scripts is meant as it stands)

import pytest

from routers.request.split import READ_CHARS, UNSPOKEN, split_request
from routers.text.window import head_and_tail

STORY = "The cat sat on the mat and looked at the dog, which slept by the fire all day. "
REPORT = "The river rises in the hills and flows through three valleys before the sea. "
PROGRAM = "def f(a, b):\n    return {k: a[k] + b[k] for k in a}\n\nprint(f({'a': 1}, {'a': 2}))"
NAMES = "\n".join(f"name number {number}" for number in range(40))


@pytest.mark.parametrize(
    ("prompt", "ask", "material"),
    [
        pytest.param(
            f"Translate into French: {STORY * 2}", "Translate into French", STORY, id="colon"
        ),
        pytest.param(
            f"Summarise the text:\n{STORY * 5}", "Summarise the text", STORY, id="colon, new line"
        ),
        pytest.param(
            f"请总结下面的文字：{'春天来了，花园里的花都开了，孩子们在草地上奔跑玩耍。' * 4}",
            "请总结下面的文字",
            "春天来了",
            id="full-width colon",
        ),
        pytest.param(
            f"لخص النص التالي: {'ذهب الولد إلى المدرسة في الصباح وعاد إلى البيت. ' * 6}",
            "لخص النص التالي",
            "ذهب الولد",
            id="right to left",
        ),
        pytest.param(
            "Find the bug in this code.\n\n```python\nreturn x + y\n```",
            "Find the bug in this code. …",
            "return x + y",
            id="fence",
        ),
        pytest.param(
            "```python\nreturn x + y\n```\nWhy does this fail with a NameError?",
            "… Why does this fail with a NameError?",
            "return x + y",
            id="fence first",
        ),
        pytest.param(
            "Explain this program:\n```\nx = 1\n",
            "Explain this program: …",
            "x = 1",
            id="fence left open",
        ),
        pytest.param(
            "Explain what happens here\n~~~\nls -la\n~~~",
            "Explain what happens here …",
            "ls -la",
            id="tildes",
        ),
        pytest.param(
            f"Summarise the document below.\n<document>\n{STORY}\n</document>",
            "Summarise the document below. …",
            STORY,
            id="tags",
        ),
        pytest.param(
            f'Is this sentence grammatical: "{STORY}"?',
            "Is this sentence grammatical: … ?",
            STORY,
            id="quotation",
        ),
        pytest.param(
            f"Fasse zusammen: „{STORY}“ Bitte kurz.",
            "Fasse zusammen: … Bitte kurz.",
            STORY,
            id="low and high quotation marks",
        ),
        pytest.param(
            "「春天来了花园里的花都开了孩子们在草地上奔跑玩耍老人坐着晒太阳」请把这句话翻译成英文",
            "… 请把这句话翻译成英文",
            "春天来了",
            id="corner brackets",
        ),
        pytest.param(f"{PROGRAM}\n\nWhat is printed?", "What is printed?", "return", id="code"),
        pytest.param(
            f"What does this print?\n\n{PROGRAM}", "What does this print?", "return", id="code last"
        ),
        pytest.param(
            f"{(REPORT * 8 + chr(10) * 2) * 3}How many valleys does it cross?",
            "How many valleys does it cross?",
            REPORT,
            id="question after a document",
        ),
        pytest.param(
            f"Sort these names by their last letter\n{NAMES}",
            "Sort these names by their last letter",
            "name number 39",
            id="first line",
        ),
        pytest.param(
            f"Answer the question about this text:\n\n{REPORT * 4}\n\nIt is long.\n\nHow long?",
            "Answer the question about this text: How long?",
            REPORT,
            id="announced, with a question",
        ),
    ],
)
def test_material_is_told_from_the_request(prompt, ask, material):
    found = split_request(prompt)
    assert found.ask == ask
    assert " ".join(material.split()) in " ".join(found.material.split())


@pytest.mark.parametrize(
    "prompt",
    [
        "hi",
        "What is the capital of France?",
        "Compute: 3 + 4",
        "Remind me at 10:30 about the meeting with the board and the lawyers of the other side",
        'Who said "to be or not to be"?',
        "Is a < b and b < c enough for a < c?",
        "Hi there.\n\nWhat is the capital of Peru?",
        "Note: what is a monad, and why does everybody explain it with burritos? Who began?",
        "证明根号2是无理数。",
    ],
)
def test_a_short_request_stays_whole(prompt):
    assert split_request(prompt) == (" ".join(prompt.split()), "")


def test_a_quotation_alone_is_what_is_asked():
    prompt = f'"{STORY.strip()}"'
    assert split_request(prompt) == (prompt, "")


@pytest.mark.parametrize(
    "program",
    [
        "```python\nfor i in range(3):\n    print(i)\n```",
        "```\nSELECT a FROM t WHERE (x = 1);\n```\n",
        "~~~c\nint main() { return 0; }\n~~~",
        PROGRAM,
        "const add = (a, b) => a + b;\nconsole.log(add(1, 2), add(3, 4));",
        f"{PROGRAM}\n\n{PROGRAM}\n\n{PROGRAM}",
    ],
)
def test_a_program_without_a_word_asks_to_be_explained(program):
    ask, material = split_request(program)
    assert ask == UNSPOKEN
    assert material.split() == program.split()


@pytest.mark.parametrize(
    "said",
    [
        "why is this slow for large dicts",
        "what does this print?",
        "Find the bug in the function",
        "这段代码有什么问题",
        "warum ist das so langsam?",
    ],
)
def test_prose_beside_a_program_is_what_is_asked(said):
    lines = PROGRAM.replace("\n\n", "\n")
    assert split_request(f"{lines}\n{said}") == (said, lines)
    assert split_request(f"{said}\n{lines}") == (said, lines)


def test_prose_on_both_sides_of_a_program_is_asked_together():
    lines = PROGRAM.replace("\n\n", "\n")
    found = split_request(f"here is my function\n{lines}\nplease make it faster")
    assert found == ("here is my function please make it faster", lines)


def test_of_long_prose_the_ends_are_the_request():
    prompt = f"I have a plan. {'It has many steps, all of them detailed. ' * 40}Tell me the flaw."
    found = split_request(prompt)
    assert found.ask.startswith("I have a plan.")
    assert found.ask.endswith("Tell me the flaw.")
    assert len(found.ask) < 200
    assert len(found.material) > 1_000


@pytest.mark.parametrize("prompt", ["", " ", "\n\n \t\n", "…", ":", "```", "</a>", '"', "\ud800?"])
def test_next_to_nothing_is_no_error(prompt):
    found = split_request(prompt)
    assert found.material == ""
    assert found.ask == prompt.strip()


@pytest.mark.parametrize(
    "unit",
    [
        "word ",
        "a",
        "。",
        "? ",
        ": ",
        "\n\n",
        "``` ",
        "~~~",
        '"',
        "“",
        "„",
        "«",
        "「",
        "『",
        "{}();\n",
    ],
)
def test_of_a_huge_text_a_bounded_part_is_read(unit):
    prompt = f"Count these. {unit * (1_000_000 // len(unit))} Done?"
    found = split_request(prompt)
    assert len(found.ask) + len(found.material) < 2 * READ_CHARS + 2_000


def test_head_and_tail_of_a_huge_text_are_what_is_read():
    prompt = f"Summarise the report below.\n\n{REPORT * 5_000}\n\nWho is it for?"
    head, tail = head_and_tail(prompt, READ_CHARS)
    assert split_request(prompt) == split_request(f"{head}\n\n{tail}")
    assert split_request(prompt).ask == "Summarise the report below. Who is it for?"
