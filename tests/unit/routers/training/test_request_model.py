"""Training the model of requests, on a set so small that it takes seconds."""

import numpy as np
import pytest

from routers.data.graded import Courtesy, Judgement, read_courtesies, read_graded
from routers.embedders.base import make_embedder
from routers.request.layout import LEVELS
from routers.request.model import RequestModel
from routers.text.conversation import ConversationText
from routers.training.request_model import fit_levels, train
from routers.training.rewording import Judged, alone, reworded, with_typos
from tests.support.gateway import CONFIGS

THINGS = ("bank", "river", "lamp", "metric")
TRIVIAL = (1, "question", "everyday", 20.0)
DEMANDING = (5, "mathematics", "mathematics", 1500.0)
TEMPLATES = (
    ("What colour is a {}?", TRIVIAL),
    ("Prove that every {} is bounded, and say where completeness is needed.", DEMANDING),
)
COURTESIES = (
    Courtesy("en", opens=True, text="Good day to you!"),
    Courtesy("en", opens=False, text="Many thanks."),
)


def judged(text: str, theme: str, judgement) -> Judged:
    grade, kind, domain, tokens = judgement
    return Judged(
        text=ConversationText(prompt=text),
        judgements=(Judgement(grade=grade, kind=kind, domain=domain, tokens=tokens),),
        theme=theme,
        language="en",
    )


OWN = [judged(text.format(each), each, found) for each in THINGS for text, found in TEMPLATES]
PUBLIC = [judged("Name a colour.", "public", TRIVIAL)]


@pytest.fixture(scope="module")
def embedder():
    return make_embedder("static", {})


@pytest.fixture(scope="module")
def trained(embedder):
    def once():
        return train(
            OWN,
            PUBLIC,
            [],
            embedder=embedder,
            lexicon={"beweise": "prove", "farbe": "colour"},
            courtesies=COURTESIES,
            openers={"en": [("what colour is", "which colour has")]},
            seed=3,
        )

    return once(), once()


def test_training_twice_gives_the_same_to_the_bit(trained):
    (first, facts), (second, more) = trained
    assert facts == more
    assert list(first) == list(second)
    for name, array in first.items():
        assert array.dtype == second[name].dtype
        assert array.tobytes() == second[name].tobytes(), name


def test_the_facts_say_what_was_read(trained):
    _, facts = trained[0]
    assert (facts["graded_prompts"], facts["public_prompts"]) == (len(OWN), len(PUBLIC))
    assert (facts["outcome_rows"], facts["outcome_models"], facts["seed"]) == (0, 0, 3)


def test_the_arrays_are_a_model_that_learned_the_order(trained, embedder):
    model = RequestModel(embedder, trained[0][0])
    assert model.n_directions == 0
    prompts = ("What colour is a queue?", "Prove that a queue is bounded.", "Beweise die Farbe")
    found, _ = model.describe([ConversationText(prompt=prompt) for prompt in prompts])
    assert found.demand[0] + 0.3 < found.demand[1]
    # Of the German words one means "prove", and the gloss carries it.
    assert found.demand[0] < found.demand[2]
    assert found.log_tokens[0] < found.log_tokens[1]


def test_lengths_by_level_are_those_of_the_prompts(trained):
    lengths = trained[0][0]["level_lengths"]
    assert lengths.shape == (len(LEVELS),)
    assert lengths[0] == pytest.approx(np.log1p(20), abs=1e-4)
    assert lengths[-1] == pytest.approx(np.log1p(1500), abs=1e-4)


def test_cuts_and_slopes_are_found_again():
    rng = np.random.default_rng(0)
    scores = rng.normal(0, 1, (4000, 2))
    cuts, slopes = np.array([-2.0, -0.5, 0.5, 2.0]), np.array([1.5, 0.5])
    latent = scores @ slopes + rng.normal(0, 1, len(scores))
    reached = (latent[:, None] > cuts).astype(float)
    found_cuts, found_slopes = fit_levels(scores, reached)
    np.testing.assert_allclose(found_cuts, cuts, atol=0.15)
    np.testing.assert_allclose(found_slopes, slopes, atol=0.15)


def test_cuts_stay_in_order_where_levels_are_missing():
    rng = np.random.default_rng(1)
    scores = rng.normal(0, 1, (200, 1))
    # All prompts are either trivial or very demanding.
    reached = np.repeat(scores + rng.normal(0, 1, (200, 1)) > 0, 4, axis=1).astype(float)
    cuts, _ = fit_levels(scores, reached)
    assert (np.diff(cuts) >= 0).all()
    assert np.isfinite(cuts).all()


def test_typing_errors_touch_letters_of_some_words():
    text = "the quick brown foxes jumped over several lazy sleeping dogs " * 20
    mistyped = with_typos(text, np.random.default_rng(0))
    pairs = list(zip(text.split(" "), mistyped.split(" "), strict=True))
    changed = [(word, other) for word, other in pairs if word != other]
    assert 0.02 < len(changed) / len(pairs) < 0.2
    for word, other in changed:
        assert len(word) > 3
        assert len(word) - len(other) in (0, 1)
        assert not set(other) - set(word)


def test_short_words_and_marks_are_never_mistyped():
    text = "a is ok: 1234 {x} foo_bar() " * 50
    assert with_typos(text, np.random.default_rng(0)) == text


def test_a_reworded_prompt_keeps_its_grade_and_begins_in_other_words():
    prompts = [judged(f"What colour is a lamp number {i}?", "lamp", TRIVIAL) for i in range(40)]
    openers = {"en": [("what colour is", "which colour has")]}
    found = reworded(prompts, openers, np.random.default_rng(0))
    assert {each.grade for each in found} == {1}
    assert any(each.text.prompt.startswith("which colour has") for each in found)
    assert len({each.text.prompt for each in found}) > 10
    assert not {each.text.prompt for each in found} & {each.text.prompt for each in prompts}
    # An opener is a whole word.
    whatever = [judged("What colour isolates it", "lamp", TRIVIAL)] * 40
    assert not any(
        each.text.prompt.startswith("which")
        for each in reworded(whatever, openers, np.random.default_rng(0))
    )


def test_courtesies_by_themselves_are_trivial():
    found = alone([*COURTESIES, Courtesy("en", opens=True, text="a" * 200)])
    assert [each.text.prompt for each in found] == [each.text for each in COURTESIES]
    assert {each.grade for each in found} == {1}


def test_graded_prompts_and_courtesies_name_languages_alike():
    folder = CONFIGS / "graded_prompts"
    written = {each.language for each in read_graded(folder / "train.jsonl")}
    polite = {each.language for each in read_courtesies(folder / "courtesies.tsv")}
    # Else no prompt would be padded in training.
    assert polite <= written
