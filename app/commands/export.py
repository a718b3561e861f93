"""`steelyard export`: what the gateway learned by serving, as training data."""

import json
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from app.commands.config_option import DEFAULT_FILE
from app.commands.log_options import log_options
from app.commands.moment_option import moment
from app.commands.open_log import open_log

if TYPE_CHECKING:
    from app.config import LoadedConfig
    from app.outcomes.export import Selection


@click.command()
@click.option("--out", type=click.Path(path_type=Path), required=True, help=".parquet or .jsonl")
@click.option("--since", callback=moment, metavar="7d", help="A date (UTC) or an age.")
@click.option("--until", callback=moment, metavar="2026-11-22", help="Likewise; excluded.")
@log_options()
@click.option("--unlabelled", is_flag=True, help="Decisions without a label, too.")
@click.option("--preferences", is_flag=True, help="Comparisons instead of qualities (.jsonl).")
@click.option(
    "--answers",
    is_flag=True,
    help="With the texts of the answers, for judges and policies of several calls.",
)
@click.option("--without-prompts", is_flag=True, help="Also rows whose text is not kept (.jsonl).")
@click.option(
    "--most-per-key", type=click.IntRange(min=1), help="Of each key only so many, the newest."
)
@click.option(
    "--as-predicted",
    is_flag=True,
    help="Call models what the served artifact calls them (predicted_as), which may join some.",
)
@click.option("--json", "as_json", is_flag=True, help="Print a summary as JSON.")
def export(
    *,
    out: Path,
    since: float | None,
    until: float | None,
    file: Path | None,
    folder: Path | None,
    unlabelled: bool,
    preferences: bool,
    answers: bool,
    without_prompts: bool,
    most_per_key: int | None,
    as_predicted: bool,
    as_json: bool,
) -> None:
    """Write labelled decisions, with their prompts, to a file that `steelyard fit` reads.

    Models are called what the configuration calls them.
    """
    from app.config import load_config  # noqa: PLC0415
    from app.outcomes.export import Selection, unlabelled_models, write  # noqa: PLC0415
    from routers.errors import DataError  # noqa: PLC0415

    if out.suffix.lower() == ".parquet" and (preferences or without_prompts):
        raise DataError(f"{out}: comparisons and rows without prompts need a .jsonl")
    if as_predicted and folder is not None and file is None:
        raise click.UsageError("--as-predicted with --from needs --config, which has the names")
    config = None
    if folder is None or file is not None:
        config = load_config(file or DEFAULT_FILE, secrets_needed=False)
    specs = {} if config is None else config.specs
    selection = Selection(
        predicted_as={model_id: spec.predicted_as for model_id, spec in specs.items()},
        as_predicted=as_predicted,
        unlabelled=unlabelled,
        without_prompts=without_prompts,
        answers=answers,
        most_per_key=most_per_key,
    )
    log = open_log(config, folder, since=since or 0.0, until=until or float("inf"))
    try:
        records = list((selection.preferences if preferences else selection.outcomes)(log))
    except sqlite3.Error as error:
        raise DataError(f"the decision log cannot be read: {error}") from error
    finally:
        log.contents.close()
    if not records:
        raise DataError(f"there is nothing to export: {_why(config, selection)}")
    written = write(records, out)
    silent = [] if preferences else unlabelled_models(records)
    _tell(
        click.echo,
        selection,
        {
            "out": str(out),
            "rows": written.n_rows,
            "queries": written.n_queries,
            "models": written.n_per_model,
            "labelled": selection.n_labelled,
            "without_prompt": selection.n_without_prompt,
            "over_share": selection.n_over_share,
            "models_without_label": silent,
        },
        why=_why(config, selection),
        as_json=as_json,
    )


def _why(config: "LoadedConfig | None", selection: "Selection") -> str:
    """Say why rows lack prompts, or that nobody labelled anything."""
    if not selection.n_without_prompt:
        return "no decision of that time has a label (POST /v1/feedback, or --unlabelled)"
    n = selection.n_without_prompt
    if config is None:
        return (
            f"the prompts of {n} decisions are not known: the gateways did not keep them "
            "(outcomes.contents), or their time is over, or (of comparisons) they differ"
        )
    contents = config.gateway.outcomes.contents
    if not contents.enabled:
        return (
            f"the prompts of {n} decisions are not known, because outcomes.contents.enabled is "
            "false in the configuration; training needs them (or --without-prompts, to join them "
            "by request_id yourself)"
        )
    return (
        f"the prompts of {n} decisions are not known: they are kept for {contents.keep_days:g} "
        "days, were not kept yet, could not be redacted, or (of comparisons) differ"
    )


def _tell(
    echo: Callable[..., None],
    selection: "Selection",
    summary: dict[str, object],
    *,
    why: str,
    as_json: bool,
) -> None:
    if selection.n_without_prompt:
        echo(f"note: {why}", err=True)
    if silent := summary["models_without_label"]:
        names = ", ".join(silent) if isinstance(silent, list) else ""
        echo(f"note: without any label, so that `fit` refuses the file: {names}", err=True)
    if as_json:
        echo(json.dumps(summary))
        return
    models = summary["models"]
    assert isinstance(models, dict)  # noqa: S101  (made above)
    told = ", ".join(f"{name} {n}" for name, n in models.items())
    echo(f"{summary['out']}: {summary['rows']} rows of {summary['queries']} queries ({told})")
