"""On real outcomes: promises of the knob, worth of the router. Needs the data folder."""

import os
from pathlib import Path

import pytest

from routers.training.fit import fit
from routers.training.recipe import Recipe, read_recipe

ROOT = Path(__file__).parents[2]
DATA = Path(os.environ.get("STEELYARD_DATA_DIR", ROOT / "../shared/data"))

needs_data = pytest.mark.skipif(
    not (DATA / "routerbench.parquet").exists(), reason="STEELYARD_DATA_DIR has no outcome files"
)


def metrics(name: str, recipe: Recipe, out: Path) -> dict:
    path = DATA / f"{name}.parquet"
    report = fit([path], out, recipe=recipe, created_at="", steelyard_version="0")
    return report.manifest["metrics"]


@needs_data
@pytest.mark.parametrize("name", ["routerbench", "mmlupro_tiger", "mmlupro_carrot"])
def test_promises_hold_within_a_tenth_on_held_out_rows(name, tmp_path):
    recipe = read_recipe(ROOT / "configs/training/carrot-knn.yaml")
    found = metrics(name, recipe, tmp_path)
    for step in found["knob"]:
        assert step["share_of_gap"] == pytest.approx(step["cost_quality"], abs=0.10)
    # Worth having: above what mixing single models achieves.
    assert found["aiq"] > found["aiq_zero_router"]


@needs_data
def test_the_main_recipes_beat_mixing_models_clearly_on_routerbench(tmp_path):
    for name in ("carrot-knn", "carrot-linear", "carrot-mlp"):
        file = ROOT / f"configs/training/{name}.yaml"
        found = metrics("routerbench", read_recipe(file), tmp_path / file.stem)
        assert found["aiq"] > found["aiq_zero_router"] + 0.015, file.name
        assert found["quality_calibration_error"] < 0.05, file.name
        # Lengths are whole numbers with many ties, so the quantile covers rather more than less.
        assert 0.88 <= found["upper_tokens_coverage"] <= 0.95, file.name
