"""`steelyard fine-tune`: outcomes → an encoder for the embedder `sentence-transformers`."""

import json
from pathlib import Path
from typing import Any

import click

from routers.commands.base import (
    FILE,
    FiniteRange,
    files,
    progress,
    seed_option,
)


@click.command("fine-tune")
@click.option(
    "--data",
    metavar="FILE[,FILE…]",
    callback=files,
    required=True,
    help="Outcomes of prompts that `fit` will not get: .parquet, .csv or .jsonl.",
)
@click.option("--out", type=FILE, required=True, help="Folder to write the encoder to.")
@click.option("--model", default="all-MiniLM-L6-v2", show_default=True, help="To start from.")
@click.option("--strong", metavar="MODEL", help="Default: the one of highest mean quality.")
@click.option("--weak", metavar="MODEL", help="Default: the one of lowest mean quality.")
@click.option(
    "--tiers",
    "n_tiers",
    type=click.IntRange(min=3, max=100),
    help="Compare many models instead of two: those of the first two of so many tiers with those "
    "of the third, as `bert` does with n_tiers (10 as published).",
)
@click.option(
    "--pairs-per-query",
    type=click.IntRange(min=1, max=1000),
    default=10,
    show_default=True,
    help="With tiers, how many random pairs of models are compared on every prompt.",
)
@click.option(
    "--per-model",
    is_flag=True,
    help="Learn how good and how long the answer of every model is, as CARROT's RoBERTa does; no "
    "models are compared.",
)
@click.option(
    "--layers",
    "n_layers",
    type=click.IntRange(min=1),
    default=2,
    show_default=True,
    help="How many of the last layers learn.",
)
@click.option(
    "--epochs", "n_epochs", type=click.IntRange(min=1, max=100), default=3, show_default=True
)
@click.option(
    "--learning-rate",
    type=FiniteRange(min=0, min_open=True, max=1),
    default=2e-5,
    show_default=True,
)
@click.option("--max-tokens", type=click.IntRange(min=8), default=128, show_default=True)
@seed_option
@click.option("--json", "as_json", is_flag=True, help="Print the record as JSON.")
def command(*, data: list[Path], out: Path, as_json: bool, **options: Any) -> None:
    """Train the last layers of a transformer on outcomes.

    It learns who wins of two models or of tiers of many, or what every model's answer is worth.
    """
    from routers.training.fine_tune import FineTuneOptions, fine_tune  # noqa: PLC0415

    record = fine_tune(data, out, options=FineTuneOptions(**options), progress=progress)
    if as_json:
        click.echo(json.dumps({"encoder": str(out), **record}, allow_nan=False))
        return
    losses, epoch = record["held_out_loss"], record["epoch"]
    click.echo(f"wrote {out}, the encoder after epoch {epoch} of {len(losses) - 1}")
    click.echo(f"  held-out {record['loss']}: {losses[0]:.4f} -> {losses[epoch]:.4f}")
    if epoch == 0:
        click.echo("  training did not help: this is the encoder it started from")
    recipe = f"embedder: {{kind: sentence-transformers, options: {{model: {out}}}}}"
    click.echo(f"  to use it, say in a recipe: {recipe}")
