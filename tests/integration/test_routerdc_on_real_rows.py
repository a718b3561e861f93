"""RouterDC's seven models on its authors' rows. Needs the data folder."""

import os
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from routers.base import ROUTERS
from routers.data.dataset import read_outcomes
from routers.embedders.static import StaticEmbedder
from routers.features.featurizer import Featurizer
from routers.options import build
from routers.training.recipe import read_recipe

ROOT = Path(__file__).parents[2]
FILE = Path(os.environ.get("STEELYARD_DATA_DIR", ROOT / "../shared/data")) / "routerdc7.parquet"
CHOICE = ("arc_challenge", "cmmlu", "mmlu")


@pytest.mark.skipif(not FILE.exists(), reason="STEELYARD_DATA_DIR has no routerdc7.parquet")
def test_it_chooses_as_well_as_the_benchmarks_names_do_and_no_worse_than_the_best_elsewhere():
    table = read_outcomes([FILE])
    part = np.array(pq.read_table(FILE, columns=["split"])["split"].to_pylist())
    train, test = np.flatnonzero(part == "train"), np.flatnonzero(part != "train")
    recipe = read_recipe(ROOT / "configs/training/routerdc.yaml")
    featurizer = Featurizer(StaticEmbedder(), recipe.blocks)
    featurizer.fit([table.conversations[i] for i in train])
    x = featurizer.transform(table.conversations)
    router = build(ROUTERS.get("routerdc"), recipe.options, noun="it")
    router.fit(
        x[train],
        table.labels.rows(train),
        rng=np.random.default_rng(0),
        length_column=featurizer.length_column,
    )
    picks = router.predict(x[test]).quality.argmax(axis=1)
    benchmark = np.array([group.split("/")[1] for group in table.groups])
    right = table.quality.copy()
    choice = np.isin(benchmark, CHOICE)
    right[choice] = right[choice] > 0  # as its authors count it
    scored = right[test][np.arange(len(test)), picks]

    def accuracy(names):
        return np.mean([scored[benchmark[test] == name].mean() for name in names])

    single = right[:, int(right[train].mean(axis=0).argmax())]
    elsewhere = ("javascript", "mbpp")
    best = np.mean([single[test][benchmark[test] == each].mean() for each in elsewhere])
    assert accuracy(["arc_challenge", "cmmlu", "humaneval", "mmlu"]) >= 0.56
    assert accuracy(elsewhere) >= max(0.505, best - 0.005)
