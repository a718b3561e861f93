"""The files that graded prompts, courtesies and words are kept in."""

import json
import re

import pytest

from routers.data.graded import (
    Courtesy,
    Padding,
    read_courtesies,
    read_graded,
    read_judgements,
    read_lexicon,
    read_openers,
    read_paddings,
    read_paraphrases,
)
from routers.errors import DataError
from routers.types import Role
from tests.support.gateway import CONFIGS

SHIPPED = CONFIGS / "graded_prompts"
PROMPT = {
    "id": "a1",
    "theme": "gardening",
    "language": "en",
    "kind": "question",
    "domain": "everyday",
    "grade": 1,
    "tokens": 20,
    "prompt": "how often should i water a cactus",
}
SECOND = {"grade": 2, "kind": "chat", "domain": "everyday", "tokens": 40}


@pytest.fixture
def file(tmp_path):
    def written(*lines):
        path = tmp_path / "graded.jsonl"
        text = "\n".join(each if isinstance(each, str) else json.dumps(each) for each in lines)
        path.write_text(text, encoding="utf-8")
        return path

    return written


@pytest.fixture
def tsv(tmp_path):
    def written(*rows):
        path = tmp_path / "table.tsv"
        path.write_text("\n".join("\t".join(row) for row in rows), encoding="utf-8")
        return path

    return written


def test_a_prompt_and_what_two_readers_thought(file):
    prompts = read_graded(file({**PROMPT, "second": SECOND, "tags": ["short"]}, "", PROMPT))
    twice, once = prompts
    assert (twice.prompt_id, twice.theme, twice.language) == ("a1", "gardening", "en")
    assert twice.text == PROMPT["prompt"]
    assert [each.grade for each in twice.judgements] == [1, 2]
    assert (twice.grade, once.grade) == (1.5, 1)
    assert (twice.tags, once.tags) == (("short",), ())
    assert len(once.judgements) == 1


def test_a_conversation_ends_with_the_request(file):
    turns = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": "hello"},
        {"role": "user", "content": "prove it"},
    ]
    without = {key: value for key, value in PROMPT.items() if key != "prompt"}
    [found] = read_graded(file({**without, "messages": turns}))
    assert found.text == "prove it"
    assert [each.role for each in found.conversation.messages][:2] == [Role.SYSTEM, Role.USER]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("not json", "Expecting value"),
        ("[]", "valid dictionary"),
        ({**PROMPT, "grade": 6}, "less than or equal to 5"),
        ({**PROMPT, "grade": 0}, "greater than or equal to 1"),
        ({**PROMPT, "tokens": 0}, "greater than 0"),
        ({**PROMPT, "kind": "poetry"}, "unknown kind 'poetry'; one of chat"),
        ({**PROMPT, "domain": "sport"}, "unknown domain 'sport'; one of everyday"),
        ({**PROMPT, "second": {**SECOND, "kind": "poetry"}}, "unknown kind 'poetry'"),
        ({**PROMPT, "messages": [{"role": "user", "content": "x"}]}, "either 'prompt' or 'mess"),
        ({**PROMPT, "prompt": None}, "either 'prompt' or 'messages'"),
        ({**PROMPT, "prompt": None, "messages": []}, "either 'prompt' or 'messages'"),
        ({**PROMPT, "prompt": None, "messages": [{"role": "x", "content": ""}]}, "role"),
        ({**PROMPT, "colour": "red"}, "colour Extra inputs"),
        ({key: PROMPT[key] for key in PROMPT if key != "theme"}, "theme Field required"),
    ],
)
def test_a_line_that_is_none_is_named(file, line, reason):
    path = file(PROMPT, "", line)
    with pytest.raises(DataError) as caught:
        read_graded(path)
    message = str(caught.value)
    assert message.startswith(f"{path}, line 3: ")
    assert reason in message
    assert "\n" not in message


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    for read in (read_graded, read_courtesies, read_judgements, read_lexicon):
        with pytest.raises(DataError, match=r"nowhere: cannot be read"):
            read(tmp_path / "nowhere")
        (tmp_path / "latin").write_bytes("größer".encode("latin-1"))
        with pytest.raises(DataError, match=r"latin: cannot be read"):
            read(tmp_path / "latin")


def test_courtesies(tsv):
    path = tsv(
        ("language", "place", "text"), ("en", "opening", "Hi!"), ("de", "closing", "Vielen Dank.")
    )
    assert read_courtesies(path) == [
        Courtesy("en", opens=True, text="Hi!"),
        Courtesy("de", opens=False, text="Vielen Dank."),
    ]


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        ([("language", "text")], "first line must name the columns language, place, text"),
        ([("language", "place", "text"), ("en", "middle", "so")], "line 2: a place is opening or"),
        ([("language", "place", "text"), ("en", "opening")], "line 2: 2 columns instead of 3"),
        ([], "first line must name the columns"),
    ],
)
def test_what_is_no_courtesy_is_named(tsv, rows, reason):
    path = tsv(*rows)
    with pytest.raises(DataError, match=reason) as caught:
        read_courtesies(path)
    assert str(path) in str(caught.value)


def test_paddings_stand_around_a_prompt(tsv):
    path = tsv(
        ("family", "language", "place", "text"),
        ("greeting", "en", "opening", "Hi!"),
        ("thanks", "en", "closing", r"\nThanks"),
        ("wrapper", "en", "around", "**{}**"),
        ("rules", "en", "system", "Be brief."),
    )
    found = read_paddings(path)
    assert found[0] == Padding("greeting", "en", "opening", "Hi!")
    asked = [[each.text for each in padding.around("why?").messages] for padding in found]
    assert asked == [["Hi! why?"], ["why?\nThanks"], ["**why?**"], ["Be brief.", "why?"]]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (("a", "en", "inside", "x"), "line 2: unknown place 'inside'"),
        (("a", "en", "around", "x"), "line 2: {} belongs into what stands around"),
        (("a", "en", "opening", "{}"), "line 2: {} belongs into what stands around"),
    ],
)
def test_what_is_no_padding_is_named(tsv, row, reason):
    with pytest.raises(DataError, match=re.escape(reason)):
        read_paddings(tsv(("family", "language", "place", "text"), row))


def test_paraphrases_and_openers(tsv):
    path = tsv(("id", "paraphrase"), ("a1", r"why\nso?"))
    assert read_paraphrases(path) == {"a1": "why\nso?"}
    path = tsv(("language", "openers"), ("en", "write|compose"), ("en", "why|for what reason"))
    assert read_openers(path) == {"en": [("write", "compose"), ("why", "for what reason")]}


def test_paraphrases_are_of_test_prompts_in_other_words(shipped):
    texts = {each.prompt_id: each.text for each in shipped["test"]}
    found = read_paraphrases(SHIPPED / "paraphrases.tsv")
    assert len(found) >= 150
    assert set(found) <= set(texts)
    assert not [key for key, text in found.items() if text.casefold() == texts[key].casefold()]


def test_paddings_of_the_test_were_not_trained_on():
    trained = {each.text.casefold() for each in read_courtesies(SHIPPED / "courtesies.tsv")}
    tested = {each.text.casefold() for each in read_paddings(SHIPPED / "paddings.tsv")}
    assert not trained & tested


HEAD = ("id", "grade", "kind", "domain", "tokens")


def test_judgements_of_prompts_kept_elsewhere(tsv):
    found = read_judgements(tsv(HEAD, ("set/1", "4", "code", "software", "900.5")))
    assert list(found) == ["set/1"]
    assert (found["set/1"].grade, found["set/1"].tokens) == (4, 900.5)


@pytest.mark.parametrize(
    "row",
    [
        ("set/1", "four", "code", "software", "900"),
        ("set/1", "9", "code", "software", "900"),
        ("set/1", "4", "code", "software", "many"),
        ("set/1", "4", "code", "software", "nan"),
        ("set/1", "4", "knitting", "software", "900"),
        ("set/1", "4", "code", "software"),
    ],
)
def test_what_is_no_judgement_is_named(tsv, row):
    path = tsv(HEAD, ("set/0", "1", "chat", "everyday", "9"), row)
    with pytest.raises(DataError) as caught:
        read_judgements(path)
    assert str(caught.value).startswith(f"{path}, line 3: ")
    assert "\n" not in str(caught.value)


def test_forms_of_words_in_all_languages(tsv):
    path = tsv(
        ("english", "de", "fr"),
        ("prove", "Beweise| beweis ", "prouver"),
        ("proof", "beweis", ""),
    )
    # Where two claim a form, the first keeps it.
    assert read_lexicon(path) == {"beweise": "prove", "beweis": "prove", "prouver": "prove"}


def test_a_row_of_another_width_is_named(tsv):
    path = tsv(("english", "de"), ("prove", "beweise"), ("proof", "beweis", "preuve"))
    with pytest.raises(DataError, match="line 3: 3 columns instead of 2"):
        read_lexicon(path)


@pytest.fixture(scope="module")
def shipped():
    return {name: read_graded(SHIPPED / f"{name}.jsonl") for name in ("train", "test")}


def test_the_shipped_prompts_are_many_and_twice_graded(shipped):
    prompts = shipped["train"] + shipped["test"]
    assert len(prompts) >= 1_500
    assert all(len(each.judgements) == 2 for each in prompts)
    assert len({each.language for each in prompts}) >= 8
    assert len({each.prompt_id for each in prompts}) == len(prompts)


def test_no_theme_of_the_test_was_trained_on(shipped):
    train, test = ({each.theme for each in shipped[name]} for name in ("train", "test"))
    assert not train & test


def test_no_text_of_the_test_was_trained_on(shipped):
    train, test = (
        {" ".join(each.text.casefold().split()) for each in shipped[name] if len(each.text) > 30}
        for name in ("train", "test")
    )
    assert not train & test


def test_the_shipped_tables_are_read():
    assert len(read_lexicon(SHIPPED / "lexicon.tsv")) > 1_000
    assert {each.opens for each in read_courtesies(SHIPPED / "courtesies.tsv")} == {True, False}
    assert read_judgements(SHIPPED / "public_grades.tsv")
