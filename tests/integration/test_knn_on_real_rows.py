"""On real prompts: what a kNN head's shortlist misses, and whether it matters."""

import os
from pathlib import Path

import numpy as np
import pytest

from routers.data.dataset import read_outcomes
from routers.embedders.base import make_embedder
from routers.features.featurizer import Featurizer
from routers.heads.knn import KnnHead
from routers.numeric import unit_rows

ROOT = Path(__file__).parents[2]
DATA = Path(os.environ.get("STEELYARD_DATA_DIR", ROOT / "../shared/data"))
N_QUERIES = 300

needs_data = pytest.mark.skipif(
    not (DATA / "routellm_mmlu.parquet").exists(), reason="STEELYARD_DATA_DIR has no outcome files"
)


@needs_data
def test_a_shortlist_keeps_98_of_100_neighbours_and_the_quality_of_predictions():
    table = read_outcomes([DATA / "routellm_mmlu.parquet", DATA / "llmrouter9.parquet"])
    order = np.random.default_rng(0).permutation(len(table.conversations))
    prompts = [table.conversations[row] for row in order]
    x = Featurizer(make_embedder("static", {})).fit(prompts).transform(prompts)
    y = table.quality[order]
    new, known = x[:N_QUERIES], x[N_QUERIES:]
    ours, exact = (
        KnnHead(search=search).fit(known, y[N_QUERIES:], rng=np.random.default_rng(0))
        for search in ("auto", "exact")
    )
    assert ours.shortlist_ is not None

    similarity = unit_rows(new) @ ours.x_.T
    found, best = (
        np.take_along_axis(similarity, head.nearest(new), axis=1) for head in (ours, exact)
    )
    assert (found >= best.min(axis=1, keepdims=True) - 1e-6).mean() >= 0.98

    error, least = (
        np.nanmean((head.predict_mean(new) - y[:N_QUERIES]) ** 2) for head in (ours, exact)
    )
    assert error == pytest.approx(least, rel=0.01)
