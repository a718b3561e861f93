"""Which task of a vocabulary a prompt asks for."""

import pytest

from routers.embedders.base import make_embedder
from routers.request.task_clauses import clauses
from routers.request.tasks import TaskRecogniser
from tests.support.task_prompts import EXAMPLES, ONE_STEP, TUNED_ON, TWO_STEPS

OLYMPUS_PRECISION = 0.9182


@pytest.fixture(scope="module")
def recogniser():
    return TaskRecogniser(EXAMPLES, make_embedder("static").encode, chains=True)


def told(recogniser, prompt):
    return ">".join(recogniser.recognise(prompt))


def test_chains_are_told_as_exactly_as_olympus_tells_them(recogniser):
    prompts = {**TWO_STEPS, **ONE_STEP}
    found = {prompt: told(recogniser, prompt) for prompt in prompts}
    chains = [prompt for prompt, task in found.items() if ">" in task]
    right = [prompt for prompt in chains if found[prompt] == prompts[prompt]]
    assert len(right) >= OLYMPUS_PRECISION * len(chains)
    assert len(right) >= 0.85 * len(TWO_STEPS)


def test_prompts_of_one_step_or_none_are_told_as_such(recogniser):
    found = [told(recogniser, prompt) == task for prompt, task in ONE_STEP.items()]
    assert sum(found) >= 0.9 * len(found)


@pytest.mark.parametrize("prompt", [p for p, task in TUNED_ON.items() if ">" in task])
def test_what_was_tuned_on_is_right(recogniser, prompt):
    assert told(recogniser, prompt) == TUNED_ON[prompt]


def test_without_chains_there_is_one_task_at_most():
    alone = TaskRecogniser(EXAMPLES, make_embedder("static").encode)
    for prompt in TWO_STEPS:
        assert len(alone.recognise(prompt)) <= 1


@pytest.mark.parametrize(
    "prompt", ["", " ", "?", "\x00", "😀" * 300, "and then and then", "x" * 9000]
)
def test_odd_prompts_are_no_task(recogniser, prompt):
    assert recogniser.recognise(prompt) == ()


def test_what_is_asked_counts_and_not_what_it_is_asked_of(recogniser):
    material = "SELECT name FROM customers JOIN orders USING (id);\n" * 20
    prompt = f"Translate the following comment into French:\n\n```sql\n{material}```"
    assert told(recogniser, prompt) == "translate"


def test_a_higher_bar_tells_fewer_tasks():
    embed = make_embedder("static").encode
    counts = [
        sum(bool(TaskRecogniser(EXAMPLES, embed, least_chance=bar).recognise(p)) for p in ONE_STEP)
        for bar in (0.3, 0.6, 0.9, 1.0)
    ]
    assert counts == sorted(counts, reverse=True)
    assert counts[-1] == 0


def test_chances_are_no_more_than_one_together(recogniser):
    chances = recogniser.chances(list(TWO_STEPS))
    assert (chances >= 0).all()
    assert (chances.sum(axis=1) <= 1 + 1e-9).all()


@pytest.mark.parametrize(
    ("text", "pair"),
    [
        ("read it and then translate it", ("read it", "translate it")),
        ("translate it after reading it", ("reading it", "translate it")),
        ("before translating it, read it", ("read it", "translating it")),
        ("after reading it, translate it", ("reading it", "translate it")),
        ("read it before you translate it", ("read it", "translate it")),
        ("first read it, then translate it", ("read it", "translate it")),
        ("read it -> translate it", ("read it", "translate it")),
        ("Read it. Then translate it.", ("Read it", "translate it.")),
        ("translate it once you have read it", ("read it", "translate it")),
    ],
)
def test_a_request_comes_apart_in_the_order_in_which_things_are_done(text, pair):
    assert pair in [tuple(part.strip() for part in each) for each in clauses(text)]


@pytest.mark.parametrize("text", ["", "translate it", "a and b", ",,,,", "then", "before"])
def test_what_is_one_thing_does_not_come_apart(text):
    assert list(clauses(text)) == []


def test_a_long_list_does_not_come_apart_everywhere():
    assert len(list(clauses("read this, " * 5000))) < 30
