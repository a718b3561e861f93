import json
import shutil

import numpy as np
import pytest

from routers.artifact.load import load_artifact
from routers.artifact.save import save_onboarded
from routers.errors import ArtifactError, RoutingConfigError
from routers.models import ModelSpec, Prices
from routers.training.fit import fit
from routers.training.onboarding.place import AbilityPrior, AnchorOutcomes, place_model
from routers.training.recipe import EmbedderRecipe, Recipe
from routers.types import Conversation
from tests.support.outcomes import write_outcomes

RECIPE = Recipe(
    embedder=EmbedderRecipe(kind="hashing", options={"dimensions": 64}), calibration_folds=3
)
PRICES = Prices(input_usd_per_mtok=1.0, output_usd_per_mtok=2.0)
PROMPTS = [Conversation.of(f"Write a poem about {i}") for i in range(30)]
PROMPTS += [Conversation.of(f"Add the numbers {i} and 7") for i in range(30)]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("onboarded")
    data = write_outcomes(folder / "data.parquet")
    fit([data], folder / "router", recipe=RECIPE, created_at="now", steelyard_version="0")
    return folder / "router"


def onboard(artifact, out, name="new", quality=None):
    x = artifact.featurizer.transform(PROMPTS)
    base = artifact.predict_base(x)
    if quality is None:
        quality = np.asarray([0.0] * 30 + [1.0] * 30)
    added = place_model(
        name,
        AnchorOutcomes(x=x, quality=quality, output_tokens=np.full(60, 50.0)),
        base=base,
        prior=AbilityPrior.of(artifact.calibration.quality_predicted[:, :2]),
    )
    record = {"n_anchors": 60}
    save_onboarded(out, artifact, added, prices=PRICES, record=record, created_at="then")
    return load_artifact(out)


@pytest.fixture(scope="module")
def pair(trained, tmp_path_factory):
    before = load_artifact(trained)
    out = tmp_path_factory.mktemp("after") / "router"
    return before, onboard(before, out), out


def same(one, two):
    return all(
        (getattr(one, name) == getattr(two, name)).all()
        for name in ("quality", "quality_std", "output_tokens", "output_tokens_upper")
    )


def test_an_onboarded_model_leaves_the_others_as_they_were(pair):
    before, after, _ = pair
    x = before.featurizer.transform(PROMPTS)
    assert after.models == ("small", "large", "new")
    assert same(after.predict(x).columns([0, 1]), before.predict(x))
    assert same(after.predict_base(x), before.predict(x))
    assert after.version != before.version
    assert after.prices["new"] == PRICES
    assert after.manifest["onboarded"] == [{"model": "new", "n_anchors": 60}]
    assert after.manifest["metrics"] == before.manifest["metrics"]


def test_the_onboarded_model_is_predicted_by_its_anchors(pair):
    _, after, _ = pair
    quality = after.predict_conversations(PROMPTS).quality[:, 2]
    assert quality[30:].mean() > quality[:30].mean() + 0.3
    assert after.predict_conversations(PROMPTS).output_tokens[:, 2].mean() == pytest.approx(
        50, rel=0.3
    )


def test_the_knob_of_the_old_candidates_does_not_move(pair):
    before, after, _ = pair
    old = [spec("small", before), spec("large", before)]
    assert after.knob_curve(old) == before.knob_curve(old)
    assert after.knob_curve([*old, spec("new", after)]) != before.knob_curve(old)
    assert after.knob == after.knob_curve([*old, spec("new", after)])


def spec(model, artifact):
    return ModelSpec(
        model_id=model,
        predicted_as=model,
        prices=artifact.prices[model],
        context_window_tokens=1000,
    )


def test_a_clone_of_a_model_changes_nothing_for_the_others(trained, tmp_path):
    before = load_artifact(trained)
    x = before.featurizer.transform(PROMPTS)
    clone = before.predict(x).quality[:, 0].astype(float)
    after = onboard(before, tmp_path / "clone", "clone", quality=clone)
    assert same(after.predict(x).columns([0, 1]), before.predict(x))
    found = after.predict(x).quality[:, 2]
    assert np.abs(found - clone).mean() < 0.1


def test_onboarding_again_replaces_and_others_stay(pair, tmp_path):
    _, after, _ = pair
    x = after.featurizer.transform(PROMPTS)
    both = onboard(after, tmp_path / "both", "other")
    assert both.models == ("small", "large", "new", "other")
    assert same(both.predict(x).columns([0, 1, 2]), after.predict(x))
    again = onboard(both, tmp_path / "again", "new", quality=np.ones(60))
    assert again.models == ("small", "large", "other", "new")
    assert same(again.predict(x).columns([2]), both.predict(x).columns([3]))
    assert again.predict(x).quality[:, 3].mean() > 0.9
    assert [each["model"] for each in again.manifest["onboarded"]] == ["other", "new"]


def test_the_same_onboarding_gives_the_same_version(pair, trained, tmp_path):
    before, after, out = pair
    again = onboard(before, tmp_path / "again")
    assert again.version == after.version
    assert (tmp_path / "again/weights.npz").read_bytes() == (out / "weights.npz").read_bytes()


def test_a_trained_model_cannot_be_onboarded(trained, tmp_path):
    with pytest.raises(RoutingConfigError, match="trained on 'large'"):
        onboard(load_artifact(trained), tmp_path / "no", "large")


def test_onboarded_models_have_to_be_the_last(pair, tmp_path):
    from routers.artifact.manifest import digest_of

    folder = shutil.copytree(pair[2], tmp_path / "copy")
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["models"] = ["new", "small", "large"]
    manifest["digest"] = digest_of(manifest)
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ArtifactError, match="not the last"):
        load_artifact(folder)
