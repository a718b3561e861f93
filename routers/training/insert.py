"""Further outcomes for a router that remembers queries: nothing is fitted again."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from routers.artifact.load import load_artifact
from routers.artifact.save import save_grown
from routers.base import Labels
from routers.data.dataset import OutcomeTable, read_outcomes
from routers.errors import DataError
from routers.training.planted import find_planted


@dataclass(frozen=True, slots=True, kw_only=True)
class InsertReport:
    """What an artifact took in and forgot.

    Attributes
    ----------
    n_inserted, n_forgotten
        Queries.
    unknown_models
        Models of the data that the router does not predict; their outcomes were left out.
    """

    version: str
    n_inserted: int
    n_forgotten: int
    unknown_models: tuple[str, ...]


def insert(
    artifact_path: Path,
    out: Path,
    *,
    data: Sequence[Path] = (),
    forget: Sequence[Path] = (),
    created_at: str,
    trusted: Collection[str] = (),
    progress: Callable[[str], None] = lambda _: None,
) -> InsertReport:
    """Have an artifact's router remember further outcomes, and forget others; write it to `out`.

    What was learned otherwise stays, and so do the rows that calibrate the knob: they were
    predicted by what was learned without them.

    Parameters
    ----------
    data
        Outcomes, as for `fit`.
    forget
        Files with the prompts that are to be forgotten, as outcomes; they go first.
    created_at
        For the manifest only.

    Raises
    ------
    ArtifactError, DataError, RoutingConfigError
        If the router learns by fitting alone, the data tell nothing of its models, or no query
        would be left.
    """
    artifact = load_artifact(artifact_path, trusted=trusted)
    router, featurizer = artifact.router, artifact.featurizer
    if not router.remembers_queries:
        raise router.by_fitting_alone()
    files: list[dict[str, Any]] = []
    n_inserted = n_forgotten = 0
    unknown: tuple[str, ...] = ()
    if forget:
        progress("forgetting")
        table = read_outcomes(forget)
        n_forgotten = router.forget(featurizer.transform(table.conversations))
        files += _told(table, "forgotten")
    if data:
        progress("reading outcomes")
        table = read_outcomes(data)
        files += _told(table, "inserted")
        planted = find_planted(table.conversations, table.quality, featurizer.embed)
        if len(planted.rows):
            progress(planted.told())
            table = table.rows(np.setdiff1d(np.arange(len(table)), planted.rows))
        labels, rows = _aligned(table, router.models_)
        if not len(rows):
            raise DataError(
                "the data has no outcome of any model that the router was trained on; it knows: "
                f"{artifact.listed_models(table.models[0])}. steelyard onboard adds models"
            )
        unknown = tuple(each for each in table.models if each not in router.models_)
        progress(f"inserting {len(rows)} queries")
        x = featurizer.transform([table.conversations[i] for i in rows])
        router.insert(x, labels)
        n_inserted = len(rows)
    save_grown(
        out,
        artifact,
        record={
            "base_version": artifact.version,
            "n_inserted": n_inserted,
            "n_forgotten": n_forgotten,
            "data": files,
        },
        created_at=created_at,
    )
    return InsertReport(
        version=load_artifact(out, trusted=trusted).version,
        n_inserted=n_inserted,
        n_forgotten=n_forgotten,
        unknown_models=unknown,
    )


def _aligned(table: OutcomeTable, models: Sequence[str]) -> tuple[Labels, np.ndarray]:
    """Return outcomes with the columns `models`, of the rows that tell of any of them."""
    columns = [table.models.index(each) if each in table.models else -1 for each in models]
    known = np.asarray([column >= 0 for column in columns])
    quality = np.where(known, table.quality[:, columns], np.nan).astype(np.float32)
    tokens = np.where(known, table.output_tokens[:, columns], np.nan).astype(np.float32)
    rows = np.flatnonzero(~np.isnan(quality).all(axis=1))
    return Labels(models=tuple(models), quality=quality[rows], output_tokens=tokens[rows]), rows


def _told(table: OutcomeTable, as_what: str) -> list[dict[str, Any]]:
    return [
        {"file": each.name, "sha256": each.sha256, "rows": each.n_rows, "as": as_what}
        for each in table.files
    ]
