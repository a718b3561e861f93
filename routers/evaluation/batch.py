"""Route a file of prompts at several positions of the knob."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from routers.artifact.artifact import RouterArtifact
from routers.data.csv_file import csv_records
from routers.data.jsonl import queries_of
from routers.data.lines import json_items
from routers.data.opening import suffix_of
from routers.data.parquet import read_queries
from routers.data.part import Queries
from routers.data.prices import read_prices
from routers.decision.choice import choose_each
from routers.errors import DataError
from routers.evaluation.assess import predicted_costs
from routers.files import replacing
from routers.models import ModelSpec, Prices, PriceTable
from routers.text.token_estimate import estimate_tokens

_BLOCK = 2048
"""Queries embedded at a time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchReport:
    """What a batch run wrote."""

    n_queries: int
    n_rows: int
    shares: dict[str, dict[str, float]]
    """Knob position → model → share of the queries it took."""


def route_batch(
    artifact: RouterArtifact,
    data: Path,
    out: Path,
    *,
    cost_quality: Sequence[float],
    prices_file: Path | None = None,
) -> BatchReport:
    """Decide every query of a file at every knob position, and write the decisions.

    The output has one row per query and position, queries in file order: `query_id`, `knob`,
    `model`, and for every model M of the artifact `quality:M`, `tokens:M`, `cost_usd:M` as
    predicted. Of the input (parquet, CSV or JSONL) only `query_id`, `prompt`, `messages` and, where
    present, `query` are read. The same input gives the same bytes.

    Raises
    ------
    DataError
        If the input or the prices cannot be read, or the output cannot be written.
    """
    import pyarrow as pa  # noqa: PLC0415  (serving has no pyarrow)
    import pyarrow.parquet as pq  # noqa: PLC0415

    prices = prices_of(artifact, prices_file)
    queries = _queries(data)
    n, models = len(queries.query_ids), artifact.models
    blocks = [
        artifact.predict_conversations(queries.conversations[start : start + _BLOCK])
        for start in range(0, n, _BLOCK)
    ]
    quality = np.concatenate([block.quality for block in blocks]).astype(np.float64)
    tokens = np.concatenate([block.output_tokens for block in blocks]).astype(np.float64)
    input_tokens = np.asarray([estimate_tokens(each) for each in queries.billed], np.float64)
    cost = predicted_costs(input_tokens, tokens, models, prices)
    knob = artifact.knob_curve(
        [
            ModelSpec(
                model_id=model,
                predicted_as=model,
                prices=prices[model],
                context_window_tokens=2**31 - 1,
            )
            for model in models
        ]
    )
    rates = map(knob.usd_per_quality_for, cost_quality)
    picks = choose_each(quality, cost, rates, model_ids=models).T
    k = len(cost_quality)
    names = np.asarray(models, dtype=object)
    columns: dict[str, pa.Array] = {
        "query_id": pa.array(np.repeat(np.asarray(queries.query_ids, dtype=object), k)),
        "knob": pa.array(np.tile(np.asarray(cost_quality, np.float64), n)),
        "model": pa.array(names[picks.ravel()]),
    }
    for family, values in (("quality", quality), ("tokens", tokens), ("cost_usd", cost)):
        for column, model in enumerate(models):
            columns[f"{family}:{model}"] = pa.array(np.repeat(values[:, column], k))
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with replacing(out) as partial:
            pq.write_table(pa.table(columns), partial, compression="zstd")
    except OSError as error:
        raise DataError(f"{out}: cannot be written ({error.strerror})") from error
    shares = {
        f"{t:g}": {
            model: float(share)
            for column, model in enumerate(models)
            if (share := (picks[:, i] == column).mean()) > 0
        }
        for i, t in enumerate(cost_quality)
    }
    return BatchReport(n_queries=n, n_rows=n * k, shares=shares)


def _queries(path: Path) -> Queries:
    suffix = suffix_of(path)
    if suffix in (".csv", ".tsv"):
        return queries_of(str(path), csv_records(path))
    if suffix in (".jsonl", ".ndjson", ".json"):
        return queries_of(str(path), json_items(path))
    return read_queries(path)


def prices_of(artifact: RouterArtifact, file: Path | None) -> PriceTable:
    """Return today's prices where a file is given, else those of the training.

    Raises
    ------
    DataError
        If the file cannot be used, or lists no price of a model.
    """
    if file is None:
        return artifact.prices
    listed: dict[str, Prices] = read_prices(file, artifact.models)
    missing = [model for model in artifact.models if model not in listed]
    if missing:
        raise DataError(f"{file}: lists no price of {', '.join(missing)}")
    return listed
