"""What every feature block promises, whatever its kind."""

import numpy as np
import pytest

from routers.embedders.base import make_embedder
from routers.errors import RoutingConfigError
from routers.features.blocks.base import BLOCKS
from routers.features.featurizer import Featurizer
from routers.media.values import Media, Picture
from routers.types import Conversation, Message, Role

KINDS = BLOCKS.kinds()
QUESTIONS = ("What is {} plus two?", "Name a river near {}.", "Schreib ein Gedicht über {}!")
MEDIA = (None, Media(pictures=(Picture(tokens=255, tokens_upper=510, width_px=512, height_px=9),)))
JUDGED = ((), (0.0, 0.0, 0.25, 0.75))
CONVERSATIONS = [
    Conversation(
        (Message(Role.USER, QUESTIONS[n % 3].format(n)),), MEDIA[n % 2], judged=JUDGED[n % 2]
    )
    for n in range(60)
]


def blocks_for(kind):
    """List what `kind` is made of, at any depth, and then itself."""
    needed = dict.fromkeys(each for name in BLOCKS.get(kind).inputs for each in blocks_for(name))
    return (*needed, kind)


@pytest.fixture(params=KINDS)
def kind(request):
    return request.param


@pytest.fixture
def featurizer(kind):
    return Featurizer(make_embedder("static"), blocks_for(kind)).fit(CONVERSATIONS, seed=0)


def columns(featurizer, kind, conversations):
    return featurizer.transform(conversations)[:, featurizer.columns()[kind]]


def test_columns_are_finite_float32_and_as_many_as_it_says(featurizer, kind):
    x = columns(featurizer, kind, CONVERSATIONS)
    assert x.dtype == np.float32
    assert x.shape[1] > 0
    assert featurizer.transform(CONVERSATIONS).shape == (60, featurizer.dimensions)
    assert np.isfinite(x).all()


def test_different_texts_differ(featurizer, kind):
    assert columns(featurizer, kind, CONVERSATIONS).std(axis=0).max() > 0


def test_no_text_gives_no_rows(featurizer):
    assert featurizer.transform([]).shape == (0, featurizer.dimensions)


def test_rows_do_not_depend_on_their_neighbours(featurizer, kind):
    together = columns(featurizer, kind, CONVERSATIONS[:8])
    alone = [columns(featurizer, kind, [each]) for each in CONVERSATIONS[:8]]
    assert together == pytest.approx(np.concatenate(alone), abs=1e-5)


def test_what_was_learned_comes_back_from_plain_arrays(featurizer):
    again = Featurizer.from_schema(featurizer.schema, featurizer.state())
    assert (again.transform(CONVERSATIONS) == featurizer.transform(CONVERSATIONS)).all()


@pytest.mark.parametrize("kind", [kind for kind in KINDS if not BLOCKS.get(kind).learns])
def test_a_block_that_learns_nothing_refuses_arrays(featurizer, kind):
    with pytest.raises(ValueError, match="learns nothing: stray"):
        Featurizer.from_schema(featurizer.schema, {f"{kind}/stray": np.zeros(1)})


def test_only_a_block_that_learns_depends_on_the_training_set(kind):
    here, there = (
        Featurizer(make_embedder("static"), blocks_for(kind)).fit(part, seed=0)
        for part in (CONVERSATIONS[:40], CONVERSATIONS[20:])
    )
    same = np.array_equal(columns(here, kind, CONVERSATIONS), columns(there, kind, CONVERSATIONS))
    assert same is not BLOCKS.get(kind).learns


def test_what_texts_alone_give_may_be_computed_beforehand(featurizer, kind):
    known = featurizer.precompute(CONVERSATIONS)
    made_of_texts = not BLOCKS.get(kind).learns and not BLOCKS.get(kind).inputs
    assert (kind in known) is made_of_texts
    given = featurizer.transform(CONVERSATIONS, known=known)
    assert (given == featurizer.transform(CONVERSATIONS)).all()


@pytest.mark.parametrize(
    ("kind", "missing"), [(kind, each) for kind in KINDS for each in BLOCKS.get(kind).inputs]
)
def test_what_it_reads_has_to_stand_before_it(kind, missing):
    others = [each for each in blocks_for(kind) if each != missing]
    with pytest.raises(RoutingConfigError, match="needs these before it"):
        Featurizer(make_embedder("static"), others)
