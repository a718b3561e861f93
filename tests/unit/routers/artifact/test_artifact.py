import json
import shutil
import subprocess
import sys

import numpy as np
import pytest

from routers.artifact.load import load_artifact
from routers.errors import ArtifactError, RoutingConfigError
from routers.models import ModelSpec, Prices
from routers.training.fit import fit
from routers.training.recipe import EmbedderRecipe, Recipe
from routers.types import Conversation
from tests.support.outcomes import write_outcomes

RECIPE = Recipe(
    options={"quality_head": {"kind": "mlp", "options": {"n_networks": 1}}},
    embedder=EmbedderRecipe(kind="hashing", options={"dimensions": 64}),
    calibration_folds=2,
)
PROMPTS = [
    Conversation.of("Write a poem about the river 7 under the moon 12."),
    Conversation.of("Add the numbers 1 and 2 and explain every step."),
]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("artifact")
    data = write_outcomes(folder / "data.parquet")
    fit([data], folder / "router", recipe=RECIPE, created_at="now", steelyard_version="0")
    return folder / "router"


@pytest.fixture
def copy(trained, tmp_path):
    return shutil.copytree(trained, tmp_path / "router")


def edit(folder, change, *, resign=True):
    """Change the manifest; with `resign`, as someone would who knows how digests are made."""
    from routers.artifact.manifest import digest_of

    file = folder / "manifest.json"
    manifest = json.loads(file.read_text())
    change(manifest)
    if resign:
        manifest["digest"] = digest_of(manifest)
    file.write_text(json.dumps(manifest))


def repack(folder, change):
    """Change the arrays and make the manifest agree with their bytes, but not their list."""
    import hashlib

    with np.load(folder / "weights.npz") as archive:
        arrays = {name: archive[name] for name in archive.files}
    change(arrays)
    np.savez(folder / "weights.npz", **arrays)
    digest = hashlib.sha256((folder / "weights.npz").read_bytes()).hexdigest()
    edit(folder, lambda manifest: manifest.update(weights_sha256=digest))


def spec(model, p_in=1.0, p_out=2.0, name=None):
    return ModelSpec(
        model_id=name or model,
        predicted_as=model,
        prices=Prices(input_usd_per_mtok=p_in, output_usd_per_mtok=p_out),
        context_window_tokens=1000,
    )


def test_a_loaded_artifact_predicts_and_knows_itself(trained):
    artifact = load_artifact(trained)
    predictions = artifact.predict_conversations(PROMPTS)
    assert artifact.models == ("small", "large")
    assert predictions.quality.shape == (2, 2)
    # The small model cannot write poems but adds as well as the large one.
    poem, addition = predictions.quality[:, 1] - predictions.quality[:, 0]
    assert poem > 0.3
    assert addition < poem - 0.2
    assert len(artifact.version) == 12
    assert artifact.version == artifact.manifest["digest"][:12]
    assert artifact.column("large") == 1
    assert artifact.featurizer.schema.embedder == "hashing"
    assert artifact.prices["large"].output_usd_per_mtok == pytest.approx(15, rel=0.05)


def test_the_same_training_gives_the_same_bytes_whenever_it_runs(trained, tmp_path):
    data = write_outcomes(tmp_path / "data.parquet")
    fit([data], tmp_path / "again", recipe=RECIPE, created_at="later", steelyard_version="0")
    assert (tmp_path / "again/weights.npz").read_bytes() == (trained / "weights.npz").read_bytes()
    assert load_artifact(tmp_path / "again").version == load_artifact(trained).version


def test_another_seed_is_another_version(trained, tmp_path):
    data = write_outcomes(tmp_path / "data.parquet")
    recipe = RECIPE.model_copy(update={"seed": 1})
    report = fit([data], tmp_path / "other", recipe=recipe, created_at="", steelyard_version="0")
    assert report.version != load_artifact(trained).version


def test_the_manifest_tells_how_the_router_came_about(trained):
    manifest = json.loads((trained / "manifest.json").read_text())
    assert manifest["strategy"]["kind"] == "carrot"
    assert manifest["data"][0]["rows"] == 240
    assert len(manifest["data"][0]["sha256"]) == 64
    assert manifest["training"]["n_outcomes"] == 480
    assert manifest["training"]["price_origin"] == {"small": "costs", "large": "costs"}
    assert manifest["metrics"]["aiq"] > manifest["metrics"]["aiq_zero_router"]
    assert [step["cost_quality"] for step in manifest["metrics"]["knob"]] == [
        0,
        0.2,
        0.4,
        0.6,
        0.8,
        1,
    ]
    assert manifest["notes"] == {"output_tokens": "learned"}


def test_the_stored_curve_is_that_of_all_models_at_training_prices(trained):
    artifact = load_artifact(trained)
    specs = [
        spec(m, artifact.prices[m].input_usd_per_mtok, artifact.prices[m].output_usd_per_mtok)
        for m in artifact.models
    ]
    assert artifact.knob_curve(specs) == artifact.knob


def test_curves_follow_prices_and_are_remembered(trained):
    artifact = load_artifact(trained)
    cheap = artifact.knob_curve([spec("small", 1, 1), spec("large", 2, 2)])
    dear = artifact.knob_curve([spec("small", 1, 1), spec("large", 200, 200)])
    assert dear.usd_per_quality_for(0.5) > 10 * cheap.usd_per_quality_for(0.5)
    again = artifact.knob_curve([spec("large", 2, 2), spec("small", 1, 1)])
    assert again is cheap


def test_curves_leave_out_unknown_prices(trained):
    artifact = load_artifact(trained)
    with_unknown = artifact.knob_curve(
        [spec("small"), spec("large", 9, 9), spec("large", None, None, name="x")]
    )
    assert with_unknown == artifact.knob_curve([spec("small"), spec("large", 9, 9)])
    assert artifact.knob_curve([spec("large", None, None)]).usd_per_quality_for(0.5) > 0


def test_unknown_models_are_refused_by_name(trained):
    artifact = load_artifact(trained)
    with pytest.raises(RoutingConfigError, match="'huge'; it knows: small, large"):
        artifact.column("huge")
    with pytest.raises(RoutingConfigError, match="huge"):
        artifact.knob_curve([spec("huge")])


def test_serving_loads_no_training_library(trained):
    script = (
        "import sys; from pathlib import Path; from routers.artifact.load import load_artifact\n"
        "from routers.types import Conversation\n"
        f"artifact = load_artifact(Path({str(trained)!r}))\n"
        "artifact.predict_conversations([Conversation.of('hello')])\n"
        "loaded = {name.split('.')[0] for name in sys.modules}\n"
        "heavy = loaded & {'sklearn', 'scipy', 'pyarrow', 'torch'}\n"
        "sys.exit(f'loaded {heavy}' if heavy else 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


# --- what is refused ------------------------------------------------------------------------------


def refused(folder, match):
    with pytest.raises(ArtifactError, match=match) as error:
        load_artifact(folder)
    assert "\n" not in str(error.value)


def test_missing_files_are_refused(copy, tmp_path):
    refused(tmp_path / "nowhere", r"is no artifact: manifest.json cannot be read")
    (copy / "weights.npz").unlink()
    refused(copy, "weights.npz cannot be read")


def test_damaged_weights_are_refused(copy):
    raw = bytearray((copy / "weights.npz").read_bytes())
    raw[len(raw) // 2] ^= 1
    (copy / "weights.npz").write_bytes(raw)
    refused(copy, "damaged")


def test_a_cut_manifest_is_refused(copy):
    text = (copy / "manifest.json").read_text()
    (copy / "manifest.json").write_text(text[: len(text) // 2])
    refused(copy, "not valid JSON")


def test_other_formats_are_refused(copy):
    edit(copy, lambda manifest: manifest.update(format=99))
    refused(copy, "format 99")


@pytest.mark.parametrize("content", ["[]", "null", "3"])
def test_manifests_that_are_no_object_are_refused(copy, content):
    (copy / "manifest.json").write_text(content)
    refused(copy, "format None")


def test_edited_manifests_are_refused(copy):
    edit(copy, lambda manifest: manifest["models"].reverse(), resign=False)
    refused(copy, "changed after training")


def test_missing_and_unknown_entries_are_refused(copy):
    edit(copy, lambda manifest: manifest.pop("seed"))
    refused(copy, "seed")


def test_another_embedder_is_refused(copy):
    edit(copy, lambda manifest: manifest["features"].update(embedder_id="other"))
    refused(copy, "embedder_id")


def test_another_feature_schema_is_refused(copy):
    edit(copy, lambda manifest: manifest["features"].update(dimensions=7))
    refused(copy, "dimensions")
    edit(copy, lambda manifest: manifest["features"].pop("blocks"))
    refused(copy, "blocks")


def test_unknown_strategies_and_options_are_refused(copy):
    edit(copy, lambda manifest: manifest["strategy"].update(kind="oracle"))
    refused(copy, "oracle")
    edit(copy, lambda manifest: manifest["strategy"].update(kind="carrot", options={"k": 1}))
    refused(copy, "option 'k'")


def test_missing_and_extra_arrays_are_refused(copy):
    repack(copy, lambda arrays: arrays.pop("router/factor"))
    refused(copy, r"different: router/factor")
    repack(copy, lambda arrays: arrays.update({"router/factor": np.ones(2, np.float32)}))
    repack(copy, lambda arrays: arrays.update(stowaway=np.ones(2)))
    refused(copy, r"different: stowaway")


def test_arrays_of_another_shape_are_refused(copy):
    repack(copy, lambda arrays: arrays.update({"router/factor": np.ones(5, np.float32)}))
    refused(copy, r"different: router/factor")


def test_a_model_list_of_another_length_is_refused(copy):
    def add(manifest):
        manifest["models"].append("third")
        manifest["prices"]["third"] = manifest["prices"]["small"]

    edit(copy, add)
    refused(copy, "model list")


def test_arrays_the_strategy_does_not_have_are_refused(copy):
    extra = np.ones(2, np.float32)
    repack(copy, lambda arrays: arrays.update({"router/stowaway": extra}))
    signature = {"dtype": extra.dtype.str, "shape": [2]}
    edit(copy, lambda manifest: manifest["arrays"].update({"router/stowaway": signature}))
    refused(copy, "stowaway")


def test_pickles_are_never_loaded(copy):
    repack(copy, lambda arrays: arrays.update(evil=np.asarray([{"a": 1}], dtype=object)))
    refused(copy, "plain arrays")


def test_numbers_that_are_none_are_refused(copy):
    def poison(arrays):
        arrays["router/factor"][:] = np.nan

    repack(copy, poison)
    refused(copy, "predictions")
