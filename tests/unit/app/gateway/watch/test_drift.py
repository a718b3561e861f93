"""Sampled prompts held against the training data, beside the request path."""

import copy

import numpy as np

from app.gateway.decide import PROBE_EVERY
from app.gateway.watch.drift import DriftSamples, Level
from routers.probe import Probe, Stage
from routers.types import Conversation

PLAIN = "What is the capital of France? Answer in one word."
STRANGE = "zxqv " * 40


def features(artifact, prompt):
    return artifact.featurizer.transform([Conversation.of(prompt)])


def usual(artifact):
    """Return features in the middle of the training data."""
    return artifact.router.novelty_.centres_[:1]


def test_a_prompt_unlike_the_training_data_is_farther_and_less_familiar(trained_artifact):
    artifact = trained_artifact
    samples = DriftSamples()
    for x in (usual(artifact), features(artifact, STRANGE)):
        samples.hold("default", artifact, x)
    like, unlike = samples.take()
    assert samples.take() == []
    assert abs(like.distance) < 1e-3
    assert like.level is Level.FAMILIAR
    assert 0.2 < unlike.distance <= 2
    assert unlike.level is Level.UNFAMILIAR


def test_familiarity_agrees_with_how_much_predictions_are_trusted(trained_artifact):
    artifact = trained_artifact
    novelty = artifact.router.novelty_
    between = features(artifact, STRANGE)
    # Between the bounds: something is believed, but not everything.
    mixed = [(1 - w) * usual(artifact) + w * between for w in np.linspace(0, 1, 21)]
    x = np.vstack(mixed).astype(np.float32)
    familiarity, trust = artifact.familiarity(x), novelty.trust(x)
    assert (familiarity.unlike_most == (trust < 1)).all()
    assert (familiarity.unlike_all == (trust == trust.min())).all()
    assert any(familiarity.unlike_most & ~familiarity.unlike_all)
    samples = DriftSamples()
    for row in x:
        samples.hold("default", artifact, row[None])
    assert {each.level for each in samples.take()} == set(Level)


def test_only_so_many_prompts_wait(trained_artifact):
    artifact = trained_artifact
    samples, x = DriftSamples(), features(trained_artifact, PLAIN)
    for _ in range(2000):
        samples.hold("default", artifact, x)
    assert len(samples.take()) == 512


def test_a_probe_tells_the_stages_and_changes_no_prediction(trained_artifact):
    artifact, ticks = trained_artifact, iter(range(1000))
    probe = Probe(clock=lambda: float(next(ticks)))
    probe.start()
    conversation = Conversation.of(PLAIN)
    probed = artifact.predict_conversations([conversation], probe=probe)
    plain = artifact.predict_conversations([conversation])
    assert np.array_equal(probed.quality, plain.quality)
    assert set(probe.seconds) == {Stage.TOKENISE, Stage.EMBED, Stage.FEATURES, Stage.SCORE}
    assert probe.seconds[Stage.TOKENISE] == probe.seconds[Stage.EMBED] == 1
    assert probe.x is not None
    assert probe.x.shape == (1, artifact.featurizer.dimensions)
    assert PROBE_EVERY > 1


def test_a_router_that_remembers_no_training_data_has_no_distances(artifacts):
    artifact, samples = artifacts["carrot"], DriftSamples()
    router = copy.copy(artifact.router)
    router.novelty_ = None
    forgetful = copy.copy(artifact)
    forgetful.router = router
    samples.hold("default", forgetful, features(artifact, PLAIN))
    assert samples.take() == []
