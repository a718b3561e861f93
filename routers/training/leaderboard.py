"""A router of subjects from published results alone: not one labelled prompt."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from routers.artifact.load import load_artifact
from routers.artifact.save import TrainingRecord, save_artifact
from routers.data.leaderboard import Leaderboard, read_leaderboard
from routers.data.lines import read_document
from routers.data.prices import read_prices
from routers.embedders.base import make_embedder
from routers.errors import DataError
from routers.features.featurizer import Featurizer
from routers.models import Prices
from routers.request.layout import DOMAINS
from routers.strategies.bench_coe import BenchCoeRouter
from routers.strategies.composition import CategoriesConfig, domain_of, printable
from routers.training.remap import calibration_rows
from routers.types import FloatMatrix

PRIOR_QUESTIONS = 20.0
"""Of usual results, which the result of a subject is shrunk with."""

ASSUMED_QUESTIONS = 200.0
"""Behind a result, where the leaderboard does not say how many."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaderboardReport:
    """What was made of published results.

    Attributes
    ----------
    categories
        Who answers what.
    subjects
        The published subjects behind each category.
    unpriced
        Models whose price is not known, so that a policy cannot weigh them.
    """

    path: Path
    version: str
    categories: list[dict[str, Any]]
    subjects: dict[str, list[str]]
    unpriced: tuple[str, ...]


def build_from_leaderboard(
    source: Path,
    out: Path,
    *,
    subjects_file: Path | None = None,
    prices_file: Path | None = None,
    z: float | None = None,
    created_at: str,
    steelyard_version: str,
) -> LeaderboardReport:
    """Write the artifact of a router that knows models by their results on subjects.

    Parameters
    ----------
    source
        CSV of published results.
    subjects_file
        Says which of the domains that requests are described by each subject is (null leaves it
        out), as far as the names do not.
    prices_file
        USD per million tokens; models it does not list have no price.

    Raises
    ------
    DataError, ArtifactError
        If a file cannot be used, a subject is of no known domain, or the destination cannot be
        written.
    """
    board = read_leaderboard(source)
    given = {} if subjects_file is None else _read_subjects(subjects_file)
    by_domain = _by_domain(board, given, source)
    table, error = _table(board, list(by_domain.values()))
    names = _names(board, by_domain)
    options = {} if z is None else {"z": z}
    router = BenchCoeRouter.published(
        board.models,
        categories=CategoriesConfig.model_validate({"from": "domain", "names": names}),
        table=table,
        error=error,
        **options,
    )
    listed = {} if prices_file is None else read_prices(prices_file, board.models)
    unknown = Prices(input_usd_per_mtok=None, output_usd_per_mtok=None)
    save_artifact(
        out,
        router=router,
        featurizer=Featurizer(make_embedder("static", {}), ("request",)),
        calibration=calibration_rows(router),
        prices={model: listed.get(model, unknown) for model in board.models},
        record=TrainingRecord(
            created_at=created_at,
            steelyard_version=steelyard_version,
            seed=0,
            data=[_file(source)],
            training={
                "evidence": "prior",
                "subjects": {
                    name: [board.subjects[i] for i in rows]
                    for name, rows in zip(names, by_domain.values(), strict=True)
                },
            },
            metrics={},
        ),
    )
    artifact = load_artifact(out)
    return LeaderboardReport(
        path=out,
        version=artifact.version,
        categories=router.report(),
        subjects=artifact.manifest["training"]["subjects"],
        unpriced=tuple(model for model in board.models if model not in listed),
    )


def _by_domain(
    board: Leaderboard, given: Mapping[str, str | None], source: Path
) -> dict[str, list[int]]:
    """Return the rows of the leaderboard behind each domain."""
    found: dict[str, list[int]] = {}
    strange = []
    for row, subject in enumerate(board.subjects):
        domain = given[subject] if subject in given else domain_of(subject)
        if domain is None:
            if subject not in given:
                strange.append(subject)
            continue
        found.setdefault(domain, []).append(row)
    if strange:
        raise DataError(
            f"{source}: of no known domain: {', '.join(printable(each) for each in strange)}; say "
            f"by --subjects which each is, as `name: domain` (null leaves it out), of: "
            f"{', '.join(DOMAINS)}"
        )
    if len(found) < 2:
        raise DataError(f"{source}: its subjects are of fewer than two domains; nothing to choose")
    return {domain: found[domain] for domain in DOMAINS if domain in found}


def _names(board: Leaderboard, by_domain: Mapping[str, list[int]]) -> dict[str, list[str]]:
    """Name a category by its subject where that is one, else by the domain."""
    return {
        printable(board.subjects[rows[0]]) if len(rows) == 1 else domain: [domain]
        for domain, rows in by_domain.items()
    }


def _table(board: Leaderboard, rows: Sequence[list[int]]) -> tuple[FloatMatrix, FloatMatrix]:
    """Return results by category and their standard errors; the last row is of all subjects.

    A result is weighed by its questions, and shrunk: (n * accuracy + 20 * usual) / (n + 20), where
    the usual result of a model is its mean plus how much easier the subject is for all models.
    """
    accuracy = board.accuracy.astype(np.float64)
    known = ~np.isnan(accuracy)
    lonely = [board.models[i] for i in np.flatnonzero(known.sum(axis=0) == 0)]
    if lonely:
        raise DataError(f"nothing was published of {', '.join(lonely)}")
    n = np.where(known, np.where(np.isnan(board.n), ASSUMED_QUESTIONS, board.n), 0.0)
    right = n * np.where(known, accuracy, 0)
    overall = right.sum(axis=0) / n.sum(axis=0)
    table, counts = [], []
    for each in rows:
        count, total = n[each].sum(axis=0), right[each].sum(axis=0)
        told = count > 0
        easier = (total[told] / count[told] - overall[told]).mean()
        usual = np.clip(overall + easier, 0, 1)
        table.append((total + PRIOR_QUESTIONS * usual) / (count + PRIOR_QUESTIONS))
        counts.append(count + PRIOR_QUESTIONS)
    table.append(overall)
    counts.append(n.sum(axis=0))
    q = np.array(table)
    error = np.sqrt(q * (1 - q) / np.array(counts))
    return q.astype(np.float32), error.astype(np.float32)


def _read_subjects(file: Path) -> dict[str, str | None]:
    try:
        content = read_document(file)
    except OSError as error:
        raise DataError(f"{file}: cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise DataError(f"{file}: is not valid JSON or YAML ({error})") from error
    if not isinstance(content, Mapping):
        raise DataError(f"{file}: must map subjects to domains")
    found: dict[str, str | None] = {}
    for subject, domain in content.items():
        if domain is not None and domain not in DOMAINS:
            raise DataError(
                f"{file}: {printable(str(subject))}: must be one of {', '.join(DOMAINS)}, or null"
            )
        found[str(subject)] = domain
    return found


def _file(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        return {"file": path.name, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}
