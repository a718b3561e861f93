"""`steelyard data`: published outcome data, from the source to a file that `fit` reads."""

import json
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlparse

import click
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from routers.artifact.files import check_free
from routers.commands._download import download, verify
from routers.commands._mapping import mapping_lines
from routers.commands.base import FILE, FiniteRange, not_over, overwrite, progress
from routers.data.lines import read_document
from routers.errors import DataError
from routers.files import shown

_DATASETS = Path("configs/datasets.yaml")


class Dataset(BaseModel):
    """One entry of the list of data sets."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    url: str
    format: str
    """A kind of `convert`, or `pickle` where the file has to be turned into CSV first."""
    licence: str | None
    """As the source names it; None where it names none."""
    sha256: str | None = Field(pattern=r"^[0-9a-f]{64}$")
    file: str | None = Field(default=None, pattern=r"^[\w.-]+$")
    """Name to save under, where the last part of the address tells too little."""
    seen: str = ""
    """When licence and checksum were looked up, and where they stand."""
    note: str = ""
    kind: Literal["outcomes", "preferences"] = "outcomes"


def read_datasets(path: Path) -> dict[str, Dataset]:
    """Read the list of data sets.

    Raises
    ------
    DataError
        If it cannot be read or an entry is wrong; the message names it.
    """
    try:
        content = read_document(path)
        return TypeAdapter(dict[str, Dataset]).validate_python(content)
    except OSError as error:
        raise DataError(
            f"{path}: cannot be read ({error.strerror}); give the list with --datasets"
        ) from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise DataError(f"{path}: {shown(where)}: {first['msg']}") from error
    except ValueError as error:
        raise DataError(f"{path}: is not valid YAML ({error})") from error


_datasets = click.option(
    "--datasets", type=FILE, default=_DATASETS, show_default=True, help="List of data sets."
)
_as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.group("data")
def command() -> None:
    """List, fetch and convert outcome data."""


@command.command("list")
@_datasets
@_as_json
def list_datasets(*, datasets: Path, as_json: bool) -> None:
    """List the data sets that `fetch` knows, and the formats that `convert` reads."""
    from routers.data.adapters.base import kinds  # noqa: PLC0415

    found = read_datasets(datasets)
    if as_json:
        listed = {name: dataset.model_dump() for name, dataset in found.items()}
        click.echo(json.dumps({"datasets": listed, "formats": list(kinds())}))
        return
    for name, dataset in found.items():
        licence = dataset.licence or "no licence named"
        click.echo(f"{name}: {dataset.kind}, format {dataset.format}, {licence}")
        click.echo(f"  {dataset.url}")
        for line in (dataset.note, dataset.seen and f"seen {dataset.seen}"):
            if line:
                click.echo(f"  {line}")
    click.echo(f"formats of convert: {', '.join(kinds())}")


@command.command("fetch")
@click.argument("name")
@click.option(
    "--out", type=FILE, default=Path("var/data"), show_default=True, help="Folder for the file."
)
@_datasets
@_as_json
def fetch(name: str, *, out: Path, datasets: Path, as_json: bool) -> None:
    """Download a data set by its NAME; an interrupted download goes on where it ended."""
    found = read_datasets(datasets)
    if name not in found:
        raise DataError(f"unknown data set {name!r}; known: {', '.join(found)}")
    dataset = found[name]
    target = out / (dataset.file or Path(urlparse(dataset.url).path).name or name)
    if target.exists():
        progress(f"{target} is already there")
        if dataset.sha256 is not None:
            verify(target, dataset.sha256)
    else:
        progress(f"fetching {dataset.url}")
        _fetch(dataset, target)
    summary: dict[str, Any] = {
        "file": str(target),
        "bytes": target.stat().st_size,
        "format": dataset.format,
        "licence": dataset.licence,
        "verified": dataset.sha256 is not None,
    }
    if as_json:
        click.echo(json.dumps(summary))
        return
    checked = "checksum verified" if summary["verified"] else "no checksum to verify it by"
    click.echo(
        f"{target}: {summary['bytes']} bytes, {checked}, licence: {dataset.licence or 'none named'}"
    )
    if dataset.note:
        click.echo(f"  {dataset.note}")
    if dataset.format != "pickle":
        suffix = ".jsonl" if dataset.kind == "preferences" else ".parquet"
        converted = target.with_name(f"{name}-converted{suffix}")
        click.echo(
            f"  next: steelyard data convert --format {dataset.format} --in {target} "
            f"--out {converted}"
        )


def _fetch(dataset: Dataset, target: Path) -> None:
    from rich.console import Console  # noqa: PLC0415
    from rich.progress import (  # noqa: PLC0415
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TransferSpeedColumn,
    )

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn())
    with Progress(*columns, TransferSpeedColumn(), console=Console(stderr=True)) as bar:
        task = bar.add_task(target.name, total=None)
        download(
            dataset.url,
            target,
            sha256=dataset.sha256,
            progress=lambda have, total: bar.update(task, completed=have, total=total),
        )


@command.command("convert")
@click.option("--format", "kind", required=True, help="See `steelyard data list`.")
@click.option("--in", "source", type=FILE, required=True, help="File to read.")
@click.option("--out", type=FILE, required=True, help="File to write: .parquet or .jsonl.")
@click.option(
    "--quality-scale",
    type=FiniteRange(min=0, min_open=True, max=1e6),
    default=1.0,
    show_default=True,
    help="Divide qualities by this: 100 for percentages.",
)
@click.option(
    "--fewest-chars",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Leave out shorter prompts: 16, as RouteLLM does with an arena's.",
)
@_as_json
def convert_file(
    *,
    kind: str,
    source: Path,
    out: Path,
    quality_scale: float,
    fewest_chars: int,
    as_json: bool,
) -> None:
    """Convert a published file to one that `fit`, `evaluate` and the others read."""
    from routers.data.convert import convert  # noqa: PLC0415

    not_over(out, source)
    progress(f"converting {source}")
    found = convert(kind, source, out, quality_scale=quality_scale, fewest_chars=fewest_chars)
    if as_json:
        summary = {"out": str(out), "kind": found.what, "records": found.n_records}
        click.echo(
            json.dumps({**summary, "queries": found.n_queries, "models": list(found.models)})
        )
    else:
        click.echo(
            f"wrote {out}: {found.n_records} {found.what} on {found.n_queries} queries, "
            f"{len(found.models)} models"
        )


@command.command("table")
@click.option(
    "--from", "source", type=FILE, required=True, help="CSV of published results by subject."
)
@click.option("--out", type=FILE, required=True, help="Folder to write the artifact to.")
@click.option("--subjects", type=FILE, help="Which domain each subject is: YAML or JSON.")
@click.option("--prices", type=FILE, help="USD per million tokens (JSON or YAML).")
@overwrite
@_as_json
def table(
    *,
    source: Path,
    out: Path,
    subjects: Path | None,
    prices: Path | None,
    overwrite: bool,
    as_json: bool,
) -> None:
    """Make a router of subjects from published results, without one labelled prompt.

    A request goes to the model of the best results on its subject, by the description of requests
    that is shipped; to the best on the whole where none is recognised, or where the best is not
    better beyond noise. Predictions say what they rest on (evidence: prior).
    """
    from routers.training.leaderboard import build_from_leaderboard  # noqa: PLC0415

    if not overwrite:
        check_free(out)
    report = build_from_leaderboard(
        source,
        out,
        subjects_file=subjects,
        prices_file=prices,
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        steelyard_version=metadata.version("steelyard"),
    )
    if as_json:
        told = {"out": str(out), "version": report.version, "categories": report.categories}
        click.echo(json.dumps({**told, "subjects": report.subjects, "unpriced": report.unpriced}))
        return
    for line in mapping_lines(report.categories):
        click.echo(line)
    click.echo(f"wrote {out} (version {report.version}): {len(report.subjects)} subjects")
    if report.unpriced:
        click.echo(f"no price known: {', '.join(map(shown, report.unpriced))}")
