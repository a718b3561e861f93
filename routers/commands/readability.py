"""`steelyard readability`: how easy the answers of models are to read."""

import json
from pathlib import Path

import click

from routers.commands.base import FILE, files, not_over
from routers.files import replacing, shown


@click.command("readability")
@click.option(
    "--answers",
    metavar="FILE[,FILE…]",
    callback=files,
    required=True,
    help="What models answered: .parquet with query_id and x:MODEL, or .jsonl with query_id, "
    "model and text, as `steelyard export --answers` writes them.",
)
@click.option(
    "--out", type=FILE, help="JSON file of what was measured, in the form of a catalogue."
)
@click.option("--json", "as_json", is_flag=True, help="Print that instead of a table.")
def command(*, answers: list[Path], out: Path | None, as_json: bool) -> None:
    """Measure Flesch's reading ease of models' answers, for `readability` of the catalogue.

    Models are compared on the queries that they answered in common. It is made for English; code,
    formulas and tables are left out, and so are answers below thirty words.
    """
    from routers.answers.style import styles  # noqa: PLC0415  (help should be quick)
    from routers.data.answers import read_texts  # noqa: PLC0415

    not_over(out, *answers)
    found = styles(read_texts(answers))
    ranked = sorted(
        found.items(), key=lambda each: (-(each[1].readability or float("-inf")), each[0])
    )
    told = {
        "models": {
            model: {"readability": round(style.readability, 1)}
            for model, style in ranked
            if style.readability is not None
        }
    }
    if out is not None:
        with replacing(out) as partial:
            partial.write_text(json.dumps(told, indent=1, ensure_ascii=False) + "\n", "utf-8")
    if as_json:
        click.echo(json.dumps(told))
        return
    width = max(len(shown(model)) for model in found)
    click.echo(f"{'model'.ljust(width)}  readability  answers  median words")
    for model, style in ranked:
        ease = "-" if style.readability is None else f"{style.readability:.1f}"
        click.echo(
            f"{shown(model).ljust(width)}  {ease:>11}  {style.n_answers:>7}  "
            f"{style.median_words:>12.0f}"
        )
